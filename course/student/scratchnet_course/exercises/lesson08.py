"""Lesson 08, truncated and stateful BPTT: the windows, the share lost, carrying the state, windows that overlap."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import rnn
from scratchnet_course.exercise import Arguments, Exercise, Wrong

NUMBERS, TERMS, STATE = "Two numbers: k1 and k2", "Which terms are thrown away", "The state goes on, the gradient does not"


def window_cases(rng: np.random.Generator) -> list[Arguments]:
    """Chunks that fit, then overlapping windows, and a rest at the end."""
    found: list[Arguments] = [{"T": 8, "k1": 4, "k2": 4}, {"T": 12, "k1": 3, "k2": 5}]
    for _ in range(3):
        k1, whole = int(rng.integers(3, 6)), int(rng.integers(3, 6))
        found.append({"T": k1 * whole + int(rng.integers(1, k1)), "k1": k1, "k2": k1 + int(rng.integers(2, 2 * k1))})
    return found


def windows(T: int, k1: int, k2: int) -> Array:
    """Every k1 steps one."""
    found = []
    for new in range(0, T, k1):
        stop = min(new + k1, T)
        found.append((max(0, stop - k2), new, stop))
    return np.array(found)


WINDOWS = (
    Wrong("a window begins before step 0", "There is nothing before step 0: the first windows are shorter.", (("max(0, stop - k2)", "stop - k2"),)),
    Wrong("the last window goes beyond the end", "stop is at most T.", (("min(new + k1, T)", "new + k1"),)),
    Wrong("k2 is counted from the first new step", "A window has k2 steps in all, the new ones among them.", (("stop - k2", "new - k2"),)),
    Wrong("no step is passed through again", "With k2 > k1 a window goes back into steps that are not new.", (("max(0, stop - k2)", "new"),)),
    Wrong("k1 and k2 are exchanged at the start", "Every k1 steps a window, and k2 steps back.", (("stop - k2", "stop - k1"),)),
    Wrong("the last window does not reach k2 back", "Also the short window at the end goes back k2 steps from its stop.", (("max(0, stop - k2)", "max(0, new + k1 - k2)"),)),
)  # fmt: skip


def share_cases(rng: np.random.Generator) -> list[Arguments]:
    """Ones at every step, then random gradients; a rest at the end."""
    found: list[Arguments] = [{"u": 0.5, "dy": np.ones(4), "k": 2}]
    for T, k in ((12, 4), (17, 5)):
        found.append({"u": float(rng.uniform(0.6, 0.99)), "dy": rng.uniform(0.2, 1.5, T), "k": k})
    return found


def share_lost(u: float, dy: Array, k: int) -> tuple[float, float, float]:
    """Pair by pair."""
    kept, whole = 0.0, 0.0
    for tau in range(len(dy)):
        for t in range(tau + 1):
            term = dy[tau] * u ** (tau - t)
            whole += term
            if t >= tau - tau % k:
                kept += term
    return kept, whole, abs(whole - kept) / abs(whole)


LOST = (
    Wrong("every loss goes back k steps", "In chunks a loss goes back to its own chunk's first step: one step at the earliest.", (("t >= tau - tau % k", "t > tau - k"),), TERMS),
    Wrong("the share that is kept is returned", "Thrown away is whole minus kept.", (("abs(whole - kept)", "abs(kept)"),)),
    Wrong("it is divided by what is kept", "A share of the whole.", (("/ abs(whole)", "/ abs(kept)"),)),
    Wrong("a loss does not reach its own step", "At t = tau the power is 0 and the term is dy: b acts on h at once.", (("range(tau + 1)", "range(tau)"),)),
    Wrong("one power of u too many", "From h at tau to b at tau there is no u on the way.", (("u ** (tau - t)", "u ** (tau - t + 1)"),)),
    Wrong("the gradient is taken at t in place of tau", "The loss is at tau, and t is the earlier step: dy[tau].", (("dy[tau]", "dy[t]"),)),
    Wrong("chunks begin one step late", "Chunks begin at 0, k, 2k, ...", (("t >= tau - tau % k", "t > tau - tau % k"),), NUMBERS),
    Wrong("pairs across the edge are kept", "A chunk's first state is a constant: nothing before it gets a gradient.", (("t >= tau - tau % k", "t >= tau - tau % k - 1"),), TERMS),
)  # fmt: skip


def stateful_cases(rng: np.random.Generator) -> list[Arguments]:
    """Two chunks of one unit, then three of several."""
    found: list[Arguments] = []
    for T, N, D, H, k in ((4, 1, 1, 1, 2), (9, 2, 2, 3, 3), (8, 3, 2, 4, 4)):
        params = {name: rng.standard_normal(shape) / np.sqrt(H) for name, shape in rnn.param_shapes(D, H).items()}
        arrays = {"x": rng.standard_normal((T, N, D)), "dy": rng.standard_normal((T, N, H)), "h0": rng.standard_normal((N, H))}
        found.append({**arrays, **params, "k": k})
    return found


def stateful(x: Array, dy: Array, h0: Array, W_x: Array, W_h: Array, b: Array, k: int) -> tuple[Array, Array]:
    """Chunk after chunk: forward from the state carried, back to the chunk's first step."""
    y, dW_h, state = np.zeros_like(dy), np.zeros_like(W_h), h0
    for start in range(0, len(x), k):
        h = [state]
        for t in range(start, start + k):
            h.append(np.tanh(x[t] @ W_x + h[-1] @ W_h + b))
            y[t] = h[-1]
        dh_next = np.zeros_like(h0)
        for t in reversed(range(k)):
            da = (dy[start + t] + dh_next) * (1 - h[t + 1] ** 2)
            dW_h += h[t].T @ da
            dh_next = da @ W_h.T
        state = h[-1]
    return y, dW_h


