"""What each cell computes on the way, for all steps at once: the terms that its sums are sums of.

``backward`` keeps only da.  A term is an elementwise product away from what the cache and da hold, so it is computed here
when somebody looks, with the same lines as in the cell's file; tests hold the two against each other.

A cell without an entry can be traced all the same: gates, states, dy, d_next, da and weight gradients need none.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.elementwise import d_relu, d_sigmoid, d_tanh

Terms = dict[str, Array]


def blocks(array: Array, letters: str, prefix: str = "") -> Terms:
    """The gate blocks of a (..., G*H) array by letter, as views."""
    H = array.shape[-1] // len(letters)
    return {f"{prefix}{letter}": array[..., k * H : (k + 1) * H] for k, letter in enumerate(letters)}


def rnn_forward(c: Any, p: Terms) -> Terms:
    """a (T, N, H)."""
    return {"a_h": c.x @ p["W_x"] + c.h[:-1] @ p["W_h"] + p["b"]}


def rnn_backward(c: Any, d: Terms) -> Terms:
    """dh and where it goes, (T, N, H) each."""
    dh = d["dy"] + d["dh_next"]
    da = dh * (d_tanh(c.h[1:]) if c.nonlinearity == "tanh" else d_relu(c.h[1:]))
    return {"dh": dh, "da_h": da, "dh_prev": da @ c.W_h.T}


def lstm_forward(c: Any, p: Terms) -> Terms:
    """Pre-activations, gates, tanh(c), and the two parts of c: kept = f c' and written = i g."""
    gates = blocks(c.gates, "ifgo")
    a = blocks(c.x @ p["W_x"] + c.h[:-1] @ p["W_h"] + p["b"], "ifgo", "a_")
    kept, written = gates["f"] * c.c[:-1], gates["i"] * gates["g"]
    return {**a, **gates, "kept": kept, "written": written, "tanh_c": np.tanh(c.c[1:])}


def lstm_backward(c: Any, d: Terms) -> Terms:
    """From dh and dc, by way of each gate, to dh_prev and dc_prev."""
    g, tanh_c = blocks(c.gates, "ifgo"), np.tanh(c.c[1:])
    dh = d["dy"] + d["dh_next"]
    dc_from_h = dh * g["o"] * d_tanh(tanh_c)
    dc = dc_from_h + d["dc_next"]
    di, df, dg, do = dc * g["g"], dc * c.c[:-1], dc * g["i"], dh * tanh_c
    da = {
        "da_i": di * d_sigmoid(g["i"]), "da_f": df * d_sigmoid(g["f"]),
        "da_g": dg * d_tanh(g["g"]), "da_o": do * d_sigmoid(g["o"]),
    }  # fmt: skip
    dh_prev = np.concatenate(list(da.values()), axis=-1) @ c.W_h.T
    gates = {"di": di, "df": df, "dg": dg, "do": do}
    return {"dh": dh, "dc_from_h": dc_from_h, "dc": dc, **gates, **da, "dc_prev": dc * g["f"], "dh_prev": dh_prev}


def gru_forward(c: Any, p: Terms) -> Terms:
    """Pre-activations (a_n with the reset memory in it), gates, m_n = h' W_hn + b_hn, and the two parts of h."""
    H = c.h.shape[-1]
    gates = blocks(c.gates, "rzn")
    a = c.x @ p["W_x"] + p["b"]
    a[..., : 2 * H] += c.h[:-1] @ p["W_h"][:, : 2 * H]
    a[..., 2 * H :] += gates["r"] * c.m_n
    parts = {"m_n": c.m_n, "new": (1 - gates["z"]) * gates["n"], "kept": gates["z"] * c.h[:-1]}
    return {**blocks(a, "rzn", "a_"), **gates, **parts}


def gru_backward(c: Any, d: Terms) -> Terms:
    """From dh, by way of each gate, to dh_prev, which has two roads: direct (dh z) and through the products."""
    g = blocks(c.gates, "rzn")
    dh = d["dy"] + d["dh_next"]
    dn, dz = dh * (1 - g["z"]), dh * (c.h[:-1] - g["n"])
    da_n = dn * d_tanh(g["n"])
    dr, dm_n = da_n * c.m_n, da_n * g["r"]
    da_r, da_z = dr * d_sigmoid(g["r"]), dz * d_sigmoid(g["z"])
    direct, through = dh * g["z"], np.concatenate([da_r, da_z, dm_n], axis=-1) @ c.W_h.T
    gates = {"dn": dn, "dz": dz, "dr": dr, "dm_n": dm_n, "da_r": da_r, "da_z": da_z, "da_n": da_n}
    return {"dh": dh, **gates, "dh_direct": direct, "dh_through": through, "dh_prev": direct + through}


def gru_before_forward(c: Any, p: Terms) -> Terms:
    """Pre-activations, gates, s = r h', and the two parts of h."""
    H = c.h.shape[-1]
    gates = blocks(c.gates, "rzn")
    a, W_h, h_prev = c.x @ p["W_x"] + p["b"], p["W_h"], c.h[:-1]
    a[..., : 2 * H] += h_prev @ W_h[:, : 2 * H]
    a[..., 2 * H :] += c.s @ W_h[:, 2 * H :]
    parts = {"s": c.s, "new": (1 - gates["z"]) * gates["n"], "kept": gates["z"] * h_prev}
    return {**blocks(a, "rzn", "a_"), **gates, **parts}


def gru_before_backward(c: Any, d: Terms) -> Terms:
    """From dh, by way of each gate, to dh_prev, which has three roads: direct, through s = r h', through r and z."""
    H = c.h.shape[-1]
    g, W_h, h_prev = blocks(c.gates, "rzn"), c.W_h, c.h[:-1]
    dh = d["dy"] + d["dh_next"]
    dn, dz = dh * (1 - g["z"]), dh * (h_prev - g["n"])
    da_n = dn * d_tanh(g["n"])
    ds = da_n @ W_h[:, 2 * H :].T
    dr = ds * h_prev
    da_r, da_z = dr * d_sigmoid(g["r"]), dz * d_sigmoid(g["z"])
    direct, reset = dh * g["z"], ds * g["r"]
    through = np.concatenate([da_r, da_z], axis=-1) @ W_h[:, : 2 * H].T
    gates = {"dn": dn, "dz": dz, "ds": ds, "dr": dr, "da_r": da_r, "da_z": da_z, "da_n": da_n}
    roads = {"dh_direct": direct, "dh_reset": reset, "dh_through": through}
    return {"dh": dh, **gates, **roads, "dh_prev": direct + reset + through}


FORWARD: dict[str, Callable[[Any, Terms], Terms]] = {
    "rnn": rnn_forward, "lstm": lstm_forward, "gru": gru_forward, "gru_before": gru_before_forward,
}  # fmt: skip
BACKWARD: dict[str, Callable[[Any, Terms], Terms]] = {
    "rnn": rnn_backward, "lstm": lstm_backward, "gru": gru_backward, "gru_before": gru_before_backward,
}  # fmt: skip
