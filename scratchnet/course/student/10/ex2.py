# exercise 10/ex2
import numpy as np


def rates(base, warm, total):
    """A number and two whole ones, 1 <= warm < total, to the learning rates (total,)."""
    raise NotImplementedError("10/ex2: write this")
