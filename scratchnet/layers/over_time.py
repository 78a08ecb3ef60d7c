"""Base classes of the layers that look along time: ``batch_first``, ``lengths``, their checks."""

from typing import TypeVar

import numpy as np

from scratchnet.arrays import Array, Lengths, as_lengths, is_array, require_sequences, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.layers.layer import Layer

Steps = TypeVar("Steps", int, Array)


class OverTime(Layer):
    """A layer over x (T, N, D), or (N, T, D) if ``batch_first``, whose sequences may be padded.

    Inside, time is always the first axis. With ``lengths`` (N,), y is zero in the padding, and the
    padding of x changes no output and no gradient.
    """

    def __init__(self, *, batch_first: bool = False) -> None:
        super().__init__()
        self.batch_first = batch_first

    @property
    def ragged(self) -> bool:
        """True: forward also takes ``lengths``."""
        return True

    def time_first(self, x: Array) -> Array:
        """x (N, T, ...) as (T, N, ...) if ``batch_first``; otherwise x itself."""
        return x.swapaxes(0, 1) if self.batch_first else x

    def caller_order(self, x: Array) -> Array:
        """Undo ``time_first``: x (T, N, ...) in the order of axes that the caller uses."""
        return self.time_first(x)  # the exchange of two axes is its own inverse

    def check_sequences(
        self, x: Array, lengths: Lengths, features: int | None = None, shortest: int = 1
    ) -> tuple[Array, Array | None]:
        """Check x and lengths; return x time first, (T, N, D), and lengths on x's device or None.

        Raises
        ------
        ValueError, TypeError
            For another number of axes or ``features``, an empty axis, or fewer than ``shortest``
            steps in x or in one of its sequences.
        """
        self.check_input(x)
        require_sequences(x, self.batch_first)
        if features is not None and x.shape[2] != features:
            raise InvalidValueError(
                f"the layer has {features} inputs but x has {x.shape[2]} features, shape"
                f" {tuple(x.shape)}"
            )
        if 0 in x.shape:
            raise InvalidValueError(
                f"x is {tuple(x.shape)}: it needs at least one step, one sequence and one feature"
            )
        x = self.time_first(x)
        if len(x) < shortest:
            raise InvalidValueError(
                f"x has {len(x)} steps but one window of the layer takes {shortest}"
            )
        if lengths is None:
            return x, None
        on_device = as_lengths(lengths, len(x), x.shape[1], like=x)
        host = np.asarray(to_host(lengths))  # the shortest is looked for on the host
        if host.min() < shortest:
            n = int(np.argmin(host))
            raise InvalidValueError(
                f"lengths[{n}] is {host[n]} but one window of the layer takes {shortest} steps"
            )
        return x, on_device


class TimeReduction(OverTime):
    """A layer that reduces each sequence to one vector: y has no time axis."""

    def lengths_after(self, lengths: Lengths) -> Lengths:
        """None: y has no time axis."""
        return None


def window_count(steps: Steps, kernel: int, stride: int) -> Steps:
    """How many windows of ``kernel`` steps, ``stride`` apart, fit into ``steps`` steps.

    >>> window_count(7, kernel=3, stride=2)
    3
    """
    return (steps - kernel) // stride + 1


def window_counts(lengths: Lengths, kernel: int, stride: int) -> Array | None:
    """``window_count`` for each length (N,); None stays None."""
    if lengths is None:
        return None
    return window_count(lengths if is_array(lengths) else np.asarray(lengths), kernel, stride)


def strided_view(x: Array, first: int, stride: int, count: int) -> Array:
    """The view x[first], x[first + stride], ... of ``count`` steps: one tap of every window."""
    return x[first : first + (count - 1) * stride + 1 : stride]
