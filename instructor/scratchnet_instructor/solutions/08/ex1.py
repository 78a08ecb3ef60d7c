# exercise 08/ex1
import numpy as np


def windows(T, k1, k2):
    """T, k1 <= k2 to an array (number of windows, 3): start, new, stop of each, in order."""
    firsts = np.arange(-(-T // k1)) * k1
    ends = np.minimum(firsts + k1, T)
    return np.column_stack([np.clip(ends - k2, 0, None), firsts, ends])
