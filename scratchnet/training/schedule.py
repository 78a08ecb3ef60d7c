"""Schedules: how the learning rate changes while training.

    optimizer = Adam(lr=1e-3)
    schedule = Warmup(optimizer, 5, then=Cosine(optimizer, 95))
    fit(..., optimizer, callbacks=[schedule])      or  schedule.step()  after each epoch by hand

A schedule is a callback, and a function of the number t of epochs (or updates, ``each="update"``)
that are over: ``lr_at(t)``, with the lr that the optimiser had when the schedule was made as its
base. ``Plateau`` alone looks at what training does. Numbers equal those of
``torch.optim.lr_scheduler``, step by step.
"""

import math
from typing import Any

from scratchnet.arrays import require_count, require_one_of
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.training.checks import require_share
from scratchnet.training.trainer import Callback, Trainer

EACH = ("epoch", "update")


class Schedule(Callback):
    """What all schedules share: the optimiser, its base lr, and the count t.

    Making one sets the lr of t = 0.

    Parameters
    ----------
    optimizer : its ``lr`` is changed; the one that ``fit`` is given.
    each : "epoch" or "update", what a step of the schedule is.
    """

    def __init__(self, optimizer: Any, each: str = "epoch") -> None:
        require_one_of("each", each, EACH)
        if not hasattr(optimizer, "lr"):
            raise InvalidTypeError(
                f"optimizer is a {type(optimizer).__name__}: expected one with a learning rate lr"
            )
        self.optimizer, self.each = optimizer, each
        self.base = float(optimizer.lr)
        self.t = 0

    def lr_at(self, t: int) -> float:
        """The learning rate after t steps of the schedule."""
        raise NotImplementedError(f"{type(self).__name__} has no lr_at")

    def step(self, metric: float | None = None) -> None:
        """One epoch (or update) is over; ``metric``, the loss that is to fall, matters to
        ``Plateau`` only."""
        self.t += 1
        self.optimizer.lr = self.lr_at(self.t)

    def on_train_begin(self, trainer: Trainer) -> None:
        if trainer.optimizer is not self.optimizer:
            raise InvalidValueError(
                "the schedule belongs to another optimizer: its lr would change, and not that of"
                " the one given"
            )

    def on_step(self, trainer: Trainer) -> None:
        if self.each == "update":
            self.step()

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self.each == "epoch":
            row = trainer.history.epochs[-1]
            self.step(row.get("val_loss", row["train_loss"]))

    def state_dict(self) -> dict[str, Any]:
        """All numbers of the schedule, to go on later."""
        return {name: v for name, v in vars(self).items() if isinstance(v, (int, float, str))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what ``state_dict`` gave.  ValueError where the names differ."""
        if state.keys() != self.state_dict().keys():
            raise InvalidValueError(
                f"the state has {sorted(state)} but {type(self).__name__}"
                f" {sorted(self.state_dict())}"
            )
        vars(self).update(state)


class Constant(Schedule):
    """lr stays as it is."""

    def lr_at(self, t: int) -> float:
        return self.base


class StepDecay(Schedule):
    """lr = base factor^(t // every): a fall every so many epochs, as stairs."""

    def __init__(
        self, optimizer: Any, every: int, factor: float = 0.1, each: str = "epoch"
    ) -> None:
        super().__init__(optimizer, each)
        self.every, self.factor = require_count("every", every), require_share("factor", factor)

    def lr_at(self, t: int) -> float:
        return self.base * self.factor ** (t // self.every)


class Exponential(Schedule):
    """lr = base factor^t."""

    def __init__(self, optimizer: Any, factor: float, each: str = "epoch") -> None:
        super().__init__(optimizer, each)
        self.factor = require_share("factor", factor)

    def lr_at(self, t: int) -> float:
        return self.base * self.factor**t


class Cosine(Schedule):
    """lr = least + (base - least) (1 + cos(pi t / steps)) / 2: half a wave from base down to
    ``least``, and then constant.

    PyTorch's CosineAnnealingLR is the same up to t = steps and climbs again after it.

    References
    ----------
    Loshchilov and Hutter 2017, SGDR, without restarts.
    """

    def __init__(self, optimizer: Any, steps: int, least: float = 0.0, each: str = "epoch") -> None:
        super().__init__(optimizer, each)
        self.steps, self.least = require_count("steps", steps), float(least)
        if not 0 <= self.least <= self.base:
            raise InvalidValueError(
                f"least is {least} but lr is {self.base}: expected 0 to lr, since the schedule"
                " falls"
            )

    def lr_at(self, t: int) -> float:
        share = min(t / self.steps, 1.0)
        return self.least + (self.base - self.least) * (1 + math.cos(math.pi * share)) / 2


class Warmup(Schedule):
    """lr rises in a line from base start to base over the first ``steps``, and then does as
    ``then``, which counts from 0.

    At the start Adam's mean of squares knows few gradients, and a full step in the direction of the
    first is a gamble. In PyTorch: LinearLR, then another, in SequentialLR.

    References
    ----------
    Goyal et al. 2017, Accurate, large minibatch SGD.
    """

    def __init__(
        self,
        optimizer: Any,
        steps: int,
        start: float = 0.1,
        then: Schedule | None = None,
        each: str = "epoch",
    ) -> None:
        if then is not None and (
            then.optimizer is not optimizer or then.each != each or isinstance(then, Plateau)
        ):
            raise InvalidValueError(
                f"then is a {type(then).__name__} of another optimiser, unit, or kind: expected a"
                " function of t"
            )
        super().__init__(optimizer, each)
        self.steps, self.start = require_count("steps", steps), require_share("start", start)
        self.then = then or Constant(optimizer, each)
        # where the schedule was made twice, the lr is no longer that of the start
        self.base = self.then.base
        optimizer.lr = self.lr_at(0)

    def lr_at(self, t: int) -> float:
        if t >= self.steps:
            return self.then.lr_at(t - self.steps)
        return self.base * (self.start + (1 - self.start) * t / self.steps)


class Plateau(Schedule):
    """lr falls by ``factor`` when the metric has not fallen for more than ``patience`` epochs:
    PyTorch's ReduceLROnPlateau.

    An epoch counts as better where metric < best (1 - threshold). After each fall ``cooldown``
    epochs are not counted, and the lr never falls under ``least``. A fall of less than 1e-8 is not
    made. In ``fit`` the metric is the validation loss, or without a validation set the training
    loss.
    """

    def __init__(
        self,
        optimizer: Any,
        patience: int = 10,
        factor: float = 0.1,
        threshold: float = 1e-4,
        cooldown: int = 0,
        least: float = 0.0,
    ) -> None:
        super().__init__(optimizer)
        if not 0 < factor < 1:
            raise InvalidValueError(f"factor is {factor}: expected more than 0 and less than 1")
        if patience < 0 or cooldown < 0:
            raise InvalidValueError(
                f"patience is {patience} and cooldown {cooldown}: expected at least 0"
            )
        self.patience, self.factor, self.threshold = patience, factor, threshold
        self.cooldown, self.least = cooldown, float(least)
        self.best, self.bad, self.waiting = math.inf, 0, 0

    def step(self, metric: float | None = None) -> None:
        """One epoch is over.  ValueError where no metric is given, or one that is no number."""
        if metric is None or math.isnan(metric):
            raise InvalidValueError(
                f"metric is {metric}: a Plateau follows a loss and needs its value after each epoch"
            )
        self.t += 1
        if metric < self.best * (1 - self.threshold):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.waiting > 0:
            self.waiting, self.bad = self.waiting - 1, 0
        if self.bad > self.patience:
            lr = max(self.optimizer.lr * self.factor, self.least)
            if self.optimizer.lr - lr > 1e-8:
                self.optimizer.lr = lr
            self.waiting, self.bad = self.cooldown, 0


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": StepDecay,
    "exponential": Exponential,
    "cosine": Cosine,
    "warmup": Warmup,
    "plateau": Plateau,
}
