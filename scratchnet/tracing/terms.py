"""Terms of each cell's sums, for all steps at once.

``backward`` keeps only da. A term is an elementwise product of da and the cache, so it is computed
here on access, with the same lines as in the cell's file; tests compare the two.

A cell without an entry can be traced all the same: gates, states, dy, d_next, da and weight
gradients need none.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from scratchnet.arrays import Array
from scratchnet.elementwise import d_relu, d_sigmoid, d_tanh

Terms = dict[str, Array]
CellCache: TypeAlias = Any  # the NamedTuple that a cell's forward returns: each has its fields


def blocks(array: Array, letters: str, prefix: str = "") -> Terms:
    """The gate blocks of a (..., G*H) array by letter, as views."""
    H = array.shape[-1] // len(letters)
    names = [f"{prefix}{letter}" for letter in letters]
    return {name: array[..., k * H : (k + 1) * H] for k, name in enumerate(names)}


def rnn_forward(c: CellCache, p: Terms) -> Terms:
    """a (T, N, H)."""
    return {"a_h": c.x @ p["W_x"] + c.h[:-1] @ p["W_h"] + p["b"]}


def rnn_backward(c: CellCache, d: Terms) -> Terms:
    """dh and where it goes, (T, N, H) each."""
    dh = d["dy"] + d["dh_next"]
    da = dh * (d_tanh(c.h[1:]) if c.nonlinearity == "tanh" else d_relu(c.h[1:]))
    return {"dh": dh, "da_h": da, "dh_prev": da @ c.W_h.T}


def lstm_forward(c: CellCache, p: Terms) -> Terms:
    """Pre-activations, gates, tanh(c), and the two parts of c: kept = f c' and written = i g."""
    gates = blocks(c.gates, "ifgo")
    a = blocks(c.x @ p["W_x"] + c.h[:-1] @ p["W_h"] + p["b"], "ifgo", "a_")
    kept, written = gates["f"] * c.c[:-1], gates["i"] * gates["g"]
    return {**a, **gates, "kept": kept, "written": written, "tanh_c": np.tanh(c.c[1:])}


def lstm_backward(c: CellCache, d: Terms) -> Terms:
    """From dh and dc, through each gate, to dh_prev and dc_prev."""
    g, tanh_c = blocks(c.gates, "ifgo"), np.tanh(c.c[1:])
    dh = d["dy"] + d["dh_next"]
    dc_from_h = dh * g["o"] * d_tanh(tanh_c)
    dc = dc_from_h + d["dc_next"]
    di, df, dg, do = dc * g["g"], dc * c.c[:-1], dc * g["i"], dh * tanh_c
    da = {
        "da_i": di * d_sigmoid(g["i"]),
        "da_f": df * d_sigmoid(g["f"]),
        "da_g": dg * d_tanh(g["g"]),
        "da_o": do * d_sigmoid(g["o"]),
    }
    dh_prev = np.concatenate(list(da.values()), axis=-1) @ c.W_h.T
    gates = {"di": di, "df": df, "dg": dg, "do": do, **da}
    prev = {"dc_prev": dc * g["f"], "dh_prev": dh_prev}
    return {"dh": dh, "dc_from_h": dc_from_h, "dc": dc, **gates, **prev}


def gru_forward(c: CellCache, p: Terms) -> Terms:
    """Pre-activations (a_n includes r m_n), gates, m_n = h' W_hn + b_hn, both parts of h."""
    H = c.h.shape[-1]
    gates = blocks(c.gates, "rzn")
    a = c.x @ p["W_x"] + p["b"]
    a[..., : 2 * H] += c.h[:-1] @ p["W_h"][:, : 2 * H]
    a[..., 2 * H :] += gates["r"] * c.m_n
    parts = {"m_n": c.m_n, "new": (1 - gates["z"]) * gates["n"], "kept": gates["z"] * c.h[:-1]}
    return {**blocks(a, "rzn", "a_"), **gates, **parts}


def gru_backward(c: CellCache, d: Terms) -> Terms:
    """From dh, through each gate, to dh_prev: a direct part (dh z) and one through products."""
    g = blocks(c.gates, "rzn")
    dh = d["dy"] + d["dh_next"]
    dn, dz = dh * (1 - g["z"]), dh * (c.h[:-1] - g["n"])
    da_n = dn * d_tanh(g["n"])
    dr, dm_n = da_n * c.m_n, da_n * g["r"]
    da_r, da_z = dr * d_sigmoid(g["r"]), dz * d_sigmoid(g["z"])
    direct, through = dh * g["z"], np.concatenate([da_r, da_z, dm_n], axis=-1) @ c.W_h.T
    gates = {"dn": dn, "dz": dz, "dr": dr, "dm_n": dm_n, "da_r": da_r, "da_z": da_z, "da_n": da_n}
    parts = {"dh_direct": direct, "dh_through": through, "dh_prev": direct + through}
    return {"dh": dh, **gates, **parts}


