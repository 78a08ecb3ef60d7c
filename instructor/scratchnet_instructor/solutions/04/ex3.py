# exercise 04/ex3
import numpy as np


def whole_way(h, W_h):
    """h (T, H), W_h (H, H) with a = ... + h' W_h, to dh_last / dh_0, (H, H)."""
    arriving = np.identity(h.shape[1])
    for state in h[::-1]:
        arriving = np.einsum("ij,kj->ik", arriving * (1 - state * state), W_h)
    return arriving
