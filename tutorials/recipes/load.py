"""An hourly series like a power grid's load, 72 hours ahead, with the calendar and the weather that
are known by then.

The series is made up by known rules (``data.tasks.load_like``). A GRU reads the last three
days; a static branch is told what is known of the 72 hours to come: a forecast of the temperature
(the true one and an error), weekend, holiday.
"""

import numpy as np
from recipe import Outcome, recipe

from scratchnet import plots
from scratchnet.arrays import Array
from scratchnet.data import Standardizer
from scratchnet.data.tasks import load_like
from scratchnet.forecasting import AutoregressionForecaster, LastValue, SeasonalLastValue, baselines
from scratchnet.models import Hybrid
from scratchnet.training import AdamW, Batches, Clip, EarlyStopping, fit, predict

WIDTH = AHEAD = 72
WEEK = 24 * 7


def known(values: Array, at: Array, rng: np.random.Generator) -> Array:
    """What is known at each origin of the hours to come, by 3 hours: temperature with a
    forecaster's error, day off, hour."""
    hours = at[:, None] + np.arange(0, AHEAD, 3)
    wrong = rng.standard_normal(hours.shape) * np.linspace(0.3, 1.5, hours.shape[1])
    day = hours // 24
    off = ((day % 7 >= 5) | (values[hours, 2] > 0)).astype(np.float64)
    angle = 2 * np.pi * (at % 24) / 24
    return np.concatenate(
        [(values[hours, 1] + wrong) / 10, off, np.sin(angle)[:, None], np.cos(angle)[:, None]],
        axis=1,
    )


def run(seed: int, toy: bool) -> Outcome:
    """Trained on ten months, tested on the last eight weeks, from an origin every six hours."""
    rng = np.random.default_rng(200 + seed)
    values = load_like(rng, days=120 if toy else 365).values
    T = len(values)
    cut, held = T - 8 * WEEK, T - 10 * WEEK
    scaler = Standardizer().fit(values[:held])
    z = scaler.transform(values)
    own = Standardizer().fit(values[:held, :1])
    train = np.arange(WEEK, held - AHEAD, 24 if toy else 2)
    parts = [train, np.arange(held, cut - AHEAD, 6), np.arange(cut, T - AHEAD + 1, 6)]
    x = [z[at[:, None] + np.arange(-WIDTH, 0)].astype(np.float32) for at in parts]
    s = [known(values, at, rng).astype(np.float32) for at in parts]
    y = [z[at[:, None] + np.arange(AHEAD), 0].astype(np.float32) for at in parts]
    model = Hybrid(3, s[0].shape[1], AHEAD, rng=rng, cell="gru", units=48, static_units=64).astype(
        np.float32
    )
    fit(
        model,
        Batches((x[0], s[0]), y[0], batch_size=64),
        AdamW(0.003),
        epochs=1 if toy else 25,
        rng=rng,
        validation=((x[1], s[1]), y[1]),
        callbacks=[Clip(1.0), EarlyStopping(6)],
        progress=False,
    )
    at, column = parts[2], values[:, :1]
    truth = values[at[:, None] + np.arange(AHEAD), 0]
    paths = {
        "last value": LastValue(AHEAD, [0]).predict(values, at)[:, :, 0],
        "last week": SeasonalLastValue(AHEAD, WEEK, [0]).predict(values, at)[:, :, 0],
        "AR(48), daily differences": (
            AutoregressionForecaster(AHEAD, 48, season=24)
            .fit(column[:cut])
            .predict(column, at)[:, :, 0]
        ),
        "hybrid GRU": own.inverse_transform(
            predict(model, (x[2], s[2])).astype(np.float64)[:, :, None]
        )[:, :, 0],
    }
    errors = {
        name: baselines.mean_squared_error(path, truth) ** 0.5 for name, path in paths.items()
    }
    percent = {
        name: 100 * float(np.mean(np.abs(path - truth) / truth)) for name, path in paths.items()
    }
    start = 4 * 9
    figure = plots.forecast(
        np.arange(AHEAD),
        truth[start],
        {name: paths[name][start] for name in ("hybrid GRU", "last week")},
        xlabel="hours ahead",
        ylabel="load [MW]",
        title="72 hours of a load-like series",
    )
    classical = tuple(name for name in paths if "GRU" not in name)
    return Outcome({"RMSE, 72 hours [MW]": errors, "MAPE, %": percent}, classical, figure)


if __name__ == "__main__":
    recipe(__doc__, run)
