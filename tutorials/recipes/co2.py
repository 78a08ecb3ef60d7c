"""CO2 at Mauna Loa over several years: a hybrid of what was measured and what the calendar says.

Two years of monthly means go through a GRU, the month that is asked for and how far ahead it lies
through a static branch. All is relative to the last month measured, because the values of the
future are higher than any of the past.
"""

import numpy as np
from recipe import Outcome, recipe

from scratchnet import plots
from scratchnet.arrays import Array
from scratchnet.data import datasets
from scratchnet.data.missing import fill_from_past
from scratchnet.forecasting import AutoregressionForecaster, baselines
from scratchnet.models import Hybrid
from scratchnet.training import AdamW, Batches, Clip, EarlyStopping, fit, predict

WIDTH, AHEAD, TEST = 24, 36, 120  # months


def monthly() -> Array:
    """Monthly means (T,) of the weeks that were measured, the last incomplete month left out; NaN
    where none was."""
    series = datasets.load("co2")
    months = np.array([str(time)[:7] for time in series.times])
    weeks, measured = series.values[:, 0], ~np.isnan(series.measured[:, 0])
    names = np.unique(months)[1:-1]
    found = (weeks[(months == name) & measured] for name in names)
    return np.array([each.mean() if len(each) else np.nan for each in found])


def samples(values: Array, origins: Array) -> tuple[Array, Array, Array]:
    """For each origin and each month ahead: the changes before it, (month of the year, years
    ahead), the change to come."""
    o, k = (grid.ravel() for grid in np.meshgrid(origins, np.arange(AHEAD), indexing="ij"))
    past = values[o[:, None] + np.arange(-WIDTH, 0)] - values[o - 1][:, None]
    angle = 2 * np.pi * ((o + k) % 12) / 12
    here = 2 * np.pi * (o % 12) / 12
    known = np.stack(
        [np.sin(angle), np.cos(angle), np.sin(here), np.cos(here), (k + 1) / 12], axis=1
    )
    truth = values[np.minimum(o + k, len(values) - 1)] - values[o - 1]
    return past[:, :, None] / 5, known, truth[:, None] / 5


def run(seed: int, toy: bool) -> Outcome:
    """Both joins, beside last season's value with a yearly rise, and an autoregression on seasonal
    differences."""
    measured, rng = monthly(), np.random.default_rng(seed)
    values = fill_from_past(measured[:, None])[:, 0]
    cut = len(values) - TEST
    train = np.arange(WIDTH, cut - 24 - AHEAD + 1, 8 if toy else 1)
    held_back = np.arange(cut - 24 - AHEAD, cut - AHEAD + 1, 3)
    origins = np.arange(cut, len(values) - AHEAD + 1, 3)
    truth = values[origins[:, None] + np.arange(AHEAD)]
    column = measured[:, None]
    rise = float(np.nanmean(measured[12:cut] - measured[: cut - 12]))
    before = values[origins[:, None] + np.arange(-12, 0)]
    steps = np.arange(AHEAD)
    paths = {
        "last value": np.repeat(values[origins - 1][:, None], AHEAD, axis=1),
        "last year + rise": before[:, steps % 12] + rise * (1 + steps // 12),
        "seasonal AR(12)": (
            AutoregressionForecaster(AHEAD, 12, season=12)
            .fit(column[:cut])
            .predict(column, origins)[:, :, 0]
        ),
    }
    parts = [
        [part.astype(np.float32) for part in samples(values, o)]
        for o in (train, held_back, origins)
    ]
    (x, known, y), (xv, kv, yv), (xt, kt, _) = parts
    # months without a measurement are no targets; they are all in the training part
    counts = ~np.isnan(measured[train[:, None] + np.arange(AHEAD)]).reshape(-1, 1)
    for join in ("concat", "attention"):
        model = Hybrid(
            1, known.shape[1], 1, rng=rng, cell="gru", units=16, static_units=16, join=join
        ).astype(np.float32)
        fit(
            model,
            Batches((x, known), y, batch_size=256, mask=counts),
            AdamW(0.005),
            epochs=1 if toy else 12,
            rng=rng,
            validation=((xv, kv), yv),
            callbacks=[Clip(1.0), EarlyStopping(4)],
            progress=False,
        )
        answer = predict(model, (xt, kt)).astype(np.float64) * 5
        paths[f"hybrid, {join}"] = (
            answer.reshape(len(origins), AHEAD) + values[origins - 1][:, None]
        )
    errors = {name: baselines.mean_squared_error(y, truth) ** 0.5 for name, y in paths.items()}
    shown = ("last year + rise", "hybrid, concat", "hybrid, attention")
    figure = plots.errors_ahead(
        {
            name: np.sqrt(np.mean((paths[name] - truth) ** 2, axis=0))
            for name in (*shown, "seasonal AR(12)")
        },
        ylabel="RMSE [ppmv]",
        title=f"CO2, three years ahead from {len(origins)} origins",
    )
    return Outcome(
        {"RMSE, 36 months [ppmv]": errors},
        ("last value", "last year + rise", "seasonal AR(12)"),
        figure,
    )


if __name__ == "__main__":
    recipe(__doc__, run)
