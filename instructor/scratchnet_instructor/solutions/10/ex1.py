# exercise 10/ex1
import numpy as np


def dropout(x, dy, u, p):
    """x, dy, u of one shape, 0 <= p < 1, to y and dx of that shape."""
    y, dx = np.zeros_like(x), np.zeros_like(dy)
    survivors = ~(u < p)
    y[survivors] = x[survivors] / (1 - p)
    dx[survivors] = dy[survivors] / (1 - p)
    return y, dx
