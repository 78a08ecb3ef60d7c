"""Lesson 05, the LSTM forward: one step, all steps, the forget gate's bias, and reading saturation."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import lstm
from scratchnet.elementwise import sigmoid
from scratchnet_course.exercise import Arguments, Exercise, Wrong

GATES, BLOCKS = "Two states and four gates", "Side by side: the blocks"


def step_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, then a batch."""
    names = ("a_i", "a_f", "a_g", "a_o", "c_prev")
    return [{name: 1.5 * rng.standard_normal(shape) for name in names} for shape in ((1, 1), (3, 4))]


def step(a_i: Array, a_f: Array, a_g: Array, a_o: Array, c_prev: Array) -> tuple[Array, Array]:
    """c = f c' + i g, h = o tanh(c)."""
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    c = f * c_prev + i * g
    h = o * np.tanh(c)
    return c, h


STEP = (
    Wrong("the old cell state is left out", "c = f c' + i g: what is kept, and what is written.", (("f * c_prev + i * g", "i * g"),)),
    Wrong("the forget gate is left out", "c = f c' + i g: f says how much of c' is kept.", (("f * c_prev", "c_prev"),)),
    Wrong("the input gate is left out", "c = f c' + i g: i says how much of g is written.", (("i * g", "g"),)),
    Wrong("1 - f stands in place of the input gate", "Here i and f are gates of their own; coupled they are another cell.", (("i * g", "(1 - f) * g"),)),
    Wrong("i and f are exchanged", "f belongs to the old cell state, i to the candidate.", (("f * c_prev + i * g", "i * c_prev + f * g"),)),
    Wrong("the candidate has a sigmoid", "g = tanh(a_g): it may be negative, or c could only grow.", (("np.tanh(a_g)", "sigmoid(a_g)"),)),
    Wrong("the output gate has a tanh", "o = sigmoid(a_o): a gate lies between 0 and 1.", (("o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)", "o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), np.tanh(a_o)"),)),
    Wrong("h is made without the tanh of c", "h = o tanh(c): c has no bounds, h has.", (("o * np.tanh(c)", "o * c"),)),
    Wrong("h is made of the old cell state", "h shows the new cell state, after it was written.", (("np.tanh(c)\n", "np.tanh(c_prev)\n"),)),
    Wrong("h is made without the output gate", "h = o tanh(c): o says how much is shown.", (("o * np.tanh(c)", "np.tanh(c)"),)),
)  # fmt: skip


def forward_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step of one unit, then several of a batch."""
    found: list[Arguments] = []
    for T, N, D, H in ((1, 1, 1, 1), (4, 1, 2, 3), (5, 3, 2, 4)):
        params = {name: rng.standard_normal(shape) for name, shape in lstm.param_shapes(D, H).items()}
        states = {name: rng.standard_normal((N, H)) for name in ("h0", "c0")}
        found.append({"x": rng.standard_normal((T, N, D)), **states, **params})
    return found


def forward(x: Array, h0: Array, c0: Array, W_x: Array, W_h: Array, b: Array) -> tuple[Array, Array]:
    """The step in a loop; two states are carried."""
    h, c, hs, cs = h0, c0, [], []
    for t in range(len(x)):
        a_i, a_f, a_g, a_o = np.split(x[t] @ W_x + h @ W_h + b, 4, axis=-1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        c = f * c + i * g
        h = o * np.tanh(c)
        hs.append(h)
        cs.append(c)
    return np.array(hs), np.array(cs)


FORWARD = (
    Wrong("the blocks are read as i f o g", "The order of the blocks is i f g o.", (("a_i, a_f, a_g, a_o =", "a_i, a_f, a_o, a_g ="),), BLOCKS),
    Wrong("the blocks are read as i g f o", "The order of the blocks is i f g o.", (("a_i, a_f, a_g, a_o =", "a_i, a_g, a_f, a_o ="),), BLOCKS),
    Wrong("the blocks are read as f i g o", "The order of the blocks is i f g o.", (("a_i, a_f, a_g, a_o =", "a_f, a_i, a_g, a_o ="),), BLOCKS),
    Wrong("the blocks are read as i o f g", "The order of the blocks is i f g o.", (("a_i, a_f, a_g, a_o =", "a_i, a_o, a_f, a_g ="),), BLOCKS),
    Wrong("the old cell state is left out", "c = f c' + i g: what is kept, and what is written.", (("f * c + i * g", "i * g"),), GATES),
    Wrong("the forget gate keeps h' in place of c'", "c = f c' + i g: two states are carried, and it is c that is kept.", (("f * c + i * g", "f * h + i * g"),), GATES),
    Wrong("the gates see c' in place of h'", "a = x W_x + h' W_h + b: the old cell state is not in it.", (("h @ W_h", "c @ W_h"),), BLOCKS),
    Wrong("the candidate has a sigmoid", "g = tanh(a_g): it may be negative, or c could only grow.", (("np.tanh(a_g)", "sigmoid(a_g)"),), GATES),
    Wrong("the output gate has a tanh", "o = sigmoid(a_o): a gate lies between 0 and 1.", (("np.tanh(a_g), sigmoid(a_o)", "np.tanh(a_g), np.tanh(a_o)"),), GATES),
    Wrong("h is made without the tanh of c", "h = o tanh(c): c has no bounds, h has.", (("o * np.tanh(c)", "o * c"),), GATES),
    Wrong("the bias is added twice", "One bias here; PyTorch's two add up to it.", (("h @ W_h + b", "h @ W_h + b + b"),), BLOCKS),
    Wrong("the recurrence starts from zero", "The states before the first step are h0 and c0.", (("h, c, hs, cs = h0, c0,", "h, c, hs, cs = 0 * h0, 0 * c0,"),)),
    Wrong("c is not carried on", "Two states are carried from step to step.", (("c = f * c +", "c = f * c0 +"),)),
    Wrong("h is not carried on", "Two states are carried from step to step.", (("h @ W_h", "h0 @ W_h"),)),
)  # fmt: skip


def bias_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step and a half, then random ones."""
    known: list[Arguments] = [{"steps": 1, "left": 0.25}]
    return known + [{"steps": int(rng.integers(3, 200)), "left": float(rng.uniform(0.05, 0.9))} for _ in range(4)]


