"""The LSTM layer with noise inside its loop: variational dropout and zoneout.

The cell is ``cells/lstm_masked.py``. While training, the layer draws for each direction and each
forward pass:

    recurrent dropout   0 with probability p, else 1 / (1 - p); one (N, H) for all steps
    zoneout             1 with probability p, else 0; new at every step, (T, N, H), for h and for c
    dropout             between layers, and ``input_dropout`` before the first; one for all steps

At prediction nothing is dropped, and zoneout keeps its expectation: each state is p times the old
one and 1 - p times the new one.

References: dropout: Gal and Ghahramani 2016; zoneout: Krueger et al. 2017 (prediction: section 3).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from scratchnet.arrays import Array, Checked, Lengths
from scratchnet.cells.engine import Engine
from scratchnet.layers.dropout import check_probability, keep_mask
from scratchnet.layers.layer import Example
from scratchnet.layers.recurrent import Recurrent, RecurrentCache, State


class MaskedLSTM(Recurrent):
    """The LSTM layer with dropout of h' in the recurrent product, zoneout of h and c, dropout of x.

    ``dropout`` between layers is variational too: one mask for all steps. Other arguments:
    ``Recurrent``. Raises ValueError for a probability outside [0, 1).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        recurrent_dropout: float = 0.0,
        zoneout_h: float = 0.0,
        zoneout_c: float = 0.0,
        input_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__("lstm_masked", input_size, hidden_size, **kwargs)
        self.recurrent_dropout = check_probability(recurrent_dropout)
        self.zoneout_h, self.zoneout_c = check_probability(zoneout_h), check_probability(zoneout_c)
        self.input_dropout = check_probability(input_dropout)

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """All noise at once, training and prediction: stacked, both ways, ragged, with a state."""
        noise: dict[str, Any] = {"recurrent_dropout": 0.2, "zoneout_h": 0.3, "zoneout_c": 0.4}
        noise |= {"input_dropout": 0.2, "dropout": 0.2, "num_layers": 2, "bidirectional": True}
        for batch_first, training in ((False, True), (True, True), (False, False)):
            layer = cls(2, 3, batch_first=batch_first, rng=rng, **noise)
            x = rng.standard_normal((3, 4, 2) if batch_first else (4, 3, 2))
            state = tuple(rng.standard_normal((4, 3, 3)) for _ in range(2))
            label = ("training" if training else "prediction") + " batch first" * batch_first
            arguments = {"training": training, "state": state, "lengths": [4, 1, 2]}
            yield Example(label, layer, x, arguments)

    def forward(
        self,
        x: Array,
        training: bool = False,
        state: Sequence[Array] | None = None,
        lengths: Lengths = None,
    ) -> tuple[Array, RecurrentCache]:
        """As ``Recurrent.forward``; the mask of x is the last one in the cache."""
        self._check(x, state, lengths)
        mask = None
        if training and self.input_dropout:
            one_step = x[:, :1] if self.batch_first else x[:1]
            mask = keep_mask(self.rng, self.input_dropout, one_step)
        y, cache = super().forward(x if mask is None else x * mask, training, state, lengths)
        cache.masks.append(mask)
        return y, cache

    def backward_state(
        self, dy: Array, cache: RecurrentCache, dstate_last: Sequence[Array] | None = None
    ) -> tuple[Array, State]:
        """As ``Recurrent.backward_state``; undoes the mask of x too."""
        dx, dstate = super().backward_state(dy, cache, dstate_last)
        mask = cache.masks[-1]
        return dx if mask is None else dx * mask, dstate

    def _run_layer(
        self, engine: Engine, calls: list[Any], lengths: Checked, training: bool
    ) -> list[Any]:
        return [
            engine.forward([call], lengths=lengths, **self._noise(call[0], training))[0]
            for call in calls
        ]

    def _noise(self, x: Array, training: bool) -> dict[str, Array | float | None]:
        """The cell's noise for one layer direction over x (T, N, D); None where there is none."""
        T, N, _ = x.shape
        zoneout = {"keep_h": self.zoneout_h, "keep_c": self.zoneout_c}
        if not training:
            return {name: p or None for name, p in zoneout.items()}
        noise: dict[str, Array | float | None] = {"drop": None}
        if self.recurrent_dropout:
            like = np.empty_like(x, shape=(N, self.hidden_size))
            noise["drop"] = keep_mask(self.rng, self.recurrent_dropout, like)
        for name, p in zoneout.items():
            kept = self.rng.random((T, N, self.hidden_size)) < p if p else None
            noise[name] = None if kept is None else np.asarray(kept, dtype=x.dtype, like=x)
        return noise

    def _dropout_mask(self, y: Array) -> Array:
        return keep_mask(self.rng, self.dropout, y[:1])
