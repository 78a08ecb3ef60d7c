"""The training loop: mini-batches, forward, loss, backward, clip, step; and what happened, as data.

It stops at the first number that is not finite and says where that began: a network that has turned into NaN goes on
"training" for hours otherwise.
"""

import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from scratchnet.arrays import Array
from scratchnet.bptt import stream
from scratchnet.clip import CLIPS, global_norm
from scratchnet.data import minibatches
from scratchnet.layers import Layer, Recurrent
from scratchnet.losses import mse

Loss = Callable[..., tuple[float, Array]]
Watcher = Callable[[str, "Trainer"], None]  # told "gradients" (before clipping), "clipped", "stepped"; see tracing.watch


class TrainingDiverged(FloatingPointError):
    """A loss or gradient was not finite; the message says at which step, and where it began."""

    def __init__(self, message: str, step: int, parameter: str | None) -> None:
        super().__init__(message)
        self.step, self.parameter = step, parameter


@dataclass
class History:
    """What happened in training: one row for each step, one for each epoch."""

    steps: list[dict[str, float]] = field(default_factory=list)  # loss, grad_norm, clip_factor
    epochs: list[dict[str, float]] = field(default_factory=list)  # train_loss, val_loss (if asked), seconds
    best_epoch: int | None = None  # counted from 0; whose weights the model now has, where there was a validation set

    def column(self, name: str) -> list[float]:
        """One quantity over training, from the steps or from the epochs, whichever has it.

        Raises KeyError, naming those there are.
        """
        for rows in (self.steps, self.epochs):
            if rows and name in rows[0]:
                return [row[name] for row in rows]
        known = [*(self.steps[0] if self.steps else ()), *(self.epochs[0] if self.epochs else ())]
        raise KeyError(f"the history has no {name!r}: it has {', '.join(known) or 'no rows yet'}")

    def to_csv(self, path: str | Path) -> None:
        """Write the epochs, a line each with a header, to ``path``."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["epoch", *(self.epochs[0] if self.epochs else ())])
            writer.writeheader()
            writer.writerows({"epoch": number, **row} for number, row in enumerate(self.epochs))


class Trainer:
    """One update of a model's weights at a time, recorded and guarded.  ``fit`` and ``fit_stream`` are loops over it."""

    def __init__(
        self, model: Layer, optimizer: Any, clip: float | None = None, clip_by: str = "global", watch: Watcher | None = None
    ) -> None:
        if clip_by not in CLIPS:
            raise ValueError(f"clip_by is {clip_by!r}: expected one of {', '.join(CLIPS)}")
        self.model, self.optimizer, self.clip, self.clip_by = model, optimizer, clip, clip_by
        self.watch, self.history = watch, History()

    def step(self, x: Array, target: Array, loss: Loss, **arguments: Any) -> float:
        """Forward, loss, backward, ``update``; returns the loss.  Raises TrainingDiverged."""
        self.model.zero_grad()
        with np.errstate(over="ignore", invalid="ignore"):  # met with an exception of our own, that says more
            y, cache = self.model.forward(x, training=True, **arguments)
            value, dy = loss(y, target)
            self.require_finite_loss(value)
            self.model.backward(dy, cache)
        self.update(value)
        return value

    def require_finite_loss(self, value: float) -> None:
        """Raise TrainingDiverged if the loss is NaN or infinite."""
        if not np.isfinite(value):
            bad = [name for name, p in self.model.params.items() if not np.isfinite(p).all()]
            where = bad[0] if bad else max(self.model.params, key=lambda name: float(np.max(np.abs(self.model.params[name]))))
            self._diverged(f"the loss is {value}", where, self.model.params[where], "value")

    def update(self, value: float) -> None:
        """Measure the gradients now in the model, clip them, step the optimiser, and record.  Raises TrainingDiverged."""
        grads = self.model.grads
        with np.errstate(over="ignore", invalid="ignore"):
            for name in reversed(grads):  # the backward pass comes from the end, so the last one is where it began
                if not np.isfinite(grads[name]).all():
                    self._diverged("a gradient is not finite", name, grads[name], "gradient")
            norm = global_norm(grads)
            factor = 1.0
            self._tell("gradients")
            if self.clip is not None and norm > 0:
                CLIPS[self.clip_by](grads, self.clip)
                factor = global_norm(grads) / norm
            self._tell("clipped")
            self.optimizer.step(self.model.params, grads)
        self.history.steps.append({"loss": value, "grad_norm": norm, "clip_factor": factor})
        self._tell("stepped")

    def _tell(self, event: str) -> None:
        if self.watch is not None:
            self.watch(event, self)

    def _diverged(self, what: str, name: str, array: Array, kind: str) -> None:
        step, past = len(self.history.steps), self.history.steps
        count = int(np.sum(~np.isfinite(array)))
        if count:
            where = f"it began in {name}, where {count} of {array.size} {kind}s are not finite"
        else:
            where = f"all {kind}s are still finite; the largest is {float(np.max(np.abs(array))):.3g}, in {name}"
        before = "there was no step before"
        if past:
            before = f"the gradient norm was {past[-1]['grad_norm']:.3g} one step before"
            if len(past) > 10:
                before += f" and {past[-11]['grad_norm']:.3g} ten steps earlier"
        advice = "a smaller learning rate or clip= (gradient clipping) are the usual remedies"
        raise TrainingDiverged(f"{what} at step {step}: {where}; {before}. {advice}", step, name)


