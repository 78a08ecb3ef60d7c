"""Adam's rule and weight decay, once: on arrays, and element by element inside kernels.

``scratchnet.training.optim`` applies it to whole arrays; the kernels package compiles the same
functions for loops on the CPU and for the GPU. Every engine does the same operations in the same
order, so on a CPU the numbers are the same to the last bit.
"""

from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from scratchnet.elementwise import ONE, ZERO

Number: TypeAlias = Any  # a float32 or float64
Numbers: TypeAlias = Any  # an array, or one number of it in a compiled function


class Rates(NamedTuple):
    """The numbers of one step, in the type of the parameters.

    A Python float in a kernel would turn float32 into float64.
    """

    beta1: Number
    rest1: Number  # 1 - beta1
    beta2: Number
    rest2: Number  # 1 - beta2
    start1: Number  # 1 - beta1^t: what of m the t gradients so far have filled
    start2: Number  # 1 - beta2^t
    lr: Number
    eps: Number
    shrink: Number  # see ``decay_rates``
    decay: Number


@lru_cache(maxsize=16)  # as a rule all parameters of a step have had as many updates
def rates(
    dtype: np.dtype[Any],
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
    betas = beta1, 1 - beta1, beta2, 1 - beta2, 1 - beta1**t, 1 - beta2**t
    return Rates(*map(dtype.type, (*betas, lr, eps, *decay_rates(lr, weight_decay, decoupled))))


def decay_rates(lr: float, weight_decay: float, decoupled: bool) -> tuple[float, float]:
    """``shrink``, 1 unless the decay is decoupled, and ``decay``, 0 unless it is coupled."""
    return (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)


def decayed(p: Numbers, g: Numbers, shrink: Number, decay: Number) -> tuple[Numbers, Numbers]:
    """Parameter and gradient after weight decay of either kind."""
    if shrink != ONE:
        p = p * shrink  # p <- (1 - lr wd) p, decoupled
    if decay != ZERO:
        g = g + decay * p  # g <- g + wd p, coupled
    return p, g


def adam_rule(p: Numbers, g: Numbers, m: Numbers, v: Numbers, k: Rates) -> tuple[Numbers, ...]:
    """The new parameter and means, from what ``decayed`` has returned."""
    m = k.beta1 * m + k.rest1 * g  # m <- beta1 m + (1 - beta1) g
    v = k.beta2 * v + k.rest2 * g * g  # v <- beta2 v + (1 - beta2) g^2
    m_hat = m / k.start1  # m started at 0 and is too small by just this factor
    v_hat = v / k.start2
    return p - k.lr * m_hat / (np.sqrt(v_hat) + k.eps), m, v
