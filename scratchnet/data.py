"""Series, and how an honest experiment cuts them up: read a CSV, split by time, scale by the training part, cut windows.

Three rules run through this file.  A series is never shuffled before it is split, or the test set would lie between training
rows.  A scaler learns from the training rows alone.  A window's targets come after its last input row, always.

    series = load_csv("mine.csv", columns=["flow"])
    train, test = split_at(series.times, "1920")                  # slices: up to and including 1920, and the rest
    scaler = Standardizer().fit(series.values[train])
    z = scaler.transform(series.values)
    x, y, at = windows(z, width=9, part=test)                     # targets in the test rows, inputs may reach back
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np

from scratchnet.arrays import Array, require_floating, require_rng
from scratchnet.series import ISO_TIME, Series, load_csv

__all__ = [
    "MinMaxScaler", "Scaler", "Series", "Standardizer", "Windows", "chronological_split", "load_csv", "minibatches",
    "require_series", "split_at", "windows",
]  # fmt: skip

# ---- splitting -----------------------------------------------------------------------------------------------------------


def chronological_split(n: int, parts: Sequence[float] = (0.7, 0.15, 0.15)) -> tuple[slice, ...]:
    """Cut n rows into consecutive parts, oldest first: (train, validation, test), or (train, test).  Never shuffled.

    ``parts``: fractions that sum to 1 (floats), or numbers of rows that sum to n (ints).
    Raises ValueError where they do not sum up or a part would be empty, TypeError where the two kinds are mixed.
    """
    n = _count("n", n)
    if len(parts) < 2:
        raise ValueError(f"parts is {tuple(parts)}: expected at least two, a training part and a test part")
    if all(isinstance(p, (int, np.integer)) for p in parts):
        ends = np.cumsum(parts)
        if ends[-1] != n:
            raise ValueError(f"parts {tuple(parts)} sum to {ends[-1]} rows but there are {n}")
    elif all(isinstance(p, (float, np.floating)) for p in parts):
        total = float(np.sum(parts))
        if not abs(total - 1) < 1e-9:
            raise ValueError(f"parts {tuple(parts)} sum to {total:g}: fractions sum to 1")
        ends = np.rint(np.cumsum(parts) * n).astype(int)
    else:
        raise TypeError(f"parts {tuple(parts)} mix whole numbers and fractions: expected all of one kind")
    return _slices([0, *map(int, ends)], f"{n} rows cut into {tuple(parts)}")


def split_at(times: Any, *boundaries: str | int) -> tuple[slice, ...]:
    """Cut a series by time: each boundary is the *last* time of its part, so split_at(times, 1920) trains up to and with 1920.

    times (T,) ISO dates as text, ascending: "1920", "1920-05", "1920-05-31" or "1920-05-31 12:00".  A boundary may be coarser:
    the boundary "1920" takes all of 1920's months.  One slice more comes back than there are boundaries.
    Raises ValueError where times are not ISO dates in order, a boundary is finer than the times, or a part would be empty.
    """
    texts = [str(t) for t in times]
    if not boundaries:
        raise ValueError("split_at needs at least one boundary: the last time of the training part")
    if not texts:
        raise ValueError("times is empty: there is nothing to split")
    for t in texts:
        if not ISO_TIME.fullmatch(t) or len(t) != len(texts[0]):
            raise ValueError(f"times has {texts[0]!r} and {t!r}: expected ISO dates of one length, such as 1920 or 1920-05-31")
    if any(after <= before for before, after in pairwise(texts)):
        raise ValueError("times do not ascend: sort the rows from old to new first")
    ends = [0]
    for b in map(str, boundaries):
        if not ISO_TIME.fullmatch(b):
            raise ValueError(f"the boundary {b!r} is not an ISO date, such as 1920 or 1920-05-31")
        if len(b) > len(texts[0]):
            raise ValueError(f"the boundary {b!r} is finer than the times, such as {texts[0]!r}")
        ends.append(sum(t[: len(b)] <= b for t in texts))
    cut = f"times {texts[0]} to {texts[-1]} cut at {', '.join(map(str, boundaries))}"
    return _slices([*ends, len(texts)], cut)


def _slices(ends: list[int], what: str) -> tuple[slice, ...]:
    for i, (start, stop) in enumerate(pairwise(ends)):
        if stop <= start:
            raise ValueError(f"{what}: part {i + 1} of {len(ends) - 1} would be empty")
    return tuple(slice(start, stop) for start, stop in pairwise(ends))


# ---- windows -------------------------------------------------------------------------------------------------------------


class Windows(NamedTuple):
    """Inputs, their targets, and the row at which each window's first target stands."""

    x: Array  # (n, width, D)     rows at - width ... at - 1;  x.swapaxes(0, 1) is the (T, N, D) that cells and layers take
    y: Array  # (n, horizon * K)  rows at ... at + horizon - 1;  y.reshape(n, horizon, K) has step and column apart
    at: Any  # (n,)               NumPy integers; series.times[at] is when the (first) target was measured


