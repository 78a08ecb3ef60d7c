# exercise 12/ex2
import numpy as np


def masked_mse(y, target, lengths):
    """y, target (T, N, K) and lengths (N,) to the loss, a number, and dy (T, N, K)."""
    T, N, K = y.shape
    counts = np.zeros((T, N, 1))
    for n, end in enumerate(lengths):
        counts[:end, n] = 1
    kept = K * counts.sum()
    off = counts * (y - target)
    return float(np.einsum("tnk,tnk->", off, off) / kept), 2 / kept * off
