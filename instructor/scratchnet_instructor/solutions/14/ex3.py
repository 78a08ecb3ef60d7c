# exercise 14/ex3
import numpy as np


def mine(n, blocks, width, block, thread):
    """Whole numbers to the indices (some,) of this thread's elements; perhaps none."""
    everything = np.arange(n)
    in_grid = everything % (blocks * width)
    return everything[(in_grid // width == block) & (in_grid % width == thread)]
