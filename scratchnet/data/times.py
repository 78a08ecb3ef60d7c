"""The times of a series: ascending, and at even distances, or a window would span another time.

Times are numbers, or ISO dates such as 1920, 1920-05, 1920-05-31 and 1920-05-31T12:00+01:00.
Months and years count as even, though their days do not; so do the same day of each month, and the
ends of months. Other formats cannot be read without guessing, and are not checked.
"""

import re
from calendar import monthrange
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

import numpy as np

from scratchnet.arrays import Array
from scratchnet.errors import InvalidValueError

CLOCK = r"[T ]\d\d(:\d\d(:\d\d([.,]\d+)?)?)?(Z|[-+]\d\d(:?\d\d)?)?"
ISO_TIME = re.compile(rf"\d{{4}}(-\d\d(-\d\d({CLOCK})?)?)?")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
Words: TypeAlias = Callable[[float], str]  # of a distance
MOST_ABSENT = 10  # absent rows are made for each row that there is, at most


class Step(NamedTuple):
    """How far one row is from the next, and where a series jumps."""

    ticks: Array  # (T,) the times as numbers, in the unit of ``size``
    size: float  # the distance of most rows
    words: str  # the same in words
    jumps: Array  # (J,) rows after which the distance is another one
    # (T-1,) rows that are not there between each row and the next; -1: no whole number of rows
    absent: Array
    day: int = 0  # of the month, where ticks are months


def read_times(texts: Sequence[str], where: Sequence[str]) -> Step | str:
    """The times as numbers, and their jumps; a sentence where their order cannot be checked.

    ``where`` says for each time where it is from, for messages. Raises ValueError where times do
    not ascend, are not in the calendar, or only most of them are times.
    """
    kinds = {"an ISO date": ISO_TIME, "a number": NUMBER}
    counts = {kind: sum(map(bool, map(p.fullmatch, texts))) for kind, p in kinds.items()}
    kind = max(counts, key=lambda kind: counts[kind])  # of a year, which is both: an ISO date
    if 2 * counts[kind] <= len(texts):
        return (
            f"order and spacing not checked: times such as {texts[0]} are neither ISO dates nor"
            " numbers"
        )
    if counts[kind] < len(texts):
        bad = next(t for t, text in enumerate(texts) if not kinds[kind].fullmatch(text))
        good = next(text for text in texts if kinds[kind].fullmatch(text))
        raise InvalidValueError(
            f"{where[bad]}: {texts[bad]!r} is not {kind}, as {good!r} is: is it a total, or a"
            " remark?"
        )
    if kind == "a number":
        ticks, rounding, in_words, day = _numbers(texts)
    else:
        ticks, rounding, in_words, day = _dates(texts, where)
    late = np.flatnonzero(np.diff(ticks) <= 0)
    if len(late):
        t = int(late[0])
        raise InvalidValueError(
            f"{where[t + 1]}: {texts[t + 1]} comes after {texts[t]}, but rows must run from old to"
            " new, each time once (time='' takes no column as the time)"
        )
    distances = np.diff(ticks)
    found, often = np.unique(distances, return_counts=True)
    size = float(found[np.argmax(often)]) if len(found) else 1.0
    # two rounded times are nearly a distance apart, which must not hide a gap
    slack = max(1.01 * rounding if size >= 100 * rounding else 0.0, 1e-6 * size)
    steps = np.rint(distances / size)
    whole = np.abs(distances - steps * size) <= slack * np.maximum(steps, 1)
    absent = np.where(whole, steps - 1, -1).astype(np.int64)
    return Step(ticks, size, in_words(size), np.flatnonzero(absent), absent, day)


def _numbers(texts: Sequence[str]) -> tuple[Array, float, Words, int]:
    """Numbers, the place to which they may have been rounded, and their distances in words."""
    decimals = max(len(text.partition(".")[2]) for text in texts)
    rounding = 10.0**-decimals if decimals and "e" not in "".join(texts).lower() else 0.0
    return np.array([float(text) for text in texts]), rounding, lambda size: f"{size:g}", 0


