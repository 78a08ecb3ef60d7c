"""Layer normalisation: each vector is scaled to mean 0 and variance 1, then by learned numbers.

    y = gain n + b,   n = (x - mean(x)) / sqrt(var(x) + eps)

Mean and variance are over the features of one vector: x, n, y (..., F); gain, b (F,).
``cells/normalise.py`` computes n and explains its gradient; a cell normalises with it too.

References: Ba, Kiros and Hinton 2016, equations 3 and 4.
"""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike

from scratchnet.arrays import Array, require_count, require_memory
from scratchnet.cells import normalise
from scratchnet.errors import InvalidValueError
from scratchnet.layers.layer import Example, Layer

AnyLayer = TypeVar("AnyLayer", bound=Layer)


class LayerNorm(Layer):
    """x (..., F) to y (..., F), the same function in training and prediction.

    gain (F,) starts at one and b (F,) at zero.  Equal to ``torch.nn.LayerNorm(F)``.
    """

    def __init__(
        self, features: int, *, eps: float = normalise.EPS, dtype: DTypeLike = np.float64
    ) -> None:
        super().__init__()
        require_count("features", features)
        require_memory("gain", (4 * features,), dtype)
        self.eps = check_eps(eps)
        self.add_param("gain", np.ones(features, dtype))
        self.add_param("b", np.zeros(features, dtype))

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Over one and two leading axes."""
        for shape in ((3, 4), (3, 2, 4)):
            layer = perturbed(cls(4), rng)
            yield Example(f"x {shape}", layer, 2 + 3 * rng.standard_normal(shape))

    def forward(
        self, x: Array, training: bool = False
    ) -> tuple[Array, tuple[Array, Array, Array, Array]]:
        """x (..., F) to y (..., F); the cache is n, 1 / sqrt(var + eps) (..., 1), gain and y."""
        gain, b = self.params["gain"], self.params["b"]
        self.check_input(x)
        if x.ndim == 0 or x.shape[-1] != len(gain):
            raise InvalidValueError(
                f"the layer has {len(gain)} features but x is {tuple(x.shape)}: expected (...,"
                f" {len(gain)})"
            )
        n, scale = normalise.forward(x, self.eps)
        y = gain * n + b
        return y, (n, scale, gain.copy(), y)

    def backward(self, dy: Array, cache: tuple[Array, Array, Array, Array]) -> Array:
        """dy (..., F) to dx (..., F)."""
        n, scale, gain, y = cache
        self.check_upstream(dy, y)
        self.check_cache(gain=gain)
        rows = tuple(range(y.ndim - 1))
        self.grads["gain"] += (dy * n).sum(axis=rows)  # undoes  gain n
        self.grads["b"] += dy.sum(axis=rows)  # undoes  + b
        return normalise.backward(dy * gain, n, scale)


def check_eps(eps: float) -> float:
    """Return eps; ValueError unless it is positive."""
    if not eps > 0:
        raise InvalidValueError(
            f"eps is {eps}: expected a small positive number, which keeps 1 / sqrt(var + eps)"
            " finite"
        )
    return eps


def perturbed(layer: AnyLayer, rng: np.random.Generator) -> AnyLayer:
    """The layer with random changes of gain and b: at one and zero a forgotten factor is hidden."""
    for p in layer.params.values():
        p += 0.5 * rng.standard_normal(p.shape)
    return layer
