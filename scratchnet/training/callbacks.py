"""Callbacks: what happens at fixed moments of training, each a small object.

    fit(model, (x, y), Adam(0.01), epochs=50, rng=rng, validation=(x_val, y_val),
        callbacks=[Clip(1.0), EarlyStopping(patience=5), ModelCheckpoint("best.npz")])

A callback overrides some of the ten methods of ``Callback`` (trainer.py); each gets the trainer
and reads what it needs there. To end the training, any of them calls ``trainer.stop("why")``:

    class StopWhenGood(Callback):
        def on_epoch_end(self, trainer):
            if trainer.history.epochs[-1]["train_loss"] < 0.01:
                trainer.stop("the loss is below 0.01")

Learning rate schedules (schedule.py) and penalties (penalty.py) are callbacks too, those that
write or show something are in loggers.py, and ``tracing.TraceWatch`` records for figures.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from scratchnet.arrays import Array, require_count, require_one_of
from scratchnet.errors import InvalidValueError
from scratchnet.files import require_folder
from scratchnet.files.archives import require_npz
from scratchnet.training import checkpoint
from scratchnet.training.clip import CLIPS, each_norm, global_norm, require_limit, together
from scratchnet.training.parameter_patterns import names_like
from scratchnet.training.trainer import Callback, Trainer

VANISHED = 1e-7  # of the weight itself: a step of lr 1e-3 then moves it in its tenth digit
EXPLODED = 100.0  # times its own median


class Clip(Callback):
    """Limit the gradients of each step, and record their norm before and the factor.

    Parameters
    ----------
    limit : largest norm, or with "value" the largest element.
    by : "global" (the norm of all gradients together), "each" (of each tensor) or "value"; see
        ``training.clip`` for what each of them keeps.
    """

    order: ClassVar[int] = 1

    def __init__(self, limit: float, by: str = "global") -> None:
        require_limit("limit", limit)
        require_one_of("by", by, CLIPS)
        self.limit, self.by = limit, by

    def on_gradients(self, trainer: Trainer) -> None:
        norm = CLIPS[self.by](trainer.grads, self.limit, trainer.engine)
        before = together(norm) if isinstance(norm, dict) else norm
        after = global_norm(trainer.grads, trainer.engine)
        trainer.row |= {"grad_norm": before, "clip_factor": after / before if before else 1.0}


class Freeze(Callback):
    """Keep parameters as they are: they take no part in clipping, penalties or steps.

    Their layers still run as in training, with dropout.

    Parameters
    ----------
    patterns : names of parameters, "lstm.*", or several patterns.
    """

    def __init__(self, patterns: str | Sequence[str]) -> None:
        self.patterns = patterns

    def on_train_begin(self, trainer: Trainer) -> None:
        frozen = names_like(trainer.model.params, self.patterns)
        for table in (trainer.params, trainer.grads):
            for name in frozen:
                table.pop(name, None)
        if not trainer.params:
            raise InvalidValueError(
                f"Freeze({self.patterns!r}) fits every parameter of the model: nothing would be"
                " trained"
            )


class BestWeights(Callback):
    """Keep the parameters and buffers of the epoch with the smallest validation loss, and put them
    back when training is over, also where it was interrupted.

    ``fit`` adds one where there is a validation set. The epoch is ``history.best_epoch``.
    """

    order: ClassVar[int] = 1  # the last one is the first that is told that training is over

    def __init__(self) -> None:
        self.best, self.state = math.inf, dict[str, Array]()

    def on_train_begin(self, trainer: Trainer) -> None:
        self.best, self.state = math.inf, {}

    def on_validation(self, trainer: Trainer) -> None:
        loss = trainer.history.epochs[-1]["val_loss"]
        if loss < self.best:
            model = trainer.model
            self.best, trainer.history.best_epoch = loss, trainer.epoch
            self.state = {name: p.copy() for name, p in (model.params | model.buffers).items()}

    def on_train_end(self, trainer: Trainer) -> None:
        own = trainer.model.params | trainer.model.buffers
        for name, array in self.state.items():
            own[name][...] = array

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "state": self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.state = _loss(state["best"]), dict(state["state"])


class EarlyStopping(BestWeights):
    """Stop when the validation loss has not improved for some epochs; the best weights are put
    back.

    Parameters
    ----------
    patience : epochs without an improvement after which training stops, at least 1.
    min_delta : an improvement is a loss lower than the best one by more than this.
    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        super().__init__()
        require_count("patience", patience)
        self.patience, self.min_delta, self.waited = patience, min_delta, 0

    def on_train_begin(self, trainer: Trainer) -> None:
        super().on_train_begin(trainer)
        self.waited = 0
        if not trainer.validates:
            raise InvalidValueError(
                "patience needs a validation set: without one there is nothing to wait for"
            )

    def on_validation(self, trainer: Trainer) -> None:
        loss = trainer.history.epochs[-1]["val_loss"]
        self.waited = 0 if loss < self.best - self.min_delta else self.waited + 1
        super().on_validation(trainer)
        if self.waited >= self.patience:
            trainer.stop(f"the validation loss has not improved for {self.waited} epochs")

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.waited = require_count("waited", state["waited"], 0)


