"""An average of forecasters: their errors partly cancel where they err for different reasons."""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from scratchnet.arrays import Array, require_count
from scratchnet.errors import InvalidValueError
from scratchnet.forecasting.forecaster import Forecaster, check_values


class Ensemble(Forecaster):
    """The weighted mean of its members' forecasts.

    Equal weights are hard to beat, since learned weights are noisy.

    Parameters
    ----------
    members : name -> forecaster, all of the same horizon and columns
    weights : name -> share of each member (None: equal)
    validation_rows : learn the weights from so many last rows: members are fitted without them,
        weighted by the inverse of their mean squared error on them, and fitted again to all rows

    Raises
    ------
    ValueError
        For no members, different horizons or quantiles, or weights that are not shares.
    """

    def __init__(
        self,
        members: Mapping[str, Forecaster],
        weights: Mapping[str, float] | None = None,
        validation_rows: int = 0,
    ) -> None:
        if not members:
            raise InvalidValueError("the ensemble has no members: expected at least one forecaster")
        horizons = {name: member.horizon for name, member in members.items()}
        if len(set(horizons.values())) > 1:
            raise InvalidValueError(
                f"the members forecast {horizons} steps: expected the same of all"
            )
        shares = list((weights or {"": 1.0}).values())
        shares_fit = bool(np.isfinite(shares).all()) and min(shares) >= 0 and sum(shares) > 0
        if weights is not None and (weights.keys() != members.keys() or not shares_fit):
            raise InvalidValueError(
                f"weights are {dict(weights)} for the members {', '.join(members)}: expected a"
                " share of each"
            )
        levels = {name: getattr(member, "levels", None) for name, member in members.items()}
        if len(set(levels.values())) > 1:
            raise InvalidValueError(
                f"the members forecast the quantiles {levels}, None being a mean: expected the same"
                " of all"
            )
        first = next(iter(members.values()))
        super().__init__(first.horizon, first.targets)
        self.levels = levels.popitem()[1]
        self.validation_rows = require_count("validation_rows", validation_rows, 0)
        self.members = dict(members)
        self.weights = dict.fromkeys(members, 1.0) if weights is None else dict(weights)

    @property
    def needs(self) -> int:
        return max(member.needs for member in self.members.values())

    def fit(self, values: Array) -> Self:
        columns = {name: member.columns(values.shape[1]) for name, member in self.members.items()}
        if any(chosen != next(iter(columns.values())) for chosen in columns.values()):
            raise InvalidValueError(
                f"the members' columns are {columns}: expected the same of all, or different"
                " columns would be averaged"
            )
        check_values(values, self.needs + self.horizon + self.validation_rows, "the ensemble")
        if self.validation_rows:
            cut = len(values) - self.validation_rows
            at = np.arange(cut, len(values) - self.horizon + 1)
            if not len(at):
                given = f"validation_rows is {self.validation_rows} but the horizon {self.horizon}"
                raise InvalidValueError(f"{given}: expected at least as many rows")
            rows = at[:, None] + np.arange(self.horizon)
            for name, member in self.members.items():
                forecast = member.middle(member.fit(values[:cut]).predict(values, at))
                self.weights[name] = 1 / self._error(forecast, member.chosen(values[rows]))
        for member in self.members.values():
            member.fit(values)
        return self

    def _error(self, forecast: Array, truth: Array) -> float:
        """The mean squared error over what was measured."""
        counts = ~np.isnan(truth + forecast)  # quantiles of one side have no middle
        if not counts.any():
            raise InvalidValueError(
                f"nothing was measured in the {self.validation_rows} validation rows, or the"
                " quantiles have no middle: give the weights"
            )
        return max(float(np.mean((forecast - truth)[counts] ** 2)), 1e-300)

    def middle(self, forecast: Array) -> Array:
        return next(iter(self.members.values())).middle(forecast)

    def predict(self, values: Array, at: Sequence[int] | Array | None = None) -> Array:
        total = sum(self.weights.values())
        return np.sum(
            [
                self.weights[name] / total * m.predict(values, at)
                for name, m in self.members.items()
            ],
            axis=0,
        )
