"""Lesson 10, training: dropout, a schedule, a step of Adam, and layer normalisation backward."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_course.exercise import Arguments, Exercise, Wrong


def dropout_cases(rng: np.random.Generator) -> list[Arguments]:
    """A few numbers, then a sequence; one number stands exactly on the edge."""
    found = []
    for shape, p in (((4,), 0.5), ((5, 3, 2), 0.2), ((6, 4), 0.7)):
        u = rng.random(shape)
        u.flat[0], u.flat[1], u.flat[2] = p, p / 2, (1 + p) / 2
        found.append({"x": rng.standard_normal(shape), "dy": rng.standard_normal(shape), "u": u, "p": p})
    return found


def dropout(x: Array, dy: Array, u: Array, p: float) -> tuple[Array, Array]:
    """One mask for both ways, with its scale."""
    mask = (u >= p) / (1 - p)
    y = x * mask
    dx = dy * mask
    return y, dx


DROPOUT = (
    Wrong("the rest is not scaled up", "Without 1 / (1 - p) the mean falls while training.", (("(u >= p) / (1 - p)", "(u >= p) * 1.0"),)),
    Wrong("it is scaled by 1 / p", "A share 1 - p is kept, so the rest is scaled by 1 / (1 - p).", (("/ (1 - p)", "/ p"),)),
    Wrong("it is scaled by 1 - p", "While training the rest is scaled up: divide.", (("/ (1 - p)", "* (1 - p)"),)),
    Wrong("kept and dropped are exchanged", "p is the probability of being dropped: what has u >= p is kept.", (("u >= p", "u < p"),)),
    Wrong("the mask is missing on the way back", "What was dropped had no part in the loss: dx = dy mask.", (("dx = dy * mask", "dx = dy"),)),
    Wrong("the scale is missing on the way back", "The scale stands in the mask, forwards and backwards.", (("dx = dy * mask", "dx = dy * (mask > 0)"),)),
    Wrong("the scale is applied twice on the way back", "The scale stands in the mask already.", (("dx = dy * mask", "dx = dy * mask / (1 - p)"),)),
)  # fmt: skip


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


RATES = (
    Wrong("the warm-up begins at 0", "base (t + 1) / warm: the first update has a learning rate, too.", (("base * (t + 1) / warm", "base * t / warm"),)),
    Wrong("the wave begins at t = 0", "The wave begins where the warm-up ends, at t = warm.", (("(t - warm) / (total - warm)", "t / total"),)),
    Wrong("the wave is as long as the whole training", "It has total - warm updates to fall.", (("(t - warm) / (total - warm)", "(t - warm) / total"),)),
    Wrong("a whole wave", "Half a wave: cos from 0 to pi.", (("np.cos(np.pi * share)", "np.cos(2 * np.pi * share)"),)),
    Wrong("a quarter of a wave", "(1 + cos) / 2 over half a wave.", (("(1 + np.cos(np.pi * share)) / 2", "np.cos(np.pi * share / 2)"),)),
    Wrong("a straight line down", "Half a cosine, flat at both ends.", (("(1 + np.cos(np.pi * share)) / 2", "(1 - share)"),)),
    Wrong("no warm-up", "In the first updates the rate rises.", (("np.where(t < warm, rising, falling)", "np.where(t < warm, base, falling)"),)),
    Wrong("it reaches 0 in the last update", "It would be 0 at t = total, one update behind the last.", (("/ (total - warm)", "/ (total - 1 - warm)"),)),
)  # fmt: skip


def adam_cases(rng: np.random.Generator) -> list[Arguments]:
    """The first step from zero, then later ones; eps is large enough to be seen."""
    found = []
    for shape, t, start in (((3,), 1, 0), ((2, 3), 5, 1), ((4,), 100, 1)):
        p, g, m = rng.standard_normal((3, *shape))
        rest = {"t": t, "lr": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 0.01}
        found.append({"p": p, "g": g, "m": start * m, "v": start * rng.uniform(0.5, 2, shape), **rest})
    return found


def adam(
    p: Array, g: Array, m: Array, v: Array, t: int, lr: float, beta1: float, beta2: float, eps: float
) -> tuple[Array, Array, Array]:
    """Running means, corrected for their start."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    p = p - lr * m_hat / (np.sqrt(v_hat) + eps)
    return p, m, v


