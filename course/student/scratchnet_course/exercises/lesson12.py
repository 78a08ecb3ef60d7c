"""Lesson 12, ragged batches and attention: reversing, a masked loss, pooling, and back through a softmax."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_course.exercise import Arguments, Exercise, Wrong


def turn_cases(rng: np.random.Generator) -> list[Arguments]:
    """A full sequence, then a ragged batch with something in its padding."""
    shapes = ((4, 1, 1, [4]), (6, 3, 2, [6, 2, 3]), (5, 3, 2, [1, 4, 2]))
    return [{"x": rng.standard_normal((T, N, D)), "lengths": np.array(lengths)} for T, N, D, lengths in shapes]


def turn_around(x: Array, lengths: Array) -> Array:
    """The row from which each row comes, then one look-up."""
    T, N, _ = x.shape
    t = np.arange(T)[:, None]
    source = np.where(t < lengths, lengths - 1 - t, t)
    return x[source, np.arange(N)]


TURN = (
    Wrong("the whole array is turned around", "Each sequence begins at its own last step, not in the padding.", (("np.where(t < lengths, lengths - 1 - t, t)", "np.broadcast_to(T - 1 - t, (T, N))"),)),
    Wrong("nothing is turned around", "The last real step comes first.", (("lengths - 1 - t, t)", "t + 0 * lengths, t)"),)),
    Wrong("the first length is taken for all", "Each sequence has its own length.", (("np.where(t < lengths, lengths - 1 - t, t)", "np.where(t < lengths[0], lengths[0] - 1 - t, t + 0 * lengths)"),)),
    Wrong("one step off", "The last real step is lengths - 1, counted from 0.", (("lengths - 1 - t, t)", "(lengths - t) % lengths, t)"),)),
    Wrong("the padding is turned around, too", "Padding stays where it is.", (("lengths - 1 - t, t)", "lengths - 1 - t, T - 1 - t + lengths)"),)),
)  # fmt: skip


def ragged(rng: np.random.Generator, T: int, N: int) -> Array:
    """Lengths of which one is T and one is shorter, where there are two."""
    lengths = rng.integers(1, T + 1, N)
    lengths[-1] = max(1, T - 2)
    lengths[0] = T
    return lengths


def masked_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, and ragged batches with numbers in the padding, one or several outputs a step."""
    found = []
    for T, N, K in ((1, 1, 1), (4, 2, 1), (6, 3, 2)):
        y, target = rng.standard_normal((2, T, N, K))
        found.append({"y": y, "target": target, "lengths": ragged(rng, T, N)})
    return found


def masked_mse(y: Array, target: Array, lengths: Array) -> tuple[float, Array]:
    """Multiply by a mask, divide by what it keeps."""
    K = y.shape[2]
    mask = (np.arange(len(y))[:, None] < lengths)[:, :, None]
    n = mask.sum() * K
    r = (y - target) * mask
    dy = 2 * r / n
    return float(np.sum(r * r)) / n, dy


MASKED = (
    Wrong("divided by all elements, padding included", "The mean is over what is there.", (("mask.sum() * K", "y.size"),)),
    Wrong("padding is in the loss", "A step past the length is no answer: it does not count.", (("(y - target) * mask", "(y - target)"),)),
    Wrong("divided by the real steps, not by their elements", "n counts every kept element: K of them at each step.", (("mask.sum() * K", "mask.sum()"),)),
    Wrong("the 2 is forgotten", "The derivative of r^2 is 2 r.", (("dy = 2 * r / n", "dy = r / n"),)),
    Wrong("the gradient is not divided by n", "The loss is a mean, and so its gradient is divided too.", (("dy = 2 * r / n", "dy = 2 * r"),)),
    Wrong("one step too many is kept", "The steps 0 to length - 1 are real: t < length.", (("[:, None] < lengths", "[:, None] <= lengths"),)),
    Wrong("each sequence has its own mean", "One mean over all that is kept: a long sequence counts more.", (("    r = (y - target)", "    n = K * len(lengths) * lengths[:, None]\n    r = (y - target)"), ("float(np.sum(r * r)) / n", "float(np.sum(r * r / n))"))),
)  # fmt: skip


def pool_cases(rng: np.random.Generator) -> list[Arguments]:
    """One sequence, and ragged batches with numbers in the padding."""
    found = []
    for T, N, D, U in ((3, 1, 1, 1), (5, 2, 3, 2), (6, 3, 2, 4)):
        W, b, v = rng.standard_normal((D, U)), rng.standard_normal(U), 2 * rng.standard_normal(U)
        found.append({"x": rng.standard_normal((T, N, D)), "lengths": ragged(rng, T, N), "W": W, "b": b, "v": v})
    return found


def pool(x: Array, lengths: Array, W: Array, b: Array, v: Array) -> tuple[Array, Array]:
    """Scores, minus infinity in the padding, softmax over time, a weighted mean."""
    scores = np.tanh(x @ W + b) @ v
    t = np.arange(len(x))[:, None]
    scores = np.where(t < lengths, scores, -np.inf)
    raised = np.exp(scores - scores.max(axis=0))
    weights = raised / raised.sum(axis=0)
    return (weights[:, :, None] * x).sum(axis=0), weights


