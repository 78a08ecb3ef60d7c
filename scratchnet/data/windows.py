"""Windows: the rows before a time as input, the rows from it on as target."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, require_floating


class Windows(NamedTuple):
    """Inputs, their targets, and the row at which each window's first target stands."""

    # (n, width, D)     rows at - width ... at - 1;  x.swapaxes(0, 1) is the (T, N, D) that cells and layers take
    x: Array
    # (n, horizon * K)  rows at ... at + horizon - 1;  y.reshape(n, horizon, K) has step and column apart
    y: Array
    # (n,)               NumPy integers; series.times[at] is when the (first) target was measured
    at: Any


def windows(
    values: Array,
    width: int,
    horizon: int = 1,
    targets: Sequence[int] | None = None,
    stride: int = 1,
    part: slice | None = None,
) -> Windows:
    """Cut values (T, D) into every window of ``width`` input rows and the ``horizon`` target rows
    right after them.

        row        0  1  2  3  4  5  6          width 3, horizon 2
        window 0  [x  x  x] y  y                at 3
        window 1     [x  x  x] y  y             at 4
        window 2        [x  x  x] y  y          at 5

    ``targets``: the K columns to be predicted, by index; None for all D. ``stride``: rows from one
    window to the next. ``part``: keep the windows *all of whose targets* lie in these rows; their
    inputs may reach back before it. This is how a one-step forecast is tested honestly: the first
    test year is predicted from the last training years, which were known by then.
    ``windows(values[part], ...)`` would start with no past and lose the part's first ``width`` rows
    as targets.

    x and y are copies, of values' type. Raises ValueError, with both numbers, where no window fits,
    and where values is not (T, D) or holds a NaN or an infinity; TypeError where it is not of a
    floating type.
    """
    require_series("values", values)
    T, D = values.shape
    width, horizon, stride = (
        _count(n, v) for n, v in (("width", width), ("horizon", horizon), ("stride", stride))
    )
    if width + horizon > T:
        raise ValueError(
            f"values has {T} rows but a window needs width {width} + horizon {horizon} ="
            f" {width + horizon}"
        )
    start, stop = (0, T) if part is None else _rows_of(part, T)
    at = np.arange(max(start, width), stop - horizon + 1, stride)
    if not len(at):
        raise ValueError(
            f"no window has all its targets in rows {start} to {stop - 1}: the first row with"
            f" {width} rows before it is row {width}, and horizon {horizon} needs {horizon} target"
            " rows"
        )
    chosen = _target_columns(targets, D)
    # All indices at once: row r of window i is at[i] - width + r. Nothing from row at[i] on is
    # among them.
    inputs = np.asarray(at[:, None] + np.arange(-width, 0), like=values)
    outputs = np.asarray(at[:, None] + np.arange(horizon), like=values)
    return Windows(
        values[inputs], values[outputs][:, :, chosen].reshape(len(at), horizon * len(chosen)), at
    )


def require_series(name: str, values: Array) -> None:
    """ValueError or TypeError unless values is (T, D), of a floating type and finite."""
    require_floating(name, values)
    if values.ndim != 2:
        hint = f": {name}[:, None] has one column" if values.ndim == 1 else ""
        raise ValueError(
            f"{name} is {tuple(values.shape)}: expected (T, D), a row for each time{hint}"
        )
    if 0 in values.shape:
        raise ValueError(
            f"{name} is {tuple(values.shape)}: it needs at least one row and one column"
        )
    finite = np.isfinite(values)
    if not finite.all():
        row, column = divmod(int(np.argmin(finite)), values.shape[1])
        raise ValueError(
            f"{name} has a {float(values[row, column])} in row {row}, column {column}: expected"
            " finite numbers"
        )


def _count(name: str, value: int, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}: expected a whole number")
    if value < least:
        raise ValueError(f"{name} is {value}: expected at least {least}")
    return int(value)


def _rows_of(part: slice, T: int) -> tuple[int, int]:
    """First row and end of a slice that lies inside T rows; slicing itself would clip one that does
    not without a word."""
    if part.step not in (None, 1):
        raise ValueError(f"part is {part}: expected consecutive rows, no step")
    if max(part.start or 0, part.stop or 0) > T:
        raise ValueError(f"part is {part} but values has {T} rows: was it cut for another series?")
    start, stop, _ = part.indices(T)
    return start, stop


def _target_columns(targets: Sequence[int] | None, D: int) -> list[int]:
    if targets is None:
        return list(range(D))
    if isinstance(targets, (int, np.integer)):
        raise TypeError(f"targets is {targets}: expected a list of column indices, [{targets}]")
    chosen = [_count("targets", column, least=0) for column in targets]
    if not chosen or max(chosen) >= D or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"targets is {chosen} but values has {D} columns: expected some of 0 to {D - 1}, each"
            " once"
        )
    return chosen
