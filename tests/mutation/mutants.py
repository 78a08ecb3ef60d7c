"""Every small change to a Python file that its tests should notice: the text before, the text after, and where.

The changes are those of which slips are made: another operator, a lost operand, = for +=, a number that is off by one, a
condition turned round, a statement left out. Nothing is changed in docstrings, annotations and error messages.
"""

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

OPERATORS = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "/", ast.Mod: "//", ast.Pow: "*",
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in", ast.And: "or", ast.Or: "and",
}  # fmt: skip
AUGMENTED = {ast.Add: "=", ast.Sub: "+=", ast.Mult: "=", ast.Div: "*="}


class Mutant(NamedTuple):
    """One change of one file."""

    file: str
    line: int  # counted from 1
    start: int  # offsets in the file's bytes
    stop: int
    new: str
    before: str  # the line, and the line as it becomes, for a reader
    after: str
    lines: range  # where the change shows
    which: int = 0  # of the places in the file where the same line becomes the same

    @property
    def id(self) -> str:
        """Equal for the same change of the same line, wherever the line is."""
        text = "\0".join([self.file, self.before, self.after, str(self.start - self.stop)]) + "\0" * self.which
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def apply(self, text: bytes) -> bytes:
        """The file's text with the change made."""
        return text[: self.start] + self.new.encode() + text[self.stop :]


def mutants(file: str, text: bytes) -> Iterator[Mutant]:
    """All mutants of a file, in the order of its lines."""
    tree, lines = ast.parse(text), text.splitlines(keepends=True)
    begins = [sum(map(len, lines[:n])) for n in range(len(lines) + 1)]

    def at(node: ast.AST) -> tuple[int, int]:
        return begins[node.lineno - 1] + node.col_offset, begins[node.end_lineno - 1] + node.end_col_offset

    found, same = set(), Counter()
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    for node in walk(tree):
        for start, stop, new in changes(node, at, text):
            if (start, stop, new) in found or text[start:stop].decode() == new:
                continue
            found.add((start, stop, new))
            changed = text[:start] + new.encode() + text[stop:]
            try:
                ast.parse(changed)
            except SyntaxError:
                continue
            line = text.count(b"\n", 0, start) + 1
            before, after = (t.splitlines()[line - 1].decode().strip() for t in (text, changed))
            inner = max((n for n in statements if n.lineno <= line <= n.end_lineno), key=lambda n: n.lineno)
            yield Mutant(file, line, start, stop, new, before, after, effect(inner), same[before, after, stop - start])
            same[before, after, stop - start] += 1


def effect(node: ast.stmt) -> range:
    """The lines that run where a change of a statement shows: its own, or a function's body where a default is changed."""
    if not hasattr(node, "body"):
        return range(node.lineno, node.end_lineno + 1)
    if isinstance(node, ast.FunctionDef):
        return range(node.body[0].lineno, node.end_lineno + 1)
    return range(node.lineno, max(node.body[0].lineno, node.lineno + 1))  # without the statements in it


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """Every node except annotations, messages of errors, decorators, strings and a layer's examples."""
    yield node
    skipped = {"annotation", "returns", "decorator_list", "type_params", "bases"}
    if isinstance(node, ast.Raise) or (isinstance(node, ast.FunctionDef) and node.name == "examples"):
        return  # examples of a layer are data of the tests
    for name, value in ast.iter_fields(node):
        if name in skipped:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.JoinedStr) or not isinstance(child, ast.AST):
                continue
            if skipped_by_call(node, child):
                continue
            yield from walk(child)


def skipped_by_call(call: ast.AST, argument: ast.AST) -> bool:
    """True where another number means the same.

    Which of its steps zeros are like, a negative size in a new shape, and sizes where parameters are only named.
    """
    function = getattr(call, "func", None)
    name = function.attr if isinstance(function, ast.Attribute) else ""
    kinds = {"zeros_like": ast.Subscript, "reshape": ast.UnaryOp, "param_shapes": ast.Constant}
    return name in kinds and isinstance(argument, kinds[name])


def between(text: bytes, left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int] | None:
    """Where the operator is, between two operands: the text there without blanks and brackets."""
    gap = text[left[1] : right[0]]
    inner = gap.strip(b" \n()")
    if not inner or b"#" in inner or b"\n" in inner:
        return None
    start = left[1] + gap.index(inner)
    return start, start + len(inner)


def changes(node: ast.AST, at, text: bytes) -> Iterator[tuple[int, int, str]]:
    """(start, stop, new text) of every change of one node."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        place = between(text, at(node.left), at(node.right))
        if place:
            yield *place, OPERATORS[type(node.op)]
        yield *at(node), text[slice(*at(node.left))].decode()  # the right operand is lost
    elif isinstance(node, ast.AugAssign) and type(node.op) in AUGMENTED:
        place = between(text, at(node.target), at(node.value))
        if place:
            yield *place, AUGMENTED[type(node.op)]
        yield *at(node), "pass"
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        place = between(text, at(node.left), at(node.comparators[0]))
        if place:
            yield *place, OPERATORS[type(node.ops[0])]
    elif isinstance(node, ast.BoolOp):
        place = between(text, at(node.values[0]), at(node.values[1]))
        if place:
            yield *place, OPERATORS[type(node.op)]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield *at(node), text[slice(*at(node.operand))].decode()
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield *at(node), str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield *at(node), repr(node.value + 1 if isinstance(node.value, int) or not node.value else 2 * node.value)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield *at(node.test), f"(not ({text[slice(*at(node.test))].decode()}))"
    elif isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield *at(node), "pass"
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], (ast.Subscript, ast.Attribute)):
        yield *at(node), "pass"
        if isinstance(node.value, ast.Constant) and node.value.value == 0:
            place = between(text, at(node.targets[0]), at(node.value))
            if place:
                yield *place, "*="  # NaN times 0 is NaN
