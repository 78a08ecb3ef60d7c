"""Pooling: the maximum or the mean of every few steps; the sequence becomes shorter.

    y[t] = max_k x[stride t + k]    or    y[t] = (1 / K) sum_k x[stride t + k]      k = 0 .. K-1

Shapes: x (T, N, D), y (T', N, D) with T' = (T - K) // stride + 1: steps at the end that fill no
window are left out, as in PyTorch.

A maximum depends on the largest number only, so that one gets the whole gradient (the first of
equals); a mean distributes it evenly.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from scratchnet.arrays import Array, Lengths, require_array, require_count
from scratchnet.cells.sequences import zero_padding
from scratchnet.layers.layer import Example
from scratchnet.layers.over_time import OverTime, strided_view, window_count, window_counts


class PoolCache(NamedTuple):
    """One forward pass of pooling by windows."""

    x: Array  # (T, N, D), time first: backward needs its shape
    winner: Array | None  # (T', N, D) which k was the largest; None for the mean
    lengths: Array | None  # (N,) of y
    y: Array  # as it was returned


class Pool(OverTime):
    """The windows, and the examples, of both kinds of pooling.

    Parameters
    ----------
    kernel : K, steps of one window
    stride : steps from one window to the next; None for ``kernel``, windows side by side
    """

    def __init__(
        self, kernel: int, stride: int | None = None, *, batch_first: bool = False
    ) -> None:
        super().__init__(batch_first=batch_first)
        self.kernel = require_count("kernel", kernel)
        self.stride = require_count("stride", kernel if stride is None else stride)

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Windows side by side, overlapping, with a gap between them, and a ragged batch."""
        for stride, batch_first in ((None, False), (1, True), (3, False)):
            x = rng.standard_normal((3, 6, 2) if batch_first else (6, 3, 2))
            label = f"stride {stride or 2}" + ", batch first" * batch_first
            yield Example(label, cls(2, stride, batch_first=batch_first), x)
        layer, x = cls(2, 1, batch_first=True), rng.standard_normal((3, 6, 2))
        yield Example("stride 1, batch first, ragged", layer, x, {"lengths": [6, 2, 3]})

    def lengths_after(self, lengths: Lengths) -> Array | None:
        """(length - kernel) // stride + 1: the windows that lie inside a sequence."""
        return window_counts(lengths, self.kernel, self.stride)

    def taps(self, x: Array) -> Array:
        """x (T, N, D) to (K, T', N, D): the first step of every window, the second, ..."""
        steps = window_count(len(x), self.kernel, self.stride)
        return np.stack([strided_view(x, k, self.stride, steps) for k in range(self.kernel)])


class MaxPool1d(Pool):
    """The maximum of every ``kernel`` steps: x (T, N, D) to y (T', N, D).

    Equal to ``torch.nn.MaxPool1d``. Raises ValueError for a sequence shorter than one window.
    """

    def forward(
        self, x: Array, training: bool = False, lengths: Lengths = None
    ) -> tuple[Array, PoolCache]:
        """x (T, N, D) to y (T', N, D), or with N first in both if ``batch_first``."""
        x, lengths = self.check_sequences(x, lengths, shortest=self.kernel)
        taps, lengths = self.taps(x), self.lengths_after(lengths)
        y = self.caller_order(zero_padding(taps.max(axis=0), lengths))
        return y, PoolCache(x, taps.argmax(axis=0), lengths, y)

    def backward(self, dy: Array, cache: PoolCache) -> Array:
        """dy, shaped as y, to dx, shaped as x."""
        x, winner, lengths, y = cache
        require_array("the cache's winner", winner)
        self.check_upstream(dy, y)
        dy = zero_padding(self.time_first(dy), lengths)
        dx = np.zeros_like(x)
        for k in range(self.kernel):
            d_tap = strided_view(dx, k, self.stride, len(dy))
            # undoes  max: the winner gets the whole gradient
            d_tap += np.where(winner == k, dy, dy.dtype.type(0))
        return self.caller_order(dx)


class AveragePool1d(Pool):
    """The mean of every ``kernel`` steps: x (T, N, D) to y (T', N, D).

    Equal to ``torch.nn.AvgPool1d``. Raises ValueError for a sequence shorter than one window.
    """

    def forward(
        self, x: Array, training: bool = False, lengths: Lengths = None
    ) -> tuple[Array, PoolCache]:
        """x (T, N, D) to y (T', N, D), or with N first in both if ``batch_first``."""
        x, lengths = self.check_sequences(x, lengths, shortest=self.kernel)
        taps, lengths = self.taps(x), self.lengths_after(lengths)
        y = self.caller_order(zero_padding(taps.sum(axis=0) / self.kernel, lengths))
        return y, PoolCache(x, None, lengths, y)

    def backward(self, dy: Array, cache: PoolCache) -> Array:
        """dy, shaped as y, to dx, shaped as x."""
        x, _, lengths, y = cache
        self.check_upstream(dy, y)
        dy = zero_padding(self.time_first(dy), lengths)
        dx = np.zeros_like(x)
        for k in range(self.kernel):
            d_tap = strided_view(dx, k, self.stride, len(dy))
            d_tap += dy / self.kernel  # undoes  (1 / K) sum: each step gets its share
        return self.caller_order(dx)
