# exercise 14/ex3
import numpy as np


def mine(n, blocks, width, block, thread):
    """Whole numbers to the indices (some,) of this thread's elements; perhaps none."""
    raise NotImplementedError("14/ex3: write this")
