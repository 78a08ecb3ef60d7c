"""Adam's rule and the sum of squares of a norm, on the GPU: one launch for all parameters.

The array rule launches about ten kernels for each parameter, and a launch costs microseconds before
a single number is computed. Here the arrays are cut into chunks, ``table.py`` lists where each
chunk lies, and a block takes one line of that.
"""

from scratchnet_kernels.update_cuda.norm import squares
from scratchnet_kernels.update_cuda.update import adam

__all__ = ["adam", "squares"]
