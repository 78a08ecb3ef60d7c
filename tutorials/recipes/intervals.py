"""Prediction intervals for El Nino: a network that learns quantiles, and one whose dropout stays on
while it forecasts.

Both are asked for 90%. What to learn: an interval without its measured coverage is a decoration.
Dropout alone, without the noise of the series, is far too narrow; the pinball loss (lower is
better) counts narrow and right together, and so says which interval to take when two cover the
same. Calibration promises only that the years to come are like those it was made on: here these end
with the largest El Nino of the record, and the intervals become too wide.
"""

import numpy as np
from elnino import FIRST, HORIZON, columns
from recipe import Outcome, recipe

from scratchnet import plots
from scratchnet.arrays import Array
from scratchnet.data import datasets
from scratchnet.forecasting import (
    AutoregressionForecaster,
    Direct,
    ForecastConfig,
    SeasonalLastValue,
    coverage,
    dropout_interval,
    pinball,
)
from scratchnet.plots.style import new_figure

ASKED, YEARS = 0.9, 10


def run(seed: int, toy: bool) -> Outcome:
    """Trained to 1998, measured from every origin since; the plain intervals take the errors of the
    ten years before."""
    values = columns()
    config = ForecastConfig(window=24, units=24, epochs=1 if toy else 60, patience=8, seed=seed)
    low, high = (1 - ASKED) / 2, (1 + ASKED) / 2
    past, at = values[:FIRST], np.arange(FIRST, len(values) - HORIZON + 1)
    truth = values[at[:, None] + np.arange(HORIZON)][:, :, :1]
    learned, calibrated = (
        Direct(config, HORIZON, [0], levels=(low, 0.5, high), calibrated=moved)
        .fit(past)
        .predict(values, at)
        for moved in (False, True)
    )
    dropping = Direct(config.replace(dropout=0.2), HORIZON, [0]).fit(past)
    draws = 10 if toy else 100
    found: dict[str, tuple[Array, ...]] = {
        "GRU, quantile loss": tuple(learned[..., level] for level in range(3)),
        "GRU, calibrated": tuple(calibrated[..., level] for level in range(3)),
        "GRU, dropout alone": dropout_interval(
            dropping, values, at, asked=ASKED, samples=draws, noise=False
        ),
        "GRU, dropout, calibrated": dropout_interval(
            dropping, values, at, asked=ASKED, samples=draws
        ),
    }
    for name, plain in (
        ("last season", SeasonalLastValue(HORIZON, 12, [0])),
        ("AR(24)", AutoregressionForecaster(HORIZON, 24, [0])),
    ):
        before = np.arange(FIRST - 12 * YEARS, FIRST - HORIZON + 1)
        plain.fit(past[: before[0]])
        errors = values[before[:, None] + np.arange(HORIZON)][:, :, :1] - plain.predict(
            values, before
        )
        # (3, HORIZON, 1): errors of each step ahead
        around = np.quantile(errors, [low, 0.5, high], axis=0)
        found[name] = tuple(plain.predict(values, at) + shift for shift in around)
    measured = {
        name: coverage(bottom, top, truth, ASKED) for name, (bottom, _, top) in found.items()
    }
    scores = {
        "pinball loss of the two ends": {
            name: (pinball(bottom, truth, low) + pinball(top, truth, high)) / 2
            for name, (bottom, _, top) in found.items()
        },
        f"distance of the coverage from {ASKED:.0%}": {
            name: abs(c.inside - ASKED) for name, c in measured.items()
        },
        "width [degrees]": {name: c.width for name, c in measured.items()},
    }
    figure = new_figure(9, 6.6)
    origin = 12 * 9 - 3
    times = list(map(str, datasets.load("elnino").times[at[origin] - 18 : at[origin] + HORIZON]))
    for ax, name in zip(
        figure.subplots(2, 1, sharex=True, sharey=True),
        ("GRU, quantile loss", "GRU, dropout alone"),
    ):
        bottom, middle, top = (band[origin, :, 0] for band in found[name])
        plots.fan(
            values[at[origin] - 18 : at[origin], 0],
            middle,
            bottom,
            top,
            truth=truth[origin, :, 0],
            times=times,
            asked=ASKED,
            label=name,
            ylabel="degrees",
            title=f"{name}: asked {ASKED:.0%}, measured {measured[name].inside:.0%}",
            ax=ax,
        )
        ax.set_xlabel("")
    note = "\n".join(f"{name:<26}{found}" for name, found in measured.items())
    return Outcome(scores, ("last season", "AR(24)"), figure, "first seed:\n" + note)


if __name__ == "__main__":
    recipe(__doc__, run)
