"""The base class of all layers: parameters, gradients, forward with a cache, and backward."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike

from scratchnet.arguments import checked_methods
from scratchnet.arrays import Array, Lengths, require_same_dtype, require_shape, to_device
from scratchnet.errors import InvalidTypeError


def _forward_with_a_flag(forward: Callable[..., Any]) -> Callable[..., Any]:
    """``forward`` that refuses a ``training`` other than True or False: lengths in its place, say.

    They would be true, and switch dropout on.
    """

    @wraps(forward)
    def checked(self: "Layer", x: Any, training: Any = False, *more: Any, **options: Any) -> Any:
        if training is not False and training is not True and not isinstance(training, np.bool_):
            raise InvalidTypeError(f"training is {training!r:.80}: expected True or False")
        return forward(self, x, training, *more, **options)

    return checked


class Example(NamedTuple):
    """A small layer and an input for it, on which the gradient check and the tests run."""

    label: str  # what is special about this one: "causal", "masked"
    layer: "Layer"
    x: Array | tuple[Array, ...]
    arguments: Mapping[str, Any] = {}  # keywords of forward


class Layer:
    """Parameters and gradients; nothing of a forward pass is kept in the layer.

    So one layer can be applied twice, with two caches. ``params`` and ``grads`` map the same names
    to arrays of the same shapes. ``forward(x, training=False) -> (y, cache)`` and
    ``backward(dy, cache) -> dx``, which *adds* into ``grads``, because a parameter used twice gets
    both gradients. Optimisers and loaders change the arrays in place; only ``astype`` and ``to``
    replace them.

    A cache holds x, y and weights themselves, not copies: leave all three unchanged between forward
    and backward.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        checked_methods(cls, "__init__", "backward")
        if inspect.isfunction(own := vars(cls).get("forward")):
            cls.forward = _forward_with_a_flag(own)  # type: ignore[method-assign]

    def __init__(self) -> None:
        self._params: dict[str, Array] = {}
        self._grads: dict[str, Array] = {}
        self._buffers: dict[str, Array] = {}

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Small layers in float64, one for each thing that can go wrong; checks and tests use them.

        Every layer in ``LAYERS`` needs them.
        """
        raise NotImplementedError(f"{cls.__name__} has no examples")

    @property
    def recurrent(self) -> bool:
        """True for a layer with a state: forward also takes ``state`` and ``lengths``."""
        return False

    @property
    def ragged(self) -> bool:
        """True for a layer that looks along time: forward also takes ``lengths`` (N,)."""
        return self.recurrent

    def lengths_after(self, lengths: Lengths) -> Lengths:
        """Lengths (N,) of the sequences in y; None for None, and where y has no time axis.

        A layer that changes the number of steps must define it: by it the layers that follow, and
        the loss, know which steps are padding. It also takes a length that is not in the batch.
        """
        return lengths

    @property
    def tokens(self) -> bool:
        """True where x holds whole numbers, the words of a vocabulary, instead of features."""
        return False

    @property
    def reads_target(self) -> bool:
        """True where forward takes ``target`` while training: teacher forcing in a decoder."""
        return False

    @property
    def params(self) -> dict[str, Array]:
        """Name -> parameter."""
        return self._params

    @property
    def buffers(self) -> dict[str, Array]:
        """Name -> array that is saved with the parameters but not trained: running statistics."""
        return self._buffers

    @property
    def grads(self) -> dict[str, Array]:
        """Name -> gradient, summed over the backward passes since the last ``zero_grad``."""
        return self._grads

    def add_param(self, name: str, value: Array) -> None:
        """Register a parameter and its gradient, which starts at zero."""
        self._params[name] = value
        self._grads[name] = np.zeros_like(value)

    def zero_grad(self) -> None:
        """Set every gradient to zero, in place."""
        for grad in self.grads.values():
            grad[...] = 0

    def astype(self, dtype: DTypeLike) -> Self:
        """Convert all arrays to float32 (speed) or float64 (gradient check); returns the layer."""
        for table in (self._params, self._grads, self._buffers):
            for name, array in table.items():
                table[name] = array.astype(dtype)
        return self

    def to(self, where: str | Array) -> Self:
        """Move all arrays to "numpy", "cupy" or the backend of a given array; returns the layer.

        Raises ImportError if CuPy is not installed, ValueError for another name.
        """
        for table in (self._params, self._grads, self._buffers):
            for name, array in table.items():
                table[name] = to_device(array, where)
        return self

    @property
    def size(self) -> int:
        """How many numbers are trained."""
        return sum(int(p.size) for p in self.params.values())

    def check_input(self, x: Array) -> None:
        """TypeError unless x is of the parameters' floating type."""
        require_same_dtype({**self._params, "x": x})

    def check_cache(self, **parameters: Array) -> None:
        """ValueError where the parameters in a cache have other shapes than the layer's: it is of
        another layer."""
        for name, kept in parameters.items():
            shape = tuple(self._params[name].shape)
            because = f"the layer's {name} is {shape}: is the cache another layer's?"
            require_shape(f"the cache's {name}", kept, shape, because)

    @staticmethod
    def check_upstream(dy: Array, y: Array, **alike: Array | None) -> None:
        """TypeError or ValueError unless dy has y's type and shape: nothing is broadcast. So must
        what else of a cache is ``alike``."""
        for name, kept in alike.items():
            if kept is not None:
                require_shape(f"the cache's {name}", kept, y.shape, f"y there is {tuple(y.shape)}")
        require_same_dtype({"y": y, "dy": dy})
        require_shape("dy", dy, y.shape, f"the output was {tuple(y.shape)}")

    def forward(self, x: Any, training: bool = False) -> tuple[Array, Any]:
        """x to y and the cache for ``backward``.  ``training`` switches dropout on."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def state_at(self, cache: Any, t: int) -> Any:
        """The state after t steps of a forward pass, for layers with a state."""
        raise NotImplementedError(f"{type(self).__name__} carries no state")

    def backward(self, dy: Array, cache: Any) -> Any:
        """Gradient of y to gradient of x; adds the parameters' gradients into ``grads``."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")
