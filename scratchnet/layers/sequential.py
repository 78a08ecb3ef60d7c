"""Layers one after the other: y = f_n(... f_2(f_1(x)))."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from scratchnet.arrays import Array
from scratchnet.layers.layer import Layer


class SequentialCache(NamedTuple):
    """One forward pass: every layer's cache, and where each recurrent layer ended."""

    caches: list[Any]
    state_last: list[Any]


class Sequential(Layer):
    """A model of layers in a row.  ``Sequential(LSTM(...), Linear(...))`` numbers its layers and
    ``Sequential(lstm=LSTM(...), head=Linear(...))`` names them; a parameter is called "0.W_x_l0" or "lstm.W_x_l0".

    The state of a model is a list with the state of each of its recurrent layers.
    """

    def __init__(self, *layers: Layer, **named: Layer) -> None:
        super().__init__()
        if layers and named:
            raise ValueError(f"{len(layers)} layers have no name and {len(named)} have one: name all of them or none")
        self.layers: dict[str, Layer] = {str(i): layer for i, layer in enumerate(layers)} | named
        if not self.layers:
            raise ValueError("Sequential has no layers")
        for name, layer in self.layers.items():
            if not isinstance(layer, Layer):
                raise TypeError(f"layer {name!r} is a {type(layer).__name__}, not a scratchnet layer")
            first = next(other for other, same in self.layers.items() if same is layer)
            if first != name:
                raise ValueError(f"layers {first!r} and {name!r} are one object: an optimiser would step it twice")

    @property
    def params(self) -> dict[str, Array]:
        """Every layer's parameters (the same arrays) under "layer.parameter"."""
        return {f"{name}.{p}": value for name, layer in self.layers.items() for p, value in layer.params.items()}

    @property
    def grads(self) -> dict[str, Array]:
        """Every layer's gradients (the same arrays) under "layer.parameter"."""
        return {f"{name}.{p}": value for name, layer in self.layers.items() for p, value in layer.grads.items()}

    @property
    def recurrent(self) -> bool:
        """True if any of the layers is."""
        return any(layer.recurrent for layer in self.layers.values())

    def astype(self, dtype: Any) -> Self:
        """Convert every layer; returns the model itself."""
        for layer in self.layers.values():
            layer.astype(dtype)
        return self

    def forward(
        self, x: Array, training: bool = False, state: Sequence[Any] | None = None, lengths: Any = None
    ) -> tuple[Array, SequentialCache]:
        """x to y and the cache.  ``state`` (a list, an entry for each recurrent layer) and ``lengths`` go to those layers."""
        recurrent = [name for name, layer in self.layers.items() if layer.recurrent]
        if state is not None and len(state) != len(recurrent):
            raise ValueError(f"state has {len(state)} entries but the model has {len(recurrent)} recurrent layers")
        if lengths is not None and not recurrent:
            raise ValueError("lengths were given but no layer of the model is recurrent")
        states: dict[str, Any] = dict(zip(recurrent, state)) if state is not None else {}
        caches, last = [], []
        layer: Any
        for name, layer in self.layers.items():
            extra = {"state": states.get(name), "lengths": lengths} if layer.recurrent else {}
            x, cache = layer.forward(x, training=training, **extra)
            caches.append(cache)
            if layer.recurrent:
                last.append(cache.state_last)
        return x, SequentialCache(caches, last)

    def backward(self, dy: Array, cache: SequentialCache) -> Array:
        """Gradient of y to gradient of x: the layers in reverse, each handing its dx on as the dy of the one before."""
        for layer, layer_cache in zip(reversed(self.layers.values()), reversed(cache.caches)):
            dy = layer.backward(dy, layer_cache)
        return dy

    def state_at(self, cache: SequentialCache, t: int) -> list[Any]:
        """The state after t steps, as ``forward`` takes it: one entry for each recurrent layer."""
        pairs = zip(self.layers.values(), cache.caches)
        return [layer.state_at(layer_cache, t) for layer, layer_cache in pairs if layer.recurrent]
