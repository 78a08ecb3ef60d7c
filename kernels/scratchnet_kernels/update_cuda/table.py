"""Addresses of a model's arrays on the GPU, as a table for one launch over all of them.

A kernel takes a fixed number of arrays, a model has any number. So the kernel takes one array, the
table: a row for each chunk of at most CHUNK elements, with the chunk's address in each array that
the kernel works on, and its length. A block of the launch takes one row.
"""

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet_kernels.launch import BLOCK, SIMULATED

# elements: 16 for each thread of a block, and enough blocks for a whole GPU from half a million on
CHUNK = 4096
THREADS = BLOCK[0] * BLOCK[1]

if SIMULATED:

    def array_at(address: Any, n: Any, like: Any) -> Any:
        """The n numbers of the type of ``like`` that begin at an address."""
        memory = (ctypes.c_char * int(n * like.itemsize)).from_address(int(address))
        return np.ndarray(int(n), like.dtype, buffer=memoryview(memory))

else:
    from numba import types
    from numba.cuda.extending import intrinsic
    from numba.cuda.typing import signature

    @intrinsic  # type: ignore[untyped-decorator]
    def array_at(typing_context: Any, address: Any, n: Any, like: Any) -> Any:
        """The n numbers of the type of ``like`` that begin at an address."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return signature(types.CPointer(like), address, n, like), generate


def blocks_of(array: Array) -> int:
    """Number of chunks an array is cut into; the last one may be shorter."""
    return -(-int(array.size) // CHUNK)


def table(*columns: Sequence[Array]) -> Array:
    """int64 (blocks, columns + 1): for each chunk its address in each column, and its length.

    ``columns``: such as all p, all g, all m and all v. Arrays with the same place in their columns
    have one shape. The table is kept: from step to step a model's arrays stay where they are, and
    nothing is sent.
    """
    addresses = tuple(tuple(_address(a) for a in mates) for mates in zip(*columns))
    sizes = tuple(int(a.size) for a in columns[0])
    return _sent(addresses, sizes, columns[0][0].dtype.itemsize, _here())


@lru_cache(maxsize=16)
def _sent(
    addresses: tuple[tuple[int, ...], ...],
    sizes: tuple[int, ...],
    itemsize: int,
    here: tuple[int, int],
) -> Array:
    parts = []
    for mates, size in zip(addresses, sizes):
        first = np.arange(0, size, CHUNK)
        starts = [a + itemsize * first for a in mates]
        parts.append(np.column_stack([*starts, np.minimum(CHUNK, size - first)]))
    host = np.concatenate(parts).astype(np.int64)
    if SIMULATED:
        return host
    import cupy

    return cupy.asarray(host)


def _address(array: Array) -> int:
    return int(array.ctypes.data if SIMULATED else array.data.ptr)  # type: ignore[attr-defined]


def _here() -> tuple[int, int]:
    """The device and the stream: a table sent to one of them may be missing on another."""
    if SIMULATED:
        return 0, 0
    import cupy

    return int(cupy.cuda.Device().id), int(cupy.cuda.get_current_stream().ptr)
