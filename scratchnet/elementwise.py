"""Elementwise math that means the same on an array and inside a kernel.

A function marked ``@elementwise`` uses only ``+ - * /``, ``np.tanh``, ``np.exp``, ``np.minimum``,
``np.maximum``, ``np.greater`` and the constants below. Called with arrays it is ordinary NumPy (or
CuPy: NumPy hands a CuPy array on to CuPy's own function); called from a Numba loop or a CUDA kernel
it is compiled for one float.

The mark needs no compiler: it only remembers the function. The kernels package hands every marked
function to Numba when *it* is imported, so that importing the library does not import Numba.

The constants are float32 on purpose. Numba reads the literal ``1.0`` as float64 and would silently
compute every gate in double precision; a float32 constant leaves float32 data in float32, and these
are exact when the data is float64.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from scratchnet.arrays import Array

ZERO = np.float32(0.0)
HALF = np.float32(0.5)
ONE = np.float32(1.0)
FORTY = np.float32(40.0)

ELEMENTWISE: list[Callable[..., Any]] = []


def elementwise(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Mark ``fn`` as math that kernels may call for one float; return ``fn`` itself."""
    ELEMENTWISE.append(fn)
    return fn


@elementwise
def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), written e / (e + 1) with e = exp(a): a shut gate keeps all its digits.

    From 40 on it is 1, in float64 too, so e need not grow further and cannot overflow.
    """
    e = np.exp(np.minimum(a, FORTY))
    return e / (e + ONE)


@elementwise
def d_sigmoid(s: Array) -> Array:
    """Derivative of the sigmoid in terms of its *output* s = sigmoid(a): a need not be kept."""
    return s * (ONE - s)


@elementwise
def d_tanh(y: Array) -> Array:
    """Derivative of tanh in terms of its *output* y = tanh(a)."""
    return ONE - y * y


@elementwise
def relu(a: Array) -> Array:
    """max(a, 0). A NaN stays a NaN."""
    return np.maximum(a, ZERO)


@elementwise
def d_relu(y: Array) -> Array:
    """Derivative of relu in terms of its *output* y = relu(a): 1 where y > 0, and 0 at the kink."""
    return np.greater(y, ZERO) * ONE
