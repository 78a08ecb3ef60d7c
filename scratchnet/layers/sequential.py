"""Layers one after the other: y = f_n(... f_2(f_1(x)))."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from scratchnet.arrays import Array
from scratchnet.layers.composite import Composite
from scratchnet.layers.layer import Layer


class SequentialCache(NamedTuple):
    """One forward pass: every layer's cache, and where each recurrent layer ended."""

    caches: list[Any]
    state_last: list[Any]


class Sequential(Composite):
    """A model of layers in a row. ``Sequential(LSTM(...), Linear(...))`` numbers its layers and
    ``Sequential(lstm=LSTM(...), head=Linear(...))`` names them; a parameter is called "0.W_x_l0" or
    "lstm.W_x_l0".

    The state of a model is a list with the state of each of its recurrent layers.
    """

    def __init__(self, *layers: Layer, **named: Layer) -> None:
        if layers and named:
            raise ValueError(
                f"{len(layers)} layers have no name and {len(named)} have one: name all of them or"
                " none"
            )
        super().__init__({str(i): layer for i, layer in enumerate(layers)} | named)

    @property
    def recurrent(self) -> bool:
        """True if any of the layers is."""
        return any(layer.recurrent for layer in self.layers.values())

    def lengths_after(self, lengths: Any) -> Any:
        """What the layers make of the lengths, one after the other."""
        for layer in self.layers.values():
            lengths = layer.lengths_after(lengths)
        return lengths

    def forward(
        self,
        x: Array,
        training: bool = False,
        state: Sequence[Any] | None = None,
        lengths: Any = None,
    ) -> tuple[Array, SequentialCache]:
        """x to y and the cache. ``state`` has an entry for each recurrent layer; ``lengths`` go to
        every ragged one."""
        recurrent = [name for name, layer in self.layers.items() if layer.recurrent]
        if state is not None and len(state) != len(recurrent):
            raise ValueError(
                f"state has {len(state)} entries but the model has {len(recurrent)} recurrent"
                " layers"
            )
        if lengths is not None and not self.ragged:
            raise ValueError(
                "lengths were given but no layer of the model looks along time: none is ragged"
            )
        states: dict[str, Any] = dict(zip(recurrent, state)) if state is not None else {}
        caches, last = [], []
        layer: Any
        for name, layer in self.layers.items():
            extra = {"lengths": lengths} if layer.ragged else {}
            extra |= {"state": states.get(name)} if layer.recurrent else {}
            x, cache = layer.forward(x, training=training, **extra)
            lengths = layer.lengths_after(lengths)
            caches.append(cache)
            if layer.recurrent:
                last.append(cache.state_last)
        return x, SequentialCache(caches, last)

    def backward(self, dy: Array, cache: SequentialCache) -> Array:
        """Gradient of y to gradient of x: the layers in reverse, each handing its dx on as the dy
        of the one before."""
        return self.backward_state(dy, cache)[0]

    def backward_state(
        self, dy: Array, cache: SequentialCache, dstate_last: Sequence[Any] | None = None
    ) -> tuple[Array, list[Any]]:
        """As ``backward``, with the gradient that arrives at ``cache.state_last``, and returning
        that of the initial state."""
        if dstate_last is not None and len(dstate_last) != len(cache.state_last):
            raise ValueError(
                f"dstate_last has {len(dstate_last)} entries but the state has"
                f" {len(cache.state_last)}"
            )
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
