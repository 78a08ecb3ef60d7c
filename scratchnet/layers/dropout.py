"""Dropout: while training, each number is zero with probability p, and the others are scaled up."""

from collections.abc import Iterator

import numpy as np

from scratchnet.arrays import Array, require_floating
from scratchnet.errors import InvalidValueError
from scratchnet.layers.layer import Example, Layer


def keep_mask(rng: np.random.Generator, p: float, like: Array) -> Array:
    """Zeros with probability p, else 1 / (1 - p), in the shape and type of ``like``.

    The scale is part of the mask ("inverted" dropout), so that prediction needs no scaling.

    >>> keep_mask(np.random.default_rng(0), 0.5, np.zeros(6)).tolist()
    [2.0, 0.0, 0.0, 0.0, 2.0, 2.0]
    """
    kept = rng.random(like.shape) >= p
    return np.asarray(kept / (1 - p), dtype=like.dtype, like=like)


def check_probability(p: float) -> float:
    """Return p; ValueError unless 0 <= p < 1."""
    if not 0 <= p < 1:
        raise InvalidValueError(f"dropout probability is {p}: expected 0 <= p < 1")
    return p


class Dropout(Layer):
    """y = x mask while training, y = x otherwise (Srivastava et al. 2014)."""

    def __init__(self, p: float, *, rng: np.random.Generator) -> None:
        super().__init__()
        self.p, self.rng = check_probability(p), rng

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
        self.check_upstream(dy, y, mask=mask)
        return dy if mask is None else dy * mask  # undoes  x mask
