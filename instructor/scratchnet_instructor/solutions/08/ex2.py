# exercise 08/ex2
import numpy as np


def share_lost(u, dy, k):
    """u a number, dy (T,), k whole, to db kept, db whole, and the share lost, three numbers."""
    steps = np.arange(len(dy))
    distance = np.subtract.outer(steps, steps)
    table = np.where(distance >= 0, u ** np.abs(distance), 0.0) * dy[:, None]
    inside = np.equal.outer(steps // k, steps // k)
    total, remains = table.sum(), table[inside].sum()
    return remains, total, abs(1 - remains / total)