def bias_for(steps: int, left: float) -> float:
    """f is the root, and the bias the sigmoid's inverse of it."""
    f = left ** (1 / steps)
    return float(np.log(f / (1 - f)))


BIAS = (
    Wrong("the share is divided by the steps", "The shares multiply: f^steps = left, so f is a root.", (("left ** (1 / steps)", "left / steps"),)),
    Wrong("the sign is turned", "A larger bias opens the gate: log(f / (1 - f)).", (("f / (1 - f)", "(1 - f) / f"),)),
    Wrong("the gate is returned, not the bias", "f = sigmoid(bias): the bias is the sigmoid's inverse.", (("np.log(f / (1 - f))", "f"),)),
    Wrong("the logarithm of the gate is returned", "The sigmoid's inverse is log(f / (1 - f)).", (("np.log(f / (1 - f))", "np.log(f)"),)),
    Wrong("the share that is gone is taken for what is left", "left is what is still there.", (("left ** (1 / steps)", "(1 - left) ** (1 / steps)"),)),
    Wrong("it is a time constant of that many steps", "1 / e is left after one time constant; here it is the share `left`.", (("left ** (1 / steps)", "np.exp(-1 / steps)"),)),
)  # fmt: skip


def share_cases(rng: np.random.Generator) -> list[Arguments]:
    """One sequence, then several, with gates that like the ends."""
    found: list[Arguments] = []
    for T, N, H in ((10, 1, 2), (30, 4, 3)):
        lean = np.linspace(-2, 3, H)
        gate = 1 / (1 + np.exp(-(lean + 3 * rng.standard_normal((T, N, H)))))
        gate[:4, 0] = np.array([0.03, 0.97, 0.04, 0.5])[:, None]  # some of each, whatever was drawn
        found.append({"gate": gate})
    return found


def shut_and_open(gate: Array) -> tuple[Array, Array]:
    """Shares of all steps of all sequences."""
    shut = np.mean(gate < 0.1, axis=(0, 1))
    wide = np.mean(gate > 0.9, axis=(0, 1))
    return shut, wide


SHARE = (
    Wrong("shut and open are exchanged", "Under 0.1 a gate is shut: it lets nothing through.", (("return shut, wide", "return wide, shut"),)),
    Wrong("counted, not averaged", "A share lies between 0 and 1.", (("np.mean(gate < 0.1", "np.sum(gate < 0.1"), ("np.mean(gate > 0.9", "np.sum(gate > 0.9"))),
    Wrong("every step is either shut or open", "Between 0.1 and 0.9 a gate is neither.", (("gate < 0.1", "gate < 0.5"), ("gate > 0.9", "gate > 0.5"))),
    Wrong("what is not shut counts as open", "Over 0.9: in between is neither.", (("np.mean(gate > 0.9, axis=(0, 1))", "1 - shut"),)),
    Wrong("only the first sequence is looked at", "All steps of all sequences.", (("gate < 0.1, axis=(0, 1)", "gate[:, :1] < 0.1, axis=(0, 1)"), ("gate > 0.9, axis=(0, 1)", "gate[:, :1] > 0.9, axis=(0, 1)"))),
)  # fmt: skip

EXERCISES = [
    Exercise(
        id="05/ex1", title="One step", function="lstm_step", outputs=("c", "h"), right=step, cases=step_cases, wrongs=STEP,
        paragraph=GATES,
        hints=("First the four gates: three sigmoids and a tanh.", "Then c = f c' + i g, and of the new c h = o tanh(c)."),
    ),
    Exercise(
        id="05/ex2", title="A bias for a memory", function="bias_for", outputs=("bias",), right=bias_for, cases=bias_cases,
        wrongs=BIAS, paragraph="How long a forget gate remembers",
        hints=("Which f has f^steps = left?", "f = 1 / (1 + exp(-bias)): solve for the bias."),
    ),
    Exercise(
        id="05/ex3", title="Shut or open", function="shut_and_open", outputs=("shut", "open"), right=shut_and_open,
        cases=share_cases, wrongs=SHARE, paragraph="Saturation",
        hints=("gate < 0.1 is an array of true and false; its mean is a share.", "Average over the axes of steps and sequences."),
    ),
    Exercise(
        id="05/ex4", title="The whole forward pass", function="lstm_forward", outputs=("h", "c"), right=forward,
        cases=forward_cases, wrongs=FORWARD, timed=("h", "c"), backwards=False, paragraph="All steps",
        hints=(
            "Your step from the first exercise, in a loop.",
            "a = x[t] @ W_x + h @ W_h + b has 4H columns; cut them into four blocks, i f g o.",
            "Carry both h and c to the next step.",
        ),
    ),
]  # fmt: skip
