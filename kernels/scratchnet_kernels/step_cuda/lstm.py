"""The LSTM's pointwise step on the GPU: a thread for each unit of each sequence.

The math is that of ``scratchnet.cells.lstm``.
"""

import numpy as np
from numba import cuda

from scratchnet.arrays import Array
from scratchnet.cells.lstm import gates_backward, gates_forward
from scratchnet_kernels.launch import kernel, launch, require_launchable


@kernel
def forward_kernel(a: Array, c_prev: Array, gates: Array, c: Array, h: Array) -> None:
    """a, gates (N, 4H); c_prev, c, h (N, H)."""
    N, H = h.shape
    j, n = cuda.grid(2)
    if n < N and j < H:
        i, f, g, o = j, H + j, 2 * H + j, 3 * H + j  # where unit j has its four gates
        gates[n, i], gates[n, f], gates[n, g], gates[n, o], c[n, j], h[n, j] = gates_forward(
            a[n, i], a[n, f], a[n, g], a[n, o], c_prev[n, j]
        )


@kernel
def backward_kernel(
    dh: Array, dc_next: Array, gates: Array, c_prev: Array, c: Array, da: Array, dc_prev: Array
) -> None:
    """dh, dc_next, c_prev, c, dc_prev (N, H); gates, da (N, 4H)."""
    N, H = dh.shape
    j, n = cuda.grid(2)
    if n < N and j < H:
        i, f, g, o = j, H + j, 2 * H + j, 3 * H + j
        da[n, i], da[n, f], da[n, g], da[n, o], dc_prev[n, j] = gates_backward(
            dh[n, j],
            dc_next[n, j],
            gates[n, i],
            gates[n, f],
            gates[n, g],
            gates[n, o],
            c_prev[n, j],
            c[n, j],
        )


def step_forward(a: Array, c_prev: Array, gates: Array, c: Array, h: Array) -> None:
    """One step: from a (N, 4H) and c_prev (N, H); fills gates (N, 4H), c and h (N, H)."""
    require_launchable(a=a, c_prev=c_prev, gates=gates, c=c, h=h)
    launch(forward_kernel, *h.shape, a, c_prev, gates, c, h)


def step_backward(
    dh: Array, dc_next: Array, gates: Array, c_prev: Array, c: Array, da: Array
) -> Array:
    """One time step back: fills da (N, 4H) and returns the gradient of c_prev (N, H)."""
    require_launchable(dh=dh, dc_next=dc_next, gates=gates, c_prev=c_prev, c=c, da=da)
    dc_prev = np.empty_like(c)  # a new array: dc_next may be the caller's own
    launch(backward_kernel, *dh.shape, dh, dc_next, gates, c_prev, c, da, dc_prev)
    return dc_prev
