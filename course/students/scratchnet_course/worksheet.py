"""Worksheets: a scalar network over three steps, with numbers of two decimals, to work by hand.

A page of HTML that prints on two sheets. Each student has different numbers, made from their id.
"""

import hashlib
import html
from typing import NamedTuple

import numpy as np

from scratchnet.cells import lstm, rnn
from scratchnet.errors import InvalidValueError

KINDS = ("bptt", "lstm")
T = 3

STYLE = """
body { font: 15px/1.45 Georgia, "Liberation Serif", serif; max-width: 48rem; margin: 1.5rem auto;
  padding: 0 1rem; color: #111; background: #fff; }
h1, h2 { font: 700 1.35rem system-ui, "Liberation Sans", sans-serif; margin: 0 0 .2rem; }
h2 { font-size: 1.05rem; margin: 1.3rem 0 .3rem; }
pre { font: 14px/1.5 "DejaVu Sans Mono", Consolas, monospace; margin: .4rem 0; }
table { border-collapse: collapse; margin: .5rem 0; width: 100%; }
th, td { border: 1px solid #666; padding: .3rem .45rem; text-align: right;
  font-variant-numeric: tabular-nums; }
th:first-child, .fixed th { font: 400 13px "DejaVu Sans Mono", Consolas, monospace; }
th:first-child { text-align: left; }
td { height: 2rem; min-width: 4.5rem; }
.who { display: flex; justify-content: space-between; border-bottom: 1px solid #111;
  padding-bottom: .3rem; }
.given td { background: #eee; }
.fixed { table-layout: fixed; }
.fixed th { text-align: right; }
.fixed td { height: auto; }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; }
  table { break-inside: avoid; } }
@media (max-width: 40rem) { table { display: block; overflow-x: auto; } }
"""


class SheetRow(NamedTuple):
    """A line of a table: a name, its equation, and a number for each step."""

    name: str
    equation: str
    values: tuple[float | None, ...]  # at t = 0, 1, 2; None where there is none


class Sheet(NamedTuple):
    """A worksheet with its solution."""

    kind: str
    student: str
    equations: tuple[str, ...]
    given: tuple[SheetRow, ...]
    weights: tuple[tuple[str, float], ...]
    forward: tuple[SheetRow, ...]
    backward: tuple[SheetRow, ...]
    gradients: tuple[SheetRow, ...]  # of the weights, one number each


