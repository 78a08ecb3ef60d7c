"""What all estimators share: the parameters of training, fit and partial_fit, and when to stop.

The network and its training are the library's own, ``scratchnet.models`` and ``training.fit``; here
is only what scikit-learn expects of an estimator. Trained in ``dtype``; answers are computed in
float64, so that a sample's does not depend, in the last digits, on the others in its batch.
"""

import copy
import math
import warnings
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from scratchnet.arrays import Array
from scratchnet.errors import InvalidValueError
from scratchnet.estimators.schedules import UNPLANNED, schedule_for
from scratchnet.layers import Layer
from scratchnet.training import L2, Callback, Clip, History, TrainConfig, Trainer, fit, predict
from scratchnet.training.optim import OPTIMIZERS, SGD, Optimizer
from scratchnet.training.samples import Inputs, count, rows

# field of TrainConfig -> the name that scikit-learn has for it
SKLEARN_NAMES = {
    "epochs": "max_iter",
    "lr": "learning_rate_init",
    "patience": "n_iter_no_change",
    "weight_decay": "alpha",
}


def sklearn_name(name: str) -> str:
    """The estimator's parameter for a field of ``TrainConfig``: "epochs" is "max_iter"."""
    return SKLEARN_NAMES.get(name, name)


# The fields of TrainConfig as an estimator's parameters: a new one there is a new one here.
TrainParameters = make_dataclass(
    "TrainParameters",
    [
        (sklearn_name(each.name), each.type, field(default=each.default))
        for each in fields(TrainConfig)
    ],
    kw_only=True,
    eq=False,
    repr=False,
)


def generator(random_state: Any) -> np.random.Generator:
    """Of a whole number or a RandomState, as scikit-learn has them; None is different every time,
    and not global state."""
    if random_state is None:
        return np.random.default_rng()
    return np.random.default_rng(check_random_state(random_state).randint(np.iinfo(np.int32).max))


class StopRule(Callback):
    """scikit-learn's rule: stop after more than n_iter_no_change epochs without a loss better by
    tol; with "adaptive" divide the learning rate by 5 instead, until 1e-6."""

    def __init__(self, estimator: "Network", validation: tuple[Inputs, Array] | None) -> None:
        self.estimator, self.validation = estimator, validation
        self.scores: list[float] = []  # of the validation set, R2 or accuracy
        self.best, self.waited = math.inf, 0

    def on_epoch_end(self, trainer: Trainer) -> None:
        chosen, row = self.estimator, trainer.history.epochs[-1]
        loss = row.get("val_loss", row["train_loss"])
        if self.validation is not None:
            x, target = self.validation
            self.scores.append(chosen._score(predict(chosen.model_, x), target))
        self.waited = self.waited + 1 if loss > self.best - chosen.tol else 0
        self.best = min(self.best, loss)
        if chosen.n_iter_no_change is None or self.waited <= chosen.n_iter_no_change:
            return
        if chosen.learning_rate == "adaptive" and trainer.optimizer.lr > 1e-6:
            trainer.optimizer.lr, self.waited = trainer.optimizer.lr / 5, 0
        else:
            trainer.stop(f"the loss has not improved by {chosen.tol} for {self.waited} epochs")


