"""The training loop: mini-batches, forward, loss, backward, clip, step; and what happened, as data.

It stops at the first number that is not finite and says where that began: a network that has turned
into NaN goes on "training" for hours otherwise.
"""

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from scratchnet.arrays import Array
from scratchnet.data import buckets, minibatches
from scratchnet.layers import Layer
from scratchnet.losses import mse
from scratchnet.training import checks
from scratchnet.training.augment import Augmentation
from scratchnet.training.bptt import stream
from scratchnet.training.checks import Inputs, Samples, TrainingDiverged, require_count
from scratchnet.training.clip import CLIPS, global_norm
from scratchnet.training.parameter_patterns import names_like
from scratchnet.training.penalty import Penalty
from scratchnet.training.schedule import Schedule

__all__ = ["History", "Trainer", "TrainingDiverged", "fit", "fit_stream", "predict"]

Loss = Callable[..., tuple[float, Array]]
# told "gradients" (before clipping), "clipped", "stepped"; see tracing.watch
Watcher = Callable[[str, "Trainer"], None]


@dataclass
class History:
    """What happened in training: one row for each step, one for each epoch."""

    # loss, grad_norm, clip_factor, lr; penalty if there is one
    steps: list[dict[str, float]] = field(default_factory=list)
    # train_loss, val_loss (if asked), seconds
    epochs: list[dict[str, float]] = field(default_factory=list)
    # counted from 0; whose weights the model now has, where there was a validation set
    best_epoch: int | None = None

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
    """One update of a model's weights at a time, recorded and guarded. ``fit`` and ``fit_stream``
    are loops over it.

    ``clip`` limits the gradient by ``clip_by``: "global" norm, "each" tensor's norm, or "value".
    ``penalty`` puts a price on large weights; its gradient is added before clipping, its price
    recorded beside the loss. ``freeze``: patterns of names ("lstm.*") of parameters that stay as
    they are: they take no part in clipping, penalty or step. A frozen layer is still run as in
    training, with dropout.
    """

    def __init__(
        self,
        model: Layer,
        optimizer: Any,
        clip: float | None = None,
        clip_by: str = "global",
        watch: Watcher | None = None,
        penalty: Penalty | None = None,
        freeze: str | Sequence[str] = (),
    ) -> None:
        if clip_by not in CLIPS:
            raise ValueError(f"clip_by is {clip_by!r}: expected one of {', '.join(CLIPS)}")
        self.model, self.optimizer, self.clip, self.clip_by = model, optimizer, clip, clip_by
        self.watch, self.penalty, self.history = watch, penalty, History()
        self.frozen = set(names_like(model.params, freeze))
        if self.frozen and len(self.frozen) == len(model.params):
            raise ValueError(
                f"freeze is {freeze!r}: that is every parameter of the model, and nothing would be"
                " trained"
            )

    @property
    def trained(self) -> list[str]:
        """The names of the parameters that are trained."""
        return [name for name in self.model.params if name not in self.frozen]

    def step(
        self, x: Inputs, target: Array, loss: Loss, mask: Array | None = None, **arguments: Any
    ) -> float:
        """Forward, loss, backward, ``update``; returns the loss.  Raises TrainingDiverged.

        ``mask`` goes to the loss: which targets count, where some are padding. ``arguments`` go to
        the model's forward.
        """
        self.model.zero_grad()
        # met with an exception of our own, that says more
        with np.errstate(over="ignore", invalid="ignore"):
            value = self.gradients(self.model, x, target, loss, mask, **arguments)
        self.update(value)
        return value

    def gradients(
        self,
        model: Layer,
        x: Inputs,
        target: Array,
        loss: Loss,
        mask: Array | None,
        scale: float = 1.0,
        **arguments: Any,
    ) -> float:
        """One forward and backward pass of ``model``: adds the gradients of ``scale`` times the
        loss, returns the loss."""
        if model.reads_target:
            arguments["target"] = target
        y, cache = model.forward(x, training=True, **arguments)
        value, dy = loss(y, target) if mask is None else loss(y, target, mask=mask)
        self.require_finite_loss(value)
        model.backward(dy if scale == 1 else dy * dy.dtype.type(scale), cache)
        return value

    def require_finite_loss(self, value: float, what: str = "loss") -> None:
        """Raise TrainingDiverged if the loss is NaN or infinite."""
        if not np.isfinite(value):
            self._diverged(
                f"the {what} is {value}",
                checks.largest(self.model.params),
                self.model.params,
                "value",
            )

    def require_finite_params(self) -> None:
        """Raise TrainingDiverged if a parameter is NaN or infinite: after a last step, no loss will
        be there to tell."""
        bad = checks.not_finite(self.model.params)
        if bad:
            self._diverged("a parameter is not finite", bad, self.model.params, "value")

    def update(self, value: float) -> None:
        """Measure the gradients now in the model, clip them, step the optimiser, and record. Raises
        TrainingDiverged."""
        params, grads = (
            {name: table[name] for name in self.trained}
            for table in (self.model.params, self.model.grads)
        )
        row = {"loss": value}
        with np.errstate(over="ignore", invalid="ignore"):
            # The backward pass comes from the end, so the last one is where it began.
            bad = checks.not_finite({name: grads[name] for name in reversed(grads)})
            if bad:
                self._diverged("a gradient is not finite", bad, grads, "gradient")
            if self.penalty is not None:
                row["penalty"] = self.penalty(params, grads)
            # what updates with fused kernels measures with them, too
            engine = getattr(self.optimizer, "engine", "auto")
            norm = global_norm(grads, engine)
            factor = 1.0
            self._tell("gradients")
            if self.clip is not None and norm > 0:
                CLIPS[self.clip_by](grads, self.clip, engine)
                factor = global_norm(grads, engine) / norm
            self._tell("clipped")
            self.optimizer.step(params, grads)
        lr = float(getattr(self.optimizer, "lr", np.nan))
        self.history.steps.append({**row, "grad_norm": norm, "clip_factor": factor, "lr": lr})
        self._tell("stepped")

    def _tell(self, event: str) -> None:
        if self.watch is not None:
            self.watch(event, self)

    def _diverged(self, what: str, name: str, arrays: dict[str, Array], kind: str) -> None:
        steps = self.history.steps
        raise checks.diverged(
            what, name, arrays[name], kind, len(steps), [row["grad_norm"] for row in steps]
        )


