"""Every small change of a program that may set a mistake right: another operator, index or axis,
another variable, a factor or a term more or less, a transposition, a line in another place.

`repair` makes them one by one and runs the program. What is put in the place of one expression is
in `forms`. Both import only the standard library: `child` loads them next to a student's code.
"""

import ast
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from scratchnet_course.forms import (
    A_FACTOR,
    A_NORM,
    A_PRODUCT,
    A_TERM,
    A_VALUE,
    AN_INDEX,
    AXIS,
    FUNCTION,
    INDEX,
    NUMBER,
    OF_GATES,
    OPERATOR,
    ORDER,
    QUOTIENT,
    REDUCE,
    VARIABLE,
    VARIABLES,
    called,
    copied,
    exchanged,
    filled,
    inside,
    is_module,
    is_range,
    is_text,
    near,
    of_call,
    read,
)

LITERALS = (ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.JoinedStr, ast.Slice)
BLOCKS = (ast.For, ast.While, ast.If, ast.With)
# where a term or a factor may be missing
SITES = (
    *(ast.Assign, ast.AugAssign, ast.Return, ast.BinOp, ast.UnaryOp, ast.Compare, ast.IfExp),
    *(ast.Call, ast.Tuple, ast.Dict, ast.ListComp, ast.GeneratorExp, ast.Attribute, ast.Subscript),
)
PLACE = "this line is in the wrong place"
# added to the cost where shapes do not fit, and in a line that computes what is right
FAR, RIGHT = 3, 2
NORM, ALL = 4, 99  # costs
Shapes = Mapping[str, tuple[int, ...]]


class Change(NamedTuple):
    """Another value of a field of a node."""

    node: Any
    field: str
    value: Any


class Edit(NamedTuple):
    """A change of a program."""

    cost: int  # how unlikely it is that this was the mistake
    line: int
    wrong: str  # "a term is missing"
    old: Any  # what was there, and what is there then, if it is something else
    new: Any
    changes: tuple[Change, ...]
    top: Any = None  # the function, or the assignment outside functions, in which it is


class Slot(NamedTuple):
    """A place in the tree that holds an expression."""

    node: Any
    parent: Any
    field: str
    place: int  # in a field that is a list, or -1
    line: int
    within: bool  # the brackets of an index, or range(...)
    text: str

    def change(self, new: Any) -> Change:
        """Put another one there."""
        if self.place < 0:
            return Change(self.parent, self.field, new)
        made = list(getattr(self.parent, self.field))
        made[self.place] = new
        return Change(self.parent, self.field, made)


def edits(
    tree: ast.Module, shapes: Shapes, fine: Collection[int] = (), most: int = ALL
) -> list[Edit]:
    """All changes of a program, the likeliest first.

    Parameters
    ----------
    tree
        The program.
    shapes
        Of expressions, by their text, where they are known: what does not fit is less likely.
    fine
        Lines that compute what is right: a change there is less likely.
    most
        The largest cost.
    """
    found: list[Edit] = []
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Assign)):
            for edit in _Function(node, functions, shapes, fine, most).edits():
                cost = edit.cost + RIGHT * (edit.line in fine)
                if cost <= most:
                    found.append(edit._replace(top=node, cost=cost))
    return sorted(found, key=lambda edit: edit.cost)


def slots(function: Any) -> list[Slot]:
    """Every expression that is read, outside annotations."""
    found: list[Slot] = []

    def walk(node: Any, line: int, index: bool) -> None:
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list"):
                continue
            if isinstance(value, ast.arguments):
                continue
            owner, inside = node, index or field == "slice" or is_range(node)
            if field == "func":  # of x.sum() only x
                owner, field, value = value, "value", getattr(value, "value", None)
            for place, one in enumerate(value) if isinstance(value, list) else [(-1, value)]:
                if not isinstance(one, ast.AST):
                    continue
                own = int(getattr(one, "lineno", line))
                read = isinstance(getattr(one, "ctx", ast.Load()), ast.Load)
                if isinstance(one, (ast.expr, ast.Slice)) and read and not is_module(one):
                    text = ast.unparse(one)
                    found.append(Slot(one, owner, field, place, own, inside, text))
                walk(one, own, inside and not isinstance(one, ast.Call))

    walk(function, int(function.lineno), False)
    return found


