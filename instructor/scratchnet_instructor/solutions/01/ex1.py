# exercise 01/ex1
import numpy as np


def one_weight(w, b, x, target):
    """Return dw, db, dx of L = (tanh(w x + b) - target)^2, three numbers."""
    out = np.tanh(b + x * w)
    slope = (1 - out * out) * (out - target) * 2
    return {"dw": slope * x, "db": slope, "dx": slope * w}
