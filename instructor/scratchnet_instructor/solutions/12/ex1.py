# exercise 12/ex1
import numpy as np


def turn_around(x, lengths):
    """x (T, N, D) and whole numbers lengths (N,), 1 to T, to an array as x."""
    turned = x.copy()
    for n, end in enumerate(lengths):
        turned[:end, n] = x[:end, n][::-1]
    return turned