POOL = (
    Wrong("the padding is looked at", "A score of minus infinity in the padding, so that its weight is zero.", (("np.where(t < lengths, scores, -np.inf)", "np.where(t < lengths, scores, scores)"),), "Attention: softmax over the keys"),
    Wrong("the padding gets a score of 0", "exp(0) is 1, and that is no zero weight: minus infinity.", (("-np.inf)", "0.0)"),), "Attention: softmax over the keys"),
    Wrong("the mask comes after the softmax", "The weights of the real steps sum to one: mask the scores, not the weights.", (("np.where(t < lengths, scores, -np.inf)", "np.where(t < lengths, scores, scores)"), ("raised / raised.sum(axis=0)", "raised / raised.sum(axis=0) * (t < lengths)")), "Attention: softmax over the keys"),
    Wrong("the softmax goes over the sequences", "The steps of one sequence compete, not the sequences of a batch.", (("raised.sum(axis=0)", "raised.sum(axis=1, keepdims=True)"),)),
    Wrong("the tanh is left out", "a = tanh(x W + b).", (("np.tanh(x @ W + b)", "(x @ W + b)"),)),
    Wrong("b is left out", "a = tanh(x W + b).", (("x @ W + b", "x @ W"),)),
    Wrong("all steps count the same", "y is the mean with the weights.", (("(weights[:, :, None] * x).sum(axis=0)", "x.mean(axis=0)"),)),
    Wrong("the scores are divided by sqrt(U)", "That belongs to dot products of queries and keys; here v has its own size.", (("@ v\n", "@ v / np.sqrt(len(v))\n"),)),
)  # fmt: skip


def back_cases(rng: np.random.Generator) -> list[Arguments]:
    """One sequence, then batches; the weights sum to one over time."""
    found = []
    for T, N, D in ((2, 1, 1), (4, 3, 2), (5, 2, 3)):
        raised = rng.uniform(0.1, 1, (T, N))
        found.append({"dy": rng.standard_normal((N, D)), "weights": raised / raised.sum(axis=0), "x": rng.standard_normal((T, N, D))})
    return found


def pool_backward(dy: Array, weights: Array, x: Array) -> tuple[Array, Array]:
    """To the weights, through the softmax; and to x."""
    dx = weights[:, :, None] * dy
    dweights = (dy * x).sum(axis=2)
    average = (weights * dweights).sum(axis=0)
    dscores = weights * (dweights - average)
    return dscores, dx


BACK = (
    Wrong("the average is not taken off", "Raising a score takes from all other weights.", (("(dweights - average)", "dweights"),)),
    Wrong("the softmax is passed over", "dweights are not yet dscores: go back through the softmax.", (("weights * (dweights - average)", "dweights"),)),
    Wrong("the softmax is treated as a sigmoid", "w (1 - w) is the slope of a weight along its own score only.", (("weights * (dweights - average)", "weights * (1 - weights) * dweights"),)),
    Wrong("a plain average is taken off", "The average is weighted: steps that are looked at count more.", (("(weights * dweights).sum(axis=0)", "dweights.mean(axis=0)"),)),
    Wrong("the average is over the sequences", "Over time: the steps of one sequence compete.", (("(weights * dweights).sum(axis=0)", "(weights * dweights).sum(axis=1, keepdims=True)"),)),
    Wrong("dx has no weights", "y = sum weights x: step t gets its weight's share of dy.", (("dx = weights[:, :, None] * dy", "dx = np.ones_like(x) * dy"),)),
    Wrong("the weights do not multiply", "dscores = weights (dweights - average).", (("weights * (dweights - average)", "dweights - average"),)),
)  # fmt: skip

EXERCISES = [
    Exercise(
        id="12/ex1", title="Reverse within the lengths", function="turn_around", outputs=("turned",), right=turn_around,
        cases=turn_cases, wrongs=TURN, timed=("turned",), backwards=False, paragraph="Reversing inside the length",
        hints=("Go through the sequences one by one: lengths[n] rows of x[:, n].", "Begin with a copy of x: the padding is then in place."),
    ),
    Exercise(
        id="12/ex2", title="A masked loss", function="masked_mse", outputs=("loss", "dy"), right=masked_mse, cases=masked_cases,
        wrongs=MASKED, timed=("dy",), paragraph="The loss has a mask",
        hints=("np.arange(T)[:, None] < lengths is True where a step is real.", "Count the kept elements, K of them at each real step."),
    ),
    Exercise(
        id="12/ex3", title="Attention pooling", function="pool", outputs=("y", "weights"), right=pool, cases=pool_cases,
        wrongs=POOL, timed=("weights",), backwards=False, paragraph="Attention, learned",
        hints=(
            "scores are (T, N), and the softmax runs over the first axis.",
            "Put minus infinity where t >= length before you take exp.",
            "Take off the largest score first: it changes nothing, and exp cannot overflow.",
        ),
    ),
    Exercise(
        id="12/ex4", title="Back through the weights", function="pool_backward", outputs=("dscores", "dx"), right=pool_backward,
        cases=back_cases, wrongs=BACK, timed=("dscores", "dx"), paragraph="Softmax backward",
        hints=("y is a product of weights and x: each gets the other times dy.", "dscores of a sequence sum to zero over time."),
    ),
]  # fmt: skip
