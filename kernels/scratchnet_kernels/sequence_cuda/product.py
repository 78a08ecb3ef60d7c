"""The recurrent product of a persistent kernel: K weights a thread, in registers and shared memory.

Every trick is here, so that the kernels can be read. A loop over registers must unroll: with a
constant count it does, up to about 64 multiply-adds, hence the two halves. Neighbours in shared
memory are read 16 bytes at a time, where the compiler can see that their address is a multiple of
16. Each row has two sums, since a multiply-add waits for the one before it.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import cuda, float32

from scratchnet.arrays import Array
from scratchnet_kernels.launch import Compiled, device_function

ZERO = np.float32(0)


class Product(NamedTuple):
    """Two device functions for one shape."""

    # load(W_h, start, step, r, w, shared): weight k of thread r is W_h[start + k step]
    load: Compiled
    # add(w, shared, base, r, sums): sums[n] += sum over k of weight k * shared[n stride + base + k]
    add: Compiled


@cache
def product(
    K: int, in_registers: int, rows: int, stride: int, threads: int, weights_at: int
) -> Product:
    """The product for blocks of ``threads``, with shared weights from ``weights_at``.

    The vectors of K numbers, one for each row, are ``stride`` apart in shared memory.
    """
    in_shared = K - in_registers
    half = in_registers // 2
    partial = 2 * rows

    @device_function
    def load(W_h: Array, start: int, step: int, r: int, w: Array, shared: Array) -> None:
        for k in range(half):
            w[k] = W_h[start + k * step]
        for k in range(half, in_registers):
            w[k] = W_h[start + k * step]
        for k in range(in_shared):
            shared[weights_at + k * threads + r] = W_h[start + (in_registers + k) * step]

    @device_function
    def add(w: Array, shared: Array, base: int, r: int, sums: Array) -> None:
        part = cuda.local.array(partial, float32)
        for n in range(partial):
            part[n] = ZERO
        for k in range(half):
            for n in range(rows):
                part[2 * n + k % 2] += w[k] * shared[n * stride + base + k]
        for k in range(half, in_registers):
            for n in range(rows):
                part[2 * n + k % 2] += w[k] * shared[n * stride + base + k]
        for n in range(rows):
            sums[n] += part[2 * n] + part[2 * n + 1]
        for k in range(in_shared):
            weight = shared[weights_at + k * threads + r]  # neighbours read neighbours
            for n in range(rows):
                sums[n] += weight * shared[n * stride + base + in_registers + k]

    return Product(load, add)