class ModelCheckpoint(Callback):
    """Save the model, as ``checkpoint.save`` does: an interrupted save leaves the old file whole.

    Parameters
    ----------
    path : a name that ends in .npz; "{epoch}" in it is replaced by the number of the epoch.
    every : False: only where the loss is the smallest so far (of validation where there is one,
        else of training); True: after each epoch.
    """

    def __init__(self, path: str | Path, every: bool = False) -> None:
        self.path, self.every, self.best = str(require_npz(path)), every, math.inf

    def on_train_begin(self, trainer: Trainer) -> None:
        require_folder(self.path)

    def on_epoch_end(self, trainer: Trainer) -> None:
        row = trainer.history.epochs[-1]
        loss = row.get("val_loss", row["train_loss"])
        if self.every or loss < self.best:
            self.best = min(loss, self.best)
            checkpoint.save(trainer.model, self.path.replace("{epoch}", str(trainer.epoch)))

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = _loss(state["best"])


def _loss(value: Any) -> float:
    """A smallest loss so far; infinite where there is none yet."""
    if not isinstance(value, (int, float)) or math.isnan(value):
        raise InvalidValueError(f"the best loss is {value!r}: expected a number")
    return float(value)


class ScheduledSampling(Callback):
    """Let an encoder-decoder's share of teacher forcing, ``model.teacher``, fall after each epoch
    as k / (k + exp(epoch / k)), an inverse sigmoid.

    Parameters
    ----------
    half_life : the epoch at which the share is one half, at least 1.
    least : where the share stops falling.

    References
    ----------
    Bengio et al. 2015, Scheduled sampling for sequence prediction with recurrent neural networks.
    """

    def __init__(self, half_life: float, least: float = 0.0) -> None:
        if not half_life >= 1:
            raise InvalidValueError(f"half_life is {half_life}: expected at least 1 epoch")
        self.k, self.least = _solve(half_life), least

    def on_epoch_end(self, trainer: Trainer) -> None:
        epoch = len(trainer.history.epochs)
        share = self.k / (self.k + math.exp(min(epoch / self.k, 700.0)))
        trainer.model.teacher = max(self.least, share)  # type: ignore[attr-defined]


def _solve(half_life: float) -> float:
    """The k with k log k = half_life, by bisection: k / (k + exp(half_life / k)) is one half."""
    low, high = 1.0, half_life + math.e
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if middle * math.log(middle) < half_life else (low, middle)
    return high


class GradientMonitor(Callback):
    """How large each parameter's gradient is, step by step, before it is clipped.

    A gradient that vanishes or explodes shows here epochs before it shows in the loss. ``norms``
    and ``sizes`` map a parameter's name to the norms of its gradient and of itself, one for each
    step.

        monitor = GradientMonitor()
        fit(..., callbacks=[monitor])
        print(monitor.report())
    """

    def __init__(self) -> None:
        self.norms: dict[str, list[float]] = {}
        self.sizes: dict[str, list[float]] = {}

    def on_gradients(self, trainer: Trainer) -> None:
        for table, arrays in (
            (self.norms, trainer.model.grads),
            (self.sizes, trainer.model.params),
        ):
            for name, norm in each_norm(arrays).items():
                table.setdefault(name, []).append(norm)

    def state_dict(self) -> dict[str, Any]:
        return {"norms": self.norms, "sizes": self.sizes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.norms = {name: [*map(float, norms)] for name, norms in state["norms"].items()}
        self.sizes = {name: [*map(float, sizes)] for name, sizes in state["sizes"].items()}

    def vanished(self) -> list[str]:
        """Parameters whose gradient, in the median over the steps, is under a ten-millionth of
        their own size."""
        small = {name: float(np.median(norms)) for name, norms in self.norms.items()}
        return [
            name
            for name, norm in small.items()
            if norm < VANISHED * max(float(np.median(self.sizes[name])), VANISHED)
        ]

    def exploded(self) -> list[tuple[str, int]]:
        """(parameter, step) of each gradient that was more than a hundred times its own median."""
        found = []
        for name, norms in self.norms.items():
            limit = EXPLODED * float(np.median(norms))
            found += [(name, step) for step, norm in enumerate(norms) if norm > limit > 0]
        return found

    def report(self) -> str:
        """A table: of each parameter the smallest, median and largest norm, and what is wrong.

        Raises ValueError where no step was recorded.
        """
        if not self.norms:
            raise InvalidValueError(
                "the monitor has seen no step: give it to fit as callbacks=[monitor]"
            )
        vanished, exploded = self.vanished(), [name for name, _ in self.exploded()]
        width = max(map(len, self.norms))
        lines = [f"{'gradient of':<{width}}{'smallest':>12}{'median':>12}{'largest':>12}"]
        for name, norms in self.norms.items():
            values = (min(norms), float(np.median(norms)), max(norms))
            note = "  vanished" if name in vanished else ""
            if name in exploded and not note:
                note = f"  exploded {exploded.count(name)} times"
            numbers = "".join(f"{value:>12.2e}" for value in values)
            lines.append(f"{name:<{width}}{numbers}{note}")
        return "\n".join(lines)
