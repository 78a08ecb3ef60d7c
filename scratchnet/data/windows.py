"""Windows: the rows before a time as input, the rows from it on as target."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_count, require_floating, require_shape, to_host
from scratchnet.errors import InvalidTypeError, InvalidValueError


class Windows(NamedTuple):
    """Inputs, their targets, and the row of each window's first target.

    ``x.swapaxes(0, 1)`` is the (T, N, D) that cells and layers take; ``y.reshape(n, horizon, K)``
    has step and column apart; ``series.times[at]`` is when the first target was measured.
    """

    x: Array  # (n, width, D)     rows at - width ... at - 1
    y: Array  # (n, horizon * K)  rows at ... at + horizon - 1
    at: Array  # (n,)             NumPy integers


@checked
def sliding_windows(
    values: Array,
    width: int,
    horizon: int = 1,
    targets: Sequence[int] | None = None,
    stride: int = 1,
    part: slice | None = None,
    filled: Array | None = None,
) -> Windows:
    """Cut a series into every window of ``width`` input rows and the ``horizon`` rows after them.

        row        0  1  2  3  4  5  6          width 3, horizon 2
        window 0  [x  x  x] y  y                at 3
        window 1     [x  x  x] y  y             at 4
        window 2        [x  x  x] y  y          at 5

    Parameters
    ----------
    values : (T, D), of a floating type and finite; x and y are copies of that type
    width, horizon : input rows and target rows of a window
    targets : the K columns to be predicted, by index; None for all D
    stride : rows from one window to the next
    part : keep the windows *all of whose targets* are in these rows; their inputs may reach back
        before it. So a one-step forecast is tested honestly: the first test year is predicted from
        the last training years, which were known by then. ``sliding_windows(values[part], ...)``
        would start with no past and lose the part's first ``width`` rows as targets
    filled : (T, D) True where a value was not measured, as ``Series.filled``; windows of which a
        target was filled are left out

    Raises
    ------
    ValueError
        Where no window fits, with both numbers; where values is not (T, D) and finite.
    TypeError
        Where values is not of a floating type.

    Examples
    --------
    >>> x, y, at = sliding_windows(np.arange(5.0)[:, None], width=3)
    >>> x[:, :, 0].tolist(), y.tolist(), at.tolist()
    ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [[3.0], [4.0]], [3, 4])
    """
    require_series("values", values)
    T, D = values.shape
    width, horizon = require_count("width", width), require_count("horizon", horizon)
    stride = require_count("stride", stride)
    if width + horizon > T:
        raise InvalidValueError(
            f"values has {T} rows but a window needs width {width} + horizon {horizon} ="
            f" {width + horizon}"
        )
    start, stop = (0, T) if part is None else _rows_of(part, T)
    at = np.arange(max(start, width), stop - horizon + 1, stride)
    if not len(at):
        raise InvalidValueError(
            f"no window has all its targets in rows {start} to {stop - 1}: the first row with"
            f" {width} rows before it is row {width}, and horizon {horizon} needs {horizon} target"
            " rows"
        )
    chosen = target_columns(targets, D)
    # Row r of window i is at[i] - width + r: no input row is row at[i] or later.
    inputs = np.asarray(at[:, None] + np.arange(-width, 0), like=values)
    outputs = np.asarray(at[:, None] + np.arange(horizon), like=values)
    y = values[outputs][:, :, chosen].reshape(len(at), horizon * len(chosen))
    if filled is None:
        return Windows(values[inputs], y, at)
    require_shape("filled", filled, (T, D), f"values is {(T, D)}")
    measured = ~to_host(filled).astype(bool)[at[:, None] + np.arange(horizon)][:, :, chosen]
    kept = measured.all(axis=(1, 2))
    if not kept.any():
        raise InvalidValueError(f"each of the {len(at)} windows has a target that was filled")
    return Windows(values[inputs[kept]], y[kept], at[kept])


def require_series(name: str, values: Array, *, missing: bool = False) -> None:
    """ValueError or TypeError unless values is (T, D), of a floating type and finite; ``missing``:
    or NaN."""
    require_floating(name, values)
    if values.ndim != 2:
        hint = f": {name}[:, None] has one column" if values.ndim == 1 else ""
        raise InvalidValueError(
            f"{name} is {tuple(values.shape)}: expected (T, D), a row for each time{hint}"
        )
    if 0 in values.shape:
        raise InvalidValueError(
            f"{name} is {tuple(values.shape)}: it needs at least one row and one column"
        )
    allowed = ~np.isinf(values) if missing else np.isfinite(values)
    if not allowed.all():
        row, column = divmod(int(np.argmin(allowed)), values.shape[1])
        raise InvalidValueError(
            f"{name} has a {float(values[row, column])} in row {row}, column {column}: expected"
            " finite numbers" + ", or NaN where one is missing" * missing
        )


def _rows_of(part: slice, T: int) -> tuple[int, int]:
    """First row and end of a slice inside T rows; slicing itself would silently cut one outside."""
    if part.step not in (None, 1):
        raise InvalidValueError(f"part is {part}: expected consecutive rows, no step")
    if max(part.start or 0, part.stop or 0) > T:
        raise InvalidValueError(
            f"part is {part} but values has {T} rows: was it cut for another series?"
        )
    start, stop, _ = part.indices(T)
    return start, stop


def target_columns(targets: Sequence[int] | None, D: int) -> list[int]:
    """The target columns of D, by index; None for all. ValueError unless each is one of them,
    once."""
    if targets is None:
        return list(range(D))
    if isinstance(targets, (int, np.integer)):
        raise InvalidTypeError(
            f"targets is {targets}: expected a list of column indices, [{targets}]"
        )
    chosen = [require_count("targets", column, least=0) for column in targets]
    if not chosen or max(chosen) >= D or len(set(chosen)) < len(chosen):
        raise InvalidValueError(
            f"targets is {chosen} but values has {D} columns: expected some of 0 to {D - 1}, each"
            " once"
        )
    return chosen
