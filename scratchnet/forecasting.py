"""``scratchnet train``: a one-step forecaster of one column, fitted, measured against two baselines, saved and drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scratchnet import baselines, checkpoint, datasets
from scratchnet.arrays import Array
from scratchnet.data import Standardizer, chronological_split, windows
from scratchnet.layers import GRU, LSTM, RNN, Layer, Linear, Recurrent, Sequential, Tanh
from scratchnet.optim import AdamW
from scratchnet.series import Series, load_csv
from scratchnet.train import History, fit, predict

MODELS: dict[str, Callable[..., Recurrent] | None] = {"mlp": None, "rnn": RNN, "lstm": LSTM, "gru": GRU}


class Settings(NamedTuple):
    """What ``scratchnet train`` can be told, with its defaults."""

    model: str = "lstm"
    window: int = 12
    units: int = 16
    layers: int = 1
    epochs: int = 200
    patience: int = 20
    lr: float = 0.005
    clip: float = 1.0
    seed: int = 0
    difference: bool = False  # learn the change from step to step: for series that drift out of the range they had


class Result(NamedTuple):
    """A fitted forecaster and its forecasts of the test part, in the series' own unit."""

    model: Layer
    history: History
    times: list[str]
    truth: Array  # (n, 1)
    forecasts: dict[str, Array]  # name -> (n, 1)
    seconds: float


def load(data: str, column: str | None = None, missing: str = "error") -> Series:
    """A bundled series by name, or one column of the CSV at the path ``data``.

    Raises ValueError where the CSV has several columns and none was chosen, or has other faults; see ``load_csv``.
    """
    if data in datasets.NAMES:
        return datasets.load(data)
    if not Path(data).exists():
        raise FileNotFoundError(f"{data!r} is no file, and no bundled series: those are {', '.join(datasets.NAMES)}")
    series = load_csv(data, columns=None if column is None else [column], missing=missing)
    if len(series.columns) > 1:
        raise ValueError(f"{data} has the columns {', '.join(series.columns)}: choose one with --column")
    return series


def build(settings: Settings, rng: np.random.Generator) -> Layer:
    """The network for windows (n, window, 1), or (n, window) for the MLP, to (n, 1)."""
    units, cell = settings.units, MODELS[settings.model]
    if cell is None:
        hidden = [Linear(settings.window, units, rng=rng), Tanh()]
        for _ in range(settings.layers - 1):
            hidden += [Linear(units, units, rng=rng), Tanh()]
        return Sequential(*hidden, Linear(units, 1, rng=rng)).astype(np.float32)
    rec = cell(1, units, num_layers=settings.layers, batch_first=True, return_sequences=False, rng=rng)
    return Sequential(rec=rec, head=Linear(units, 1, rng=rng)).astype(np.float32)


def train(series: Series, settings: Settings, progress: bool = True) -> Result:
    """Fit on the first 70%, stop by the next 15%, measure on the last 15%; scaled by the training part alone."""
    past, held_back, test = chronological_split(len(series.values))
    learned = np.diff(series.values, axis=0, prepend=series.values[:1]) if settings.difference else series.values
    scaler = Standardizer().fit(learned[past], columns=series.columns)
    z = scaler.transform(learned).astype(np.float32)
    rng = np.random.default_rng(settings.seed)
    model = build(settings, rng)
    past = slice(settings.window + settings.difference, past.stop)  # the first row has no change
    parts = [windows(z, settings.window, part=part) for part in (past, held_back, test)]
    x, x_held_back, x_test = (w.x[:, :, 0] if settings.model == "mlp" else w.x for w in parts)
    history = fit(
        model, x, parts[0].y, AdamW(settings.lr, weight_decay=0.01), epochs=settings.epochs, rng=rng, clip=settings.clip,
        validation=(x_held_back, parts[1].y), patience=settings.patience, progress=progress,
    )  # fmt: skip
    raw = windows(series.values, settings.window, part=test)
    forecast = scaler.inverse_transform(predict(model, x_test).astype(np.float64))
    line = baselines.Autoregression(settings.window).fit(series.values[: held_back.stop])
    forecasts = {
        "last value": baselines.last_value(raw.x),
        f"AR({settings.window})": line.predict(raw.x),
        settings.model.upper(): raw.x[:, -1] + forecast if settings.difference else forecast,
    }
    times = [str(t) for t in series.times[raw.at]]
    return Result(model, history, times, raw.y, forecasts, sum(history.column("seconds")))


def table(result: Result, series: Series) -> str:
    """Each forecast's errors on the test part, in the series' unit."""
    unit = f" [{series.unit}]" if series.unit else ""
    lines = [f"{'test part':<12}{'RMSE':>10}{'MAE':>10}{'R2':>8}{unit}"]
    for name, prediction in result.forecasts.items():
        rmse, mae = baselines.mse(prediction, result.truth) ** 0.5, baselines.mae(prediction, result.truth)
        r2 = 1 - baselines.relative_variance(prediction, result.truth)
        lines.append(f"{name:<12}{rmse:>10.4g}{mae:>10.4g}{r2:>8.3f}")
    return "\n".join(lines)


def run(data: str, column: str | None, missing: str, settings: Settings, out: Path) -> Result:
    """Load, train, print, and write ``model.npz``, ``history.csv`` and ``forecast.png`` into ``out``."""
    from scratchnet import plots

    series = load(data, column, missing)
    name = settings.model.upper()
    print(f"{series.name}: {len(series.values)} values of {series.columns[0]}, {series.times[0]} to {series.times[-1]}")
    if series.note:
        print(f"  {series.note}")
    result = train(series, settings)
    best = (result.history.best_epoch or 0) + 1
    epochs = len(result.history.epochs)
    print(f"{name}: {result.model.size} parameters, {epochs} epochs, best after {best}, {result.seconds:.1f} s\n")
    print(table(result, series), end="\n\n")
    last, own = (baselines.mse(result.forecasts[label], result.truth) for label in ("last value", name))
    if own > last and not settings.difference:
        print(f"The {name} is worse than the last value: if the series drifts, try --difference.\n")
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.save(result.model, out / "model.npz")
    result.history.to_csv(out / "history.csv")
    columns = {label: values[:, 0] for label, values in result.forecasts.items() if label in (name, "last value")}
    figure = plots.forecast(
        result.times, result.truth[:, 0], columns, ylabel=f"{series.columns[0]} {series.unit}".strip(),
        title=f"{series.name}, one step ahead, test part",
    )  # fmt: skip
    figure.savefig(out / "forecast.png")
    for file in ("model.npz", "history.csv", "forecast.png"):
        print(out / file)
    return result
