"""What each number of a worksheet should be if the numbers before it are the student's own: a slip
at the first step then costs one number, not all that follow.
"""

from collections.abc import Mapping

import numpy as np
from scratchnet_course.worksheet import Sheet

from scratchnet.arrays import Array
from scratchnet.elementwise import sigmoid

Numbers = Mapping[str, Array]  # name of a row -> its numbers


def followed(made: Sheet, own: Numbers) -> dict[str, Array]:
    """Return every row, each computed from the student's rows ``own`` by its equation alone."""
    weights = dict(made.weights)
    x, y = np.array(made.given[0].values), np.array(made.target)
    return _bptt(own, weights, x, y) if made.kind == "bptt" else _lstm(own, weights, x, y)


def _before(values: Array, first: float) -> Array:
    """Of each step the value of the one before."""
    return np.append(first, values[:-1])


def _after(values: Array) -> Array:
    """Of each step the value of the one after; zero after the last."""
    return np.append(values[1:], 0.0)


def _bptt(v: Numbers, weights: Mapping[str, float], x: Array, y: Array) -> dict[str, Array]:
    w, u, b, h0 = (weights[name] for name in ("w", "u", "b", "h before t=0"))
    rows = {
        "h'": _before(v["h"], h0),
        "a": w * x + u * v["h'"] + b,
        "h": np.tanh(v["a"]),
        "dy": v["h"] - y,
        "dh_next": u * _after(v["da"]),
        "dh": v["dy"] + v["dh_next"],
        "da": v["dh"] * (1 - v["h"] ** 2),
        "to dw": v["da"] * x,
        "to du": v["da"] * v["h'"],
        "to db": v["da"],
    }
    return rows | {name: v[f"to {name}"].sum(keepdims=True) for name in ("dw", "du", "db")}


def _lstm(v: Numbers, weights: Mapping[str, float], x: Array, y: Array) -> dict[str, Array]:
    h_before, c_before, tanh_c = _before(v["h"], 0.0), _before(v["c"], 0.0), np.tanh(v["c"])
    i, f, g, o, dc = (v[name] for name in ("i", "f", "g", "o", "dc"))
    a = {
        k: weights[f"w_{k}"] * x + weights[f"u_{k}"] * h_before + weights[f"b_{k}"] for k in "ifgo"
    }
    dy = np.append(np.zeros(len(x) - 1), v["h"][-1] - y[0])
    rows = {
        **{k: sigmoid(a[k]) for k in "ifo"},
        "g": np.tanh(a["g"]),
        "c": f * c_before + i * g,
        "h": o * tanh_c,
        "dh": dy + v["dh_next"],
        "dc_next": _after(dc * f),
        "dc": v["dh"] * o * (1 - tanh_c**2) + v["dc_next"],
        "da_i": dc * g * i * (1 - i),
        "da_f": dc * c_before * f * (1 - f),
        "da_g": dc * i * (1 - g**2),
        "da_o": v["dh"] * tanh_c * o * (1 - o),
        "dh_next": _after(np.sum([weights[f"u_{k}"] * v[f"da_{k}"] for k in "ifgo"], axis=0)),
    }
    for k in "ifgo":
        each = {"w": v[f"da_{k}"] * x, "u": v[f"da_{k}"] * h_before, "b": v[f"da_{k}"]}
        rows |= {f"d{name}_{k}": part.sum(keepdims=True) for name, part in each.items()}
    return rows
