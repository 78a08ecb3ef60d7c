# exercise 15/ex4
import numpy as np


def ugrnn_backward(dy, x, h, gates, W_x, W_h):
    """dy (T, N, H), x (T, N, D) to dx (T, N, D), dh0 (N, H), dW_x (D, 2H), dW_h (H, 2H), db (2H,)."""
    z, n = np.split(gates, 2, axis=2)
    pre = [None] * len(dy)
    future = np.zeros_like(h[0])
    for t in range(len(dy))[::-1]:
        arrived = future + dy[t]
        to_gate = (h[t] - n[t]) * arrived * z[t] * (1 - z[t])
        to_candidate = arrived * (1 - z[t]) * (1 - n[t] ** 2)
        pre[t] = np.hstack([to_gate, to_candidate])
        future = z[t] * arrived + pre[t] @ W_h.T
    flat = np.concatenate(pre)
    dW_x = np.concatenate(list(x)).T @ flat
    dW_h = np.concatenate(list(h[:-1])).T @ flat
    return np.stack(pre) @ W_x.T, future, dW_x, dW_h, flat.sum(axis=0)
