# exercise 03/ex3
import numpy as np


def rnn_backward(dy, dh_last, x, h, W_x, W_h):
    """dy (T, N, H), dh_last (N, H) to dx (T, N, D), dh0 (N, H), dW_x (D, H), dW_h (H, H), db (H,)."""
    raise NotImplementedError("03/ex3: write this")
