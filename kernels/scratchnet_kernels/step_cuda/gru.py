"""The GRU's pointwise step on the GPU: a thread for each unit of each sequence.

The math is that of ``scratchnet.cells.gru``.
"""

import numpy as np
from numba import cuda

from scratchnet.arrays import Array
from scratchnet.cells.gru import gates_backward, gates_forward
from scratchnet_kernels.launch import kernel, launch, require_launchable


@kernel
def forward_kernel(a: Array, m: Array, h_prev: Array, gates: Array, h: Array) -> None:
    """a, m, gates (N, 3H); h_prev, h (N, H)."""
    N, H = h.shape
    j, b = cuda.grid(2)  # b for the sequence: n is a gate here
    if b < N and j < H:
        r, z, n = j, H + j, 2 * H + j  # where unit j has its three gates
        gates[b, r], gates[b, z], gates[b, n], h[b, j] = gates_forward(
            a[b, r], a[b, z], a[b, n], m[b, r], m[b, z], m[b, n], h_prev[b, j]
        )


@kernel
def backward_kernel(
    dh: Array, gates: Array, m_n: Array, h_prev: Array, da: Array, dm: Array, dh_direct: Array
) -> None:
    """dh, m_n, h_prev, dh_direct (N, H); gates, da, dm (N, 3H)."""
    N, H = dh.shape
    j, b = cuda.grid(2)
    if b < N and j < H:
        r, z, n = j, H + j, 2 * H + j
        da[b, r], da[b, z], da[b, n], dm[b, n], dh_direct[b, j] = gates_backward(
            dh[b, j], gates[b, r], gates[b, z], gates[b, n], m_n[b, j], h_prev[b, j]
        )
        dm[b, r], dm[b, z] = da[b, r], da[b, z]


def step_forward(a: Array, m: Array, h_prev: Array, gates: Array, h: Array) -> None:
    """One step: input and recurrent projection a, m (N, 3H); fills gates (N, 3H), h (N, H)."""
    require_launchable(a=a, m=m, h_prev=h_prev, gates=gates, h=h)
    launch(forward_kernel, *h.shape, a, m, h_prev, gates, h)


def step_backward(
    dh: Array, gates: Array, m_n: Array, h_prev: Array, da: Array, dm: Array
) -> Array:
    """One step back: fills da, dm (N, 3H); returns the direct part of dh_prev (N, H)."""
    require_launchable(dh=dh, gates=gates, m_n=m_n, h_prev=h_prev, da=da, dm=dm)
    dh_direct = np.empty_like(dh)
    launch(backward_kernel, *dh.shape, dh, gates, m_n, h_prev, da, dm, dh_direct)
    return dh_direct
