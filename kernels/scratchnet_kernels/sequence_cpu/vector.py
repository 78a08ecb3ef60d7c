"""A vector: as many numbers as the processor's widest instruction takes, as one value in a loop.

    v = load(a, n, j, count)        a[n, j], a[n, j + 1], ...; zeros from number ``count`` on
    store(a, n, j, count, v * v)

Arithmetic between vectors, or between a vector and a number, is element by element, as between
arrays. So are ``np.tanh`` and ``np.exp`` (``vector_math.py``) and the few other functions that a
cell's gate math may use, and the cell's own functions can be compiled for vectors. It is what a
warp is on a GPU: one instruction, many units.

In compiled code a vector is one register. With NUMBA_DISABLE_JIT=1 it is a NumPy array, and a
debugger shows it.
"""

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import (
    intrinsic,
    lower_builtin,
    models,
    overload,
    register_jitable,
    register_model,
)
from numpy.typing import DTypeLike

from scratchnet.arrays import Array
from scratchnet_kernels.compiled import processor

# LLVM's and Numba's objects, which have no types.
Builder: TypeAlias = Any
Value: TypeAlias = Any
Kind: TypeAlias = Any

INDEX, LANE = ir.IntType(64), ir.IntType(32)


def register_bytes() -> int:
    """Width of a vector register, in bytes, of the processor that Numba compiles for."""
    enabled = processor()[1].split(",")
    return 64 if "+avx512f" in enabled else 32 if "+avx2" in enabled else 16


BYTES = register_bytes()


def lanes(dtype: DTypeLike) -> int:
    """How many numbers of this type a vector has."""
    return BYTES // np.dtype(dtype).itemsize


class Vector(types.Type):  # type: ignore[misc]
    """Numba's type of a vector of float32 or float64."""

    def __init__(self, element: Kind) -> None:
        self.element = element
        super().__init__(f"Vector({element})")


