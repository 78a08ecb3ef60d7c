"""Encoder and decoder: one network reads the past, another forecasts step by step from its state.

    state    = encoder(x)
    u_0      = the last row of x, its target columns
    h_t      = decoder(u_t, h_{t-1}),     y_t = head(h_t)
    u_{t+1}  = target_t  or  y_t                        the decoder's next input

While training, ``teacher`` is the probability that a decoder step reads the target of the step
before (teacher forcing) instead of its own output: at 1 learning is quick but the network never
sees its own mistakes, at 0 it sees nothing else. Scheduled sampling moves from 1 to 0 during
training. At prediction there is no target, and each step reads the output of the step before.

The backward pass includes the decoder's inputs: where u_{t+1} is y_t, step t+1 adds to the gradient
of y_t. (Bengio et al. stop the gradient there, since a sampled word has none; a forecast is a
number and has one.)

References: Sutskever, Vinyals and Le 2014; Bengio, Vinyals, Jaitly and Shazeer 2015 (scheduled
sampling).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, Lengths, as_lengths, require_count, require_shape
from scratchnet.errors import InvalidValueError
from scratchnet.layers import Composite, Example, Linear, Recurrent
from scratchnet.layers.linear import LinearCache
from scratchnet.layers.recurrent import RecurrentCache, State


class DecoderStep(NamedTuple):
    """One step of the decoder."""

    rec: RecurrentCache
    head: LinearCache
    fed: Array | None  # (N, 1), 1 where the *next* step read this y, 0 where it read the target


class EncoderDecoderCache(NamedTuple):
    """One forward pass."""

    encoder: RecurrentCache
    steps: list[DecoderStep]
    y: Array  # (N, horizon, K)
    x: Array  # (N, T, D)
    ends: Array  # (N,) the last step of each sequence


class EncoderDecoder(Composite):
    """x (N, T, D), samples first, to forecasts y (N, horizon, K) of K columns of x.

    Parameters
    ----------
    inputs, outputs, horizon : D, K and the number of steps to forecast
    units, cell, num_layers, dropout, engine : of encoder and decoder, see ``Recurrent``
    rng : draws weights, dropout masks, and the steps that read the target
    teacher : probability that a step reads the target; see ``training.ScheduledSampling``
    columns : the K columns of x to forecast; None for the first K

    Raises
    ------
    ValueError
        For sizes below 1, columns that x does not have, and a teacher outside [0, 1].
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        units: int,
        horizon: int,
        *,
        rng: np.random.Generator,
        cell: str = "lstm",
        num_layers: int = 1,
        dropout: float = 0.0,
        teacher: float = 1.0,
        columns: Sequence[int] | None = None,
        engine: str = "auto",
    ) -> None:
        new = partial(Recurrent, num_layers=num_layers, dropout=dropout, engine=engine)
        encoder, decoder = (
            new(cell, width, units, rng=rng, batch_first=True) for width in (inputs, outputs)
        )
        super().__init__(
            {"encoder": encoder, "decoder": decoder, "head": Linear(units, outputs, rng=rng)}
        )
        self.columns = list(range(outputs)) if columns is None else list(columns)
        require_count("horizon", horizon, most=10**6)
        if len(self.columns) != outputs or not all(0 <= c < inputs for c in self.columns):
            given = f"columns are {self.columns} for {outputs} outputs of {inputs} inputs"
            raise InvalidValueError(f"{given}: expected a column of x for each output")
        if not 0 <= teacher <= 1:
            raise InvalidValueError(f"teacher is {teacher}: expected a probability, 0 to 1")
        self.horizon, self.teacher, self.rng = horizon, float(teacher), rng
        self.batch_first = True

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """A forecast; teacher forcing; scheduled sampling with two layers; all ragged."""
        for label, teacher, cell, depth in (
            ("forecast", 1.0, "lstm", 1),
            ("teacher forcing", 1.0, "lstm", 1),
            ("scheduled sampling", 0.5, "gru", 2),
        ):
            new = partial(cls, 3, 2, 4, 3, rng=rng, columns=[2, 0])
            model = new(teacher=teacher, cell=cell, num_layers=depth)
            arguments: dict[str, Any] = {"lengths": [5, 2, 3, 1]}
            if label != "forecast":
                arguments |= {"training": True, "target": rng.standard_normal((4, 3, 2))}
            yield Example(label, model, rng.standard_normal((4, 5, 3)), arguments)

    @property
    def reads_target(self) -> bool:
        """True: the decoder reads targets while training."""
        return True

    def lengths_after(self, lengths: Lengths) -> Lengths:
        """None: every forecast has ``horizon`` steps, also where that is the length of x."""
        return None

    def forward(
        self, x: Array, training: bool = False, lengths: Lengths = None, target: Array | None = None
    ) -> tuple[Array, EncoderDecoderCache]:
        """x (N, T, D) to y (N, horizon, K).

        ``target``, of y's shape, is needed while training with teacher > 0.
        """
        encoder, decoder, head = self._parts()
        teaching = training and self.teacher > 0
        _, past = encoder.forward(x, training=training, lengths=lengths)
        N, T, _ = x.shape
        shape = (N, self.horizon, len(self.columns))
        if teaching and target is None:
            raise InvalidValueError(
                f"teacher is {self.teacher} but no target was given: set teacher to 0, or give the"
                " right answers"
            )
        if teaching and target is not None:
            given = f"x is {tuple(x.shape)} and the horizon {self.horizon}"
            require_shape("target", target, shape, given)
        full = [T] * N if lengths is None else lengths
        ends = np.asarray(as_lengths(full, T, N, like=x), like=x) - 1
        u = x[np.arange(N, like=ends), ends][:, self.columns]  # (N, K), the decoder's first input
        state, steps, y = past.state_last, [], np.empty_like(x, shape=shape)
        for t in range(self.horizon):
            h, rec_cache = decoder.forward(u[:, None], training=training, state=state)
            out, head_cache = head.forward(h[:, 0])
            y[:, t], state = out, rec_cache.state_last
            fed = None
            if t + 1 < self.horizon:
                fed, u = np.ones_like(out, shape=(N, 1)), out
                if teaching and target is not None:
                    fed = np.asarray(self.rng.random((N, 1)) >= self.teacher, dtype=x.dtype, like=x)
                    u = fed * out + (1 - fed) * target[:, t]
            steps.append(DecoderStep(rec_cache, head_cache, fed))
        return y, EncoderDecoderCache(past, steps, y, x, ends)

    def backward(self, dy: Array, cache: EncoderDecoderCache) -> Array:
        """dy (N, horizon, K) to dx (N, T, D): the decoder backwards in time, then the encoder."""
        self.check_upstream(dy, cache.y)
        encoder, decoder, head = self._parts()
        dstate: State | None = None  # no step follows the last one
        du_next = np.zeros_like(dy[:, 0])
        for t in reversed(range(self.horizon)):
            step = cache.steps[t]
            # y_t is read twice: by the loss, and by step t+1 where its input is y_t
            d_out = dy[:, t] if step.fed is None else dy[:, t] + step.fed * du_next
            dh = head.backward(d_out, step.head)
            du, dstate = decoder.backward_state(dh[:, None], step.rec, dstate)
            du_next = du[:, 0]
        N, T, _ = cache.x.shape
        unread = np.zeros_like(dy, shape=(N, T, encoder.output_size))  # only its state is read
        dx, _ = encoder.backward_state(unread, cache.encoder, dstate)
        rows: Array = np.arange(N, like=cache.ends)[:, None]
        columns = np.asarray(self.columns, like=cache.ends)
        dx[rows, cache.ends[:, None], columns] += du_next  # x is also read as u_0
        return dx

    def _parts(self) -> tuple[Recurrent, Recurrent, Linear]:
        encoder, decoder, head = self.layers.values()
        return encoder, decoder, head  # type: ignore[return-value]
