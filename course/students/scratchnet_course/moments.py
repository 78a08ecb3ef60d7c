"""An array's size and first three moments: by them an intermediate is recognised when it is
transposed, reshaped or cut out of a larger array. Imports only NumPy: `child` loads it next to a
student's code.
"""

from typing import Any

import numpy as np

# relative: two codes that compute the same agree to about 1e-14, and a random match is out of the
# question
SAME = 1e-8


def moments(values: Any) -> np.ndarray:
    """Size, sum, sum of squares and of cubes: the same in whatever order the elements are."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    with np.errstate(all="ignore"):
        return np.array([flat.size, flat.sum(), (flat * flat).sum(), (flat * flat * flat).sum()])


def scale(values: Any) -> np.ndarray:
    """Against what the moments are rounded: those of the absolute values."""
    return moments(np.abs(np.asarray(values, dtype=np.float64)))


def matches(values: Any, table: np.ndarray) -> np.ndarray:
    """The rows of a table of moments that these values have."""
    own, size = moments(values), scale(values)
    if not (len(table) and np.isfinite(size).all()):  # infinite sums would be near to every row
        return np.zeros(0, np.int64)
    allowed = SAME * np.maximum(size, 1e-250)
    allowed[0] = 0
    return np.flatnonzero((np.abs(table - own) <= allowed).all(axis=1))


def plain(value: np.ndarray) -> bool:
    """Zeros, ones, a small number: what is computed everywhere, and says nothing."""
    flat = np.ravel(value)
    if flat.size != 1:
        return bool(np.all(flat == flat[:1]))
    return bool(abs(flat[0]) == 0.5 or (flat[0] == np.rint(flat[0]) and abs(flat[0]) < 12))
