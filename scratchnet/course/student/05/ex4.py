# exercise 05/ex4
import numpy as np


def lstm_forward(x, h0, c0, W_x, W_h, b):
    """x (T, N, D), h0 and c0 (N, H), W_x (D, 4H), W_h (H, 4H), b (4H,) to h and c, (T, N, H) each."""
    raise NotImplementedError("05/ex4: write this")
