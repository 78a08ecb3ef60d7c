"""The checks of a cell's arguments, made once, where a public call enters.

An error states the expected and the actual shape or type.
"""

from collections.abc import Callable, Mapping
from typing import Any

from scratchnet.arrays import (
    Array,
    Checked,
    Lengths,
    as_lengths,
    require_floating,
    require_same_dtype,
    require_shape,
)
from scratchnet.errors import InvalidTypeError, InvalidValueError

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


def check_backward(dy: Array, h: Array, **d_last: Array | None) -> None:
    """Check upstream gradients, dy (T, N, H) and ``d_last`` (N, H), against h (T+1, N, H).

    Raises ValueError or TypeError with the expected and the actual shape or type.
    """
    steps, N, H = h.shape
    for name, d in [("dy", dy), *d_last.items()]:
        if d is None and name != "dy":
            continue
        upstream: Any = d
        shape = (steps - 1, N, H) if name == "dy" else (N, H)
        if type(d) is type(h) and upstream.shape == shape and upstream.dtype == h.dtype:
            continue
        require_floating(name, upstream)
        because = f"the forward pass made {steps - 1} steps of {N} sequences and {H} units"
        require_shape(name, upstream, shape, because)
        if upstream.dtype != h.dtype:
            raise InvalidTypeError(
                f"{name} is {upstream.dtype} but the forward pass computed in {h.dtype}: convert it"
                " with astype"
            )
