# exercise 03/ex2
import numpy as np


def rnn_forward(x, h0, W_x, W_h, b):
    """x (T, N, D), h0 (N, H), W_x (D, H), W_h (H, H), b (H,) to y (T, N, H)."""
    raise NotImplementedError("03/ex2: write this")
