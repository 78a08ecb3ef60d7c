"""Adam's update on the GPU, by ``scratchnet.adam``: a block for each chunk of a parameter."""

from collections.abc import Mapping
from typing import Any

from numba import cuda

from scratchnet.adam import Rates, adam_rule, decayed, rates
from scratchnet.arrays import Array
from scratchnet_kernels.launch import BLOCK, kernel, launch, require_launchable
from scratchnet_kernels.update_cpu import Arrays, require_matching
from scratchnet_kernels.update_cuda.table import THREADS, array_at, table


@kernel
def adam_kernel(chunks: Array, k: Rates) -> None:
    """chunks (blocks, 5): where p, g, m and v of a chunk begin, and its length."""
    row = chunks[cuda.blockIdx.x]
    n = row[4]
    p, g = array_at(row[0], n, k.lr), array_at(row[1], n, k.lr)
    m, v = array_at(row[2], n, k.lr), array_at(row[3], n, k.lr)
    # Neighbouring threads take neighbouring elements, so that a warp reads 128 bytes in one piece.
    for j in range(cuda.threadIdx.y * BLOCK[0] + cuda.threadIdx.x, n, THREADS):
        p_j, g_j = decayed(p[j], g[j], k.shrink, k.decay)
        p[j], m[j], v[j] = adam_rule(p_j, g_j, m[j], v[j], k)


def adam(
    params: Arrays, grads: Arrays, m: Arrays, v: Arrays, updates: Mapping[str, int], **options: Any
) -> None:
    """Adam's update of all parameters, in place: changes params, m and v, not grads.

    One launch for all parameters of one type that have been updated equally often, which as a rule
    is all. ``updates[name]``: which update of that parameter this is, from 1. ``options``: those of
    ``rates`` from lr on. Raises TypeError or ValueError, before the launch, for arrays that the
    kernel cannot take.
    """
    require_matching(params, grads, m, v, require_launchable)
    groups: dict[tuple[Any, int], list[str]] = {}
    for name, p in params.items():
        if p.size:
            groups.setdefault((p.dtype, updates[name]), []).append(name)
    for (dtype, t), names in groups.items():
        chunks = table(*([arrays[name] for name in names] for arrays in (params, grads, m, v)))
        launch(adam_kernel, BLOCK[1], BLOCK[0] * len(chunks), chunks, rates(dtype, t, **options))
