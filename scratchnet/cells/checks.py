"""What every cell checks before it computes: a wrong shape is answered with both shapes, never with
a wrong number."""

from collections.abc import Mapping
from typing import Any

from scratchnet.arrays import Array, as_lengths, require_floating, require_same_dtype, require_shape


def check_forward(
    x: Array,
    states: Mapping[str, Array],
    params: Mapping[str, Array],
    shapes: Any,
    lengths: Any = None,
) -> Array | None:
    """Check a cell's arguments; returns lengths as an array (or None).

    x (T, N, D), every state (N, H), every parameter as ``shapes(D, H)`` says, all of one floating
    type. Raises ValueError or TypeError with a sentence that names both sides.
    """
    require_floating("x", x)
    if x.ndim != 3:
        raise ValueError(
            f"x has {x.ndim} dimensions, shape {tuple(x.shape)}: expected (T, N, D), time first"
        )
    T, N, D = x.shape
    if 0 in x.shape:
        raise ValueError(
            f"x is {tuple(x.shape)}: it needs at least one step, one sequence and one feature"
        )
    require_same_dtype({"x": x, **states, **params})
    first = next(iter(states))
    if states[first].ndim != 2:
        raise ValueError(
            f"{first} is {tuple(states[first].shape)}: expected (N, H), one row for each of the {N}"
            " sequences"
        )
    H = states[first].shape[1]
    for name, state in states.items():
        require_shape(name, state, (N, H), f"x has {N} sequences and {first} has {H} units")
    for name, shape in shapes(D, H).items():
        require_shape(name, params[name], shape, f"x has {D} features and {first} has {H} units")
    return as_lengths(lengths, T, N, like=x)


def check_backward(dy: Array, h: Array, **d_last: Array | None) -> None:
    """Check what arrives at a cell's backward: dy (T, N, H) and final-state gradients (N, H),
    against the cached h."""
    steps, N, H = h.shape
    because = f"the forward pass made {steps - 1} steps of {N} sequences and {H} units"
    given = {"dy": dy, **{name: d for name, d in d_last.items() if d is not None}}
    for name, d in given.items():
        require_floating(name, d)
        require_shape(name, d, (steps - 1, N, H) if name == "dy" else (N, H), because)
        if d.dtype != h.dtype:
            raise TypeError(
                f"{name} is {d.dtype} but the forward pass computed in {h.dtype}: convert it with"
                " astype"
            )
