"""A walk through a cell: its lines, its numbers, and the wires of its drawing."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal, NamedTuple

from scratchnet.arrays import require_index
from scratchnet.errors import InvalidValueError
from scratchnet.plots.source import require_backward
from scratchnet.tracing import RunTrace
from scratchnet.tracing.numbers import Numbers
from scratchnet.tracing.order import unit_order
from scratchnet.view.layout import Point, Way
from scratchnet.view.layout import drawing as layout_of
from scratchnet.view.walk import Step, steps

Direction = Literal["forward", "backward"]
BELOW = 0.45  # rows between the last one and the ends of the ways of x and dy
BUS = {"h": 0.5, "x": 0.7}  # columns of the wires to the products with weights


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
        require_index("unit", self.unit, run.H, f"{run.name} has {run.H} units")
        self.program = self.numbers.program
        self.lines: list[Step] = steps(self.program, run.cell)[direction]
        self.drawing = layout_of(self.program, run.cell.STATES)
        self.spots: dict[int, Point] = {
            at: (x, y) for at, _, x, y in self.drawing["nodes"] + self.drawing["previous"]
        }
        self.signs: dict[int, str] = {at: sign for at, sign, _, _ in self.drawing["nodes"]}
        self.bottom = max(y for _, y in self.spots.values())
        self.wires = self._wires()

    def require_step(self, t: int) -> int:
        """Return t; IndexError unless the sequence has such a step."""
        return require_index("t", t, self.T, f"the sequence has {self.T} steps")

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
