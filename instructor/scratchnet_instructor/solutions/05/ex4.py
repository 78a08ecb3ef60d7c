# exercise 05/ex4
import numpy as np


def lstm_forward(x, h0, c0, W_x, W_h, b):
    """x (T, N, D), h0 and c0 (N, H), W_x (D, 4H), W_h (H, 4H), b (4H,) to h and c, (T, N, H) each."""
    shown, cell, found = h0, c0, []
    joined, curve = np.vstack([W_x, W_h]), lambda v: 1 / (1 + np.exp(-v))
    for row in x:
        into = np.einsum("nk,kg->ng", np.hstack([row, shown]), joined) + b
        write, keep, fresh, show = into.reshape(len(into), 4, -1).swapaxes(0, 1)
        cell = np.tanh(fresh) * curve(write) + cell * curve(keep)
        shown = np.tanh(cell) * curve(show)
        found.append((shown, cell))
    hs, cs = zip(*found)
    return np.stack(hs), np.stack(cs)