def is_axis(slot: Slot) -> bool:
    """Whether it is the axis of a sum, a mean, ..."""
    by_name = getattr(slot.parent, "arg", "") == "axis"
    whole = isinstance(slot.node, ast.Constant) and isinstance(slot.node.value, int)
    # np.linalg.norm(x, 2) has an order there
    reduces = isinstance(slot.parent, ast.Call) and called(slot.parent) in REDUCE - {"norm"}
    return by_name or (whole and reduces)


class _Function:
    """The changes of one function."""

    def __init__(
        self,
        function: Any,
        functions: Sequence[Any],
        shapes: Shapes,
        fine: Collection[int],
        most: int,
    ) -> None:
        self.function, self.shapes, self.fine, self.most = function, shapes, fine, most
        self.slots = slots(function)
        nodes = list(ast.walk(function))
        stored = [n for n in nodes if isinstance(getattr(n, "ctx", None), ast.Store)]
        self.names = list(
            dict.fromkeys(
                [n.arg for n in nodes if isinstance(n, ast.arg)]
                + [n.id for n in stored if isinstance(n, ast.Name)]
            )
        )
        self.pool: dict[str, Any] = {name: ast.Name(name, ast.Load()) for name in self.names}
        # copies: what is put into a part of itself has no end
        texts = [slot.text for slot in self.slots if isinstance(slot.node, VARIABLES[1:])]
        texts += [ast.unparse(n) for n in stored if isinstance(n, VARIABLES[1:])]
        self.pool |= {text: ast.parse(text, mode="eval").body for text in texts}
        self.shifted = {
            ast.unparse(made): made
            for x in list(self.pool.values())
            if isinstance(x, ast.Subscript) and not isinstance(x.slice, (ast.Slice, ast.Constant))
            for made in (ast.Subscript(x.value, index, ast.Load()) for index in near(x.slice))
        }
        self.own = [one.name for one in functions if len(one.args.args) == 1]
        self.words = sorted({s.node.value for s in self.slots if is_text(s.node)})

    def edits(self) -> Iterator[Edit]:
        """Expressions, then statements."""
        same: dict[str, list[Slot]] = {}
        on_line: dict[tuple[str, int], list[Slot]] = {}
        for slot in self.slots:
            same.setdefault(slot.text, []).append(slot)
            on_line.setdefault((slot.text, slot.line), []).append(slot)
        for slot in self.slots:
            several, few = same[slot.text], on_line[slot.text, slot.line]
            for cost, wrong, new in self._instead(slot):
                yield Edit(cost, slot.line, wrong, slot.node, new, (slot.change(new),))
                if cost <= 2 and len(several) > 1 and several[0] is slot:
                    every = [(one, new) for one in several]
                    yield from _together(cost + 1, f"{wrong}, wherever it is", slot, new, every)
                if cost <= 2 and 1 < len(few) < len(several) and few[0] is slot:
                    every = [(one, new) for one in few]
                    yield from _together(cost, f"{wrong}, each time in this line", slot, new, every)
        for one, other in combinations([t for t in same if t in self.pool], 2):
            if _indexed(self.pool[one]) == _indexed(self.pool[other]):
                a, b = same[one], same[other]
                both = [(s, self.pool[other]) for s in a] + [(s, self.pool[one]) for s in b]
                wrong = f'it is exchanged with "{other}"'
                yield from _together(2, wrong, a[0], self.pool[other], both)
        yield from self._axes()
        for loop in ast.walk(self.function):
            if isinstance(loop, ast.For):
                yield from self._once(loop)
        for owner in ast.walk(self.function):
            for field in ("body", "orelse"):
                body = getattr(owner, field, None)
                if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                    yield from self._of_block(owner, field, body)

    def _axes(self) -> Iterator[Edit]:
        """Another axis in every call that has one and the same."""
        axes: dict[str, list[Slot]] = {}
        for slot in self.slots:
            if is_axis(slot):
                axes.setdefault(slot.text, []).append(slot)
        for text, several in axes.items():
            for axis in (0, 1, 2, -1):
                if text != str(axis) and len(several) > 1:
                    new = ast.Constant(axis)
                    every = [(one, new) for one in several]
                    yield from _together(1, f"{AXIS}, wherever it is", several[0], new, every)

    def _once(self, loop: ast.For) -> Iterator[Edit]:
        """What is added at every step of a loop and belongs to its first or last step alone."""
        inner: Any = loop.iter
        while isinstance(inner, ast.Call) and called(inner) != "range" and inner.args:
            inner = inner.args[0]
        if not (is_range(inner) and isinstance(loop.target, ast.Name)):
            return
        first = inner.args[0] if len(inner.args) > 1 else ast.Constant(0)
        ends = [first, ast.Constant(0), *near(inner.args[min(1, len(inner.args) - 1)])]
        inside_loop = {id(node) for one in loop.body for node in ast.walk(one)}
        for slot in self.slots:
            if id(slot.node) in inside_loop and isinstance(slot.parent, (ast.BinOp, ast.AugAssign)):
                for end in ends if isinstance(slot.node, VARIABLES) else ():
                    when = ast.Compare(ast.Name(loop.target.id, ast.Load()), [ast.Eq()], [end])
                    new = ast.BinOp(slot.node, ast.Mult(), when)
                    wrong = "it belongs to one step alone"
                    yield Edit(1, slot.line, wrong, slot.node, new, (slot.change(new),))

    def _fit(self, slot: Slot, text: str, inside: bool) -> int:
        """0 where two shapes are the same, or the second one fits inside; FAR otherwise."""
        one, other = self.shapes.get(slot.text), self.shapes.get(text)
        if one is None or other is None or one == other:
            return 0
        if not inside or len(other) > len(one):
            return FAR
        ends = zip(one[::-1], other[::-1])
        return 0 if all(small in (1, large) for large, small in ends) else FAR

    def _instead(self, slot: Slot) -> Iterator[tuple[int, str, Any]]:
        """Replacements for an expression, each with its cost and the mistake that it undoes."""
        node = slot.node
        said = INDEX if slot.within else AXIS if is_axis(slot) else ""
        yield from ((0, said or wrong, new) for wrong, new in inside(node))
        if isinstance(node, ast.Call):
            yield from of_call(node)
            if len(node.args) == 1 and not node.keywords:
                yield from ((1, *one) for one in filled(OF_GATES, _=node.args[0]))
                for name in self.own:
                    yield 1, FUNCTION, ast.Call(ast.Name(name, ast.Load()), node.args, [])
        if is_text(node):
            words = [word for word in self.words if word != node.value]
            yield from ((1, "another name belongs there", ast.Constant(word)) for word in words)
            return
        if not isinstance(node, LITERALS):
            rows, cost = (AN_INDEX, 0) if slot.within else (A_VALUE, 1)
            yield from ((cost, *one) for one in filled(rows, _=node))
            yield from ((NORM, *one) for one in filled(A_NORM, _=node) if not slot.within)
        most = self.most - RIGHT * (slot.line in self.fine)
        if isinstance(node, (*VARIABLES, ast.Constant)):
            for text, x in self.pool.items():
                cost = 2 + self._fit(slot, text, inside=False)
                if text != slot.text and cost <= most:
                    wrong = VARIABLE if _indexed(x) != _indexed(node) or not _indexed(x) else INDEX
                    yield cost, wrong, x
            shifted = self.shifted if isinstance(node, ast.Name) and not slot.within else {}
            yield from ((2, INDEX, x) for text, x in shifted.items() if text not in self.pool)
        if isinstance(slot.parent, SITES) and not isinstance(node, LITERALS[1:]):
            for text, x in self.pool.items():
                long = not isinstance(x, ast.Name)
                cost = 2 + long + self._fit(slot, text, inside=True)
                for more, rows in ((cost, A_TERM), (cost + 1, A_FACTOR), (3 + long, A_PRODUCT)):
                    if more <= most and (rows is not A_PRODUCT or self.shapes.get(text)):
                        for wrong, new in filled(rows, _=node, x=x):
                            yield more, self._missing(slot, wrong), new

    def _missing(self, slot: Slot, wrong: str) -> str:
        """What is missing there; of a number, a size or a divisor that it is another one."""
        below = isinstance(slot.parent, ast.BinOp) and isinstance(slot.parent.op, ast.Div)
        if below and slot.field == "right":
            return QUOTIENT
        size = re.fullmatch(r"len\(.*\)|.*\.size|.*\.shape\[.*\]", slot.text)
        return NUMBER if size or isinstance(slot.node, ast.Constant) else wrong

    def _of_block(self, owner: Any, field: str, body: list[Any]) -> Iterator[Edit]:
        """Statements left out, changed, moved, taken into a loop or out of it."""

        def edit(cost: int, wrong: str, old: Any, made: list[Any], new: Any = None) -> Edit:
            changes = (Change(owner, field, made or [ast.Pass()]),)
            return Edit(cost, int(old.lineno), wrong, old, new, changes)

        for k, one in enumerate(body):
            if isinstance(one, ast.Expr) and is_text(one.value):
                continue
            before, after = body[:k], body[k + 1 :]
            for cost, wrong, new in self._other(one):
                yield edit(cost, wrong, one, [*before, new, *after], new)
            yield edit(1, "this line is too much", one, before + after)
            for to, other in enumerate(body):
                rest = before + after
                if other is not one:
                    yield edit(2, PLACE, one, [*rest[:to], one, *rest[to:]])
            if not isinstance(one, BLOCKS):
                continue
            for part in one.body if len(one.body) > 1 else ():
                less = _with_body(one, [s for s in one.body if s is not part])
                yield edit(
                    1, f"{PLACE}: it belongs after the block", part, [*before, less, part, *after]
                )
                yield edit(
                    1, f"{PLACE}: it belongs before the block", part, [*before, part, less, *after]
                )
            for j, other in enumerate(body):
                if j != k:
                    added = [*one.body, other] if j > k else [other, *one.body]
                    made = [_with_body(one, added) if s is one else s for s in body]
                    where = f"{PLACE}: it belongs into the block of line {one.lineno}"
                    yield edit(1, where, other, [s for s in made if s is not other])
            if isinstance(one, ast.If):
                yield edit(1, "the condition is too much", one, [*before, *one.body, *after])
        if isinstance(owner, (ast.For, ast.While)):
            for name in self.names:
                wrong = f"in this loop {name} is not updated"
                for text, x in self.pool.items():
                    if text != name:
                        new = ast.Assign([ast.Name(name, ast.Store())], x)
                        yield edit(4, wrong, owner, [*body, new], new)
                        yield edit(4, wrong, owner, [new, *body], new)

    def _other(self, one: Any) -> Iterator[tuple[int, str, Any]]:
        """Other assignments."""
        if isinstance(one, ast.AugAssign):
            for op in (ast.Add, ast.Sub, ast.Mult, ast.Div):
                if not isinstance(one.op, op):
                    yield 0, OPERATOR, ast.AugAssign(one.target, op(), one.value)
            yield 0, "= belongs there, not +=", ast.Assign([one.target], one.value)
            # another variable may be the same array
            anew = ast.BinOp(read(one.target), one.op, one.value)
            yield 0, "it changes an array that is still needed", ast.Assign([one.target], anew)
            if isinstance(one.target, ast.Subscript) and isinstance(one.op, ast.Add):
                parts = [read(one.target.value), read(one.target.slice), one.value]
                call = ast.Call(ast.parse("np.add.at", mode="eval").body, parts, [])
                yield 0, "where indices come several times, += adds once", ast.Expr(call)
        if not (isinstance(one, ast.Assign) and len(one.targets) == 1):
            return
        target: Any = one.targets[0]
        if isinstance(target, ast.Tuple):
            for elements in exchanged(target.elts):
                made: Any = ast.Tuple(elements, ast.Store())
                yield 0, ORDER, ast.Assign([made], one.value)
            return
        yield 0, "+= belongs there, not =", ast.AugAssign(target, ast.Add(), one.value)
        if isinstance(target, ast.Name):
            for name in self.names:
                if name != target.id:
                    made = ast.Name(name, ast.Store())
                    yield 1, "another variable is to be assigned", ast.Assign([made], one.value)


def _together(
    cost: int, wrong: str, slot: Slot, new: Any, every: list[tuple[Slot, Any]]
) -> Iterator[Edit]:
    """Several changes at once, unless one would undo another."""
    changes = tuple(one.change(that) for one, that in every)
    if len({(id(one.node), one.field) for one in changes}) == len(changes):
        yield Edit(cost, slot.line, wrong, slot.node, new, changes)


def _indexed(node: Any) -> str:
    """What is indexed, "a" of a[:, n:]; "" for a plain name."""
    return ast.unparse(node.value) if isinstance(node, VARIABLES[1:]) else ""


def _with_body(block: Any, body: list[Any]) -> Any:
    made = copied(block)
    made.body = body
    return made
