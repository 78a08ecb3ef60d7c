"""Lesson 15, a cell of one's own: one line, a step of two cells from the literature, and a whole backward pass."""

from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.elementwise import d_sigmoid, d_tanh, sigmoid
from scratchnet_course.exercise import Arguments, Exercise, Wrong


def line_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, then a batch."""
    found = []
    for shape in ((1, 1), (3, 4)):
        dh, c, s = rng.standard_normal((3, *shape))
        found.append({"dh": dh, "r": rng.uniform(0.1, 0.9, shape), "c": c, "s": s})
    return found


def line_backward(dh: Array, r: Array, c: Array, s: Array) -> tuple[Array, Array, Array]:
    """A product rule for each of the two products."""
    dr = dh * (c - s)
    dc = dh * r
    ds = dh * (1 - r)
    return dr, dc, ds


LINE = (
    Wrong("r is taken to stand once", "r stands twice, in r c and in (1 - r) s: both give to dr.", (("dh * (c - s)", "dh * c"),)),
    Wrong("the minus sign of 1 - r is lost", "(1 - r) falls as r rises: its part of dr is -s dh.", (("(c - s)", "(c + s)"),)),
    Wrong("dr has the wrong sign", "dr = dh (c - s): raising r shows more of c.", (("(c - s)", "(s - c)"),)),
    Wrong("r and 1 - r are exchanged", "c has r before it, s has 1 - r.", (("dc = dh * r", "dc = dh * (1 - r)"), ("ds = dh * (1 - r)", "ds = dh * r"))),
    Wrong("dr goes through a sigmoid", "Only this line is asked for; r itself is given.", (("dh * (c - s)", "dh * (c - s) * r * (1 - r)"),)),
    Wrong("ds has no factor", "s is shown by the share 1 - r alone.", (("ds = dh * (1 - r)", "ds = dh"),)),
)  # fmt: skip


def sru_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, then a batch: all numbers are those of a forward step."""
    found = []
    for N, H in ((1, 1), (3, 4)):
        dh, dc_next, u, a_f, a_r, s, c_prev = rng.standard_normal((7, N, H))
        v_f, v_r = rng.uniform(0.3, 1, (2, H))
        f, r = sigmoid(a_f + v_f * c_prev), sigmoid(a_r + v_r * c_prev)
        c = f * c_prev + (1 - f) * u
        found.append({"dh": dh, "dc_next": dc_next, "u": u, "f": f, "r": r, "s": s, "c_prev": c_prev, "c": c, "v_f": v_f, "v_r": v_r})
    return found


def sru_backward(
    dh: Array, dc_next: Array, u: Array, f: Array, r: Array, s: Array, c_prev: Array, c: Array, v_f: Array, v_r: Array
) -> tuple[Array, ...]:
    """The lines from the last to the first."""
    da_r = dh * (c - s) * d_sigmoid(r)
    ds = dh * (1 - r)
    dc = dh * r + dc_next
    da_f = dc * (c_prev - u) * d_sigmoid(f)
    du = dc * (1 - f)
    dc_prev = dc * f + da_f * v_f + da_r * v_r
    return du, da_f, da_r, ds, dc_prev


SRU = (
    Wrong("dc_next is not added", "c is read twice: by h = r c and by the next step.", (("dh * r + dc_next", "dh * r"),)),
    Wrong("dc_next is added without what h asks for", "c is read twice: by h = r c and by the next step.", (("dh * r + dc_next", "dc_next"),)),
    Wrong("dc does not pass r", "h = r c: the road from h to c goes through r.", (("dh * r + dc_next", "dh + dc_next"),)),
    Wrong("da_r forgets the highway", "r stands twice: (1 - r) s gives -s.", (("(c - s)", "c"),)),
    Wrong("da_f forgets the candidate", "f stands twice: (1 - f) u gives -u.", (("(c_prev - u)", "c_prev"),)),
    Wrong("da_f takes c_t in place of c_{t-1}", "The forget gate met the old cell state.", (("(c_prev - u)", "(c - u)"),)),
    Wrong("dc_prev misses the forget gate's look", "f = sigmoid(a_f + v_f c'): c' is read there, too.", ((" + da_f * v_f", ""),)),
    Wrong("dc_prev misses the reset gate's look", "r = sigmoid(a_r + v_r c'): c' is read there, too.", ((" + da_r * v_r", ""),)),
    Wrong("v_f and v_r are exchanged", "Each gate hands back through its own vector.", (("da_f * v_f", "da_f * v_r"), ("da_r * v_r", "da_r * v_f"))),
    Wrong("sigmoid' is missing on the forget gate", "f = sigmoid(..): from f to a_f goes f (1 - f).", ((" * d_sigmoid(f)", ""),)),
    Wrong("sigmoid' is missing on the reset gate", "r = sigmoid(..): from r to a_r goes r (1 - r).", ((" * d_sigmoid(r)", ""),)),
)  # fmt: skip