STATEFUL = (
    Wrong("the state is set to zero at each chunk", "Stateful: each chunk goes on where the last one ended.", (("        state = h[-1]\n", "        state = np.zeros_like(h0)\n"),)),
    Wrong("every chunk starts from h0", "Stateful: each chunk goes on where the last one ended.", (("        state = h[-1]\n", ""),)),
    Wrong("the state before the chunk's last step is carried", "The state after the chunk's last step.", (("state = h[-1]\n", "state = h[-2]\n"),)),
    Wrong("no gradient goes back within a chunk", "The cut is between chunks; inside one dh_next is carried as ever.", (("            dh_next = da @ W_h.T\n", ""),), TERMS),
    Wrong("dh_next of the later chunk is added in the earlier", "The gradient stops at a chunk's first state; that of the chunk computed last does not belong into the next.", (("        dh_next = np.zeros_like(h0)\n", "        dh_next = np.zeros_like(h0) if start == 0 else dh_next\n"),)),
    Wrong("only the last chunk's gradient is returned", "The chunks' gradients are added.", (("        dh_next = np.zeros_like(h0)\n", "        dh_next = np.zeros_like(h0)\n        dW_h = np.zeros_like(W_h)\n"),)),
    Wrong("dW_h takes the state after the step", "W_h met the state before the step.", (("h[t].T @ da", "h[t + 1].T @ da"),), TERMS),
    Wrong("a chunk's first state is taken for zero on the way back", "No gradient goes through the carried state, but as a number it stands in dW_h.", (("dW_h += h[t].T @ da", "dW_h += h[t].T @ da * (t > 0)"),)),
)  # fmt: skip


