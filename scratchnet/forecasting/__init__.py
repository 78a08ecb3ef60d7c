"""Forecasts one step or many steps ahead: strategies, backtests, intervals with measured coverage.

    forecaster = Direct(ForecastConfig(window=24), horizon=12).fit(values[:600])
    y = forecaster.predict(values, at=[600, 612])  # (2, 12, K), each from the rows before its origin
    forecaster.save("out"); load_forecaster("out")
    result = backtest({"direct": lambda: Direct(config, 12), "last value": lambda: LastValue(12)},
                      values, first=600)

Everything takes and returns the series' unit, values (T, D), oldest row first; scaling is learned
from the training rows and undone. ``one_step`` and ``many_steps`` are whole experiments.
"""

from scratchnet.forecasting.backtest import Backtest, backtest
from scratchnet.forecasting.classical import (
    AutoregressionForecaster,
    LastValue,
    SeasonalLastValue,
    Smoothing,
)
from scratchnet.forecasting.ensemble import Ensemble
from scratchnet.forecasting.forecaster import Forecaster, check_values
from scratchnet.forecasting.intervals import Coverage, coverage, dropout_interval, pinball
from scratchnet.forecasting.network import (
    STRATEGIES,
    Direct,
    EncodeDecode,
    ForecastConfig,
    NetworkForecaster,
    Recursive,
    load_forecaster,
)

__all__ = [
    "STRATEGIES",
    "AutoregressionForecaster",
    "Backtest",
    "Coverage",
    "Direct",
    "EncodeDecode",
    "Ensemble",
    "ForecastConfig",
    "Forecaster",
    "LastValue",
    "NetworkForecaster",
    "Recursive",
    "SeasonalLastValue",
    "Smoothing",
    "backtest",
    "check_values",
    "coverage",
    "dropout_interval",
    "load_forecaster",
    "pinball",
]
