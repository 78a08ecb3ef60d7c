"""Lesson 10, training: dropout, a schedule, a step of Adam, and layer normalisation backward."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_instructor.reference import Arguments, Reference


def dropout_cases(rng: np.random.Generator) -> list[Arguments]:
    """A few numbers, then a sequence; one number is exactly on the edge."""
    found = []
    for shape, p in (((5,), 0.3), ((5, 3, 2), 0.2), ((7, 5), 0.7)):
        u = rng.random(shape)
        u.flat[0], u.flat[1], u.flat[2] = p, p / 2, (1 + p) / 2
        found.append(
            {"x": rng.standard_normal(shape), "dy": rng.standard_normal(shape), "u": u, "p": p}
        )
    return found


def dropout(x: Array, dy: Array, u: Array, p: float) -> tuple[Array, Array]:
    """One mask for both ways, with its scale."""
    mask = (u >= p) / (1 - p)
    y = x * mask
    dx = dy * mask
    return y, dx


def rates_cases(rng: np.random.Generator) -> list[Arguments]:
    """No real warm-up, a short one, a long one."""
    base = float(rng.uniform(0.5, 2))
    return [{"base": base, "warm": w, "total": n} for w, n in ((1, 5), (3, 12), (8, 15))]


def rates(base: float, warm: int, total: int) -> Array:
    """A line, then half a wave."""
    t = np.arange(total)
    share = (t - warm) / (total - warm)
    falling = base * (1 + np.cos(np.pi * share)) / 2
    rising = base * (t + 1) / warm
    return np.where(t < warm, rising, falling)


def adam_cases(rng: np.random.Generator) -> list[Arguments]:
    """The first step from zero, then later ones; eps is large enough to be seen."""
    found = []
    for shape, t, start in (((3,), 1, 0), ((2, 3), 5, 1), ((4,), 100, 1)):
        p, g, m = rng.standard_normal((3, *shape))
        rest = {"t": t, "lr": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 0.01}
        found.append(
            {"p": p, "g": g, "m": start * m, "v": start * rng.uniform(0.5, 2, shape), **rest}
        )
    return found


def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    t: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """Running means, corrected for their start."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    p = p - lr * m_hat / (np.sqrt(v_hat) + eps)
    return p, m, v


def norm_cases(rng: np.random.Generator) -> list[Arguments]:
    """One vector, then a batch; a gain that is not one."""
    found = []
    for N, F in ((1, 3), (5, 3), (2, 7)):
        x = 1 + 2 * rng.standard_normal((N, F))
        found.append(
            {"dy": rng.standard_normal((N, F)), "x": x, "gain": rng.uniform(0.5, 2, F), "eps": 0.1}
        )
    return found


def layer_norm_backward(dy: Array, x: Array, gain: Array, eps: float) -> tuple[Array, Array, Array]:
    """The three paths as two means that are subtracted."""
    scale = 1 / np.sqrt(x.var(axis=1, keepdims=True) + eps)
    n = (x - x.mean(axis=1, keepdims=True)) * scale
    dn = dy * gain
    by_mean = dn.mean(axis=1, keepdims=True)
    by_var = (dn * n).mean(axis=1, keepdims=True) * n
    return scale * (dn - by_mean - by_var), (dy * n).sum(axis=0), dy.sum(axis=0)


EXERCISES = [
    Reference("10/ex1", dropout, dropout_cases, ("y", "dx")),
    Reference("10/ex2", rates, rates_cases, ("lr",), timed=("lr",), backwards=False),
    Reference("10/ex3", adam, adam_cases, ("p", "m", "v")),
    Reference("10/ex4", layer_norm_backward, norm_cases, ("dx", "dgain", "db")),
]
