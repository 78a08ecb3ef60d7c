"""The sum of squares of a norm, on the GPU, with the same bits in every run.

1. A thread adds up the squares of every 256th element of its block's chunk.

2. The block's 256 sums are added in pairs, in shared memory: 128 + 128, 64 + 64, ... 1 + 1.

3. The sums of all blocks go to the host together, which adds those of each array in order.

The order of the additions follows from the arrays' sizes alone. An ``atomicAdd`` would add them in
the order in which blocks finish.

Squares are added in float64 also where the data are float32. The square of a float32 is exact there
and neither overflows nor vanishes, so the largest element need not be found first, which would take
a second pass; and 4096^2 + 1 keeps its 1. A GPU made for games does float64 at 1/64 of its speed:
by its data sheet, still the pace at which memory gives it elements.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import cuda, float64

from scratchnet.arrays import Array, to_host
from scratchnet_kernels.launch import BLOCK, kernel, launch, require_launchable
from scratchnet_kernels.update_cpu import Name
from scratchnet_kernels.update_cuda.table import THREADS, array_at, blocks_of, table


@kernel
def squares_kernel(chunks: Array, like: Any, sums: Array) -> None:
    """Fills sums (blocks,) from chunks (blocks, 2), each an address and a length.

    The chunks are of arrays of the type of ``like``.
    """
    lanes = cuda.shared.array(THREADS, float64)
    b = cuda.blockIdx.x
    thread = cuda.threadIdx.y * BLOCK[0] + cuda.threadIdx.x
    n = chunks[b, 1]
    g = array_at(chunks[b, 0], n, like)
    total = 0.0
    for j in range(thread, n, THREADS):
        x = float64(g[j])
        total += x * x
    lanes[thread] = total
    width = THREADS // 2
    while width:
        cuda.syncthreads()  # all sums are written before they are read
        if thread < width:
            lanes[thread] += lanes[thread + width]
        width //= 2
    if thread == 0:
        sums[b] = lanes[0]


def squares(arrays: Mapping[Name, Array]) -> dict[Name, float]:
    """Sum of the squares of each array, in float64, without scaling.

    Float64 squares may overflow or vanish; the caller sees that.

    One launch for all arrays of one type, and one transfer to the host. The same bits in every run.
    Raises TypeError or ValueError, before the launch, for arrays that the kernel cannot take.
    """
    groups: dict[Any, list[Name]] = {}
    for name, a in arrays.items():
        require_launchable(**{str(name): a})
        if a.size:
            groups.setdefault(a.dtype, []).append(name)
    found = dict.fromkeys(arrays, 0.0)
    if not groups:
        return found
    parts = []
    for dtype, names in groups.items():
        chunks = table([arrays[name] for name in names])
        sums = np.empty_like(arrays[names[0]], shape=(len(chunks),), dtype=np.float64)
        launch(squares_kernel, BLOCK[1], BLOCK[0] * len(chunks), chunks, dtype.type(0), sums)
        parts.append(sums)
    host, first = to_host(np.concatenate(parts)).tolist(), 0
    for names in groups.values():
        for name in names:
            found[name] = sum(host[first : first + blocks_of(arrays[name])])
            first += blocks_of(arrays[name])
    return found
