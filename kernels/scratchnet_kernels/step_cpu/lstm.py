"""The LSTM's pointwise step on the CPU: ``scratchnet.cells.lstm`` in one loop instead of many.

The array engine passes over (N, H) once for every operation, writing each result to memory for the
next to read. Here all of a unit's arithmetic is done while its numbers are in registers.
"""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells.lstm import gates_backward, gates_forward
from scratchnet_kernels.compiled import compiled


@compiled
def step_forward(a: Array, c_prev: Array, gates: Array, c: Array, h: Array) -> None:
    """One step: from a (N, 4H) and c_prev (N, H); fills gates (N, 4H), c and h (N, H)."""
    N, H = h.shape
    for n in range(N):
        for j in range(H):
            i, f, g, o = j, H + j, 2 * H + j, 3 * H + j  # where unit j has its four gates
            gates[n, i], gates[n, f], gates[n, g], gates[n, o], c[n, j], h[n, j] = gates_forward(
                a[n, i], a[n, f], a[n, g], a[n, o], c_prev[n, j]
            )


@compiled
def step_backward(
    dh: Array, dc_next: Array, gates: Array, c_prev: Array, c: Array, da: Array
) -> Array:
    """One time step back: fills da (N, 4H) and returns the gradient of c_prev (N, H)."""
    N, H = dh.shape
    dc_prev = np.empty_like(c)  # a new array: dc_next may be the caller's own
    for n in range(N):
        for j in range(H):
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
    return dc_prev
