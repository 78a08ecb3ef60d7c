"""The drawing of a cell, made from its program: where its operations are, and how wires run.

Time flows from left to right. On the left, products with the weights (taps), one below the other;
then the gates, then what the cell does with them. The carried state runs straight through the top
row. Rows and the shapes of wires are chosen by trying: fewest collisions and crossings, then the
shortest wires. Coordinates are grid units: a column, a row.

Backwards the same wires carry gradients from right to left. Where the forward pass adds, a gradient
is copied; where it reads a value twice (a fork), two gradients are added.
"""

from functools import lru_cache
from itertools import pairwise, permutations
from typing import Any

from scratchnet.tracing.program import LEAVES, Program, operands

FUNCTIONS = {"sigmoid": "σ", "tanh": "tanh", "relu": "relu"}
SIGNS = {"add": "+", "multiply": "×", "subtract": "−", "negative": "−", "divide": "÷"}
Point = tuple[float, float]


class Graph:
    """What is drawn of a program: its operations without what happens inside a product or a sum."""

    def __init__(self, program: Program, states: tuple[str, ...]) -> None:
        self.ops, self.names = program.ops, {at: n for n, at in reversed(program.forward.items())}
        self.finals = {s: program.forward[s] for s in states}
        self.previous = {
            s: self.ops.index(("state", s)) for s in states if ("state", s) in self.ops
        }
        self.taps: dict[int, list[str]] = {}
        self.inputs: dict[int, list[int]] = {}  # drawn operation -> the drawn ones that it reads
        waiting = list(self.finals.values())
        while waiting:
            at = waiting.pop()
            if at in self.inputs or self.is_leaf(at):
                continue
            sources = self.sources(at)
            if sources is not None:
                self.taps[at], self.inputs[at] = sources, []
                continue
            self.inputs[at] = [k for k in self.flat(at) if self.is_drawn(k)]
            waiting += self.inputs[at]
        self.inputs = dict(sorted(self.inputs.items()))
        self.readers: dict[int, list[int]] = {}
        for at, inputs in self.inputs.items():
            for k in inputs:
                self.readers.setdefault(k, []).append(at)
        self.carry = [self._carried(s) for s in reversed(states)]
        self.carry = [path for path in self.carry if path]

    def is_leaf(self, at: int) -> bool:
        """True for what the step is given."""
        return self.ops[at][0] in LEAVES

    def is_drawn(self, at: int) -> bool:
        """False for numbers, parameters and masks: they are part of the operation's sign."""
        return at in self.previous.values() or not self.is_fixed(at)

    def is_fixed(self, at: int) -> bool:
        """True for parameters, masks and numbers, and what is made of them alone."""
        if self.is_leaf(at):
            return self.ops[at][0] in ("parameter", "extra", "constant")
        return all(self.is_fixed(k) for k in operands(self.ops[at])) and self.ops[at][0] != "dot"

    def sources(self, at: int) -> list[str] | None:
        """What an operation multiplies with weights and adds, "x" and "h"; None if it does more."""
        kind, *args = self.ops[at]
        if kind == "dot":
            kind, *rest = self.ops[args[2]]
            if kind == "multiply" and any(self.ops[k][0] == "extra" for k in rest):
                kind, *rest = next(self.ops[k] for k in rest if self.ops[k][0] != "extra")
            return [kind] if kind == "x" else list(rest) if kind == "state" else None
        if kind in ("parameter", "constant", "extra"):
            return []
        if kind not in ("add", "subtract", "multiply", "normalise_forward"):
            return None
        parts = [self.sources(k) for k in operands(self.ops[at])]
        if any(part is None for part in parts) or (kind == "multiply" and all(parts)):
            return None
        return sorted({s for part in parts for s in part or ()}, key=lambda s: s != "x") or None

    def flat(self, at: int) -> list[int]:
        """The operands, a sum's of sums as one."""
        found: list[int] = []
        for k in operands(self.ops[at]):
            inner = self.ops[at][0] == self.ops[k][0] == "add" and k not in self.names
            found += self.flat(k) if inner and self.sources(k) is None else [k]
        return found

    def sign(self, at: int) -> str:
        """What is written on an operation."""
        if at in self.taps or self.ops[at][0] == "dot":
            return "W"
        kind, *args = self.ops[at]
        if kind.startswith("normalise"):
            return "LN"
        sign = SIGNS.get(kind) or FUNCTIONS.get(kind) or kind
        fixed = [k for k in args if not self.is_drawn(k)]
        if kind == "subtract" and fixed == args[:1]:
            return self._written(fixed[0]) + sign
        return " ".join([sign, *map(self._written, fixed)])

    def _written(self, at: int) -> str:
        """A parameter, a mask or a number, and what is made of them."""
        kind, *args = self.ops[at]
        if kind == "constant":
            return f"{args[0]:g}"
        if kind in ("parameter", "extra"):
            return str(args[0])
        sign: str = SIGNS.get(kind) or kind
        return f"({sign.join(map(self._written, args))})"

    def _carried(self, state: str) -> list[int]:
        """The operations on the way from a state to the next one, if one reads it directly."""
        path, start = [self.finals[state]], self.previous.get(state)
        if start is None:
            return []
        while start not in self.inputs.get(path[0], []):
            nearer = [k for k in self.inputs.get(path[0], []) if self._reads(k, start)]
            direct = [k for k in nearer if start in self.inputs.get(k, [])]
            if not nearer:
                return []
            kept = [k for k in direct if self.names.get(k) == "kept"] or direct or nearer
            path.insert(0, kept[0])
        return [start, *path]

    def _reads(self, at: int, wanted: int) -> bool:
        return any(k == wanted or self._reads(k, wanted) for k in self.inputs.get(at, []))

    def columns(self) -> dict[int, int]:
        """Products with weights at 1, gates at 2, the rest behind what they read."""
        found = dict.fromkeys(self.previous.values(), 0) | dict.fromkeys(self.taps, 1)
        gates = {
            at for at, inputs in self.inputs.items() if len(inputs) == 1 and inputs[0] in self.taps
        }
        for at, inputs in self.inputs.items():
            if at in gates:
                found[at] = 2
            elif at not in found:
                found[at] = max([2, *(found[k] for k in inputs)]) + 1
        for at in reversed(self.inputs):  # as near as possible to what reads it
            if at not in self.taps and at not in gates and at not in self.finals.values():
                found[at] = max(found[at], min(found[k] for k in self.readers[at]) - 1)
        return found


