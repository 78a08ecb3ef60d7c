# exercise 07/ex4
import numpy as np


def gru_backward(dy, dh_last, x, h, gates, m_n, W_x, W_h):
    """Return dx (T, N, D), dh0 (N, H), dW_x (D, 3H), dW_h (H, 3H), db (3H,), db_hn (H,)."""
    r, z, n = np.split(gates, 3, axis=-1)
    steps, carried = [], dh_last
    for t in range(len(dy) - 1, -1, -1):
        total = carried + dy[t]
        fresh = total * (1 - z[t]) * (1 - n[t] ** 2)
        update = total * (h[t] - n[t]) * z[t] * (1 - z[t])
        reset = fresh * m_n[t] * r[t] * (1 - r[t])
        steps.append((np.hstack([reset, update, fresh]), np.hstack([reset, update, fresh * r[t]])))
        carried = total * z[t] + np.einsum("ng,hg->nh", steps[-1][1], W_h)
    of_input, of_memory = (np.stack(part[::-1]) for part in zip(*steps))
    dx, dW_x = np.einsum("tng,dg->tnd", of_input, W_x), np.einsum("tnd,tng->dg", x, of_input)
    dW_h, sums = np.einsum("tnh,tng->hg", h[:-1], of_memory), of_memory.sum((0, 1))
    return dx, carried, dW_x, dW_h, of_input.sum((0, 1)), sums[-h.shape[2] :]
