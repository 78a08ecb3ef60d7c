"""What a search found: the best parameters, and every trial as a row."""

import csv
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from scratchnet.errors import InvalidValueError
from scratchnet.search.space import Space


@dataclass(frozen=True)
class Result:
    """``trials``: a row for each, in their order: number, state, value, steps, seconds, process,
    and the parameters.

    States are "complete", "pruned" (ended early, or diverged), "failed" (an exception), "running"
    (or cut off in the middle). The value of a pruned trial is the last one that it reported.
    """

    trials: list[dict[str, Any]]
    names: tuple[str, ...]  # of the parameters
    direction: str  # "minimize" or "maximize"

    @classmethod
    def of(cls, study: Any, space: Space) -> Self:
        """From an Optuna study."""
        states = {"complete": "complete", "pruned": "pruned", "fail": "failed"}
        rows = []
        for trial in study.get_trials(deepcopy=False):
            took = None if trial.duration is None else trial.duration.total_seconds()
            row = {
                "number": trial.number,
                "state": states.get(trial.state.name.lower(), "running"),
                "value": trial.value,
                "steps": len(trial.intermediate_values),
                "seconds": took,
                "process": trial.user_attrs.get("process"),
            }
            rows.append(row | {name: space[name].value(v) for name, v in trial.params.items()})
        return cls(rows, tuple(space), study.direction.name.lower())

    @property
    def counts(self) -> dict[str, int]:
        """State -> how many trials."""
        return dict(Counter(row["state"] for row in self.trials))

    @property
    def ranked(self) -> list[dict[str, Any]]:
        """The completed trials, best first."""
        sign = 1 if self.direction == "minimize" else -1
        done = [row for row in self.trials if row["state"] == "complete"]
        return sorted(done, key=lambda row: sign * row["value"])

    @property
    def best(self) -> dict[str, Any]:
        """The parameters of the best trial.  Raises ValueError where none was completed."""
        return {name: self._first[name] for name in self.names}

    @property
    def best_value(self) -> float:
        """Its value.  Raises ValueError where none was completed."""
        return float(self._first["value"])

    @property
    def _first(self) -> dict[str, Any]:
        if not self.ranked:
            raise InvalidValueError(f"no trial was completed: {self.counts or 'there are none'}")
        return self.ranked[0]

    @property
    def best_so_far(self) -> list[float]:
        """The best value after each finished trial; NaN until one was completed."""
        better = min if self.direction == "minimize" else max
        curve: list[float] = []
        for row in self.trials:
            if row["state"] in ("complete", "pruned", "failed"):
                before = curve[-1] if curve else math.nan
                if row["state"] == "complete":
                    before = row["value"] if math.isnan(before) else better(before, row["value"])
                curve.append(before)
        return curve

    def table(self, rows: int = 10) -> str:
        """The best trials, a line each, and how many there were of each state."""
        shown = [["trial", "value", *self.names]]
        for row in self.ranked[:rows]:
            shown.append(
                [str(row["number"]), *(_short(row[name]) for name in ("value", *self.names))]
            )
        widths = [max(len(line[k]) for line in shown) for k in range(len(shown[0]))]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in shown
        ]
        return "\n".join([*lines, ", ".join(f"{n} {state}" for state, n in self.counts.items())])

    def to_csv(self, path: str | Path) -> None:
        """Write all trials, a line each with a header, to ``path``."""
        columns = ["number", "state", "value", "steps", "seconds", "process", *self.names]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.trials)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
