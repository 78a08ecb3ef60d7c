"""Averages of forecasters for El Nino, twelve months ahead: three networks, exponential smoothing,
and their mean.

Members from statsmodels (Holt and Winters) and from here, in a rolling backtest. What to learn: the
mean of the networks is better than each of them, and that of all five better still, since they err
for different reasons (see the correlations). It is not magic: where one member is as good as the
autoregression is here, the others pull the mean away from it.
"""

import numpy as np
from elnino import FIRST, HORIZON, columns
from pictures import bars
from recipe import Outcome, recipe

from scratchnet.forecasting import (
    STRATEGIES,
    AutoregressionForecaster,
    Backtest,
    Ensemble,
    ForecastConfig,
    Forecaster,
    LastValue,
    SeasonalLastValue,
    Smoothing,
    backtest,
)


def run(seed: int, toy: bool) -> Outcome:
    """Origins every month from 1999 on; the weighted mean has its weights from the errors in the
    five years before."""
    values = columns()
    first = 700 if toy else FIRST

    def members() -> dict[str, Forecaster]:
        config = ForecastConfig(
            window=24, units=24, epochs=1 if toy else 60, patience=8, seed=seed, dropout=0.1
        )
        return {
            "direct GRU": STRATEGIES["direct"](config, HORIZON, [0]),
            "direct LSTM": STRATEGIES["direct"](config.replace(model="lstm"), HORIZON, [0]),
            "encoder-decoder": STRATEGIES["encoder-decoder"](config, HORIZON, [0]),
            "smoothing": Smoothing(HORIZON, season=12, trend=None),
            "AR(24)": AutoregressionForecaster(HORIZON, 24, [0]),
        }

    makers = {name: lambda name=name: members()[name] for name in members()}
    makers["last season"] = lambda: SeasonalLastValue(HORIZON, 12, [0])
    makers["last value"] = lambda: LastValue(HORIZON, [0])
    makers["ensemble, weighted"] = lambda: Ensemble(members(), validation_rows=60)
    tested = backtest(makers, values, first, step=4 if toy else 1)
    # Equal weights need no fit of their own: the mean of what the members said.
    for name, chosen in (
        ("ensemble, networks", list(members())[:3]),
        ("ensemble, all five", list(members())),
    ):
        tested.forecasts[name] = np.mean([tested.forecasts[member] for member in chosen], axis=0)
    errors = {name: tested.total(name) for name in sorted(tested.forecasts, key=tested.total)}
    plain = ("smoothing", "AR(24)", "last season", "last value")
    figure = bars(
        errors,
        plain,
        xlabel="RMSE over 12 months [degrees]",
        title=f"El Nino, {len(tested.at)} origins",
    )
    return Outcome({"RMSE, 12 months": errors}, plain, figure, alike(tested))


def alike(tested: Backtest) -> str:
    """How the members' errors go together: what an average can take away is what does not."""
    names = ["direct GRU", "direct LSTM", "encoder-decoder", "smoothing", "AR(24)"]
    r = np.corrcoef([(tested.forecasts[name] - tested.truth).ravel() for name in names])
    rows = [f"{name:<18}" + "".join(f"{v:6.2f}" for v in r[row]) for row, name in enumerate(names)]
    return "correlation of the members' errors (seed 0)\n" + "\n".join(rows)


if __name__ == "__main__":
    recipe(__doc__, run)
