"""What the library assumes of an array: NumPy or CuPy; the module follows the array.

Most code needs nothing from here: ``np.tanh(x)``, ``np.empty_like(x, shape=...)`` and
``np.asarray(v, like=x)`` already give a CuPy array when x is one (NumPy's dispatch protocols),
which is how one file serves both.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from math import prod
from typing import Any, NamedTuple, TypeAlias, TypeGuard, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from scratchnet.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingPackageError,
    OutOfRangeError,
)

# A NumPy or a CuPy array of a floating type. Functions follow the array they are given, so no
# annotation can name one of the two; shapes are in the docstrings and checked at the boundary.
Array: TypeAlias = NDArray[Any]
Choice = TypeVar("Choice")

# float16 loses small gradients and is promoted to float32 halfway; it needs a loss scale and master
# weights in float32. So only ``half_precision`` allows it, for ``scratchnet.training.mixed``, which
# provides both.
FLOATING = (np.dtype(np.float32), np.dtype(np.float64))
HALF = np.dtype(np.float16)
MOST = 10**12  # of anything that is counted: more fits in no memory, and 2^63 in no index
# NumPy's arrays that compute as an array does.
PLAIN: set[type] = {np.ndarray, np.memmap}
_half_is_allowed = ContextVar("half precision", default=False)


@contextmanager
def half_precision() -> Iterator[None]:
    """While inside, arrays may be float16."""
    token = _half_is_allowed.set(True)
    try:
        yield
    finally:
        _half_is_allowed.reset(token)


def is_array(x: object) -> TypeGuard[Array]:
    """True for a NumPy or CuPy array; False for a tensor of another library, a list, a number."""
    return hasattr(x, "shape") and hasattr(x, "dtype") and hasattr(x, "__array_function__")


def require_array(name: str, x: object) -> None:
    """TypeError unless x is NumPy's or CuPy's own array.

    NumPy's subclasses follow other rules: a matrix multiplies with ``*``, a masked array drops its
    mask in a product. Only ``np.memmap`` computes as an array does.
    """
    if not is_array(x):
        raise InvalidTypeError(
            f"{name} is a {type(x).__module__}.{type(x).__name__}, not a NumPy or CuPy array"
        )
    if isinstance(x, np.ma.MaskedArray):
        raise InvalidTypeError(
            f"{name} is a masked array, whose mask would be lost: fill it, {name}.filled(0), and"
            " give the loss the mask"
        )
    if isinstance(x, np.ndarray) and type(x) not in PLAIN:
        raise InvalidTypeError(
            f"{name} is a {type(x).__module__}.{type(x).__name__}, which computes by rules other"
            f" than an array's: np.asarray({name})"
        )


def require_floating(name: str, x: Array) -> None:
    """TypeError unless x is an array of float32 or float64; says what it is instead."""
    if type(x) is np.ndarray and x.dtype in FLOATING:
        return
    require_array(name, x)
    if x.dtype not in FLOATING and not (x.dtype == HALF and _half_is_allowed.get()):
        raise InvalidTypeError(
            f"{name} is {x.dtype}, but a network computes in float32 or float64:"
            f" {name}.astype(np.float64)"
        )


def as_numbers(name: str, values: Any, expected: str, like: Array | None = None) -> Array:
    """Numbers or booleans in an array or in lists, as an array; TypeError for anything else.

    >>> as_numbers("weights", [[1.0, 2.0], [3.0]], "an array of numbers")
    Traceback (most recent call last):
    scratchnet.errors.InvalidTypeError: weights is [[1.0, 2.0], [3.0]]: expected an array of numbers
    """
    if isinstance(values, np.ndarray):
        require_array(name, values)
    try:
        array = np.asarray(values if like is not None else to_host(values), like=like)
    except (TypeError, ValueError):  # lists of different length
        given = f"{values!r:.80}"
    else:
        if array.dtype.kind in "biuf":
            return array
        given = str(array.dtype)
    raise InvalidTypeError(f"{name} is {given}: expected {expected}")


def require_rng(rng: object) -> None:
    """TypeError unless rng is a numpy.random.Generator: nothing here draws from global state."""
    if not isinstance(rng, np.random.Generator):
        raise InvalidTypeError(
            f"rng is a {type(rng).__name__}: expected a numpy.random.Generator,"
            " numpy.random.default_rng(seed)"
        )


def require_count(name: str, value: object, least: int = 1, most: int = MOST) -> int:
    """Return ``value`` as an int; TypeError unless it is whole, ValueError if out of range.

    A smaller ``most`` is for a count that is looped over, or allocated where no one would expect
    it.

    >>> require_count("kernel", 0)
    Traceback (most recent call last):
    scratchnet.errors.InvalidValueError: kernel is 0: expected at least 1
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InvalidTypeError(f"{name} is {value!r}: expected a whole number of at least {least}")
    if value < least:
        raise InvalidValueError(f"{name} is {value}: expected at least {least}")
    if value > most:
        raise InvalidValueError(
            f"{name} is {value}: expected at most {most}, since each takes time or memory"
        )
    return int(value)


