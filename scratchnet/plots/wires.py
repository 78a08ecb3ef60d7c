"""The drawing of a cell at one step: wires, operations, and the numbers of one unit where there is
room for them.

All lengths are inches of a slide's figure, ten inches wide, whose letters are 14 points.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch, Polygon
from matplotlib.patheffects import withStroke

from scratchnet.plots.equations import number, symbol, tint_of
from scratchnet.plots.style import EDGE, HIGHLIGHT, INK, PALETTE, Look, colour, pt
from scratchnet.plots.walk import BELOW, BUS, Walk, Wire, forks
from scratchnet.tracing.program import operands
from scratchnet.view.layout import Point
from scratchnet.view.walk import Step

LETTER, LINE = 14 * 0.61 / 72, 14 * 1.2 / 72  # of monospaced text
GLOW, WIRE = (PALETTE["page"][name]["light"] for name in ("glow", "wire"))
MONO = "DejaVu Sans Mono"
Box = tuple[float, float, float, float]  # left, top, right, bottom


class Drawing:
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
        self.computing: set[int | str | None] = set()  # the readers whose gradients are computed
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
            own = self._own(wire.source)
            lit = branch or (own and alone)
            if lit or (own and wire.bus):
                self.computing.add(wire.reader)
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
        lit = at in (self.computing if self.walk.back else self.results)
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
            wide = max(map(width_of, words)) + 0.1
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
        return text if width_of(text) < self.column - 0.4 else number(value, 2)

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
                (text, (x, y, x + width_of(text), y + (1.08 if "$" in text else 0.9) * LINE))
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
        wide = max(map(width_of, words))
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
        spots = [(x2 + 0.1, middle), (x2 - width_of(text) - 0.1, middle), (x1, y1 + 0.05)]
        if y1 == y2:
            spots = [(x2 - width_of(text) - 0.2, y2 - LINE - 0.03), (x1 + 0.1, y2 + 0.05)]
        self._label(spots, [text], tint_of(name), False, wire.gradient in self.results)


def _shared(one: Box, other: Box) -> float:
    """The area of two boxes in common."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, down)


def _half(sign: str) -> float:
    """Half the width of an operation's sign."""
    return 0.13 if sign in ("+", "×", "−", "÷") else max(0.15, 0.05 + LETTER * len(sign) / 2)


def width_of(text: str) -> float:
    """About how wide a text is; of mathematics what is drawn of it."""
    plain = text
    for mark in ("\\mathrm", "$", "{", "}", "\\,", "_", "~"):
        plain = plain.replace(mark, "")
    return LETTER * (len(plain) + 0.1)
