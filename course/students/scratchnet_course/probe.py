"""Record what a program computes: the value of every expression and of every assignment.

``probed(code)`` rewrites a program so that each expression that computes something is handed to
``__probe__``, which returns it unchanged, and so is each variable after it was assigned. The
rewritten program computes what the program computes. Imports only the standard library and NumPy:
`child` runs it next to a student's code.
"""

import ast
import sys
from typing import Any, NamedTuple

import numpy as np

PROBE = "__probe__"
MOST_TIMES = 200  # values kept of one place in the program, in a loop
MOST_EVENTS = 4000
MOST_NUMBERS = 4096  # of one value
MOST_SIZE = 200_000  # numbers in all
MOST_TEXT = 120  # characters of an expression
SINGLE = (np.float32, np.float16)
INNER = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
COMPUTES = (ast.BinOp, ast.UnaryOp, ast.Call, ast.Subscript, ast.IfExp, ast.Attribute, ast.Compare)


class Place(NamedTuple):
    """An expression or an assignment in the program."""

    line: int
    text: str  # "dc * f", or of an assignment "dc_next = dc * f"
    target: str = ""  # of an assignment: "dc_next"; "return"
    operand: bool = False  # whether it is a part of something that is computed, as 1 - g is
    called: int = 0  # of one in another function: the line that calls it


class Probes(ast.NodeTransformer):
    """Puts the probes in; ``places`` lists where they are."""

    def __init__(self, code: str) -> None:
        self.code, self.places = code, []  # type: tuple[str, list[Place]]
        self.operands: set[int] = set()  # ids of nodes

    def _call(self, node: ast.AST, value: ast.expr, target: str = "") -> ast.Call:
        text = ast.get_source_segment(self.code, node) or ""
        line: int = node.lineno  # type: ignore[attr-defined]
        operand = not target and id(node) in self.operands
        self.places.append(Place(line, " ".join(text.split())[:MOST_TEXT], target, operand))
        number = ast.Constant(len(self.places) - 1)
        return ast.Call(ast.Name(PROBE, ast.Load()), [number, value], [])

    def visit(self, node: ast.AST) -> Any:
        """An expression after its operands."""
        if isinstance(node, (ast.MatchValue, ast.MatchMapping, ast.MatchClass)):
            return node  # patterns are no expressions
        self.operands |= {id(part) for part in _parts(node)}
        made = self.generic_visit(node) if not isinstance(node, SPECIAL) else super().visit(node)
        loaded = isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
        if isinstance(made, COMPUTES) and loaded:
            return ast.copy_location(self._call(node, made), node)
        return made

    def visit_FunctionDef(self, node: Any) -> Any:
        """Only the body: annotations, decorators and defaults stay as they are."""
        node.body = self._block(node.body)
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Return(self, node: ast.Return) -> Any:
        """What is returned, as if it were assigned."""
        self.generic_visit(node)
        if node.value is not None and not isinstance(node.value, (ast.Tuple, ast.List, ast.Dict)):
            node.value = ast.copy_location(self._call(node, node.value, "return"), node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        """Without its annotation."""
        if node.value is None:
            return node
        node.value = self.visit(node.value)
        return [node, *self._after(node, [node.target])]

    def visit_Assign(self, node: ast.Assign) -> Any:
        """Then the targets are probed."""
        self.generic_visit(node)
        return [node, *self._after(node, node.targets)]

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        """The increment, and then what has become of the target."""
        self.generic_visit(node)
        return [node, *self._after(node, [node.target])]

    def visit_Delete(self, node: ast.Delete) -> Any:
        """Nothing is computed."""
        return node

    def _block(self, body: list[Any]) -> list[Any]:
        made: list[Any] = []
        for statement in body:
            new = self.visit(statement)
            made += new if isinstance(new, list) else [new]
        return made

    def _after(self, node: ast.stmt, targets: list[Any]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for target in targets:
            if isinstance(target, (ast.Tuple, ast.List)):
                found += self._after(node, target.elts)
            elif not any(
                isinstance(n, (ast.Call, ast.Starred, ast.NamedExpr)) for n in ast.walk(target)
            ):
                name = ast.unparse(target)
                value = ast.parse(name, mode="eval").body
                probe = ast.Expr(self._call(node, value, name))
                found.append(ast.copy_location(probe, node))
        return found


SPECIAL = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.AnnAssign, ast.Assign, ast.AugAssign, ast.Delete),
    ast.Return,
)
# calls that only put their arguments together
GATHER = ("stack", "concatenate", "array", "asarray", "append", "list", "tuple", "dict", "vstack")


