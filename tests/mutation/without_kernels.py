"""A pytest plugin: the kernels cannot be imported, so no mutant of a cell waits for a compiler."""

import sys

sys.modules["scratchnet_kernels"] = None
