# exercise 10/ex4
import numpy as np


def layer_norm_backward(dy, x, gain, eps):
    """dy, x (N, F) and gain (F,) to dx (N, F), dgain (F,), db (F,)."""
    F = x.shape[1]
    centred = x - x.mean(axis=1)[:, None]
    spread = np.sqrt(np.einsum("nf,nf->n", centred, centred)[:, None] / F + eps)
    arriving = np.einsum("nf,f->nf", dy, gain)
    d_spread = -np.einsum("nf,nf->n", arriving, centred)[:, None] / spread**2
    d_centred = arriving / spread + d_spread * centred / (F * spread)
    dx = d_centred - d_centred.sum(axis=1)[:, None] / F
    return dx, np.einsum("nf,nf->f", dy, centred / spread), dy.sum(axis=0)
