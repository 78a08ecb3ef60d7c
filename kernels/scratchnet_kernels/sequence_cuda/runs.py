"""From runs to one launch: what every persistent kernel checks and counts."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.errors import InvalidTypeError
from scratchnet_kernels import launch
from scratchnet_kernels.launch import Persistent, require_launchable
from scratchnet_kernels.sequence_cuda.resources import Resources, resources

Kernel = Callable[[int, Resources], Persistent]


def launch_runs(
    kernel: Kernel,
    cell: Any,
    caches: Sequence[Any],
    read: Sequence[dict[str, Array]],
    filled: Sequence[dict[str, Array]],
) -> None:
    """Launch ``kernel`` for one or two runs: caches, arrays to read, arrays to fill.

    Arrays that are only read may have any memory order. Raises TypeError unless all are float32 on
    the GPU, ValueError where W_h does not fit one multiprocessor: before the launch.
    """
    T, N, H = caches[0].h[1:].shape
    if caches[0].h.dtype != np.float32:
        raise InvalidTypeError(
            f"the sequence kernels compute in float32, and h is {caches[0].h.dtype}: engine 'step'"
            " takes both"
        )
    use = resources(len(cell.GATES), H, N * len(caches), launch.device())
    runs = []
    for inputs, outputs in zip(read, filled, strict=True):
        arrays = {name: np.ascontiguousarray(a, like=a) for name, a in inputs.items()} | outputs
        require_launchable(**arrays)
        runs.append(tuple(arrays.values()))
    kernel(H, use).launch(-(-N // use.rows), runs, [cache.lengths for cache in caches], T, N)
