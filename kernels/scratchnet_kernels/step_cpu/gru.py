"""The GRU's pointwise step on the CPU: ``scratchnet.cells.gru`` in one loop instead of many."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells.gru import gates_backward, gates_forward
from scratchnet_kernels.compiled import compiled


@compiled
def step_forward(a: Array, m: Array, h_prev: Array, gates: Array, h: Array) -> None:
    """One step: input and recurrent projection a, m (N, 3H); fills gates (N, 3H), h (N, H)."""
    N, H = h.shape
    for b in range(N):  # b for the sequence: n is a gate here
        for j in range(H):
            r, z, n = j, H + j, 2 * H + j  # where unit j has its three gates
            gates[b, r], gates[b, z], gates[b, n], h[b, j] = gates_forward(
                a[b, r], a[b, z], a[b, n], m[b, r], m[b, z], m[b, n], h_prev[b, j]
            )


@compiled
def step_backward(
    dh: Array, gates: Array, m_n: Array, h_prev: Array, da: Array, dm: Array
) -> Array:
    """One step back: fills da, dm (N, 3H); returns the direct part of dh_prev (N, H)."""
    N, H = dh.shape
    dh_direct = np.empty_like(h_prev)
    for b in range(N):
        for j in range(H):
            r, z, n = j, H + j, 2 * H + j
            da[b, r], da[b, z], da[b, n], dm[b, n], dh_direct[b, j] = gates_backward(
                dh[b, j], gates[b, r], gates[b, z], gates[b, n], m_n[b, j], h_prev[b, j]
            )
            dm[b, r], dm[b, z] = da[b, r], da[b, z]
    return dh_direct
