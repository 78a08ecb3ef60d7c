"""Scalers, which learn from the training rows alone."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_floating
from scratchnet.data.windows import require_series
from scratchnet.errors import InvalidValueError, UnavailableError


class Scaler:
    """z = (x - offset) / scale, with one offset and one scale a column, from the *training* rows.

    ``offset`` and ``scale`` (D,) are float64 after ``fit``, whatever the type of the data: long
    sums need the digits. To undo the scaling of predictions of some columns, fit a scaler to those
    alone: ``Standardizer().fit(values[train][:, [2]])``.
    """

    offset: Array
    scale: Array

    def fit(self, values: Array, columns: Sequence[str] | None = None) -> Self:
        """Learn offset and scale; return the scaler itself.

        Parameters
        ----------
        values : (T, D), the training rows; NaN where a value is missing, which counts for nothing
        columns : D names, for messages

        Raises
        ------
        ValueError
            Where a column is constant (nothing to divide by) or has no value, or values is not
            (T, D) and finite.
        """
        require_series("values", values, missing=True)
        D = values.shape[1]
        if columns is not None and len(columns) != D:
            raise InvalidValueError(f"columns has {len(columns)} names but values has {D} columns")
        wide = values.astype(np.float64)
        gaps = np.isnan(wide)
        if gaps.all(axis=0).any():
            raise InvalidValueError(f"column {int(np.argmax(gaps.all(axis=0)))} has no value")
        low, high = np.nanmin(wide, axis=0), np.nanmax(wide, axis=0)
        if not gaps.any():
            offset, scale = self._learn(wide, low, high)
        else:  # column by column, each from the rows that have a value
            offset, scale = np.empty_like(low), np.empty_like(low)
            for j in range(D):
                own = wide[~gaps[:, j], j : j + 1]
                learned = self._learn(own, low[j : j + 1], high[j : j + 1])
                offset[j], scale[j] = learned[0][0], learned[1][0]
        for j in range(D):
            name = f"column {j}" if columns is None else f"column {j} ({columns[j]})"
            if low[j] == high[j]:
                raise InvalidValueError(
                    f"{name} is {float(low[j])} in all {len(values)} rows, no spread to scale by:"
                    " leave it out"
                )
            if not 0 < float(scale[j]) < np.inf:
                spread = f"from {float(low[j])} to {float(high[j])}"
                raise InvalidValueError(
                    f"{name} runs {spread}, a spread that float64 cannot scale by"
                )
        self.offset, self.scale = offset, scale
        return self

    def _learn(self, values: Array, low: Array, high: Array) -> tuple[Array, Array]:
        """values (T, D) and its extremes (D,), all float64, to offset and scale (D,)."""
        raise NotImplementedError

    def transform(self, x: Array) -> Array:
        """x (..., D) in its own unit to z (..., D), of x's type; RuntimeError before ``fit``."""
        offset, scale = self._learned("x", x)
        return (x - offset) / scale

    def inverse_transform(self, z: Array) -> Array:
        """z (..., D) to x (..., D) in its own unit, of z's type; RuntimeError before ``fit``."""
        offset, scale = self._learned("z", z)
        return z * scale + offset

    def _learned(self, name: str, x: Array) -> tuple[Array, Array]:
        """offset and scale in x's type and on x's device."""
        if not hasattr(self, "scale"):
            raise UnavailableError(
                f"this {type(self).__name__} has not been fitted: call fit(values[train]) first"
            )
        require_floating(name, x)
        D = len(self.offset)
        if not x.ndim or x.shape[-1] != D:
            raise InvalidValueError(
                f"{name} is {tuple(x.shape)} but the scaler was fitted to {D} columns: expected"
                f" (..., {D})"
            )
        offset = np.asarray(self.offset, dtype=x.dtype, like=x)
        return offset, np.asarray(self.scale, dtype=x.dtype, like=x)


class Standardizer(Scaler):
    """Each column to mean 0 and standard deviation 1 (over T, not T - 1) on the training rows.

    >>> z = Standardizer().fit(np.array([[1.0], [3.0]])).transform(np.array([[1.0], [2.0], [7.0]]))
    >>> z.ravel().tolist()
    [-1.0, 0.0, 5.0]
    """

    def _learn(self, values: Array, low: Array, high: Array) -> tuple[Array, Array]:
        with np.errstate(over="ignore", invalid="ignore"):  # fit reports a deviation that overflows
            return values.mean(axis=0), values.std(axis=0)


class MinMaxScaler(Scaler):
    """Each column to ``feature_range`` on the training rows; later rows may be outside it."""

    @checked
    def __init__(self, feature_range: tuple[float, float] = (0.0, 1.0)) -> None:
        """Raises ValueError unless the range ascends."""
        if not -np.inf < feature_range[0] < feature_range[1] < np.inf:
            raise InvalidValueError(
                f"feature_range is {feature_range}: expected a lower and a higher finite number"
            )
        self.feature_range = feature_range

    def _learn(self, values: Array, low: Array, high: Array) -> tuple[Array, Array]:
        bottom, top = self.feature_range
        with np.errstate(over="ignore", invalid="ignore"):
            scale = (high - low) / (top - bottom)
            return low - bottom * scale, scale  # so that low becomes bottom and high becomes top
