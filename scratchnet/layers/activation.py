"""Activations: elementwise layers without parameters.

Each one caches the array, x or y, in terms of which its derivative is simplest.
"""

import math
from collections.abc import Iterator

import numpy as np

from scratchnet.arrays import Array, read_only, require_floating
from scratchnet.elementwise import HALF, ONE, d_relu, d_sigmoid, d_tanh, relu, sigmoid
from scratchnet.errors import InvalidValueError
from scratchnet.layers.layer import Example, Layer


class Activation(Layer):
    """The example that all activations share."""

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """x has numbers on both sides of zero."""
        yield Example("", cls(), rng.standard_normal((4, 3, 2)) * 3)


class ReLU(Activation):
    """y = max(x, 0)."""

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Array]:
        """x (...) to y (...); the cache is y."""
        require_floating("x", x)
        y = read_only(relu(x))
        return y, y

    def backward(self, dy: Array, cache: Array) -> Array:
        """dx = dy where y > 0, else 0."""
        self.check_upstream(dy, cache)
        return dy * d_relu(cache)


class LeakyReLU(Activation):
    """y = x where x > 0, else slope x (Maas et al. 2013): a unit with x < 0 still learns."""

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        if not -np.inf < slope < np.inf:
            raise InvalidValueError(f"slope is {slope}: expected a finite number")
        self.slope = slope

    def forward(self, x: Array, training: bool = False) -> tuple[Array, tuple[Array, Array]]:
        """x (...) to y (...); the cache is where x > 0, and y."""
        require_floating("x", x)
        positive = x > 0
        y = np.where(positive, x, self.slope * x)
        return y, (positive, y)

    def backward(self, dy: Array, cache: tuple[Array, Array]) -> Array:
        """dx = dy where x > 0, else slope dy."""
        positive, y = cache
        self.check_upstream(dy, y, positive=positive)
        return np.where(positive, dy, self.slope * dy)


class Tanh(Activation):
    """y = tanh(x)."""

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Array]:
        """x (...) to y (...); the cache is y."""
        require_floating("x", x)
        y = read_only(np.tanh(x))
        return y, y

    def backward(self, dy: Array, cache: Array) -> Array:
        """dx = dy (1 - y^2)."""
        self.check_upstream(dy, cache)
        return dy * d_tanh(cache)


class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x))."""

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Array]:
        """x (...) to y (...); the cache is y."""
        require_floating("x", x)
        y = read_only(sigmoid(x))
        return y, y

    def backward(self, dy: Array, cache: Array) -> Array:
        """dx = dy y (1 - y)."""
        self.check_upstream(dy, cache)
        return dy * d_sigmoid(cache)


class GELU(Activation):
    """y = x/2 (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3): the GELU's tanh form.

    PyTorch's ``gelu(x, approximate="tanh")``; PyTorch's default uses the error function, and
    differs by up to 5e-4. References: Hendrycks and Gimpel 2016.
    """

    SCALE = math.sqrt(2 / math.pi)
    CUBIC = 0.044715

    def forward(self, x: Array, training: bool = False) -> tuple[Array, tuple[Array, Array]]:
        """x (...) to y (...); the cache is x, a copy, and tanh(u)."""
        require_floating("x", x)
        tanh_u = np.tanh(self.SCALE * (x + self.CUBIC * x * x * x))
        return HALF * x * (ONE + tanh_u), (x.copy(), tanh_u)

    def backward(self, dy: Array, cache: tuple[Array, Array]) -> Array:
        """dx = dy [ (1 + tanh u)/2 + x/2 (1 - tanh^2 u) du/dx ]: x is read twice."""
        x, tanh_u = cache
        self.check_upstream(dy, x, tanh_u=tanh_u)
        du_dx = self.SCALE * (1 + 3 * self.CUBIC * x * x)
        return dy * (HALF * (ONE + tanh_u) + HALF * x * d_tanh(tanh_u) * du_dx)


class Softplus(Activation):
    """y = log(1 + exp(x)), a smooth ReLU; a large x does not overflow."""

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Array]:
        """x (...) to y (...); the cache is y."""
        require_floating("x", x)
        y = read_only(np.logaddexp(x, x.dtype.type(0)))
        return y, y

    def backward(self, dy: Array, cache: Array) -> Array:
        """dx = dy sigmoid(x), and sigmoid(x) = 1 - exp(-y)."""
        self.check_upstream(dy, cache)
        return dy * -np.expm1(-cache)


ACTIVATIONS: dict[str, type[Layer]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "gelu": GELU,
    "softplus": Softplus,
}
