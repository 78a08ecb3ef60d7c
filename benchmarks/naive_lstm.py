"""The LSTM's pointwise step with one CUDA kernel for each operation: rung two of ``ladder.py``.

Nothing is wrong with the kernels. But each reads from memory what the one before has just written
there, and a launch takes far longer than the work of one. ``scratchnet_kernels/step_cuda/lstm.py``
is the same step in a single kernel.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda
from scratchnet_kernels.launch import kernel, launch

from scratchnet.arrays import Array
from scratchnet.cells.sequences import split_gates
from scratchnet.elementwise import d_sigmoid, d_tanh, sigmoid


def kernel_of(function: Callable[[Any], Any]) -> Any:
    """The kernel that fills out (N, H) with a function of a (N, H)."""

    @kernel
    def fill(a: Array, out: Array) -> None:
        N, H = out.shape
        j, n = cuda.grid(2)
        if n < N and j < H:
            out[n, j] = function(a[n, j])

    return fill


SIGMOID, D_SIGMOID, D_TANH = kernel_of(sigmoid), kernel_of(d_sigmoid), kernel_of(d_tanh)


@kernel
def TANH(a: Array, out: Array) -> None:
    """out = tanh(a), both (N, H)."""
    N, H = out.shape
    j, n = cuda.grid(2)
    if n < N and j < H:
        out[n, j] = np.tanh(a[n, j])


@kernel
def MULTIPLY(a: Array, b: Array, out: Array) -> None:
    """out = a b, all (N, H)."""
    N, H = out.shape
    j, n = cuda.grid(2)
    if n < N and j < H:
        out[n, j] = a[n, j] * b[n, j]


@kernel
def ADD(a: Array, b: Array, out: Array) -> None:
    """out = a + b, all (N, H)."""
    N, H = out.shape
    j, n = cuda.grid(2)
    if n < N and j < H:
        out[n, j] = a[n, j] + b[n, j]


def run(operation: Any, *arrays: Array, out: Array | None = None) -> Array:
    """One launch, into ``out`` or a new array."""
    out = np.empty_like(arrays[0], order="C") if out is None else out
    launch(operation, *out.shape, *arrays, out)
    return out


def step_forward(a: Array, c_prev: Array, gates: Array, c: Array, h: Array) -> None:
    """One step, nine launches: from a (N, 4H) and c_prev; fills gates (N, 4H), c, h (N, H)."""
    (a_i, a_f, a_g, a_o), (i, f, g, o) = split_gates(a, 4), split_gates(gates, 4)
    run(SIGMOID, a_i, out=i)
    run(SIGMOID, a_f, out=f)
    run(TANH, a_g, out=g)
    run(SIGMOID, a_o, out=o)
    run(ADD, run(MULTIPLY, f, c_prev), run(MULTIPLY, i, g), out=c)
    run(MULTIPLY, o, run(TANH, c), out=h)


def step_backward(
    dh: Array, dc_next: Array, gates: Array, c_prev: Array, c: Array, da: Array
) -> Array:
    """One step back, eighteen launches: fills da (N, 4H); returns dc_prev (N, H)."""
    (i, f, g, o), (da_i, da_f, da_g, da_o) = split_gates(gates, 4), split_gates(da, 4)
    tanh_c = run(TANH, c)
    dc = run(ADD, run(MULTIPLY, run(MULTIPLY, dh, o), run(D_TANH, tanh_c)), dc_next)
    run(MULTIPLY, run(MULTIPLY, dh, tanh_c), run(D_SIGMOID, o), out=da_o)
    run(MULTIPLY, run(MULTIPLY, dc, g), run(D_SIGMOID, i), out=da_i)
    run(MULTIPLY, run(MULTIPLY, dc, c_prev), run(D_SIGMOID, f), out=da_f)
    run(MULTIPLY, run(MULTIPLY, dc, i), run(D_TANH, g), out=da_g)
    return run(MULTIPLY, dc, f)
