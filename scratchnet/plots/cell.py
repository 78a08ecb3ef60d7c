"""The cell at one step: its drawing with the numbers of one unit on the wires, the line of its code
that is computed, and where in time that is."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, HPacker, TextArea
from matplotlib.patches import Circle, FancyBboxPatch, Polygon, Rectangle
from matplotlib.patheffects import withStroke

from scratchnet.errors import InvalidValueError, OutOfRangeError
from scratchnet.plots.equations import Piece, equation, filled, number, symbol, tint_of
from scratchnet.plots.source import gradient_of, require_backward, run_of, title_of
from scratchnet.plots.style import (
    INK,
    PALETTE,
    QUIET,
    Look,
    Size,
    colour,
    drawing,
    entitle,
    figure_of,
    inches_of,
    new_figure,
    pt,
    style,
)
from scratchnet.tracing import RunTrace
from scratchnet.tracing.numbers import Numbers
from scratchnet.tracing.order import unit_order
from scratchnet.tracing.program import operands
from scratchnet.view.layout import Point, Way
from scratchnet.view.layout import drawing as layout_of
from scratchnet.view.walk import Step, steps

Direction = Literal["forward", "backward"]
# All lengths are inches of a slide's figure, ten inches wide, whose letters are 14 points.
LETTER, LINE = 14 * 0.61 / 72, 14 * 1.2 / 72  # of monospaced text
HEIGHT, HEAD, PANEL, STRIP = (
    5.625,
    0.42,
    1.28,
    0.55,
)  # of the figure, from the top: ..., the drawing
BELOW = 0.45  # rows between the last one and the ends of the ways of x and dy
BUS = {"h": 0.5, "x": 0.7}  # columns of the wires to the products with weights
HIGHLIGHT, GLOW, WIRE, PANEL_TINT, EDGE = (
    PALETTE["page"][name]["light"] for name in ("highlight", "glow", "wire", "panel", "line")
)
MONO = "DejaVu Sans Mono"


Box = tuple[float, float, float, float]  # left, top, right, bottom


class Wire(NamedTuple):
    """A wire: the operation whose value it carries, the gradient that comes back, and its way."""

    source: int
    reader: int | str | None  # None: the next step; "loss": the output
    gradient: int | None
    way: tuple[Point, ...]
    bus: bool = False


class Walk:
    """A run's cell, ready to be drawn at any step: its numbers, its drawing and its lines."""

    def __init__(self, run: RunTrace, direction: Direction, sample: int, unit: int | None) -> None:
        if direction not in ("forward", "backward"):
            raise InvalidValueError(
                f"walk is {direction!r}: expected 'forward' or 'backward', the pass to be walked"
            )
        if direction == "backward":
            require_backward(run, "a walk backward")
        self.run, self.back, self.numbers = run, direction == "backward", Numbers(run, sample)
        self.T = int(run.lengths[sample])
        self.unit = int(unit_order(run, sample)[0]) if unit is None else unit
        if not 0 <= self.unit < run.H:
            raise OutOfRangeError(
                f"unit is {unit} but {run.name} has {run.H} units: expected 0 to {run.H - 1}"
            )
        self.program = self.numbers.program
        self.lines: list[Step] = steps(self.program, run.cell)[direction]
        self.drawing = layout_of(self.program, run.cell.STATES)
        self.spots: dict[int, Point] = {
            at: (x, y) for at, _, x, y in self.drawing["nodes"] + self.drawing["previous"]
        }
        self.signs: dict[int, str] = {at: sign for at, sign, _, _ in self.drawing["nodes"]}
        self.bottom = max(y for _, y in self.spots.values())
        self.wires = self._wires()

    def require_step(self, t: int) -> None:
        """IndexError unless the sequence has a step t."""
        if not 0 <= t < self.T:
            raise OutOfRangeError(
                f"t is {t} but the sequence has {self.T} steps: expected 0 to {self.T - 1}"
            )

    def line_of(self, term: str) -> Step:
        """The line of the walk that computes a term; ValueError names those there are."""
        for line in self.lines:
            if term in line["terms"]:
                return line
        known = ", ".join(name for line in self.lines for name in line["terms"])
        raise InvalidValueError(f"no line of this walk computes {term!r}: it has {known}")

    def leaf(self, *op: str) -> int:
        """The place of what a step is given."""
        return self.program.ops.index(op)

    def _wires(self) -> list[Wire]:
        """The wires between operations, those of x and h to the products, and that to the loss."""
        found = [Wire(*wire) for wire in self.drawing["wires"]]
        backward, low = self.program.backward, self.bottom + BELOW
        for at, sources in self.drawing["taps"]:
            y = self.spots[at][1]
            for source in sources:
                leaf = self.leaf("x") if source == "x" else self.leaf("state", source)
                side = 0.0 if len(sources) == 1 else 0.1 if source == "x" else -0.1
                x = BUS[source]
                start = [(x, low)] if source == "x" else [(0, self.spots[leaf][1])]
                start += [] if source == "x" else [(x, self.spots[leaf][1])]
                d = backward.get("dx" if source == "x" else f"d{source}_prev")
                d = backward.get(f"d{source}_prev_through_W_h", d)
                found.append(Wire(leaf, at, d, (*start, (x, y + side), (0.9, y + side)), True))
        h = self.program.forward[self.run.cell.STATES[0]]
        (x, y), fork = self.spots[h], self.drawing["width"] - 0.55
        dy = self.leaf("upstream", "dy") if ("upstream", "dy") in self.program.ops else None
        found.append(Wire(h, "loss", dy, ((x, y), (fork, y), (fork, low))))
        return found