def peephole_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, then a batch: all numbers are those of a forward step."""
    found = []
    for N, H in ((1, 1), (3, 4)):
        dh, dc_next, a_i, a_f, a_g, a_o, c_prev = rng.standard_normal((7, N, H))
        p_i, p_f, p_o = rng.uniform(0.3, 1, (3, H))
        i, f, g = sigmoid(a_i + p_i * c_prev), sigmoid(a_f + p_f * c_prev), np.tanh(a_g)
        c = f * c_prev + i * g
        o = sigmoid(a_o + p_o * c)
        made = {"i": i, "f": f, "g": g, "o": o, "c_prev": c_prev, "c": c, "p_i": p_i, "p_f": p_f, "p_o": p_o}
        found.append({"dh": dh, "dc_next": dc_next, **made})
    return found


def peephole_backward(
    dh: Array, dc_next: Array, i: Array, f: Array, g: Array, o: Array, c_prev: Array, c: Array, p_i: Array, p_f: Array,
    p_o: Array,
) -> tuple[Array, ...]:  # fmt: skip
    """The output gate first: the cell state is behind it."""
    tanh_c = np.tanh(c)
    da_o = dh * tanh_c * d_sigmoid(o)
    dc = dh * o * d_tanh(tanh_c) + da_o * p_o + dc_next
    da_i = dc * g * d_sigmoid(i)
    da_f = dc * c_prev * d_sigmoid(f)
    da_g = dc * i * d_tanh(g)
    dc_prev = dc * f + da_i * p_i + da_f * p_f
    return da_i, da_f, da_g, da_o, dc_prev


PEEPHOLE = (
    Wrong("dc misses the output gate's peephole", "c is read three times: by tanh, by o's peephole, by the next step.", ((" + da_o * p_o", ""),)),
    Wrong("dc_next is not added", "c is read by the next step, too.", ((" + dc_next", ""),)),
    Wrong("dc_prev misses the peepholes", "i and f look at c': it has three readers.", ((" + da_i * p_i + da_f * p_f", ""),)),
    Wrong("dc_prev misses the forget gate's peephole", "f = sigmoid(a_f + p_f c'): c' is read there, too.", ((" + da_f * p_f", ""),)),
    Wrong("the output gate's peephole leads to c_prev", "The output gate looks at the new cell state: what it asks for belongs to dc.", ((" + da_o * p_o", ""), ("dc_prev = dc * f", "dc_prev = dc * f + da_o * p_o"))),
    Wrong("do goes through the peephole without sigmoid'", "p_o stands inside the sigmoid: da_o goes through it, not do.", (("da_o * p_o", "dh * tanh_c * p_o"),)),
    Wrong("tanh'(c) is missing in dc", "h = o tanh(c): the road from h to c goes through the tanh.", (("dh * o * d_tanh(tanh_c)", "dh * o"),)),
    Wrong("da_f takes c_t in place of c_{t-1}", "The forget gate met the old cell state.", (("dc * c_prev", "dc * c"),)),
    Wrong("dc_prev does not pass the forget gate", "c = f c' + i g: what goes back to c' goes through f.", (("dc_prev = dc * f", "dc_prev = dc"),)),
    Wrong("p_i and p_f are exchanged", "Each gate hands back through its own peephole.", (("da_i * p_i + da_f * p_f", "da_i * p_f + da_f * p_i"),)),
)  # fmt: skip


def ugrnn_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, four steps of one sequence, a batch; the forward pass is given."""
    found = []
    for T, N, D, H in ((1, 2, 2, 3), (4, 1, 2, 3), (5, 3, 2, 4)):
        x, h0 = rng.standard_normal((T, N, D)), rng.standard_normal((N, H))
        W_x, W_h = rng.standard_normal((D, 2 * H)), rng.standard_normal((H, 2 * H)) / np.sqrt(H)
        h, gates = np.empty((T + 1, N, H)), np.empty((T, N, 2 * H))
        h[0] = h0
        for t in range(T):
            a = x[t] @ W_x + h[t] @ W_h
            z, n = sigmoid(a[:, :H]), np.tanh(a[:, H:])
            gates[t, :, :H], gates[t, :, H:] = z, n
            h[t + 1] = z * h[t] + (1 - z) * n
        found.append({"dy": rng.standard_normal((T, N, H)), "x": x, "h": h, "gates": gates, "W_x": W_x, "W_h": W_h})
    return found


