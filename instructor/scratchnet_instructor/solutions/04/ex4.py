# exercise 04/ex4
import numpy as np


def clip_together(dW_x, dW_h, db, most):
    """dW_x (D, H), dW_h (H, H), db (H,) and a number to the three, clipped, and the norm before, a number."""
    everything = np.hstack([part.ravel() for part in (dW_x, dW_h, db)])
    length = np.sqrt(everything @ everything)
    shorter = most / max(length, most)
    return shorter * dW_x, shorter * dW_h, shorter * db, length
