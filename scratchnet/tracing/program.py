"""One step of a cell as a list of operations on vectors, made by watching its own code.

The same list gives the terms of a trace (here, for all steps at once), the micro-steps, equations
and drawings of a page, and what the page computes when a number is changed (view/engine.js).

An operation has a kind and arguments: positions of earlier operations, names or numbers.

    ("x",)  ("state", "c")  ("parameter", "b", 2)  ("upstream", "dy")  ("extra", "drop")
                                            what a step is given; 2 is the block of a gate
    ("constant", 1.0)  ("multiply", 3, 5)  ("tanh", 4)  ("sigmoid", 7)
                                            elementwise, named as in NumPy and elementwise.py
    ("dot", "W_h", False, 3, 2)             vector 3 times the columns of block 2 of W_h
    ("dot", "W_h", True, 3, 2, 4, 0)        back: vector 3 and block 2, plus vector 4 and block 0
    ("normalise_forward", 0, 2, 3, 5)       block 2 of result 0 of LN over the vectors 3 and 5
    ("normalise_backward", 0, 3, 5, 6)      block 0 of dx of LN from dn, n and the scale
    ("sum", 3, 5)                           one number: the sum over all units
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import Cell
from scratchnet.tracing.evaluate import Op, evaluate
from scratchnet.tracing.watched import CannotWatch, D, Expression, H, Line, Watching, watch

LEAVES = ("x", "state", "parameter", "upstream", "extra", "constant")


class Program(NamedTuple):
    """One step of a cell."""

    ops: list[Op]
    lines: dict[int, Line]  # operation -> the line of the cell's file that computes it
    forward: dict[str, int]  # names in the order of the forward pass -> operations
    backward: dict[str, int]  # and of the backward pass
    of: dict[str, str]  # gradient -> the quantity that it is the gradient of
    edges: dict[tuple[int, int], int]  # (operation, its operand) -> the gradient on this way
    totals: dict[int, int]  # operation of the forward pass -> its gradient
    # parameter -> for each gate's block (left, right): its gradient of this step is the outer
    # product of both, or right itself where left is None
    weights: dict[str, list[tuple[int | None, int]]]
    weight_lines: dict[str, Line]  # parameter -> the line that computes its gradient


class Builder:
    """Operations on vectors, each once."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.at: dict[Op, int] = {}
        self.lines: dict[int, Line] = {}
        self.order: dict[int, int] = {}  # operation -> when the cell's code computed it

    def add(self, *op: Any) -> int:
        """The position of an operation."""
        if op not in self.at:
            self.at[op] = len(self.ops)
            self.ops.append(op)
        return self.at[op]

    def of(self, e: Any) -> int:
        """The operation on vectors of which an expression is the first unit."""
        if not isinstance(e, Expression):
            return self.add("constant", float(e))
        made = self.add(*self._op(e))
        if e.line is not None:
            self.lines.setdefault(made, e.line)
        self.order.setdefault(made, e.number)
        return made

    def all_of(self, names: dict[str, Any]) -> list[tuple[str, int]]:
        """The operations of those of the names that are expressions."""
        return [(name, self.of(e)) for name, e in names.items() if isinstance(e, Expression)]

    def _op(self, e: Expression) -> Op:
        if e.op == "x":
            return ("x",)
        if e.op in ("state", "upstream", "extra"):
            return e.op, e.args[0]
        if e.op == "parameter":
            return "parameter", e.args[0], e.args[1][-1] // H
        if e.op == "constant":
            return e.op, *e.args
        if e.op == "dot":
            return self._dot(e.args[: len(e.args) // 2], e.args[len(e.args) // 2 :])
        if e.op == "normalise_forward":
            number, k, vector = e.args
            return e.op, number, k // H, *self._vectors(vector.args)
        if e.op == "normalise_backward":
            k, *vectors = e.args[1:]
            return e.op, k // H, *(part for v in vectors for part in self._vectors(v.args))
        if e.op == "sum":
            return e.op, *self._vectors(e.args)
        return e.op, *(self.of(a) for a in e.args)

    def _vectors(self, units: tuple[Any, ...]) -> list[int]:
        """The vectors whose units these are, one behind the other."""
        width = D if isinstance(units[0], Expression) and units[0].op == "x" else min(H, len(units))
        return [self.of(units[k]) for k in range(0, len(units), width)]

    def _dot(self, left: tuple[Any, ...], right: tuple[Any, ...]) -> Op:
        if any(e.op != "parameter" for e in right):
            raise CannotWatch("a product of two things that are not parameters")
        name, (row, column) = right[0].args
        vectors = self._vectors(left)
        transposed = len(right) > 1 and right[1].args[1][0] == row
        if not transposed:
            return "dot", name, False, vectors[0], column // H
        blocks = [right[k].args[1][1] // H for k in range(0, len(right), H)]
        return "dot", name, True, *(part for pair in zip(vectors, blocks) for part in pair)


# ---- the gradient on every way -------------------------------------------------------------------

# kind -> for each operand the factor that its gradient is multiplied by, as an expression of the
# operation itself (v) and its operands (a, b): [(kind, operands...)]
SLOPES: dict[str, tuple[Any, ...]] = {
    "add": (None, None),
    "multiply": ("b", "a"),
    "tanh": (("d_tanh", "v"),),
    "sigmoid": (("d_sigmoid", "v"),),
    "relu": (("d_relu", "v"),),
    "exp": ("v",),
    "maximum": (("greater", "a", "b"), ("greater", "b", "a")),
    "minimum": (("greater", "b", "a"), ("greater", "a", "b")),
}


def _chain_rule(
    builder: Builder, order: Iterable[int], upstream: dict[int, int]
) -> tuple[dict[int, int], dict[tuple[int, int], int]]:
    """Backpropagate through the operations by the chain rule, operation by operation.

    ``upstream``: operation -> its gradient from outside. Returns each operation's gradient, and
    what each operand gets from each operation that reads it. The cell's own backward is not used:
    where both have the same value, the cell's term has found its place in the drawing.
    """
    total, edges = dict(upstream), {}
    for v in order:
        kind, *args = builder.ops[v]
        if v not in total or kind in LEAVES:
            continue
        dv, parts = total[v], list[tuple[int, int]]()
        if kind == "subtract":
            parts = [(args[0], dv), (args[1], builder.add("negative", dv))]
        elif kind == "dot" and not args[1]:
            name, _, vector, block = args
            parts = [(vector, builder.add("dot", name, True, dv, block))]
        elif kind == "normalise_forward" and args[:2] == [0, 0] and len(args) == 3:
            scale = builder.add(kind, 1, 0, args[2])
            parts = [(args[2], builder.add("normalise_backward", 0, dv, v, scale))]
        elif kind in SLOPES:
            names = {"v": v, **dict(zip("ab", args))}
            for operand, slope in zip(args, SLOPES[kind]):
                if isinstance(slope, tuple):
                    slope = builder.add(slope[0], *(names[n] for n in slope[1:]))
                elif slope is not None:
                    slope = names[slope]
                parts.append((operand, dv if slope is None else builder.add("multiply", dv, slope)))
        for operand, d in parts:
            edges[v, operand] = d
            total[operand] = builder.add("add", total[operand], d) if operand in total else d
    return total, edges


# ---- names ---------------------------------------------------------------------------------------


_MADE: dict[tuple[Any, ...], tuple[Cell, Program]] = {}  # with the cell, so that its id stays its


def program_of(
    cell: Cell, options: tuple[tuple[str, str], ...] = (), extra: tuple[str, ...] = ()
) -> Program:
    """The program of a cell with its options and masks, made once.

    Raises CannotWatch where the cell has none.
    """
    key = (id(cell), options, extra)
    if key not in _MADE:
        _MADE[key] = cell, make_program(cell, options, extra)
    return _MADE[key][1]


def make_program(
    cell: Cell, options: tuple[tuple[str, str], ...], extra: tuple[str, ...]
) -> Program:
    """Watch the cell and find names for what it computes."""
    watching = watch(cell, extra, **dict(options))
    builder, cache, grads = Builder(), watching.cache, watching.grads
    forward = _forward_names(builder, cell, watching)
    new_states = [builder.of(getattr(cache, s)[1, 0, 0]) for s in cell.STATES]
    roles = {f"da_{letter}": grads.da[0, 0, k * H] for k, letter in enumerate(cell.GATES)}
    roles |= {f"d{s}_prev": getattr(grads, f"d{s}0")[0, 0] for s in cell.STATES}
    backward = {name: builder.of(e) for name, e in (roles | {"dx": grads.dx[0, 0, 0]}).items()}
    params = cell.param_shapes(D, H)
    weights = {name: _blocks(builder, getattr(grads, f"d{name}")) for name in params}
    roots = [*backward.values(), *(part for parts in weights.values() for _, part in parts)]
    before = _below(builder.ops, new_states)
    own = _below(builder.ops, roots) - before  # what the cell's own backward pass computes
    own = {k for k in own if builder.ops[k][0] not in LEAVES}
    # The chain rule, operation by operation; and the cell's own terms that have the same values.
    upstream = {at: builder.add("upstream", f"d{s}_next") for at, s in zip(new_states, cell.STATES)}
    dy = builder.add("upstream", "dy")
    upstream[new_states[0]] = builder.add("add", dy, upstream[new_states[0]])
    total, edges = _chain_rule(builder, sorted(before, reverse=True), upstream)
    same = _Same(builder.ops, own, cell)
    edges = {way: same.find(d) for way, d in edges.items()}
    total = {at: same.find(d) for at, d in total.items()}
    local = dict(builder.all_of(watching.backward_names))
    gradients = {q: total[at] for q, at in forward.items() if total.get(at) in own}
    for q, d in gradients.items():
        another = local.get(f"d{q}", d) != d  # the code means something else by this name
        if not another and all(n.endswith("_prev") for n, at in backward.items() if at == d):
            backward[f"d{q}"] = d
    for name, at in local.items():
        if at in own and at not in backward.values():
            backward.setdefault(name, at)
    of = {n: q for q, d in reversed(gradients.items()) for n, at in backward.items() if at == d}
    of = {n: q for n, q in of.items() if not n.endswith("_prev")} | {
        f"d{q}": q for q, d in gradients.items() if backward.get(f"d{q}") == d
    }
    for s in cell.STATES:  # also where a product was normalised, for which no rule is above
        if ("state", s) in builder.at:
            total[builder.at["state", s]] = backward[f"d{s}_prev"]
    _name_parts(builder.ops, edges, forward, backward, own, cell)
    order = dict.fromkeys(range(len(builder.ops)), 0) | builder.order
    return Program(
        builder.ops,
        builder.lines,
        dict(sorted(forward.items(), key=lambda item: order[item[1]])),
        dict(sorted(backward.items(), key=lambda item: order[item[1]])),
        of,
        edges,
        total,
        weights,
        {name: _line_of(watching, getattr(grads, f"d{name}").flat[0]) for name in params},
    )


def _line_of(watching: Watching, e: Expression) -> Any:
    """The line that computes a weight's gradient: of a bias the sum over all steps."""
    return watching.sums.get(e, e.line)


def _forward_names(builder: Builder, cell: Cell, watching: Watching) -> dict[str, int]:
    """Gates, new states, what else the cache keeps of a step, and the local variables."""
    cache, found = watching.cache, dict[str, Any]()
    if "gates" in cache._fields:
        found |= {letter: cache.gates[0, 0, k * H] for k, letter in enumerate(cell.GATES)}
    found |= {s: getattr(cache, s)[1, 0, 0] for s in cell.STATES}
    for name, array in cache._asdict().items():
        if isinstance(array, np.ndarray) and array.shape == (1, 1, H):
            found[name] = array[0, 0, 0]
    found |= {n: e for n, e in watching.forward_names.items() if n not in found}
    if len(cell.GATES) == 1 and "a" in found:  # as the blocks of a cell with several gates
        found[f"a_{cell.GATES}"] = found.pop("a")
    named = dict(builder.all_of(found))
    for state in cell.STATES:
        named |= _kept_and_written(builder.ops, named[state], ("state", state))
    before = _below(builder.ops, named.values())
    for name, at in builder.all_of(watching.backward_names):
        if at in before and at not in named.values():  # backward names what forward did not
            named.setdefault(name, at)
    return {name: at for name, at in named.items() if builder.ops[at][0] not in LEAVES}


def _kept_and_written(ops: list[Op], at: int, previous: Op) -> dict[str, int]:
    """The two parts of a carried state, c = kept + written: one is c_prev times a gate."""
    if ops[at][0] != "add":
        return {}
    first, second = ops[at][1:]
    for kept, written in ((first, second), (second, first)):
        if previous in (ops[kept], *(ops[k] for k in operands(ops[kept]))):
            return {"kept": kept, "written": written}
    return {}


def _blocks(builder: Builder, gradient: Array) -> list[tuple[int | None, int]]:
    """What the gradient of a parameter is made of, for each block of H columns."""
    found: list[tuple[int | None, int]] = []
    for column in range(0, gradient.shape[-1], H):
        e = gradient[(0,) * (gradient.ndim - 1) + (column,)]
        if e.op == "dot" and len(e.args) == 2:
            found.append((builder.of(e.args[0]), builder.of(e.args[1])))
        else:
            found.append((None, builder.of(e)))
    return found


def _name_parts(
    ops: list[Op],
    edges: dict[tuple[int, int], int],
    forward: dict[str, int],
    backward: dict[str, int],
    own: set[int],
    cell: Cell,
) -> None:
    """Names for the parts of the backward pass's sums: "dc_from_h", "dh_prev_through_W_h"."""
    symbols = {at: name for name, at in reversed(forward.items())}
    symbols |= {ops.index(("state", s)): f"{s}_prev" for s in cell.STATES if ("state", s) in ops}
    goals = {forward[n]: n for n in (*cell.GATES, *cell.STATES) if n in forward}
    for (reader, operand), d in edges.items():
        if operand in symbols and d in own and d not in backward.values():
            backward[f"d{symbols[operand]}_from_{_nearest(ops, reader, goals)}"] = d
    for name, at in list(backward.items()):
        for part in (a for a in ops[at][1:] if ops[at][0] == "add"):
            if ops[part][0] == "dot" and part not in backward.values():
                backward[f"{name}_through_{ops[part][1]}"] = part


def _nearest(ops: list[Op], at: int, goals: dict[int, str]) -> str:
    """The gate or state that reads an operation, through as few others as possible."""
    level = [at]
    while level:
        for k in level:
            if k in goals:
                return goals[k]
        level = [k for k, op in enumerate(ops) if any(a in operands(op) for a in level)]
    return "outside"


def operands(op: Op) -> list[int]:
    """The operations that an operation reads."""
    kind, *args = op
    if kind in LEAVES:
        return []
    if kind == "dot":
        return args[2::2]
    return args[2:] if kind == "normalise_forward" else args[kind == "normalise_backward" :]


def _below(ops: list[Op], roots: Iterable[int]) -> set[int]:
    """The operations that the roots are computed from, the roots among them."""
    found, waiting = set[int](), list(roots)
    while waiting:
        at = waiting.pop()
        if at not in found:
            found.add(at)
            waiting += operands(ops[at])
    return found


class _Same:
    """Finds, for an operation of the chain rule, the cell's own one that has the same value."""

    def __init__(self, ops: list[Op], own: set[int], cell: Cell) -> None:
        units, inputs, rng = 8, 3, np.random.default_rng(0)
        names = {op[0:2] for op in ops if op[0] in ("state", "upstream", "extra")}
        given: dict[str, Any] = {"x": rng.standard_normal(inputs), "H": units}
        for kind in ("state", "upstream", "extra"):
            given[kind] = {n: rng.standard_normal(units) for k, n in sorted(names) if k == kind}
        shapes = cell.param_shapes(inputs, units)
        given["parameter"] = {n: rng.standard_normal(shape) for n, shape in shapes.items()}
        self.ops, self.own, self.given, self.known = ops, sorted(own), given, dict[int, Array]()

    def value(self, at: int) -> Array:
        return evaluate(self.ops, at, self.known, self.given)

    def find(self, at: int) -> int:
        """The cell's own operation of this value, or this one itself."""
        value = self.value(at)
        size = np.max(np.abs(value))
        for k in self.own if at not in self.own and size > 0 else ():
            own = self.value(k)
            if own.shape == value.shape and np.max(np.abs(own - value)) <= 1e-9 * size:
                return k
        return at
