"""One update of a model's weights at a time, what it records, and the callbacks that take part."""

import csv
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from scratchnet.arguments import checked_methods
from scratchnet.arrays import Array
from scratchnet.errors import InvalidTypeError, UnknownNameError
from scratchnet.files import replace
from scratchnet.layers import Layer
from scratchnet.losses import measured
from scratchnet.training import checks
from scratchnet.training.clip import global_norm
from scratchnet.training.interruption import exception_of, noticed
from scratchnet.training.samples import Samples

Loss = Callable[..., tuple[float, Array]]


@dataclass
class History:
    """What happened in training: one row for each step, one for each epoch."""

    # loss, penalty if there is one, grad_norm (before clipping), clip_factor, lr
    steps: list[dict[str, float]] = field(default_factory=list)
    # train_loss, val_loss if there is a validation set, seconds
    epochs: list[dict[str, float]] = field(default_factory=list)
    # counted from 0; whose weights the model now has, where there was a validation set
    best_epoch: int | None = None
    stopped: str | None = None  # why a callback ended the training; None where none did

    def column(self, name: str) -> list[float]:
        """One quantity over training, from the steps or from the epochs, whichever has it.

        Raises KeyError, naming those there are.
        """
        for rows_of in (self.steps, self.epochs):
            if rows_of and name in rows_of[0]:
                return [row[name] for row in rows_of]
        known = [*(self.steps[0] if self.steps else ()), *(self.epochs[0] if self.epochs else ())]
        raise UnknownNameError(
            f"the history has no {name!r}: it has {', '.join(known) or 'no rows yet'}"
        )

    def to_csv(self, path: str | Path) -> None:
        """Write the epochs, a line each with a header, to ``path``, as a whole."""
        with replace(path, text=True) as file:
            writer = csv.DictWriter(file, ["epoch", *(self.epochs[0] if self.epochs else ())])
            writer.writeheader()
            writer.writerows({"epoch": number, **row} for number, row in enumerate(self.epochs))


@dataclass
class Place:
    """How far a training is: so many mini-batches of this epoch are over."""

    epoch: int = 0
    batch: int = 0
    # sums over these mini-batches, of which train_loss is the quotient
    loss: float = 0.0
    weight: float = 0.0
    drawn: Any = None  # the state of the random numbers that this epoch's order was drawn from


class Callback:
    """The moments of training. A subclass overrides those that it needs; here each does nothing.

    Callbacks act in the order of ``order``, those with the same one as they are listed: what
    changes gradients comes first (penalties, -1), what only looks at them next (0), clipping last
    (1).
    """

    order: ClassVar[int] = 0

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        checked_methods(cls, "__init__")

    def on_train_begin(self, trainer: "Trainer") -> None:
        """Training begins; the model has its initial parameters."""

    def on_epoch_begin(self, trainer: "Trainer") -> None:
        """An epoch begins: ``trainer.epoch``, counted from 0."""

    def on_batch(self, trainer: "Trainer") -> None:
        """A mini-batch is about to be used; another one may be put into ``trainer.batch``."""

    def on_gradients(self, trainer: "Trainer") -> None:
        """The gradients are in ``trainer.grads``, finite and not clipped; they may be changed."""

    def on_clipped(self, trainer: "Trainer") -> None:
        """The gradients are what the optimiser is about to get."""

    def on_step(self, trainer: "Trainer") -> None:
        """The optimiser has made its step; ``trainer.history.steps[-1]`` is its record."""

    def on_validation(self, trainer: "Trainer") -> None:
        """``trainer.history.epochs[-1]`` has a "val_loss"."""

    def on_epoch_end(self, trainer: "Trainer") -> None:
        """``trainer.history.epochs[-1]`` is the record of this epoch."""

    def on_interrupt(self, trainer: "Trainer") -> None:
        """A signal ends ``fit`` after this step or epoch: ``trainer.interrupted``. The model still
        has its last weights."""

    def on_train_end(self, trainer: "Trainer") -> None:
        """Training is over, also where an exception or Ctrl-C ended it. Those that act last are
        told first."""

    def state_dict(self) -> dict[str, Any]:
        """What the callback must know to go on later: plain values, and arrays by name."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what ``state_dict`` gave; called when training has begun."""


