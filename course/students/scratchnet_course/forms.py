"""What may stand in the place of an expression: another operator, index or axis, a factor or a term
more or less, a transposition, a related function.

Each comes with the mistake that it undoes, in words. `edits` puts them into a program, and changes
its statements, too.
"""

import ast
import re
from collections.abc import Iterator
from itertools import combinations, permutations
from typing import Any, NamedTuple

# Replacements for an expression, each with the mistake that it undoes: a and b are the operands, _
# is the whole expression, and x a variable of the function.
MUCH, OPERATOR = "something in it is too much", "another operator belongs there"
ORDER, TRANSPOSED = "the order is wrong", "a transposition or the order is wrong"
INDEX, NUMBER = "another index belongs there", "another number belongs there"
VARIABLE, FUNCTION = "another variable belongs there", "another function belongs there"
AXES = "the axes are in another order there"
AXIS, BOUNDS = "another axis belongs there", "other bounds belong there"
TERM, FACTOR, DIVISOR = "a term is missing", "a factor is missing", "a divisor is missing"
SIGN, ABSOLUTE = "the sign is wrong", "an absolute value is missing"
QUOTIENT = "another divisor belongs there"
Forms = tuple[tuple[str, str], ...]
OPERANDS: dict[type, Forms] = {
    ast.Add: (
        (MUCH, "a, b"),
        (SIGN, "a - b"),
        (OPERATOR, "a * b"),
        ("the larger one belongs there, not the sum", "max(a, b), np.maximum(a, b)"),
        (ABSOLUTE, "abs(a) + abs(b)"),
    ),
    ast.BitOr: ((OPERATOR, "a & b"), (MUCH, "a, b")),
    ast.BitAnd: ((OPERATOR, "a | b"), (MUCH, "a, b")),
    ast.Sub: ((MUCH, "a, b"), (SIGN, "a + b, b - a")),
    ast.Mult: ((MUCH, "a, b"), (OPERATOR, "a / b, a @ b, a + b, a ** b")),
    ast.Div: ((MUCH, "a, b"), (OPERATOR, "a * b, a // b, -(-a // b), a - b"), (ORDER, "b / a")),
    ast.FloorDiv: ((MUCH, "a"), (OPERATOR, "a / b, -(-a // b), a % b")),
    ast.Mod: ((MUCH, "a"), (OPERATOR, "a // b")),
    ast.Pow: ((MUCH, "a"), (OPERATOR, "a * b"), (ORDER, "b ** a"), (NUMBER, "a ** (b + 1)")),
    ast.MatMult: (
        (TRANSPOSED, "b @ a, a @ b.T, a.T @ b, b.T @ a, b @ a.T, a.T @ b.T, b.T @ a.T"),
        (OPERATOR, "a * b"),
        (MUCH, "a, b"),
    ),
}
AN_INDEX: Forms = ((INDEX, "_ + 1, _ - 1"),)
A_VALUE: Forms = (
    (SIGN, "-_"),
    ("1 minus it belongs there", "1 - _"),
    ("another value belongs there", "_ + 1, _ - 1, 2 * _, _ / 2"),
    ("a transposition is missing", "_.T"),
    ("an axis is missing", "_[:, None], _[..., None]"),
    ("a copy is missing", "_.copy()"),
    (ABSOLUTE, "abs(_)"),
    ("a function is missing", "np.tanh(_), np.exp(_), np.log(_), np.sqrt(_)"),
    ("a square is missing", "_ ** 2"),
    ("its inverse belongs there", "1 / _"),
    ("it is not rounded, or not in that way", "np.floor(_), np.ceil(_)"),
    ("a sum is missing", "_.sum(), _.sum(0), _.sum(1), _.sum(-1, keepdims=True)"),
    ("a mean is missing", "_.mean(), _.mean(0)"),
    ("the largest is not subtracted", "_ - _.max(-1, keepdims=True)"),
    (ORDER, "_[::-1]"),
    ("a not is missing", "not _"),
)
# what sets right whatever else was wrong with the mean or the sum
A_NORM: Forms = (
    ("the mean is not subtracted", "_ - _.mean(0), _ - _.mean(-1, keepdims=True)"),
    ("it is not divided by its sum", "_ / _.sum(-1, keepdims=True), _ / _.sum()"),
)
A_TERM: Forms = ((TERM, "_ + x, _ - x, x - _"), (FACTOR, "_ * x"), (DIVISOR, "_ / x, x / _"))
A_FACTOR: Forms = (
    (FACTOR, "_ * (1 - x), _ * x * (1 - x), _ * (1 - x ** 2), _ * (1 - np.tanh(x) ** 2)"),
    (DIVISOR, "_ / (x + 1)"),
    ("a maximum is missing", "max(_, x), np.maximum(_, x)"),
    ("a minimum is missing", "min(_, x), np.minimum(_, x)"),
)
A_PRODUCT: Forms = (
    ("a product is missing", "_ @ x, _ @ x.T, x @ _, x.T @ _"),
    (DIVISOR, "_ / len(x), _ / x.size"),
    (FACTOR, "_ * len(x)"),
)
OF_GATES: Forms = ((FUNCTION, "np.tanh(_), 1 / (1 + np.exp(-_))"),)
OF_ONE = (AN_INDEX, A_VALUE, A_NORM, OF_GATES)
PARSED = {
    text: ast.parse(f"[{text}]", mode="eval").body.elts  # type: ignore[attr-defined]
    for rows in (
        *OPERANDS.values(),
        AN_INDEX,
        A_VALUE,
        A_NORM,
        A_TERM,
        A_FACTOR,
        A_PRODUCT,
        OF_GATES,
    )
    for _, text in rows
}
FAMILIES = (
    "sum mean max min prod std var median cumsum cumprod argmax argmin all any",
    "maximum minimum",
    "floor ceil round rint trunc int float",
    "log log2 log10 log1p exp expm1 sqrt abs tanh",
    "zeros ones empty",
    "zeros_like ones_like empty_like",
    "vstack hstack concatenate stack",
    "dot outer matmul multiply",
    "sort argsort",
    "repeat tile",
)
REDUCE = {"sum", "mean", "max", "min", "prod", "std", "var", "cumsum", "argmax", "argmin", "norm"}
MODULES = ("np", "numpy", "math")
COMPARE = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
VARIABLES = (ast.Name, ast.Subscript, ast.Attribute)


