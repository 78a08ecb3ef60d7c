"""Adam's rule and the sum of squares behind a norm, on the CPU: each array is passed over once.

The rule is that of ``scratchnet.adam``. Applied to arrays it writes about ten of them to memory for
the next operation to read; here p, g, m and v are read once, and p, m and v written once. It is the
same function, compiled for one element, and its numbers are the same to the last bit.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np
from numba.extending import register_jitable

from scratchnet.adam import Number, Rates, adam_rule, decayed, rates
from scratchnet.arrays import FLOATING, Array, array_backend, require_shape
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet_kernels.compiled import kept
from scratchnet_kernels.sequence_cpu.passes import contiguous

Name = TypeVar("Name", bound=Hashable)
Arrays = Mapping[str, Array]

LANES = 256  # partial sums of squares, added up in pairs; a power of two


for function in (decayed, adam_rule):
    register_jitable(function)


@kept
def adam_loop(p: Array, g: Array, m: Array, v: Array, k: Rates) -> None:
    """p, g, m, v (n,): one parameter, every array flat; changes p, m and v."""
    for j in range(len(p)):
        p_j, g_j = decayed(p[j], g[j], k.shrink, k.decay)
        p[j], m[j], v[j] = adam_rule(p_j, g_j, m[j], v[j], k)


@kept
def squares_loop(g: Array) -> Number:
    """Sum of the squares of g (n,), in float64, in 256 lanes that are then added in pairs.

    Lane k has the elements k, k + 256, ... With one sum each addition would wait for the one
    before; lanes do not, and their order is fixed all the same.
    """
    lanes = np.zeros(LANES)
    for first in range(0, len(g), LANES):
        for k in range(min(LANES, len(g) - first)):
            x = np.float64(g[first + k])
            lanes[k] += x * x
    width = LANES // 2
    while width:
        for k in range(width):
            lanes[k] += lanes[k + width]
        width //= 2
    return lanes[0]


def adam(
    params: Arrays, grads: Arrays, m: Arrays, v: Arrays, updates: Mapping[str, int], **options: Any
) -> None:
    """Adam's update of all parameters, in place: changes params, m and v, not grads.

    ``updates[name]``: which update of that parameter this is, from 1. ``options``: those of
    ``rates`` from lr on. Raises TypeError or ValueError, before anything is changed, for arrays
    that the loop cannot take.
    """
    for name, p in params.items():
        for a in (p, grads[name], m[name], v[name]):
            # comparisons alone in every step; what does not pass them is explained, if it is wrong
            fits = type(a) is np.ndarray and a.shape == p.shape and a.dtype == p.dtype in FLOATING
            if not fits:
                require_matching(params, grads, m, v, require_loopable)
        if not p.flags.writeable:
            raise InvalidValueError(f"{name} is read-only, but it is what an optimiser changes")
    for name, p in params.items():
        changed = p, m[name], v[name]
        # in one dimension: the same memory if the loop can take it, else a copy
        flat_p, flat_m, flat_v = [a.reshape(-1) if a.flags.carray else a.flatten() for a in changed]
        k = rates(p.dtype, updates[name], **options)
        adam_loop(flat_p, contiguous(grads[name]).reshape(-1), flat_m, flat_v, k)
        for a, result in zip(changed, (flat_p, flat_m, flat_v)):
            if not a.flags.carray:
                a[...] = result.reshape(a.shape)


def squares(arrays: Mapping[Name, Array]) -> dict[Name, float]:
    """Sum of the squares of each array, in float64, without scaling.

    Of float32 it is as good as exact: the square of every float32 is a float64, which neither
    overflows nor vanishes. Of float64 it may do both, which the caller sees. The same bits in every
    run. Raises TypeError for arrays that the loop cannot take.
    """
    for name, a in arrays.items():
        if type(a) is not np.ndarray or a.dtype not in FLOATING:
            require_loopable(**{str(name): a})
    return {name: float(squares_loop(contiguous(a).reshape(-1))) for name, a in arrays.items()}


def require_matching(
    params: Arrays, grads: Arrays, m: Arrays, v: Arrays, require: Callable[..., None]
) -> None:
    """Every parameter with its gradient and its means must pass ``require`` and have one shape."""
    for name, p in params.items():
        mates = {f"m of {name}": m[name], f"v of {name}": v[name]}
        mates = {f"the gradient of {name}": grads[name], **mates}
        require(**{name: p, **mates})
        for what, mate in mates.items():
            require_shape(what, mate, p.shape, f"{name} is {tuple(p.shape)}")


def require_loopable(**arrays: Array) -> None:
    """TypeError unless all are NumPy arrays of one floating type."""
    first = next(iter(arrays))
    for name, array in arrays.items():
        if array_backend(array) != "numpy":
            given = f"{name} is an array of {array_backend(array)}"
            raise InvalidTypeError(f"{given}, but a loop on the CPU takes those of numpy")
        if array.dtype not in FLOATING or array.dtype != arrays[first].dtype:
            both = f"{name} is {array.dtype} but {first} is {arrays[first].dtype}"
            raise InvalidTypeError(f"{both}: expected one type, float32 or float64")
