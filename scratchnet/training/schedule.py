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

import numpy as np

from scratchnet.arrays import require_count, require_one_of
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.training.checks import require_share
from scratchnet.training.optim import same_keys
from scratchnet.training.trainer import Callback, Trainer

EACH = ("epoch", "update")


def require_number(name: str, value: Any) -> float:
    """The value as a float; TypeError unless it is a number, ValueError unless it is finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise InvalidTypeError(f"{name} is {value!r}: expected a number")
    if not math.isfinite(value):
        raise InvalidValueError(f"{name} is {value}: expected a finite number")
    return float(value)


def require_size(name: str, value: Any) -> float:
    """The value as a float; TypeError or ValueError unless it is a finite number from 0 up."""
    if require_number(name, value) < 0:
        raise InvalidValueError(f"{name} is {value}: expected 0 or a positive number")
    return float(value)


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
        self.base = require_size("lr of the optimizer", optimizer.lr)
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
        """All numbers of the schedule, and the optimiser's lr, to go on later."""
        own = {name: v for name, v in vars(self).items() if isinstance(v, (int, float, str))}
        return {**own, "lr": float(self.optimizer.lr)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what ``state_dict`` gave, and set the optimiser's lr: whether the optimiser was
        loaded before or is later, the lr is the one that was saved.

        Raises ValueError or TypeError, and changes nothing, where a name or a value is not one of
        this schedule's.
        """
        self.check_state(state)
        self.put(state)

    def check_state(self, state: dict[str, Any]) -> None:
        """Raise what ``load_state_dict`` raises."""
        if not isinstance(state, dict):
            raise InvalidTypeError(f"the state is a {type(state).__name__}: expected a dict")
        expected = self.state_dict()
        same_keys("the state", state, type(self).__name__, expected)
        for name, own in expected.items():
            value = state[name]
            if isinstance(own, str):
                require_one_of(name, value, EACH)
            elif isinstance(own, int):
                require_count(name, value, int(name in ("every", "steps")))
            elif name == "best" and value != math.inf:  # infinite before the first epoch
                require_number(name, value)
            elif isinstance(own, float) and name != "best":
                require_size(name, value)

    def put(self, state: dict[str, Any]) -> None:
        """Take over a state that has been checked."""
        self.optimizer.lr = float(state["lr"])
        vars(self).update({name: value for name, value in state.items() if name != "lr"})


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
        self.steps, self.least = require_count("steps", steps), require_size("least", least)
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

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"then": self.then.state_dict()}

    def check_state(self, state: dict[str, Any]) -> None:
        super().check_state(state)
        self.then.check_state(state["then"])

    def put(self, state: dict[str, Any]) -> None:
        super().put({name: value for name, value in state.items() if name != "then"})
        # the base of ``then`` may be another: it was made with the lr of that moment
        self.then.put(state["then"])

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
        self.patience = require_count("patience", patience, 0)
        self.cooldown = require_count("cooldown", cooldown, 0)
        self.factor, self.threshold = float(factor), require_size("threshold", threshold)
        self.least = require_size("least", least)
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
