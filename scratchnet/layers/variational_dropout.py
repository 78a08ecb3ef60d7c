"""Variational dropout: one mask a sequence, the same at all its time steps.

    y[t] = x[t] mask        x, y (T, N, D);  mask (N, D), zeros with probability p, else 1 / (1 - p)

A new mask at every step is noise that a network with a memory averages over time; one mask removes
a feature from the whole sequence. Derived as an approximation to inference over the weights.

References: Gal and Ghahramani 2016.
"""

from collections.abc import Iterator

import numpy as np

from scratchnet.arrays import Array, require_floating, require_sequences, require_shape
from scratchnet.layers.dropout import check_probability, keep_mask
from scratchnet.layers.layer import Example, Layer


class VariationalDropout(Layer):
    """y = x mask while training, y = x otherwise: x (T, N, D), or (N, T, D) if ``batch_first``."""

    def __init__(self, p: float, *, rng: np.random.Generator, batch_first: bool = False) -> None:
        super().__init__()
        self.p, self.rng, self.batch_first = check_probability(p), rng, batch_first

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """While training, in both orders, and not."""
        layer, x = cls(0.4, rng=rng), rng.standard_normal((4, 3, 2))
        yield Example("training", layer, x, {"training": True})
        layer, x = cls(0.4, rng=rng, batch_first=True), rng.standard_normal((3, 4, 2))
        yield Example("batch first", layer, x, {"training": True})
        yield Example("prediction", cls(0.4, rng=rng), rng.standard_normal((4, 3, 2)))

    def forward(self, x: Array, training: bool = False) -> tuple[Array, tuple[Array, Array | None]]:
        """x to y; the cache is y and the mask, of one time step, None where nothing was dropped."""
        require_floating("x", x)
        require_sequences(x, self.batch_first)
        if not training or self.p == 0:
            return x, (x, None)
        one_step = x[:, :1] if self.batch_first else x[:1]
        mask = keep_mask(self.rng, self.p, one_step)
        y = x * mask
        return y, (y, mask)

    def backward(self, dy: Array, cache: tuple[Array, Array | None]) -> Array:
        """dx = dy mask."""
        y, mask = cache
        self.check_upstream(dy, y)
        if mask is not None:
            one_step = (y[:, :1] if self.batch_first else y[:1]).shape
            require_shape("the cache's mask", mask, one_step, f"y there is {tuple(y.shape)}")
        return dy if mask is None else dy * mask  # undoes  x mask
