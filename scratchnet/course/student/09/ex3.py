# exercise 09/ex3
import numpy as np


def memory(f):
    """f (T, N, H) to left (T, N, H), which is 1 at the last step, and tau (H,)."""
    raise NotImplementedError("09/ex3: write this")
