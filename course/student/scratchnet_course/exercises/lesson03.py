"""Lesson 03, backpropagation through time: one unit by hand, the cell forward and backward, and whose gradient it is."""

from types import ModuleType
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import rnn
from scratchnet_course.exercise import Arguments, Exercise, Wrong


def scalar_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, three as on the worksheet, and more."""
    found: list[Arguments] = []
    for T in (1, 3, 6):
        weights = {"w": rng.uniform(0.3, 1.2), "u": rng.uniform(0.4, 1.1), "b": rng.uniform(0.1, 0.5), "h0": rng.uniform(0.2, 0.8)}
        found.append({**weights, "x": rng.standard_normal(T), "target": rng.uniform(-0.9, 0.9, T)})
    return found


def scalar(w: float, u: float, b: float, h0: float, x: Array, target: Array) -> tuple[float, float, float, float]:
    """Forward, then back."""
    T = len(x)
    h = np.zeros(T + 1)
    h[0] = h0
    for t in range(T):
        h[t + 1] = np.tanh(w * x[t] + u * h[t] + b)
    dw, du, db, dh_next = 0.0, 0.0, 0.0, 0.0
    for t in reversed(range(T)):
        dh = h[t + 1] - target[t] + dh_next
        da = dh * (1 - h[t + 1] ** 2)
        dw += da * x[t]
        du += da * h[t]
        db += da
        dh_next = da * u
    return dw, du, db, dh_next


SHARED, MEET = "A shared weight: the sum over its uses", "Two gradients meet in h"
SCALAR = (
    Wrong("dh_next is not added", "h is read twice, by the loss of its step and by the next step.", ((" + dh_next", ""),), MEET),
    Wrong("tanh' is missing", "h = tanh(a): from h to a goes 1 - h^2.", (("dh * (1 - h[t + 1] ** 2)", "dh"),), MEET),
    Wrong("tanh' is taken at the state before", "The tanh of step t made the state after it.", (("1 - h[t + 1] ** 2", "1 - h[t] ** 2"),), MEET),
    Wrong("du takes the state after the step", "u met the state before the step: a = ... + u h'.", (("da * h[t]", "da * h[t + 1]"),), SHARED),
    Wrong("dw is assigned in the loop", "The same w is used at every step: its gradient is the sum over them.", (("dw += da", "dw = da"),), SHARED),
    Wrong("du is assigned in the loop", "The same u is used at every step: its gradient is the sum over them.", (("du += da", "du = da"),), SHARED),
    Wrong("dh_next is not multiplied by u", "a = ... + u h': on the way back to h' stands u.", (("dh_next = da * u", "dh_next = da"),), MEET),
    Wrong("dh_next skips the tanh", "The way back leads through a: first 1 - h^2, then u.", (("dh_next = da * u", "dh_next = dh * u"),), MEET),
    Wrong("the loss is taken without its half", "L = 1/2 (h - target)^2 has the slope h - target.", (("h[t + 1] - target[t]", "2 * (h[t + 1] - target[t])"),), MEET),
    Wrong("the sign of the error is turned", "L rises with h where h is above the target.", (("h[t + 1] - target[t]", "target[t] - h[t + 1]"),), MEET),
)  # fmt: skip


def forward_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step of one unit, several of one sequence, a batch."""
    found: list[Arguments] = []
    for T, N, D, H in ((1, 1, 1, 1), (4, 1, 2, 3), (5, 3, 2, 4)):
        params = {name: rng.standard_normal(shape) / np.sqrt(H) for name, shape in rnn.param_shapes(D, H).items()}
        found.append({"x": rng.standard_normal((T, N, D)), "h0": rng.standard_normal((N, H)), **params})
    return found


def forward(x: Array, h0: Array, W_x: Array, W_h: Array, b: Array) -> Array:
    """a = x W_x + h' W_h + b, h = tanh(a)."""
    T, N, _ = x.shape
    y, h = np.zeros((T, N, len(b))), h0
    for t in range(T):
        a = x[t] @ W_x + h @ W_h + b
        y[t] = np.tanh(a)
        h = y[t]
    return y


FORWARD = (
    Wrong("the recurrence starts from zero", "The state before the first step is h0.", (("len(b))), h0", "len(b))), np.zeros_like(h0)"),)),
    Wrong("every step starts from h0", "Step t reads the state of step t-1, not the initial one.", (("        h = y[t]\n", ""),)),
    Wrong("W_h is transposed", "h W_h sums over rows of W_h: unit k of h' goes by row k.", (("h @ W_h", "h @ W_h.T"),)),
    Wrong("the pre-activation is carried on", "The next step reads h, behind the tanh.", (("h = y[t]", "h = a"),)),
    Wrong("the tanh is missing", "h = tanh(a); without it the network is linear.", (("np.tanh(a)", "a"),)),
    Wrong("the bias is added twice", "One bias is enough; a second is the same number once more.", (("+ b\n", "+ b + b\n"),)),
    Wrong("h' W_h is left out", "Without it no step knows of another: a = x W_x + h' W_h + b.", ((" + h @ W_h", ""),)),
    Wrong("the bias is left out", "a = x W_x + h' W_h + b.", (("h @ W_h + b", "h @ W_h"),)),
)  # fmt: skip


