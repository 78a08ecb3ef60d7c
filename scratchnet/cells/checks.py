"""The checks of a cell's arguments, made once, where a public call enters.

An error states the expected and the actual shape or type.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, get_args, get_type_hints

from scratchnet.arrays import (
    Array,
    Checked,
    Lengths,
    as_lengths,
    require_array,
    require_floating,
    require_one_of,
    require_same_dtype,
    require_shape,
)
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.fingerprint import require_unchanged

Shapes = Callable[[int, int], Mapping[str, tuple[int, ...]]]


def check_forward(shapes: Shapes, lengths: Lengths, x: Array, **arguments: Array) -> Array | None:
    """Check the arguments of a cell's forward pass; return the lengths as an array on x's device.

    Parameters
    ----------
    shapes : the cell's ``param_shapes``
    lengths : (N,), or ``Checked`` where the caller has checked all arguments
    x : (T, N, D)
    arguments : initial states (N, H), whose names end in 0, then parameters; of x's floating type

    Raises
    ------
    ValueError, TypeError
        With a sentence that states the expected and the actual shape or type.
    """
    if isinstance(lengths, Checked):
        return lengths.lengths
    require_floating("x", x)
    if x.ndim != 3:
        raise InvalidValueError(
            f"x has {x.ndim} dimensions, shape {tuple(x.shape)}: expected (T, N, D), time first"
        )
    T, N, D = x.shape
    if 0 in x.shape:
        raise InvalidValueError(
            f"x is {tuple(x.shape)}: it needs at least one step, one sequence and one feature"
        )
    require_same_dtype({"x": x, **arguments})
    states = {name: a for name, a in arguments.items() if name.endswith("0")}
    first = next(iter(states))
    if states[first].ndim != 2:
        raise InvalidValueError(
            f"{first} is {tuple(states[first].shape)}: expected (N, H), one row for each of the {N}"
            " sequences"
        )
    H = states[first].shape[1]
    for name, state in states.items():
        require_shape(name, state, (N, H), f"x has {N} sequences and {first} has {H} units")
    for name, shape in shapes(D, H).items():
        require_shape(name, arguments[name], shape, f"x has {D} features and {first} has {H} units")
    return as_lengths(lengths, T, N, like=x)


def check_backward(dy: Array, cache: Any, made: type = tuple, /, **d_last: Any) -> None:
    """Check a cell's cache, and upstream gradients against it: dy (T, N, H), ``d_last`` (N, H).

    ``made`` is the cell's class of cache; the cache has its fields.

    Raises ValueError or TypeError with the expected and the actual shape or type.
    """
    check_cache(cache, made)
    h = cache.h
    steps, N, H = h.shape
    for name, upstream in {"dy": dy, **d_last}.items():
        if upstream is None and name != "dy":
            continue
        shape = (steps - 1, N, H) if name == "dy" else (N, H)
        if type(upstream) is type(h) and (upstream.shape, upstream.dtype) == (shape, h.dtype):
            continue
        require_floating(name, upstream)
        because = f"the forward pass made {steps - 1} steps of {N} sequences and {H} units"
        require_shape(name, upstream, shape, because)
        if upstream.dtype != h.dtype:
            raise InvalidTypeError(
                f"{name} is {upstream.dtype} but the forward pass computed in {h.dtype}: convert it"
                " with astype"
            )


def check_cache(cache: Any, of: type = tuple) -> None:
    """Check that each array of a cache has the shape in its annotation, and h's floating type.

    Compiled loops read a cache by the sizes of x and h and would go beyond the end of an array that
    is too small. Fields without an annotated shape are not checked.

    Raises
    ------
    ValueError, TypeError
        Also where x or a parameter was changed in place after the forward pass.
    """
    fields, needed = getattr(cache, "_fields", ()), getattr(of, "_fields", ())
    # by name: a module that is run a second time, as in a notebook, makes another class
    if not fields or (needed and fields != needed):
        given = f"{type(cache).__module__}.{type(cache).__qualname__}".removeprefix("builtins.")
        expected = "" if of is tuple else f", a {of.__module__}.{of.__qualname__}"
        raise InvalidTypeError(f"cache is a {given}: expected what forward returned{expected}")
    h, x = cache.h, cache.x
    for name, array in (("h", h), ("x", x)):
        require_floating(f"the cache's {name}", array)
        if array.ndim != 3:
            raise InvalidValueError(
                f"the cache's {name} is {tuple(array.shape)}: expected three axes"
            )
    made: Any = type(cache)
    for name, (shape, optional) in annotated(made, len(h) - 1, *x.shape[1:], h.shape[2]).items():
        array = getattr(cache, name)
        if array is None and optional:
            continue
        if type(array) is type(h) and array.shape == shape and array.dtype == h.dtype:
            continue
        require_same_dtype({"the cache's h": h, f"the cache's {name}": array})
        because = f"x is {tuple(x.shape)} and h is {tuple(h.shape)} there"
        require_shape(f"the cache's {name}", array, shape, because)
    for name, choices in options_of(made).items():
        require_one_of(f"the cache's {name}", getattr(cache, name), choices)
    lengths = getattr(cache, "lengths", None)
    if lengths is not None:
        require_array("the cache's lengths", lengths)
        require_shape("the cache's lengths", lengths, x.shape[1:2], f"x is {tuple(x.shape)}")
        if lengths.dtype.kind != "i":
            raise InvalidTypeError(
                f"the cache's lengths are {lengths.dtype}: expected whole numbers"
            )
    require_unchanged(getattr(cache, "fingerprints", None))


@lru_cache(maxsize=256)
def annotated(
    cache: type, T: int, N: int, D: int, H: int
) -> dict[str, tuple[tuple[int, ...], bool]]:
    """The shape of each array of a cache, and whether it may be None, from the annotations.

    Such as Annotated[Array, "T+1, N, 4H"].
    """
    sizes, found = {"T": T, "N": N, "D": D, "H": H}, {}
    for name, hint in get_type_hints(cache, include_extras=True).items():
        for text in getattr(hint, "__metadata__", ()):
            if name in options_of(cache):
                continue
            axes = re.findall(r"(\d*)([TNDH]?)(\+1)?(?:, |$)", text)[: text.count(",") + 1]
            shape = [int(times or 1) * sizes.get(axis, 1) + bool(one) for times, axis, one in axes]
            found[name] = tuple(shape), type(None) in get_args(hint.__origin__)
    return found


@lru_cache
def options_of(cache: type) -> dict[str, tuple[str, ...]]:
    """The choices of each option in a cache, from its annotations: Annotated[str, ("a", "b")]."""
    hints = get_type_hints(cache, include_extras=True)
    metadata = {name: getattr(hint, "__metadata__", (None,))[0] for name, hint in hints.items()}
    return {name: choices for name, choices in metadata.items() if isinstance(choices, tuple)}
