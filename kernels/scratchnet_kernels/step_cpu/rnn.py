"""The vanilla RNN's pointwise step on the CPU: ``scratchnet.cells.rnn`` in a compiled loop."""

from collections.abc import Callable
from typing import Any

from scratchnet.arrays import Array
from scratchnet.cells.rnn import UNIT
from scratchnet_kernels.compiled import compiled


def loops(
    unit: Callable[..., Any], d_unit: Callable[..., Any]
) -> tuple[Callable[..., None], Callable[..., None]]:
    """Both loops for one nonlinearity: a compiled loop calls functions it knows."""

    @compiled
    def forward(a: Array, h: Array) -> None:
        N, H = h.shape
        for n in range(N):
            for j in range(H):
                h[n, j] = unit(a[n, j])

    @compiled
    def backward(dh: Array, h: Array, da: Array) -> None:
        N, H = h.shape
        for n in range(N):
            for j in range(H):
                da[n, j] = d_unit(dh[n, j], h[n, j])

    return forward, backward


LOOPS = {nonlinearity: loops(*units) for nonlinearity, units in UNIT.items()}


def step_forward(a: Array, h: Array, nonlinearity: str) -> None:
    """One time step: fills h (N, H) from the pre-activations a (N, H)."""
    forward, _ = LOOPS[nonlinearity]
    forward(a, h)


def step_backward(dh: Array, h: Array, da: Array, nonlinearity: str) -> None:
    """One time step back: fills da (N, H)."""
    _, backward = LOOPS[nonlinearity]
    backward(dh, h, da)