@register_model(Vector)
class _Register(models.PrimitiveModel):  # type: ignore[misc]
    """How LLVM holds it: as its own vector type."""

    def __init__(self, manager: Any, kind: Vector) -> None:
        element = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}[kind.element]
        size = kind.element.bitwidth // 8
        super().__init__(manager, kind, ir.VectorType(element, BYTES // size))


# ---- from memory to registers and back ---------------------------------------------------------


def load(a: Array, n: int, j: int, count: int) -> Array:
    """The vector that starts at a[n, j]; zeros in place of all numbers from ``count`` on."""
    v = np.zeros(lanes(a.dtype), a.dtype)
    v[:count] = a[n, j : j + min(count, len(v))]
    return v


def store(a: Array, n: int, j: int, count: int, v: Array) -> None:
    """Write the first ``count`` numbers of v to a[n, j] and what follows."""
    a[n, j : j + min(count, len(v))] = v[:count]


def zeros(a: Array) -> Array:
    """A vector of zeros, of a's type."""
    return np.zeros(lanes(a.dtype), a.dtype)


@overload(load, jit_options={"forceinline": True}, strict=False)  # type: ignore[untyped-decorator]
def _compiled_load(a: Any, n: Any, j: Any, count: Any) -> Any:
    return lambda a, n, j, count: _load(a, n, j, count)


@overload(store, jit_options={"forceinline": True}, strict=False)  # type: ignore[untyped-decorator]
def _compiled_store(a: Any, n: Any, j: Any, count: Any, v: Any) -> Any:
    return lambda a, n, j, count, v: _store(a, n, j, count, v)


@overload(zeros, jit_options={"forceinline": True}, strict=False)  # type: ignore[untyped-decorator]
def _compiled_zeros(a: Any) -> Any:
    return lambda a: _load(a, 0, 0, 0)


@intrinsic  # type: ignore[untyped-decorator]
def _load(typing: Any, a: Kind, n: Kind, j: Kind, count: Kind) -> Any:
    kind = Vector(a.dtype)

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        vector = context.get_value_type(kind)
        pointer = _address(context, builder, a, args[0], args[1:3], vector)
        return load_first(builder, pointer, args[3], vector)

    return kind(a, types.intp, types.intp, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def _store(typing: Any, a: Kind, n: Kind, j: Kind, count: Kind, v: Kind) -> Any:
    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        vector = args[4].type
        pointer = _address(context, builder, a, args[0], args[1:3], vector)
        store_first(builder, args[4], pointer, args[3])
        return context.get_dummy_value()

    return types.void(a, types.intp, types.intp, types.intp, v), generate


def _address(
    context: Any, builder: Builder, kind: Kind, array: Value, index: Any, vector: Any
) -> Value:
    parts = context.make_array(kind)(context, builder, array)
    pointer = cgutils.get_item_pointer(context, builder, kind, parts, index)
    return builder.bitcast(pointer, vector.as_pointer())


def mask_of(vector: Any) -> Any:
    """LLVM's type of a mask: a bit for each lane."""
    return ir.VectorType(ir.IntType(1), vector.count)


def first_lanes(builder: Builder, count: Value, vector: Any) -> Value:
    """A mask: true in the first ``count`` lanes; fewer than all."""
    numbers = ir.VectorType(LANE, vector.count)
    limit = splat(builder, builder.trunc(count, LANE), numbers)
    return builder.icmp_signed("<", ir.Constant(numbers, list(range(vector.count))), limit)


def load_first(builder: Builder, pointer: Value, count: Value, vector: Any) -> Value:
    """Load the first ``count`` lanes, zeros for the others; no other memory is touched.

    All lanes are loaded without a mask: with one, some processors (AMD's Zen 5) do not read ahead,
    and wait until an earlier store has reached the cache.
    """
    with builder.if_else(_enough(builder, count, vector), likely=True) as (all_lanes, some):
        with all_lanes:
            whole, first = builder.load(pointer), builder.block
            whole.align = alignment(vector)
        with some:
            kind = ir.FunctionType(vector, [pointer.type, LANE, mask_of(vector), vector])
            function = _declared(builder, kind, f"llvm.masked.load.{suffix(vector)}.p0")
            mask, nothing = first_lanes(builder, count, vector), ir.Constant(vector, None)
            part = builder.call(function, [pointer, LANE(alignment(vector)), mask, nothing])
            second = builder.block
    found = builder.phi(vector)
    found.add_incoming(whole, first)
    found.add_incoming(part, second)
    return found


def store_first(builder: Builder, value: Value, pointer: Value, count: Value) -> None:
    """Store the first ``count`` lanes; no other memory is touched."""
    vector = value.type
    with builder.if_else(_enough(builder, count, vector), likely=True) as (all_lanes, some):
        with all_lanes:
            builder.store(value, pointer).align = alignment(vector)
        with some:
            kind = ir.FunctionType(ir.VoidType(), [vector, pointer.type, LANE, mask_of(vector)])
            function = _declared(builder, kind, f"llvm.masked.store.{suffix(vector)}.p0")
            mask = first_lanes(builder, count, vector)
            builder.call(function, [value, pointer, LANE(alignment(vector)), mask])


def _enough(builder: Builder, count: Value, vector: Any) -> Value:
    return builder.icmp_signed(">=", count, INDEX(vector.count))


def fused_multiply_add(builder: Builder, vector: Any) -> Value:
    """LLVM's function (x, y, sum) -> x y + sum, rounded once."""
    return _declared(builder, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.{suffix(vector)}")


def splat(builder: Builder, number: Value, vector: Any) -> Value:
    """A vector whose lanes are all the same number."""
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, number, LANE(0))
    return builder.shuffle_vector(
        one, undefined, ir.Constant(ir.VectorType(LANE, vector.count), None)
    )


def alignment(vector: Any) -> int:
    """Bytes to which memory is aligned for certain: those of one number."""
    return 4 if isinstance(vector.element, ir.FloatType) else 8


def suffix(vector: Any) -> str:
    """What LLVM appends to the name of a function of such vectors."""
    return f"v{vector.count}f{8 * alignment(vector)}"


def _declared(builder: Builder, kind: Any, name: str) -> Value:
    return cgutils.get_or_insert_function(builder.module, kind, name)


# ---- arithmetic --------------------------------------------------------------------------------


def _operands(context: Any, builder: Builder, vector: Any, kinds: Any, values: Any) -> list[Value]:
    """The values as vectors: a number is rounded to the element's type, and repeated."""
    found = []
    register = context.get_value_type(vector)
    for kind, value in zip(kinds, values):
        if not isinstance(kind, Vector):
            value = splat(builder, context.cast(builder, value, kind, vector.element), register)
        found.append(value)
    return found


def _operator(function: Callable[..., Any], instruction: Callable[..., Value]) -> None:
    """Teach Numba an operator of two vectors, or of a vector and a number."""

    @infer_global(function)
    class Typed(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, keywords: Any) -> Any:
            vectors = {arg for arg in args if isinstance(arg, Vector)}
            others = set(args) - vectors
            if len(args) == 2 and len(vectors) == 1 and others <= {types.float32, types.float64}:
                return signature(vectors.pop(), *args)
            return None

    def lower(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        operands = _operands(context, builder, sig.return_type, sig.args, args)
        return instruction(builder, *operands)

    for left, right in ((Vector, Vector), (Vector, types.Float), (types.Float, Vector)):
        lower_builtin(function, left, right)(lower)


# A multiplication and an addition may become one instruction, rounded once. Nothing is reordered.
FUSED = ("contract",)
_operator(operator.add, lambda builder, x, y: builder.fadd(x, y, flags=FUSED))
_operator(operator.sub, lambda builder, x, y: builder.fsub(x, y, flags=FUSED))
_operator(operator.mul, lambda builder, x, y: builder.fmul(x, y, flags=FUSED))
_operator(operator.truediv, lambda builder, x, y: builder.fdiv(x, y))


def _function(instruction: Callable[..., Value]) -> Any:
    """A compiled function of a vector x and a vector or number y."""

    @intrinsic  # type: ignore[untyped-decorator]
    def function(typing: Any, x: Kind, y: Kind) -> Any:
        def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
            return instruction(builder, *_operands(context, builder, x, sig.args, args))

        return x(x, y), generate

    return function


def _either(condition: str) -> Callable[..., Value]:
    def instruction(builder: Builder, x: Value, bound: Value) -> Value:
        return builder.select(builder.fcmp_ordered(condition, bound, x), bound, x)

    return instruction


def _is_greater(builder: Builder, x: Value, y: Value) -> Value:
    return builder.uitofp(builder.fcmp_ordered(">", x, y), x.type)


# One instruction each, where NumPy's take several; a NaN in x stays a NaN.
minimum, maximum = _function(_either("<")), _function(_either(">"))
greater = _function(_is_greater)  # 1 where x > y, else 0


def for_vectors(numpys: Any, ours: Any) -> None:
    """Let compiled code call NumPy's function ``numpys`` with vectors."""

    @overload(numpys, jit_options={"forceinline": True}, strict=False)  # type: ignore[untyped-decorator]
    def choose(x: Any, y: Any) -> Any:
        return (lambda x, y: ours(x, y)) if isinstance(x, Vector) else None


for_vectors(np.minimum, minimum)
for_vectors(np.maximum, maximum)
for_vectors(np.greater, greater)


def inlined(function: Callable[..., Any]) -> Any:
    """Let compiled code call a function, without the cost of a call."""
    return register_jitable(forceinline=True)(function)
