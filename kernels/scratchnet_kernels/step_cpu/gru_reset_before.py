"""The pointwise step of the GRU in the paper's form, on the CPU: two loops around a product.

``s W_hn`` needs s of *every* unit, so no unit can go on alone. BLAS computes it between the loops.
"""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells.gru_reset_before import (
    reset_backward,
    reset_forward,
    update_backward,
    update_forward,
)
from scratchnet_kernels.compiled import compiled


@compiled
def before_product(a: Array, h_prev: Array, gates: Array, s: Array) -> None:
    """First half of a step: from a (N, 3H), fills r and z in ``gates`` (N, 3H), and s (N, H)."""
    N, H = h_prev.shape
    for b in range(N):  # b for the sequence: n is a gate here
        for j in range(H):
            r, z = j, H + j  # where unit j has its gates
            gates[b, r], gates[b, z], s[b, j] = reset_forward(a[b, r], a[b, z], h_prev[b, j])


@compiled
def after_product(a: Array, h_prev: Array, gates: Array, h: Array) -> None:
    """Second half: from a_n, now complete, fills n in ``gates`` (N, 3H), and h (N, H)."""
    N, H = h_prev.shape
    for b in range(N):
        for j in range(H):
            z, n = H + j, 2 * H + j
            gates[b, n], h[b, j] = update_forward(a[b, n], gates[b, z], h_prev[b, j])


def step_forward(a: Array, h_prev: Array, W_hn: Array, gates: Array, s: Array, h: Array) -> None:
    """One step: from a (N, 3H), complete but for s W_hn; fills gates (N, 3H), s and h (N, H)."""
    before_product(a, h_prev, gates, s)
    a[:, 2 * h.shape[1] :] += s @ W_hn
    after_product(a, h_prev, gates, h)


@compiled
def back_after_product(dh: Array, gates: Array, h_prev: Array, da: Array) -> Array:
    """Back through the second half: fills da_z, da_n in da (N, 3H); returns dh_direct (N, H)."""
    N, H = dh.shape
    dh_direct = np.empty_like(h_prev)
    for b in range(N):
        for j in range(H):
            z, n = H + j, 2 * H + j
            da[b, n], da[b, z], dh_direct[b, j] = update_backward(
                dh[b, j], gates[b, z], gates[b, n], h_prev[b, j]
            )
    return dh_direct


@compiled
def back_before_product(
    ds: Array, dh_direct: Array, gates: Array, h_prev: Array, da: Array
) -> Array:
    """Back through the first half: fills da_r in da (N, 3H).

    Returns the part of dh_prev that bypasses W_hr and W_hz, (N, H).
    """
    N, H = ds.shape
    dh_past_gates = np.empty_like(h_prev)
    for b in range(N):
        for j in range(H):
            da[b, j], dh_reset = reset_backward(ds[b, j], gates[b, j], h_prev[b, j])
            dh_past_gates[b, j] = dh_direct[b, j] + dh_reset
    return dh_past_gates


def step_backward(dh: Array, gates: Array, W_hn: Array, h_prev: Array, da: Array) -> Array:
    """One step back: fills da (N, 3H).

    Returns the part of dh_prev that bypasses W_hr and W_hz, (N, H).
    """
    dh_direct = back_after_product(dh, gates, h_prev, da)
    ds = da[:, 2 * dh.shape[1] :] @ W_hn.T  # undoes  a_n = ... + s W_hn
    return back_before_product(ds, dh_direct, gates, h_prev, da)
