"""The networks, and what X is to each of them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import check_array, check_consistent_length, check_X_y, validate_data

from scratchnet import models
from scratchnet.arrays import Array
from scratchnet.errors import InvalidValueError
from scratchnet.estimators.base import Network
from scratchnet.estimators.targets import Classifier, Regressor
from scratchnet.layers import Layer, Recurrent
from scratchnet.training.samples import Inputs

Rng = np.random.Generator


@dataclass(kw_only=True, eq=False, repr=False)
class MLP(Network):
    """X (n, features): ``models.mlp``. ``activation``: one of ``layers.ACTIVATIONS``, or "logistic"
    for sigmoid."""

    hidden_layer_sizes: Any = (100,)  # or one number
    activation: str = "relu"
    dropout: float = 0.0  # behind each hidden layer

    def _build(self, x: Inputs, outputs: int, rng: Rng) -> Layer:
        sizes: Any = self.hidden_layer_sizes
        units = list(np.atleast_1d(sizes))
        if not all(isinstance(n, (int, np.integer)) and n >= 1 for n in units):
            raise InvalidValueError(
                f"hidden_layer_sizes is {sizes!r}: expected whole numbers from 1 up, such as"
                " (64, 32)"
            )
        activation = "sigmoid" if self.activation == "logistic" else self.activation
        return models.mlp(
            x.shape[1], outputs, rng=rng, units=units, activation=activation, dropout=self.dropout
        )


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceNetwork(Network):
    """Parameters of a recurrent layer. ``features``: of each step, where the steps stand side by
    side in a row of X."""

    units: int = 32
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0  # between layers
    features: int = 1
    engine: str = "auto"
    batch_size: int | str = 32
    learning_rate_init: float = 0.005
    max_iter: int = 100
    clip: float | None = 1.0

    def _steps(self, X: Array) -> Array:
        """(n, T features), step 0's features, then step 1's, as (n, T, features)."""
        if self.features < 1:
            raise InvalidValueError(f"features is {self.features}: expected at least 1")
        if X.shape[1] == 0 or X.shape[1] % self.features:
            given = (
                f"the sequence has {X.shape[1]} columns (X has n_features = {self.n_features_in_})"
            )
            raise InvalidValueError(
                f"{given}: expected a multiple of the {self.features} features of a step, at least"
                " one step"
            )
        return X.reshape(len(X), -1, self.features)


@dataclass(kw_only=True, eq=False, repr=False)
class RecurrentNetwork(SequenceNetwork):
    """X (n, T) or (n, T, D): ``models.recurrent``, a head on the final state.

    After a fit on 3-D input, ``n_features_in_`` is D, and the number of steps may be another one
    when it predicts.
    """

    cell: ClassVar[str]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _read(self, X: Any, dtype: Any, reset: bool, **options: Any) -> Any:
        ndim = X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim
        three = ndim == 3
        if reset:
            self.input_ndim_ = 3 if three else 2
        elif three != (self.input_ndim_ == 3):
            raise InvalidValueError(
                f"X has {ndim} dimensions but the estimator was trained on {self.input_ndim_}"
            )
        if not three:
            read = validate_data(self, X, dtype=dtype, reset=reset, **options)
            return (self._steps(read[0]), read[1]) if "y" in options else self._steps(read)
        y = None
        if "y" in options:
            x, y = check_X_y(X, dtype=dtype, allow_nd=True, **options)
        else:
            x = check_array(X, dtype=dtype, allow_nd=True)
        if 0 in x.shape:
            raise InvalidValueError(
                f"X is {x.shape}: expected at least one sample, step and feature"
            )
        if reset:
            self.n_features_in_ = x.shape[2]
        elif x.shape[2] != self.n_features_in_:
            raise InvalidValueError(
                f"X has {x.shape[2]} features, but {type(self).__name__} is expecting"
                f" {self.n_features_in_}"
            )
        return x if y is None else (x, y)

    def _build(self, x: Inputs, outputs: int, rng: Rng) -> Layer:
        return models.recurrent(
            x.shape[2],
            outputs,
            rng=rng,
            cell=self.cell,
            units=self.units,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            engine=self.engine,
        )


@dataclass(kw_only=True, eq=False, repr=False)
class PlainRecurrentNetwork(RecurrentNetwork):
    """The plain cell, whose nonlinearity can be chosen: ``activation`` is "tanh" or "relu"."""

    cell: ClassVar[str] = "rnn"
    activation: str = "tanh"

    def _build(self, x: Inputs, outputs: int, rng: Rng) -> Layer:
        model = super()._build(x, outputs, rng)
        (rec,) = (layer for layer in model.layers.values() if isinstance(layer, Recurrent))  # type: ignore[attr-defined]
        if self.activation not in rec.cell.OPTIONS["nonlinearity"]:
            raise InvalidValueError(f"activation is {self.activation!r}: expected 'tanh' or 'relu'")
        rec.options["nonlinearity"] = self.activation
        return model


class MLPRegressor(Regressor, MLP):
    """Linear layers with activations between, for numbers: BP regression. Parameters: ``MLP``,
    ``Network``."""


class MLPClassifier(Classifier, MLP):
    """Linear layers with activations between, for classes.  Parameters: ``MLP``, ``Network``."""


class LSTMRegressor(Regressor, RecurrentNetwork):
    """An LSTM for numbers.  Parameters: ``SequenceNetwork``, ``Network``."""

    cell = "lstm"


class LSTMClassifier(Classifier, RecurrentNetwork):
    """An LSTM for classes.  Parameters: ``SequenceNetwork``, ``Network``."""

    cell = "lstm"


class GRURegressor(Regressor, RecurrentNetwork):
    """A GRU for numbers.  Parameters: ``SequenceNetwork``, ``Network``."""

    cell = "gru"


class GRUClassifier(Classifier, RecurrentNetwork):
    """A GRU for classes.  Parameters: ``SequenceNetwork``, ``Network``."""

    cell = "gru"


class RNNRegressor(Regressor, PlainRecurrentNetwork):
    """A plain recurrent network for numbers. Parameters: ``PlainRecurrentNetwork``,
    ``SequenceNetwork``, ``Network``."""


class RNNClassifier(Classifier, PlainRecurrentNetwork):
    """A plain recurrent network for classes. Parameters: ``PlainRecurrentNetwork``,
    ``SequenceNetwork``, ``Network``."""


@dataclass(kw_only=True, eq=False, repr=False)
class HybridNetwork(SequenceNetwork):
    """A sequence and what does not change over time: ``models.Hybrid``.

    ``static_features``: how many of the first columns of X (n, columns) are static, or which; the
    others are the sequence, step 0's ``features``, then step 1's. Or X is a tuple (sequence (n, T,
    D), static (n, F)), which scikit-learn's splitters cannot cut. ``join``: "concat" or
    "attention"; ``static_units`` of the static branch; ``cell`` of the other.
    """

    static_features: Any = 1
    join: str = "concat"
    static_units: int = 16
    cell: str = "lstm"

    def _read(self, X: Any, dtype: Any, reset: bool, **options: Any) -> Any:
        pair = isinstance(X, tuple)
        if reset:
            self._pair = pair
        elif pair != self._pair:
            kinds = ("one array", "a tuple (sequence, static)")
            raise InvalidValueError(
                f"X is {kinds[pair]} but the estimator was trained on {kinds[self._pair]}"
            )
        if pair:
            return self._read_pair(X, dtype, reset, **options)
        read = validate_data(self, X, dtype=dtype, reset=reset, **options)
        x = self._split(read[0] if "y" in options else read)
        return (x, read[1]) if "y" in options else x

    def _read_pair(self, X: tuple[Any, ...], dtype: Any, reset: bool, **options: Any) -> Any:
        if len(X) != 2:
            raise InvalidValueError(
                f"X is a tuple of {len(X)}: expected (sequence (n, T, D), static (n, F))"
            )
        sequence, static = (
            check_array(X[0], dtype=dtype, allow_nd=True),
            check_array(X[1], dtype=dtype),
        )
        if sequence.ndim != 3 or 0 in sequence.shape:
            raise InvalidValueError(
                f"the sequence is {sequence.shape}: expected (n, T, D), none of them 0"
            )
        check_consistent_length(sequence, static)
        features = sequence.shape[2], static.shape[1]
        if reset:
            self.n_features_in_, self._features = sum(features), features
        elif features != self._features:
            raise InvalidValueError(
                f"X has {features} features, of steps and static, but was trained on"
                f" {self._features}"
            )
        if "y" not in options:
            return sequence, static
        _, y = check_X_y(static, **options)
        return (sequence, static), y

    def _split(self, X: Array) -> tuple[Array, Array]:
        n = X.shape[1]
        which = self.static_features
        chosen = (
            list(range(which)) if isinstance(which, (int, np.integer)) else [int(c) for c in which]
        )
        if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= c < n for c in chosen):
            given = f"static_features is {which!r} but X has n_features = {n}"
            raise InvalidValueError(
                f"{given}: expected how many of the first columns, or which columns, at least one"
            )
        return self._steps(np.delete(X, chosen, axis=1)), X[:, chosen]

    def _build(self, x: Inputs, outputs: int, rng: Rng) -> Layer:
        sequence, static = x
        return models.Hybrid(
            sequence.shape[2],
            static.shape[1],
            outputs,
            rng=rng,
            units=self.units,
            static_units=self.static_units,
            join=self.join,
            cell=self.cell,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            engine=self.engine,
        )


class HybridRegressor(Regressor, HybridNetwork):
    """A static and a sequence branch for numbers. Parameters: ``HybridNetwork``,
    ``SequenceNetwork``, ``Network``."""
