"""Forecasts of many steps: strategies, honest backtests, intervals whose coverage is counted.

    forecaster = Direct(Settings(window=24), horizon=12).fit(values[:600])
    y = forecaster.predict(values, at=[600, 612])             (2, 12, K): each from the rows before its origin alone
    result = backtest({"direct": lambda: Direct(settings, 12), "last value": lambda: LastValue(12)}, values, first=600)

Everything here takes and gives the series' own unit, values (T, D), oldest row first; scaling is
learned from the training rows, and undone.
"""

from scratchnet.forecasting.backtest import Backtest, backtest
from scratchnet.forecasting.classical import LastValue, Linear, SeasonalLastValue, Smoothing
from scratchnet.forecasting.ensemble import Ensemble
from scratchnet.forecasting.forecaster import Forecaster, check_values
from scratchnet.forecasting.intervals import Coverage, coverage, dropout_interval, pinball
from scratchnet.forecasting.network import (
    STRATEGIES,
    Direct,
    EncodeDecode,
    Network,
    Recursive,
    Settings,
)

__all__ = [
    "STRATEGIES",
    "Backtest",
    "Coverage",
    "Direct",
    "EncodeDecode",
    "Ensemble",
    "Forecaster",
    "LastValue",
    "Linear",
    "Network",
    "Recursive",
    "SeasonalLastValue",
    "Settings",
    "Smoothing",
    "backtest",
    "check_values",
    "coverage",
    "dropout_interval",
    "pinball",
]
