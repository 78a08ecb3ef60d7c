"""Pooling over all of time: a sequence becomes one vector, of each feature the largest number or
the mean.

    y = max_t x[t]      or      y = (1 / length) sum_t x[t]        x (T, N, D)  y (N, D)

Unlike a recurrent layer's last state, it gives step 0 the same weight as the last one.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells.sequences import zero_padding
from scratchnet.layers.layer import Example
from scratchnet.layers.over_time import OverTime


class Global(OverTime):
    """What pooling over all of time shares."""

    def __init__(self, *, batch_first: bool = False) -> None:
        super().__init__(batch_first)

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Both orders; a ragged batch."""
        yield Example("time first", cls(), rng.standard_normal((4, 3, 2)))
        yield Example(
            "batch first, ragged",
            cls(batch_first=True),
            rng.standard_normal((3, 5, 2)),
            {"lengths": [5, 1, 3]},
        )

    def lengths_after(self, lengths: Any) -> Any:
        """None: time is gone."""
        return None


class GlobalMaxPool(Global):
    """The largest of all steps of a sequence: x (T, N, D) to y (N, D)."""

    def forward(
        self, x: Array, training: bool = False, lengths: Any = None
    ) -> tuple[Array, tuple[Array, ...]]:
        """x (T, N, D) to y (N, D); the cache is x, time first, which step was the largest (N, D),
        and y."""
        x, lengths = self.check_sequences(x, lengths)
        if lengths is not None:  # nothing is below -inf: the padding never wins
            steps: Any = np.arange(len(x), like=lengths)
            x = np.where((steps[:, None] < lengths)[:, :, None], x, x.dtype.type(-np.inf))
        y = x.max(axis=0)
        return y, (x, x.argmax(axis=0), y)

    def backward(self, dy: Array, cache: tuple[Array, ...]) -> Array:
        """dy (N, D) to dx, shaped as x."""
        x, winner, y = cache
        self.check_gradient(dy, y)
        steps: Any = np.arange(len(x), like=winner)
        # undoes  max: the winner gets it all
        dx = np.where(steps[:, None, None] == winner, dy, dy.dtype.type(0))
        return self.turned(dx)


class GlobalAveragePool(Global):
    """The mean of all steps of a sequence: x (T, N, D) to y (N, D)."""

    def forward(
        self, x: Array, training: bool = False, lengths: Any = None
    ) -> tuple[Array, tuple[Any, ...]]:
        """x (T, N, D) to y (N, D); the cache is x, time first, 1 / length ((N, 1) or a number), the
        lengths, and y."""
        x, lengths = self.check_sequences(x, lengths)
        share = 1 / len(x) if lengths is None else (1 / lengths[:, None]).astype(x.dtype)
        y = zero_padding(x, lengths).sum(axis=0) * share
        return y, (x, share, lengths, y)

    def backward(self, dy: Array, cache: tuple[Any, ...]) -> Array:
        """dy (N, D) to dx, shaped as x."""
        x, share, lengths, y = cache
        self.check_gradient(dy, y)
        dx = np.zeros_like(x)
        dx += dy * share  # undoes  (1 / length) sum: to each step its share
        return self.turned(zero_padding(dx, lengths))
