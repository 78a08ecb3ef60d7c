"""What the layers that look along time share: ``batch_first``, sequences of different length, and
the checks of both."""

from typing import Any

import numpy as np

from scratchnet.arrays import Array, as_lengths, is_array, to_host
from scratchnet.layers.layer import Layer


class OverTime(Layer):
    """A layer over x (T, N, D), or (N, T, D) if ``batch_first``, whose sequences may be padded.

    Inside, time always comes first. With ``lengths`` (N,), y is zero in the padding, and what
    stands there changes nothing.
    """

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first

    @property
    def ragged(self) -> bool:
        """True: forward also takes ``lengths``."""
        return True

    def turned(self, x: Array) -> Array:
        """x with time and batch exchanged if ``batch_first``: into the order of time, and back."""
        return x.swapaxes(0, 1) if self.batch_first else x

    def check_sequences(
        self, x: Array, lengths: Any, features: int | None = None, shortest: int = 1
    ) -> tuple[Array, Array | None]:
        """x as (T, N, D), time first, and lengths as an array or None.

        Raises TypeError or ValueError, with both sides, for another rank, another number of
        ``features``, nothing at all, or less than ``shortest`` steps in x or in one of its
        sequences.
        """
        self.check_input(x)
        if x.ndim != 3:
            order = "(N, T, D), batch first" if self.batch_first else "(T, N, D), time first"
            raise ValueError(f"x has {x.ndim} dimensions, shape {tuple(x.shape)}: expected {order}")
        if features is not None and x.shape[2] != features:
            raise ValueError(
                f"the layer has {features} inputs but x has {x.shape[2]} features, shape"
                f" {tuple(x.shape)}"
            )
        if 0 in x.shape:
            raise ValueError(
                f"x is {tuple(x.shape)}: it needs at least one step, one sequence and one feature"
            )
        x = self.turned(x)
        if len(x) < shortest:
            raise ValueError(f"x has {len(x)} steps but one window of the layer takes {shortest}")
        # the shortest is looked for on the host
        lengths = None if lengths is None else np.asarray(to_host(lengths))
        ours = as_lengths(lengths, len(x), x.shape[1], like=x)
        if lengths is not None and lengths.min() < shortest:
            n = int(np.argmin(lengths))
            raise ValueError(
                f"lengths[{n}] is {lengths[n]} but one window of the layer takes {shortest} steps"
            )
        return x, ours


def windows_in(steps: Any, kernel: int, stride: int) -> Any:
    """How many windows of ``kernel`` steps, ``stride`` apart, fit into each number of steps; None
    stays None."""
    if steps is None:
        return None
    counts = steps if isinstance(steps, int) or is_array(steps) else np.asarray(steps)
    return (counts - kernel) // stride + 1


def every(x: Array, first: int, stride: int, count: int) -> Array:
    """The view x[first], x[first + stride], ...: ``count`` steps in all, the same tap of every
    window."""
    return x[first : first + (count - 1) * stride + 1 : stride]


def require_counts(**counts: int) -> None:
    """ValueError, or TypeError, unless each is a whole number of at least 1."""
    for what, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
            raise TypeError(f"{what} is {count!r}: expected a whole number of at least 1")
        if count < 1:
            raise ValueError(f"{what} is {count}: expected at least 1")
