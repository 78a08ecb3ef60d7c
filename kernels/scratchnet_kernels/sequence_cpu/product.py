"""The matrix products of a sequence: a tile of the result stays in registers until it is done.

A tile has up to 6 rows and 4 vectors of columns: 24 registers of sums. One step of its loop loads 4
vectors of the right factor and multiplies each by 6 numbers of the left: 24 multiply-adds for 10
loads, so that the processor's arithmetic is the limit, not its memory. The right factor is laid out
once (``pack``), in the order in which tiles read it.

Why not BLAS: it copies its right factor into such an order at every call. Here that factor is W_h,
the same at every time step, and the left one has few rows: the copy would cost as much as the
product. Measured (``benchmarks/parts.py``; AVX-512, one thread, float32), 16 rows, H = 256: 218
GFLOP/s in tiles, 114 by BLAS.

Every element of a result is summed in one order, whatever rows and columns are computed together.
So results are the same to the last bit for any number of threads.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from scratchnet.arrays import Array
from scratchnet_kernels.compiled import compiled, kept
from scratchnet_kernels.sequence_cpu.vector import (
    BYTES,
    INDEX,
    Builder,
    Kind,
    Value,
    Vector,
    alignment,
    first_lanes,
    fused_multiply_add,
    lanes,
    load,
    masked_load,
    masked_store,
    splat,
    store,
)

REGISTERS = 32 if BYTES == 64 else 16
ROWS = 6 if REGISTERS == 32 else 3  # of a tile: sums, a row of the right factor and the left number
VECTORS = 4  # of a tile, in each row
PACKED = 1 << 17  # numbers that are packed together: 512 KB of float32, half a core's own cache


def pack(W: Array) -> Array:
    """W (K, C) as panels of 4 vectors of columns, (K, width) each, filled up with zeros.

    The panel that begins with column j begins at element [0, j K] of the result.
    """
    packed = _room_for(W, *W.shape)
    pack_matrix(W, packed)
    return packed


def pack_transposed(W: Array) -> Array:
    """``pack`` of W^T, from W (C, K)."""
    packed = _room_for(W, *W.shape[::-1])
    pack_columns(W, packed)
    return packed


def _room_for(W: Array, K: int, C: int) -> Array:
    L = lanes(W.dtype)
    return np.empty((1, K * (-(-C // L) * L)), W.dtype)


@compiled
def pack_into(W: Array, packed: Array) -> None:
    """The loop of ``pack``."""
    K, C = W.shape
    L = BYTES // W.itemsize
    at = 0
    for j in range(0, C, VECTORS * L):
        end = min(j + VECTORS * L, C)
        for k in range(K):
            for v in range(j, end, L):
                store(packed, 0, at, L, load(W, k, v, end - v))
                at += L


@kept
def pack_matrix(W: Array, packed: Array) -> None:
    """``pack_into``, for whole matrices."""
    pack_into(W, packed)


@kept
def pack_columns(W: Array, packed: Array) -> None:
    """The loop of ``pack_transposed``."""
    C, K = W.shape
    L = BYTES // W.itemsize
    for j in range(0, C, VECTORS * L):
        columns = min(VECTORS * L, C - j)
        width = -(-columns // L) * L
        panel = packed[0, j * K : (j + width) * K].reshape(K, width)
        panel[:, columns:] = 0
        for first in range(0, K, L):  # few columns at a time: their cache lines stay
            for i in range(columns):
                for k in range(first, min(first + L, K)):
                    panel[k, i] = W[j + i, k]


def tile(left: Array, packed: Array, out: Array, n: int, j: int, add: int) -> None:
    """One tile of out = left W, at row n and column j; added to what is there if ``add`` is 1.

    left (M, K), out (M, C); ``packed`` is W (K, C) as ``pack`` lays it out.
    """
    K, C = left.shape[1], out.shape[1]
    L = lanes(out.dtype)
    width = min(VECTORS * L, -(-(C - j) // L) * L)
    panel = packed.reshape(-1)[j * K : (j + width) * K].reshape(K, width)[:, : C - j]
    found = out[n : n + ROWS, j : j + width]
    found[...] = left[n : n + ROWS] @ panel + (found if add else 0)


@overload(tile, jit_options={"forceinline": True}, strict=False)  # type: ignore[untyped-decorator]
def _compiled_tile(left: Any, packed: Any, out: Any, n: Any, j: Any, add: Any) -> Any:
    return lambda left, packed, out, n, j, add: _tile(left, packed, out, n, j, add)


@intrinsic  # type: ignore[untyped-decorator]
def _tile(typing: Any, left: Kind, packed: Kind, out: Kind, n: Kind, j: Kind, add: Kind) -> Any:
    """A tile at the edge has fewer rows or vectors: there is a loop for each number of both."""

    def generate(context: Any, b: Builder, sig: Any, args: Any) -> Value:
        vector = context.get_value_type(Vector(out.dtype))
        L = vector.count
        arrays = [context.make_array(k)(context, b, a) for k, a in zip(sig.args[:3], args)]
        n_, j_, add_ = args[3:]
        M, K = cgutils.unpack_tuple(b, arrays[0].shape)
        C = cgutils.unpack_tuple(b, arrays[2].shape)[1]
        rows = _smaller(b, b.sub(M, n_), INDEX(ROWS))
        columns = b.sub(C, j_)
        vectors = _smaller(b, b.sdiv(b.add(columns, INDEX(L - 1)), INDEX(L)), INDEX(VECTORS))
        at = _Corner(b, vector, arrays, n_, j_, K)
        end = b.append_basic_block("end")
        switch = b.switch(b.add(b.mul(rows, INDEX(VECTORS + 1)), vectors), end)
        for R in range(1, ROWS + 1):
            for V in range(1, VECTORS + 1):
                block = b.append_basic_block(f"tile_{R}_{V}")
                switch.add_case(INDEX(R * (VECTORS + 1) + V), block)
                b.position_at_end(block)
                masks = [first_lanes(b, b.sub(columns, INDEX(v * L)), vector) for v in range(V)]
                _one_tile(b, at, R, masks, add_)
                b.branch(end)
        b.position_at_end(end)
        return context.get_dummy_value()

    return types.void(left, packed, out, n, j, add), generate


class _Corner:
    """Where a tile begins in each of the three matrices."""

    def __init__(self, b: Builder, vector: Any, arrays: Any, n: Value, j: Value, K: Value) -> None:
        left, packed, out = arrays
        self.vector, self.K, self.b = vector, K, b
        self.left_row, self.left_k = cgutils.unpack_tuple(b, left.strides)  # in bytes
        self.out_row = cgutils.unpack_tuple(b, out.strides)[0]
        self.left = self._bytes_on(left.data, b.mul(n, self.left_row))
        self.panel = b.bitcast(b.gep(packed.data, [b.mul(j, K)]), vector.as_pointer())
        across = b.mul(j, INDEX(alignment(vector)))
        self.out = self._bytes_on(out.data, b.add(b.mul(n, self.out_row), across))

    def _bytes_on(self, pointer: Value, count: Value) -> Value:
        return self.b.gep(self.b.bitcast(pointer, ir.IntType(8).as_pointer()), [count])

    def out_vector(self, r: int, v: int) -> Value:
        """Address of vector v in row r of the result."""
        place = self.b.add(self.b.mul(INDEX(r), self.out_row), INDEX(v * BYTES))
        return self.b.bitcast(self._bytes_on(self.out, place), self.vector.as_pointer())

    def left_number(self, r: int, k: Value) -> Value:
        """The number in row r and column k of the left factor, in all lanes."""
        place = self.b.add(self.b.mul(INDEX(r), self.left_row), self.b.mul(k, self.left_k))
        pointer = self.b.bitcast(self._bytes_on(self.left, place), self.vector.element.as_pointer())
        number = self.b.load(pointer)
        number.align = alignment(self.vector)
        return splat(self.b, number, self.vector)

    def panel_vectors(self, k: Value, V: int) -> list[Value]:
        """Row k of the panel, V vectors wide."""
        found = []
        for v in range(V):
            place = self.b.add(self.b.mul(k, INDEX(V)), INDEX(v))
            found.append(self.b.load(self.b.gep(self.panel, [place])))
            found[-1].align = alignment(self.vector)
        return found


def _one_tile(b: Builder, at: _Corner, R: int, masks: list[Value], add: Value) -> None:
    """for k in range(K): sums[r, v] += left[r, k] panel[k, v], for all r and v at once; K > 0."""
    V = len(masks)
    on = splat(b, b.trunc(add, ir.IntType(1)), masks[0].type)
    places = [(r, v) for r in range(R) for v in range(V)]
    starts = [
        masked_load(b, at.out_vector(r, v), b.and_(masks[v], on), at.vector) for r, v in places
    ]
    fma = fused_multiply_add(b, at.vector)
    before, loop, done = b.block, b.append_basic_block("over_k"), b.append_basic_block("done")
    b.branch(loop)
    b.position_at_end(loop)
    k = b.phi(INDEX)
    sums = [b.phi(at.vector) for _ in places]
    panel = at.panel_vectors(k, V)
    numbers = [at.left_number(r, k) for r in range(R)]
    added = [b.call(fma, [numbers[r], panel[v], s]) for (r, v), s in zip(places, sums)]
    after = b.add(k, INDEX(1))
    for phi, start, value in zip([k, *sums], [INDEX(0), *starts], [after, *added]):
        phi.add_incoming(start, before)
        phi.add_incoming(value, loop)
    b.cbranch(b.icmp_signed("<", after, at.K), loop, done)
    b.position_at_end(done)
    for (r, v), value in zip(places, added):
        masked_store(b, value, at.out_vector(r, v), masks[v])


def _smaller(b: Builder, x: Value, y: Value) -> Value:
    return b.select(b.icmp_signed("<", x, y), x, y)


@compiled
def multiply(left: Array, packed: Array, out: Array, add: int) -> None:
    """out (M, C) = left (M, K) W (K, C), W packed; added to out if ``add`` is 1."""
    width = VECTORS * (BYTES // out.itemsize)
    for j in range(0, out.shape[1], width):
        for n in range(0, len(left), ROWS):
            tile(left, packed, out, n, j, add)


@compiled
def add_rows(right: Array, out: Array) -> None:
    """out (1, C) += the sum of all rows of right (M, C)."""
    C, L = right.shape[1], BYTES // out.itemsize
    for j in range(0, C, L):
        total = load(right, 0, j, C - j)
        for n in range(1, len(right)):
            total = total + load(right, n, j, C - j)
        store(out, 0, j, C - j, load(out, 0, j, C - j) + total)


@compiled
def terms_at_once(G: int) -> int:
    """Terms of a sum whose right factors, G numbers each, are packed together."""
    return max(32, min(128, PACKED // G))


@kept
def gradients(
    x: Array, h: Array, da: Array, dW_x: Array, dW_h: Array, db: Array, first: int, last: int
) -> None:
    """Columns ``first`` to ``last`` of dW_x = x^T da, dW_h = h^T da and db = the sum of da's rows.

    x (M, D), h (M, H), da (M, G), db (1, G). The sums over all M steps and sequences are long; da
    is packed a part at a time, and used for all three while it is in cache.
    """
    M, G = da.shape
    L = BYTES // da.itemsize
    terms = terms_at_once(G)
    packed = np.empty((1, terms * (-(-(last - first) // L) * L)), da.dtype)
    columns = slice(first, last)
    db[:, columns] = 0
    for m in range(0, M, terms):
        part = slice(m, min(m + terms, M))
        pack_into(da[part, columns], packed)
        multiply(x[part].T, packed, dW_x[:, columns], int(m > 0))
        multiply(h[part].T, packed, dW_h[:, columns], int(m > 0))
        add_rows(da[part, columns], db[:, columns])
