"""Worksheets: a scalar network over three steps, with numbers of two decimals, to work by hand.

A page of HTML that prints on two sheets. Each student has different numbers, made from their id,
and a form to hand them in.
"""

import csv
import hashlib
import html
import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from scratchnet.errors import InvalidValueError

KINDS = ("bptt", "lstm")
NAMES = {"bptt": "Backpropagation through time by hand", "lstm": "The LSTM by hand"}
T = 3

STYLE = """
body { font: 15px/1.45 Georgia, "Liberation Serif", serif; max-width: 48rem; margin: 1.5rem auto;
  padding: 0 1rem; color: #111; background: #fff; }
h1, h2 { font: 700 1.35rem system-ui, "Liberation Sans", sans-serif; margin: 0 0 .2rem; }
h2 { font-size: 1.05rem; margin: 1.3rem 0 .3rem; }
pre { font: 14px/1.5 "DejaVu Sans Mono", Consolas, monospace; margin: .4rem 0;
  white-space: pre-wrap; }
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
section + section { break-before: page; margin-top: 4rem; }
@media print { body { margin: 0; max-width: none; } section + section { margin-top: 0; }
  h2 { break-after: avoid; }
  table { break-inside: avoid; } }
@media (max-width: 40rem) { td { min-width: 0; } table { display: block; overflow-x: auto; } }
"""


class SheetRow(NamedTuple):
    """A line of a table: a name, its equation, and a number for each step."""

    name: str
    equation: str
    values: tuple[float | None, ...]  # at t = 0, 1, 2; None where there is none


class Sheet(NamedTuple):
    """A worksheet. What is to be filled in is None; the instructor's distribution fills it in."""

    kind: str
    student: str
    equations: tuple[str, ...]
    given: tuple[SheetRow, ...]
    weights: tuple[tuple[str, float], ...]
    forward: tuple[SheetRow, ...]
    backward: tuple[SheetRow, ...]
    gradients: tuple[SheetRow, ...]  # of the weights, one number each
    target: tuple[float, ...]  # of every step, or of the last


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


def _blank(names: Iterable[tuple[str, str]], columns: int = T) -> tuple[SheetRow, ...]:
    """Rows to be filled in: names and equations."""
    return tuple(SheetRow(name, equation, (None,) * columns) for name, equation in names)


def _rnn(student: str, rng: np.random.Generator) -> Sheet:
    """h = tanh(w x + u h' + b), L = 1/2 sum (h - y)^2."""
    x, y = _two(rng, -1.5, 1.5, T), _two(rng, -0.9, 0.9, T)
    w, u, b = _two(rng, 0.3, 1.2), _two(rng, 0.3, 1.1), _two(rng, -0.5, 0.5)
    h0 = _two(rng, -0.8, 0.8)
    weights = {"w": w, "u": u, "b": b, "h before t=0": h0}
    return Sheet(
        "bptt",
        student,
        equations=(
            "a = w x + u h' + b",
            "h = tanh(a)",
            "L = 1/2 (h_0 - y_0)^2 + 1/2 (h_1 - y_1)^2 + 1/2 (h_2 - y_2)^2",
        ),
        given=(SheetRow("x", "", tuple(x.tolist())), SheetRow("y", "target", tuple(y.tolist()))),
        weights=tuple((name, float(v)) for name, v in weights.items()),
        forward=_blank((("h'", "the state before"), ("a", "w x + u h' + b"), ("h", "tanh(a)"))),
        backward=_blank(
            (
                *(("dy", "h - y"), ("dh_next", "u da of step t+1"), ("dh", "dy + dh_next")),
                *(("da", "dh (1 - h^2)"), ("to dw", "da x"), ("to du", "da h'"), ("to db", "da")),
            )
        ),
        gradients=_blank(((name, "sum over t") for name in ("dw", "du", "db")), 1),
        target=tuple(y.tolist()),
    )


