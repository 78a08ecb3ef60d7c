"""Lesson 09, long memory: a task's target, the lines of having learned nothing, time constants, a count of pairs."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_course.exercise import Arguments, Exercise, Wrong


def target_cases(rng: np.random.Generator) -> list[Arguments]:
    """Two steps, then sequences with two marks each, and one with three."""
    found = []
    for T, N, marks in ((2, 1, 2), (7, 3, 2), (6, 2, 3)):
        x = np.zeros((T, N, 2))
        x[:, :, 0] = rng.uniform(-1, 2, (T, N))
        for n in range(N):
            x[rng.permutation(T)[:marks], n, 1] = 1
        found.append({"x": x})
    return found


def target(x: Array) -> Array:
    """Number times mark, over time."""
    numbers, marks = x[:, :, :1], x[:, :, 1:]
    return np.sum(numbers * marks, axis=0)


TARGET = (
    Wrong("all numbers are added", "Only the marked ones: multiply by the mark.", (("numbers * marks", "numbers"),)),
    Wrong("the mean of the marked numbers", "Their sum.", (("np.sum(numbers * marks, axis=0)", "np.sum(numbers * marks, axis=0) / np.sum(marks, axis=0)"),)),
    Wrong("the sum is over the batch", "Time is the first axis; each sequence has its own sum.", (("np.sum(numbers * marks, axis=0)", "np.sum(numbers * marks, axis=1)"),)),
    Wrong("only the first marked number", "All marked numbers count.", (("numbers * marks", "numbers * marks * (np.cumsum(marks, axis=0) == 1)"),)),
    Wrong("the marks are added", "The numbers that stand beside the marks.", (("numbers * marks", "marks"),)),
    Wrong("those without a mark", "The marked ones.", (("numbers * marks", "numbers * (1 - marks)"),)),
)  # fmt: skip


def lines_cases(rng: np.random.Generator) -> list[Arguments]:
    """The papers' numbers, then others."""
    first = {"low": 0.0, "high": 1.0, "S": 8, "L": 10, "T": 100}
    others = ({"low": float(rng.uniform(-2, 0)), "high": float(rng.uniform(0.5, 2)), "S": S, "L": L, "T": T} for S, L, T in ((4, 3, 20), (5, 7, 12)))
    return [first, *others]


def lines(low: float, high: float, S: int, L: int, T: int) -> tuple[float, float]:
    """A variance, and L guesses among S in T + 2 L steps."""
    variance = (high - low) ** 2 / 12
    adding = 2 * variance
    copying = L * np.log(S) / (T + 2 * L)
    return adding, float(copying)


LINES = (
    Wrong("the variance of one number", "Two numbers are added: twice the variance of one.", (("2 * variance", "variance"),), "Adding"),
    Wrong("the square of the mean stands for the variance", "The error of the best constant answer is the variance of the target.", (("(high - low) ** 2 / 12", "((high + low) / 2) ** 2"),), "Adding"),
    Wrong("the standard deviation", "A mean squared error is a variance.", (("2 * variance", "np.sqrt(2 * variance)"),), "Adding"),
    Wrong("the variance grows as the square of two", "The variances of independent numbers add: twice, not four times.", (("2 * variance", "4 * variance"),), "Adding"),
    Wrong("only T + L steps", "The sequence has T + 2 L steps: L to read, T to wait, L to say.", (("(T + 2 * L)", "(T + L)"),), "Copying"),
    Wrong("not divided by the steps", "Per step: the blanks are right, and count.", ((" / (T + 2 * L)", ""),), "Copying"),
    Wrong("bits in place of nats", "The natural logarithm.", (("np.log(S)", "np.log2(S)"),), "Copying"),
    Wrong("the blank among the guesses", "That a symbol is wanted is known: S kinds, without the blank.", (("np.log(S)", "np.log(S + 1)"),), "Copying"),
)  # fmt: skip


def memory_cases(rng: np.random.Generator) -> list[Arguments]:
    """Two steps of one unit, then runs."""
    return [{"f": rng.uniform(0.3, 0.99, shape)} for shape in ((2, 1, 1), (6, 1, 3), (5, 3, 2))]


def memory(f: Array) -> tuple[Array, Array]:
    """Products of what comes after, and a mean of logarithms."""
    log_f = np.log(f)
    after = np.zeros_like(f)
    after[:-1] = np.cumsum(log_f[:0:-1], axis=0)[::-1]
    tau = -1 / log_f.mean(axis=(0, 1))
    return np.exp(after), tau


