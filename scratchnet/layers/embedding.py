"""The embedding: each word of a vocabulary has a learned vector, a row of W.

    y[...] = W[x[...]]        x (...) whole numbers from 0 to V-1;  W (V, E);  y (..., E)

The same as a one-hot vector times W, without the zeros.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import DTypeLike

from scratchnet.arrays import (
    Array,
    array_backend,
    require_array,
    require_count,
    require_memory,
    require_shape,
)
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.layers.layer import Example, Layer


class Embedding(Layer):
    """x (...), whole numbers, to y (..., E).

    Parameters
    ----------
    vocabulary, features : V and E
    rng : draws W, standard-normal as in ``torch.nn.Embedding``
    padding : a token without meaning: its vector is zero, and its row of W is not trained
    """

    def __init__(
        self,
        vocabulary: int,
        features: int,
        *,
        rng: np.random.Generator,
        padding: int | None = None,
        dtype: DTypeLike = np.float64,
    ) -> None:
        super().__init__()
        shape = require_count("vocabulary", vocabulary), require_count("features", features)
        require_memory("W", shape, np.float64)
        if padding is not None and not 0 <= padding < vocabulary:
            raise InvalidValueError(
                f"padding is {padding} but the vocabulary has {vocabulary}: expected 0 to"
                f" {vocabulary - 1}"
            )
        self.padding = padding
        self.add_param("W", rng.standard_normal(shape).astype(dtype))
        if padding is not None:
            self.params["W"][padding] = 0

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Tokens that occur twice and one that never does; with and without a padding token."""
        yield Example("sequences", cls(5, 3, rng=rng), np.array([[1, 4], [1, 0], [4, 1]]))
        yield Example("padding", cls(4, 2, rng=rng, padding=0), np.array([3, 0, 1, 3, 0]))

    @property
    def tokens(self) -> bool:
        """True: x holds whole numbers."""
        return True

    def check_input(self, x: Array) -> None:
        """TypeError unless x holds whole numbers on W's device; ValueError for an unknown token."""
        W = self.params["W"]
        require_array("x", x)
        if not np.issubdtype(x.dtype, np.integer):
            raise InvalidTypeError(
                f"x is {x.dtype} but an embedding reads tokens: expected whole numbers, such as"
                " int64"
            )
        if array_backend(x) != array_backend(W):
            raise InvalidTypeError(
                f"x is an array of {array_backend(x)} but W is one of {array_backend(W)}: move one"
                " of them"
            )
        if x.size == 0:
            raise InvalidValueError(f"x is {tuple(x.shape)}: it needs at least one token")
        for token in (int(x.min()), int(x.max())):  # CuPy would wrap a wrong one around
            if not 0 <= token < len(W):
                raise InvalidValueError(
                    f"x holds the token {token} but the vocabulary has {len(W)}: expected 0 to"
                    f" {len(W) - 1}"
                )

    def forward(self, x: Array, training: bool = False) -> tuple[Array, tuple[Array, Array]]:
        """x (...) to y (..., E); the cache is x, a copy, and y."""
        self.check_input(x)
        y = self.params["W"][x]
        if self.padding is not None:
            y[x == self.padding] = 0
        return y, (x.copy(), y)

    def backward(self, dy: Array, cache: tuple[Array, Array]) -> None:
        """dy (..., E) to no dx: whole numbers have no derivative."""
        x, y = cache
        self.check_upstream(dy, y)
        self.check_input(x)
        require_shape("the cache's x", x, y.shape[:-1], f"y there is {tuple(y.shape)}")
        dW = self.grads["W"]
        V, E = dW.shape
        # undoes  W[x]: a token that occurs twice gets both gradients. dW[x] += dy would keep only
        # the last one, and CuPy does not take np.add.at from NumPy; both have a weighted bincount.
        place = x.reshape(-1, 1).astype(np.intp) * E + np.arange(E, like=dW)  # in dW.ravel()
        each = np.bincount(place.ravel(), weights=dy.ravel(), minlength=V * E)
        each = each.reshape(V, E).astype(dW.dtype)
        if self.padding is not None:
            each[self.padding] = 0  # undoes the zeros
        dW += each
