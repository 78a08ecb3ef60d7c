# exercise 01/ex2
import numpy as np


def linear_backward(dy, x, W):
    """dy (N, K), x (N, D), W (D, K) to dx (N, D), dW (D, K), db (K,)."""
    return np.einsum("nk,dk->nd", dy, W), np.einsum("nd,nk->dk", x, dy), np.ones(len(dy)) @ dy
