"""A callback that records gradients, parameters and gates of single training steps.

    watch = TraceWatch(every=10, probe=x[:8])
    fit(model, (x, y), Adam(0.01), epochs=20, rng=rng, callbacks=[Clip(1.0), watch])
    plots.clipping(watch); plots.histograms(watch); plots.histograms(watch, "activations")

A row is one step k: its gradients before and after clipping, and the parameters *before* the step
changed them, so that row 0 shows how the network began.
"""

from collections.abc import Iterator

import numpy as np

from scratchnet.arrays import Array, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.layers import Layer, Recurrent, Sequential
from scratchnet.tracing.record import trace
from scratchnet.tracing.terms import blocks
from scratchnet.training import Callback, Trainer
from scratchnet.training.clip import norm_of

# a parameter and its gate, ("lstm.W_h_l0", "f") or ("head.W", ""); or a run and its gate
Block = tuple[str, str]


class Histogram:
    """Histograms of values at successive times: counts in the same equal bins, -limit to limit.

    The limit is a power of two. When a value lies outside, it doubles and the bins of all earlier
    rows are merged in pairs, which loses nothing: no value is ever outside, and no range needs to
    be guessed before training.

    Parameters
    ----------
    bins : a multiple of 4; ValueError otherwise.
    """

    def __init__(self, bins: int = 64) -> None:
        if bins < 4 or bins % 4:
            raise InvalidValueError(
                f"bins is {bins}: expected a multiple of 4, so that they can be merged two and two"
            )
        self.bins, self.limit, self.rows = bins, 2.0**-10, list[Array]()

    @property
    def edges(self) -> Array:
        """(bins + 1,) from -limit to limit."""
        return np.linspace(-self.limit, self.limit, self.bins + 1)

    @property
    def shares(self) -> Array:
        """(rows, bins): the share of the values in each bin."""
        counts = np.stack(self.rows).astype(np.float64)
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def add(self, values: Array) -> None:
        """Count one more row, without NaN and infinity: the training loop reports those."""
        values = np.asarray(to_host(values), np.float64).ravel()
        values = values[np.isfinite(values)]
        while values.size and np.max(np.abs(values)) >= self.limit:  # the end of the last bin
            self._widen()
        self.rows.append(np.histogram(values, self.bins, (-self.limit, self.limit))[0])

    def _widen(self) -> None:
        quarter = self.bins // 4
        self.rows = [np.pad(row.reshape(-1, 2).sum(axis=1), quarter) for row in self.rows]
        self.limit *= 2


class TraceWatch(Callback):
    """A callback that records every ``every``-th step.

    Norms are Euclidean, of a gate's block of a parameter.

    Parameters
    ----------
    every : at least 1, which records each step; ValueError otherwise.
    probe : an input of the model, as its forward takes it, on which the gates are recorded; None:
        they are not.
    bins : of the histograms, a multiple of 4.
    """

    def __init__(self, every: int = 1, probe: Array | None = None, bins: int = 64) -> None:
        if every < 1:
            raise InvalidValueError(f"every is {every}: expected at least 1, every step")
        self.every, self.probe, self.bins = every, probe, bins
        self.seen = 0  # steps so far, recorded or not
        self.steps: list[int] = []  # those that were recorded
        # gradient norms before and after clipping, one for each recorded step
        self.before: dict[Block, list[float]] = {}
        self.after: dict[Block, list[float]] = {}
        self.parameters: dict[str, Histogram] = {}
        self.activations: dict[Block, Histogram] = {}  # ("lstm.l0", "f") -> the gate on the probe
        self._before: dict[Block, float] = {}

    def on_gradients(self, trainer: Trainer) -> None:
        if self.seen % self.every == 0:
            self._before = _block_norms(trainer.model)

    def on_clipped(self, trainer: Trainer) -> None:
        if self.seen % self.every == 0:
            self._record(trainer.model, _block_norms(trainer.model))

    def on_step(self, trainer: Trainer) -> None:
        self.seen += 1

    def _record(self, model: Layer, after: dict[Block, float]) -> None:
        if self.before and self.before.keys() != after.keys():
            raise InvalidValueError("the TraceWatch recorded another model: make one for each")
        self.steps.append(self.seen)
        for block in after:
            self.before.setdefault(block, []).append(self._before[block])
            self.after.setdefault(block, []).append(after[block])
        for name, values in model.params.items():
            self.parameters.setdefault(name, Histogram(self.bins)).add(values)
        if self.probe is not None:
            for name, run in trace(model, self.probe).runs.items():
                for letter in run.cell.GATES:
                    values = run[letter] if "gates" in run.cache._fields else run.cache.h[1:]
                    # A saturated gate is exactly 1 in float32: count it in the last bin up to 1.
                    values = np.where(values == 1, np.nextafter(1.0, 0.0), values)
                    self.activations.setdefault((name, letter), Histogram(self.bins)).add(values)


def _block_norms(model: Layer) -> dict[Block, float]:
    return {(name, letter): norm_of(grad) for name, letter, grad in gradient_blocks(model)}


def gradient_blocks(model: Layer, prefix: str = "") -> Iterator[tuple[str, str, Array]]:
    """Each gradient of a model, cut into its gates: ("lstm.W_h_l0", "f", (H, H) view).

    The gate is "" for a parameter without gates.
    """
    if isinstance(model, Sequential):
        for name, layer in model.layers.items():
            yield from gradient_blocks(layer, f"{prefix}{name}.")
        return
    for name, grad in model.grads.items():
        G = len(model.cell.GATES) * model.hidden_size if isinstance(model, Recurrent) else 0
        if isinstance(model, Recurrent) and grad.shape[-1] == G:
            for letter, block in blocks(grad, model.cell.GATES).items():
                yield f"{prefix}{name}", letter, block
        else:
            yield f"{prefix}{name}", "", grad