MEMORY = (
    Wrong("the step's own gate is counted", "What step s wrote passes the gates of s + 1 and later.", (("after[:-1] = np.cumsum(log_f[:0:-1], axis=0)[::-1]", "after = np.cumsum(log_f[::-1], axis=0)[::-1]"),)),
    Wrong("the product from the beginning", "What is left at the end passed the gates that come after.", (("after[:-1] = np.cumsum(log_f[:0:-1], axis=0)[::-1]", "after[1:] = np.cumsum(log_f[:-1], axis=0)"),)),
    Wrong("the gate of the next step alone", "All later gates: their product.", (("np.cumsum(log_f[:0:-1], axis=0)[::-1]", "log_f[1:]"),)),
    Wrong("tau of the mean gate", "What is left is a product: average the logarithms, not the gates.", (("-1 / log_f.mean(axis=(0, 1))", "-1 / np.log(f.mean(axis=(0, 1)))"),)),
    Wrong("tau is 1 / (1 - f)", "That is near for f near 1 only: tau = -1 / log f.", (("-1 / log_f.mean(axis=(0, 1))", "1 / (1 - f.mean(axis=(0, 1)))"),)),
    Wrong("the mean of the time constants", "First the mean of log f, then -1 over it.", (("-1 / log_f.mean(axis=(0, 1))", "(-1 / log_f).mean(axis=(0, 1))"),)),
    Wrong("a half-life", "tau is the time to 1/e, not to a half.", (("-1 / log_f", "-np.log(2) / log_f"),)),
    Wrong("one number for all units", "Each unit has its own time constant.", (("log_f.mean(axis=(0, 1))", "(log_f.mean() * np.ones(f.shape[2]))"),)),
)  # fmt: skip


def symbol_cases(rng: np.random.Generator) -> list[Arguments]:
    """Two symbols, then more, with pairs that never come."""
    found = []
    for K, M in ((2, 6), (3, 40), (5, 30)):
        x = rng.integers(0, K, M)
        y = (x + rng.integers(0, 2, M) * rng.integers(0, K, M)) % K
        y[x == 0] = rng.integers(0, K, int(np.sum(x == 0)))
        x[:2], y[:2] = 0, (0, 1)
        found.append({"x": x, "y": y, "K": K})
    return found


def one_symbol(x: Array, y: Array, K: int) -> float:
    """Count pairs, divide by how often the first came."""
    pairs = np.bincount(x * K + y, minlength=K * K).reshape(K, K)
    seen = pairs.sum(axis=1, keepdims=True)
    p = pairs / np.maximum(seen, 1)
    used = p[x, y]
    return -float(np.mean(np.log(used)))


SYMBOL = (
    Wrong("x is not looked at", "The probabilities are those of y after this x.", (("used = p[x, y]", "used = pairs.sum(axis=0)[y] / len(y)"),)),
    Wrong("the probability of the pair", "Divide by how often x came, not by all pairs.", (("used = p[x, y]", "used = pairs[x, y] / len(x)"),)),
    Wrong("x is predicted from y", "y follows x: divide by how often x came.", (("used = p[x, y]", "used = (pairs / np.maximum(pairs.sum(axis=0), 1))[x, y]"),)),
    Wrong("bits in place of nats", "The natural logarithm.", (("np.log(used)", "np.log2(used)"),)),
    Wrong("the sum in place of the mean", "Per pair.", (("np.mean(", "np.sum("),)),
    Wrong("the sign is turned", "Cross entropy is the mean of -log p, and positive.", (("-float(", "float("),)),
    Wrong("every count is raised by one", "With the probabilities counted, nothing added.", (("minlength=K * K).reshape(K, K)", "minlength=K * K).reshape(K, K) + 1"),)),
    Wrong("each x counts the same", "The mean is over the pairs: a frequent x counts more.", (("-float(np.mean(np.log(used)))", "-float(np.mean([np.log(used)[x == k].mean() for k in np.unique(x)]))"),)),
)  # fmt: skip

EXERCISES = [
    Exercise(
        id="09/ex1", title="The adding problem's target", function="target", outputs=("y",), right=target, cases=target_cases,
        wrongs=TARGET, paragraph="Adding",
        hints=("A mark is 0 or 1: multiply.", "Time is the first axis, and y keeps a last axis of one."),
    ),
    Exercise(
        id="09/ex2", title="The lines of having learned nothing", function="lines", outputs=("adding", "copying"), right=lines,
        cases=lines_cases, wrongs=LINES, paragraph="A line to beat",
        hints=("The variance of U(low, high) is (high - low)^2 / 12.", "In copying only L of T + 2 L steps cost anything."),
    ),
    Exercise(
        id="09/ex3", title="What is left, and for how long", function="memory", outputs=("left", "tau"), right=memory,
        cases=memory_cases, wrongs=MEMORY, timed=("left",), paragraph="Time constants",
        hints=("left at the last step is 1; go backwards from there.", "tau: the mean of log f first, over steps and sequences."),
    ),
    Exercise(
        id="09/ex4", title="Who sees one symbol", function="one_symbol", outputs=("cross_entropy",), right=one_symbol,
        cases=symbol_cases, wrongs=SYMBOL, paragraph="Counting",
        hints=("Make a table K by K of how often y followed x.", "Each row, divided by its sum, is a distribution."),
    ),
]  # fmt: skip
