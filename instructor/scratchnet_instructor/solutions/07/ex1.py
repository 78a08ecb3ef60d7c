# exercise 07/ex1
import numpy as np


def both_forms(x, h_prev, W_x, W_h, b, b_hn):
    """x (N, D), h_prev (N, H), W_x (D, 3H), W_h (H, 3H), b (3H,), b_hn (H,) to h after and h before, (N, H) each."""
    fed = np.stack(np.hsplit(np.einsum("nd,dg->ng", x, W_x) + b, 3))
    recurrent = np.stack(np.hsplit(W_h, 3))
    reset, keep = 0.5 + 0.5 * np.tanh(0.5 * (fed[:2] + np.einsum("nk,bkh->bnh", h_prev, recurrent[:2])))
    late = np.tanh(fed[2] + (np.einsum("nk,kh->nh", h_prev, recurrent[2]) + b_hn) * reset)
    early = np.tanh(fed[2] + np.einsum("nk,nk,kh->nh", reset, h_prev, recurrent[2]))
    return tuple(fresh + keep * (h_prev - fresh) for fresh in (late, early))
