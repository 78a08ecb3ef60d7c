"""The fully connected layer:  y = x W + b."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from scratchnet import init
from scratchnet.arrays import Array, require_rng
from scratchnet.layers.layer import Example, Layer


class Linear(Layer):
    """y = x W + b over the last axis: x (..., D) to y (..., K), with W (D, K) and b (K,).

    W starts as ``weight_init`` makes it (Xavier uniform; take ``init.he_normal`` before a ReLU), b
    at zero.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        rng: np.random.Generator,
        weight_init: Any = init.xavier_uniform,
        dtype: Any = np.float64,
    ) -> None:
        super().__init__()
        require_rng(rng)
        if inputs < 1 or outputs < 1:
            raise ValueError(
                f"Linear needs at least one input and one output, but has {inputs} and {outputs}"
            )
        self.add_param("W", weight_init(rng, (inputs, outputs), dtype=dtype))
        self.add_param("b", np.zeros(outputs, dtype))

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Over one, two and three leading axes."""
        for shape in ((4,), (3, 4), (2, 3, 4)):
            yield Example(f"x {shape}", cls(4, 3, rng=rng), rng.standard_normal(shape))

    def forward(self, x: Array, training: bool = False) -> tuple[Array, tuple[Array, Array, Array]]:
        """x (..., D) to y (..., K); the cache is x, W and y."""
        W, b = self.params["W"], self.params["b"]
        self.check_input(x)
        if x.ndim == 0 or x.shape[-1] != len(W):
            features = x.shape[-1] if x.ndim else "no"
            raise ValueError(
                f"W is {W.shape} but x has {features} features, shape {tuple(x.shape)}"
            )
        y = x @ W + b
        return y, (x, W, y)

    def backward(self, dy: Array, cache: tuple[Array, Array, Array]) -> Array:
        """dy (..., K) to dx (..., D)."""
        x, W, y = cache
        self.check_gradient(dy, y)
        # every leading axis is only "another row"
        rows, d_rows = x.reshape(-1, W.shape[0]), dy.reshape(-1, W.shape[1])
        self.grads["W"] += rows.T @ d_rows  # undoes  y = x W: each row adds  x^T dy
        self.grads["b"] += d_rows.sum(axis=0)  # undoes  + b
        return dy @ W.T  # undoes  y = x W