def truncated_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit in two windows, then overlapping windows with a rest at the end."""
    found: list[Arguments] = []
    for T, N, D, H, k1, k2 in ((4, 1, 1, 1, 2, 3), (9, 2, 2, 3, 3, 5), (11, 3, 2, 4, 3, 7)):
        params = [rng.standard_normal(shape) / np.sqrt(H) for shape in rnn.param_shapes(D, H).values()]
        x = rng.standard_normal((T, N, D))
        _, cache = rnn.forward(x, rng.standard_normal((N, H)), *params)
        found.append({"dy": rng.standard_normal((T, N, H)), "x": x, "h": cache.h, "W_h": params[1], "k1": k1, "k2": k2})
    return found


def truncated(dy: Array, x: Array, h: Array, W_h: Array, k1: int, k2: int) -> tuple[Array, Array, Array]:
    """Window by window."""
    T, N, D = x.shape
    dW_x, dW_h, db = np.zeros((D, len(W_h))), np.zeros_like(W_h), np.zeros(len(W_h))
    for new in range(0, T, k1):
        stop = min(new + k1, T)
        start = max(0, stop - k2)
        dh_next = np.zeros((N, len(W_h)))
        for t in reversed(range(start, stop)):
            dh = dh_next + (dy[t] if t >= new else 0)
            da = dh * (1 - h[t + 1] ** 2)
            dW_x += x[t].T @ da
            dW_h += h[t].T @ da
            db += da.sum(axis=0)
            dh_next = da @ W_h.T
    return dW_x, dW_h, db


TRUNCATED = (
    Wrong("losses are counted again in each window", "Of a step that is passed through again only the gradient goes on; its loss was counted when it was new.", (("(dy[t] if t >= new else 0)", "dy[t]"),)),
    Wrong("steps that are passed through again add nothing", "A window goes back k2 steps from its stop, and the weights were used in all of them.", (("start = max(0, stop - k2)", "start = new"),)),
    Wrong("every window goes back to step 0", "No further than k2 steps: that is what makes it cheap.", (("start = max(0, stop - k2)", "start = 0"),)),
    Wrong("k2 is counted from the first new step", "A window has k2 steps in all, the new ones among them.", (("stop - k2", "new - k2"),)),
    Wrong("dW_h takes the state after the step", "W_h met the state before the step.", (("h[t].T @ da", "h[t + 1].T @ da"),), TERMS),
    Wrong("the last window does not reach k2 back", "Also the short window at the end goes back k2 steps from its stop.", (("start = max(0, stop - k2)", "start = max(0, new + k1 - k2)"),)),
)  # fmt: skip

EXERCISES = [
    Exercise(
        id="08/ex1", title="The windows", function="windows", outputs=("windows",), right=windows, cases=window_cases,
        wrongs=WINDOWS, paragraph=NUMBERS,
        hints=("A window for each of 0, k1, 2 k1, ... below T.", "stop first, then start = stop - k2, and mind the ends."),
    ),
    Exercise(
        id="08/ex2", title="The share that is thrown away", function="share_lost", outputs=("kept", "whole", "share"),
        right=share_lost, cases=share_cases, wrongs=LOST, paragraph="A network in which everything can be counted",
        hints=("The loss at tau adds dy[tau] u^(tau - t) for each t up to tau.", "It is kept where t and tau lie in one chunk."),
    ),
    Exercise(
        id="08/ex3", title="A stateful run", function="stateful", outputs=("y", "dW_h"), right=stateful, cases=stateful_cases,
        wrongs=STATEFUL, timed=("y",), backwards=False, paragraph=STATE,
        hints=(
            "Two loops over the chunks would do: the forward pass is that of the whole sequence.",
            "On the way back dh_next is zero at the end of every chunk, not only of the last.",
        ),
    ),
    Exercise(
        id="08/ex4", title="Windows that overlap", function="truncated", outputs=("dW_x", "dW_h", "db"), right=truncated,
        cases=truncated_cases, wrongs=TRUNCATED, paragraph=NUMBERS,
        hints=(
            "For each window walk from stop - 1 back to start, with dh_next zero at first.",
            "dy[t] is added only where t is new; everything else is done at every step of the window.",
        ),
    ),
]  # fmt: skip
