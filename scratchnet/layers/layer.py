"""What every layer is: parameters and gradients by name, a forward that returns a cache, a backward
that reads it."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from scratchnet.arrays import Array, require_floating, require_same_dtype, require_shape, to_device


class Example(NamedTuple):
    """A small layer and an input for it: what the gradient check, the tests and ``scratchnet
    gradcheck`` run it on."""

    label: str  # what is special about this one: "causal", "masked"
    layer: "Layer"
    x: Array | tuple[Array, ...]
    arguments: Mapping[str, Any] = {}


class Layer:
    """Holds parameters and nothing of a forward pass, so one layer can be applied twice, with two
    caches.

    ``params`` and ``grads`` map the same names to arrays of the same shapes. ``forward(x,
    training=False) -> (y, cache)``; ``backward(dy, cache) -> dx`` *adds* into ``grads``, because a
    parameter used twice gets both gradients. Optimisers and loaders change the arrays in place;
    only ``astype`` and ``to`` replace them.

    A cache holds x, y and weights themselves and no copies of them: leave all three alone between
    forward and backward.
    """

    def __init__(self) -> None:
        self._params: dict[str, Array] = {}
        self._grads: dict[str, Array] = {}
        self._buffers: dict[str, Array] = {}

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Small instances in float64, one for each thing that can go wrong; checks and tests walk
        them."""
        raise NotImplementedError(f"{cls.__name__} has no examples")

    @property
    def recurrent(self) -> bool:
        """True for a layer that carries a state: its forward also takes ``state`` and
        ``lengths``."""
        return False

    @property
    def ragged(self) -> bool:
        """True for a layer that looks along time: its forward also takes ``lengths`` (N,), and
        padding changes nothing."""
        return self.recurrent

    def lengths_after(self, lengths: Any) -> Any:
        """How long each sequence is behind this layer, as an array or None: pooling over time makes
        it shorter."""
        return lengths

    @property
    def tokens(self) -> bool:
        """True where x holds whole numbers, the words of a vocabulary, in place of features."""
        return False

    @property
    def reads_target(self) -> bool:
        """True where forward takes ``target`` while training: a decoder that is shown the right
        answer (teacher forcing)."""
        return False

    @property
    def params(self) -> dict[str, Array]:
        """Name -> array."""
        return self._params

    @property
    def buffers(self) -> dict[str, Array]:
        """Name -> array of what is kept beside the parameters and not trained, as running
        statistics are."""
        return self._buffers

    @property
    def grads(self) -> dict[str, Array]:
        """Name -> gradient of the loss, summed over the backward passes since the last
        ``zero_grad``."""
        return self._grads

    def add_param(self, name: str, value: Array) -> None:
        """Register a parameter and its gradient, which starts at zero."""
        self._params[name] = value
        self._grads[name] = np.zeros_like(value)

    def zero_grad(self) -> None:
        """Set every gradient to zero, in place."""
        for grad in self.grads.values():
            grad[...] = 0

    def astype(self, dtype: Any) -> Self:
        """Convert parameters and gradients, float64 for a gradient check or float32 for speed;
        returns the layer itself."""
        for table in (self._params, self._grads, self._buffers):
            for name, array in table.items():
                table[name] = array.astype(dtype)
        return self

    def to(self, where: Any) -> Self:
        """Move parameters and gradients: "numpy", "cupy", or any array whose kind they are to be;
        returns the layer itself.

        Raises ImportError where CuPy is asked for and not installed, ValueError for another name.
        """
        for table in (self._params, self._grads, self._buffers):
            for name, array in table.items():
                table[name] = to_device(array, where)
        return self

    @property
    def size(self) -> int:
        """Number of trained numbers."""
        return sum(int(p.size) for p in self.params.values())

    def check_input(self, x: Array) -> None:
        """TypeError unless x is of the parameters' floating type."""
        require_same_dtype({**self._params, "x": x})

    @staticmethod
    def check_gradient(dy: Array, y: Array) -> None:
        """TypeError or ValueError unless dy has the type and the shape of the output y: nothing is
        broadcast."""
        require_floating("dy", dy)
        require_same_dtype({"y": y, "dy": dy})
        require_shape("dy", dy, y.shape, f"the output was {tuple(y.shape)}")

    def forward(self, x: Any, training: bool = False) -> tuple[Array, Any]:
        """x to y and the cache that ``backward`` reads.  ``training`` switches dropout on."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def state_at(self, cache: Any, t: int) -> Any:
        """The state after t steps of a forward pass, for layers that carry one."""
        raise NotImplementedError(f"{type(self).__name__} carries no state")

    def backward(self, dy: Array, cache: Any) -> Any:
        """Gradient of y to gradient of x; adds the parameters' gradients into ``grads``."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")
