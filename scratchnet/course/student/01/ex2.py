# exercise 01/ex2
import numpy as np


def linear_backward(dy, x, W):
    """dy (N, K), x (N, D), W (D, K) to dx (N, D), dW (D, K), db (K,)."""
    raise NotImplementedError("01/ex2: write this")
