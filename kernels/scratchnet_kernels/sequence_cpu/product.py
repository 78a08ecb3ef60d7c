"""The matrix products of a sequence: a tile of the result stays in registers until it is done.

A tile has up to 6 rows and 4 vectors of columns: 24 registers of sums. One step of its loop loads 4
vectors of the right factor and multiplies each by 6 numbers of the left: 24 multiply-adds for 10
loads, so that the processor's arithmetic is the limit, not its memory. The right factor is laid out
once (``pack``), in the order in which tiles read it.

Why not BLAS: it copies its right factor into such an order at every call. Here that factor is W_h,
the same at every time step, and the left one has few rows: the copy would cost as much as the
product. Measured (``benchmarks/parts.py``; AVX-512, one thread, float32), 16 rows, H = 256: 218
GFLOP/s in tiles, 105 by BLAS.

Every element of a result is summed in one order, whatever rows and columns are computed together.
So results are the same to the last bit for any number of threads.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from scratchnet.arrays import Array
from scratchnet_kernels.compiled import compiled, kept
from scratchnet_kernels.sequence_cpu.memory import empty
from scratchnet_kernels.sequence_cpu.team import share
from scratchnet_kernels.sequence_cpu.vector import (
    BYTES,
    INDEX,
    Builder,
    Kind,
    Value,
    Vector,
    alignment,
    fused_multiply_add,
    lanes,
    load,
    load_first,
    mask_of,
    splat,
    store,
    store_first,
    suffix,
)

REGISTERS = 32 if BYTES == 64 else 16
ROWS = 6 if REGISTERS == 32 else 3  # of a tile: sums, a row of the right factor and the left number
VECTORS = 4  # of a tile, in each row
TERMS = 128  # of a long sum, that are added at a time


def room(W: Array, gates: int) -> Array:
    """Memory for W (K, gates H), packed as one or gate by gate."""
    (K, G), L = W.shape, BYTES // W.itemsize
    return empty(W, (K * gates * (-(-(G // gates) // L) * L),))


def room_transposed(W: Array) -> Array:
    """Memory for W^T, packed, from W (C, K)."""
    return room(W.T, 1)


@compiled
def pack(W: Array, packed: Array) -> None:
    """Lay out W (K, C) as panels of 4 vectors of columns, (K, width) each, filled up with zeros.

    The panel that begins with column j begins at element j K of ``packed``.
    """
    K, C = W.shape
    row = packed.reshape(1, -1)
    L = BYTES // W.itemsize
    at = 0
    for j in range(0, C, VECTORS * L):
        end = min(j + VECTORS * L, C)
        for k in range(K):
            for v in range(j, end, L):
                store(row, 0, at, L, load(W, k, v, end - v))
                at += L


@compiled
def pack_transposed(W: Array, packed: Array) -> None:
    """``pack`` of W^T, from W (C, K)."""
    C, K = W.shape
    L = BYTES // W.itemsize
    for j in range(0, C, VECTORS * L):
        columns = min(VECTORS * L, C - j)
        width = -(-columns // L) * L
        panel = packed[j * K : (j + width) * K].reshape(K, width)
        panel[:, columns:] = 0
        for first in range(0, K, L):  # few columns at a time: their cache lines stay
            for i in range(columns):
                for k in range(first, min(first + L, K)):
                    panel[k, i] = W[j + i, k]


def tile(left: Array, packed: Array, out: Array, n: int, j: int, add: int) -> None:
    """One tile of out = left W, at row n and column j; added to what is there if ``add`` is 1.

    left (M, K), out (M or more rows, C); ``packed`` is W (K, C) as ``pack`` lays it out.
    """
    K, C = left.shape[1], out.shape[1]
    L = lanes(out.dtype)
    width = min(VECTORS * L, -(-(C - j) // L) * L)
    panel = packed[j * K : (j + width) * K].reshape(K, width)[:, : C - j]
    rows = slice(n, min(n + ROWS, len(left)))
    found = out[rows, j : j + width]
    found[...] = left[rows] @ panel + (found if add else 0)


@overload(tile, jit_options={"forceinline": True}, strict=False)  # type: ignore[untyped-decorator]
def _compiled_tile(left: Any, packed: Any, out: Any, n: Any, j: Any, add: Any) -> Any:
    return lambda left, packed, out, n, j, add: _tile(left, packed, out, n, j, add)


@intrinsic  # type: ignore[untyped-decorator]
def _tile(typing: Any, left: Kind, packed: Kind, out: Kind, n: Kind, j: Kind, add: Kind) -> Any:
    def generate(context: Any, b: Builder, sig: Any, args: Any) -> Value:
        vector = context.get_value_type(Vector(out.dtype))
        found = [context.make_array(k)(context, b, a) for k, a in zip(sig.args[:3], args)]
        n_, j_, add_ = args[3:]
        (M, K), (_, C) = (cgutils.unpack_tuple(b, found[i].shape) for i in (0, 2))
        left_row, left_k = cgutils.unpack_tuple(b, found[0].strides)  # in bytes
        out_row, _ = cgutils.unpack_tuple(b, found[2].strides)
        across = b.mul(j_, INDEX(alignment(vector)))
        places = [
            _bytes_on(b, found[0].data, b.mul(n_, left_row)),
            b.bitcast(b.gep(found[1].data, [b.mul(j_, K)]), vector.as_pointer()),
            _bytes_on(b, found[2].data, b.add(b.mul(n_, out_row), across)),
        ]
        sizes = [K, b.sub(M, n_), b.sub(C, j_), left_row, left_k, out_row, add_]
        b.call(_tile_function(b.module, vector), [*places, *sizes])
        return context.get_dummy_value()

    return types.void(left, packed, out, n, j, add), generate


def _tile_function(module: Any, vector: Any) -> Value:
    """The machine's function that computes a tile: one for all products of a loop.

    A tile at the edge has fewer rows or vectors: there is a loop for each number of both.
    """
    name = f"scratchnet.tile.{suffix(vector)}"
    if name in module.globals:
        return module.globals[name]
    places = [ir.IntType(8).as_pointer(), vector.as_pointer(), ir.IntType(8).as_pointer()]
    kind = ir.FunctionType(ir.VoidType(), [*places, *[INDEX] * 7])
    function = ir.Function(module, kind, name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    b = ir.IRBuilder(function.append_basic_block("begin"))
    at = _Corner(b, vector, *function.args[:9])
    rows = _smaller(b, at.rows, INDEX(ROWS))
    filled = b.sdiv(b.add(at.columns, INDEX(vector.count - 1)), INDEX(vector.count))
    vectors = _smaller(b, filled, INDEX(VECTORS))
    end = b.append_basic_block("end")
    switch = b.switch(b.add(b.mul(rows, INDEX(VECTORS + 1)), vectors), end)
    for R in range(1, ROWS + 1):
        for V in range(1, VECTORS + 1):
            block = b.append_basic_block(f"tile_{R}_{V}")
            switch.add_case(INDEX(R * (VECTORS + 1) + V), block)
            b.position_at_end(block)
            _one_tile(b, at, R, V, function.args[9])
            b.branch(end)
    b.position_at_end(end)
    b.ret_void()
    return function


def _bytes_on(b: Builder, pointer: Value, count: Value) -> Value:
    return b.gep(b.bitcast(pointer, ir.IntType(8).as_pointer()), [count])


class _Corner(NamedTuple):
    """Where a tile begins in each of the three matrices, and what is right of it and below."""

    b: Builder
    vector: Any
    left: Value
    panel: Value
    out: Value
    K: Value
    rows: Value
    columns: Value
    left_row: Value  # bytes from one row, or column, to the next
    left_k: Value
    out_row: Value

    def out_vector(self, r: int, v: int) -> Value:
        """Address of vector v in row r of the result."""
        place = self.b.add(self.b.mul(INDEX(r), self.out_row), INDEX(v * BYTES))
        return self.b.bitcast(_bytes_on(self.b, self.out, place), self.vector.as_pointer())

    def left_number(self, r: int, k: Value) -> Value:
        """The number in row r and column k of the left factor, in all lanes."""
        place = self.b.add(self.b.mul(INDEX(r), self.left_row), self.b.mul(k, self.left_k))
        address = _bytes_on(self.b, self.left, place)
        number = self.b.load(self.b.bitcast(address, self.vector.element.as_pointer()))
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


def _one_tile(b: Builder, at: _Corner, R: int, V: int, add: Value) -> None:
    """for k in range(K): sums[r, v] += left[r, k] panel[k, v], for all r and v at once; K > 0."""
    on = splat(b, b.trunc(add, ir.IntType(1)), mask_of(at.vector))
    places = [(r, v) for r in range(R) for v in range(V)]
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
    for phi, value in zip([k, *sums], [after, *added]):
        phi.add_incoming(ir.Constant(phi.type, None), before)  # zeros
        phi.add_incoming(value, loop)
    b.cbranch(b.icmp_signed("<", after, at.K), loop, done)
    b.position_at_end(done)
    for (r, v), value in zip(places, added):
        count = INDEX(at.vector.count)
        if v == V - 1:  # only a tile's last vector can be at the edge
            count = b.sub(at.columns, INDEX(v * at.vector.count))
        place = at.out_vector(r, v)
        there = b.select(on, load_first(b, place, count, at.vector), ir.Constant(at.vector, None))
        store_first(b, b.fadd(there, value), place, count)


def _smaller(b: Builder, x: Value, y: Value) -> Value:
    return b.select(b.icmp_signed("<", x, y), x, y)


@compiled
def multiply(left: Array, packed: Array, out: Array, add: int) -> None:
    """out (M, C) = left (M, K) W (K, C), W packed; added to out if ``add`` is 1."""
    M, width = len(left), VECTORS * (BYTES // out.itemsize)
    tiles = max(1, -(-M // ROWS))
    rows = max(1, -(-M // tiles))  # 4 and 3 of seven cost less than 6 and 1
    for j in range(0, out.shape[1], width):
        for n in range(0, M, rows):
            tile(left[: n + rows], packed, out, n, j, add)


@kept
def gradients(
    x: Array,
    h: Array,
    ones: Array,
    da: Array,
    dW_x: Array,
    dW_h: Array,
    db: Array,
    begin: int,
    end: int,
    team: Array,
    k: int,
    count: int,
) -> None:
    """Columns ``begin`` to ``end`` of dW_x = x^T da, dW_h = h^T da and db = the sum of da's rows.

    x (M, D), h (M, H), da (M, G), db (1, G). Thread k of ``count`` computes some of the columns,
    alone. The sums over all M steps and sequences are long: some terms are added at a time, and a
    panel of da is packed, and used for all three, while it is in the innermost cache. db is such a
    product too, with ones (TERMS, 1): a bias is the weight of an input that is always 1.
    """
    M, L = len(da), BYTES // da.itemsize
    first, last = share(end - begin, L, k, count)
    first, last = begin + first, begin + last
    packed = np.empty(TERMS * (-(-(last - first) // L) * L), da.dtype)
    columns = slice(first, last)
    for m in range(0, M, TERMS):
        terms = slice(m, min(m + TERMS, M))
        pack(da[terms, columns], packed)
        multiply(x[terms].T, packed, dW_x[:, columns], int(m > 0))
        multiply(h[terms].T, packed, dW_h[:, columns], int(m > 0))
        multiply(ones[: len(da[terms])].T, packed, db[:, columns], int(m > 0))
