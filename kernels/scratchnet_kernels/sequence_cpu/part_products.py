"""The products of one thread: all columns for its rows, or its units' columns for all rows.

The columns of W_x and W_h (K, gates H) are gate by gate, all units of each. Where threads have
units of their own, each gate of each thread is packed for itself, by the thread that reads it.

x W_x is computed for several time steps together, while the results are still in cache. All steps
together would be written to memory and read again by the time loop; one step alone has few rows
where the batch is small.
"""

from scratchnet.arrays import Array
from scratchnet_kernels.compiled import compiled
from scratchnet_kernels.sequence_cpu.product import VECTORS, multiply, pack, pack_transposed
from scratchnet_kernels.sequence_cpu.team import Part, share
from scratchnet_kernels.sequence_cpu.vector import BYTES

PROJECTED = 1 << 15  # pre-activations: 128 KB of float32, which stay in a core's own cache


@compiled
def pack_part(W: Array, packed: Array, H: int, part: Part) -> None:
    """Pack this thread's part of W (K, gates H); after a meeting it is complete."""
    (K, G), L = W.shape, BYTES // W.itemsize
    if not part.by_units:
        first, last = share(G, VECTORS * L, part.k, part.threads)
        pack(W[:, first:last], packed[first * K :])
        return
    for gate in range(G // H):
        first, last = gate * H + part.first, gate * H + part.last
        pack(W[:, first:last], packed[_begin(gate, H, part, L) * K :])


@compiled
def pack_transposed_part(W: Array, packed: Array, part: Part) -> None:
    """``pack_part`` of W^T (K, H), from W (H, K)."""
    (H, K), L = W.shape, BYTES // W.itemsize
    first, last = part.first, part.last
    if not part.by_units:
        first, last = share(H, VECTORS * L, part.k, part.threads)
    pack_transposed(W[first:last], packed[first * K :])


@compiled
def pack_transposed_share(W: Array, packed: Array, part: Part) -> None:
    """Pack this thread's share of W^T (K, C), from W (C, K), which is read as one."""
    (C, K), L = W.shape, BYTES // W.itemsize
    first, last = share(C, VECTORS * L, part.k, part.threads)
    pack_transposed(W[first:last], packed[first * K :])


@compiled
def multiply_part(left: Array, packed: Array, out: Array, H: int, part: Part, add: int) -> None:
    """This thread's columns of out = left W (rows, gates H); added to out if ``add`` is 1."""
    K, G, L = left.shape[1], out.shape[1], BYTES // out.itemsize
    for gate in range(G // H if part.by_units else 1):
        first, last, begin = 0, G, 0
        if part.by_units:
            first, last = gate * H + part.first, gate * H + part.last
            begin = _begin(gate, H, part, L) * K
        multiply(left, packed[begin:], out[:, first:last], add)


@compiled
def _begin(gate: int, H: int, part: Part, L: int) -> int:
    """Column of the packed matrix with which the part begins in this gate: a vector's first."""
    return gate * (-(-H // L) * L) + part.first


@compiled
def steps_at_once(N: int, G: int) -> int:
    """Number of time steps that are projected together, for (N, G) pre-activations a step."""
    return max(1, PROJECTED // (N * G))


@compiled
def project(
    x: Array, W_x: Array, a: Array, begin: int, end: int, first: int, last: int, H: int, part: Part
) -> None:
    """a = x W_x (T, N, gates H), in steps ``begin`` to ``end``, rows ``first`` to ``last``."""
    N, x, a = x.shape[1], x.reshape(-1, x.shape[2]), a.reshape(-1, a.shape[2])
    many = end - begin if last - first == N else 1  # of all rows the steps follow one another
    for t in range(begin, end, many):
        rows = slice(t * N + first, (t + many - 1) * N + last)
        multiply_part(x[rows], W_x, a[rows], H, part, 0)


@compiled
def back_project(
    da: Array, W_x: Array, dx: Array, begin: int, end: int, first: int, last: int, part: Part
) -> None:
    """dx = da W_x^T, for the same rows; W_x transposed and packed as one.

    A row of dx needs the da of all units, so threads that have units each take some steps here.
    """
    if part.by_units:
        skip, stop = share(end - begin, 1, part.k, part.threads)
        begin, end = begin + skip, begin + stop
    N, da, dx = dx.shape[1], da.reshape(-1, da.shape[2]), dx.reshape(-1, dx.shape[2])
    many = max(1, end - begin) if last - first == N else 1
    for t in range(begin, end, many):
        rows = slice(t * N + first, (t + many - 1) * N + last)
        multiply(da[rows], W_x, dx[rows], 0)
