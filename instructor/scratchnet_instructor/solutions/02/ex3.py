# exercise 02/ex3
import numpy as np


def along(x, W, V, e):
    """x (N, D), W and V (D, K): the slope along V by central differences, and by the gradient: two numbers."""
    up, down = (np.tanh(x @ (W + s * V)).sum() for s in (e, -e))
    slope_of_tanh = 1 - np.tanh(x @ W) ** 2
    return (up - down) / (2 * e), float((slope_of_tanh * (x @ V)).sum())
