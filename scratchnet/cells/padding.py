"""Sequences of different length in one batch: what a cell does with the steps after a sequence's
end.

A batch is padded to T steps. Past its length a sequence is *held*: the state keeps its last value,
the pre-activations get no gradient, and a gradient that arrives at the final state travels back
through the padding unchanged. So ``h[-1]`` is every sequence's own final state, and nothing that
stands in the padding can change an output or a gradient.

Every function takes ``ended`` (N,), True for the sequences that are over at this step.
"""

from typing import Any

import numpy as np

from scratchnet.arrays import Array


def without_padding(x: Array, lengths: Array | None) -> Array:
    """x (T, N, ...) with zeros after each sequence's length (N,): a NaN in the padding must not
    reach dW_x = x^T da."""
    if lengths is None:
        return x
    steps = np.arange(len(x), like=lengths)
    inside: Any = steps[:, None] < lengths  # (T, N)
    return np.where(inside.reshape(inside.shape + (1,) * (x.ndim - 2)), x, x.dtype.type(0))


def hold(ended: Array, t: int, *states: Array) -> None:
    """Forward: where a sequence has ended, step t leaves each state (T+1, N, H) as it was."""
    for s in states:
        np.copyto(s[t + 1], s[t], where=ended[:, None])


def pass_over(ended: Array, da: Array, *pairs: tuple[Array, Array]) -> None:
    """Backward: where a sequence has ended, da (N, G) is zero and each (d_prev, d_next) pair of (N,
    H) keeps d_next."""
    np.copyto(da, 0, where=ended[:, None])
    for d_prev, d_next in pairs:
        np.copyto(d_prev, d_next, where=ended[:, None])


def reverse(x: Array, lengths: Array | None) -> Array:
    """x (T, N, ...) with each sequence turned around inside its own length; padding stays where it
    is. Its own inverse."""
    T = len(x)
    if lengths is None:
        return x[::-1]
    steps: Any = np.arange(T, like=lengths)[:, None]
    source = np.where(steps < lengths, lengths - 1 - steps, steps)  # (T, N)
    return x[source, np.arange(x.shape[1], like=lengths)]
