"""Late work: when it was due, and what each day costs. A policy is a file:

    deadline = 2026-11-20T23:59:00+01:00   # without +01:00: this machine's time
    grace_minutes = 15
    per_day = 0.1                          # the share of the points that each begun day takes
    days = 3                               # what comes later has no points

    [extensions]
    ada = 2026-11-25T23:59:00+01:00

    [handed_in]                            # where the platform's export does not say it
    bob = 2026-11-21T08:30:00+01:00

Times come from Gradescope's and nbgrader's exports and from the file, never from a file's date,
which copying changes. Canvas says of a file only that it is late.
"""

import math
import tomllib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from scratchnet.errors import InvalidValueError, MissingFileError

KEYS = ("deadline", "grace_minutes", "per_day", "days", "extensions", "handed_in")


class Policy(NamedTuple):
    """When work is due, and what being late costs."""

    deadline: datetime
    grace: timedelta = timedelta()
    per_day: float = 0.0
    days: float = math.inf
    extensions: dict[str, datetime] = {}  # noqa: RUF012 - a NamedTuple's default, never changed
    handed_in: dict[str, datetime] = {}  # noqa: RUF012

    def taken(self, student: str, when: datetime | None, late: bool) -> tuple[float, str]:
        """Return the share of the points that is taken off, and why, for the student."""
        when = self.handed_in.get(student, when)
        if when is None:
            if not late:
                return 0.0, ""
            days, how = 1, "late, and the platform does not say how much: one day is counted"
        else:
            due = self.extensions.get(student, self.deadline)
            over = when - due - self.grace
            if over <= timedelta():
                return 0.0, ""
            days = math.ceil(over / timedelta(days=1))
            how = f"handed in {_long(when - due)} late"
        if days > self.days:
            return 1.0, f"{how}: after {self.days:g} days there are no points"
        share = min(1.0, self.per_day * days)
        return share, f"{how}: {share:.0%} of the points"


def _long(span: timedelta) -> str:
    """A time span as people say it."""
    hours, minutes = divmod(math.ceil(span.total_seconds() / 60), 60)
    if hours >= 48:
        return f"{hours // 24} days and {hours % 24} hours"
    return f"{hours} hours and {minutes} minutes" if hours else f"{minutes} minutes"


def read(path: Path) -> Policy:
    """Return the policy in a file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not TOML, has no deadline, or something that is no policy's.
    """
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise MissingFileError(f"{path} does not exist: expected a late policy") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidValueError(f"{path} is not TOML: {error}") from None
    if unknown := rows.keys() - set(KEYS):
        raise InvalidValueError(
            f"{path} has {', '.join(sorted(unknown))}: a late policy has {', '.join(KEYS)}"
        )
    if "deadline" not in rows:
        raise InvalidValueError(f"{path} has no deadline: expected deadline = 2026-11-20T23:59:00")
    return Policy(
        _time(path, "deadline", rows["deadline"]),
        timedelta(minutes=_number(path, rows, "grace_minutes", 0.0, math.inf)),
        _number(path, rows, "per_day", 0.0, 1.0),
        _number(path, rows, "days", math.inf, math.inf),
        _times(path, rows, "extensions"),
        _times(path, rows, "handed_in"),
    )


def _number(path: Path, rows: dict[str, Any], key: str, usual: float, most: float) -> float:
    value = rows.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise InvalidValueError(
            f"{key} in {path} is {value!r}: expected a number from 0 to {most:g}"
        )
    return float(value)


def _times(path: Path, rows: dict[str, Any], key: str) -> dict[str, datetime]:
    table = rows.get(key, {})
    if not isinstance(table, dict):
        raise InvalidValueError(f"{key} in {path} is {table!r}: expected student = time")
    return {student: _time(path, f"{key}.{student}", value) for student, value in table.items()}


def _time(path: Path, key: str, value: Any) -> datetime:
    """A time with its zone, which is this machine's where none is said."""
    if isinstance(value, datetime):
        return value.astimezone()
    raise InvalidValueError(
        f"{key} in {path} is {value!r}: expected a time such as 2026-11-20T23:59:00+01:00"
    )
