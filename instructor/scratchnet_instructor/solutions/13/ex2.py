# exercise 13/ex2
import numpy as np


def test_windows(values, width, start):
    """values (T,) to x (n, width), y (n,): every row t >= start with width rows before it."""
    rows = [t for t in range(len(values)) if t >= start and t >= width]
    return np.stack([values[t - width : t] for t in rows]), np.array([values[t] for t in rows])