def _lstm(student: str, rng: np.random.Generator) -> Sheet:
    """The scalar LSTM with the loss on the last h alone."""
    # far off, so that gradients are no tiny numbers
    x, y = _two(rng, -1.5, 1.5, T), float(_two(rng, -2.0, -1.0, 1)[0])
    W_x, W_h, b = _two(rng, 0.2, 1.2, 4), _two(rng, 0.2, 1.0, 4), _two(rng, -0.5, 1.0, 4)
    names = [f"{name}_{gate}" for name in "wub" for gate in "ifgo"]
    slopes = {"i": "dc g i (1-i)", "f": "dc c' f (1-f)", "g": "dc i (1-g^2)"}
    slopes |= {"o": "dh tanh(c) o (1-o)"}
    return Sheet(
        "lstm",
        student,
        equations=(
            "a_i = w_i x + u_i h' + b_i, and so for f, g, o",
            "i, f, o = sigmoid(a)    g = tanh(a_g)",
            "c = f c' + i g    h = o tanh(c)",
            f"L = 1/2 (h_2 - y)^2 with y = {y:.2f}; h and c before t=0 are 0",
        ),
        given=(SheetRow("x", "", tuple(x.tolist())),),
        weights=tuple(zip(names, np.concatenate([W_x, W_h, b]).tolist())),
        forward=_blank(
            (
                *(("i", "sigmoid(a_i)"), ("f", "sigmoid(a_f)"), ("g", "tanh(a_g)")),
                *(("o", "sigmoid(a_o)"), ("c", "f c' + i g"), ("h", "o tanh(c)")),
            )
        ),
        backward=_blank(
            (
                *(("dh", "dy + dh_next"), ("dc_next", "dc f, of step t+1")),
                ("dc", "dh o (1 - tanh(c)^2) + dc_next"),
                *((f"da_{gate}", rule) for gate, rule in slopes.items()),
                ("dh_next", "sum of u da, of step t+1"),
            )
        ),
        gradients=_blank(((f"d{name}", "sum over t") for name in names), 1),
        target=(y,),
    )


def form(made: Sheet) -> str:
    """A table to fill the numbers in and hand them in, for a spreadsheet: CSV."""
    rows = [
        ("worksheet", made.kind),
        ("student", made.student),
        ("", *(f"t={t}" for t in range(T))),
    ]
    for row in (*made.forward, *made.backward, *made.gradients):
        rows.append((row.name, *("" if v is None else f"{v:.4f}" for v in row.values)))
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


def page(made: Sheet, *more: Sheet) -> str:
    """The worksheet as a page, or those of a class, each on new sheets of paper: with every number
    filled in, if it is a solution."""
    sections = "".join(f"<section>{_body(one)}</section>" for one in (made, *more))
    title = f"{NAMES[made.kind]}, " + (f"{len(more) + 1} sheets" if more else _who(made))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport"'
        f' content="width=device-width"><title>{title}</title><style>{STYLE}</style></head><body>'
        f"{sections}</body></html>\n"
    )


def _who(made: Sheet) -> str:
    """Whose it is, and whether it is the solution."""
    solution = made.gradients[0].values[0] is not None
    return f"student {html.escape(made.student)}" + (" — solution" if solution else "")


def _body(made: Sheet) -> str:
    """One worksheet."""
    blocks = []  # four weights side by side
    for start in range(0, len(made.weights), 4):
        names = "".join(f"<th>{html.escape(n)}</th>" for n, _ in made.weights[start : start + 4])
        numbers = "".join(f"<td>{v:.2f}</td>" for _, v in made.weights[start : start + 4])
        blocks.append(f'<table class="given fixed"><tr>{names}</tr><tr>{numbers}</tr></table>')
    head = "".join(f"<th>t = {t}</th>" for t in range(T))
    rows = {name: _rows(getattr(made, name)) for name in ("forward", "backward", "gradients")}
    parts = [
        f'<div class="who"><h1>{NAMES[made.kind]}</h1><span>{_who(made)}</span></div>',
        (
            "<p>Work with four decimals. Fill the forward pass from left to right, the backward"
            " pass from right to left.</p>"
        ),
        f"<pre>{html.escape(chr(10).join(made.equations))}</pre>",
        *blocks,
        f"<h2>Forward</h2><table><tr><th></th>{head}</tr>{_rows(made.given, 2)}",
        f"{rows['forward']}</table>",
        f"<h2>Backward</h2><table><tr><th></th>{head}</tr>{rows['backward']}</table>",
        f"<h2>The weights' gradients</h2><table>{rows['gradients']}</table>",
    ]
    return "".join(parts)


def _rows(rows: tuple[SheetRow, ...], digits: int = 4) -> str:
    made = []
    for row in rows:
        cells = "".join(f"<td>{'' if v is None else f'{v:.{digits}f}'}</td>" for v in row.values)
        equation = f" = {html.escape(row.equation)}" if row.equation else ""
        kind = ' class="given"' if digits == 2 else ""
        made.append(f"<tr{kind}><th>{html.escape(row.name)}{equation}</th>{cells}</tr>")
    return "".join(made)
