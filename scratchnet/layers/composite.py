"""Layers made of layers: one table of parameters, named "layer.parameter"."""

from collections.abc import Mapping
from typing import Any, Self

from numpy.typing import DTypeLike

from scratchnet.arrays import Array, Lengths
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.layers.layer import Layer


class Merged(dict[str, Array]):
    """The arrays of several layers by name.

    Assignment is rejected because it would not update the layer; write into the array instead.
    """

    def __setitem__(self, name: str, value: Array) -> None:
        if self.get(name) is not value:  # the same array is assigned by  params[name] *= 2
            raise InvalidTypeError(
                f"{name} belongs to a layer of the model: write into the array,"
                f" params[{name!r}][...] = new"
            )


class Composite(Layer):
    """A model with its layers by name in ``layers``; a subclass writes forward and backward.

    Raises
    ------
    TypeError
        For an object that is not a layer.
    ValueError
        Where there are no layers, one layer is given twice, or only some are batch_first.
    """

    def __init__(self, layers: Mapping[str, Any]) -> None:
        super().__init__()
        self.layers: dict[str, Layer] = dict(layers)
        if not self.layers:
            raise InvalidValueError(f"{type(self).__name__} has no layers")
        for name, layer in self.layers.items():
            if not isinstance(layer, Layer):
                raise InvalidTypeError(
                    f"layer {name!r} is a {type(layer).__name__}, not a scratchnet layer"
                )
        self._check_leaves()

    def leaves(self) -> dict[str, Layer]:
        """Every layer that is not a Composite, named "outer.inner" where models are nested."""
        found: dict[str, Layer] = {}
        for name, layer in self.layers.items():
            if isinstance(layer, Composite):
                found |= {f"{name}.{inner}": leaf for inner, leaf in layer.leaves().items()}
            else:
                found[name] = layer
        return found

    def _check_leaves(self) -> None:
        seen: dict[int, str] = {}
        batch_first: dict[bool, str] = {}
        for name, layer in self.leaves().items():
            if id(layer) in seen:
                raise InvalidValueError(
                    f"layers {seen[id(layer)]!r} and {name!r} are one object: an optimiser would"
                    " step it twice"
                )
            seen[id(layer)] = name
            if hasattr(layer, "batch_first"):
                batch_first[bool(layer.batch_first)] = name
        if len(batch_first) == 2:
            raise InvalidValueError(
                f"{batch_first[True]!r} is batch_first and {batch_first[False]!r} is not: one of"
                " them would take samples for time steps"
            )

    def _merged(self, table: str) -> Merged:
        """One of the layers' tables (the same arrays) under "layer.name"."""
        return Merged(
            (f"{of}.{name}", a)
            for of, layer in self.layers.items()
            for name, a in getattr(layer, table).items()
        )

    @property
    def params(self) -> dict[str, Array]:
        """Every layer's parameters (the same arrays) under "layer.parameter"."""
        return self._merged("params")

    @property
    def grads(self) -> dict[str, Array]:
        """Every layer's gradients (the same arrays) under "layer.parameter"."""
        return self._merged("grads")

    @property
    def buffers(self) -> dict[str, Array]:
        """Every layer's buffers (the same arrays) under "layer.buffer"."""
        return self._merged("buffers")

    @property
    def ragged(self) -> bool:
        """True if any of the layers is."""
        return any(layer.ragged for layer in self.layers.values())

    def lengths_after(self, lengths: Lengths) -> Lengths:
        """The same where no layer looks along time; a model with one that does must define it.

        Raises TypeError where it does not: a guess would take padding for targets.
        """
        if lengths is not None and self.ragged:
            raise InvalidTypeError(
                f"{type(self).__name__} has layers that look along time, but no lengths_after: it"
                " must say how long the sequences of its output are (None: no time axis)"
            )
        return lengths

    @property
    def tokens(self) -> bool:
        """True if the first layer reads whole numbers."""
        return next(iter(self.layers.values())).tokens

    def astype(self, dtype: DTypeLike) -> Self:
        """Convert every layer; returns the model itself."""
        for layer in self.layers.values():
            layer.astype(dtype)
        return self

    def to(self, where: str | Array) -> Self:
        """Move every layer; returns the model itself."""
        for layer in self.layers.values():
            layer.to(where)
        return self
