"""What a pass with recurrent products in TF32 may return: intervals, from the cell's own equations in float64.

An ``About`` is a number and how far the true one may be from it.  ``forward`` and ``backward`` run a cell's elementwise math on
such numbers, and every operation adds its own rounding, so each result has a bound that is derived and not chosen.  The
recurrent product has one of three forms:

    same      of operands rounded to TF32, as the kernel is meant to compute it: off by the rounding of float32 sums only
    exact     of exact operands, with the bound of TF32: each operand is off by 2^-11 of itself
    float32   of exact operands, off by the rounding of float32 sums only; a kernel that does use TF32 is outside
"""

from functools import partial
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from scratchnet.cells import CELLS

ROUNDING = 2.0**-24  # of an operation in float32, relative
FUNCTION = 2.0**-21  # of exp, tanh and a division in float32: 4 units in the last place
ADDED = 2.0**-23  # of an addition inside a tensor core, which may truncate
TF32 = 2.0**-11  # of an operand rounded to nearest
SMALLEST = 1e-37  # what vanishes in float32, absolute


class About(np.lib.mixins.NDArrayOperatorsMixin):
    """Arrays: the true numbers are within ``radius`` of ``value``."""

    def __init__(self, value, radius=0.0):
        self.value = np.asarray(value, np.float64)
        self.radius = np.broadcast_to(np.asarray(radius, np.float64), self.value.shape)

    def __getitem__(self, at):
        return About(self.value[at], self.radius[at])

    def __array_ufunc__(self, ufunc, method, *operands, **options):
        a, b = [about(operand) for operand in (*operands, 0.0)[:2]]
        value, relative = ufunc(*(o.value for o in (a, b)[: ufunc.nin])), ROUNDING
        if ufunc in (np.add, np.subtract):
            radius = a.radius + b.radius
        elif ufunc is np.multiply:
            radius = abs(a.value) * b.radius + abs(b.value) * a.radius + a.radius * b.radius
        elif ufunc is np.tanh:  # its derivative is largest at the end of the interval that is nearest to 0
            steepest = 1 - np.tanh(np.maximum(abs(a.value) - a.radius, 0)) ** 2
            radius, relative = a.radius * steepest, FUNCTION
        else:
            return NotImplemented
        return About(value, radius + relative * (abs(value) + radius) + SMALLEST)

    def sum(self, axis, terms):
        """Over an axis, in any order."""
        added = terms * ROUNDING * abs(self.value).sum(axis)
        return About(self.value.sum(axis), 1.01 * (self.radius.sum(axis) + added))

    def off(self, found):
        """How far the farthest number is from the middle of its interval, in radii: at most 1 is right."""
        distance = np.abs(np.asarray(found, np.float64) - self.value)
        return float(np.max(np.where(np.isfinite(distance), distance / (self.radius + 1e-300), np.inf)))


def about(x):
    return x if isinstance(x, About) else About(x)


def sigmoid(a):
    """Steeper than 1/4 nowhere; computed by three operations of float32."""
    value = 1 / (1 + np.exp(-a.value))
    return About(value, a.radius / 4 + 3 * FUNCTION * value + SMALLEST)


def to_tf32(x):
    """To 11 digits of the mantissa, halves away from zero."""
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    return np.ldexp(np.sign(mantissa) * np.floor(abs(mantissa) * 2**11 + 0.5) / 2**11, exponent)


def product(form, x, W):
    """x W (or da W^T, with W transposed by the caller)."""
    W = np.asarray(W, np.float64)
    added = 1.01 * (len(W) + 8) * ADDED
    if form == "same":  # rounding keeps the order of numbers, so an interval's ends are rounded
        low, high = to_tf32(x.value - x.radius), to_tf32(x.value + x.radius)
        x, W = About((low + high) / 2, (high - low) / 2), to_tf32(W)
    largest = (abs(x.value) + x.radius) @ abs(W)
    relative = added + (2 * TF32 + TF32**2 if form == "exact" else 0)
    return About(x.value @ W, x.radius @ abs(W) + relative * largest)


def split(a, blocks):
    width = a.value.shape[-1] // blocks
    return [a[..., k * width : (k + 1) * width] for k in range(blocks)]


def where(condition, a, b):
    a, b = about(a), about(b)
    return About(np.where(condition, a.value, b.value), np.where(condition, a.radius, b.radius))


class Pass(NamedTuple):
    """By step: intermediates, and the states before and after it."""

    named: dict[str, list[About]]
    states: list[list[About]]
    steps: list[tuple[About, ...]]


