# exercise 08/ex2
import numpy as np


def share_lost(u, dy, k):
    """u a number, dy (T,), k whole, to db kept, db whole, and the share lost, three numbers."""
    raise NotImplementedError("08/ex2: write this")
