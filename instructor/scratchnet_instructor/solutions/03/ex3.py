# exercise 03/ex3
import numpy as np


def rnn_backward(dy, dh_last, x, h, W_x, W_h):
    """dy (T, N, H), dh_last (N, H) to dx (T, N, D), dh0 (N, H), dW_x (D, H), dW_h (H, H), db (H,)."""
    steps, carried = [], dh_last
    for own, after in zip(dy[::-1], h[:0:-1]):
        steps.insert(0, (own + carried) * (1 - np.square(after)))
        carried = np.einsum("nk,hk->nh", steps[0], W_h)
    into = np.stack(steps)
    return {
        "dh0": carried, "dx": np.einsum("tnh,dh->tnd", into, W_x), "db": np.einsum("tnh->h", into),
        "dW_x": np.tensordot(x, into, ((0, 1), (0, 1))), "dW_h": np.tensordot(h[:-1], into, ((0, 1), (0, 1))),
    }
