"""Lesson 15, your own cell: one line, a step of two published cells, a whole backward pass."""

from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.elementwise import d_sigmoid, d_tanh, sigmoid
from scratchnet_instructor.reference import Arguments, Reference


def line_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, then a batch."""
    found = []
    for shape in ((2, 3), (3, 5)):
        dh, c, s = rng.standard_normal((3, *shape))
        found.append({"dh": dh, "r": rng.uniform(0.1, 0.9, shape), "c": c, "s": s})
    return found


def line_backward(dh: Array, r: Array, c: Array, s: Array) -> tuple[Array, Array, Array]:
    """A product rule for each of the two products."""
    dr = dh * (c - s)
    dc = dh * r
    ds = dh * (1 - r)
    return dr, dc, ds


def sru_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, then a batch: all numbers are those of a forward step."""
    found = []
    for N, H in ((2, 3), (3, 5)):
        dh, dc_next, u, a_f, a_r, s, c_prev = rng.standard_normal((7, N, H))
        v_f, v_r = rng.uniform(0.3, 1, (2, H))
        f, r = sigmoid(a_f + v_f * c_prev), sigmoid(a_r + v_r * c_prev)
        c = f * c_prev + (1 - f) * u
        found.append(
            {
                "dh": dh,
                "dc_next": dc_next,
                "u": u,
                "f": f,
                "r": r,
                "s": s,
                "c_prev": c_prev,
                "c": c,
                "v_f": v_f,
                "v_r": v_r,
            }
        )
    return found


def sru_backward(
    dh: Array,
    dc_next: Array,
    u: Array,
    f: Array,
    r: Array,
    s: Array,
    c_prev: Array,
    c: Array,
    v_f: Array,
    v_r: Array,
) -> tuple[Array, ...]:
    """The lines from the last to the first."""
    da_r = dh * (c - s) * d_sigmoid(r)
    ds = dh * (1 - r)
    dc = dh * r + dc_next
    da_f = dc * (c_prev - u) * d_sigmoid(f)
    du = dc * (1 - f)
    dc_prev = dc * f + da_f * v_f + da_r * v_r
    return du, da_f, da_r, ds, dc_prev


def peephole_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, then a batch: all numbers are those of a forward step."""
    found = []
    for N, H in ((2, 3), (3, 5)):
        dh, dc_next, a_i, a_f, a_g, a_o, c_prev = rng.standard_normal((7, N, H))
        p_i, p_f, p_o = rng.uniform(0.3, 1, (3, H))
        i, f, g = sigmoid(a_i + p_i * c_prev), sigmoid(a_f + p_f * c_prev), np.tanh(a_g)
        c = f * c_prev + i * g
        o = sigmoid(a_o + p_o * c)
        made = {
            "i": i,
            "f": f,
            "g": g,
            "o": o,
            "c_prev": c_prev,
            "c": c,
            "p_i": p_i,
            "p_f": p_f,
            "p_o": p_o,
        }
        found.append({"dh": dh, "dc_next": dc_next, **made})
    return found


def peephole_backward(
    dh: Array,
    dc_next: Array,
    i: Array,
    f: Array,
    g: Array,
    o: Array,
    c_prev: Array,
    c: Array,
    p_i: Array,
    p_f: Array,
    p_o: Array,
) -> tuple[Array, ...]:
    """The output gate first: it reads the new cell state."""
    tanh_c = np.tanh(c)
    da_o = dh * tanh_c * d_sigmoid(o)
    dc = dh * o * d_tanh(tanh_c) + da_o * p_o + dc_next
    da_i = dc * g * d_sigmoid(i)
    da_f = dc * c_prev * d_sigmoid(f)
    da_g = dc * i * d_tanh(g)
    dc_prev = dc * f + da_i * p_i + da_f * p_f
    return da_i, da_f, da_g, da_o, dc_prev


def ugrnn_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, four steps of one sequence, a batch; the forward pass is given."""
    found = []
    for T, N, D, H in ((1, 2, 3, 5), (3, 1, 2, 5), (5, 3, 2, 7)):
        x, h0 = rng.standard_normal((T, N, D)), rng.standard_normal((N, H))
        W_x, W_h = rng.standard_normal((D, 2 * H)), rng.standard_normal((H, 2 * H)) / np.sqrt(H)
        h, gates = np.empty((T + 1, N, H)), np.empty((T, N, 2 * H))
        h[0] = h0
        for t in range(T):
            a = x[t] @ W_x + h[t] @ W_h
            z, n = sigmoid(a[:, :H]), np.tanh(a[:, H:])
            gates[t, :, :H], gates[t, :, H:] = z, n
            h[t + 1] = z * h[t] + (1 - z) * n
        found.append(
            {
                "dy": rng.standard_normal((T, N, H)),
                "x": x,
                "h": h,
                "gates": gates,
                "W_x": W_x,
                "W_h": W_h,
            }
        )
    return found


def ugrnn_backward(dy: Array, x: Array, h: Array, gates: Array, W_x: Array, W_h: Array) -> Any:
    """Backwards through time, then one product for each weight."""
    H = h.shape[2]
    da = np.empty_like(gates)
    dh_next = np.zeros_like(h[0])
    for t in reversed(range(len(dy))):
        z, n = gates[t, :, :H], gates[t, :, H:]
        dh = dy[t] + dh_next
        da_z = dh * (h[t] - n) * d_sigmoid(z)
        da_n = dh * (1 - z) * d_tanh(n)
        da[t] = np.concatenate([da_z, da_n], axis=-1)
        dh_next = dh * z + da[t] @ W_h.T
    dW_x = np.einsum("tnd,tng->dg", x, da)
    dW_h = np.einsum("tnh,tng->hg", h[:-1], da)
    return da @ W_x.T, dh_next, dW_x, dW_h, da.sum(axis=(0, 1))


STEP = ("da_i", "da_f", "da_g", "da_o", "dc_prev")
EXERCISES = [
    Reference("15/ex1", line_backward, line_cases, ("dr", "dc", "ds")),
    Reference("15/ex2", sru_backward, sru_cases, ("du", "da_f", "da_r", "ds", "dc_prev")),
    Reference("15/ex3", peephole_backward, peephole_cases, STEP),
    Reference(
        "15/ex4",
        ugrnn_backward,
        ugrnn_cases,
        ("dx", "dh0", "dW_x", "dW_h", "db"),
        timed=("dx",),
        gates={"dW_x": "zn", "dW_h": "zn", "db": "zn"},
    ),
]
