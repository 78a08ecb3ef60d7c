"""Made-up tasks that only a long memory solves.

The adding problem: read T numbers, two of them marked, and say at the end what the two add up to.  Nothing before the last
step says what will be needed, so the gradient must reach back over up to T - 1 steps.
"""

from typing import Any

import numpy as np

from scratchnet.arrays import Array, require_rng

# Who has learned nothing best says 1, the mean of the target; the error is Var(U1 + U2) = 1/12 + 1/12.
ADDING_BASELINE_MSE = 1 / 6


def adding(rng: np.random.Generator, n: int, T: int, dtype: Any = np.float64) -> tuple[Array, Array]:
    """n sequences of the adding problem, time-major: x (T, n, 2), y (n, 1), both of the floating type ``dtype``.

    x[..., 0] are numbers from U(0, 1).  x[..., 1] is 1 at two steps, one in the first T // 2 and one in the rest, and else 0.
    y is the sum of the two marked numbers.

    Raises ValueError for T < 2 or n < 1, TypeError where rng is no Generator or dtype no floating type.
    Source: Hochreiter and Schmidhuber 1997, section 5.4, there with numbers from U(-1, 1) and the target scaled; numbers in
    (0, 1), one mark in each half and the plain sum as in Arjovsky, Shah and Bengio 2016, section 4.2.
    """
    require_rng(rng)
    if not np.issubdtype(dtype, np.floating):
        raise TypeError(f"dtype is {np.dtype(dtype)}: expected a floating type")
    if T < 2:
        raise ValueError(f"T is {T}: expected at least 2 steps, one for each of the two marks")
    if n < 1:
        raise ValueError(f"n is {n}: expected at least 1 sequence")
    x = np.zeros((T, n, 2), dtype)
    x[:, :, 0] = rng.random((T, n))
    first, second = rng.integers(0, T // 2, size=n), rng.integers(T // 2, T, size=n)
    each = np.arange(n)
    x[first, each, 1] = x[second, each, 1] = 1
    y = x[first, each, :1] + x[second, each, :1]
    return x, y