def ugrnn_backward(dy: Array, x: Array, h: Array, gates: Array, W_x: Array, W_h: Array) -> Any:
    """Backwards through time, then one product for each weight."""
    H = h.shape[2]
    da = np.empty_like(gates)
    dh_next = np.zeros_like(h[0])
    for t in reversed(range(len(dy))):
        z, n = gates[t, :, :H], gates[t, :, H:]
        dh = dy[t] + dh_next
        da[t, :, :H] = dh * (h[t] - n) * d_sigmoid(z)
        da[t, :, H:] = dh * (1 - z) * d_tanh(n)
        dh_next = dh * z + da[t] @ W_h.T
    dW_x = np.einsum("tnd,tng->dg", x, da)
    dW_h = np.einsum("tnh,tng->hg", h[:-1], da)
    return da @ W_x.T, dh_next, dW_x, dW_h, da.sum(axis=(0, 1))


UGRNN = (
    Wrong("dh_next is not added", "h is read by this step's loss and by the next step.", (("dy[t] + dh_next", "dy[t]"),)),
    Wrong("dy is not added before the last step", "h is read by this step's loss and by the next step: both, at every step.", (("dy[t] + dh_next", "(dy[t] if t == len(dy) - 1 else dh_next)"),)),
    Wrong("z and 1 - z are exchanged", "h = z h' + (1 - z) n: here z keeps the past.", (("dh * (1 - z) * d_tanh(n)", "dh * z * d_tanh(n)"), ("dh * z + da[t]", "dh * (1 - z) + da[t]"))),
    Wrong("z is taken to stand once", "z stands twice: (1 - z) n gives -n.", (("(h[t] - n)", "h[t]"),)),
    Wrong("da_z takes h_t in place of h_{t-1}", "The update gate met the old state.", (("(h[t] - n)", "(h[t + 1] - n)"),)),
    Wrong("the direct path dh z is forgotten", "h' is read three times: by z h' itself, too.", (("dh * z + da[t]", "da[t]"),)),
    Wrong("the road through the gates is forgotten", "h' is read through W_h by both gates.", (("dh * z + da[t] @ W_h.T", "dh * z"),)),
    Wrong("the update gate is left out of dh_next", "h' is read through W_h by both gates, z among them.", (("da[t] @ W_h.T", "da[t, :, H:] @ W_h[:, H:].T"),)),
    Wrong("sigmoid' is missing on z", "z = sigmoid(..): from z to a_z goes z (1 - z).", ((" * d_sigmoid(z)", ""),)),
    Wrong("tanh' is missing on n", "n = tanh(..): from n to a_n goes 1 - n^2.", ((" * d_tanh(n)", ""),)),
    Wrong("dW_h is made with h_t", "W_h met the state before the step.", (("h[:-1]", "h[1:]"),)),
    Wrong("db is a mean over the batch", "A bias is used by every sequence: a sum.", (("da.sum(axis=(0, 1))", "da.mean(axis=1).sum(axis=0)"),)),
)  # fmt: skip

STEP = ("da_i", "da_f", "da_g", "da_o", "dc_prev")
EXERCISES = [
    Exercise(
        id="15/ex1", title="Back through one line", function="line_backward", outputs=("dr", "dc", "ds"), right=line_backward,
        cases=line_cases, wrongs=LINE, paragraph="Who reads what",
        hints=("c is multiplied by r, so dc is dh times r.", "r stands in both products, with a minus sign in the second."),
    ),
    Exercise(
        id="15/ex2", title="A step of the simple recurrent unit", function="sru_backward",
        outputs=("du", "da_f", "da_r", "ds", "dc_prev"), right=sru_backward, cases=sru_cases, wrongs=SRU,
        paragraph="Who reads what",
        hints=(
            "c is read by h and by the next step: dc has two terms, and it comes before f and u.",
            "c' is read by f c', by f's sigmoid and by r's sigmoid: three terms.",
        ),
    ),
    Exercise(
        id="15/ex3", title="A step with peepholes", function="peephole_backward", outputs=STEP, right=peephole_backward,
        cases=peephole_cases, wrongs=PEEPHOLE, paragraph="Who reads what",
        hints=(
            "The output gate was computed last, so it is undone first: da_o needs dh alone.",
            "c is read by tanh(c), by the output gate's peephole and by the next step.",
            "c' is read by f c' and by two peepholes.",
        ),
    ),
    Exercise(
        id="15/ex4", title="A whole cell of your own", function="ugrnn_backward", outputs=("dx", "dh0", "dW_x", "dW_h", "db"),
        right=ugrnn_backward, cases=ugrnn_cases, wrongs=UGRNN, timed=("dx",),
        gates={"dW_x": "zn", "dW_h": "zn", "db": "zn"}, paragraph="The file",
        hints=(
            "One loop backwards that carries dh_next and fills the gradient of both pre-activations.",
            "dh' has three terms, of which W_h handles two at once: da[t] @ W_h.T.",
        ),
    ),
]  # fmt: skip
