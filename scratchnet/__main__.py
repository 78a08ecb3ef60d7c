"""``python -m scratchnet`` is ``scratchnet``."""

import sys

from scratchnet.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
