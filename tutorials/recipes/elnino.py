"""El Nino, twelve months ahead, from several columns: direct, recursive and encoder-decoder, in a
rolling backtest.

Columns: the sea surface temperature, how far it is from that month's mean in the years before the
test, and where in the year the month stands (sine and cosine). Origins roll through the last twelve
years, every month.
"""

import numpy as np
from recipe import Outcome, recipe

from scratchnet import plots
from scratchnet.arrays import Array
from scratchnet.data import datasets
from scratchnet.forecasting import (
    STRATEGIES,
    AutoregressionForecaster,
    ForecastConfig,
    LastValue,
    SeasonalLastValue,
    backtest,
)

HORIZON, FIRST = 12, 588  # origins from January 1999 on


def columns() -> Array:
    """(T, 4): temperature, anomaly, sine and cosine of the month."""
    temperature = datasets.load("elnino").values[:, 0]
    month = np.arange(len(temperature)) % 12
    # of the past alone
    mean = np.array([temperature[:FIRST][month[:FIRST] == m].mean() for m in range(12)])
    angle = 2 * np.pi * month / 12
    return np.stack([temperature, temperature - mean[month], np.sin(angle), np.cos(angle)], axis=1)


def run(seed: int, toy: bool) -> Outcome:
    """Three strategies with a GRU, beside three baselines, all from the same origins."""
    values = columns()
    config = ForecastConfig(
        model="gru",
        window=24,
        units=24,
        epochs=2 if toy else 60,
        patience=8,
        seed=seed,
        dropout=0.1,
    )
    makers = {
        "last value": lambda: LastValue(HORIZON, [0]),
        "last season": lambda: SeasonalLastValue(HORIZON, 12, [0]),
        "AR(24)": lambda: AutoregressionForecaster(HORIZON, 24, [0]),
        "direct": lambda: STRATEGIES["direct"](config, HORIZON, [0]),
        "encoder-decoder": lambda: STRATEGIES["encoder-decoder"](config, HORIZON, [0]),
    }
    tested = backtest(makers, values, FIRST)
    # The recursive network needs its own forecasts of all columns, so it is asked for all and
    # measured on the first.
    whole = backtest({"recursive": lambda: STRATEGIES["recursive"](config, HORIZON)}, values, FIRST)
    tested.forecasts["recursive"] = whole.forecasts["recursive"][:, :, :1]
    errors = {name: tested.total(name) for name in tested.forecasts}
    late = {name: float(tested.rmse(name)[-1]) for name in tested.forecasts}
    figure = plots.errors_ahead(
        {
            name: tested.rmse(name)
            for name in sorted(errors, key=errors.__getitem__)
            if name != "last value"
        },
        ylabel="RMSE [degrees]",
        title=f"El Nino: error by months ahead, {len(tested.at)} origins",
    )
    scores = {"RMSE, 12 months": errors, "RMSE at month 12": late}
    return Outcome(scores, ("last value", "last season", "AR(24)"), figure)


if __name__ == "__main__":
    recipe(__doc__, run)