def forward(form, name, call, lengths):
    """The forward pass: "y" and the cache's arrays, a list over time each."""
    cell = CELLS[name]
    x, *states = map(np.float64, call[: 1 + len(cell.STATES)])
    W_x, W_h, b, *b_hn = map(np.float64, call[1 + len(cell.STATES) :])
    states, G = [About(s) for s in states], len(cell.GATES)
    found = Pass({"y": [], **({"c": []} if name == "lstm" else {})}, [states], [])
    with patch.object(cell, "sigmoid", sigmoid, create=True):
        for t in range(len(x)):
            a = About(x[t] @ W_x, 1.01 * (len(W_x) + 2) * ADDED * (abs(x[t]) @ abs(W_x))) + b
            m = product(form, states[0], W_h)
            if name == "rnn":
                after, kept = [np.tanh(a + m)], ()
            elif name == "lstm":
                *kept, c, h = cell.gates_forward(*split(a + m, 4), states[1])
                after = [h, c]
            else:
                m_r, m_z, m_n = split(m, 3)
                m_n = m_n + b_hn[0]
                *kept, h = cell.gates_forward(*split(a, 3), m_r, m_z, m_n, states[0])
                after, kept = [h], (*kept, m_n)
            if lengths is not None:
                after = [where((t >= lengths)[:, None], old, new) for old, new in zip(states, after)]
            states = after
            found.states.append(states)
            found.steps.append(tuple(kept))
            for key, state in zip(found.named, states):
                found.named[key].append(state)
            if name != "rnn":
                for k in range(G):
                    found.named.setdefault(f"gate {cell.GATES[k]}", []).append(kept[k])
            if name == "gru":
                found.named.setdefault("m_n", []).append(m_n)
    return found


def backward(form, name, made, call, upstream, lengths):
    """The backward pass: da by step, and the gradients of biases and initial states."""
    cell = CELLS[name]
    W_h = np.float64(call[2 + len(cell.STATES)]).T
    dy, *d_states = map(np.float64, upstream)
    dh, *rest = [About(d) for d in d_states]
    found, dms = {}, []
    for t in reversed(range(len(dy))):
        before, after = made.states[t : t + 2]
        ended = np.zeros((len(dy[0]), 1), bool) if lengths is None else (t >= lengths)[:, None]
        total = dh + dy[t]
        direct = About(np.zeros_like(dy[t]))
        if name == "rnn":
            da = dm = [cell.UNIT["tanh"][1](total, after[0])]
        elif name == "lstm":
            *da, dc = cell.gates_backward(total, rest[0], *made.steps[t], before[1], after[1])
            dm, rest = da, [where(ended, rest[0], dc)]
        else:
            *da, dm_n, direct = cell.gates_backward(total, *made.steps[t], before[0])
            dm = [*da[:2], dm_n]
        da, dm = ([where(ended, 0 * d.value, d) for d in each] for each in (da, dm))
        together = About(*(np.concatenate([getattr(d, part) for d in dm], 1) for part in ("value", "radius")))
        dh = where(ended, dh, product(form, together, W_h) + direct)
        for gate, d in zip(cell.GATES, da):
            found.setdefault(f"da {gate}", []).insert(0, d)
        dms.insert(0, dm[-1])
    terms = len(dy) * len(dy[0]) + 2
    db = {key.replace("da", "db"): total_of(steps, terms) for key, steps in found.items()}
    if name == "gru":
        db["db_hn"] = total_of(dms, terms)
    return found | db | {f"d{state}0": d for state, d in zip(cell.STATES, [dh, *rest])}


def total_of(steps, terms):
    """Over time and sequences."""
    return stacked(steps).sum((0, 1), terms)


def stacked(steps):
    return About(*(np.stack([getattr(step, part) for step in steps]) for part in ("value", "radius")))


def distance(form, name, call, lengths, y):
    """Root mean square of how far the output is from the middle of its interval."""
    middle = stacked(forward(form, name, call, lengths).named["y"]).value
    return float(np.sqrt(np.mean((y - middle) ** 2)))


def offs(form, name, call, upstream, lengths, y, cache, grads):
    """How far what an engine returned is off, in radii: by the name of each array."""
    cell, G = CELLS[name], len(CELLS[name].GATES)
    made = forward(form, name, call, lengths)
    went = backward(form, name, made, call, upstream, lengths)
    found = {"y": y, "m_n": getattr(cache, "m_n", None)}
    found["c"] = cache.c[1:] if name == "lstm" else None
    blocks = partial(np.split, indices_or_sections=G, axis=-1)
    for what, array in (("gate", getattr(cache, "gates", None)), ("da", grads.da), ("db", grads.db)):
        if array is not None:
            found |= {f"{what} {gate}": part for gate, part in zip(cell.GATES, blocks(array))}
    found |= {key: getattr(grads, key, None) for key in ("dh0", "dc0", "db_hn")}
    padded = None if lengths is None else np.arange(len(y))[:, None] >= lengths
    result = {}
    for key, want in (made.named | went).items():
        whole = stacked(want) if isinstance(want, list) else want
        ours = np.asarray(found[key])
        if padded is not None and key.split()[0] in ("gate", "m_n"):  # beyond a sequence's end nobody reads them
            whole, ours = whole[~padded], ours[~padded]
        result[key] = whole.off(ours)
    return result
