# exercise 09/ex2
import numpy as np


def lines(low, high, S, L, T):
    """Numbers low < high, whole S, L, T to two numbers."""
    raise NotImplementedError("09/ex2: write this")