@dataclass(kw_only=True, eq=False, repr=False)
class Network(BaseEstimator, TrainParameters):  # type: ignore[misc, valid-type]
    """The parameters of training, named as those of scikit-learn's MLP.

    They are the fields of ``TrainConfig``: its epochs are max_iter, lr is learning_rate_init,
    patience is n_iter_no_change, weight_decay is alpha (``SKLEARN_NAMES``); clip and batch_size
    have the same name. Defaults are scikit-learn's.

    Training stops after more than ``n_iter_no_change`` epochs in a row without a loss better by
    ``tol``: the training loss, or with ``early_stopping`` the validation loss, and then the weights
    of the best epoch are kept. The validation set is a random ``validation_fraction``, of every
    class alike; with ``shuffle=False`` it is the *last* samples, as windows of a series need it,
    and batches come in order. Where max_iter comes first there is a ConvergenceWarning, as in
    scikit-learn, unless the schedule was planned for just that many, or n_iter_no_change is None,
    which means: max_iter epochs.

    Parameters
    ----------
    solver : one of ``optim.OPTIMIZERS``.
    alpha : the penalty on large weights, alpha/2 sum of W^2 / batch size, or with "adamw" its
        decoupled decay.
    batch_size : "auto" is min(200, samples).
    learning_rate : "constant", "invscaling", "adaptive" (a fifth of it where training would stop,
        until 1e-6), or one that is planned for max_iter epochs, "step", "exponential", "cosine",
        "warmup", or "plateau", which falls after half of n_iter_no_change; or a function that makes
        a ``schedule.Schedule`` for an optimiser.
    power_t : of "invscaling".
    max_iter : epochs.
    momentum, nesterovs_momentum : of "sgd".
    clip : limit of the global gradient norm.
    verbose : show a progress bar.
    dtype : "float32" or "float64".

    Attributes
    ----------
    model_ : a scratchnet model.
    history_, loss_curve_, loss_, best_loss_, n_iter_, n_features_in_ : of the training; losses are
        without the penalty.
    validation_scores_, best_validation_score_ : R2 or accuracy of each epoch, and of the epoch with
        the best validation loss; None without early stopping.

    Raises ValueError or TypeError, when it is fitted, for parameters out of range and data that do
    not fit. There are no sample weights.
    """

    solver: str = "adam"
    alpha: float = 0.0001
    batch_size: int | str = "auto"
    learning_rate: Any = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int | None = 10
    clip: float | None = None
    dtype: str = "float32"

    # ---- what the networks (networks.py) and the two kinds of targets (targets.py) know

    def _build(self, x: Inputs, outputs: int, rng: np.random.Generator) -> Layer:
        """A model for such inputs."""
        raise NotImplementedError

    def _read(self, X: Any, dtype: Any, reset: bool, **options: Any) -> Any:
        """X as the model takes it, checked; with ``y`` in the options (X, y)."""
        return validate_data(self, X, dtype=dtype, reset=reset, **options)

    def _encode(self, y: Array, classes: Any = None, first: bool = True) -> Array:
        """y as the loss takes it; the first time, sets what is known of it."""
        raise NotImplementedError

    def _outputs(self) -> int:
        raise NotImplementedError

    def _loss(self, y: Array, target: Array) -> tuple[float, Array]:
        raise NotImplementedError

    def _score(self, y: Array, target: Array) -> float:
        raise NotImplementedError

    def _y_options(self) -> dict[str, Any]:
        """How scikit-learn is to check y."""
        raise NotImplementedError

    def _check_validation(self, target: Array, held: int) -> Array | None:
        """ValueError where so many validation samples are too few; returns the classes of which
        each gives its share."""
        raise NotImplementedError

    # ---- training

    def fit(self, X: Any, y: Any) -> Self:
        """Train from new weights on X (n, ...) and y (n,) or, for regression, (n, outputs)."""
        x, y = self._read(X, self._dtype(), reset=True, y=y, **self._y_options())
        target = self._encode(y)
        self._begin(x)
        validation = None
        if self.early_stopping:
            x, target, validation = self._split_validation(x, target)
        stopped = self._train(x, target, self.max_iter, validation)
        planned = (
            self.n_iter_no_change is None
            or callable(self.learning_rate)
            or self.learning_rate not in UNPLANNED
        )
        if not stopped and not planned:
            said = f"max_iter={self.max_iter} epochs are over and the loss was still falling"
            warnings.warn(
                f"{said} (see tol, n_iter_no_change, max_iter)", ConvergenceWarning, stacklevel=2
            )
        return self

    def _continue(self, X: Any, y: Any, classes: Any = None) -> Self:
        """One epoch on X and y, from the weights there are: partial_fit."""
        if self.early_stopping:
            raise InvalidValueError(
                "early_stopping is True: partial_fit cannot know when to stop, you do"
            )
        first = not hasattr(self, "model_")
        x, y = self._read(X, self._dtype(), reset=first, y=y, **self._y_options())
        target = self._encode(y, classes, first)
        if first:
            self._begin(x)
        self._train(x, target, 1, None)
        return self

    def _begin(self, x: Inputs) -> None:
        self._config(count(x))
        self._rng = generator(self.random_state)
        self.model_ = self._build(x, self._outputs(), self._rng).astype(self._dtype())
        self._optimizer = self._solver()
        self._schedule = schedule_for(
            self.learning_rate,
            self._optimizer,
            epochs=self.max_iter,
            samples=count(x),
            patience=self.n_iter_no_change,
            power=self.power_t,
        )
        self.history_ = History()
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None

    def _train(
        self, x: Inputs, target: Array, epochs: int, validation: tuple[Inputs, Array] | None
    ) -> bool:
        """So many epochs, or fewer; True where the loss had stopped falling."""
        config, rule = self._config(count(x)), StopRule(self, validation)
        callbacks: list[Callback] = [] if config.clip is None else [Clip(config.clip)]
        if self.solver != "adamw" and self.alpha != 0:
            callbacks.append(L2(self.alpha / config.batch_size))
        if self._schedule is not None:
            callbacks.append(self._schedule)
        history = fit(
            self.model_,
            config.batches(x, target, shuffle=self.shuffle),
            self._optimizer,
            epochs=epochs,
            rng=self._rng,
            loss=self._loss,
            validation=validation,
            callbacks=[*callbacks, rule],
            progress=self.verbose,
        )
        self.history_.steps += history.steps
        self.history_.epochs += history.epochs
        self.history_.best_epoch = history.best_epoch
        self.loss_curve_ += history.column("train_loss")
        self.loss_, self.best_loss_, self.n_iter_ = (
            self.loss_curve_[-1],
            min(self.loss_curve_),
            len(self.loss_curve_),
        )
        if validation is not None:
            self.validation_scores_ = rule.scores
            self.best_validation_score_ = rule.scores[history.best_epoch or 0]
        return history.stopped is not None

    def _split_validation(
        self, x: Inputs, target: Array
    ) -> tuple[Inputs, Array, tuple[Inputs, Array]]:
        """What is left to train on, and the validation set."""
        if not 0 < self.validation_fraction < 1:
            raise InvalidValueError(
                f"validation_fraction is {self.validation_fraction}: expected more than 0 and less"
                " than 1"
            )
        n = count(x)
        held = math.ceil(n * self.validation_fraction)
        if held >= n:
            raise InvalidValueError(
                f"early_stopping takes {held} of {n} samples for validation: none would be left to"
                " train on"
            )
        classes = self._check_validation(target, held)
        seed = int(self._rng.integers(2**31 - 1))
        options: dict[str, Any] = (
            {"stratify": classes, "random_state": seed} if self.shuffle else {"shuffle": False}
        )
        train, rest = train_test_split(np.arange(n), test_size=held, **options)
        return rows(x, train), target[train], (rows(x, rest), target[rest])

    def _answer(self, X: Any) -> Array:
        """The model's outputs (n, outputs) in float64."""
        check_is_fitted(self)
        x = self._read(X, np.float64, reset=False)
        return predict(copy.deepcopy(self.model_).astype(np.float64), x)

    # ---- parameters

    def _dtype(self) -> Any:
        dtype = np.dtype(self.dtype)
        if dtype not in (np.float32, np.float64):
            raise InvalidValueError(f"dtype is {self.dtype!r}: expected 'float32' or 'float64'")
        return dtype

    def _config(self, n: int) -> TrainConfig:
        """The parameters under the names of ``TrainConfig``, checked, for n samples."""
        chosen = {each.name: getattr(self, sklearn_name(each.name)) for each in fields(TrainConfig)}
        if chosen["batch_size"] == "auto":
            chosen["batch_size"] = min(200, n)
        config = TrainConfig(**chosen).check(SKLEARN_NAMES)
        return config.replace(batch_size=min(config.batch_size, n))

    def _solver(self) -> Optimizer:
        if self.solver not in OPTIMIZERS:
            raise InvalidValueError(
                f"solver is {self.solver!r}: expected one of {', '.join(OPTIMIZERS)}"
            )
        lr = float(self.learning_rate_init)
        if self.solver == "sgd":
            return SGD(
                lr, momentum=self.momentum, nesterov=self.nesterovs_momentum and self.momentum > 0
            )
        if self.solver == "adamw":
            return OPTIMIZERS["adamw"](lr=lr, weight_decay=self.alpha)  # type: ignore[call-arg]
        return OPTIMIZERS[self.solver](lr=lr)  # type: ignore[call-arg]
