"""What may be chosen: a space is a dict from a parameter's name to one of these.

{"lr": Real(1e-4, 1e-1, log=True), "units": Whole(4, 64), "cell": Choice("lstm", "gru")}
"""

import math
from collections.abc import Mapping
from typing import Any

from scratchnet.errors import InvalidTypeError, InvalidValueError


class Parameter:
    """A range or a choice."""

    def suggest(self, name: str, trial: Any) -> Any:
        """A value, by an Optuna trial."""
        raise NotImplementedError

    def value(self, stored: Any) -> Any:
        """What Optuna has in its table as the value itself."""
        return stored


class Real(Parameter):
    """A number from low to high, on a log scale if ``log``. Raises ValueError for an empty range or
    one that has no log."""

    def __init__(self, low: float, high: float, log: bool = False) -> None:
        self.low, self.high, self.log = float(low), float(high), log
        _check_range(self, self.low, self.high, log)

    def __repr__(self) -> str:
        return f"Real({self.low}, {self.high}{', log=True' if self.log else ''})"

    def suggest(self, name: str, trial: Any) -> float:
        return float(trial.suggest_float(name, self.low, self.high, log=self.log))


class Whole(Parameter):
    """A whole number from low to high, both included. Raises as ``Real`` does, and TypeError for a
    fraction."""

    def __init__(self, low: int, high: int, log: bool = False) -> None:
        if int(low) != low or int(high) != high:
            raise InvalidTypeError(
                f"Whole({low}, {high}): expected whole numbers; Real takes fractions"
            )
        self.low, self.high, self.log = int(low), int(high), log
        _check_range(self, self.low, self.high, log)

    def __repr__(self) -> str:
        return f"Whole({self.low}, {self.high}{', log=True' if self.log else ''})"

    def suggest(self, name: str, trial: Any) -> int:
        return int(trial.suggest_int(name, self.low, self.high, log=self.log))


class Choice(Parameter):
    """One of some values, of any kind that can be printed. Raises ValueError where there are none,
    or two that look alike."""

    def __init__(self, *values: Any) -> None:
        # The study stores what a value looks like: Optuna keeps no tuples, and (64, 32) is a usual
        # choice.
        self.values = {repr(value): value for value in values}
        if not values or len(self.values) < len(values):
            raise InvalidValueError(
                f"Choice({', '.join(map(repr, values))}): expected at least one value, and each"
                " only once"
            )

    def __repr__(self) -> str:
        return f"Choice({', '.join(self.values)})"

    def suggest(self, name: str, trial: Any) -> Any:
        return self.values[trial.suggest_categorical(name, list(self.values))]

    def value(self, stored: Any) -> Any:
        return self.values[stored]


Space = Mapping[str, Parameter]


def check_space(space: Space) -> None:
    """ValueError or TypeError unless it is a dict of parameters by name, and not empty."""
    if not isinstance(space, Mapping) or not space:
        raise InvalidValueError(
            f"space is {space!r}: expected a dict such as {{'lr': Real(1e-3, 1e-1, log=True)}}"
        )
    for name, parameter in space.items():
        if not isinstance(parameter, Parameter):
            raise InvalidTypeError(
                f"space[{name!r}] is {parameter!r}: expected Real(low, high), Whole(low, high) or"
                " Choice(...)"
            )


def _check_range(parameter: Parameter, low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InvalidValueError(
            f"{parameter!r} goes from {low} to {high}: expected two numbers, the smaller one first"
        )
    if log and low <= 0:
        raise InvalidValueError(
            f"{parameter!r} begins at {low}, which has no logarithm: expected more than 0, or"
            " log=False"
        )
