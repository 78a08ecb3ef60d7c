# exercise 08/ex1
import numpy as np


def windows(T, k1, k2):
    """T, k1 <= k2 to an array (number of windows, 3): start, new, stop of each, in order."""
    raise NotImplementedError("08/ex1: write this")