def sheet(kind: str, student: str) -> Sheet:
    """Return the worksheet of a student, the same every time.

    Raises
    ------
    ValueError
        If ``kind`` is not one of KINDS.
    """
    if kind not in KINDS:
        raise InvalidValueError(
            f"there is no worksheet {kind!r}: expected one of {', '.join(KINDS)}"
        )
    seed = int.from_bytes(hashlib.sha256(f"{kind}|{student}".encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    return _rnn(student, rng) if kind == "bptt" else _lstm(student, rng)


def _two(rng: np.random.Generator, low: float, high: float, *shape: int) -> np.ndarray:
    """Numbers with two decimals, none of them too near zero."""
    numbers = np.round(rng.uniform(low, high, shape), 2)
    return np.where(np.abs(numbers) < 0.1, 0.25, numbers)


def _steps(array: np.ndarray) -> tuple[float, ...]:
    return tuple(float(v) for v in np.asarray(array).reshape(len(array), -1)[:, 0])


def _rnn(student: str, rng: np.random.Generator) -> Sheet:
    """h = tanh(w x + u h' + b), L = 1/2 sum (h - y)^2."""
    x, y = _two(rng, -1.5, 1.5, T, 1, 1), _two(rng, -0.9, 0.9, T, 1, 1)
    w, u, b = _two(rng, 0.3, 1.2, 1, 1), _two(rng, 0.3, 1.1, 1, 1), _two(rng, -0.5, 0.5, 1)
    h0 = _two(rng, -0.8, 0.8, 1, 1)
    h, cache = rnn.forward(x, h0, w, u, b)
    dy = h - y
    grads = rnn.backward(dy, cache)
    dh_next = np.zeros(T)
    dh_next[:-1] = grads.da[1:, 0, 0] * u[0, 0]
    before = np.concatenate([h0[None], h[:-1]])
    each = {"dw": grads.da * x, "du": grads.da * before, "db": grads.da}
    return Sheet(
        "bptt",
        student,
        equations=(
            "a = w x + u h' + b",
            "h = tanh(a)",
            "L = 1/2 (h_0 - y_0)^2 + 1/2 (h_1 - y_1)^2 + 1/2 (h_2 - y_2)^2",
        ),
        given=(SheetRow("x", "", _steps(x)), SheetRow("y", "target", _steps(y))),
        weights=(
            ("w", float(w[0, 0])),
            ("u", float(u[0, 0])),
            ("b", float(b[0])),
            ("h before t=0", float(h0[0, 0])),
        ),
        forward=(
            SheetRow("h'", "the state before", _steps(before)),
            SheetRow("a", "w x + u h' + b", _steps(np.arctanh(h))),
            SheetRow("h", "tanh(a)", _steps(h)),
        ),
        backward=(
            SheetRow("dy", "h - y", _steps(dy)),
            SheetRow("dh_next", "u da of step t+1", _steps(dh_next)),
            SheetRow("dh", "dy + dh_next", _steps(dy[:, 0, 0] + dh_next)),
            SheetRow("da", "dh (1 - h^2)", _steps(grads.da)),
            SheetRow("to dw", "da x", _steps(each["dw"])),
            SheetRow("to du", "da h'", _steps(each["du"])),
            SheetRow("to db", "da", _steps(each["db"])),
        ),
        gradients=tuple(
            SheetRow(name, "sum over t", (float(v.sum()),)) for name, v in each.items()
        ),
    )


def _lstm(student: str, rng: np.random.Generator) -> Sheet:
    """The scalar LSTM with the loss on the last h alone."""
    # far off, so that gradients are no tiny numbers
    x, y = _two(rng, -1.5, 1.5, T, 1, 1), float(_two(rng, -2.0, -1.0, 1)[0])
    W_x, W_h, b = _two(rng, 0.2, 1.2, 1, 4), _two(rng, 0.2, 1.0, 1, 4), _two(rng, -0.5, 1.0, 4)
    h0, c0 = np.zeros((1, 1)), np.zeros((1, 1))
    h, cache = lstm.forward(x, h0, c0, W_x, W_h, b)
    dy = np.zeros((T, 1, 1))
    dy[-1] = h[-1] - y
    grads = lstm.backward(dy, cache)
    i, f, g, o = (part[:, 0, 0] for part in np.split(cache.gates, 4, axis=-1))
    da = grads.da[:, 0]  # (T, 4)
    c = cache.c[1:, 0, 0]
    dh_next = np.append(da[1:] @ W_h[0], 0.0)
    dh = dy[:, 0, 0] + dh_next
    tanh_c, dc, dc_next = np.tanh(c), np.zeros(T), np.zeros(T)
    for t in reversed(range(T)):
        dc_next[t] = dc[t + 1] * f[t + 1] if t + 1 < T else 0.0
        dc[t] = dh[t] * o[t] * (1 - tanh_c[t] ** 2) + dc_next[t]

    letters = "ifgo"
    named = [(f"{name}_{x}", k) for name in "wub" for k, x in enumerate(letters)]
    numbers = np.concatenate([W_x[0], W_h[0], b])
    slopes = ("dc g i (1-i)", "dc c' f (1-f)", "dc i (1-g^2)", "dh tanh(c) o (1-o)")
    sums = np.concatenate([grads.dW_x[0], grads.dW_h[0], grads.db])
    return Sheet(
        "lstm",
        student,
        equations=(
            "a_i = w_i x + u_i h' + b_i, and so for f, g, o",
            "i, f, o = sigmoid(a)    g = tanh(a_g)",
            "c = f c' + i g    h = o tanh(c)",
            f"L = 1/2 (h_2 - y)^2 with y = {y:.2f}; h and c before t=0 are 0",
        ),
        given=(SheetRow("x", "", _steps(x)),),
        weights=tuple((name, float(v)) for (name, _), v in zip(named, numbers)),
        forward=(
            SheetRow("i", "sigmoid(a_i)", _steps(i)),
            SheetRow("f", "sigmoid(a_f)", _steps(f)),
            SheetRow("g", "tanh(a_g)", _steps(g)),
            SheetRow("o", "sigmoid(a_o)", _steps(o)),
            SheetRow("c", "f c' + i g", _steps(c)),
            SheetRow("h", "o tanh(c)", _steps(h)),
        ),
        backward=(
            SheetRow("dh", "dy + dh_next", _steps(dh)),
            SheetRow("dc_next", "dc f, of step t+1", _steps(dc_next)),
            SheetRow("dc", "dh o (1 - tanh(c)^2) + dc_next", _steps(dc)),
            *(
                SheetRow(f"da_{x}", rule, _steps(da[:, k]))
                for k, (x, rule) in enumerate(zip(letters, slopes))
            ),
            SheetRow("dh_next", "sum of u da, of step t+1", _steps(dh_next)),
        ),
        gradients=tuple(
            SheetRow(f"d{name}", "sum over t", (float(v),)) for (name, _), v in zip(named, sums)
        ),
    )


def page(made: Sheet, solution: bool = False) -> str:
    """The worksheet as a page; with ``solution`` every number filled in."""
    name = {"bptt": "Backpropagation through time by hand", "lstm": "The LSTM by hand"}[made.kind]
    blocks = []  # four weights side by side
    for start in range(0, len(made.weights), 4):
        names = "".join(f"<th>{html.escape(n)}</th>" for n, _ in made.weights[start : start + 4])
        numbers = "".join(f"<td>{v:.2f}</td>" for _, v in made.weights[start : start + 4])
        blocks.append(f'<table class="given fixed"><tr>{names}</tr><tr>{numbers}</tr></table>')
    head = "".join(f"<th>t = {t}</th>" for t in range(T))
    who = f"student {html.escape(made.student)}" + (" — solution" if solution else "")
    parts = [
        f'<div class="who"><h1>{name}</h1><span>{who}</span></div>',
        (
            "<p>Work with four decimals. Fill the forward pass from left to right, the backward"
            " pass from right to left.</p>"
        ),
        f"<pre>{html.escape(chr(10).join(made.equations))}</pre>",
        *blocks,
        f"<h2>Forward</h2><table><tr><th></th>{head}</tr>{_rows(made.given, True, 2)}",
        f"{_rows(made.forward, solution)}</table>",
        f"<h2>Backward</h2><table><tr><th></th>{head}</tr>{_rows(made.backward, solution)}</table>",
        f"<h2>The weights' gradients</h2><table>{_rows(made.gradients, solution)}</table>",
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport"'
        f' content="width=device-width">'
        f"<title>{name},"
        f" {who}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _rows(rows: tuple[SheetRow, ...], filled: bool, digits: int = 4) -> str:
    made = []
    for row in rows:
        cells = "".join(
            f"<td>{f'{v:.{digits}f}' if filled and v is not None else ''}</td>" for v in row.values
        )
        equation = f" = {html.escape(row.equation)}" if row.equation else ""
        kind = ' class="given"' if digits == 2 else ""
        made.append(f"<tr{kind}><th>{html.escape(row.name)}{equation}</th>{cells}</tr>")
    return "".join(made)