class Form(NamedTuple):
    """An expression that is put together only when it is tried."""

    form: ast.expr
    parts: dict[str, Any]

    def node(self) -> Any:
        """The expression."""
        return _filled(self.form, self.parts)


def _filled(form: Any, parts: dict[str, Any]) -> Any:
    """A copy with the parts in it."""
    if isinstance(form, list):
        return [_filled(one, parts) for one in form]
    if not isinstance(form, ast.AST):
        return form
    if isinstance(form, ast.Name):
        return parts.get(form.id) or ast.Name(form.id, ast.Load())
    return type(form)(*(_filled(getattr(form, name), parts) for name in form._fields))


def is_module(node: Any) -> bool:
    """Whether it is the name of a module that has numbers."""
    return isinstance(node, ast.Name) and node.id in MODULES


def is_range(node: Any) -> bool:
    """Whether it is a call of range."""
    return isinstance(node, ast.Call) and called(node) == "range"


def is_text(node: Any) -> bool:
    """Whether it is a text."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def called(node: ast.Call) -> str:
    """The name of a function, "sum" of np.sum(x) and of x.sum()."""
    return str(getattr(node.func, "attr", getattr(node.func, "id", "")))


def read(node: ast.expr) -> Any:
    """A variable that is assigned, as one that is read."""
    return ast.parse(ast.unparse(node), mode="eval").body


def copied(node: Any) -> Any:
    """A node with the same parts, which has no line yet."""
    return type(node)(**dict(ast.iter_fields(node)))


def filled(rows: Forms, **parts: Any) -> Iterator[tuple[str, Form]]:
    """Each of some forms, with nodes for its letters, and what is wrong then."""
    for wrong, text in rows:
        for form in PARSED[text]:
            yield wrong, Form(form, parts)


def _form(text: str, parts: dict[str, Any]) -> Any:
    """An expression with nodes for its letters."""
    return _filled(ast.parse(text, mode="eval").body, parts)


def near(node: Any) -> list[Any]:
    """An index one more and one less."""
    return [form.node() for _, form in filled(AN_INDEX, _=node)]


def exchanged(elements: list[Any]) -> Iterator[list[Any]]:
    """The elements in every order in which two have changed places."""
    for a, b in combinations(range(len(elements)), 2):
        made = list(elements)
        made[a], made[b] = made[b], made[a]
        yield made


def inside(node: Any) -> Iterator[tuple[str, Any]]:
    """Other operators, other numbers, one operand alone."""
    if isinstance(node, ast.Constant) and not isinstance(node.value, (str, bytes)):
        v = node.value
        others: list[Any] = [not v] if isinstance(v, bool) else [0, 1, -1]
        if isinstance(v, (int, float)) and not isinstance(v, bool):
            others = [v + 1, v - 1, -v, 0, 1, 2, 2 * v, v / 2, 1 - v, *([1 / v] if v else []), None]
        yield from ((NUMBER, ast.Constant(one)) for one in dict.fromkeys(others) if one != v)
    elif isinstance(node, ast.BinOp):
        a, b = node.left, node.right
        if isinstance(node.op, ast.Div) and (inner := of_sigmoid(b)):
            yield from filled(OF_GATES[:1], _=inner)
        yield from filled(OPERANDS.get(type(node.op), ()), a=a, b=b)
        brackets = "other brackets belong there"
        if isinstance(a, ast.BinOp):
            yield brackets, ast.BinOp(a.left, a.op, ast.BinOp(a.right, node.op, b))
        if isinstance(b, ast.BinOp):
            yield brackets, ast.BinOp(ast.BinOp(a, node.op, b.left), b.op, b.right)
    elif isinstance(node, ast.UnaryOp):
        yield SIGN if isinstance(node.op, ast.USub) else MUCH, node.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in COMPARE:
            if not isinstance(node.ops[0], other):
                made = ast.Compare(node.left, [other()], node.comparators)
                yield "another comparison belongs there", made
    elif isinstance(node, ast.BoolOp):
        op: Any = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield OPERATOR, ast.BoolOp(op, node.values)
        yield from ((MUCH, value) for value in node.values)
    elif isinstance(node, ast.IfExp):
        yield from ((MUCH, node.body), (MUCH, node.orelse))
        yield ORDER, ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, (ast.Attribute, ast.Subscript)):
        yield MUCH, node.value
    elif isinstance(node, ast.Slice):
        yield from ((BOUNDS, made) for made in of_slice(node))
    elif isinstance(node, (ast.Tuple, ast.List)):
        yield from ((ORDER, type(node)(some, ast.Load())) for some in exchanged(node.elts))


def of_sigmoid(node: Any) -> Any:
    """x of 1 + exp(-x), or None."""
    inner: Any = getattr(node, "right", None)
    if isinstance(inner, ast.Call) and called(inner) == "exp" and len(inner.args) == 1:
        return getattr(inner.args[0], "operand", None)
    return None


def of_slice(node: ast.Slice) -> Iterator[Any]:
    """Other bounds: one of them, or both by one."""
    for field in ("lower", "upper", "step"):
        bound = getattr(node, field)
        for other in [None, *near(bound)] if bound else [ast.Constant(1), ast.Constant(-1)]:
            made = copied(node)
            setattr(made, field, other)
            yield made
    if node.lower and node.upper:
        for lower, upper in zip(near(node.lower), near(node.upper)):
            yield ast.Slice(lower, upper, node.step)
    if node.upper:  # of a gate's block the next one, and the one before it
        both = {"a": node.lower or ast.Constant(0), "b": node.upper}
        yield ast.Slice(node.upper, _form("2 * b - a", both), node.step)
        if node.lower:
            yield ast.Slice(_form("2 * a - b", both), node.lower, node.step)
    one, last = ast.Constant(1), ast.UnaryOp(ast.USub(), ast.Constant(1))
    if not node.lower and ast.unparse(node) == ":-1":
        yield ast.Slice(one, None, None)
    if not node.upper and ast.unparse(node) == "1:":
        yield ast.Slice(None, last, None)


def of_call(node: ast.Call) -> Iterator[tuple[int, str, Any]]:
    """An argument alone, other arguments, a related function."""
    name, owner = called(node), getattr(node.func, "value", None)
    method = owner is not None and not is_module(owner) and ast.unparse(owner) != "np.linalg"
    # what an array is made like is not the array, whatever it does when it is one
    parts = [] if re.match("zeros|ones|empty|full", name) else node.args
    yield from ((0, MUCH, part) for part in (*parts, *([owner] if method else ())))
    for arguments in exchanged(node.args):
        yield 0, ORDER, ast.Call(node.func, arguments, node.keywords)
    for k, one in enumerate(node.keywords):
        kept = node.keywords[:k] + node.keywords[k + 1 :]
        yield 0, f"{one.arg} is too much", ast.Call(node.func, node.args, kept)
    if name in REDUCE:
        kept = [one for one in node.keywords if one.arg not in ("axis", "keepdims")]
        for axis in (0, 1, 2, -1, None):
            words = [*kept, ast.keyword("axis", ast.Constant(axis))]
            for more in ([], [ast.keyword("keepdims", ast.Constant(True))]):
                made = ast.Call(node.func, node.args[: 0 if method else 1], [*words, *more])
                yield 0, AXIS, made
    for other in [one for f in FAMILIES if name in f.split() for one in f.split() if one != name]:
        new: Any = ast.Name(other, ast.Load())
        if owner is not None:
            new = ast.Attribute(owner, other, ast.Load())
        yield 1, FUNCTION, ast.Call(new, node.args, node.keywords)
    if len(node.args) > 1 and not re.match("zeros|ones|empty|full|range", name):
        yield 0, MUCH, ast.Call(node.func, node.args[:-1], node.keywords)
    if len(node.args) == 2 and method is False:
        both = [_form("abs(a)", {"a": one}) for one in node.args]
        yield 1, f"{ABSOLUTE}, in both", ast.Call(node.func, both, node.keywords)
    if name == "argsort" and not method:
        yield 0, "it has positions, not ranks", ast.Call(node.func, [node], node.keywords)
    if name == "reshape":
        yield from ((0, AXES, made) for made in of_reshape(node, method))
    if name == "range":
        yield 0, ORDER, ast.Call(ast.Name("reversed", ast.Load()), [node], [])
        start, stop, *step = node.args if len(node.args) > 1 else [ast.Constant(0), *node.args]
        for a in (start, *near(start)):
            for b in (stop, *near(stop)):
                if (a, b) != (start, stop):
                    yield 0, BOUNDS, ast.Call(node.func, [a, b, *step], [])


def of_reshape(node: ast.Call, method: bool) -> Iterator[Any]:
    """An array of that shape whose numbers lie in another order: a, b, c of what was b, a, c."""
    array, sizes = ([], node.args) if method else (node.args[:1], node.args[1:])
    if len(sizes) == 1 and isinstance(sizes[0], ast.Tuple):
        sizes = sizes[0].elts
    if not 1 < len(sizes) < 4 or node.keywords:
        return
    for order in list(permutations(range(len(sizes))))[1:]:
        shape = ast.Tuple([sizes[k] for k in order], ast.Load())
        back: list[Any] = [ast.Constant(order.index(k)) for k in range(len(sizes))]
        there = ast.Call(node.func, [*array, shape], [])
        yield ast.Call(ast.Attribute(there, "transpose", ast.Load()), back, [])