# ---- rows and wires ------------------------------------------------------------------------------

OVERLAP, BLOCKED, CROSSING, CORNER = 40.0, 200.0, 4.0, 0.4  # prices; a unit of length costs 1
ORDERS = 4  # of the taps, that are improved


Way = tuple[Point, ...]


@lru_cache(maxsize=4096)
def _routes(x1: float, y1: float, x2: float, y2: float) -> list[Way]:
    """The ways from one node to another: straight, or with one or two corners."""
    if y1 == y2:
        return [((x1, y1), (x2, y2))]
    middle, start = x2 - 0.5, x1 + 0.5
    ways: list[Way] = [
        ((x1, y1), (x2, y1), (x2, y2)),
        ((x1, y1), (start, y1), (start, y2), (x2, y2)),
    ]
    return ways if middle == start else [*ways, ((x1, y1), (middle, y1), (middle, y2), (x2, y2))]


@lru_cache(maxsize=4096)
def _lattice(way: Way) -> list[tuple[Point, bool]]:
    """The points of a way at half units, without its ends, and whether it runs sideways there."""
    found = []
    for (x1, y1), (x2, y2) in pairwise(way):
        steps = int(2 * (abs(x2 - x1) + abs(y2 - y1)))
        for k in range(steps + 1):
            point = (x1 + (x2 - x1) * k / steps, y1 + (y2 - y1) * k / steps)
            if point not in (way[0], way[-1]):
                found.append((point, y1 == y2))
    return found


class Placed:
    """A drawing with rows for all nodes: its wires, and a price for what is wrong with it."""

    def __init__(self, graph: Graph, columns: dict[int, int], rows: dict[int, float]) -> None:
        self.columns, self.rows = columns, rows
        self.right = max(columns.values()) + 1.5
        self.wires: list[tuple[int, int | None, Way]] = []
        drawn = (*graph.inputs, *graph.previous.values())
        self.nodes: dict[Point, int] = {(columns[k], rows[k]): k for k in drawn}
        self.cost = 100.0 * (len(graph.inputs) + len(graph.previous) - len(self.nodes))
        self.taken: dict[tuple[Point, bool], int] = {}  # lattice point and direction -> source
        for at in graph.finals.values():
            self._add(at, None, [((columns[at], rows[at]), (self.right, rows[at]))])
        edges = [(u, v) for v, inputs in graph.inputs.items() for u in inputs]
        edges.sort(key=lambda e: (rows[e[0]] != rows[e[1]], columns[e[1]] - columns[e[0]]))
        for u, v in edges:
            self._add(u, v, _routes(columns[u], rows[u], columns[v], rows[v]))

    def _add(self, u: int, v: int | None, ways: list[Way]) -> None:
        price, way = min((self._price(u, way), way) for way in ways)
        self.cost += price
        self.wires.append((u, v, way))
        for place in _lattice(way):
            self.taken.setdefault(place, u)

    def _price(self, u: int, way: Way) -> float:
        price = CORNER * len(way)
        for point, sideways in _lattice(way):
            own = self.taken.get((point, sideways))
            if own != u:  # a second wire of one source shares its line
                price += 0.5 if own is None else OVERLAP
            if self.taken.get((point, not sideways), u) != u:
                price += CROSSING
            if point in self.nodes:
                price += BLOCKED
        return price


