"""What a backward pass must do when it is called again, which no difference can show.

- It returns the same numbers, also after another forward pass: it reads its cache, which it leaves
  as it is, and nothing else.
- It is linear in the upstream gradient. Multiplication by a power of two is exact in floating
  point, so an upstream gradient that is 2^20 times as large gives exactly 2^20 times the result.
  A clip, a threshold or a small constant inside backward does not.
"""

from collections.abc import Callable, Mapping

import numpy as np

from scratchnet.arrays import Array

Grads = Mapping[str, Array]
FACTORS = (2.0**20, 2.0**-20)
# Exact but for numbers below the float's normal range, and for a BLAS that adds in another order.
SAME = 1e-12


def differing(grads: Grads, again: Grads, factor: float = 1.0) -> str:
    """The names, joined by commas, of the gradients that are not ``factor`` times the first."""
    return ", ".join(name for name, grad in grads.items() if not _same(factor * grad, again[name]))


def _same(expected: Array, found: Array) -> bool:
    if np.array_equal(expected, found, equal_nan=True):
        return True
    size = np.max(np.abs(expected))
    return bool(np.all(np.abs(expected - found) <= SAME * size))


def nonlinear(grads: Grads, scaled: Callable[[float], Grads]) -> list[str]:
    """A note for each factor of the upstream gradient by which the result is not multiplied.

    ``scaled`` : runs backward with the upstream gradient times a factor
    """
    notes = []
    for factor in FACTORS:
        names = differing(grads, scaled(factor), factor)
        if names:
            notes.append(
                f"an upstream gradient {factor:.0e} times as large does not give that multiple of"
                f" {names}: something inside backward is clipped, cut off or added"
            )
    return notes


def of_other_types(grads: Grads) -> list[str]:
    """A note for gradients that are not float64."""
    return [
        f"{name} is {grad.dtype}, but everything else is float64"
        for name, grad in grads.items()
        if grad.dtype != np.float64
    ]
