"""Layers one after the other: y = f_n(... f_2(f_1(x)))."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from scratchnet.arrays import Array
from scratchnet.layers.layer import Layer


class SequentialCache(NamedTuple):
    """One forward pass: every layer's cache, and where each recurrent layer ended."""

    caches: list[Any]
    state_last: list[Any]


class _Merged(dict[str, Array]):
    """The arrays of several layers by name.  Another array put in here would reach no layer, so that is refused."""

    def __setitem__(self, name: str, value: Array) -> None:
        if self.get(name) is not value:  # the same one comes back from  params[name] *= 2
            raise TypeError(f"{name} belongs to a layer of the model: write into the array, params[{name!r}][...] = new")


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
        self._check_leaves()

    def leaves(self) -> dict[str, Layer]:
        """Every layer that is no Sequential itself, under "outer.inner" where models are nested."""
        found: dict[str, Layer] = {}
        for name, layer in self.layers.items():
            inner = layer.leaves() if isinstance(layer, Sequential) else None
            found |= {name: layer} if inner is None else {f"{name}.{n}": leaf for n, leaf in inner.items()}
        return found

    def _check_leaves(self) -> None:
        seen: dict[int, str] = {}
        batch_first: dict[bool, str] = {}
        for name, layer in self.leaves().items():
            if id(layer) in seen:
                raise ValueError(f"layers {seen[id(layer)]!r} and {name!r} are one object: an optimiser would step it twice")
            seen[id(layer)] = name
            if layer.recurrent:
                batch_first[bool(getattr(layer, "batch_first", False))] = name
        if len(batch_first) == 2:
            raise ValueError(f"{batch_first[True]!r} is batch_first and {batch_first[False]!r} is not: one of them would take "
                             f"samples for time steps")  # fmt: skip

    @property
    def params(self) -> dict[str, Array]:
        """Every layer's parameters (the same arrays) under "layer.parameter"."""
        pairs = ((f"{name}.{p}", value) for name, layer in self.layers.items() for p, value in layer.params.items())
        return _Merged(pairs)

    @property
    def grads(self) -> dict[str, Array]:
        """Every layer's gradients (the same arrays) under "layer.parameter"."""
        pairs = ((f"{name}.{p}", value) for name, layer in self.layers.items() for p, value in layer.grads.items())
        return _Merged(pairs)

    @property
    def recurrent(self) -> bool:
        """True if any of the layers is."""
        return any(layer.recurrent for layer in self.layers.values())

    def astype(self, dtype: Any) -> Self:
        """Convert every layer; returns the model itself."""
        for layer in self.layers.values():
            layer.astype(dtype)
        return self

    def to(self, where: Any) -> Self:
        """Move every layer; returns the model itself."""
        for layer in self.layers.values():
            layer.to(where)
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
        return self.backward_state(dy, cache)[0]

    def backward_state(
        self, dy: Array, cache: SequentialCache, dstate_last: Sequence[Any] | None = None
    ) -> tuple[Array, list[Any]]:
        """As ``backward``, with the gradient that arrives at ``cache.state_last``, and returning that of the initial state."""
        if dstate_last is not None and len(dstate_last) != len(cache.state_last):
            raise ValueError(f"dstate_last has {len(dstate_last)} entries but the state has {len(cache.state_last)}")
        arriving = list(dstate_last) if dstate_last is not None else [None] * len(cache.state_last)
        dstate: list[Any] = []
        layer: Any
        for layer, layer_cache in zip(reversed(self.layers.values()), reversed(cache.caches)):
            if layer.recurrent:
                dy, d = layer.backward_state(dy, layer_cache, arriving.pop())
                dstate.insert(0, d)
            else:
                dy = layer.backward(dy, layer_cache)
        return dy, dstate

    def state_at(self, cache: SequentialCache, t: int) -> list[Any]:
        """The state after t steps, as ``forward`` takes it: one entry for each recurrent layer."""
        pairs = zip(self.layers.values(), cache.caches)
        return [layer.state_at(layer_cache, t) for layer, layer_cache in pairs if layer.recurrent]