def fit(
    model: Layer,
    x: Inputs,
    y: Array,
    optimizer: Any,
    *,
    epochs: int,
    rng: np.random.Generator,
    loss: Loss = mse,
    batch_size: int = 32,
    shuffle: bool = True,
    clip: float | None = None,
    clip_by: str = "global",
    validation: tuple[Any, ...] | None = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    lengths: Any = None,
    bucket: bool = False,
    schedule: Schedule | None = None,
    penalty: Penalty | None = None,
    augment: Augmentation | None = None,
    freeze: str | Sequence[str] = (),
    progress: bool = True,
    watch: Watcher | None = None,
    after_epoch: Callable[[History], bool | None] | None = None,
    trainer: Callable[..., Trainer] = Trainer,
) -> History:
    """Train ``model`` on x (samples, ...) and y (samples, ...), samples first, in mini-batches;
    returns the history.

    Batches are drawn anew for each epoch by ``rng``; with ``shuffle=False`` they come in the order
    of the samples. x is a tuple of arrays where the model has several inputs, and of whole numbers
    where it reads tokens. ``clip``, ``clip_by``, ``penalty``, ``freeze``: see ``Trainer``;
    ``trainer`` makes it: ``mixed.HalfTrainer`` for float16. ``validation`` (x, y), or (x, y,
    lengths), is measured after each epoch, and the weights of the best epoch are put back at the
    end, also when training is interrupted; after ``patience`` epochs without one better by
    ``min_delta`` it stops early. ``lengths`` (samples,) goes with x to the layers that look along
    time. Where the model answers at every step, y (samples, T, ...), the targets behind them are
    padding: the loss gets a ``mask`` without them, and train_loss is the mean over the others.
    ``bucket``: batches of similar length, each cut to its longest, which saves the steps of the
    padding. ``schedule`` is stepped after each epoch, with the validation loss where there is one,
    or after each update. ``augment(x, rng, lengths)`` changes each batch before it is used; x is
    its first array where there are several. ``progress`` shows a bar with loss, gradient norm and
    the time left, where standard error is a terminal. ``watch(event, trainer)`` is told of each
    step before it clips, when it has clipped and when it has stepped: ``tracing.watch.Watch`` keeps
    what figures need. ``after_epoch(history)`` is called after each, and ends it with True.

    Raises ValueError or TypeError where x, y and lengths do not fit each other or the model,
    TrainingDiverged at the first loss (of training or validation), gradient or, at the end of an
    epoch, parameter that is not finite.
    """
    require_count("epochs", epochs)
    require_count("batch_size", batch_size)
    if patience is not None:
        require_count("patience", patience)
        if validation is None:
            raise ValueError(
                "patience needs a validation set: without one there is nothing to wait for"
            )
    if bucket and lengths is None:
        raise ValueError(
            "bucket is True but there are no lengths: nothing says which sequences are short"
        )
    if schedule is not None and schedule.optimizer is not optimizer:
        raise ValueError(
            "the schedule belongs to another optimizer: its lr would change, and not that of the"
            " one given"
        )
    samples = checks.check_samples(model, x, y, lengths)
    held_back = (
        None
        if validation is None
        else checks.check_validation(model, validation, lengths is not None)
    )
    run = trainer(model, optimizer, clip, clip_by, watch, penalty, freeze)
    history, best, waited = run.history, float("inf"), 0
    best_state: dict[str, Array] = {}
    batches = -(-checks.count(x) // batch_size)
    try:
        with tqdm(
            total=epochs * batches, disable=None if progress else True, unit="step", leave=False
        ) as bar:
            for epoch in range(epochs):
                started, total = time.perf_counter(), 0.0
                for chosen in _batches(samples, batch_size, rng if shuffle else None, bucket):
                    batch = samples.batch(chosen)
                    if bucket:
                        batch = batch.trimmed()
                    if augment is not None:
                        batch = batch.augmented(augment, rng)
                    ragged = {} if lengths is None else {"lengths": batch.lengths}
                    value = run.step(batch.x, batch.y, loss, batch.mask, **ragged)
                    total += value * samples.counts[chosen].sum()
                    bar.set_postfix(
                        loss=f"{value:.3g}",
                        grad=f"{history.steps[-1]['grad_norm']:.2g}",
                        refresh=False,
                    )
                    bar.update()
                    if schedule is not None and schedule.each == "update":
                        schedule.step()
                run.require_finite_params()
                row = {"train_loss": float(total / samples.counts.sum())}
                if held_back is not None:
                    row["val_loss"] = _validate(run, held_back, loss)
                    waited = 0 if row["val_loss"] < best - min_delta else waited + 1
                    if row["val_loss"] < best:
                        best, history.best_epoch = row["val_loss"], epoch
                        best_state = {
                            name: p.copy() for name, p in (model.params | model.buffers).items()
                        }
                history.epochs.append(row | {"seconds": time.perf_counter() - started})
                if schedule is not None and schedule.each == "epoch":
                    schedule.step(row.get("val_loss", row["train_loss"]))
                if (after_epoch is not None and after_epoch(history)) or (
                    patience is not None and waited >= patience
                ):
                    break
    finally:
        for name, array in (model.params | model.buffers).items():
            if name in best_state:
                array[...] = best_state[name]
    return history


def _batches(
    samples: Samples, batch_size: int, rng: np.random.Generator | None, bucket: bool
) -> Iterator[Any]:
    if bucket:
        return buckets(samples.lengths, batch_size, rng)
    return minibatches(checks.count(samples.x), batch_size, rng)


def fit_stream(
    model: Layer,
    x: Array,
    target: Array,
    optimizer: Any,
    *,
    epochs: int,
    k1: int,
    k2: int | None = None,
    loss: Loss = mse,
    clip: float | None = None,
    clip_by: str = "global",
    schedule: Schedule | None = None,
    penalty: Penalty | None = None,
    freeze: str | Sequence[str] = (),
    progress: bool = True,
    watch: Watcher | None = None,
) -> History:
    """Stateful training on a long sequence by truncated BPTT(k1, k2).

    Time first: x (T, N, D), or tokens (T, N), and target (T, N, ...).

    The state runs through the whole sequence and starts at zero in each epoch; the weights are
    stepped after each window. Other arguments, and what is raised, as in ``fit`` and
    ``bptt.stream``.
    """
    require_count("epochs", epochs)
    require_count("k1", k1)
    checks.check_inputs(model, x)
    checks.require_finite("x", x)
    checks.require_array("target", target)
    checks.require_finite("target", target)
    trainer = Trainer(model, optimizer, clip, clip_by, watch, penalty, freeze)
    history = trainer.history

    def guarded(y: Array, t: Array) -> tuple[float, Array]:
        value, dy = loss(y, t)
        trainer.require_finite_loss(value)
        return value, dy

    with tqdm(
        total=epochs * -(-len(x) // k1),
        disable=None if progress else True,
        unit="window",
        leave=False,
    ) as bar:
        for _ in range(epochs):
            started, total = time.perf_counter(), 0.0
            for part in _quiet(stream(model, x, target, guarded, k1, k2)):
                trainer.update(part.loss)
                if schedule is not None and schedule.each == "update":
                    schedule.step()
                total += part.loss * (part.window.stop - part.window.new)
                bar.set_postfix(
                    loss=f"{part.loss:.3g}",
                    grad=f"{history.steps[-1]['grad_norm']:.2g}",
                    refresh=False,
                )
                bar.update()
            trainer.require_finite_params()
            history.epochs.append(
                {"train_loss": total / len(x), "seconds": time.perf_counter() - started}
            )
            if schedule is not None and schedule.each == "epoch":
                schedule.step(total / len(x))
    return history


def predict(model: Layer, x: Inputs, batch_size: int = 256, lengths: Any = None) -> Array:
    """The model's output for x (samples, ...), computed in batches, dropout off.

    Raises ValueError or TypeError where x or lengths do not fit the model.
    """
    checks.check_inputs(model, x)
    checks.require_samples_first(model, "predict")
    lengths = checks.check_lengths(model, x, lengths)
    parts = []
    for batch in minibatches(checks.count(x), batch_size):
        ragged: dict[str, Any] = {} if lengths is None else {"lengths": lengths[batch]}
        parts.append(model.forward(checks.rows(x, batch), **ragged)[0])
    return np.concatenate(parts)


def _validate(trainer: Trainer, held_back: Samples, loss: Loss) -> float:
    """The loss on the validation set, which must be finite too."""
    x, y, lengths, mask = held_back
    with np.errstate(over="ignore", invalid="ignore"):
        prediction = predict(trainer.model, x, lengths=lengths)
        value = loss(prediction, y)[0] if mask is None else loss(prediction, y, mask=mask)[0]
    trainer.require_finite_loss(value, "validation loss")
    return value


def _quiet(windows: Iterator[Any]) -> Iterator[Any]:
    """The same iterator with NumPy's overflow warnings off while it computes."""
    while True:
        with np.errstate(over="ignore", invalid="ignore"):
            part = next(windows, None)
        if part is None:
            return
        yield part