def gru_reset_before_forward(c: CellCache, p: Terms) -> Terms:
    """Pre-activations, gates, s = r h', and the two parts of h."""
    H = c.h.shape[-1]
    gates = blocks(c.gates, "rzn")
    a, W_h, h_prev = c.x @ p["W_x"] + p["b"], p["W_h"], c.h[:-1]
    a[..., : 2 * H] += h_prev @ W_h[:, : 2 * H]
    a[..., 2 * H :] += c.s @ W_h[:, 2 * H :]
    parts = {"s": c.s, "new": (1 - gates["z"]) * gates["n"], "kept": gates["z"] * h_prev}
    return {**blocks(a, "rzn", "a_"), **gates, **parts}


def gru_reset_before_backward(c: CellCache, d: Terms) -> Terms:
    """From dh, through each gate, to dh_prev: directly, through s, and through r and z."""
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
    parts = {"dh_direct": direct, "dh_reset": reset, "dh_through": through}
    return {"dh": dh, **gates, **parts, "dh_prev": direct + reset + through}


def peephole_forward(c: CellCache, p: Terms) -> Terms:
    """As the LSTM's; a_i, a_f and a_o include their peepholes."""
    made = lstm_forward(c, p)
    seen = {"a_i": p["p_i"] * c.c[:-1], "a_f": p["p_f"] * c.c[:-1], "a_o": p["p_o"] * c.c[1:]}
    return made | {name: made[name] + peep for name, peep in seen.items()}


def peephole_backward(c: CellCache, d: Terms) -> Terms:
    """From dh and dc, through each gate, to dh_prev and dc_prev; peepholes read c and c'."""
    g, tanh_c = blocks(c.gates, "ifgo"), np.tanh(c.c[1:])
    dh = d["dy"] + d["dh_next"]
    do = dh * tanh_c
    da_o = do * d_sigmoid(g["o"])
    dc_from_h, dc_from_o = dh * g["o"] * d_tanh(tanh_c), da_o * c.p_o
    dc = dc_from_h + dc_from_o + d["dc_next"]
    di, df, dg = dc * g["g"], dc * c.c[:-1], dc * g["i"]
    da_i, da_f, da_g = di * d_sigmoid(g["i"]), df * d_sigmoid(g["f"]), dg * d_tanh(g["g"])
    dc_seen = da_i * c.p_i + da_f * c.p_f
    dh_prev = np.concatenate([da_i, da_f, da_g, da_o], axis=-1) @ c.W_h.T
    gates = {"di": di, "df": df, "dg": dg, "do": do}
    gates |= {"da_i": da_i, "da_f": da_f, "da_g": da_g, "da_o": da_o}
    parts = {"dc_seen": dc_seen, "dc_prev": dc * g["f"] + dc_seen, "dh_prev": dh_prev}
    return {"dh": dh, "dc_from_h": dc_from_h, "dc_from_o": dc_from_o, "dc": dc, **gates, **parts}


def coupled_forward(c: CellCache, p: Terms) -> Terms:
    """As the LSTM's, with kept = (1 - i) c' and written = i g."""
    made = no_forget_forward(c, p)
    return made | {"kept": (1 - made["i"]) * c.c[:-1]}


def no_forget_forward(c: CellCache, p: Terms) -> Terms:
    """Pre-activations, gates, tanh(c), and the two parts of c: kept = c' and written = i g."""
    g = blocks(c.gates, "igo")
    a = blocks(c.x @ p["W_x"] + c.h[:-1] @ p["W_h"] + p["b"], "igo", "a_")
    return {**a, **g, "kept": c.c[:-1], "written": g["i"] * g["g"], "tanh_c": np.tanh(c.c[1:])}


def coupled_backward(c: CellCache, d: Terms) -> Terms:
    """From dh and dc, through each gate, to dh_prev and dc_prev; i is in both parts of c."""
    gates = blocks(c.gates, "igo")
    return _igo_backward(c, d, gates["g"] - c.c[:-1], 1 - gates["i"])


def no_forget_backward(c: CellCache, d: Terms) -> Terms:
    """From dh and dc, through each gate, to dh_prev and dc_prev, which is dc itself."""
    return _igo_backward(c, d, blocks(c.gates, "igo")["g"], np.ones_like(c.c[1:]))


