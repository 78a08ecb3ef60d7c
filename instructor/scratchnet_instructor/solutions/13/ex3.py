# exercise 13/ex3
import numpy as np


def quantile_loss(y, truth, q):
    """y, truth (n,) and 0 < q < 1 to the loss, a number, and dy (n,)."""
    short = truth > y
    weight = np.where(short, q, 1 - q)
    return float(np.mean(weight * np.abs(truth - y))), np.where(short, -weight, weight) / len(y)