def backward_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, four steps of one sequence, and a batch with a gradient at the final state; the forward pass is given."""
    found: list[Arguments] = []
    for T, N, D, H, final in ((1, 2, 2, 3, 0), (4, 1, 2, 3, 0), (5, 3, 2, 4, 1)):
        params = [rng.standard_normal(shape) / np.sqrt(H) for shape in rnn.param_shapes(D, H).values()]
        x = rng.standard_normal((T, N, D))
        _, cache = rnn.forward(x, rng.standard_normal((N, H)), *params)
        arriving = {"dy": rng.standard_normal((T, N, H)), "dh_last": final * rng.standard_normal((N, H))}
        found.append({**arriving, "x": x, "h": cache.h, "W_x": params[0], "W_h": params[1]})
    return found


def backward(cell: ModuleType, dy: Array, dh_last: Array, x: Array, h: Array, W_x: Array, W_h: Array) -> Any:
    """Backpropagation through time, by the cell."""
    return cell.backward(dy, cell.Cache(x, h, W_x, W_h, "tanh", None), dh_last)


# Beside those of mistakes.toml: what only shows in a whole pass of one's own writing.
WHOLE = (
    Wrong("all weights' gradients are divided by N", "The loss is a sum over sequences, and so is its gradient; a mean belongs into the loss, once.", (("dW_x=x.reshape(T * N, D).T @ flat", "dW_x=x.reshape(T * N, D).T @ flat / N"), ("dW_h=h[:-1].reshape(T * N, -1).T @ flat", "dW_h=h[:-1].reshape(T * N, -1).T @ flat / N"), ("db=flat.sum(axis=0)", "db=flat.sum(axis=0) / N"))),
    Wrong("all weights' gradients are assigned, not summed, over time", "With = for += only the step visited last is left, t=0.", (("dW_x=x.reshape(T * N, D).T @ flat", "dW_x=x[0].T @ da[0]"), ("dW_h=h[:-1].reshape(T * N, -1).T @ flat", "dW_h=h[0].T @ da[0]"), ("db=flat.sum(axis=0)", "db=da[0].sum(axis=0)"))),
    Wrong("dh is carried along and added to", "dh_next is what left step t through W_h, alone: dh itself stays at its step.", (("dh_next = dh_prev  #", "dh_next = dh + dh_prev  #"),)),
)  # fmt: skip


def per_loss_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, two, and more; positive and negative weights."""
    return [
        {"u": rng.uniform(0.4, 1.4) * sign, "h": rng.uniform(-0.9, 0.9, T), "dy": rng.standard_normal(T)}
        for T, sign in ((1, 1), (2, 1), (6, -1))
    ]  # fmt: skip


def per_loss_gradients(u: float, h: Array, dy: Array) -> Array:
    """Down each column, from the loss's own step to the beginning."""
    T, slope = len(h), 1 - h**2
    G = np.zeros((T, T))
    for tau in range(T):
        arriving = dy[tau]
        for t in range(tau, -1, -1):
            G[t, tau] = arriving * slope[t]
            arriving = u * G[t, tau]
    return G


PER_LOSS = (
    Wrong("rows and columns are exchanged", "Row t is where the gradient is, column tau which loss it came from.", (("return G", "return G.T"),)),
    Wrong("the way back does not pass u", "Each step back goes through a = ... + u h': a factor u.", (("arriving = u * G", "arriving = G"),)),
    Wrong("tanh' is passed once only", "Every step on the way has a tanh of its own.", (("arriving = u * G[t, tau]", "arriving = u * arriving"),)),
    Wrong("only the own step's loss and the next one's", "The loss at tau reaches every earlier step, not only one.", (("range(tau, -1, -1)", "range(tau, max(tau - 2, -1), -1)"),)),
    Wrong("the slope of the loss's step is missing", "Also the loss's own step has a tanh between h and a.", (("arriving = dy[tau]", "arriving = dy[tau] / slope[tau]"),)),
)  # fmt: skip

EXERCISES = [
    Exercise(
        id="03/ex1", title="One unit by hand", function="scalar_bptt", outputs=("dw", "du", "db", "dh0"), right=scalar,
        cases=scalar_cases, wrongs=SCALAR, paragraph=MEET,
        hints=(
            "Keep all states of the forward pass, with h0 at the front.",
            "Walk back from the last step, and carry one number: what the step before will receive.",
            "dh = (h - target) + dh_next, da = dh (1 - h^2), dh_next = da u; and add to dw, du, db at every step.",
        ),
    ),
    Exercise(
        id="03/ex2", title="The forward pass", function="rnn_forward", outputs=("y",), right=forward, cases=forward_cases,
        wrongs=FORWARD, timed=("y",), backwards=False, paragraph="The vector cell",
        hints=("One loop over t, one state that is carried along.", "a = x[t] @ W_x + h @ W_h + b, and y[t] = tanh(a)."),
    ),
    Exercise(
        id="03/ex3", title="All steps back", function="rnn_backward", outputs=("dx", "dh0", "dW_x", "dW_h", "db"),
        right=backward, cases=backward_cases, cell="rnn", wrongs=WHOLE, timed=("dx",), paragraph="Backwards through the vector cell",
        hints=(
            "Begin with what arrives at the final state, dh_last, and walk back from t = T-1.",
            "h[t + 1] is the state that step t made, h[t] the one it met.",
            "Each weight's gradient is a sum over steps and sequences.",
        ),
    ),
    Exercise(
        id="03/ex4", title="Which loss made which gradient", function="per-loss", outputs=("G",), right=per_loss_gradients,
        cases=per_loss_cases, wrongs=PER_LOSS, paragraph="Which loss made which gradient",
        hints=("On the diagonal stands dy (1 - h^2).", "One step up a column: times u, times 1 - h^2 of the step that it arrives at."),
    ),
]  # fmt: skip
