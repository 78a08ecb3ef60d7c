"""tanh and exp of a vector.

exp(y) = 2^n (1 + q): y = n log 2 + r, and q = exp(r) - 1 is a short polynomial, since |r| <= log(2)
/ 2. tanh(x) = e / (e + 2) with e = exp(2x) - 1 = 2^n q + (2^n - 1); near zero n is 0 and nothing
cancels. There is no branch, so all lanes take the same instructions.

n is y / log 2 rounded: added to 1.5 times 2^23, where float32 has whole numbers only, and
subtracted again. The last bits of the sum are then n itself, and moved to the place of the
exponent they are 2^n. (In float64 the number is 1.5 times 2^52.)

Error of tanh: 1.5e-7 in float32 and 4e-16 in float64, absolute; relative 2.4e-7 and 1e-15. Relative
error of exp: 1e-7 in float32 and 2.5e-16 in float64; a result below the smallest normal number is
0.
"""

from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from scratchnet.elementwise import ONE
from scratchnet_kernels.sequence_cpu.vector import (
    Builder,
    Kind,
    Value,
    Vector,
    inlined,
    maximum,
    minimum,
    splat,
)

Numbers: TypeAlias = Any  # a vector in a compiled function

TWO = np.float32(2)
LARGE_32, LARGE_64 = np.float32(10), np.float64(20)  # from here on tanh is 1
LOWEST_32, LOWEST_64 = np.float32(-126 * np.log(2)), np.float64(-1022 * np.log(2))
PER_LOG2_32, PER_LOG2_64 = np.float32(1 / np.log(2)), np.float64(1 / np.log(2))
WHOLE_32, WHOLE_64 = np.float32(1.5 * 2**23), np.float64(1.5 * 2**52)
# log 2 in two parts, so that n times the first is exact
LOG2_32 = np.float32(0.693359375), np.float32(-2.12194440e-4)
LOG2_64 = np.float64(6.93145751953125e-1), np.float64(1.42860682030941723212e-6)
FACTORIALS = np.cumprod(np.arange(1, 15, dtype=np.float64))
C_32 = tuple(np.float32(1 / f) for f in FACTORIALS[:7])
C_64 = tuple(np.float64(1 / f) for f in FACTORIALS[:13])


@intrinsic  # type: ignore[untyped-decorator]
def _power(typing: Any, shifted: Kind) -> Any:
    """2^n, from n + 1.5 2^23 (float64: 2^52): the exponent's bits are n and its bias."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        vector = args[0].type
        size, bias, place = (32, 127, 23) if shifted.element == types.float32 else (64, 1023, 52)
        whole = ir.VectorType(ir.IntType(size), vector.count)
        bits = builder.bitcast(args[0], whole)
        bits = builder.add(bits, ir.Constant(whole, [bias] * vector.count))
        bits = builder.shl(bits, ir.Constant(whole, [place] * vector.count))
        return builder.bitcast(bits, vector)

    return shifted(shifted), generate


@intrinsic  # type: ignore[untyped-decorator]
def _zero_below(typing: Any, value: Kind, x: Kind, bound: Kind) -> Any:
    """The value, but 0 in the lanes in which x is below the bound."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        number, x_, bound_ = args
        low = builder.fcmp_ordered("<", x_, splat(builder, bound_, x_.type))
        return builder.select(low, ir.Constant(number.type, None), number)

    return value(value, x, bound), generate


@inlined
def _parts_32(y: Numbers) -> tuple[Numbers, Numbers]:
    """2^n and q of  exp(y) = 2^n (1 + q)."""
    shifted = y * PER_LOG2_32 + WHOLE_32
    n = shifted - WHOLE_32
    r = y - n * LOG2_32[0] - n * LOG2_32[1]
    c = C_32
    q = r * (c[0] + r * (c[1] + r * (c[2] + r * (c[3] + r * (c[4] + r * (c[5] + r * c[6]))))))
    return _power(shifted), q


@inlined
def _parts_64(y: Numbers) -> tuple[Numbers, Numbers]:
    shifted = y * PER_LOG2_64 + WHOLE_64
    n = shifted - WHOLE_64
    r = y - n * LOG2_64[0] - n * LOG2_64[1]
    c = C_64
    high = c[7] + r * (c[8] + r * (c[9] + r * (c[10] + r * (c[11] + r * c[12]))))
    q = r * (
        c[0]
        + r * (c[1] + r * (c[2] + r * (c[3] + r * (c[4] + r * (c[5] + r * (c[6] + r * high))))))
    )
    return _power(shifted), q


def _tanh_32(x: Numbers) -> Numbers:
    power, q = _parts_32(TWO * minimum(maximum(x, -LARGE_32), LARGE_32))
    e = power * q + (power - ONE)
    return e / (e + TWO)


def _tanh_64(x: Numbers) -> Numbers:
    power, q = _parts_64(TWO * minimum(maximum(x, -LARGE_64), LARGE_64))
    e = power * q + (power - ONE)
    return e / (e + TWO)


def _exp_32(x: Numbers) -> Numbers:
    power, q = _parts_32(x)
    return _zero_below(power * q + power, x, LOWEST_32)


def _exp_64(x: Numbers) -> Numbers:
    power, q = _parts_64(x)
    return _zero_below(power * q + power, x, LOWEST_64)


@overload(np.tanh, jit_options={"forceinline": True}, strict=False)  # type: ignore[untyped-decorator]
def _choose_tanh(x: Any) -> Any:
    if isinstance(x, Vector):
        return _tanh_32 if x.element == types.float32 else _tanh_64
    return None


@overload(np.exp, jit_options={"forceinline": True}, strict=False)  # type: ignore[untyped-decorator]
def _choose_exp(x: Any) -> Any:
    if isinstance(x, Vector):
        return _exp_32 if x.element == types.float32 else _exp_64
    return None
