"""Layers one after the other: y = f_n(... f_2(f_1(x)))."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from scratchnet.arrays import Array, Lengths
from scratchnet.errors import InvalidValueError
from scratchnet.layers.composite import Composite
from scratchnet.layers.layer import Layer


class SequentialCache(NamedTuple):
    """One forward pass: every layer's cache, and the final state of each recurrent layer."""

    caches: list[Any]
    state_last: list[Any]


class Sequential(Composite):
    """A model of layers in a row.

    ``Sequential(LSTM(...), Linear(...))`` numbers its layers, and
    ``Sequential(lstm=LSTM(...), head=Linear(...))`` names them; a parameter is called "0.W_x_l0" or
    "lstm.W_x_l0". The state of a model is a list with the state of each recurrent layer.

    Examples
    --------
    >>> import numpy as np
    >>> from scratchnet.layers import LSTM, Linear
    >>> rng = np.random.default_rng(0)
    >>> model = Sequential(lstm=LSTM(1, 8, rng=rng), head=Linear(8, 1, rng=rng))
    >>> y, cache = model.forward(np.zeros((5, 2, 1)))  # 5 steps, 2 sequences, 1 feature
    >>> y.shape, list(model.params)
    ((5, 2, 1), ['lstm.W_x_l0', 'lstm.W_h_l0', 'lstm.b_l0', 'head.W', 'head.b'])
    """

    def __init__(self, *layers: Layer, **named: Layer) -> None:
        if layers and named:
            raise InvalidValueError(
                f"{len(layers)} layers have no name and {len(named)} have one: name all of them or"
                " none"
            )
        super().__init__({str(i): layer for i, layer in enumerate(layers)} | named)

    @property
    def recurrent(self) -> bool:
        """True if any of the layers is."""
        return any(layer.recurrent for layer in self.layers.values())

    def lengths_after(self, lengths: Lengths) -> Lengths:
        """Lengths (N,) after all layers, or None."""
        for layer in self.layers.values():
            lengths = layer.lengths_after(lengths)
        return lengths

    def forward(
        self,
        x: Array,
        training: bool = False,
        state: Sequence[Any] | None = None,
        lengths: Lengths = None,
    ) -> tuple[Array, SequentialCache]:
        """x to y and the cache.

        Parameters
        ----------
        x : as the first layer takes it
        training : switches dropout on
        state : initial state of each recurrent layer; zeros if None
        lengths : (N,), lengths of the sequences in a padded batch
        """
        recurrent = [name for name, layer in self.layers.items() if layer.recurrent]
        if state is not None and len(state) != len(recurrent):
            raise InvalidValueError(
                f"state has {len(state)} entries but the model has {len(recurrent)} recurrent"
                " layers"
            )
        if lengths is not None and not self.ragged:
            raise InvalidValueError(
                "lengths were given but no layer of the model looks along time: none is ragged"
            )
        states = dict(zip(recurrent, state or ()))
        caches, last = [], []
        for name, layer in self.layers.items():
            arguments: dict[str, Any] = {"lengths": lengths} if layer.ragged else {}
            if layer.recurrent:
                arguments["state"] = states.get(name)
            x, cache = layer.forward(x, training=training, **arguments)
            lengths = layer.lengths_after(lengths)
            caches.append(cache)
            if layer.recurrent:
                last.append(cache.state_last)
        return x, SequentialCache(caches, last)

    def backward(self, dy: Array, cache: SequentialCache) -> Array:
        """dy to dx: the layers in reverse order; the dx of one is the dy of the layer before."""
        return self.backward_state(dy, cache)[0]

    def backward_state(
        self, dy: Array, cache: SequentialCache, dstate_last: Sequence[Any] | None = None
    ) -> tuple[Array, list[Any]]:
        """``backward`` that also takes and returns gradients of the final and initial states."""
        if dstate_last is not None and len(dstate_last) != len(cache.state_last):
            raise InvalidValueError(
                f"dstate_last has {len(dstate_last)} entries but the state has"
                f" {len(cache.state_last)}"
            )
        upstream = [None] * len(cache.state_last) if dstate_last is None else list(dstate_last)
        dstate: list[Any] = []
        layer: Any
        for layer, layer_cache in zip(reversed(self.layers.values()), reversed(cache.caches)):
            if layer.recurrent:
                dy, d = layer.backward_state(dy, layer_cache, upstream.pop())
                dstate.insert(0, d)
            else:
                dy = layer.backward(dy, layer_cache)
        return dy, dstate

    def state_at(self, cache: SequentialCache, t: int) -> list[Any]:
        """The state after t steps, as ``forward`` takes it: one entry for each recurrent layer."""
        pairs = zip(self.layers.values(), cache.caches)
        return [layer.state_at(layer_cache, t) for layer, layer_cache in pairs if layer.recurrent]