def require_index(name: str, value: object, count: int, owner: str) -> int:
    """Return ``value`` as an int; TypeError unless it is whole, IndexError unless 0 to count - 1.

    >>> require_index("t", 6, 6, "the sequence has 6 steps")
    Traceback (most recent call last):
    scratchnet.errors.OutOfRangeError: t is 6 but the sequence has 6 steps: expected 0 to 5
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InvalidTypeError(f"{name} is {value!r}: expected a whole number")
    if not 0 <= value < count:
        raise OutOfRangeError(f"{name} is {value} but {owner}: expected 0 to {count - 1}")
    return int(value)


def require_memory(what: str, shape: Sequence[int], dtype: DTypeLike) -> None:
    """ValueError where an array would not fit into this machine's memory, or what it may use of it.

    Asked before the array is made: the system may promise memory that it does not have, and end the
    process when it is used.
    """
    size = prod(int(n) for n in shape) * np.dtype(dtype).itemsize
    if size > memory():
        raise InvalidValueError(
            f"{what} {tuple(shape)} takes {size / 1e9:.3g} GB, and {memory() / 1e9:.3g} GB is all"
            " that this process can have"
        )


@cache
def memory() -> int:
    """Bytes of this machine's memory, or the process's limit where that is less."""
    if not hasattr(os, "sysconf"):  # Windows
        return 1 << 36
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return physical if limit == resource.RLIM_INFINITY else min(physical, limit)


def require_one_of(name: str, value: Choice, choices: Iterable[Choice]) -> Choice:
    """Return ``value``; ValueError, listing the choices, unless it is one of them.

    >>> require_one_of("padding", "full", ("same", "valid"))
    Traceback (most recent call last):
    scratchnet.errors.InvalidValueError: padding is 'full': expected one of 'same', 'valid'
    """
    choices = tuple(choices)
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise InvalidValueError(
            f"{name} is {value!r}: expected one of {', '.join(map(repr, choices))}"
        )
    return value


def require_sequences(x: Array, batch_first: bool = False) -> None:
    """ValueError unless x has three axes: (T, N, D), or (N, T, D) if ``batch_first``."""
    if x.ndim != 3:
        order = "(N, T, D), batch first" if batch_first else "(T, N, D), time first"
        raise InvalidValueError(
            f"x has {x.ndim} dimensions, shape {tuple(x.shape)}: expected {order}"
        )


def require_named(what: str, arrays: object) -> None:
    """TypeError unless the arrays are given by name."""
    if not isinstance(arrays, Mapping):
        kind = type(arrays).__name__
        raise InvalidTypeError(f"{what} is a {kind}: expected a dict, name -> array")


def require_shape(name: str, x: Array, shape: Sequence[int], because: str) -> None:
    """ValueError unless x has the shape; names both and what the expected one follows from."""
    if tuple(x.shape) != tuple(shape):
        raise InvalidValueError(
            f"{name} is {tuple(x.shape)} but {because}: expected {tuple(shape)}"
        )


def to_host(array: Any) -> Any:
    """The same numbers in a NumPy array: a copy from the device, or the NumPy array itself."""
    return array.get() if is_array(array) and hasattr(array, "get") else array


def to_device(array: Array, where: str | Array) -> Array:
    """The array on the device ``where``: "numpy", "cupy", or that of another array.

    Raises ImportError if CuPy is needed and not installed, ValueError for another name.
    """
    if is_array(where):
        return to_host(array) if array_backend(where) == "numpy" else np.asarray(array, like=where)
    if where == "numpy":
        return to_host(array)
    if where != "cupy":
        raise InvalidValueError(f"arrays can be moved to 'numpy' or 'cupy', not to {where!r}")
    try:
        import cupy
    except ImportError:
        raise MissingPackageError(
            "CuPy is not installed: pip install cupy-cuda12x, or cupy-cuda13x for CUDA 13"
        ) from None
    return cupy.asarray(array)


def array_backend(x: Array) -> str:
    """Whose array it is: "numpy", "cupy"."""
    return "numpy" if isinstance(x, np.ndarray) else type(x).__module__.partition(".")[0]


def require_same_dtype(arrays: Mapping[str, Array]) -> None:
    """TypeError unless all arrays are of one floating type and one library.

    A silent promotion would double the work, or halve the digits; NumPy and CuPy do not mix.
    """
    first, *others = arrays
    x = arrays[first]
    require_floating(first, x)
    for name in others:
        other = arrays[name]
        if type(other) is type(x) and other.dtype == x.dtype:
            continue
        require_floating(name, other)
        if array_backend(other) != array_backend(x):
            ours, theirs = array_backend(other), array_backend(x)
            raise InvalidTypeError(
                f"{name} is an array of {ours} but {first} is one of {theirs}: move one of them"
            )
        if other.dtype != x.dtype:
            raise InvalidTypeError(
                f"{name} is {other.dtype} but {first} is {x.dtype}: convert one of them with astype"
            )


def read_only(view: Array) -> Array:
    """The same view, write-protected: an output in a cache must not change before backward.

    CuPy has no such protection; there only the rule in ``Layer`` applies.
    """
    if isinstance(view, np.ndarray):
        view.flags.writeable = False
    return view


# (like, shape) -> an uninitialised array of like's library and dtype, C-contiguous.
Empty: TypeAlias = Callable[[Array, tuple[int, ...]], Array]


def empty_array(like: Array, shape: tuple[int, ...]) -> Array:
    """An uninitialised array of like's library and dtype, C-contiguous."""
    return np.empty(shape, like.dtype, like=like)


