# exercise 01/ex4
import numpy as np


def softmax_loss(y, labels):
    """y (N, K), labels (N,) whole numbers, to the loss, a number, and dy (N, K)."""
    rows = np.arange(y.shape[0])
    raised = np.exp(y - np.max(y, axis=1)[:, None])
    share = raised / raised.sum(1)[:, None]
    value = np.log(share[rows, labels]).sum() / -len(rows)
    share[rows, labels] -= 1
    return value, share / len(rows)
