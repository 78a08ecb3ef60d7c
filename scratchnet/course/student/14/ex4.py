# exercise 14/ex4
import numpy as np


def times(reads, inputs, outputs, n, itemsize, launch, bandwidth):
    """reads (K,) whole numbers, the rest numbers, to the seconds of K launches and of the fused one."""
    raise NotImplementedError("14/ex4: write this")
