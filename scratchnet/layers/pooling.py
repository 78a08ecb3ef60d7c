"""Pooling: of every few steps the largest number, or the mean; the sequence becomes shorter.

    y[t] = max_k x[stride t + k]      or      y[t] = (1 / K) sum_k x[stride t + k]        k = 0 .. K-1

    x (T, N, D)  y (T', N, D)      T' = (T - K) // stride + 1: steps at the end that fill no window are left out, as in PyTorch

A maximum depends on the largest number only, so that one gets the whole gradient, of equals the
first; a mean shares it out.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells.sequences import zero_padding
from scratchnet.layers.layer import Example
from scratchnet.layers.over_time import OverTime, every, require_counts, windows_in


class PoolCache(NamedTuple):
    """One forward pass of pooling by windows."""

    x: Array  # (T, N, D), time first: backward needs its shape
    winner: Array | None  # (T', N, D) which k was the largest; None for the mean
    lengths: Array | None  # (N,) of y
    y: Array  # as it was returned


class Pool(OverTime):
    """What both kinds of windows share.  ``stride`` is ``kernel`` if None: windows side by side."""

    def __init__(
        self, kernel: int, stride: int | None = None, *, batch_first: bool = False
    ) -> None:
        super().__init__(batch_first)
        self.kernel, self.stride = kernel, kernel if stride is None else stride
        require_counts(kernel=self.kernel, stride=self.stride)

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Windows side by side, overlapping, with a gap between them, and a ragged batch."""
        for stride, batch_first, lengths in (
            (None, False, None),
            (1, True, None),
            (3, False, None),
            (1, True, [6, 2, 3]),
        ):
            label = (
                "stride"
                f" {stride or 2}{', batch first' if batch_first else ''}{', ragged' if lengths else ''}"
            )
            x = rng.standard_normal((3, 6, 2) if batch_first else (6, 3, 2))
            arguments = {} if lengths is None else {"lengths": lengths}
            yield Example(label, cls(2, stride, batch_first=batch_first), x, arguments)

    def lengths_after(self, lengths: Any) -> Any:
        """(length - kernel) // stride + 1: the windows that lie inside a sequence."""
        return windows_in(lengths, self.kernel, self.stride)

    def taps(self, x: Array) -> Array:
        """x (T, N, D) to (K, T', N, D): the first step of every window, the second of every window,
        ..."""
        steps = windows_in(len(x), self.kernel, self.stride)
        return np.stack([every(x, k, self.stride, steps) for k in range(self.kernel)])


class MaxPool1d(Pool):
    """The largest of every ``kernel`` steps: x (T, N, D) to y (T', N, D). Equal to
    ``torch.nn.MaxPool1d``.

    Raises ValueError where a sequence is shorter than one window.
    """

    def forward(
        self, x: Array, training: bool = False, lengths: Any = None
    ) -> tuple[Array, PoolCache]:
        """x (T, N, D) to y (T', N, D), or with N first in both if ``batch_first``."""
        x, lengths = self.check_sequences(x, lengths, shortest=self.kernel)
        taps, lengths = self.taps(x), self.lengths_after(lengths)
        y = self.turned(zero_padding(taps.max(axis=0), lengths))
        return y, PoolCache(x, taps.argmax(axis=0), lengths, y)

    def backward(self, dy: Array, cache: PoolCache) -> Array:
        """dy, shaped as y, to dx, shaped as x."""
        x, winner, lengths, y = cache
        self.check_gradient(dy, y)
        dy = zero_padding(self.turned(dy), lengths)
        dx = np.zeros_like(x)
        for k in range(self.kernel):
            d_tap = every(dx, k, self.stride, len(dy))
            # undoes  max: the winner gets it all
            d_tap += np.where(winner == k, dy, dy.dtype.type(0))
        return self.turned(dx)


class AveragePool1d(Pool):
    """The mean of every ``kernel`` steps: x (T, N, D) to y (T', N, D). Equal to
    ``torch.nn.AvgPool1d``.

    Raises ValueError where a sequence is shorter than one window.
    """

    def forward(
        self, x: Array, training: bool = False, lengths: Any = None
    ) -> tuple[Array, PoolCache]:
        """x (T, N, D) to y (T', N, D), or with N first in both if ``batch_first``."""
        x, lengths = self.check_sequences(x, lengths, shortest=self.kernel)
        taps, lengths = self.taps(x), self.lengths_after(lengths)
        y = self.turned(zero_padding(taps.sum(axis=0) / self.kernel, lengths))
        return y, PoolCache(x, None, lengths, y)

    def backward(self, dy: Array, cache: PoolCache) -> Array:
        """dy, shaped as y, to dx, shaped as x."""
        x, _, lengths, y = cache
        self.check_gradient(dy, y)
        dy = zero_padding(self.turned(dy), lengths)
        dx = np.zeros_like(x)
        for k in range(self.kernel):
            d_tap = every(dx, k, self.stride, len(dy))
            d_tap += dy / self.kernel  # undoes  (1 / K) sum: to each its share
        return self.turned(dx)
