# exercise 11/ex3
import numpy as np


def cut(tokens, count):
    """tokens (M,) to x (T, count) and target (T, count), with T = (M - 1) // count."""
    raise NotImplementedError("11/ex3: write this")
