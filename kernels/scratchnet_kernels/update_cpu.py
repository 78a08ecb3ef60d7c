"""Adam's rule and the sum of squares behind a norm, on the CPU: each array is passed over once.

The array rule of ``scratchnet.training.optim.Adam`` writes about ten arrays to memory for the next
operation to read. Here p, g, m and v are read once, and p, m and v written once. Every operation is
the array rule's, in its order, so on a CPU the numbers are the same to the last bit.
"""

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numba.extending import register_jitable
from numpy.typing import DTypeLike

from scratchnet.arrays import FLOATING, Array, array_backend, require_shape
from scratchnet.elementwise import ZERO
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet_kernels.compiled import compiled

Name = TypeVar("Name", bound=Hashable)
Arrays = Mapping[str, Array]
Scalar: TypeAlias = Any  # one float32 or float64 in a compiled function

LANES = 256  # partial sums of squares, added up in pairs; a power of two


class Rates(NamedTuple):
    """The numbers of one step, in the type of the parameters.

    A Python float would turn float32 into float64.
    """

    shrink: Scalar  # 1 - lr weight_decay where that is decoupled, else 1
    decay: Scalar  # weight_decay where it is coupled, else 0
    beta1: Scalar
    rest1: Scalar  # 1 - beta1
    beta2: Scalar
    rest2: Scalar  # 1 - beta2
    start1: Scalar  # 1 - beta1^t: what of m the t gradients so far have filled
    start2: Scalar  # 1 - beta2^t
    lr: Scalar
    eps: Scalar


def rates(
    dtype: DTypeLike,
    t: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> Rates:
    """The numbers of update t (from 1), computed in float64, then rounded.

    In float32 1 - 0.999 has only four digits.
    """
    shrink, decay = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    betas = beta1, 1 - beta1, beta2, 1 - beta2, 1 - beta1**t, 1 - beta2**t
    return Rates(*map(np.dtype(dtype).type, (shrink, decay, *betas, lr, eps)))


def adam_rule(p: Scalar, g: Scalar, m: Scalar, v: Scalar, k: Rates) -> tuple[Scalar, ...]:
    """One element's new parameter and means; loops on the CPU and kernels on the GPU call it."""
    p = p * k.shrink  # p <- (1 - lr wd) p, decoupled
    if k.decay != ZERO:
        g = g + k.decay * p  # g <- g + wd p, coupled
    m = k.beta1 * m + k.rest1 * g  # m <- beta1 m + (1 - beta1) g
    v = k.beta2 * v + k.rest2 * g * g  # v <- beta2 v + (1 - beta2) g^2
    m_hat = m / k.start1  # m started at 0 and is too small by just this factor
    v_hat = v / k.start2
    # p <- p - lr m_hat / (sqrt(v_hat) + eps); math.sqrt, since numba-cuda does not compile np.sqrt
    return p - k.lr * m_hat / (math.sqrt(v_hat) + k.eps), m, v


register_jitable(adam_rule)


@compiled
def adam_loop(p: Array, g: Array, m: Array, v: Array, k: Rates) -> None:
    """p, g, m, v (n,): one parameter, every array flat; changes p, m and v."""
    for j in range(len(p)):
        p[j], m[j], v[j] = adam_rule(p[j], g[j], m[j], v[j], k)


@compiled
def squares_loop(g: Array) -> Scalar:
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
    require_matching(params, grads, m, v, require_loopable)
    for name, p in params.items():
        if not p.flags.writeable:
            raise InvalidValueError(f"{name} is read-only, but it is what an optimiser changes")
    for name, p in params.items():
        k = rates(p.dtype, updates[name], **options)
        adam_loop(flat(p), flat(grads[name]), flat(m[name]), flat(v[name]), k)


def squares(arrays: Mapping[Name, Array]) -> dict[Name, float]:
    """Sum of the squares of each array, in float64, without scaling.

    Of float32 it is as good as exact: the square of every float32 is a float64, which neither
    overflows nor vanishes. Of float64 it may do both, which the caller sees. The same bits in every
    run. Raises TypeError or ValueError for arrays that the loop cannot take.
    """
    for name, a in arrays.items():
        require_loopable(**{str(name): a})
    return {name: float(squares_loop(flat(a))) for name, a in arrays.items()}


def flat(array: Array) -> Array:
    """The same memory in one dimension."""
    return np.asarray(array).reshape(-1)


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
    """TypeError or ValueError unless all are NumPy arrays, contiguous, and of one floating type."""
    first = next(iter(arrays))
    for name, array in arrays.items():
        if array_backend(array) != "numpy":
            given = f"{name} is an array of {array_backend(array)}"
            raise InvalidTypeError(f"{given}, but a loop on the CPU takes those of numpy")
        if array.dtype not in FLOATING or array.dtype != arrays[first].dtype:
            both = f"{name} is {array.dtype} but {first} is {arrays[first].dtype}"
            raise InvalidTypeError(f"{both}: expected one type, float32 or float64")
        if not array.flags.c_contiguous:
            given = f"{name} {tuple(array.shape)} is not contiguous"
            raise InvalidValueError(f"{given}: the loop reads its rows one after the other")