ADAM = (
    Wrong("the start is not corrected", "m and v start at zero, and are too small by 1 - beta^t.", (("m / (1 - beta1**t)", "m"), ("v / (1 - beta2**t)", "v"))),
    Wrong("only m is corrected", "v started at zero, too.", (("v / (1 - beta2**t)", "v"),)),
    Wrong("the correction counts from 0", "t counts from 1: at the first step it is 1 - beta.", (("beta1**t", "beta1 ** (t + 1)"), ("beta2**t", "beta2 ** (t + 1)"))),
    Wrong("the corrected means are handed on", "The correction is for this step only: m and v themselves run on.", (("return p, m, v", "return p, m_hat, v_hat"),)),
    Wrong("the root is forgotten", "Divided by sqrt(v): v is a mean of squares.", (("np.sqrt(v_hat)", "v_hat"),)),
    Wrong("eps stands under the root", "sqrt(v) + eps.", (("(np.sqrt(v_hat) + eps)", "np.sqrt(v_hat + eps)"),)),
    Wrong("beta and 1 - beta are exchanged", "The old mean weighs beta, the new gradient 1 - beta.", (("beta1 * m + (1 - beta1) * g", "(1 - beta1) * m + beta1 * g"), ("beta2 * v + (1 - beta2) * g**2", "(1 - beta2) * v + beta2 * g**2"))),
    Wrong("it goes uphill", "p falls along the gradient: minus.", (("p - lr", "p + lr"),)),
    Wrong("v is the mean of g, not of its square", "v <- beta2 v + (1 - beta2) g^2.", (("g**2", "np.abs(g)"),)),
    Wrong("the step is made with g in place of m", "The mean of the gradients is the direction.", (("lr * m_hat", "lr * g"),)),
)  # fmt: skip


def norm_cases(rng: np.random.Generator) -> list[Arguments]:
    """One vector, then a batch; a gain that is not one."""
    found = []
    for N, F in ((1, 3), (4, 5), (3, 2)):
        x = 1 + 2 * rng.standard_normal((N, F))
        found.append({"dy": rng.standard_normal((N, F)), "x": x, "gain": rng.uniform(0.5, 2, F), "eps": 0.1})
    return found


def layer_norm_backward(dy: Array, x: Array, gain: Array, eps: float) -> tuple[Array, Array, Array]:
    """The three roads as two means that are taken off."""
    scale = 1 / np.sqrt(x.var(axis=1, keepdims=True) + eps)
    n = (x - x.mean(axis=1, keepdims=True)) * scale
    dn = dy * gain
    by_mean = dn.mean(axis=1, keepdims=True)
    by_var = (dn * n).mean(axis=1, keepdims=True) * n
    return scale * (dn - by_mean - by_var), (dy * n).sum(axis=0), dy.sum(axis=0)


NORM = (
    Wrong("the road through the mean is missing", "x is in the mean, too: raising it lowers all others.", (("dn - by_mean - by_var", "dn - by_var"),)),
    Wrong("the road through the variance is missing", "x is in the variance, too.", (("dn - by_mean - by_var", "dn - by_mean"),)),
    Wrong("mean and variance are taken as constants", "x reaches n by three roads: itself, the mean, the variance.", (("dn - by_mean - by_var", "dn"),)),
    Wrong("the gain is left out of dx", "dn = dy gain.", (("dn = dy * gain", "dn = dy"),)),
    Wrong("1 / sqrt(var + eps) is left out of dx", "n is x - mean times 1 / sqrt(var + eps).", (("scale * (dn", "1.0 * (dn"),)),
    Wrong("dgain is made with x", "The gain met n.", (("(dy * n).sum(axis=0)", "(dy * x).sum(axis=0)"),)),
    Wrong("dgain and db are means over the rows", "gain and b are used by every row: sums.", (("(dy * n).sum(axis=0), dy.sum(axis=0)", "(dy * n).mean(axis=0), dy.mean(axis=0)"),)),
    Wrong("the variance divides by F - 1", "Divided by F.", (("x.var(axis=1, keepdims=True)", "x.var(axis=1, ddof=1, keepdims=True)"),)),
    Wrong("eps is left out", "sqrt(var + eps).", ((" + eps)", ")"),)),
)  # fmt: skip

EXERCISES = [
    Exercise(
        id="10/ex1", title="Inverted dropout", function="dropout", outputs=("y", "dx"), right=dropout, cases=dropout_cases,
        wrongs=DROPOUT, paragraph="Dropout",
        hints=("One mask: 0 where dropped, 1 / (1 - p) where kept.", "The same mask multiplies dy."),
    ),
    Exercise(
        id="10/ex2", title="Warm-up and cosine", function="rates", outputs=("lr",), right=rates, cases=rates_cases, wrongs=RATES,
        timed=("lr",), backwards=False, paragraph="Schedules",
        hints=("Two pieces: t < warm and the rest.", "In the second, cos runs from 0 at t = warm to pi at t = total."),
    ),
    Exercise(
        id="10/ex3", title="One step of Adam", function="adam", outputs=("p", "m", "v"), right=adam, cases=adam_cases, wrongs=ADAM,
        paragraph="Schedules",
        hints=("First the running means, with the new gradient in them.", "The corrected means are used in this step and not kept."),
    ),
    Exercise(
        id="10/ex4", title="Layer normalisation backward", function="layer_norm_backward", outputs=("dx", "dgain", "db"),
        right=layer_norm_backward, cases=norm_cases, wrongs=NORM, paragraph="Normalisation",
        hints=(
            "gain and b are as in a linear layer; the work is from dn = dy gain to dx.",
            "Write the forward pass as three lines: centred, var, n. centred is read twice.",
            "dx = (dn - mean(dn) - n mean(dn n)) / sqrt(var + eps), means over the features.",
        ),
    ),
]  # fmt: skip
