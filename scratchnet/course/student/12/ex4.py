# exercise 12/ex4
import numpy as np


def pool_backward(dy, weights, x):
    """dy (N, D), weights (T, N), x (T, N, D) to dscores (T, N) and dx (T, N, D)."""
    raise NotImplementedError("12/ex4: write this")