def windows(
    values: Array,
    width: int,
    horizon: int = 1,
    targets: Sequence[int] | None = None,
    stride: int = 1,
    part: slice | None = None,
) -> Windows:
    """Cut values (T, D) into every window of ``width`` input rows and the ``horizon`` target rows right after them.

        row        0  1  2  3  4  5  6          width 3, horizon 2
        window 0  [x  x  x] y  y                at 3
        window 1     [x  x  x] y  y             at 4
        window 2        [x  x  x] y  y          at 5

    ``targets``: the K columns to be predicted, by index; None for all D.
    ``stride``: rows from one window to the next.
    ``part``: keep the windows *all of whose targets* lie in these rows; their inputs may reach back before it.  This is how a
    one-step forecast is tested honestly: the first test year is predicted from the last training years, which were known
    by then.  ``windows(values[part], ...)`` would start with no past and lose the part's first ``width`` rows as targets.

    x and y are copies, of values' type.  Raises ValueError, with both numbers, where no window fits, and where values is not
    (T, D) or holds a NaN or an infinity; TypeError where it is not of a floating type.
    """
    require_series("values", values)
    T, D = values.shape
    width, horizon, stride = (_count(n, v) for n, v in (("width", width), ("horizon", horizon), ("stride", stride)))
    if width + horizon > T:
        raise ValueError(f"values has {T} rows but a window needs width {width} + horizon {horizon} = {width + horizon}")
    start, stop = (0, T) if part is None else _rows_of(part, T)
    at = np.arange(max(start, width), stop - horizon + 1, stride)
    if not len(at):
        raise ValueError(
            f"no window has all its targets in rows {start} to {stop - 1}: the first row with {width} rows before it is row "
            f"{width}, and horizon {horizon} needs {horizon} target rows"
        )
    chosen = _target_columns(targets, D)
    # All indices at once: row r of window i is at[i] - width + r.  Nothing from row at[i] on is among them.
    inputs = np.asarray(at[:, None] + np.arange(-width, 0), like=values)
    outputs = np.asarray(at[:, None] + np.arange(horizon), like=values)
    return Windows(values[inputs], values[outputs][:, :, chosen].reshape(len(at), horizon * len(chosen)), at)


def require_series(name: str, values: Array) -> None:
    """ValueError or TypeError unless values is (T, D), of a floating type and finite."""
    require_floating(name, values)
    if values.ndim != 2:
        hint = f": {name}[:, None] has one column" if values.ndim == 1 else ""
        raise ValueError(f"{name} is {tuple(values.shape)}: expected (T, D), a row for each time{hint}")
    if 0 in values.shape:
        raise ValueError(f"{name} is {tuple(values.shape)}: it needs at least one row and one column")
    finite = np.isfinite(values)
    if not finite.all():
        row, column = divmod(int(np.argmin(finite)), values.shape[1])
        raise ValueError(f"{name} has a {float(values[row, column])} in row {row}, column {column}: expected finite numbers")


def _count(name: str, value: int, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}: expected a whole number")
    if value < least:
        raise ValueError(f"{name} is {value}: expected at least {least}")
    return int(value)


def _rows_of(part: slice, T: int) -> tuple[int, int]:
    """First row and end of a slice that lies inside T rows; slicing itself would clip one that does not without a word."""
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
        raise ValueError(f"targets is {chosen} but values has {D} columns: expected some of 0 to {D - 1}, each once")
    return chosen


# ---- scaling -------------------------------------------------------------------------------------------------------------


