"""Flatten: all steps of a sequence side by side in one row, for a Linear layer that weighs each
step by its place."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells.sequences import zero_padding
from scratchnet.layers.layer import Example
from scratchnet.layers.over_time import OverTime


class Flatten(OverTime):
    """x (T, N, D), or (N, T, D) if ``batch_first``, to y (N, T D): step 0's features, step 1's,
    ...; zeros for padding."""

    def __init__(self, *, batch_first: bool = False) -> None:
        super().__init__(batch_first)

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Both orders; a ragged batch."""
        yield Example(
            "time first, ragged", cls(), rng.standard_normal((4, 3, 2)), {"lengths": [4, 1, 2]}
        )
        yield Example("batch first", cls(batch_first=True), rng.standard_normal((3, 4, 2)))

    def lengths_after(self, lengths: Any) -> Any:
        """None: time is gone."""
        return None

    def forward(
        self, x: Array, training: bool = False, lengths: Any = None
    ) -> tuple[Array, tuple[Any, ...]]:
        """x to y (N, T D); the cache is the shape of x, time first, the lengths, and y."""
        x, lengths = self.check_sequences(x, lengths)
        y = zero_padding(x, lengths).swapaxes(0, 1).reshape(x.shape[1], -1)
        return y, (x.shape, lengths, y)

    def backward(self, dy: Array, cache: tuple[Any, ...]) -> Array:
        """dy (N, T D) to dx, shaped as x."""
        (T, N, D), lengths, y = cache
        self.check_gradient(dy, y)
        dx = dy.reshape(N, T, D).swapaxes(0, 1)  # undoes the reshape
        return self.turned(zero_padding(dx, lengths))
