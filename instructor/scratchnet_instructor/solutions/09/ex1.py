# exercise 09/ex1
import numpy as np


def target(x):
    """x (T, N, 2) to y (N, 1)."""
    sums = [sum(number for number, mark in column if mark == 1) for column in np.moveaxis(x, 1, 0)]
    return np.array(sums)[:, None]
