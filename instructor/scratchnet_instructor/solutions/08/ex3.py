# exercise 08/ex3
import numpy as np


def stateful(x, dy, h0, W_x, W_h, b, k):
    """x (T, N, D), dy (T, N, H), h0 (N, H) and the weights to y (T, N, H) and dW_h (H, H)."""
    trail = [h0]
    for fed in np.einsum("tnd,dh->tnh", x, W_x) + b:
        trail.append(np.tanh(fed + np.einsum("nk,kh->nh", trail[-1], W_h)))
    total, arriving = np.zeros_like(W_h), np.zeros_like(h0)
    for t in reversed(range(len(x))):
        if t % k == k - 1:
            arriving = np.zeros_like(h0)  # nothing comes over the edge
        into = (arriving + dy[t]) * (1 - np.square(trail[t + 1]))
        total, arriving = total + np.einsum("nk,nh->kh", trail[t], into), np.einsum("nh,kh->nk", into, W_h)
    return np.stack(trail[1:]), total