def _dates(texts: Sequence[str], where: Sequence[str]) -> tuple[Array, float, Words, int]:
    """Months where all rows are on one day of the month, or seconds otherwise."""
    times = [_date(text, at) for text, at in zip(texts, where)]
    aware = [time.tzinfo is not None for time in times]
    if any(aware) and not all(aware):
        t = aware.index(not aware[0])
        raise InvalidValueError(
            f"{where[t]}: {texts[t]} and {texts[0]}: one has an offset from UTC and one has none"
        )
    months = [12 * time.year + time.month for time in times]
    day = max(time.day for time in times)
    if min(np.diff(months), default=0) > 0 and _are_monthly(times, day):
        return np.array(months, dtype=np.float64), 0.0, _months_in_words, day
    start = times[0]  # differences of aware times are those in UTC
    seconds = [(time - start).total_seconds() for time in times]
    return np.array(seconds), 0.0, lambda size: str(timedelta(seconds=size)), 0


def _months_in_words(size: float) -> str:
    return f"{size / 12:g} years" if size % 12 == 0 else f"{size:g} months"


def _date(text: str, at: str) -> datetime:
    try:
        # a year or a month begins with its first day
        return datetime.fromisoformat(text if len(text) > 7 else (text + "-01-01")[:10])
    except ValueError as error:
        raise InvalidValueError(f"{at}: {text!r} is not a date: {error}") from None


def _are_monthly(times: Sequence[datetime], day: int) -> bool:
    """Whether all are on this day of their months, the 31st being the last day of shorter ones, at
    the same time of day."""
    clocks = {time.timetz() for time in times}
    return len(clocks) == 1 and all(
        time.day == min(day, monthrange(time.year, time.month)[1]) for time in times
    )


def require_even(step: Step, texts: Sequence[str], where: Sequence[str]) -> None:
    """ValueError, which names the first gap, unless all rows are equally far from each other."""
    if not len(step.jumps):
        return
    t = int(step.jumps[0])
    absent = int(step.absent[t])
    given = (
        f"{where[t + 1]}: {texts[t + 1]} comes after {texts[t]}, but rows are {step.words} apart"
    )
    if absent < 0:
        raise InvalidValueError(
            f"{given}: the times are not evenly spaced. missing='drop' takes the rows as they are"
        )
    total = int(np.maximum(step.absent, 0).sum())
    raise InvalidValueError(
        f"{given}: {absent} rows are absent between them, {total} in all. missing='fill' puts them"
        " in and fills them from the past, missing='drop' takes the rows as they are"
    )


def with_absent_rows(
    step: Step, texts: Sequence[str], where: Sequence[str]
) -> tuple[list[str], Array]:
    """The times with those that are absent, and for each the row that it has in the file, -1 for
    none.

    Raises ValueError where a gap is not a whole number of rows, or there are too many.
    """
    if (step.absent < 0).any():
        require_even(step._replace(jumps=np.flatnonzero(step.absent < 0)), texts, where)
    total, T = int(step.absent.sum()), len(texts)
    if total > MOST_ABSENT * T:
        raise InvalidValueError(
            f"{where[0]}: {total} rows are absent between the {T} that are there, at a distance of"
            f" {step.words}: missing='drop' takes the rows as they are"
        )
    made: list[str] = []
    rows: list[int] = []
    for t, text in enumerate(texts):
        made.append(text)
        rows.append(t)
        for k in range(int(step.absent[t]) if t < T - 1 else 0):
            made.append(_later(step, texts, t, k + 1))
            rows.append(-1)
    return made, np.array(rows)


def _later(step: Step, texts: Sequence[str], t: int, k: int) -> str:
    """The time k steps after row t, written as row t is."""
    text = texts[t]
    if not ISO_TIME.fullmatch(text):
        decimals = len(text.partition(".")[2])
        return f"{step.ticks[t] + k * step.size:.{decimals}f}"
    time = _date(text, "")
    if step.day:
        year, month = divmod(12 * time.year + time.month - 1 + int(k * step.size), 12)
        day = min(step.day, monthrange(year, month + 1)[1])
        time = time.replace(year=year, month=month + 1, day=day)
    else:
        time = time + timedelta(seconds=k * step.size)
    clock = "microseconds" if "." in text else "auto"
    written = time.isoformat(sep=text[10] if len(text) > 10 else "T", timespec=clock)
    return written if time.tzinfo is not None else written[: len(text)]