class Checked(NamedTuple):
    """Validated lengths (N,) on x's device, or None: all arguments of the call have been checked.

    A layer checks once and hands these to its cell, which then checks nothing again.
    """

    lengths: Array | None


# Lengths of the sequences in a padded batch, (N,); None where all have T steps.
Lengths: TypeAlias = Sequence[int] | Array | Checked | None
# One time step of a cell on whole arrays; a kernel with the same arguments can replace it.
Step: TypeAlias = Callable[..., Any]


def as_lengths(lengths: Any, T: int, N: int, like: Array) -> Array | None:
    """Sequence lengths (N,) as integers on ``like``'s device; None stays None.

    Raises ValueError unless there is one whole number from 1 to T for each of the N sequences.
    """
    if lengths is None or isinstance(lengths, Checked):
        return None if lengths is None else lengths.lengths
    host = as_numbers("lengths", lengths, "a whole number for each sequence")
    if host.shape != (N,):
        raise InvalidValueError(
            f"lengths has shape {host.shape} but the batch has {N} sequences: expected ({N},)"
        )
    if not np.issubdtype(host.dtype, np.integer):
        raise InvalidTypeError(f"lengths is {host.dtype}, but a length is a whole number of steps")
    if host.min() < 1 or host.max() > T:
        n = int(np.argmax((host < 1) | (host > T)))
        raise InvalidValueError(
            f"lengths[{n}] is {host[n]} but the sequences have {T} steps: expected 1 to {T}"
        )
    return np.asarray(host, dtype=np.intp, like=like)
