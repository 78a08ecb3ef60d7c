"""Lesson 13, forecasting honestly: a baseline, windows, the quantile loss, and coverage."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_course.exercise import Arguments, Exercise, Wrong


def seasonal_cases(rng: np.random.Generator) -> list[Arguments]:
    """Less than a season ahead, and more than one."""
    return [{"past": rng.standard_normal(m), "horizon": h, "season": s} for m, h, s in ((4, 2, 3), (9, 8, 3), (12, 9, 4))]


def seasonal(past: Array, horizon: int, season: int) -> Array:
    """The last season, again and again."""
    last = past[len(past) - season :]
    return last[np.arange(horizon) % season]


SEASONAL = (
    Wrong("the last value is repeated", "Each step is as it was one season ago, not as it was last.", (("last[np.arange(horizon) % season]", "np.full(horizon, past[-1])"),)),
    Wrong("the first season stands for the last", "What counts is the season just before the origin.", (("past[len(past) - season :]", "past[:season]"),)),
    Wrong("one step out of phase", "The first step ahead is as the first of the last season.", (("np.arange(horizon) % season", "(np.arange(horizon) + 1) % season"),)),
    Wrong("the season runs backwards", "The last season is repeated in its own order.", (("np.arange(horizon) % season", "season - 1 - np.arange(horizon) % season"),)),
)  # fmt: skip


def window_cases(rng: np.random.Generator) -> list[Arguments]:
    """A start that leaves room before it, and one that does not."""
    return [{"values": rng.standard_normal(T), "width": w, "start": s} for T, w, s in ((8, 2, 4), (12, 3, 7), (9, 4, 2))]


def test_windows(values: Array, width: int, start: int) -> tuple[Array, Array]:
    """Every row from start on that has width rows before it."""
    at = np.arange(max(start, width), len(values))
    x = values[at[:, None] + np.arange(-width, 0)]
    return x, values[at]


WINDOWS = (
    Wrong("the target is among the inputs", "The window ends at the row before its target.", (("np.arange(-width, 0)", "np.arange(-width + 1, 1)"),)),
    Wrong("the windows start at the boundary, not the targets", "An input may reach back before the test part: that was known by then.", (("max(start, width)", "start + width"),)),
    Wrong("targets before the boundary are kept", "Only rows from start on are tested.", (("max(start, width)", "width"),)),
    Wrong("the last window is lost", "The last row is a target, too.", (("width), len(values))", "width), len(values) - 1)"),)),
    Wrong("the window is turned around", "Oldest row first.", (("np.arange(-width, 0)", "np.arange(-1, -width - 1, -1)"),)),
)  # fmt: skip


def quantile_cases(rng: np.random.Generator) -> list[Arguments]:
    """A high level and a low one."""
    return [{"y": rng.standard_normal(n), "truth": rng.standard_normal(n), "q": q} for n, q in ((4, 0.9), (7, 0.05), (5, 0.3))]


def quantile_loss(y: Array, truth: Array, q: float) -> tuple[float, Array]:
    """Pinball."""
    r = truth - y
    loss = np.mean(np.maximum(q * r, (q - 1) * r))
    dy = np.where(r > 0, -q, 1 - q) / len(y)
    return float(loss), dy


QUANTILE = (
    Wrong("q and 1 - q are exchanged", "Too low costs q: where the truth is above y.", (("np.maximum(q * r, (q - 1) * r)", "np.maximum((1 - q) * r, -q * r)"), ("-q, 1 - q", "-(1 - q), q"))),
    Wrong("the gradient's sign is turned", "r falls as y rises: where r > 0 the gradient is -q.", (("-q, 1 - q", "q, q - 1"),)),
    Wrong("the mean is not in the gradient", "The loss is a mean over n, and so is its gradient.", ((" / len(y)", ""),)),
    Wrong("the loss is a sum", "The mean over n.", (("np.mean(", "np.sum("),)),
    Wrong("an absolute error", "Both sides cost alike only at q = 1/2.", (("np.maximum(q * r, (q - 1) * r)", "np.abs(r)"), ("-q, 1 - q", "-1.0, 1.0"))),
)  # fmt: skip


def coverage_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, and several; some of the truth stands exactly on an end."""
    found = []
    for n, horizon in ((5, 1), (6, 3)):
        low = rng.standard_normal((n, horizon))
        high = low + rng.uniform(0.5, 2, (n, horizon))
        truth = low + rng.uniform(-0.8, 2.2, (n, horizon))
        truth[0, 0] = high[0, 0]
        found.append({"low": low, "high": high, "truth": truth})
    return found


def covered(low: Array, high: Array, truth: Array) -> tuple[float, float]:
    """How often, and how wide."""
    inside = (low <= truth) & (truth <= high)
    return float(inside.mean()), float((high - low).mean())


COVERAGE = (
    Wrong("only the upper end is looked at", "Inside is between both ends.", (("(low <= truth) & (truth <= high)", "truth <= high"),)),
    Wrong("only the lower end is looked at", "Inside is between both ends.", (("(low <= truth) & (truth <= high)", "low <= truth"),)),
    Wrong("the share outside", "Coverage is the share inside.", (("inside.mean()", "(1 - inside.mean())"),)),
    Wrong("a path counts only as a whole", "Each step counts by itself.", (("inside.mean()", "inside.all(axis=1).mean()"),)),
    Wrong("half the width", "From low to high.", (("(high - low).mean()", "(high - low).mean() / 2"),)),
    Wrong("the ends do not belong to it", "A truth on the end is inside.", (("(low <= truth) & (truth <= high)", "(low < truth) & (truth < high)"),)),
)  # fmt: skip

EXERCISES = [
    Exercise(
        id="13/ex1", title="Seasonal last value", function="seasonal", outputs=("forecast",), right=seasonal,
        cases=seasonal_cases, wrongs=SEASONAL, timed=("forecast",), backwards=False, paragraph="The picture that proves nothing",
        hints=("Take the last `season` rows.", "Step k is number k % season of them."),
    ),
    Exercise(
        id="13/ex2", title="Windows without a look into the future", function="test_windows", outputs=("x", "y"),
        right=test_windows, cases=window_cases, wrongs=WINDOWS, paragraph="What may be looked at",
        hints=("List the rows that are targets first.", "The window of target t is values[t - width : t]."),
    ),
    Exercise(
        id="13/ex3", title="The quantile loss", function="quantile_loss", outputs=("loss", "dy"), right=quantile_loss,
        cases=quantile_cases, wrongs=QUANTILE, paragraph="Intervals, and how often they hold",
        hints=("r = truth - y; where r > 0 the loss is q r.", "dr/dy is -1, and the mean divides by n."),
    ),
    Exercise(
        id="13/ex4", title="Coverage and width", function="covered", outputs=("inside", "width"), right=covered,
        cases=coverage_cases, wrongs=COVERAGE, paragraph="Intervals, and how often they hold",
        hints=("Two comparisons, joined by and.", "Every step of every forecast counts once."),
    ),
]  # fmt: skip