class Scaler:
    """z = (x - offset) / scale with one offset and one scale a column, both learned from the *training* rows alone.

    ``offset``, ``scale`` (D,) float64 once ``fit`` has run, whatever the type of the data: long sums need the digits.
    Predictions of some columns go back through a scaler fitted to those alone: ``Standardizer().fit(values[train][:, [2]])``.
    """

    offset: Array | None = None
    scale: Array | None = None

    def fit(self, values: Array, columns: Sequence[str] | None = None) -> Self:
        """Learn from values (T, D), the training part; ``columns``, D names, are for messages.  Returns itself.

        Raises ValueError where a column is constant (nothing to divide by) or values is not (T, D) and finite.
        """
        require_series("values", values)
        D = values.shape[1]
        if columns is not None and len(columns) != D:
            raise ValueError(f"columns has {len(columns)} names but values has {D} columns")
        low, high = values.min(axis=0), values.max(axis=0)
        offset, scale = self._learn(values.astype(np.float64), low.astype(np.float64), high.astype(np.float64))
        for j in range(D):
            name = f"column {j}" if columns is None else f"column {j} ({columns[j]})"
            if low[j] == high[j]:
                raise ValueError(f"{name} is {float(low[j])} in all {len(values)} rows, no spread to scale by: leave it out")
            if not 0 < float(scale[j]) < np.inf:
                spread = f"from {float(low[j])} to {float(high[j])}"
                raise ValueError(f"{name} runs {spread}, a spread that float64 cannot scale by")
        self.offset, self.scale = offset, scale
        return self

    def _learn(self, values: Array, low: Array, high: Array) -> tuple[Array, Array]:
        """values (T, D) and its extremes (D,), all float64, to offset and scale (D,)."""
        raise NotImplementedError

    def transform(self, x: Array) -> Array:
        """x (..., D) in its own unit to z (..., D), of x's type.  Raises RuntimeError before ``fit``."""
        offset, scale = self._learned("x", x)
        return (x - offset) / scale

    def inverse_transform(self, z: Array) -> Array:
        """z (..., D) back to x (..., D) in its own unit, of z's type.  Raises RuntimeError before ``fit``."""
        offset, scale = self._learned("z", z)
        return z * scale + offset

    def _learned(self, name: str, x: Array) -> tuple[Array, Array]:
        """offset and scale in x's type and beside x."""
        if self.offset is None or self.scale is None:
            raise RuntimeError(f"this {type(self).__name__} has not been fitted: call fit(values[train]) first")
        require_floating(name, x)
        D = len(self.offset)
        if not x.ndim or x.shape[-1] != D:
            raise ValueError(f"{name} is {tuple(x.shape)} but the scaler was fitted to {D} columns: expected (..., {D})")
        return np.asarray(self.offset, dtype=x.dtype, like=x), np.asarray(self.scale, dtype=x.dtype, like=x)


class Standardizer(Scaler):
    """Each column to mean 0 and standard deviation 1 (over T, not T - 1) on the training rows."""

    def _learn(self, values: Array, low: Array, high: Array) -> tuple[Array, Array]:
        # A deviation that overflows is told by fit in a sentence.
        with np.errstate(over="ignore", invalid="ignore"):
            return values.mean(axis=0), values.std(axis=0)


class MinMaxScaler(Scaler):
    """Each column to ``feature_range``, (0, 1) unless given, on the training rows; later rows may well lie outside it."""

    def __init__(self, feature_range: tuple[float, float] = (0.0, 1.0)) -> None:
        """Raises ValueError unless the range ascends."""
        if not -np.inf < feature_range[0] < feature_range[1] < np.inf:
            raise ValueError(f"feature_range is {feature_range}: expected a lower and a higher finite number")
        self.feature_range = feature_range

    def _learn(self, values: Array, low: Array, high: Array) -> tuple[Array, Array]:
        bottom, top = self.feature_range
        with np.errstate(over="ignore", invalid="ignore"):
            scale = (high - low) / (top - bottom)
            return low - bottom * scale, scale  # so that low goes to bottom and high to top


# ---- minibatches ---------------------------------------------------------------------------------------------------------


def minibatches(n: int, batch_size: int, rng: np.random.Generator | None = None) -> Iterator[Any]:
    """Index arrays (batch_size,) that go once through n samples, the last one shorter where n is no multiple.

    Shuffled by ``rng`` where one is given, else in order.  Shuffling *windows* is harmless: each keeps its own inner order,
    and which of them train was settled before.
    Raises ValueError or TypeError at the call, not at the first batch.
    """
    n, batch_size = _count("n", n), _count("batch_size", batch_size)
    if rng is not None:
        require_rng(rng)
    order = np.arange(n) if rng is None else rng.permutation(n)
    return (order[start : start + batch_size] for start in range(0, n, batch_size))


def buckets(lengths: Any, batch_size: int, rng: np.random.Generator | None = None, pool: int = 20) -> Iterator[Any]:
    """As ``minibatches`` over sequences of these lengths (n,), but each batch holds sequences of similar length.

    A batch takes as many steps as its longest sequence has, so mixing short and long ones computes mostly padding.  Sequences
    are shuffled, sorted by length within pools of ``pool`` batches, cut into batches, and the batches shuffled: with a small
    pool there is more chance in who meets whom, with a large one less padding.
    Raises ValueError or TypeError at the call.
    """
    ends = np.asarray(lengths)
    if ends.ndim != 1 or not np.issubdtype(ends.dtype, np.integer):
        raise TypeError(f"lengths are {ends.dtype} of shape {ends.shape}: expected whole numbers, one for each sequence")
    batch_size, pool = _count("batch_size", batch_size), _count("pool", pool)
    order = np.concatenate(list(minibatches(_count("n", len(ends)), len(ends), rng)))
    chosen = []
    for start in range(0, len(order), batch_size * pool):
        part = order[start : start + batch_size * pool]
        part = part[np.argsort(ends[part], kind="stable")]
        chosen += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return iter(chosen if rng is None else [chosen[i] for i in rng.permutation(len(chosen))])
