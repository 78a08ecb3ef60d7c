"""Detect an array that was changed in place between forward and backward.

A cache holds x and the weights themselves, not copies. Were one of them changed before backward,
the gradient would be that of another network, without a word. So forward keeps a checksum of what
backward reads again, and backward compares.

In float64, in which one learns and checks gradients, this is on. In float32, in which one trains,
it is off, and ``detect_changes()`` switches it on. It costs one pass over the arrays each way, of
at most ``LARGEST`` bytes each: of a larger array a sample of elements at equal distances is taken,
which misses a change of a few elements but no change of all.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

import numpy as np

from scratchnet.arrays import Array
from scratchnet.errors import InvalidValueError

LARGEST = 1 << 20  # bytes of an array of which every element counts

_detect = ContextVar[bool | None]("detect changes", default=None)  # None: in float64 only


# In a cache: (name, array, checksum at the forward pass) of each array that backward reads again.
# None where changes are not looked for: float32, or an array on a device.
Fingerprints: TypeAlias = list[tuple[str, Array, int]] | None


@contextmanager
def detect_changes(on: bool = True) -> Iterator[None]:
    """While inside, forward passes of every floating type keep checksums, or none of them does.

    >>> from scratchnet.layers import Linear
    >>> layer = Linear(2, 1, rng=np.random.default_rng(0), dtype=np.float32)
    >>> x = np.ones((3, 2), np.float32)
    >>> with detect_changes():
    ...     y, cache = layer.forward(x)
    >>> x *= 2
    >>> layer.backward(np.ones_like(y), cache)
    Traceback (most recent call last):
    scratchnet.errors.InvalidValueError: x was changed in place after the forward pass, so backward\
 would give the gradient of another computation: change a copy, or run forward again
    """
    token = _detect.set(on)
    try:
        yield
    finally:
        _detect.reset(token)


def fingerprint(**arrays: Array) -> Fingerprints:
    """What ``require_unchanged`` compares later; None where changes are not looked for."""
    first = next(iter(arrays.values()))
    on = _detect.get()
    if not isinstance(first, np.ndarray) or not (first.dtype == np.float64 if on is None else on):
        return None
    made = []
    for name, array in arrays.items():
        whole = array.flags.c_contiguous and array.nbytes <= LARGEST
        made.append((name, array, zlib.crc32(array.data if whole else _sample(array))))
    return made


def require_unchanged(made: Fingerprints) -> None:
    """ValueError, with the array's name, where one has changed since its fingerprint was made."""
    for name, array, checksum in made or ():
        whole = array.flags.c_contiguous and array.nbytes <= LARGEST
        if zlib.crc32(array.data if whole else _sample(array)) != checksum:
            raise InvalidValueError(
                f"{name} was changed in place after the forward pass, so backward would give the"
                " gradient of another computation: change a copy, or run forward again"
            )


def _sample(array: Array) -> memoryview:
    """Elements at equal distances, of an array that is too large or not contiguous."""
    flat = array.reshape(-1) if array.flags.c_contiguous else array
    distance = array.nbytes // LARGEST | 1  # odd: not one feature of every step only
    return np.ascontiguousarray(flat[::distance]).data