def _igo_backward(c: CellCache, d: Terms, slope_of_i: Array, kept: Array) -> Terms:
    g, tanh_c = blocks(c.gates, "igo"), np.tanh(c.c[1:])
    dh = d["dy"] + d["dh_next"]
    dc_from_h = dh * g["o"] * d_tanh(tanh_c)
    dc = dc_from_h + d["dc_next"]
    di, dg, do = dc * slope_of_i, dc * g["i"], dh * tanh_c
    da_i, da_g, da_o = di * d_sigmoid(g["i"]), dg * d_tanh(g["g"]), do * d_sigmoid(g["o"])
    da = {"da_i": da_i, "da_g": da_g, "da_o": da_o}
    dh_prev = np.concatenate(list(da.values()), axis=-1) @ c.W_h.T
    gates = {"di": di, "dg": dg, "do": do, **da}
    prev = {"dc_prev": dc * kept, "dh_prev": dh_prev}
    return {"dh": dh, "dc_from_h": dc_from_h, "dc": dc, **gates, **prev}


def sru_forward(c: CellCache, p: Terms) -> Terms:
    """Pre-activations (a_f and a_r include v c'), gates, and the two parts of c and of h."""
    g = blocks(c.gates, "ufrs")
    a = blocks(c.x @ p["W_x"] + p["b"], "ufrs", "a_")
    a |= {"a_f": a["a_f"] + p["v_f"] * c.c[:-1], "a_r": a["a_r"] + p["v_r"] * c.c[:-1]}
    of_c = {"kept": g["f"] * c.c[:-1], "written": (1 - g["f"]) * g["u"]}
    return {**a, **g, **of_c, "shown": g["r"] * c.c[1:], "past": (1 - g["r"]) * g["s"]}


def sru_backward(c: CellCache, d: Terms) -> Terms:
    """From dh and dc, through each gate, to dc_prev; h' is not read."""
    g = blocks(c.gates, "ufrs")
    dh = d["dy"] + d["dh_next"]
    dr, ds, dc_from_h = dh * (c.c[1:] - g["s"]), dh * (1 - g["r"]), dh * g["r"]
    dc = dc_from_h + d["dc_next"]
    df, du = dc * (c.c[:-1] - g["u"]), dc * (1 - g["f"])
    da_f, da_r = df * d_sigmoid(g["f"]), dr * d_sigmoid(g["r"])
    dc_seen = da_f * c.v_f + da_r * c.v_r
    da = {"da_u": du, "da_f": da_f, "da_r": da_r, "da_s": ds}
    parts = {"dc_seen": dc_seen, "dc_prev": dc * g["f"] + dc_seen, "dh_prev": np.zeros_like(dh)}
    return {"dh": dh, "dr": dr, "dc_from_h": dc_from_h, "dc": dc, "df": df, **da, **parts}


def mingru_forward(c: CellCache, p: Terms) -> Terms:
    """Pre-activations, gates, and the two parts of h."""
    g = blocks(c.gates, "zn")
    parts = {"kept": (1 - g["z"]) * c.h[:-1], "new": g["z"] * g["n"]}
    return {**blocks(c.x @ p["W_x"] + p["b"], "zn", "a_"), **g, **parts}


def mingru_backward(c: CellCache, d: Terms) -> Terms:
    """From dh, through z and n, to dh_prev."""
    g = blocks(c.gates, "zn")
    dh = d["dy"] + d["dh_next"]
    dz = dh * (g["n"] - c.h[:-1])
    da_z, da_n, dh_prev = dz * d_sigmoid(g["z"]), dh * g["z"], dh * (1 - g["z"])
    return {"dh": dh, "dz": dz, "da_z": da_z, "da_n": da_n, "dh_prev": dh_prev}


Make = Callable[
    [CellCache, Terms], Terms
]  # from a cell's cache, and parameters or upstream gradients

FORWARD: dict[str, Make] = {
    "rnn": rnn_forward,
    "lstm": lstm_forward,
    "gru": gru_forward,
    "gru_reset_before": gru_reset_before_forward,
    "lstm_peephole": peephole_forward,
    "lstm_coupled": coupled_forward,
    "lstm_no_forget": no_forget_forward,
    "sru": sru_forward,
    "mingru": mingru_forward,
}
BACKWARD: dict[str, Make] = {
    "rnn": rnn_backward,
    "lstm": lstm_backward,
    "gru": gru_backward,
    "gru_reset_before": gru_reset_before_backward,
    "lstm_peephole": peephole_backward,
    "lstm_coupled": coupled_backward,
    "lstm_no_forget": no_forget_backward,
    "sru": sru_backward,
    "mingru": mingru_backward,
}
