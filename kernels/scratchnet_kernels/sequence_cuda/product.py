"""The recurrent product of a persistent kernel: a thread adds up the products with its weights.

Every trick is here, so that the kernels can be read. What decides is how many instructions there
are for each weight: one is the multiply-add, and every other one is overhead. They are counted in
the machine code by ``tests/sequence_compiled.py``.

- A register has no address, so a loop over registers must be unrolled. The compiler does that for
  constant counts up to about 128 multiply-adds: hence pieces of 16 weights, a function for each.
- Shared memory is read 16 bytes at a time, if the compiler can see that an address is a multiple of
  16. Hence all counts are multiples of 4, and four weights of a thread are neighbours. The vector
  is the same for all threads of a warp, which costs one read.
- An index that might be negative costs ten instructions, since Numba then counts from the end of
  the array. ``& 1023`` says that this one is not.
- A multiply-add waits four cycles for the one before it in the same sum. Other rows fill the time;
  where there are few, each has two sums.
"""

import math
from functools import cache

from numba import cuda, float32

from scratchnet.arrays import Array
from scratchnet_kernels.launch import Compiled, device_function
from scratchnet_kernels.sequence_cuda.product_tf32 import product_tf32
from scratchnet_kernels.sequence_cuda.resources import Resources
from scratchnet_kernels.sequence_cuda.weights import FOURS, ZERO, Product, Weights

PIECE = 16  # weights


@cache
def product(use: Resources, weights: Weights, weights_at: int) -> Product:
    """The product for blocks that take ``use``, with shared weights from ``weights_at`` on."""
    if use.tiles:
        return product_tf32(use, weights, weights_at)
    rows, parts, threads, in_registers = use.rows, use.parts, use.threads, use.in_registers
    terms, stride, outputs = use.terms, use.stride, threads // parts
    in_shared = terms - in_registers
    piece = math.gcd(in_shared, 32 // max(2, rows))
    sums_a_row = 2 if rows <= 2 else 1
    partial, odd = sums_a_row * rows, sums_a_row - 1
    first_weight, after = weights

    def pieces(first: int) -> tuple[Compiled, Compiled]:
        """Load and multiply the weights in registers from ``first`` on: a piece, then the rest."""
        last = min(first + PIECE, in_registers)
        if first == in_registers:
            return _load_nothing, _add_nothing
        load_rest, add_rest = pieces(last)

        @device_function
        def load(W_h: Array, at: int, unit: int, end: int, w: Array) -> tuple[int, int]:
            for k in range(first, last):
                w[k] = W_h[at] if at < end else ZERO
                at, unit = after(at, unit)
            return load_rest(W_h, at, unit, end, w)

        @device_function
        def add(w: Array, shared: Array, base: int, part: Array) -> None:
            for k in range(first, last):
                for n in range(rows):
                    part[sums_a_row * n + (k & odd)] += w[k] * shared[base + n * stride + k]
            add_rest(w, shared, base, part)

        return load, add

    load_registers, add_registers = pieces(0)

    @device_function
    def load(W_h: Array, rank: int, r: int, w: Array, shared: Array) -> None:
        at, unit, end = first_weight(r % outputs, r // outputs * terms, rank)
        at, unit = load_registers(W_h, at, unit, end, w)
        for k in range(in_shared):  # four of a thread are neighbours, and then those of the next
            value = W_h[at] if at < end else ZERO
            shared[weights_at + (k // 4 * threads + r) * 4 + k % 4] = value
            at, unit = after(at, unit)

    @device_function
    def add(w: Array, shared: Array, base: int, r: int, sums: Array) -> None:
        part = cuda.local.array(partial, float32)
        for n in range(partial):
            part[n] = ZERO
        base = (base + r // outputs * terms) & FOURS  # this thread's part
        add_registers(w, shared, base, part)
        for first in range(0, in_shared, piece):
            for four in range(0, piece, 4):
                at = (first + four) & 1023
                for k in range(4):
                    value = shared[weights_at + at * threads + 4 * r + k]
                    for n in range(rows):
                        x = shared[base + n * stride + in_registers + at + k]
                        part[sums_a_row * n + (k & odd)] += value * x
        for n in range(rows):
            sums[n] = part[n] if sums_a_row == 1 else part[2 * n] + part[2 * n + 1]

    @device_function
    def place(r: int, n: int) -> tuple[int, int, int]:
        return r // outputs, n, r % outputs

    return Product(rows, load, add, place, _as_it_is)


@device_function
def _as_it_is(x: float) -> float:
    return x


@device_function
def _load_nothing(W_h: Array, at: int, unit: int, end: int, w: Array) -> tuple[int, int]:
    return at, unit


@device_function
def _add_nothing(w: Array, shared: Array, base: int, part: Array) -> None:
    pass
