# exercise 12/ex1
import numpy as np


def turn_around(x, lengths):
    """x (T, N, D) and whole numbers lengths (N,), 1 to T, to an array as x."""
    raise NotImplementedError("12/ex1: write this")
