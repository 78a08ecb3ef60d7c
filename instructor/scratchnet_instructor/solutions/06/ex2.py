# exercise 06/ex2
import numpy as np


def lstm_backward(dy, dh_last, dc_last, x, h, c, gates, W_x, W_h):
    """Return dx (T, N, D), dh0 and dc0 (N, H), dW_x (D, 4H), dW_h (H, 4H), db (4H,)."""
    i, f, g, o = np.split(gates, 4, axis=-1)
    da = np.zeros_like(gates)
    from_future, memory = dh_last, dc_last
    for t in range(len(dy) - 1, -1, -1):
        total = dy[t] + from_future
        shown = np.tanh(c[t + 1])
        into_c = memory + total * o[t] * (1 - shown**2)
        parts = (
            into_c * g[t] * i[t] * (1 - i[t]), into_c * c[t] * f[t] * (1 - f[t]),
            into_c * i[t] * (1 - g[t] ** 2), total * shown * o[t] * (1 - o[t]),
        )
        da[t] = np.concatenate(parts, axis=-1)
        from_future, memory = da[t] @ W_h.T, into_c * f[t]
    dW_x = np.einsum("tnd,tng->dg", x, da)
    dW_h = np.einsum("tnh,tng->hg", h[:-1], da)
    return {"dx": da @ W_x.T, "dh0": from_future, "dc0": memory, "dW_x": dW_x, "dW_h": dW_h, "db": da.sum(axis=(0, 1))}
