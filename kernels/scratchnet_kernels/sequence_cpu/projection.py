"""The products with W_x: for several time steps together, while their results are still in cache.

All steps together would be written to memory and read again by the time loop; one step alone has
few rows where the batch is small.
"""

from scratchnet.arrays import Array
from scratchnet_kernels.compiled import compiled
from scratchnet_kernels.sequence_cpu.product import multiply

PROJECTED = 1 << 15  # pre-activations: 128 KB of float32, which stay in a core's own cache


@compiled
def steps_at_once(N: int, G: int) -> int:
    """Number of time steps that are projected together, for (N, G) pre-activations a step."""
    return max(1, PROJECTED // (N * G))


@compiled
def project(x: Array, W_x: Array, a: Array, begin: int, end: int, first: int, last: int) -> None:
    """a = x W_x (T, N, G), in steps ``begin`` to ``end`` of sequences ``first`` to ``last``."""
    N, D, G = x.shape[1], x.shape[2], a.shape[2]
    if last - first == N:  # all rows: the steps follow one another in memory
        multiply(x[begin:end].reshape(-1, D), W_x, a[begin:end].reshape(-1, G), 0)
    else:
        for t in range(begin, end):
            multiply(x[t, first:last], W_x, a[t, first:last], 0)


@compiled
def back_project(
    da: Array, W_x: Array, dx: Array, begin: int, end: int, first: int, last: int
) -> None:
    """dx = da W_x^T, for the same part; W_x transposed and packed."""
    N, D, G = dx.shape[1], dx.shape[2], da.shape[2]
    if last - first == N:
        multiply(da[begin:end].reshape(-1, G), W_x, dx[begin:end].reshape(-1, D), 0)
    else:
        for t in range(begin, end):
            multiply(da[t, first:last], W_x, dx[t, first:last], 0)
