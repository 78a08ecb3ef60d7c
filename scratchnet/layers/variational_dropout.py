"""Variational dropout: one mask a sequence, the same at all its time steps.

    y[t] = x[t] mask        x, y (T, N, D);  mask (N, D), zeros with probability p, else 1 / (1 - p)

A new mask at every step is noise that a network with a memory averages away over time; the same
mask takes a feature away for the whole sequence. Derived as an approximation to inference over the
weights: Gal and Ghahramani 2016.
"""

from collections.abc import Iterator

import numpy as np

from scratchnet.arrays import Array, require_floating, require_rng
from scratchnet.layers.dropout import check_probability, keep_mask
from scratchnet.layers.layer import Example, Layer


class VariationalDropout(Layer):
    """y = x mask while training, y = x otherwise: x (T, N, D), or (N, T, D) if ``batch_first``."""

    def __init__(self, p: float, *, rng: np.random.Generator, batch_first: bool = False) -> None:
        super().__init__()
        require_rng(rng)
        self.p, self.rng, self.batch_first = check_probability(p), rng, batch_first

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """While training, in both orders, and not."""
        yield Example(
            "training", cls(0.4, rng=rng), rng.standard_normal((4, 3, 2)), {"training": True}
        )
        yield Example(
            "batch first",
            cls(0.4, rng=rng, batch_first=True),
            rng.standard_normal((3, 4, 2)),
            {"training": True},
        )
        yield Example("prediction", cls(0.4, rng=rng), rng.standard_normal((4, 3, 2)))

    def forward(self, x: Array, training: bool = False) -> tuple[Array, tuple[Array, Array | None]]:
        """x to y; the cache is y and the mask, with an axis of one for time, None where nothing was
        dropped."""
        require_floating("x", x)
        if x.ndim != 3:
            order = "(N, T, D), batch first" if self.batch_first else "(T, N, D), time first"
            raise ValueError(f"x has {x.ndim} dimensions, shape {tuple(x.shape)}: expected {order}")
        if not training or self.p == 0:
            return x, (x, None)
        # one step's mask serves them all
        mask = keep_mask(self.rng, self.p, x[:, :1] if self.batch_first else x[:1])
        y = x * mask
        return y, (y, mask)

    def backward(self, dy: Array, cache: tuple[Array, Array | None]) -> Array:
        """dx = dy mask."""
        y, mask = cache
        self.check_gradient(dy, y)
        return dy if mask is None else dy * mask  # undoes  x mask
