"""The pointwise step of the GRU in the paper's form, on the GPU: two kernels around a product.

``s W_hn`` needs s of *every* unit, so no thread can go on alone. cuBLAS computes it between the
launches.
"""

import numpy as np
from numba import cuda

from scratchnet.arrays import Array
from scratchnet.cells.gru_reset_before import (
    reset_backward,
    reset_forward,
    update_backward,
    update_forward,
)
from scratchnet_kernels.launch import kernel, launch, require_launchable


@kernel
def before_product(a: Array, h_prev: Array, gates: Array, s: Array) -> None:
    """First half of a step: a, gates (N, 3H); h_prev, s (N, H)."""
    N, H = s.shape
    j, b = cuda.grid(2)  # b for the sequence: n is a gate here
    if b < N and j < H:
        gates[b, j], gates[b, H + j], s[b, j] = reset_forward(a[b, j], a[b, H + j], h_prev[b, j])


@kernel
def after_product(a: Array, h_prev: Array, gates: Array, h: Array) -> None:
    """Second half, a_n now complete: a, gates (N, 3H); h_prev, h (N, H)."""
    N, H = h.shape
    j, b = cuda.grid(2)
    if b < N and j < H:
        n = 2 * H + j
        gates[b, n], h[b, j] = update_forward(a[b, n], gates[b, H + j], h_prev[b, j])


@kernel
def back_after_product(dh: Array, gates: Array, h_prev: Array, da: Array, dh_direct: Array) -> None:
    """Backwards through the second half: dh, h_prev, dh_direct (N, H); gates, da (N, 3H)."""
    N, H = dh.shape
    j, b = cuda.grid(2)
    if b < N and j < H:
        z, n = H + j, 2 * H + j
        da[b, n], da[b, z], dh_direct[b, j] = update_backward(
            dh[b, j], gates[b, z], gates[b, n], h_prev[b, j]
        )


@kernel
def back_before_product(ds: Array, gates: Array, h_prev: Array, da: Array, dh_past: Array) -> None:
    """Back through the first half: adds to dh_past the gradient through s.

    ds, h_prev (N, H); gates, da (N, 3H).
    """
    N, H = ds.shape
    j, b = cuda.grid(2)
    if b < N and j < H:
        da[b, j], dh_reset = reset_backward(ds[b, j], gates[b, j], h_prev[b, j])
        dh_past[b, j] += dh_reset


def step_forward(a: Array, h_prev: Array, W_hn: Array, gates: Array, s: Array, h: Array) -> None:
    """One step: from a (N, 3H), complete but for s W_hn; fills gates (N, 3H), s and h (N, H)."""
    require_launchable(a=a, h_prev=h_prev, gates=gates, s=s, h=h)
    launch(before_product, *h.shape, a, h_prev, gates, s)
    a[:, 2 * h.shape[1] :] += s @ W_hn
    launch(after_product, *h.shape, a, h_prev, gates, h)


def step_backward(dh: Array, gates: Array, W_hn: Array, h_prev: Array, da: Array) -> Array:
    """One step back: fills da (N, 3H).

    Returns the part of dh_prev that bypasses W_hr and W_hz, (N, H).
    """
    require_launchable(dh=dh, gates=gates, h_prev=h_prev, da=da)
    dh_past = np.empty_like(dh)
    launch(back_after_product, *dh.shape, dh, gates, h_prev, da, dh_past)
    ds = da[:, 2 * dh.shape[1] :] @ W_hn.T  # undoes  a_n = ... + s W_hn
    launch(back_before_product, *dh.shape, ds, gates, h_prev, da, dh_past)
    return dh_past
