# exercise 03/ex2
import numpy as np


def rnn_forward(x, h0, W_x, W_h, b):
    """x (T, N, D), h0 (N, H), W_x (D, H), W_h (H, H), b (H,) to y (T, N, H)."""
    found, state = [], h0
    for fed in np.einsum("tnd,dh->tnh", x, W_x):
        state = np.tanh(b + fed + np.einsum("nk,kh->nh", state, W_h))
        found.append(state)
    return np.stack(found, axis=0)
