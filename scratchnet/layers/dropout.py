"""Dropout: while training, each number is set to zero with probability p and the rest is scaled up
to keep the mean."""

from collections.abc import Iterator

import numpy as np

from scratchnet.arrays import Array, require_floating, require_rng
from scratchnet.layers.layer import Example, Layer


def keep_mask(rng: np.random.Generator, p: float, like: Array) -> Array:
    """Zeros with probability p, else 1 / (1 - p), in the shape and type of ``like``.

    The scale stands in the mask ("inverted" dropout), so that nothing has to be scaled when the
    network is used.
    """
    kept = rng.random(like.shape) >= p
    return np.asarray(kept / (1 - p), dtype=like.dtype, like=like)


def check_probability(p: float) -> float:
    """p itself, if it is a probability a network can be trained with: 0 <= p < 1."""
    if not 0 <= p < 1:
        raise ValueError(f"dropout probability is {p}: expected 0 <= p < 1")
    return p


class Dropout(Layer):
    """y = x mask while training, y = x otherwise (Srivastava et al. 2014)."""

    def __init__(self, p: float, *, rng: np.random.Generator) -> None:
        super().__init__()
        require_rng(rng)
        self.p = check_probability(p)
        self.rng = rng

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """While training, and not."""
        x = rng.standard_normal((4, 3, 2))
        yield Example("training", cls(0.4, rng=rng), x, {"training": True})
        yield Example("prediction", cls(0.4, rng=rng), x)

    def forward(self, x: Array, training: bool = False) -> tuple[Array, tuple[Array, Array | None]]:
        """x (...) to y (...); the cache is y and the mask, None where nothing was dropped."""
        require_floating("x", x)
        if not training or self.p == 0:
            return x, (x, None)
        mask = keep_mask(self.rng, self.p, x)
        y = x * mask
        return y, (y, mask)

    def backward(self, dy: Array, cache: tuple[Array, Array | None]) -> Array:
        """dx = dy mask."""
        y, mask = cache
        self.check_gradient(dy, y)
        return dy if mask is None else dy * mask
