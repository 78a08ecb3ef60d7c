"""Flatten: all steps of a sequence in one row, for a Linear layer with a weight for each step."""

from collections.abc import Iterator

import numpy as np

from scratchnet.arrays import Array, Lengths
from scratchnet.cells.sequences import zero_padding
from scratchnet.layers.layer import Example
from scratchnet.layers.over_time import TimeReduction

FlattenCache = tuple[tuple[int, ...], Array | None, Array]  # x.shape, time first; lengths; y


class Flatten(TimeReduction):
    """x (T, N, D), or (N, T, D) if ``batch_first``, to y (N, T D); zeros for padding."""

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Both orders; a ragged batch."""
        x = rng.standard_normal((4, 3, 2))
        yield Example("time first, ragged", cls(), x, {"lengths": [4, 1, 2]})
        yield Example("batch first", cls(batch_first=True), rng.standard_normal((3, 4, 2)))

    def forward(
        self, x: Array, training: bool = False, lengths: Lengths = None
    ) -> tuple[Array, FlattenCache]:
        """x to y (N, T D): step 0's features, step 1's, ..."""
        x, lengths = self.check_sequences(x, lengths)
        y = zero_padding(x, lengths).swapaxes(0, 1).reshape(x.shape[1], -1)
        return y, (x.shape, lengths, y)

    def backward(self, dy: Array, cache: FlattenCache) -> Array:
        """dy (N, T D) to dx, shaped as x."""
        (T, N, D), lengths, y = cache
        self.check_upstream(dy, y)
        dx = dy.reshape(N, T, D).swapaxes(0, 1)  # undoes the reshape
        return self.caller_order(zero_padding(dx, lengths))
