# exercise 13/ex4
import numpy as np


def covered(low, high, truth):
    """low, high, truth (n, horizon) to two numbers: the share inside, and the mean width."""
    outside = np.logical_or(truth < low, truth > high)
    return 1 - outside.mean(), np.subtract(high, low).mean()
