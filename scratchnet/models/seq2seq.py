"""Encoder and decoder: one network reads the past, another writes the future, step by step, from
the state it was handed.

    state    = encoder(x)                               the past, as numbers
    u_0      = the last row of x, its target columns
    h_t      = decoder(u_t, h_{t-1}),     y_t = head(h_t)
    u_{t+1}  = target_t  or  y_t                        what the decoder is shown next

While training, ``teacher`` is the probability that a step is shown the right answer of the step
before (teacher forcing) instead of its own: at 1 learning is quick but the network never sees its
own mistakes, at 0 it sees nothing else. Scheduled sampling goes from one to the other while it
trains. A forecast has no right answers: there each step is shown its own.

The backward pass goes through what the decoder was shown: where that was y_t, step t+1 has a say in
its gradient. (Bengio et al. stop it there, since a sampled word has no gradient; a forecast is a
number and has one.)

Source: Sutskever, Vinyals and Le 2014; Bengio, Vinyals, Jaitly and Shazeer 2015 (scheduled
sampling).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, as_lengths, require_shape
from scratchnet.layers import Composite, Example, Linear, Recurrent


class DecoderStep(NamedTuple):
    """One step of the decoder."""

    rec: Any  # the recurrent layer's cache
    head: Any  # the head's
    # (N, 1) 1 where the *next* step was shown this y, 0 where the right answer; None where none was
    shown: Array | None


class EncoderDecoderCache(NamedTuple):
    """One forward pass."""

    encoder: Any
    steps: list[DecoderStep]
    y: Array  # (N, horizon, K)
    x: Array  # (N, T, D)
    ends: Array  # (N,) the last step of each sequence


class EncoderDecoder(Composite):
    """x (N, T, D), samples first, to forecasts y (N, horizon, K) of the K ``columns`` of x (the
    first K by default).

    ``cell``, ``units``, ``num_layers``, ``dropout`` (between layers) of both, the encoder and the
    decoder. ``teacher`` may be changed between epochs: see ``training.ScheduledSampling``. Raises
    ValueError for sizes below 1, columns that x does not have, and a teacher outside [0, 1].
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
        same: dict[str, Any] = {
            "num_layers": num_layers,
            "dropout": dropout,
            "batch_first": True,
            "engine": engine,
        }
        encoder, decoder = (
            Recurrent(cell, width, units, rng=rng, **same) for width in (inputs, outputs)
        )
        super().__init__(
            {"encoder": encoder, "decoder": decoder, "head": Linear(units, outputs, rng=rng)}
        )
        self.columns = list(range(outputs)) if columns is None else list(columns)
        if horizon < 1:
            raise ValueError(f"horizon is {horizon}: expected at least 1")
        if len(self.columns) != outputs or not all(0 <= c < inputs for c in self.columns):
            given = f"columns are {self.columns} for {outputs} outputs of {inputs} inputs"
            raise ValueError(f"{given}: expected a column of x for each output")
        if not 0 <= teacher <= 1:
            raise ValueError(f"teacher is {teacher}: expected a probability, 0 to 1")
        self.horizon, self.teacher, self.rng = horizon, float(teacher), rng
        self.batch_first = True

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """A forecast; teacher forcing; half and half, with two layers, ragged."""
        for label, teacher, cell, depth in (
            ("forecast", 1.0, "lstm", 1),
            ("teacher forcing", 1.0, "lstm", 1),
            ("scheduled sampling", 0.5, "gru", 2),
        ):
            model = cls(
                3, 2, 4, 3, rng=rng, teacher=teacher, columns=[2, 0], cell=cell, num_layers=depth
            )
            arguments: dict[str, Any] = {"lengths": [5, 2, 3, 1]}
            if label != "forecast":
                arguments |= {"training": True, "target": rng.standard_normal((4, 3, 2))}
            yield Example(label, model, rng.standard_normal((4, 5, 3)), arguments)

    @property
    def reads_target(self) -> bool:
        """True: the decoder is shown right answers while training."""
        return True

    def forward(
        self, x: Array, training: bool = False, lengths: Any = None, target: Array | None = None
    ) -> tuple[Array, EncoderDecoderCache]:
        """x (N, T, D) to y (N, horizon, K). ``target``, of y's shape, is looked at while training,
        where teacher > 0."""
        encoder, decoder, head = self._parts()
        teaching = training and self.teacher > 0
        _, past = encoder.forward(x, training=training, lengths=lengths)
        N, T, _ = x.shape
        shape = (N, self.horizon, len(self.columns))
        if teaching and target is None:
            raise ValueError(
                f"teacher is {self.teacher} but no target was given: set teacher to 0, or give the"
                " right answers"
            )
        if teaching and target is not None:
            require_shape(
                "target", target, shape, f"x is {tuple(x.shape)} and the horizon {self.horizon}"
            )
        ends = (
            np.asarray(
                np.full(N, T) if lengths is None else as_lengths(lengths, T, N, like=x), like=x
            )
            - 1
        )
        # (N, K) what the decoder is shown first
        shown = x[np.arange(N, like=ends), ends][:, self.columns]
        state, steps, y = past.state_last, [], np.empty_like(x, shape=shape)
        for t in range(self.horizon):
            h, rec_cache = decoder.forward(shown[:, None], training=training, state=state)
            out, head_cache = head.forward(h[:, 0])
            y[:, t], state = out, rec_cache.state_last
            own = None
            if t + 1 < self.horizon:
                own = np.ones_like(out, shape=(N, 1))
                if teaching:
                    own = np.asarray(self.rng.random((N, 1)) >= self.teacher, dtype=x.dtype, like=x)
                shown = (
                    out if target is None or not teaching else own * out + (1 - own) * target[:, t]
                )
            steps.append(DecoderStep(rec_cache, head_cache, own))
        return y, EncoderDecoderCache(past, steps, y, x, ends)

    def backward(self, dy: Array, cache: EncoderDecoderCache) -> Array:
        """dy (N, horizon, K) to dx (N, T, D): the decoder from its last step to its first, then the
        encoder."""
        self.check_gradient(dy, cache.y)
        encoder, decoder, head = self._parts()
        dstate: Any = None  # nothing comes after the last step
        d_shown = np.zeros_like(dy[:, 0])
        for t in reversed(range(self.horizon)):
            step = cache.steps[t]
            # y_t is read twice: by the loss, and by step t+1 where that was shown it.
            d_out = dy[:, t] if step.shown is None else dy[:, t] + step.shown * d_shown
            dh = head.backward(d_out, step.head)
            du, dstate = decoder.backward_state(dh[:, None], step.rec, dstate)
            d_shown = du[:, 0]
        N, T, _ = cache.x.shape
        # the encoder's outputs are not read, only its state
        nothing = np.zeros_like(dy, shape=(N, T, encoder.output_size))
        dx, _ = encoder.backward_state(nothing, cache.encoder, dstate)
        rows, columns = (
            np.arange(N, like=cache.ends)[:, None],
            np.asarray(self.columns, like=cache.ends),
        )
        # x is read twice: by the encoder, and its last row as u_0
        dx[rows, cache.ends[:, None], columns] += d_shown
        return dx

    def _parts(self) -> tuple[Recurrent, Recurrent, Linear]:
        encoder, decoder, head = self.layers.values()
        return encoder, decoder, head  # type: ignore[return-value]
