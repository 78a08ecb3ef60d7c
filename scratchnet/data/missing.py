"""Missing values: NaN in a series, filled from the past alone, and never a target.

A value between two neighbours says something about the later one. So a gap is filled with the last
value before it, which was known at that time, and what was filled is not what was measured: no
forecast is trained on it, and none is scored by it.
"""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.errors import InvalidValueError


def fill_from_past(values: Array) -> Array:
    """values (T, D) with each NaN replaced by the last value before it in its column.

    The row t of the result depends on the rows up to t alone. An array without NaN is returned as
    it is. Raises ValueError where a column begins with NaN: nothing before it can fill it.

    >>> fill_from_past(np.array([[1.0], [np.nan], [np.nan], [4.0]])).ravel().tolist()
    [1.0, 1.0, 1.0, 4.0]
    """
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    if gaps[0].any():
        column = int(np.argmax(gaps[0]))
        raise InvalidValueError(
            f"column {column} has no value in row 0, and nothing before it to fill it from: leave"
            f" out the first {first_measured(values)} rows"
        )
    rows = np.arange(len(values), like=gaps)[:, None]
    last: Array = np.maximum.accumulate(np.where(gaps, 0, rows), axis=0)
    return np.take_along_axis(values, last, axis=0)


def first_measured(values: Array) -> int:
    """The first row up to which every column of values (T, D) has had a value; T where one never
    has."""
    seen = np.logical_or.accumulate(~np.isnan(values), axis=0).all(axis=1)
    return int(np.argmax(seen)) if seen.any() else len(values)
