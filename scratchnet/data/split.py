"""Splits in time: training rows first, never shuffled."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import require_count
from scratchnet.data.times import ISO_TIME
from scratchnet.errors import InvalidTypeError, InvalidValueError


@checked
def chronological_split(n: int, parts: Sequence[float] = (0.7, 0.15, 0.15)) -> tuple[slice, ...]:
    """Cut n rows into consecutive parts, oldest first; one slice for each part.

    Parameters
    ----------
    n : rows
    parts : fractions that sum to 1 (floats), or numbers of rows that sum to n (ints), for
        (train, validation, test) or (train, test)

    Raises
    ------
    ValueError
        Where parts do not sum up or a part would be empty.
    TypeError
        Where parts mix fractions and numbers of rows.

    Examples
    --------
    >>> chronological_split(10, (0.8, 0.2))
    (slice(0, 8, None), slice(8, 10, None))
    """
    n = require_count("n", n)
    if len(parts) < 2:
        raise InvalidValueError(
            f"parts is {tuple(parts)}: expected at least two, a training part and a test part"
        )
    if all(isinstance(p, (int, np.integer)) for p in parts):
        ends = np.cumsum(parts)
        if ends[-1] != n:
            raise InvalidValueError(
                f"parts {tuple(parts)} sum to {ends[-1]} rows but there are {n}"
            )
    elif all(isinstance(p, (float, np.floating)) for p in parts):
        total = float(np.sum(parts))
        if not abs(total - 1) < 1e-9:
            raise InvalidValueError(f"parts {tuple(parts)} sum to {total:g}: fractions sum to 1")
        ends = np.rint(np.cumsum(parts) * n).astype(int)
    else:
        raise InvalidTypeError(
            f"parts {tuple(parts)} mix whole numbers and fractions: expected all of one kind"
        )
    return _slices([0, *map(int, ends)], f"{n} rows cut into {tuple(parts)}")


@checked
def split_at(times: Iterable[object], *boundaries: str | int) -> tuple[slice, ...]:
    """Cut a series by time: each boundary is the *last* time of its part.

    Parameters
    ----------
    times : (T,), ISO dates as text, ascending: "1920", "1920-05", "1920-05-31", "1920-05-31 12:00"
    boundaries : may be coarser than the times: "1920" takes all of 1920's months; one slice more is
        returned than there are boundaries

    Raises
    ------
    ValueError
        Where times are not ISO dates in order, a boundary is finer than the times, or a part would
        be empty.

    Examples
    --------
    >>> split_at(["1919-12", "1920-06", "1920-12", "1921-06"], 1920)  # trains up to and with 1920
    (slice(0, 3, None), slice(3, 4, None))
    """
    texts = [str(t) for t in times]
    if not boundaries:
        raise InvalidValueError(
            "split_at needs at least one boundary: the last time of the training part"
        )
    if not texts:
        raise InvalidValueError("times is empty: there is nothing to split")
    for t in texts:
        if not ISO_TIME.fullmatch(t) or len(t) != len(texts[0]):
            raise InvalidValueError(
                f"times has {texts[0]!r} and {t!r}: expected ISO dates of one length, such as 1920"
                " or 1920-05-31"
            )
    if any(after <= before for before, after in pairwise(texts)):
        raise InvalidValueError("times do not ascend: sort the rows from old to new first")
    ends = [0]
    for b in map(str, boundaries):
        if not ISO_TIME.fullmatch(b):
            raise InvalidValueError(
                f"the boundary {b!r} is not an ISO date, such as 1920 or 1920-05-31"
            )
        if len(b) > len(texts[0]):
            raise InvalidValueError(
                f"the boundary {b!r} is finer than the times, such as {texts[0]!r}"
            )
        ends.append(sum(t[: len(b)] <= b for t in texts))
    cut = f"times {texts[0]} to {texts[-1]} cut at {', '.join(map(str, boundaries))}"
    return _slices([*ends, len(texts)], cut)


def _slices(ends: list[int], what: str) -> tuple[slice, ...]:
    for i, (start, stop) in enumerate(pairwise(ends)):
        if stop <= start:
            raise InvalidValueError(f"{what}: part {i + 1} of {len(ends) - 1} would be empty")
    return tuple(slice(start, stop) for start, stop in pairwise(ends))
