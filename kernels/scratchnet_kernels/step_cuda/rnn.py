"""The RNN's pointwise step on the GPU: a pair of kernels for each nonlinearity of the cell."""

from collections.abc import Callable
from typing import Any

from numba import cuda

from scratchnet.arrays import Array
from scratchnet.cells.rnn import UNIT
from scratchnet_kernels.launch import kernel, launch, require_launchable


def forward_kernel(unit: Callable[..., Any]) -> Any:
    """The kernel that fills h (N, H) from a (N, H) with ``unit``."""

    @kernel
    def fill_h(a: Array, h: Array) -> None:
        N, H = h.shape
        j, n = cuda.grid(2)
        if n < N and j < H:
            h[n, j] = unit(a[n, j])

    return fill_h


def backward_kernel(d_unit: Callable[..., Any]) -> Any:
    """The kernel that fills da (N, H) from dh and h (N, H) with ``d_unit``."""

    @kernel
    def fill_da(dh: Array, h: Array, da: Array) -> None:
        N, H = dh.shape
        j, n = cuda.grid(2)
        if n < N and j < H:
            da[n, j] = d_unit(dh[n, j], h[n, j])

    return fill_da


FORWARD = {name: forward_kernel(unit) for name, (unit, _) in UNIT.items()}
BACKWARD = {name: backward_kernel(d_unit) for name, (_, d_unit) in UNIT.items()}


def step_forward(a: Array, h: Array, nonlinearity: str) -> None:
    """One time step: fills h (N, H) from the pre-activations a (N, H)."""
    require_launchable(a=a, h=h)
    launch(FORWARD[nonlinearity], *h.shape, a, h)


def step_backward(dh: Array, h: Array, da: Array, nonlinearity: str) -> None:
    """One time step back: fills da (N, H)."""
    require_launchable(dh=dh, h=h, da=da)
    launch(BACKWARD[nonlinearity], *dh.shape, dh, h, da)