@drawing
def cell(
    source: Any,
    t: int | None = None,
    unit: int | None = None,
    term: str | None = None,
    *,
    walk: Direction = "backward",
    sample: int = 0,
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw the cell at one step: what its wires carry, and one line of its code with the numbers.

    Backward the wires run from right to left and carry gradients. What the line computes is
    highlighted, and what it reads has thick wires. Beneath are the equation, with the numbers of
    the unit, and the line of the library; at the foot the gradient at all steps, and this one.

    Parameters
    ----------
    source : a trace, or one of its runs
    t : the time step; by default the last
    unit : by default the one that carries the largest gradient to the first step
    term : what the line computes, such as "dc" or "da_f"; by default the pass's first
    walk : "backward" or "forward"
    sample : which sequence of the batch
    title, size : as in ``errors_ahead``
    ax : axes for the drawing alone; its letters get smaller with the axes

    Raises
    ------
    ValueError
        Where the run has no gradients for a walk backward, no line computes the term, or the cell
        has no drawing.
    IndexError
        Where there is no such step, unit or sequence.
    """
    whole = run_of(source)
    ready = Walk(whole, walk, sample, unit)
    t = ready.T - 1 if t is None else t
    ready.require_step(t)
    line = ready.lines[0] if term is None else ready.line_of(term)
    if ax is not None:
        with style("slide", inches_of(ax)[0]):
            _Cell(ready, t, line, ax, *(side / pt(1.0) for side in inches_of(ax))).draw()
            if title:
                entitle(ax, title)
        return figure_of(ax)
    figure = new_figure(height=HEIGHT, size=size)
    figure.set_layout_engine("none")
    draw_frame(figure, ready, t, line, title_of(source, title))
    return figure


def draw_frame(figure: Figure, walk: Walk, t: int, line: Step, title: str = "") -> None:
    """The whole picture on a figure without a layout engine: drawing, line and strip of time."""
    figure.clear()
    down = 1 / HEIGHT
    foot = (STRIP + PANEL) * down
    high = HEIGHT - HEAD - PANEL - STRIP
    _Cell(walk, t, line, figure.add_axes((0, foot, 1, high * down)), 10.0, high).draw()
    _Line(walk, t, line, _panel(figure, STRIP, PANEL)).draw()
    _strip(walk, t, _panel(figure, 0.0, STRIP))
    number_of = walk.lines.index(line) + 1
    said = f"{number_of} of {len(walk.lines)}: {line['title']}"
    head = _panel(figure, HEIGHT - HEAD, HEAD)
    look: Look = {"va": "center", "fontsize": pt(15.4)}
    head.text(0.15, HEAD / 2, said, fontweight="bold", **look)
    where = f"step {t} of {walk.T - 1}, unit {walk.unit}"
    head.text(9.85, HEAD / 2, f"{title}{', ' * bool(title)}{where}", ha="right", **look)


def _panel(figure: Figure, low: float, high: float) -> Axes:
    """Axes as wide as the figure, whose data are inches of a slide's figure."""
    ax = figure.add_axes((0, low / HEIGHT, 1, high / HEIGHT))
    ax.set(xlim=(0, 10), ylim=(0, high))
    ax.set_axis_off()
    return ax


class _Cell:
    """The drawing of one step: wires, then operations, then labels where there is room."""

    def __init__(
        self, walk: Walk, t: int, line: Step, ax: Axes, width: float, height: float
    ) -> None:
        self.walk, self.t, self.line, self.ax = walk, t, line, ax
        ax.set(xlim=(0, width), ylim=(height, 0))
        ax.set_axis_off()
        right = 8.5 * LETTER  # for the names of what comes from the next step
        self.left, self.top = 0.3, 0.42
        self.column = (width - self.left - right) / walk.drawing["width"]
        self.row = (height - self.top - 2 * LINE) / (walk.bottom + BELOW)
        program = walk.program
        named = program.forward | program.backward
        self.results = {named[term] for term in line["terms"]}
        self.used = {k for at in self.results for k in self._read(at)} - self.results
        self.owner = {
            program.backward[d]: program.forward[q]
            for d, q in program.of.items()
            if d in program.backward and q in program.forward
        }
        self.taken: list[Box] = []  # operations and labels
        self.lines: list[Box] = []  # wires

    def _read(self, at: int) -> Iterable[int]:
        """What an operation is computed from: through unnamed ones to the named and the leaves."""
        ops, names = self.walk.program.ops, self.walk.numbers.names
        for k in operands(ops[at]):
            yield from [k] if k in names or not operands(ops[k]) else self._read(k)

    def value(self, at: int | None) -> float | None:
        """The number of the unit at this step."""
        return self.walk.numbers(at, self.t, self.walk.unit)

    def place(self, point: Point) -> Point:
        """Inches of a point of the layout."""
        return self.left + point[0] * self.column, self.top + point[1] * self.row

    def _own(self, u: int) -> bool:
        """Backward an operation is computed at its own place only: a sum copies its gradient."""
        total = self.walk.program.totals.get(u)
        return total in self.results and self.owner.get(total or 0, u) == u

    def draw(self) -> None:
        """Everything."""
        trunks: dict[int, list[Wire]] = {}
        for wire in self.walk.wires:
            trunks.setdefault(wire.source, []).append(wire)
        for wire in self.walk.wires:
            self._wire(wire, alone=len(trunks[wire.source]) == 1)
        for u, wires in trunks.items():
            self._forks(u, wires)
        for at, sign in self.walk.signs.items():
            self._node(at, sign)
        for wire in self.walk.wires:
            if self.walk.back:
                self._outside(wire)
        marked = {u for u in trunks if self._own(u) or u in self.results | self.used}
        for u in sorted(trunks, key=lambda u: u not in marked):
            self._trunk(u, needed=u in marked)
        for wire in self.walk.wires:
            if self.walk.back and len(trunks[wire.source]) > 1:
                self._branch(wire)

    # ---- wires -----------------------------------------------------------------------------------

    def _from(self, wire: Wire) -> str | None:
        """What sends a gradient into the step: this step's loss, or the step after."""
        if wire.reader == "loss":
            return "from_loss"
        if wire.reader is None:
            return "from_loss" if self.t == self.walk.T - 1 else "from_future"
        return None

    def _wire(self, wire: Wire, alone: bool) -> None:
        back, walk = self.walk.back, self.walk
        value = self.value(wire.gradient if back else wire.source)
        nothing = back and (wire.gradient is None or value in (0, None))
        sent = self._from(wire) if back else None
        name = walk.numbers.names.get(wire.source, "")
        tint = EDGE if nothing else colour(sent) if sent else tint_of(name) if name else WIRE
        d = wire.gradient
        if back:
            of = self.owner.get(d or 0, wire.source)
            branch = d in self.results and of == wire.source
            branch = branch and d != walk.program.totals.get(wire.source)
            lit = branch or (self._own(wire.source) and alone)
        else:
            lit = wire.source in self.results and wire.reader != "loss"
        read = not lit and bool({wire.source, d if back else wire.source} & self.used)
        way = [self.place(p) for p in wire.way]
        points = np.array(way[::-1] if back else way)
        end = wire.source if back else wire.reader
        points[-1] += self._edge(points, end if isinstance(end, int) and not wire.bus else None)
        look: Look = {"color": tint, "lw": pt(3.4 if read else 1.6), "solid_joinstyle": "round"}
        look |= {"ls": (0, (2, 3)) if nothing else "-", "zorder": 1}
        for (x1, y1), (x2, y2) in pairwise(points):
            self.lines.append((min(x1, x2), min(y1, y2) - 0.02, max(x1, x2), max(y1, y2) + 0.02))
        if lit:
            glow: Look = {"color": HIGHLIGHT, "lw": pt(5), "zorder": 1.2}
            self.ax.plot(*points.T, solid_joinstyle="round", gid="lit", **glow)
        else:
            self.ax.plot(*points.T, **look)
        if back or not wire.bus or wire.reader in ("loss", None):
            self._head(points, HIGHLIGHT if lit else tint, 1.4 if lit else 1.0)

    def _edge(self, points: Any, node: int | None) -> Any:
        """From the middle of the operation where a wire ends to its edge."""
        sign = self.walk.signs.get(node, "") if node is not None else ""
        if not sign:
            return 0.0
        copied = self.walk.back and sign == "+" and self.walk.program.ops[node or 0][0] == "add"
        half = 0.06 if copied else _half(sign)
        back = points[-2] - points[-1]
        return np.sign(back) * (half if back[0] else min(half, 0.14))

    def _head(self, points: Any, tint: str, scale: float) -> None:
        start, end = points[-2:]
        along = (end - start) / (np.hypot(*(end - start)) or 1)
        across, size = np.array([-along[1], along[0]]), 0.075 * scale
        base = end - 2 * size * along
        corners = [end, base + size * across, base - size * across]
        self.ax.add_patch(Polygon(corners, color=tint, lw=0, zorder=1.3))

    def _forks(self, u: int, wires: list[Wire]) -> None:
        """Dots where the wires of one source part; backward sums of what comes back."""
        if len(wires) < 2:
            return
        buses = [wire for wire in wires if wire.bus]
        others = [wire for wire in wires if not wire.bus]
        spots = forks(wire.way for wire in wires)
        if not self.walk.back:
            for spot in spots:
                self._dot(spot)
            return
        if buses:
            way = buses[0].way
            for x, y in spots:
                if x == way[-2][0]:
                    self._dot((x, y))
            near = len(way) > 3 or others
            if way[-2][0] == BUS["x"] and self.column * (BUS["x"] - BUS["h"]) < 0.2:
                return  # no room beside the sum of h
            self._sum(way[1 if len(way) > 3 else 0] if near else (way[0][0], way[0][1] - 0.32), u)
        if len(others) > 1 or (others and not buses):
            for spot in forks(wire.way for wire in others):
                self._sum(spot, u)

    def _dot(self, spot: Point) -> None:
        self.ax.add_patch(Circle(self.place(spot), 0.045, color=INK, lw=0, zorder=2))

    def _sum(self, spot: Point, u: int) -> None:
        self._circle(self.place(spot), "+", lit=self._own(u), tint=INK)

    # ---- operations ------------------------------------------------------------------------------

    def _node(self, at: int, sign: str) -> None:
        spot = self.place(self.walk.spots[at])
        kind, *_ = self.walk.program.ops[at]
        if self.walk.back and kind == "add" and sign == "+":
            self.ax.add_patch(Circle(spot, 0.065, color=INK, lw=0, zorder=2))  # copies a gradient
            return
        lit = self._own(at) if self.walk.back else at in self.results
        name = self.walk.numbers.names.get(at, "")
        tint = tint_of(name) if name and sign in ("σ", "tanh") else INK
        self._circle(spot, sign, lit, tint)

    def _circle(self, spot: Point, sign: str, lit: bool, tint: str) -> None:
        (x, y), half = spot, _half(sign)
        look: Look = {"facecolor": GLOW if lit else "white", "zorder": 2.2}
        look |= {"edgecolor": HIGHLIGHT if lit else tint, "lw": pt(2.6 if lit else 1.5)}
        if sign in ("+", "×", "−", "÷"):
            self.ax.add_patch(Circle(spot, half, **look))
        else:
            corner = "round,pad=0,rounding_size=0.07"
            box = FancyBboxPatch((x - half, y - 0.14), 2 * half, 0.28, boxstyle=corner, **look)
            self.ax.add_patch(box)
        self.ax.text(x, y, sign, ha="center", va="center_baseline", zorder=2.4)
        self.taken.append((x - half, y - 0.14, x + half, y + 0.14))

    # ---- labels ----------------------------------------------------------------------------------

    def _trunk(self, u: int, needed: bool) -> None:
        """Name and number of what an operation hands on, and where the line reads its value, that
        too. Labels that are not needed are left out where there is no room."""
        walk, names = self.walk, self.walk.numbers.names
        name, total = names.get(u, ""), walk.program.totals.get(u)
        d = names.get(total, "") if total is not None else ""
        kind = walk.program.ops[u][0]
        x, y = self.place(walk.spots.get(u, (BUS["x"], walk.bottom + BELOW)))
        if kind == "x":
            D = walk.run.cache.x.shape[2]
            shown = symbol("dx" if walk.back else "x")
            label = f"{shown} ({D})" if D > 1 else shown
            words = [label] if D > 1 else [label, number(self.value(total if walk.back else u))]
            self._label([(x - 0.12, y + 0.02)], words, tint_of("x"), needed, False)
            return
        left = 0.08 if kind == "state" else x + _half(walk.signs.get(u, "+")) + 0.05
        y1, y2 = (y - 0.15, y + 0.15) if kind == "state" else (y - 0.005, y + 0.035)
        tint = tint_of(name) if name else INK
        spots = [(left, y1 - LINE), (left, y2)]
        if not walk.back:
            words = [symbol(name), self._short(u)]
            if name:
                self._label(spots, words, tint, needed, u in self.results)
            return
        mine, wide = u in self.used or u in self.results, 0.0
        if d and (self.owner.get(total or 0, u) == u or needed):
            words = [symbol(d), self._short(total)]
            wide = max(map(_width, words)) + 0.1
            self._label(spots, words, tint, needed and not mine, self._own(u))
        if mine and name:
            words = [f"{symbol(name)} {self._short(u)}"]
            heights = (y2, y1 - LINE, y2 + LINE, y1 - 2 * LINE)
            near = [(left + dx, height) for dx in (0.0, wide) for height in heights]
            self._label(near, words, tint, True, False)

    def _short(self, at: int | None) -> str:
        """The number of the unit, with as many digits as fit between two operations."""
        value = self.value(at)
        text = number(value)
        return text if _width(text) < self.column - 0.4 else number(value, 2)

    def _label(
        self, spots: list[Point], words: list[str], tint: str, needed: bool, lit: bool
    ) -> None:
        """Two lines around the wire, the name above it and the number below, or all at one of the
        other spots."""
        look: Look = {"color": tint, "family": MONO, "va": "top", "zorder": 4}
        look |= {"fontweight": "bold"} if lit else {}
        halo = [withStroke(linewidth=pt(4), foreground=GLOW if lit else "white")]
        options = [(words, [(x, y + k * LINE) for k in range(len(words))]) for x, y in spots]
        if len(words) == 2 and len(spots) > 1:
            options.insert(0, (words, [spots[0], spots[1]]))
            options += [([" ".join(words)], [spot]) for spot in spots]
            options.append((words[1:], [spots[1]]))
        tried = [
            [
                (text, (x, y, x + _width(text), y + (1.08 if "$" in text else 0.9) * LINE))
                for text, (x, y) in zip(*option)
            ]
            for option in options
        ]
        costs = [
            0.006 * k + sum(self._cost(box) for _, box in option) for k, option in enumerate(tried)
        ]
        best = tried[costs.index(min(costs))]
        if not needed and any(self._covered(box) > 0 for _, box in best):
            return
        for text, box in best:
            crossed = any(_shared(box, line) > 0 for line in self.lines)
            self.taken.append(box)
            self.ax.text(*box[:2], text, path_effects=halo if crossed or lit else None, **look)

    def _covered(self, box: Box) -> float:
        """How much of a box lies on operations and labels, or outside; square inches."""
        width, height = self.ax.get_xlim()[1], self.ax.get_ylim()[0]
        _, top, right, bottom = box
        outside = max(0.0, right - width) + max(0.0, -top) + max(0.0, bottom - height)
        return outside + sum(_shared(box, other) for other in self.taken)

    def _cost(self, box: Box) -> float:
        return 20 * self._covered(box) + sum(_shared(box, line) for line in self.lines)

    def _outside(self, wire: Wire) -> None:
        """Name and number of what comes in: from this step's loss, or from the step after."""
        sent = self._from(wire)
        value = self.value(wire.gradient)
        if sent is None or not value:
            return
        x, y = self.place(wire.way[-1])
        state = self.walk.numbers.names[wire.source]
        last = self.t == self.walk.T - 1
        loss = wire.reader == "loss"
        name = symbol("dy" if loss else f"d{state}_next", last)
        words = [name, number(value)]
        wide = max(map(_width, words))
        spot = (x - wide / 2, y + 0.02) if loss else (x + 0.06, y - LINE - 0.02)
        self._label([spot], words, colour(sent), True, wire.gradient in self.results)

    def _branch(self, wire: Wire) -> None:
        """The share of one reader in a gradient that several send."""
        if wire.reader in (None, "loss") or wire.gradient is None or wire.bus:
            return
        value = self.value(wire.gradient)
        if value is None or wire.gradient not in self.results | self.used:
            return
        (x1, y1), (x2, y2) = (self.place(p) for p in wire.way[-2:])
        name = self.walk.numbers.names.get(wire.gradient, "")
        text = f"{symbol(name)} {self._short(wire.gradient)}" if name else number(value)
        middle = (y1 + y2) / 2 - LINE / 2
        spots = [(x2 + 0.1, middle), (x2 - _width(text) - 0.1, middle), (x1, y1 + 0.05)]
        if y1 == y2:
            spots = [(x2 - _width(text) - 0.2, y2 - LINE - 0.03), (x1 + 0.1, y2 + 0.05)]
        self._label(spots, [text], tint_of(name), False, wire.gradient in self.results)


def _shared(one: Box, other: Box) -> float:
    """The area of two boxes in common."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, down)


def _half(sign: str) -> float:
    """Half the width of an operation's sign."""
    return 0.13 if sign in ("+", "×", "−", "÷") else max(0.15, 0.05 + LETTER * len(sign) / 2)


def _width(text: str) -> float:
    """About how wide a text is; of mathematics what is drawn of it."""
    plain = text
    for mark in ("\\mathrm", "$", "{", "}", "\\,", "_", "~"):
        plain = plain.replace(mark, "")
    return LETTER * (len(plain) + 0.1)


def _room(pieces: list[Piece]) -> float:
    """About how wide pieces are, in letters of 14 points."""
    return 0.1 + 0.97 * sum(_width(text) for text, _ in pieces)


def forks(ways: Iterable[Way]) -> list[Point]:
    """The points where the wires of one source part."""
    around: dict[Point, set[Point]] = {}
    for way in ways:
        for (x1, y1), (x2, y2) in pairwise(way):
            n = max(1, round(20 * (abs(x2 - x1) + abs(y2 - y1))))
            line = [
                (round(x1 + (x2 - x1) * k / n, 2), round(y1 + (y2 - y1) * k / n, 2))
                for k in range(n + 1)
            ]
            for a, b in pairwise(line):
                around.setdefault(a, set()).add(b)
                around.setdefault(b, set()).add(a)
    return [point for point, near in around.items() if len(near) > 2]


class _Line:
    """One line of the walk: its terms as equations, with numbers, and the library's code."""

    def __init__(self, walk: Walk, t: int, line: Step, ax: Axes) -> None:
        self.walk, self.t, self.line, self.ax = walk, t, line, ax

    def draw(self) -> None:
        """Terms in rows, more than three in columns with their results only; and the code."""
        ax = self.ax
        ax.add_patch(
            FancyBboxPatch(
                (0.15, 0.06),
                9.7,
                PANEL - 0.1,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=PANEL_TINT,
                edgecolor=EDGE,
                lw=pt(1),
                zorder=0,
            )
        )
        terms = self._weights() if "weights" in self.line else self._terms()
        rows = 2 if len(terms) == 4 else min(3, len(terms))
        columns = -(-len(terms) // rows)
        pitch, room = 0.82 / rows, 9.5 / columns
        points = {1: 20, 2: 17, 3: 14}[rows] if columns == 1 else 14
        middle = max(_room(symbols) for symbols, _ in terms) * points / 14
        for k, (symbols, numbers) in enumerate(terms):
            x, y = 0.32 + (k // rows) * room, PANEL - 0.08 - (k % rows + 0.5) * pitch
            if columns > 1:
                whole = [*symbols, *numbers[-2:]]
                short = [*symbols[:2], numbers[-1]]
                self._write(x, y, whole if _room(whole) < room else short, room, points)
                continue
            fits = middle + _room(numbers) * points / 14 < room
            self._write(x, y, symbols, room, points)
            if fits or rows == 1:
                self._write(x + middle, y, numbers, room - middle, points)
            else:
                self._write(x + middle, y, [numbers[0], numbers[-1]], room - middle, points)
        for place, code, comment in self.line["code"][:1]:
            said = f"{code}  # {comment}" if comment else code
            room = int(9.2 / LETTER) - len(place) - 2
            shown = said if len(said) <= room else code
            shown = shown if len(shown) <= room else f"{shown[: room - 1]}…"
            look: Look = {"family": MONO, "parse_math": False}
            parts = [
                TextArea(text, textprops=look | {"color": tint, "fontsize": pt(14)})
                for text, tint in ((f"{place}  ", QUIET), (shown, INK))
            ]
            self._row(0.32, 0.24, parts)

    def _terms(self) -> list[tuple[list[Piece], list[Piece]]]:
        """Each term in symbols; and what that is in numbers, with the result at the end."""
        walk, numbers, last = self.walk, self.walk.numbers, self.t == self.walk.T - 1
        found = []
        for term in self.line["terms"]:
            symbols = equation(numbers, term, last)
            result, *computed = filled(numbers, term, self.t, walk.unit)
            if term == "dx" and walk.run.cache.x.shape[2] > 1:
                result = (f"{walk.run.cache.x.shape[2]} numbers", QUIET)
            found.append((symbols, [*computed, (" = ", INK), result]))
        return found

    def _weights(self) -> list[tuple[list[Piece], list[Piece]]]:
        """What this step adds to each weight's gradient, and how large that is."""
        found = []
        numbers, program = self.walk.numbers, self.walk.program
        for name, blocks in program.weights.items():
            size = 0.0
            for left, right in blocks:
                parts = [numbers.row(k, self.t) for k in (left, right) if k is not None]
                size += float(np.prod([np.sum(np.square(part)) for part in parts]))
            symbols = [(symbol(f"d{name}"), tint_of(name)), (" +=", INK)]
            found.append((symbols, [("  of size ", QUIET), (number(size**0.5), INK)]))
        return found

    def _write(self, x: float, y: float, pieces: list[Piece], room: float, points: float) -> None:
        """Coloured pieces on one line, as large as they fit."""
        k = pt(points * min(1.0, room / (_room(pieces) * points / 14)))
        areas = [
            TextArea(
                text.replace(" ", "\u00a0"), textprops={"color": tint, "fontsize": max(k, pt(14))}
            )
            for text, tint in pieces
        ]
        self._row(x, y, areas)

    def _row(self, x: float, y: float, parts: list[TextArea]) -> None:
        """Texts side by side."""
        box = HPacker(children=[*parts], pad=0, sep=0, align="baseline")
        self.ax.add_artist(
            AnnotationBbox(box, (x, y), frameon=False, box_alignment=(0, 0.5), pad=0)
        )


def _strip(walk: Walk, t: int, ax: Axes) -> None:
    """The gradient of each state at all steps, as ribbons on a logarithmic scale, and this step."""
    run, n = walk.run, walk.numbers.sample
    left, right, middle = 0.75, 9.2, STRIP / 2
    pitch = (right - left) / walk.T
    x = left + (np.arange(walk.T) + 0.5) * pitch
    ax.add_patch(
        Rectangle((x[t] - pitch / 2, 0.03), pitch, STRIP - 0.06, color=GLOW, lw=0, gid="cursor")
    )
    ax.text(9.85, middle, f"t = {t}", ha="right", va="center")
    if not run.has_backward:
        ax.plot(x, np.full(walk.T, middle), "o", ms=pt(3), color=QUIET)
        return
    states = run.cell.STATES[::-1]
    with np.errstate(all="ignore"):
        sizes = {s: np.linalg.norm(gradient_of(run, s)[: walk.T, n], axis=1) for s in states}
    real = [v for d in sizes.values() for v in d if np.isfinite(v) and v > 0]
    most = max(real, default=1.0)
    for k, (state, d) in enumerate(sizes.items()):
        room = (STRIP - 0.08) / len(states)
        y = STRIP - 0.04 - (k + 0.5) * room
        with np.errstate(all="ignore"):
            power = np.nan_to_num(1 + np.log10(d / most) / 6, nan=0.0, posinf=0.0, neginf=0.0)
        half = 0.45 * room * np.clip(power, 0, 1)
        ends = np.concatenate([[left], x, [right]]), np.concatenate([half[:1], half, half[-1:]])
        ax.fill_between(ends[0], y - ends[1], y + ends[1], color=colour(state), lw=0, alpha=0.92)
        ax.text(left - 0.1, y, symbol(f"d{state}"), ha="right", va="center", color=colour(state))
