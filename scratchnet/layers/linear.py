"""The fully connected layer:  y = x W + b."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from scratchnet import init
from scratchnet.arrays import Array, require_count
from scratchnet.errors import InvalidValueError
from scratchnet.fingerprint import Fingerprints, fingerprint, require_unchanged
from scratchnet.layers.layer import Example, Layer


class LinearCache(NamedTuple):
    """One forward pass."""

    x: Array  # (..., D)
    W: Array  # (D, K)
    y: Array  # (..., K)
    fingerprints: Fingerprints


class Linear(Layer):
    """y = x W + b over the last axis: x (..., D) to y (..., K), with W (D, K) and b (K,).

    Parameters
    ----------
    inputs, outputs : D and K
    rng : draws W; b starts at zero
    weight_init : Xavier-uniform by default; take ``init.he_normal`` before a ReLU

    Examples
    --------
    >>> layer = Linear(2, 3, rng=np.random.default_rng(0))
    >>> y, cache = layer.forward(np.ones((4, 2)))
    >>> y.shape, layer.backward(np.ones((4, 3)), cache).shape
    ((4, 3), (4, 2))
    >>> layer.grads["b"].tolist()
    [4.0, 4.0, 4.0]
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        rng: np.random.Generator,
        weight_init: init.Initializer = init.xavier_uniform,
        dtype: DTypeLike = np.float64,
    ) -> None:
        super().__init__()
        shape = require_count("inputs", inputs), require_count("outputs", outputs)
        self.add_param("W", init.drawn(weight_init, rng, shape, dtype))
        self.add_param("b", np.zeros(outputs, dtype))

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Over one, two and three leading axes."""
        for shape in ((4,), (3, 4), (2, 3, 4)):
            yield Example(f"x {shape}", cls(4, 3, rng=rng), rng.standard_normal(shape))

    def forward(self, x: Array, training: bool = False) -> tuple[Array, LinearCache]:
        """x (..., D) to y (..., K)."""
        W, b = self.params["W"], self.params["b"]
        self.check_input(x)
        if x.ndim == 0 or x.shape[-1] != len(W):
            features = x.shape[-1] if x.ndim else "no"
            raise InvalidValueError(
                f"W is {W.shape} but x has {features} features, shape {tuple(x.shape)}"
            )
        y = x @ W + b
        return y, LinearCache(x, W, y, fingerprint(x=x, W=W))

    def backward(self, dy: Array, cache: LinearCache) -> Array:
        """dy (..., K) to dx (..., D)."""
        x, W, y, fingerprints = cache
        self.check_upstream(dy, y)
        self.check_cache(W=W)
        require_unchanged(fingerprints)
        # every leading axis is only "another row"
        rows, d_rows = x.reshape(-1, W.shape[0]), dy.reshape(-1, W.shape[1])
        self.grads["W"] += rows.T @ d_rows  # undoes  y = x W: each row adds  x^T dy
        self.grads["b"] += d_rows.sum(axis=0)  # undoes  + b
        return dy @ W.T  # undoes  y = x W
