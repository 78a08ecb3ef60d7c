"""Sequences inside a cell: gate blocks, padding, reversed time, windows of a cache.

A batch of sequences of different length is padded to T steps. After its last step a sequence's
state is carried: it keeps its value, the pre-activations get no gradient, and an upstream gradient
of the final state passes through the padding unchanged. So ``h[-1]`` is every sequence's own final
state, and nothing in the padding can change an output or a gradient. ``ended`` (N,) is True for the
sequences that have no step t.
"""

from typing import Any

import numpy as np

from scratchnet.arrays import Array, Step


def split_gates(a: Array, count: int) -> Array:
    """The ``count`` gate blocks of a (..., count H) array, as a view (count, ..., H)."""
    blocks = a.reshape(*a.shape[:-1], count, -1)
    *leading, gate, unit = range(blocks.ndim)
    return blocks.transpose(gate, *leading, unit)


def gate_steps(
    gates_forward: Step, gates_backward: Step, count: int, more: tuple[Array, ...] = ()
) -> tuple[Step, Step]:
    """Time steps on whole arrays from the gate math for one unit, for cells with a cell state.

    ``count``: blocks of gates. ``more``: parameters that the gate math also reads, as peepholes.
    """

    def step_forward(a: Array, c_prev: Array, gates: Array, c: Array, h: Array) -> None:
        """From a (N, G) and the previous cell state, fill gates (N, G), c and h (N, H)."""
        values = gates_forward(*split_gates(a, count), c_prev, *more)
        for out, value in zip([*split_gates(gates, count), c, h], values):
            out[...] = value

    def step_backward(
        dh: Array, dc_next: Array, gates: Array, c_prev: Array, c: Array, da: Array
    ) -> Array:
        """From dh and dc_next (N, H), fill da (N, G) and return the gradient of c_prev (N, H)."""
        *values, dc_prev = gates_backward(dh, dc_next, *split_gates(gates, count), c_prev, c, *more)
        for out, value in zip(split_gates(da, count), values):
            out[...] = value
        return dc_prev

    return step_forward, step_backward


def input_projection(x: Array, W_x: Array, b: Array) -> Array:
    """x W_x + b (T, N, G), the forward pass outside the time loop: one product for all steps."""
    T, N, D = x.shape
    a = (x.reshape(T * N, D) @ W_x).reshape(T, N, -1)
    a += b
    return a


def sequence_mask(T: int, lengths: Array | None) -> Array | None:
    """(T, N), True where sequence n has a step t, False in the padding; None where none has any.

    >>> sequence_mask(3, np.array([3, 1])).astype(int).tolist()
    [[1, 1], [1, 0], [1, 0]]
    """
    if lengths is None:
        return None
    steps: Array = np.arange(T, like=lengths)[:, None]
    return steps < lengths


def zero_padding(x: Array, lengths: Array | None) -> Array:
    """x (T, N, ...) with zeros in the padding: a NaN there must not reach dW_x = x^T da."""
    if lengths is None:
        return x
    inside: Any = sequence_mask(len(x), lengths)
    return np.where(inside.reshape(inside.shape + (1,) * (x.ndim - 2)), x, x.dtype.type(0))


def carry_state(ended: Array, t: int, *states: Array) -> None:
    """Forward: where a sequence has ended, step t leaves each state (T+1, N, H) as it was."""
    for s in states:
        np.copyto(s[t + 1], s[t], where=ended[:, None])


def skip_padding_gradient(ended: Array, da: Array, *pairs: tuple[Array, Array]) -> None:
    """Backward: where a sequence has ended, da (N, G) is zero and d_prev (N, H) takes d_next.

    ``pairs``: (d_prev, d_next) of each state.
    """
    np.copyto(da, 0, where=ended[:, None])
    for d_prev, d_next in pairs:
        np.copyto(d_prev, d_next, where=ended[:, None])


def reverse(x: Array, lengths: Array | None) -> Array:
    """x (T, N, ...) with each sequence reversed within its length; the padding stays in place.

    Its own inverse.
    """
    if lengths is None:
        return x[::-1]
    steps: Array = np.arange(len(x), like=lengths)[:, None]
    source = np.where(steps < lengths, lengths - 1 - steps, steps)  # (T, N)
    return x[source, np.arange(x.shape[1], like=lengths)]


def window(cell: Any, cache: Any, start: int, stop: int) -> Any:
    """The cache of steps start..stop-1, with a detached initial state: truncated BPTT.

    A field of a cache is a parameter, an option, the lengths, a state (T+1, ...), or per step.
    """
    fixed = {*cell.param_shapes(1, 1), *cell.OPTIONS, "lengths", "fingerprints"}
    per_step = {
        name: a for name, a in cache._asdict().items() if name not in fixed and a is not None
    }
    sliced = {name: a[start : stop + (name in cell.STATES)] for name, a in per_step.items()}
    if cache.lengths is not None:
        sliced["lengths"] = cache.lengths - start
    return cache._replace(**sliced)