def _parts(node: ast.AST) -> list[ast.AST]:
    """The operands of what computes something new."""
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.UnaryOp):
        return [node.operand]
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        own = getattr(node.func, "value", None)
        return [] if name in GATHER or name[1:] == "stack" else [own or node, *node.args]
    return []


def probed(code: str, name: str) -> tuple[Any, list[Place]]:
    """Return the program with its probes, compiled, and their places; ``name`` is its file's."""
    probes = Probes(code)
    tree = ast.fix_missing_locations(probes.visit(ast.parse(code)))
    return compile(tree, name, "exec"), probes.places


class Record:
    """What the probes have seen: ``events`` has pairs of a place's number and an array.

    Parameters
    ----------
    places
        Where the probes are. A place in another function is added once more for each line that
        calls that function.
    function
        The function that is looked at.
    """

    def __init__(self, places: list[Place], function: str) -> None:
        self.places, self.function = places, function
        self.calls: dict[tuple[int, int], int] = {}  # a place and a line, and the place for both
        self.single = -1  # the first place with numbers of less than double precision
        self.start()

    def start(self) -> None:
        """Begin anew, for another call."""
        self.events: list[tuple[int, np.ndarray]] = []
        self.times: dict[int, int] = {}
        self.size = 0

    def __call__(self, place: int, value: Any) -> Any:
        """Keep a copy of what is an array, a number or a list of numbers; return the value."""
        times = self.times[place] = self.times.get(place, 0) + 1
        if times <= MOST_TIMES and len(self.events) < MOST_EVENTS and self.size < MOST_SIZE:
            array = numbers(value)
            if array is not None:
                self.size += array.size
                self.events.append((self._called(place), array))
                if self.single < 0 and getattr(value, "dtype", None) in SINGLE:
                    self.single = place
        return value

    def _called(self, place: int) -> int:
        """The same place, as it is called from that line."""
        frame: Any = sys._getframe(2)
        file = frame.f_code.co_filename
        while frame.f_code.co_name in INNER or frame.f_code.co_filename != file:
            frame = frame.f_back
        if frame.f_code.co_name in (self.function, "<module>"):
            return place
        while (frame := frame.f_back) and frame.f_code.co_filename != file:
            pass
        if frame is None:
            return place
        line: int = frame.f_lineno
        if (place, line) not in self.calls:
            self.calls[place, line] = len(self.places)
            self.places.append(self.places[place]._replace(called=line))
        return self.calls[place, line]


def numbers(value: Any) -> np.ndarray | None:
    """A copy of a value as an array of numbers; None for what is something else, or large."""
    if isinstance(value, (list, tuple)):
        if not 0 < len(value) <= MOST_TIMES or isinstance(value[0], (str, bytes)):
            return None
        try:
            value = np.asarray(value)
        except (ValueError, TypeError, OverflowError):
            return None
    elif isinstance(value, (bool, int, float)):
        try:
            value = np.float64(value)
        except OverflowError:
            return None
    if not isinstance(value, (np.ndarray, np.generic)) or value.dtype.kind not in "fiub":
        return None
    return np.array(value, np.float64) if 0 < value.size <= MOST_NUMBERS else None
