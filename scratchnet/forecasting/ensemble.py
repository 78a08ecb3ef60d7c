"""An average of forecasters: their errors partly cancel where they err for different reasons."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from scratchnet.arrays import Array
from scratchnet.errors import InvalidValueError
from scratchnet.forecasting.forecaster import Forecaster, check_values


class Ensemble(Forecaster):
    """The weighted mean of its members' forecasts; equal weights unless ``weights`` or
    ``held_back`` say otherwise.

    ``held_back``: with so many of the last rows the members are first fitted without them, weighted
    by the inverse of their mean squared error on them, and then fitted again to all. Equal weights
    are hard to beat, since weights are noisy too. Raises ValueError for members of different
    horizons, no members, or weights that are no shares.
    """

    def __init__(
        self,
        members: Mapping[str, Forecaster],
        weights: Mapping[str, float] | None = None,
        held_back: int = 0,
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
        super().__init__(next(iter(horizons.values())), next(iter(members.values())).targets)
        self.members, self.held_back = dict(members), held_back
        self.weights = dict.fromkeys(members, 1.0) if weights is None else dict(weights)

    @property
    def needs(self) -> int:
        return max(member.needs for member in self.members.values())

    def fit(self, values: Array) -> Self:
        columns = {name: member.columns(values.shape[1]) for name, member in self.members.items()}
        if any(chosen != next(iter(columns.values())) for chosen in columns.values()):
            raise InvalidValueError(
                f"the members' columns are {columns}: expected the same of all, or unlike things"
                " are averaged"
            )
        check_values(values, self.needs + self.horizon + self.held_back, "the ensemble")
        if self.held_back:
            cut = len(values) - self.held_back
            at = np.arange(cut, len(values) - self.horizon + 1)
            if not len(at):
                given = f"held_back is {self.held_back} but the horizon {self.horizon}"
                raise InvalidValueError(f"{given}: expected at least as many rows")
            rows = at[:, None] + np.arange(self.horizon)
            for name, member in self.members.items():
                error = member.fit(values[:cut]).predict(values, at) - member.chosen(values[rows])
                self.weights[name] = 1 / max(float(np.mean(error**2)), 1e-300)
        for member in self.members.values():
            member.fit(values)
        return self

    def predict(self, values: Array, at: Any) -> Array:
        total = sum(self.weights.values())
        return np.sum(
            [
                self.weights[name] / total * m.predict(values, at)
                for name, m in self.members.items()
            ],
            axis=0,
        )
