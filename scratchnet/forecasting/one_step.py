"""``scratchnet train``: a one-step forecaster of one column, fitted, measured against two
baselines, saved and drawn."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scratchnet.arrays import Array, require_floating
from scratchnet.data import Standardizer, chronological_split, datasets, sliding_windows
from scratchnet.data.series import Series, load_csv
from scratchnet.errors import InvalidValueError, MissingFileError
from scratchnet.forecasting import baselines
from scratchnet.forecasting.settings import NetworkSettings
from scratchnet.layers import GRU, LSTM, RNN, Layer, Linear, Recurrent, Sequential, Tanh
from scratchnet.training import History, checkpoint, fit, predict
from scratchnet.training.config import option, options

MODELS: dict[str, Callable[..., Recurrent] | None] = {
    "mlp": None,
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
}


@dataclass(frozen=True, kw_only=True)
class Settings(NetworkSettings):
    """The options of ``scratchnet train``."""

    model: str = option("lstm", f"the network: {', '.join(MODELS)}", choices=MODELS)
    window: int = 12
    units: int = 16
    epochs: int = 200
    patience: int = 20
    difference: bool = option(False, "learn the change from step to step, for series that drift")


class Forecaster(NamedTuple):
    """A network with all it needs to forecast: ``predict`` takes and gives the series' own unit."""

    model: Layer
    settings: Settings
    scaler: Standardizer  # of the values, or of their changes
    column: str
    unit: str = ""

    @property
    def needs(self) -> int:
        """How many rows a forecast looks at: one more than the window where it learns changes."""
        return self.settings.window + self.settings.difference

    def inputs(self, x: Array) -> Array:
        """Windows x (n, needs, 1) in the series' unit to the network's input, (n, window, 1), or
        (n, window) for the MLP."""
        z = self.scaler.transform(np.diff(x, axis=1) if self.settings.difference else x).astype(
            np.float32
        )
        return z[:, :, 0] if self.settings.model == "mlp" else z

    def targets(self, x: Array, y: Array) -> Array:
        """The rows y (n, 1) after the windows x to what the network is to answer, (n, 1)."""
        return self.scaler.transform(y - x[:, -1] if self.settings.difference else y).astype(
            np.float32
        )

    def predict(self, x: Array) -> Array:
        """One-step forecasts (n, 1) of the rows after the windows x (n, rows, 1): their last
        ``needs`` rows are looked at.

        The value after the last one there is, of a series with values (T, 1):
        ``predict(values[None])``. Raises ValueError or TypeError where x has another shape or fewer
        rows.
        """
        require_floating("x", x)
        if x.ndim != 3 or x.shape[2] != 1 or x.shape[1] < self.needs:
            raise InvalidValueError(
                f"x is {tuple(x.shape)}: expected (n, rows, 1), at least {self.needs} rows of"
                f" {self.column}"
            )
        x = x[:, -self.needs :]
        forecast = self.scaler.inverse_transform(
            predict(self.model, self.inputs(x)).astype(np.float64)
        )
        return x[:, -1] + forecast if self.settings.difference else forecast

    def save(self, folder: Path) -> None:
        """Write ``model.npz`` and ``settings.json`` into the folder."""
        checkpoint.save(self.model, folder / "model.npz")
        scale = {name: float(getattr(self.scaler, name)[0]) for name in ("offset", "scale")}
        facts = {"column": self.column, "unit": self.unit, **scale, **self.settings.asdict()}
        (folder / "settings.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def load_forecaster(folder: str | Path) -> Forecaster:
    """What ``scratchnet train --out FOLDER`` has saved there.

    Raises FileNotFoundError where it is not there, ValueError where a file is not what was saved.
    """
    path = Path(folder) / "settings.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        settings = Settings(**{name: facts[name] for name in options(Settings)}).check()
        scaler = Standardizer()
        scaler.offset, scaler.scale = (
            np.array([float(facts["offset"])]),
            np.array([float(facts["scale"])]),
        )
        column, unit = str(facts["column"]), str(facts["unit"])
        if not (np.isfinite(scaler.offset[0]) and 0 < scaler.scale[0] < math.inf):
            raise InvalidValueError(
                f"{path}: nothing can be scaled by offset {scaler.offset[0]} and scale"
                f" {scaler.scale[0]}"
            )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InvalidValueError(
            f"{path} is not what scratchnet train has written: {error!r}"
        ) from None
    model = build(settings, np.random.default_rng(settings.seed))
    checkpoint.load(model, Path(folder) / "model.npz")
    return Forecaster(model, settings, scaler, column, unit)


class Result(NamedTuple):
    """A fitted forecaster and its forecasts of the test part, in the series' own unit."""

    forecaster: Forecaster
    history: History
    times: list[str]
    truth: Array  # (n, 1)
    forecasts: dict[str, Array]  # name -> (n, 1)
    seconds: float


def load(
    data: str,
    column: str | None = None,
    missing: str | None = None,
    time: str | None = None,
    delimiter: str | None = None,
) -> Series:
    """A bundled series by name, or one column of the CSV at the path ``data``, read as ``load_csv``
    does.

    Raises ValueError where the CSV has several columns and none was chosen, or has other faults,
    and where a bundled series is to be read in another way than its own.
    """
    given = {"column": column, "missing": missing, "time": time, "delimiter": delimiter}
    if data in datasets.NAMES:
        idle = [name for name, value in given.items() if value is not None]
        if idle:
            raise InvalidValueError(
                f"{data} comes with the library: {' and '.join(idle)} can only say how to read a"
                " CSV of your own"
            )
        return datasets.load(data)
    if not Path(data).exists():
        raise MissingFileError(
            f"{data!r} is no file, and no bundled series: those are {', '.join(datasets.NAMES)}"
        )
    columns = None if column is None else [column]
    series = load_csv(
        data, columns=columns, time=time, missing=missing or "error", delimiter=delimiter
    )
    if len(series.columns) > 1:
        raise InvalidValueError(
            f"{data} has the columns {', '.join(series.columns)}: choose one as column"
        )
    return series


def build(settings: Settings, rng: np.random.Generator) -> Layer:
    """The network for windows (n, window, 1), or (n, window) for the MLP, to (n, 1)."""
    units, cell = settings.units, MODELS[settings.model]
    if cell is None:
        hidden = [Linear(settings.window, units, rng=rng), Tanh()]
        for _ in range(settings.layers - 1):
            hidden += [Linear(units, units, rng=rng), Tanh()]
        return Sequential(*hidden, Linear(units, 1, rng=rng)).astype(np.float32)
    rec = cell(
        1, units, num_layers=settings.layers, batch_first=True, return_sequences=False, rng=rng
    )
    return Sequential(rec=rec, head=Linear(units, 1, rng=rng)).astype(np.float32)


def train(series: Series, settings: Settings, progress: bool = True) -> Result:
    """Fit on the first 70%, stop by the next 15%, measure on the last 15%; scaled by the training
    part alone.

    Raises ValueError where a setting makes no sense, the series is too short for it, or its
    training part does not vary.
    """
    settings.check()
    values, width = series.values, settings.window
    past, stopping, test = chronological_split(len(values))
    # before the training: what cannot be compared is not worth the wait
    if stopping.stop < 2 * width + 1:
        raise InvalidValueError(
            f"window is {width}, and an autoregression over as many steps needs {2 * width + 1}"
            f" rows to be fitted, but {series.name} has {stopping.stop} before its test part"
        )
    line = baselines.Autoregression(width).fit(values[: stopping.stop])
    scaler = Standardizer().fit(
        np.diff(values[past], axis=0) if settings.difference else values[past], series.columns
    )
    rng = np.random.default_rng(settings.seed)
    forecaster = Forecaster(build(settings, rng), settings, scaler, series.columns[0], series.unit)
    raw, raw_validation, raw_test = (
        sliding_windows(values, forecaster.needs, part=part) for part in (past, stopping, test)
    )
    history = fit(
        forecaster.model,
        settings.batches(forecaster.inputs(raw.x), forecaster.targets(raw.x, raw.y)),
        settings.optimizer(),
        epochs=settings.epochs,
        rng=rng,
        validation=(
            forecaster.inputs(raw_validation.x),
            forecaster.targets(raw_validation.x, raw_validation.y),
        ),
        callbacks=settings.callbacks(),
        progress=progress,
    )
    forecasts = {
        "last value": baselines.last_value(raw_test.x),
        f"AR({width})": line.predict(raw_test.x),
        settings.model.upper(): forecaster.predict(raw_test.x),
    }
    times = [str(t) for t in series.times[raw_test.at]]
    return Result(forecaster, history, times, raw_test.y, forecasts, sum(history.column("seconds")))


def table(result: Result) -> str:
    """Each forecast's errors on the test part, in the series' unit."""
    unit = f" [{result.forecaster.unit}]" if result.forecaster.unit else ""
    lines = [f"{'test part':<12}{'RMSE':>10}{'MAE':>10}{'R2':>8}{unit}"]
    varies = bool((result.truth != result.truth[:1]).any())
    for name, prediction in result.forecasts.items():
        rmse, mae = (
            baselines.mse(prediction, result.truth) ** 0.5,
            baselines.mae(prediction, result.truth),
        )
        r2 = f"{1 - baselines.relative_variance(prediction, result.truth):.3f}" if varies else "-"
        lines.append(f"{name:<12}{rmse:>10.4g}{mae:>10.4g}{r2:>8}")
    if not varies:
        lines.append("R2 has no value here: the test part does not vary")
    return "\n".join(lines)


def run(series: Series, settings: Settings, out: Path) -> Result:
    """Train, print, and write ``model.npz``, ``settings.json``, ``history.csv`` and
    ``forecast.png`` into ``out``."""
    from scratchnet import plots

    out.mkdir(parents=True, exist_ok=True)  # first: where that fails, no training is lost
    name = settings.model.upper()
    print(
        f"{series.name}: {len(series.values)} values of {series.columns[0]}, {series.times[0]} to"
        f" {series.times[-1]}"
    )
    if series.note:
        print(f"  {series.note}")
    result = train(series, settings)
    result.forecaster.save(out)
    result.history.to_csv(out / "history.csv")
    best, epochs = (result.history.best_epoch or 0) + 1, len(result.history.epochs)
    print(
        f"{name}: {result.forecaster.model.size} parameters, {epochs} epochs, best after {best},"
        f" {result.seconds:.1f} s\n"
    )
    print(table(result), end="\n\n")
    last, own = (
        baselines.mse(result.forecasts[label], result.truth) for label in ("last value", name)
    )
    if own > last and not settings.difference:
        print(f"The {name} is worse than the last value: if the series drifts, try --difference.\n")
    figure = plots.forecast(
        result.times,
        result.truth[:, 0],
        {label: values[:, 0] for label, values in result.forecasts.items()},
        ylabel=f"{series.columns[0]} [{series.unit}]" if series.unit else series.columns[0],
        title=f"{series.name}, one step ahead, test part",
    )
    figure.savefig(out / "forecast.png")
    for file in ("model.npz", "settings.json", "history.csv", "forecast.png"):
        print(out / file)
    return result
