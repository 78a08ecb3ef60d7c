"""The recurrent product's protocol, and which weights of W_h each of its sums is over.

``product.py`` computes it in float32, ``product_tf32.py`` on tensor cores. The kernels do not know
which of them they call.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from scratchnet_kernels.launch import Compiled, device_function

ZERO = np.float32(0)
# An index & FOURS is the index, of memory that is below 256 KB and read four numbers at a time. It
# tells the compiler that the index is not negative and that the address is a multiple of 16 bytes.
FOURS = 0xFFFC


class Product(NamedTuple):
    """The product for one shape: device functions, and how many sums a thread has in the end.

    r is the number of the thread. A sum is one part of an output's sum, for one row.
    """

    sums: int
    # load(W_h, rank, r, w, shared): the weights of this thread, into w and shared memory
    load: Compiled
    # add(w, shared, base, r, sums): this thread's sums, over the vectors from shared[base] on
    add: Compiled
    # place(r, n) -> part, row, output: whose sum sums[n] is
    place: Compiled
    # operand(x): a number of the vector, as it has to be in shared memory
    operand: Compiled


class Weights(NamedTuple):
    """Which weights an output sums over: where they are in W_h (H, G H), one after the other.

    H is padded to the units U of some blocks. Past ``end`` a weight is zero. Before it, padding has
    the weight of another unit: forward that goes into a sum which nobody reads, backward it
    multiplies a da of zero.
    """

    # first(output, term, rank) -> at, unit, end: the weight of that term
    first: Compiled
    # after(at, unit) -> at, unit: the weight of the next term
    after: Compiled


@cache
def column_weights(gates: int, H: int, U: int) -> Weights:
    """Forward: an output is a column (gate, unit) of this block, and sums over all units of h'."""
    G = gates * H

    @device_function
    def first(column: int, term: int, rank: int) -> tuple[int, int, int]:
        gate, unit = column // U, column % U
        return term * G + gate * H + rank * U + unit, unit, H * G

    @device_function
    def after(at: int, unit: int) -> tuple[int, int]:
        return at + G, unit

    return Weights(first, after)


@cache
def row_weights(gates: int, H: int, U: int) -> Weights:
    """Backward: an output is a unit k of dh', and sums over this block's columns of da."""
    G = gates * H

    @device_function
    def first(k: int, term: int, rank: int) -> tuple[int, int, int]:
        gate, unit = term // U, term % U
        end = (k + 1) * G if k < H else 0
        return k * G + gate * H + rank * U + unit, unit, end

    @device_function
    def after(at: int, unit: int) -> tuple[int, int]:
        if unit + 1 == U:  # the first unit of the next gate
            return at + 1 + H - U, 0
        return at + 1, unit + 1

    return Weights(first, after)
