# exercise 06/ex1
import numpy as np


def step_backward(dh, dc_next, i, f, g, o, c_prev, c):
    """Return da_i, da_f, da_g, da_o, dc_prev, each of the arguments' shape."""
    raise NotImplementedError("06/ex1: write this")
