"""Pooling over all of time: the maximum or the mean of each feature, one vector a sequence.

    y = max_t x[t]      or      y = (1 / length) sum_t x[t]        x (T, N, D)  y (N, D)

Unlike a recurrent layer's last state, it gives step 0 the same weight as the last one.
"""

from collections.abc import Iterator

import numpy as np

from scratchnet.arrays import Array, Lengths, require_shape
from scratchnet.cells.sequences import sequence_mask, zero_padding
from scratchnet.layers.layer import Example
from scratchnet.layers.over_time import TimeReduction

# x, time first; 1 / length, (N, 1) or a number; lengths; y
AverageCache = tuple[Array, Array | float, Array | None, Array]


class GlobalPool(TimeReduction):
    """The examples that both kinds share."""

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Both orders; a ragged batch."""
        yield Example("time first", cls(), rng.standard_normal((4, 3, 2)))
        x = rng.standard_normal((3, 5, 2))
        yield Example("batch first, ragged", cls(batch_first=True), x, {"lengths": [5, 1, 3]})


class GlobalMaxPool(GlobalPool):
    """The maximum over all steps of a sequence: x (T, N, D) to y (N, D)."""

    def forward(
        self, x: Array, training: bool = False, lengths: Lengths = None
    ) -> tuple[Array, tuple[Array, Array, Array]]:
        """x (T, N, D) to y (N, D); the cache is x, time first, the winning steps (N, D), and y."""
        x, lengths = self.check_sequences(x, lengths)
        inside = sequence_mask(len(x), lengths)
        if inside is not None:  # -inf in the padding never wins
            x = np.where(inside[:, :, None], x, x.dtype.type(-np.inf))
        y = x.max(axis=0)
        return y, (x, x.argmax(axis=0), y)

    def backward(self, dy: Array, cache: tuple[Array, Array, Array]) -> Array:
        """dy (N, D) to dx, shaped as x."""
        x, winner, y = cache
        self.check_upstream(dy, y, winner=winner)
        require_shape("the cache's x", x[0], y.shape, f"y there is {tuple(y.shape)}")
        steps: Array = np.arange(len(x), like=winner)
        # undoes  max: the winner gets the whole gradient
        dx = np.where(steps[:, None, None] == winner, dy, dy.dtype.type(0))
        return self.caller_order(dx)


class GlobalAveragePool(GlobalPool):
    """The mean over all steps of a sequence: x (T, N, D) to y (N, D)."""

    def forward(
        self, x: Array, training: bool = False, lengths: Lengths = None
    ) -> tuple[Array, AverageCache]:
        """x (T, N, D) to y (N, D)."""
        x, lengths = self.check_sequences(x, lengths)
        share = 1 / len(x) if lengths is None else (1 / lengths[:, None]).astype(x.dtype)
        y = zero_padding(x, lengths).sum(axis=0) * share
        return y, (x, share, lengths, y)

    def backward(self, dy: Array, cache: AverageCache) -> Array:
        """dy (N, D) to dx, shaped as x."""
        x, share, lengths, y = cache
        self.check_upstream(dy, y)
        require_shape("the cache's x", x[0], y.shape, f"y there is {tuple(y.shape)}")
        dx = np.zeros_like(x)
        dx += dy * share  # undoes  (1 / length) sum: each step gets its share
        return self.caller_order(zero_padding(dx, lengths))