EVENTS = tuple(name for name in vars(Callback) if name.startswith("on_"))


class Trainer:
    """One update of a model's weights at a time, recorded, with its callbacks. ``fit`` and
    ``fit_stream`` are loops over it.

    The model's arrays are looked up once, when the training begins: convert or move the model
    before, not in between.

    Parameters
    ----------
    model, optimizer : what is trained, and the rule (``optimizer.step(params, grads)``).
    callbacks : of ``training.callbacks``.

    Attributes
    ----------
    params, grads : dict, the arrays of what is trained (``Freeze`` takes some away).
    batch : ``Samples``, those of the step that is being made.
    row : the record of that step, so far.
    epoch, total : the epoch, from 0, and how many steps are planned (None: not known).
    validates : whether there is a validation set.
    place : how far it is; what a ``TrainingCheckpoint`` goes on from.
    each : the mini-batches of an epoch (None: not known).
    rng : draws the order of the samples (None: nothing is drawn).
    interrupted : the signal that ends the training, if one does.
    history : the ``History``.
    """

    def __init__(self, model: Layer, optimizer: Any, callbacks: Sequence[Callback] = ()) -> None:
        for number, callback in enumerate(callbacks):
            if not isinstance(callback, Callback):
                raise InvalidTypeError(
                    f"callbacks[{number}] is a {type(callback).__name__}: expected a"
                    " scratchnet.training.Callback"
                )
        self.model, self.optimizer, self.history = model, optimizer, History()
        self.callbacks = sorted(callbacks, key=lambda callback: callback.order)
        self.epoch, self.validates = 0, False
        self.total: int | None = None
        self.place = Place()
        self.each: int | None = None
        self.rng: np.random.Generator | None = None
        self.interrupted: signal.Signals | None = None
        self.batch = Samples(None, np.empty(0))
        self.row: dict[str, float] = {}
        self.begun = False
        self._listeners: dict[str, list[Callable[[Trainer], None]]] = {}

    @property
    def engine(self) -> str:
        """The engine of the optimiser, which also measures norms; "auto" where it has none."""
        return str(getattr(self.optimizer, "engine", "auto"))

    def is_over(self) -> bool:
        """Whether the training is to end after this step or epoch."""
        return self.history.stopped is not None

    def begin(self, ends: ExitStack | None = None) -> None:
        """Look up the model's arrays and tell the callbacks; the first ``step`` does it where
        nobody did before. ``ends`` collects what is to be told when training is over."""
        self.begun = True
        self.params, self.grads = dict(self.model.params), dict(self.model.grads)
        self._all_grads = [*self.grads.values()]
        for event in EVENTS:
            self._listeners[event] = [
                getattr(callback, event)
                for callback in self.callbacks
                if getattr(type(callback), event) is not getattr(Callback, event)
            ]
        for callback in self.callbacks:
            callback.on_train_begin(self)
            if ends is not None:
                ends.callback(callback.on_train_end, self)

    @contextmanager
    def training(self, total: int | None = None, validates: bool = False) -> Iterator[None]:
        """While inside, training goes on; afterwards every callback is told that it is over, the
        last one first, also where an exception ended it.

        The first SIGINT or SIGTERM inside stops the training after the step, as ``stop`` does, and
        is raised, as KeyboardInterrupt or SystemExit, when all callbacks have been told; a second
        one ends it at once.
        """
        self.total, self.validates = total, validates
        with noticed(self._interrupt), ExitStack() as ends:
            self.begin(ends)
            yield
        if self.interrupted is not None:
            raise exception_of(self.interrupted)

    def _interrupt(self, number: signal.Signals) -> None:
        self.interrupted = number
        self.stop(f"{number.name} was received")

    def tell(self, event: str) -> None:
        """Call this method of every callback."""
        for listener in self._listeners[event]:
            listener(self)

    def stop(self, reason: str) -> None:
        """End the training after this step or epoch; the reason is kept in
        ``history.stopped``."""
        self.history.stopped = reason

    def step(self, batch: Samples | tuple[Any, ...], loss: Loss) -> float:
        """One update from one mini-batch: forward, loss, backward, ``update``; returns the loss.

        Parameters
        ----------
        batch : (x, y), (x, y, lengths) or ``Samples``; not checked again.
        loss : ``loss(y, target) -> (value, dy)``; it also takes ``mask`` where some targets are
            padding, and ``weights`` where samples have them.

        Raises TrainingDiverged where the loss or a gradient is not finite.
        """
        self.prepare(batch)
        # an overflow is answered by an exception of our own, that says more
        with np.errstate(over="ignore", invalid="ignore"):
            for grad in self._all_grads:
                grad[...] = 0
            value = self.gradients(self.model, loss)
            self.update(value)
        return value

    def prepare(self, batch: Samples | tuple[Any, ...]) -> None:
        """Take the mini-batch of the next step, and tell the callbacks."""
        if not self.begun:
            self.begin()
        self.batch = batch if isinstance(batch, Samples) else Samples(*batch)
        self.tell("on_batch")

    def gradients(self, model: Layer, loss: Loss, scale: float = 1.0) -> float:
        """One forward and backward pass of ``model`` on the batch: adds the gradients of ``scale``
        times the loss, returns the loss."""
        x, target, lengths, weights, mask, _ = self.batch
        arguments: dict[str, Any] = {} if lengths is None else {"lengths": lengths}
        if model.reads_target:
            arguments["target"] = target
        y, cache = model.forward(x, training=True, **arguments)
        value, dy = measured(loss, y, target, **loss_options(weights, mask))
        self.require_finite_loss(value)
        model.backward(dy if scale == 1 else dy * dy.dtype.type(scale), cache)
        return value

    def update(self, value: float) -> None:
        """Step the optimiser with the gradients now in the model, and record it; ``value`` is the
        loss. Raises TrainingDiverged."""
        if not self.begun:
            self.begin()
        self.row = {"loss": value}
        with np.errstate(over="ignore", invalid="ignore"):
            if checks.not_finite(self.grads):
                # The backward pass comes from the end, so the last one is where it began.
                backwards = dict(reversed(self.grads.items()))
                name = checks.not_finite(backwards) or ""
                self._diverged("a gradient is not finite", name, backwards, "gradient")
            self.tell("on_gradients")
            if "grad_norm" not in self.row:  # Clip has measured it
                self.row["grad_norm"] = global_norm(self.grads, self.engine)
                self.row["clip_factor"] = 1.0
            self.tell("on_clipped")
            self.optimizer.step(self.params, self.grads)
        self.record()

    def record(self, **more: float) -> None:
        """Put the row of this step into the history, with the learning rate and ``more``."""
        self.row |= {"lr": float(getattr(self.optimizer, "lr", np.nan)), **more}
        self.history.steps.append(self.row)
        self.tell("on_step")

    def end_epoch(self, train_loss: float, started: float, val_loss: float | None = None) -> None:
        """Record an epoch, and tell the callbacks."""
        row = {"train_loss": float(train_loss)}
        if val_loss is not None:
            row["val_loss"] = val_loss
        self.history.epochs.append(row | {"seconds": time.perf_counter() - started})
        self.place = Place(self.epoch + 1)
        if val_loss is not None:
            self.tell("on_validation")
        self.tell("on_epoch_end")

    def state_dict(self) -> dict[str, Any]:
        """Numbers of a subclass that change while training."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what ``state_dict`` gave."""

    def require_finite_loss(self, value: float, what: str = "loss") -> None:
        """Raise TrainingDiverged if the loss is NaN or infinite."""
        if not np.isfinite(value):
            params = self.model.params
            self._diverged(f"the {what} is {value}", checks.largest(params), params, "value")

    def require_finite_params(self) -> None:
        """Raise TrainingDiverged if a parameter is NaN or infinite: after a last step, no loss will
        be there to tell."""
        bad = checks.not_finite(self.model.params)
        if bad:
            self._diverged("a parameter is not finite", bad, self.model.params, "value")

    def _diverged(self, what: str, name: str, arrays: dict[str, Array], kind: str) -> None:
        steps = self.history.steps
        norms = [row["grad_norm"] for row in steps]
        raise checks.diverged(what, name, arrays[name], kind, len(steps), norms)


def loss_options(weights: Array | None, mask: Array | None) -> dict[str, Array]:
    """What a loss gets besides y and target: only what there is, so that a simple loss needs
    neither."""
    options = {} if mask is None else {"mask": mask}
    return options if weights is None else options | {"weights": weights}
