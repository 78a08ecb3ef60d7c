"""Forecasts by a network, one step or many ahead.

    Direct         all steps in one answer: no error is fed back, and a step does not see the others
    Recursive      one step, fed back as if it had been measured: a small network for any horizon,
                   and its errors accumulate
    EncodeDecode   an encoder reads the window, a decoder writes the steps, trained with its own
                   output as input

Each is trained on the first rows of what it is given and stopped by the last 15%; scaling is
learned from the first rows alone.

Series that drift leave the range of the training rows, such as CO2, where every future value is
new. ``relative_to`` lets a network see and forecast differences: "last" subtracts the window's last
row from every row, "previous" subtracts from each row the one before (first differences). Forecasts
are then relative to the window's last row in both cases.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import CELLS
from scratchnet.data import Standardizer, sliding_windows
from scratchnet.data.missing import fill_from_past
from scratchnet.errors import InvalidValueError, ScratchnetError, UnavailableError
from scratchnet.files import archives, require_path
from scratchnet.forecasting import conformal
from scratchnet.forecasting.forecaster import Forecaster, check_values
from scratchnet.layers import Dropout, Layer, Linear, Recurrent, Sequential, Tanh
from scratchnet.losses import mse, quantile
from scratchnet.models.seq2seq import EncoderDecoder
from scratchnet.training import (
    Batches,
    Callback,
    History,
    ScheduledSampling,
    TrainConfig,
    checkpoint,
    fit,
    predict,
)
from scratchnet.training.config import option, options

RELATIVE_TO = ("none", "last", "previous")
MODEL, SETTINGS = "model.npz", "settings.json"  # the second one was written by older versions

Data = dict[str, Any]  # plain values by name, as JSON has them


@dataclass(frozen=True, kw_only=True)
class ForecastConfig(TrainConfig):
    """Input, size and training of a network that forecasts a series."""

    model: str = option("gru", "the network: mlp, or its cell: rnn, lstm, gru, ...")
    window: int = option(24, "rows of input", least=1)
    units: int = option(32, "hidden units", least=1)
    layers: int = option(1, "hidden or recurrent layers", least=1)
    dropout: float = option(
        0.0,
        "of the hidden outputs while training; with dropout intervals also while forecasting",
        least=0,
        below=1,
    )
    relative_to: str = option(
        "none",
        "for series that drift: the network sees differences from the window's last row (last) or"
        " from row to row (previous)",
        choices=RELATIVE_TO,
    )
    validation: float = option(
        0.15, "share of the rows, the last ones, that decide when to stop", above=0, below=1
    )
    patience: int = 10
    seed: int = option(0, "of the initial weights and the shuffling", least=0)

    def check(self, *arguments: Any) -> Self:
        """Itself; ValueError or TypeError for a field out of range, or an unknown model."""
        if self.model not in ("mlp", *CELLS):
            known = ", ".join(["mlp", *CELLS])
            raise InvalidValueError(f"model is {self.model!r}: expected one of {known}")
        return super().check(*arguments)


class NetworkForecaster(Forecaster):
    """Windows, scaling, training and files that the three strategies share; in float32.

    Parameters
    ----------
    config : the network's options
    horizon, targets : see ``Forecaster``

    Attributes
    ----------
    model, history : the network and its training, once fitted
    errors : (m, horizon, K) truth minus forecast from every origin of the validation rows, a little
        too small, since those rows decided when to stop; NaN where nothing was measured; empty
        after loading
    held : of the validation rows: these with those that their first forecast looks at, the origins
        among them, and the truth (m, horizon, K); none after loading
    names, unit : of the series' columns, for messages and files; may be set before ``fit``
    dropping : keep dropout on while forecasting, see ``intervals``

    Raises
    ------
    ValueError
        For an option out of range; by ``fit`` where the series is too short for the window and the
        horizon, or a column is constant.
    """

    strategy: ClassVar[str]

    def __init__(
        self, config: ForecastConfig, horizon: int, targets: Sequence[int] | None = None
    ) -> None:
        super().__init__(horizon, targets)
        self.config = config.check()
        self.scaler = Standardizer()
        self.model: Any = None
        self.history: History | None = None
        self.errors: Array = np.zeros((0, horizon, 1))
        self.held: tuple[Array, Array, Array] | None = None
        self.names: list[str] | None = None
        self.unit = ""
        self.dropping = False

    @property
    def needs(self) -> int:
        return self.config.window + (self.config.relative_to == "previous")

    @property
    def steps(self) -> int:
        """The steps of one answer of the network."""
        return self.horizon

    def build(self, D: int, K: int, rng: np.random.Generator) -> Layer:
        """The network, for windows of D columns and K target columns."""
        raise NotImplementedError(f"{type(self).__name__} has no network")

    def fit(
        self,
        values: Array,
        *,
        validation_rows: int | None = None,
        progress: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        """Train on the first rows of values (T, D), and stop by the last ones.

        ``validation_rows``: how many decide when to stop (None: the share of the configuration);
        ``callbacks``: besides its own. Where a signal ends the training, as in ``training.fit``,
        the forecaster has the best weights so far and can be saved.
        """
        config = self.config
        # the validation rows have an origin at least
        held = validation_rows or max(self.horizon, round(len(values) * config.validation))
        least = self.needs + self.steps + max(held, self.steps)
        check_values(values, least, f"{type(self).__name__} with window {config.window}")
        cut = len(values) - held
        known, D = fill_from_past(values), values.shape[1]
        self.scaler.fit(self._differences(values[:cut], known[:cut]), self.names)
        rng = np.random.default_rng(config.seed)
        self.model = self.build(D, len(self.columns(D)), rng).astype(np.float32)
        self.history = fit(
            self.model,
            self._pairs(values, known, slice(0, cut)),
            config.optimizer(),
            epochs=config.epochs,
            rng=rng,
            loss=self.loss,
            validation=self._pairs(values, known, slice(cut, len(values))),
            callbacks=[*self.callbacks(), *callbacks],
            progress=progress,
        )
        self.trained()
        at = np.arange(cut, len(values) - self.horizon + 1)
        truth = self.chosen(values[at[:, None] + np.arange(self.horizon)])
        self.calibrate(self.predict(known, at), truth)
        self.errors = truth - self.middle(self.predict(known, at))
        self.held = known[cut - self.needs :].copy(), at - (cut - self.needs), truth
        return self

    def trained(self) -> None:
        """Called when training is over, or the weights were loaded."""

    def calibrate(self, forecast: Array, truth: Array) -> None:
        """Learn from the forecasts of the validation rows how far intervals miss."""

    def run(self, z: Array) -> Array:
        """Scaled windows through the network, in float32."""
        if self.model is None:
            raise UnavailableError(
                f"this {type(self).__name__} has not been fitted: call fit(values[train]) first"
            )
        y: Array = (
            self.model.forward(z, training=True)[0] if self.dropping else predict(self.model, z)
        )
        return y

    def loss(self, y: Array, target: Array, mask: Array | None = None) -> tuple[float, Array]:
        """The mean squared error, of scaled values."""
        return mse(y, target, mask)

    def callbacks(self) -> list[Callback]:
        """The callbacks of its training."""
        return self.config.callbacks()

    def _differences(self, values: Array, known: Array) -> Array:
        """The values that the scale is learned from, (T', D): as far apart as what is forecast;
        NaN where that was not measured."""
        if self.config.relative_to == "none":
            return values
        near = self.config.relative_to == "previous"
        lag = 1 if near else max(1, min(self.config.window, self.steps, len(values) - 1))
        return values[lag:] - known[:-lag]

    def scaled(self, x: Array) -> Array:
        """Windows x (n, needs, D) as the network sees them, (n, window, D); flat for the MLP."""
        if self.config.relative_to == "last":
            x = x - x[:, -1:]
        elif self.config.relative_to == "previous":
            x = np.diff(x, axis=1)
        z = _as_float32(self.scaler.transform(x))
        return z.reshape(len(z), -1) if self.config.model == "mlp" else z

    def unscaled(self, z: Array, x: Array) -> Array:
        """The network's answers z (n, steps, K) for the windows x, in the series' unit."""
        offset, scale = self.chosen(self.scaler.offset), self.chosen(self.scaler.scale)
        y = z.astype(np.float64) * scale + offset
        return y if self.config.relative_to == "none" else y + self.chosen(x[:, -1:])

    def _pairs(self, values: Array, known: Array, part: slice) -> Batches:
        """Windows of the rows that were known, and their targets; those that were not measured do
        not count."""
        cut = partial(
            sliding_windows, width=self.needs, horizon=self.steps, targets=self.targets, part=part
        )
        found = cut(known)
        y = found.y.reshape(len(found.x), self.steps, -1)
        if self.config.relative_to != "none":
            y = y - self.chosen(found.x[:, -1:])
        z = (y - self.chosen(self.scaler.offset)) / self.chosen(self.scaler.scale)
        gaps = np.isnan(values)
        mask = cut((~gaps).astype(np.float64)).y.reshape(y.shape) == 1 if gaps.any() else None
        return self.config.batches(
            self.scaled(found.x),
            self.shaped(_as_float32(z)),
            mask=None if mask is None else self.shaped(mask),
        )

    def shaped(self, z: Array) -> Array:
        """Targets (n, steps, K) as the network answers them."""
        return z.reshape(len(z), -1)

    def answers(self, x: Array) -> Array:
        """Windows x to the network's answers (n, steps, K), both in the series' unit."""
        return self.unscaled(self.run(self.scaled(x)).reshape(len(x), self.steps, -1), x)

    def forecast(self, x: Array, values: Array, at: Any) -> Array:
        return self.answers(x)

    def _network(self, D: int, outputs: int, rng: np.random.Generator) -> Sequential:
        """An MLP of the flat window, or recurrent layers; then a linear head."""
        config = self.config
        units, p = config.units, config.dropout
        if config.model == "mlp":
            hidden: list[Layer] = []
            for layer in range(config.layers):
                inputs = units if layer else config.window * D
                hidden += [Linear(inputs, units, rng=rng), Tanh()]
                hidden += [Dropout(p, rng=rng)] if p else []
            return Sequential(*hidden, Linear(units, outputs, rng=rng))
        rec = Recurrent(
            config.model,
            D,
            units,
            num_layers=config.layers,
            dropout=p if config.layers > 1 else 0.0,
            batch_first=True,
            return_sequences=False,
            rng=rng,
        )
        head = Linear(units, outputs, rng=rng)
        return Sequential(rec=rec, dropout=Dropout(p, rng=rng), head=head)

    def learned(self) -> dict[str, Any]:
        """What ``fit`` has learned beside weights and scale, for the file."""
        return {}

    def arguments(self) -> dict[str, Any]:
        """What the constructor was given beside the configuration, for the file."""
        return {"horizon": self.horizon, "targets": self.targets}

    def save(self, folder: str | Path) -> None:
        """Write weights, settings and scale into one file of the folder, ``model.npz``, so that
        they cannot be parted; see ``load_forecaster``."""
        if self.model is None:
            raise UnavailableError(
                f"this {type(self).__name__} has not been fitted: nothing to save"
            )
        facts = {
            "strategy": self.strategy,
            "arguments": self.arguments(),
            "names": self.names,
            "unit": self.unit,
            "offset": self.scaler.offset.tolist(),
            "scale": self.scaler.scale.tolist(),
            **self.learned(),
            **{name: getattr(self.config, name) for name in options(ForecastConfig)},
        }
        checkpoint.save(self.model, require_path(folder) / MODEL, {"forecaster": facts})


class Direct(NetworkForecaster):
    """All steps at once.

    Parameters
    ----------
    config, horizon, targets : see ``NetworkForecaster``
    levels : forecast these quantiles of each step, such as (0.05, 0.5, 0.95); forecasts are then
        (n, horizon, K, Q)
    calibrated : shift them until they hold what they say on the validation rows, see ``conformal``.
        Where those rows are unlike all others, such as the years of the largest El Nino, intervals
        become as wide as these rows ask

    Attributes
    ----------
    margin : (horizon, K, Q) what the calibration adds to each quantile, in the series' unit
    """

    strategy = "direct"

    def __init__(
        self,
        config: ForecastConfig,
        horizon: int,
        targets: Sequence[int] | None = None,
        levels: Sequence[float] | None = None,
        calibrated: bool = True,
    ) -> None:
        super().__init__(config, horizon, targets)
        self.calibrated = calibrated
        self.levels = None if levels is None else tuple(levels)
        self._quantile = None if levels is None else quantile(levels)
        # (horizon, K, Q) what is added to each quantile, in the series' unit
        self.margin: Array = np.zeros(1)

    def arguments(self) -> dict[str, Any]:
        return super().arguments() | {"levels": self.levels, "calibrated": self.calibrated}

    def learned(self) -> dict[str, Any]:
        return {} if self.levels is None else {"margin": self.margin.tolist()}

    def build(self, D: int, K: int, rng: np.random.Generator) -> Layer:
        self.margin = np.zeros(1)  # what is calibrated is the answer of the new network
        return self._network(D, self.horizon * K * len(self.levels or (1,)), rng)

    def loss(self, y: Array, target: Array, mask: Array | None = None) -> tuple[float, Array]:
        return mse(y, target, mask) if self._quantile is None else self._quantile(y, target, mask)

    def answers(self, x: Array) -> Array:
        if self.levels is None:
            return super().answers(x)
        z = self.run(self.scaled(x)).reshape(len(x), self.horizon, -1, len(self.levels))
        z = np.sort(z, axis=-1)  # quantiles learned apart may cross; in order they are never worse
        y = np.stack([self.unscaled(z[..., q], x) for q in range(len(self.levels))], axis=-1)
        return np.sort(y + self.margin, axis=-1)

    def calibrate(self, forecast: Array, truth: Array) -> None:
        if self.levels is None:
            return
        self.margin = np.zeros(forecast.shape[1:])
        if self.calibrated:
            self.margin = conformal.margins(forecast, truth, self.levels)

    def middle(self, forecast: Array) -> Array:
        """The quantile at 0.5, on the straight line between the two levels around it; NaN where
        all levels are on one side."""
        return forecast if self.levels is None else conformal.middle(forecast, self.levels)


class Recursive(NetworkForecaster):
    """One step, fed back. It forecasts every column, since the next step needs them all."""

    strategy = "recursive"

    @property
    def steps(self) -> int:
        return 1

    def build(self, D: int, K: int, rng: np.random.Generator) -> Layer:
        if D != K:
            raise InvalidValueError(
                f"Recursive has {K} targets of {D} columns but feeds back all: give it all, or take"
                " Direct"
            )
        return self._network(D, K, rng)

    def forecast(self, x: Array, values: Array, at: Any) -> Array:
        rows = []
        for _ in range(self.horizon):
            step = self.answers(x)
            rows.append(step[:, 0])
            back = step if self.targets is None else step[:, :, np.argsort(self.targets)]
            x = np.concatenate([x[:, 1:], back], axis=1)
        return np.stack(rows, axis=1)


class EncodeDecode(NetworkForecaster):
    """An encoder-decoder.

    Parameters
    ----------
    config, horizon, targets : see ``NetworkForecaster``
    half_life : the epoch at which teacher forcing has fallen to one half (None: no teacher forcing)
    """

    strategy = "encoder-decoder"

    def __init__(
        self,
        config: ForecastConfig,
        horizon: int,
        targets: Sequence[int] | None = None,
        half_life: float | None = 10.0,
    ) -> None:
        super().__init__(config, horizon, targets)
        if config.model == "mlp":
            raise InvalidValueError("model is 'mlp': an encoder-decoder expects a cell")
        self.half_life = half_life

    def arguments(self) -> dict[str, Any]:
        return super().arguments() | {"half_life": self.half_life}

    def build(self, D: int, K: int, rng: np.random.Generator) -> Layer:
        config = self.config
        return EncoderDecoder(
            D,
            K,
            config.units,
            self.horizon,
            rng=rng,
            cell=config.model,
            num_layers=config.layers,
            columns=self.columns(D),
            dropout=config.dropout if config.layers > 1 else 0.0,
            teacher=0.0 if self.half_life is None else 1.0,
        )

    def callbacks(self) -> list[Callback]:
        fall = [] if self.half_life is None else [ScheduledSampling(self.half_life)]
        return [*super().callbacks(), *fall]

    def trained(self) -> None:
        self.model.teacher = 0.0  # a forecast has no right answers to feed

    def shaped(self, z: Array) -> Array:
        return z


STRATEGIES: dict[str, type[NetworkForecaster]] = {
    kind.strategy: kind for kind in (Direct, Recursive, EncodeDecode)
}


def load_forecaster(folder: str | Path) -> NetworkForecaster:
    """The forecaster that ``save``, or ``scratchnet train``, has written into the folder.

    Raises
    ------
    FileNotFoundError
        Where the file is missing.
    ValueError
        Where the file is not what was saved.
    """
    folder = require_path(folder)
    path, apart = folder / MODEL, folder / SETTINGS
    with archives.opened(path, "a saved forecaster") as archive:
        facts = checkpoint.facts_of(archive).get("forecaster")
        if facts is None and not apart.exists():
            raise archive.refused(f"there are no settings in it, and no {apart}")
        try:
            if facts is None:
                path = apart
                facts = json.loads(apart.read_text(encoding="utf-8"))
            if "strategy" not in facts:
                facts = _one_step_facts(facts)
            config = ForecastConfig(**{name: facts[name] for name in options(ForecastConfig)})
            arguments = dict(facts["arguments"])
            _check_size(config.check(), arguments, facts, archive.size)
            forecaster = STRATEGIES[facts["strategy"]](config, **arguments)
            names, forecaster.unit = facts["names"], str(facts["unit"])
            forecaster.names = None if names is None else [str(name) for name in names]
            D = len(facts["offset"])
            if not {*(forecaster.targets or ())} <= {*range(D)}:
                raise InvalidValueError(f"its targets are {forecaster.targets}, of {D} columns")
            scaler = forecaster.scaler
            scaler.offset, scaler.scale = (_row(facts[name], D) for name in ("offset", "scale"))
            rng = np.random.default_rng(config.seed)
            columns = forecaster.columns(D)
            forecaster.model = forecaster.build(D, len(columns), rng).astype(np.float32)
            if isinstance(forecaster, Direct) and "margin" in facts:  # older files have none
                shape = (forecaster.horizon, len(columns), len(forecaster.levels or ()))
                forecaster.margin = _margin(facts["margin"], shape)
        except ScratchnetError as error:
            raise InvalidValueError(f"{path} is not of a saved forecaster: {error}") from None
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise InvalidValueError(f"{path} is not of a saved forecaster: {error!r}") from None
        offset, scale = scaler.offset, scaler.scale
        if not (np.isfinite(offset).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise InvalidValueError(
                f"{path}: nothing can be scaled by offset {offset.tolist()} and scale"
                f" {scale.tolist()}"
            )
        checkpoint.fill(forecaster.model, archive)
    forecaster.trained()
    return forecaster


def _as_float32(z: Array) -> Array:
    """What the network reads: as inf a value would shut a gate without a word."""
    with np.errstate(over="ignore"):
        narrow: Array = z.astype(np.float32)
    if (np.isinf(narrow) & ~np.isinf(z)).any():
        raise InvalidValueError(
            f"a value of the series is {np.nanmax(np.abs(z)):.3g} when it is scaled, beyond what"
            f" float32 holds ({np.finfo(np.float32).max:.3g})"
        )
    return narrow


def _row(values: Any, D: int) -> Array:
    """D numbers."""
    row = np.array(values, dtype=np.float64)
    if row.shape != (D,):
        raise InvalidValueError(f"expected {D} numbers, got {values!r:.80}")
    return row


def _margin(values: Any, shape: tuple[int, ...]) -> Array:
    """Finite numbers of a shape."""
    margin = np.array(values, dtype=np.float64)
    if margin.shape != shape or not np.isfinite(margin).all():
        raise InvalidValueError(f"its margin is {values!r:.80}: expected finite numbers {shape}")
    return margin


def _check_size(config: ForecastConfig, arguments: Data, facts: Data, size: int) -> None:
    """ValueError where the settings need a network with more numbers than the file holds, before
    one is made."""
    units, inputs = config.units, len(facts["offset"])
    flat = config.model == "mlp"
    recurrent = config.layers - flat  # square matrices, at least
    needed = units * (inputs * config.window if flat else inputs) + units**2 * recurrent
    if facts["strategy"] != EncodeDecode.strategy and facts["strategy"] != Recursive.strategy:
        needed += units * int(arguments["horizon"]) * len(arguments.get("levels") or (1,))
    if needed > size:
        raise InvalidValueError(
            f"its settings need {needed} numbers or more, but the file holds {size}"
        )


def _one_step_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """What the first edition saved of a one-step forecaster, in today's form."""
    return facts | {
        "strategy": "direct",
        "arguments": {"horizon": 1},
        "names": [str(facts["column"])],
        "offset": [float(facts["offset"])],
        "scale": [float(facts["scale"])],
        "relative_to": "previous" if facts["difference"] else "none",
        "dropout": 0.0,
        "validation": ForecastConfig.validation,
    }
