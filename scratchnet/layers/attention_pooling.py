"""Attention pooling: a sequence becomes a weighted mean of its steps, with learned weights.

    a_t = tanh(x_t W + b)      weights = softmax_t(a_t . v)      y = sum_t weights_t x_t

Shapes: x (T, N, D), W (D, U), b (U,), v (U,), a (T, N, U), weights (T, N), y (N, D).

Each step is compared with v to find out how much the step matters. x is read twice: for the
weights, and for the mean.

References: Yang et al. 2016 (hierarchical attention networks), equations 5 to 7.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from scratchnet import init
from scratchnet.arrays import Array, Lengths, require_count
from scratchnet.cells.sequences import sequence_mask, zero_padding
from scratchnet.elementwise import d_tanh
from scratchnet.fingerprint import Fingerprints, fingerprint, require_unchanged
from scratchnet.layers.attend import softmax, softmax_backward
from scratchnet.layers.layer import Example
from scratchnet.layers.over_time import TimeReduction


class AttentionPoolingCache(NamedTuple):
    """One forward pass."""

    x: Array  # (T, N, D), time first, zero in the padding
    a: Array  # (T, N, U)
    weights: Array  # (T, N) how much each step counts; they sum to one over time
    W: Array  # (D, U)
    v: Array  # (U,)
    y: Array  # (N, D)
    fingerprints: Fingerprints


class AttentionPooling(TimeReduction):
    """x (T, N, D), or (N, T, D) if ``batch_first``, to y (N, D); padding has weight zero.

    Parameters
    ----------
    inputs, units : D and U
    rng : draws W and v, Xavier-uniform; b starts at zero
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        *,
        rng: np.random.Generator,
        batch_first: bool = False,
        dtype: DTypeLike = np.float64,
    ) -> None:
        super().__init__(batch_first=batch_first)
        shape = require_count("inputs", inputs), require_count("units", units)
        self.add_param("W", init.xavier_uniform(rng, shape, dtype=dtype))
        self.add_param("b", np.zeros(units, dtype))
        self.add_param("v", init.xavier_uniform(rng, (units, 1), dtype=dtype)[:, 0].copy())

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Both orders; a ragged batch."""
        yield Example("time first", cls(3, 4, rng=rng), rng.standard_normal((4, 2, 3)))
        layer, x = cls(2, 3, rng=rng, batch_first=True), rng.standard_normal((3, 4, 2))
        yield Example("batch first, ragged", layer, x, {"lengths": [4, 1, 3]})

    def forward(
        self, x: Array, training: bool = False, lengths: Lengths = None
    ) -> tuple[Array, AttentionPoolingCache]:
        """x (T, N, D) to y (N, D); ``cache.weights`` can be plotted."""
        W, b, v = self.params["W"], self.params["b"], self.params["v"]
        x, lengths = self.check_sequences(x, lengths, len(W))
        x = zero_padding(x, lengths)
        a = np.tanh(x @ W + b)
        weights = softmax(a @ v, sequence_mask(len(x), lengths), axis=0)
        y = (weights[:, :, None] * x).sum(axis=0)
        return y, AttentionPoolingCache(x, a, weights, W, v, y, fingerprint(x=x, W=W, v=v))

    def backward(self, dy: Array, cache: AttentionPoolingCache) -> Array:
        """dy (N, D) to dx, shaped as x."""
        x, a, weights, W, v, y, fingerprints = cache
        self.check_upstream(dy, y)
        self.check_cache(W=W, v=v)
        require_unchanged(fingerprints)
        dx = weights[:, :, None] * dy  # undoes  weights x, along x
        dweights = (dy * x).sum(axis=2)  # undoes  weights x, along the weights
        dscores = softmax_backward(dweights, weights, axis=0)  # zero in the padding
        da = dscores[:, :, None] * v * d_tanh(a)  # undoes  tanh(..) . v
        self.grads["v"] += (dscores[:, :, None] * a).sum(axis=(0, 1))  # undoes  a . v
        rows, d_rows = x.reshape(-1, len(W)), da.reshape(-1, len(v))
        self.grads["W"] += rows.T @ d_rows  # undoes  x W
        self.grads["b"] += d_rows.sum(axis=0)  # undoes  + b
        dx += da @ W.T  # undoes  x W: the second use of x
        return self.caller_order(dx)
