"""The one-step experiment: a network beside the last value and an autoregression on the last rows.

``scratchnet train`` runs it, prints the table and saves the forecaster.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scratchnet.arrays import Array
from scratchnet.data import chronological_split
from scratchnet.data.series import Series
from scratchnet.errors import InvalidValueError
from scratchnet.forecasting.baselines import (
    mean_absolute_error,
    mean_squared_error,
    relative_variance,
)
from scratchnet.forecasting.classical import AutoregressionForecaster, LastValue
from scratchnet.forecasting.network import Direct, ForecastConfig
from scratchnet.training import Callback

TEST = 0.15  # share of the rows, the last ones, that the errors are of


@dataclass(frozen=True, kw_only=True)
class OneStepConfig(ForecastConfig):
    """The options of the one-step experiment: those of a network, with other defaults."""

    model: str = "lstm"
    window: int = 12
    units: int = 16
    epochs: int = 200
    patience: int = 20


class OneStepResult(NamedTuple):
    """A fitted forecaster and its forecasts of the test part, in the series' unit."""

    forecaster: Direct
    times: list[str]
    truth: Array  # (n, 1)
    forecasts: dict[str, Array]  # name -> (n, 1)

    def rmse(self, name: str) -> float:
        """Root mean squared error of a forecast."""
        return mean_squared_error(self.forecasts[name], self.truth) ** 0.5

    def table(self) -> str:
        """Each forecast's errors on the test part."""
        unit = f" [{self.forecaster.unit}]" if self.forecaster.unit else ""
        lines = [f"{'test part':<12}{'RMSE':>10}{'MAE':>10}{'R2':>8}{unit}"]
        varies = bool((self.truth != self.truth[:1]).any())
        for name, forecast in self.forecasts.items():
            mae = mean_absolute_error(forecast, self.truth)
            r2 = f"{1 - relative_variance(forecast, self.truth):.3f}" if varies else "-"
            lines.append(f"{name:<12}{self.rmse(name):>10.4g}{mae:>10.4g}{r2:>8}")
        if not varies:
            lines.append("R2 has no value here: the test part does not vary")
        return "\n".join(lines)


def train(
    series: Series,
    config: OneStepConfig,
    progress: bool = True,
    callbacks: Callable[[Direct], Sequence[Callback]] = lambda forecaster: (),
) -> OneStepResult:
    """Fit on the first 70% of the rows, stop by the next 15%, measure on the last 15%.

    Scaling is learned from the first part alone; the autoregression has nothing to stop and is
    fitted to the first two. ``config.validation`` changes the 15% that decide when to stop.
    ``callbacks`` makes more callbacks for the forecaster, before it is fitted.

    Raises
    ------
    ValueError
        For an option out of range, a series that is too short for it, or a training part that does
        not vary.
    """
    config.check()
    values, width = series.measured, config.window
    share = config.validation
    if share >= 1 - TEST:
        raise InvalidValueError(f"validation is {share}: expected less than {1 - TEST}")
    _, validation, test = chronological_split(len(values), (1 - TEST - share, share, TEST))
    # before the training, which takes longer
    if validation.stop < 2 * width + 1:
        raise InvalidValueError(
            f"window is {width}, and an autoregression over as many steps needs {2 * width + 1}"
            f" rows to be fitted, but {series.name} has {validation.stop} before its test part"
        )
    known = values[: validation.stop]
    forecaster = Direct(config, 1)
    forecaster.names, forecaster.unit = list(series.columns), series.unit
    simple = {
        "last value": LastValue(1),
        f"AR({width})": AutoregressionForecaster(1, width).fit(known),
    }
    forecaster.fit(
        known,
        validation_rows=validation.stop - validation.start,
        progress=progress,
        callbacks=callbacks(forecaster),
    )
    # what was not measured cannot be compared with
    at = np.flatnonzero(~np.isnan(values[test, 0])) + test.start
    if not len(at):
        raise InvalidValueError(f"nothing was measured in the {TEST:.0%} of the rows that test")
    forecasts = {
        name: each.predict(values, at)[:, 0]
        for name, each in {**simple, config.model.upper(): forecaster}.items()
    }
    times = [str(t) for t in series.times[at]]
    return OneStepResult(forecaster, times, values[at], forecasts)