def fit(
    model: Layer, x: Array, y: Array, optimizer: Any, *, epochs: int, rng: np.random.Generator, loss: Loss = mse,
    batch_size: int = 32, clip: float | None = None, clip_by: str = "global", validation: tuple[Array, Array] | None = None,
    patience: int | None = None, lengths: Array | None = None, progress: bool = True, watch: Watcher | None = None,
) -> History:  # fmt: skip
    """Train ``model`` on x (samples, ...) and y (samples, ...), samples first, in shuffled mini-batches; returns the history.

    ``clip`` limits the gradient by ``clip_by``: "global" norm, "each" tensor's norm, or "value".
    ``validation`` (x, y) is measured after each epoch, and the weights of the best epoch are put back at the end, also when
    training is interrupted; after ``patience`` epochs without a better one it stops early.
    ``lengths`` (samples,) goes with x to the recurrent layers.  ``progress`` shows a bar with loss, gradient norm and the
    time left, where standard error is a terminal.  ``watch(event, trainer)`` is told of each step before it clips, when it
    has clipped and when it has stepped: ``tracing.watch.Watch`` keeps what figures need.

    Raises ValueError where x and y do not fit each other or the model, TrainingDiverged at the first loss or gradient that is
    not finite.
    """
    _require_samples(model, x, y)
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}: expected at least 1")
    if patience is not None and validation is None:
        raise ValueError("patience needs a validation set: without one there is nothing to wait for")
    if validation is not None:
        _require_samples(model, *validation)
    trainer = Trainer(model, optimizer, clip, clip_by, watch)
    history, best = trainer.history, float("inf")
    best_params: dict[str, Array] = {}
    batches = -(-len(x) // batch_size)
    try:
        with tqdm(total=epochs * batches, disable=None if progress else True, unit="step", leave=False) as bar:
            for epoch in range(epochs):
                started, losses = time.perf_counter(), []
                for batch in minibatches(len(x), batch_size, rng):
                    ragged = {} if lengths is None else {"lengths": _rows(lengths, batch)}
                    losses.append((trainer.step(_rows(x, batch), _rows(y, batch), loss, **ragged), len(batch)))
                    bar.update()
                    bar.set_postfix(loss=f"{losses[-1][0]:.3g}", grad=f"{history.steps[-1]['grad_norm']:.2g}", refresh=False)
                row = {"train_loss": sum(value * n for value, n in losses) / len(x)}
                if validation is not None:
                    row["val_loss"] = loss(predict(model, validation[0]), validation[1])[0]
                    if row["val_loss"] < best:
                        best, history.best_epoch = row["val_loss"], epoch
                        best_params = {name: p.copy() for name, p in model.params.items()}
                history.epochs.append(row | {"seconds": time.perf_counter() - started})
                if patience is not None and epoch - (history.best_epoch or 0) >= patience:
                    break
    finally:
        for name, p in best_params.items():
            model.params[name][...] = p
    return history


def fit_stream(
    model: Layer, x: Array, target: Array, optimizer: Any, *, epochs: int, k1: int, k2: int | None = None, loss: Loss = mse,
    clip: float | None = None, clip_by: str = "global", progress: bool = True, watch: Watcher | None = None,
) -> History:  # fmt: skip
    """Stateful training on a long sequence x (T, N, D), target (T, N, ...), time first, by truncated BPTT(k1, k2).

    The state runs through the whole sequence and starts at zero in each epoch; the weights are stepped after each window.
    Other arguments, and what is raised, as in ``fit`` and ``bptt.stream``.
    """
    trainer = Trainer(model, optimizer, clip, clip_by, watch)

    def guarded(y: Array, t: Array) -> tuple[float, Array]:
        value, dy = loss(y, t)
        trainer.require_finite_loss(value)
        return value, dy

    with tqdm(total=epochs * -(-len(x) // k1), disable=None if progress else True, unit="window", leave=False) as bar:
        for _ in range(epochs):
            started, losses = time.perf_counter(), []
            for part in _quiet(stream(model, x, target, guarded, k1, k2)):
                trainer.update(part.loss)
                losses.append((part.loss, part.window.stop - part.window.new))
                bar.update()
                bar.set_postfix(loss=f"{part.loss:.3g}", refresh=False)
            mean = sum(value * n for value, n in losses) / len(x)
            trainer.history.epochs.append({"train_loss": mean, "seconds": time.perf_counter() - started})
    return trainer.history


def predict(model: Layer, x: Array, batch_size: int = 256, lengths: Array | None = None) -> Array:
    """The model's output for x (samples, ...), computed in batches, dropout off."""
    parts = []
    for batch in minibatches(len(x), batch_size):
        ragged: dict[str, Any] = {} if lengths is None else {"lengths": _rows(lengths, batch)}
        parts.append(model.forward(_rows(x, batch), **ragged)[0])
    return np.concatenate(parts)


def _rows(array: Array, batch: Any) -> Array:
    """Some samples of an array; the indices are moved to where it is."""
    return np.asarray(array)[batch] if isinstance(array, (list, tuple)) else array[np.asarray(batch, like=array)]


def _quiet(windows: Iterator[Any]) -> Iterator[Any]:
    """The same iterator with NumPy's overflow warnings off while it computes."""
    while True:
        with np.errstate(over="ignore", invalid="ignore"):
            part = next(windows, None)
        if part is None:
            return
        yield part


def _require_samples(model: Layer, x: Array, y: Array) -> None:
    if len(x) == 0:
        raise ValueError("x has no samples: expected at least one")
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} samples but y has {len(y)}: expected as many, samples first")
    for name, array in (("x", x), ("y", y)):
        bad = int(np.sum(~np.isfinite(array)))
        if bad:
            raise ValueError(f"{name} holds {bad} values that are NaN or infinite, of {array.size}: clean the data first")
    for name, layer in getattr(model, "layers", {"the layer": model}).items():
        if isinstance(layer, Recurrent) and not layer.batch_first:
            raise ValueError(f"{name} takes time first, but fit gives samples first: make it with batch_first=True")