def place(graph: Graph) -> Placed:
    """The rows of the best drawing found."""
    columns, fixed = graph.columns(), dict[int, float]()
    taps = list(graph.taps)
    lowest = 2.0 * len(taps) + 1
    for k, path in enumerate(graph.carry[:2]):
        fixed |= dict.fromkeys(path, k * lowest)
    for at in graph.previous.values():
        fixed.setdefault(at, lowest)
    first = [
        Placed(graph, columns, _start(graph, fixed | dict(zip(order, map(float, rows)))))
        for order in (permutations(taps) if len(taps) < 6 else [taps])
        for rows in (
            range(1, len(taps) + 1),
            range(2, len(taps) + 2),
            range(2, 2 * len(taps) + 1, 2),
        )
    ]
    best = sorted(first, key=lambda placed: placed.cost)[:ORDERS]
    gates = {at for at, column in columns.items() if column == 2}  # in the rows of their taps
    free = [at for at in graph.inputs if at not in {*fixed, *graph.taps, *gates}]
    improved = [_improve(graph, columns, placed, free, int(lowest)) for placed in best]
    return _without_empty_rows(graph, columns, min(improved, key=lambda placed: placed.cost))


def _without_empty_rows(graph: Graph, columns: dict[int, int], placed: Placed) -> Placed:
    used = sorted({*placed.rows.values()})
    rows = {at: float(used.index(row)) for at, row in placed.rows.items()}
    return Placed(graph, columns, rows)


def drawing(program: Program, states: tuple[str, ...]) -> dict[str, Any]:
    """A cell's drawing as data for the page.

    ``nodes``: operation, sign, x, y. ``wires``: the operation whose value the wire carries, the one
    that reads it (None: the next step), the gradient on this way, and the corners. ``taps``: the
    products with weights and what they multiply. ``totals``: the gradient of each operation, the
    sum over its wires.
    """
    graph = Graph(program, states)
    placed = place(graph)
    next_one = {at: program.ops.index(("upstream", f"d{s}_next")) for s, at in graph.finals.items()}
    wires = [
        [u, v, next_one[u] if v is None else _gradient(program, graph, u, v), way]
        for u, v, way in placed.wires
    ]
    return {
        "width": placed.right,
        "height": max(placed.rows.values()),
        "nodes": [[at, graph.sign(at), *_spot(placed, at)] for at in graph.inputs],
        "wires": wires,
        "taps": [[at, sources] for at, sources in graph.taps.items()],
        "totals": [[at, d] for at, d in program.totals.items()],
        "previous": [[at, f"{s}_prev", *_spot(placed, at)] for s, at in graph.previous.items()],
    }


def _spot(placed: Placed, at: int) -> Point:
    return float(placed.columns[at]), placed.rows[at]


def _gradient(program: Program, graph: Graph, u: int, v: int) -> int | None:
    """The gradient that comes back along a wire; through a sum of sums it is that of the whole."""
    waiting = [v]
    while waiting:
        at = waiting.pop()
        if (at, u) in program.edges:
            return program.edges[at, u]
        waiting += [k for k in operands(program.ops[at]) if k not in graph.inputs]
    return None


def _start(graph: Graph, rows: dict[int, float]) -> dict[int, float]:
    """First rows: an operation is in the row of its only operand, or between its operands."""
    previous = graph.previous.values()
    for at, inputs in graph.inputs.items():
        if at not in rows:
            near = [rows[k] for k in inputs if k not in previous] or [1.0]
            rows[at] = float(round(sum(near) / len(near)))
    return rows


def _improve(
    graph: Graph, columns: dict[int, int], placed: Placed, free: list[int], rows: int
) -> Placed:
    """Move one operation at a time to another row, as long as that makes the drawing better."""
    better = True
    while better:
        better = False
        for at in free:
            for row in map(float, range(rows)):
                tried = Placed(graph, columns, placed.rows | {at: row})
                if tried.cost < placed.cost - 1e-9:
                    placed, better = tried, True
    return placed
