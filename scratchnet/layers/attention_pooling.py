"""Attention pooling: a sequence becomes the weighted mean of its steps, and the weights are
learned.

    a_t = tanh(x_t W + b)      weights = softmax_t(a_t . v)      y = sum_t weights_t x_t

    x (T, N, D)  W (D, U)  b (U,)  v (U,)  a (T, N, U)  weights (T, N)  y (N, D)

v is what a step is compared with to find out how much it matters. x is read twice: for the weights
and as what is weighed.

Source: Yang et al. 2016 (hierarchical attention networks), equations 5 to 7.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from scratchnet import init
from scratchnet.arrays import Array, require_rng
from scratchnet.cells.sequences import zero_padding
from scratchnet.elementwise import d_tanh
from scratchnet.layers.attend import softmax, softmax_backward
from scratchnet.layers.layer import Example
from scratchnet.layers.over_time import OverTime, require_counts


class AttentionPoolingCache(NamedTuple):
    """One forward pass."""

    x: Array  # (T, N, D), time first, zero in the padding
    a: Array  # (T, N, U)
    weights: Array  # (T, N) how much each step counts; they sum to one over time
    W: Array  # (D, U)
    v: Array  # (U,)
    y: Array  # (N, D)


class AttentionPooling(OverTime):
    """x (T, N, D), or (N, T, D) if ``batch_first``, to y (N, D). With ``lengths`` padding has
    weight zero.

    W and v start Xavier-uniform, b at zero.
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        *,
        rng: np.random.Generator,
        batch_first: bool = False,
        dtype: Any = np.float64,
    ) -> None:
        super().__init__(batch_first)
        require_rng(rng)
        require_counts(inputs=inputs, units=units)
        self.add_param("W", init.xavier_uniform(rng, (inputs, units), dtype=dtype))
        self.add_param("b", np.zeros(units, dtype))
        self.add_param("v", init.xavier_uniform(rng, (units, 1), dtype=dtype)[:, 0].copy())

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Both orders; a ragged batch."""
        yield Example("time first", cls(3, 4, rng=rng), rng.standard_normal((4, 2, 3)))
        layer = cls(2, 3, rng=rng, batch_first=True)
        yield Example(
            "batch first, ragged", layer, rng.standard_normal((3, 4, 2)), {"lengths": [4, 1, 3]}
        )

    def lengths_after(self, lengths: Any) -> Any:
        """None: time is gone."""
        return None

    def forward(
        self, x: Array, training: bool = False, lengths: Any = None
    ) -> tuple[Array, AttentionPoolingCache]:
        """x (T, N, D) to y (N, D); ``cache.weights`` are worth a picture."""
        W, b, v = self.params["W"], self.params["b"], self.params["v"]
        x, lengths = self.check_sequences(x, lengths, len(W))
        x = zero_padding(x, lengths)
        a = np.tanh(x @ W + b)
        steps: Any = np.arange(len(x), like=x)
        weights = softmax(a @ v, None if lengths is None else steps[:, None] < lengths, axis=0)
        y = (weights[:, :, None] * x).sum(axis=0)
        return y, AttentionPoolingCache(x, a, weights, W, v, y)

    def backward(self, dy: Array, cache: AttentionPoolingCache) -> Array:
        """dy (N, D) to dx, shaped as x."""
        x, a, weights, W, v, y = cache
        self.check_gradient(dy, y)
        dx = weights[:, :, None] * dy  # undoes  weights x, along x
        dweights = (dy * x).sum(axis=2)  # undoes  weights x, along the weights
        # undoes the softmax; zero in the padding
        dscores = softmax_backward(dweights, weights, axis=0)
        da = dscores[:, :, None] * v * d_tanh(a)  # undoes  tanh(..) . v
        self.grads["v"] += (dscores[:, :, None] * a).sum(axis=(0, 1))  # undoes  a . v
        rows, d_rows = x.reshape(-1, len(W)), da.reshape(-1, len(v))
        self.grads["W"] += rows.T @ d_rows  # undoes  x W
        self.grads["b"] += d_rows.sum(axis=0)  # undoes  + b
        dx += da @ W.T  # undoes  x W: the second road to x
        return self.turned(dx)
