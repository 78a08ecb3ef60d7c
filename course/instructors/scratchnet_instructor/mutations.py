"""Small mistakes in one expression: a term or a factor left out, another derivative, another
variable of the same shape, an index one off, a matrix not transposed, an axis, a sum for a mean.
"""

import ast
import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import permutations
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]
DERIVATIVES = {"d_sigmoid": "{0} (1 - {0})", "d_tanh": "(1 - {0}^2)"}
# what is written where the derivative of a sigmoid or of tanh should be
FOR_D_SIGMOID = (
    ("{0}", "has {0} in place of the derivative {0} (1 - {0})"),
    ("1 - {0}", "has 1 - {0} in place of the derivative {0} (1 - {0})"),
    ("1 - {0} ** 2", "has tanh's derivative 1 - {0}^2 in place of the sigmoid's, {0} (1 - {0})"),
    ("{0} * (1 + {0})", "has {0} (1 + {0}) in place of {0} (1 - {0})"),
    ("{0} * (1 - {0} ** 2)", "has {0} (1 - {0}^2) in place of {0} (1 - {0})"),
    ("{0} ** 2 * (1 - {0})", "has {0}^2 (1 - {0}) in place of {0} (1 - {0})"),
    ("{0} * (1 - {0}) ** 2", "has {0} (1 - {0})^2 in place of {0} (1 - {0})"),
    ("({0} * (1 - {0})) ** 2", "has the derivative {0} (1 - {0}) twice"),
    (
        "d_sigmoid(1 / (1 + np.exp(-{0})))",
        "takes the sigmoid's derivative at {0}, which is a gate's output, not its pre-activation",
    ),
)
FOR_D_TANH = (
    ("1 - {0}", "has 1 - {0} in place of the derivative 1 - {0}^2"),
    ("1 + {0} ** 2", "has 1 + {0}^2 in place of the derivative 1 - {0}^2"),
    ("{0} * (1 - {0})", "has the sigmoid's derivative {0} (1 - {0}) in place of tanh's, 1 - {0}^2"),
    ("{0} ** 2", "has {0}^2 in place of the derivative 1 - {0}^2"),
    ("{0}", "has {0} in place of the derivative 1 - {0}^2"),
    ("1 - 2 * {0}", "has 1 - 2 {0} in place of the derivative 1 - {0}^2"),
    ("{0} ** 2 - 1", "has {0}^2 - 1 in place of the derivative 1 - {0}^2"),
    ("(1 - {0}) ** 2", "has (1 - {0})^2 in place of the derivative 1 - {0}^2"),
    ("(1 - {0} ** 2) ** 2", "has the derivative 1 - {0}^2 twice"),
    ("np.sqrt(1 - {0} ** 2)", "has the square root of the derivative 1 - {0}^2"),
    (
        "1 - np.tanh({0}) ** 2",
        "has 1 - tanh({0})^2 in place of 1 - {0}^2: {0} is already the output of a tanh",
    ),
)
CALLS: dict[str, tuple[tuple[str, str], ...]] = {
    "tanh": (("sigmoid", "has a sigmoid in place of tanh"), ("", "lacks the tanh")),
    "sigmoid": (("np.tanh", "has tanh in place of the sigmoid"), ("", "lacks the sigmoid")),
    "exp": (("", "lacks the exponential"), ("np.exp2", "is a power of 2, not of e")),
    "log": (
        ("np.log2", "takes the logarithm to base 2, not e"),
        ("np.log10", "takes the logarithm to base 10, not e"),
        ("np.log1p", "takes log(1 + ...) in place of log(...)"),
        ("", "lacks the logarithm"),
    ),
    "log2": (
        ("np.log", "takes the natural logarithm, not that to base 2"),
        ("np.log10", "takes the logarithm to base 10, not 2"),
    ),
    "sqrt": (("", "lacks the square root"),),
    "abs": (("", "lacks the absolute value"), ("np.square", "has a square, not an absolute value")),
    "floor": (
        ("np.ceil", "is rounded up, not down"),
        ("np.rint", "is rounded to the nearest, not down"),
        ("", "is not rounded down"),
    ),
    "ceil": (
        ("np.floor", "is rounded down, not up"),
        ("np.rint", "is rounded to the nearest, not up"),
        ("", "is not rounded up"),
    ),
    "mean": (("np.sum", "is a sum, not a mean"), ("np.median", "is a median, not a mean")),
    "sum": (("np.mean", "is a mean, not a sum"), ("np.prod", "is a product, not a sum")),
    "max": (("np.min", "is the smallest, not the largest"), ("np.sum", "is a sum, not a maximum")),
    "min": (("np.max", "is the largest, not the smallest"), ("min", "")),
    "maximum": (("np.minimum", "takes the smaller, not the larger"),),
    "minimum": (("np.maximum", "takes the larger, not the smaller"),),
    "var": (("np.std", "takes the standard deviation, not the variance"),),
    "cumsum": (("np.cumprod", "multiplies up, not sums up"), ("", "is not summed up")),
    "sort": (("", "is not sorted"),),
    "zeros": (("np.ones", "begins with ones, not zeros"),),
    "zeros_like": (("np.ones_like", "begins with ones, not zeros"),),
}
BUFFERS = ("zeros", "zeros_like", "empty", "empty_like", "ones", "ones_like", "eye")
NOT_METHODS = {"", "min", "sigmoid"}  # of the replacements
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
}
SIGNS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


def pretty(node: ast.AST | str) -> str:
    """An expression as people write it: "dh o (1 - tanh_c^2)"."""
    text = node if isinstance(node, str) else ast.unparse(node)
    for name, form in DERIVATIVES.items():
        text = re.sub(name + r"\((\w+)\)", partial(_formed, form), text)
    text = re.sub(r"\b(np|math)\.", "", text).replace("**", "^").replace(" ^ ", "^")
    return re.sub(r"(?<=[\w)\]]) \* (?=[\w(])", " ", text)


def _formed(form: str, found: re.Match[str]) -> str:
    return form.format(found[1])


def ordered(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes, depth first, in the order of the source."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        yield from ordered(child)


def located(node: Any) -> Any:
    """The node with line numbers for those that have none."""
    return ast.fix_missing_locations(node)


def replaced(tree: Any, old: ast.AST | str, new: ast.AST) -> Any:
    """A copy of the tree with one node, or the name ``old``, replaced by another."""

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            if node is old or (isinstance(node, ast.Name) and node.id == old):
                return copy.deepcopy(new)
            return self.generic_visit(node)

    memo = {id(old): old} if isinstance(old, ast.AST) else {}
    return located(Replace().visit(copy.deepcopy(tree, memo)))


def parts_of(node: ast.AST, ops: tuple[type, type]) -> list[tuple[ast.expr, bool]]:
    """The terms of a sum, or the factors of a product, each with whether it is subtracted or
    divided by."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ops):
        turned = isinstance(node.op, ops[1])
        right = [(one, turned != sign) for one, sign in parts_of(node.right, ops)]
        return [*parts_of(node.left, ops), *right]
    return [(node, False)]  # type: ignore[list-item]


def joined(parts: Iterable[tuple[ast.expr, bool]], ops: tuple[type, type]) -> ast.expr | None:
    """The sum or product of parts; None where it would begin with a minus or a division."""
    made: ast.expr | None = None
    for one, turned in parts:
        if made is None:
            if turned and ops[0] is ast.Mult:
                made = ast.BinOp(ast.Constant(1.0), ast.Div(), one)
            else:
                made = ast.UnaryOp(ast.USub(), one) if turned else one
        else:
            made = ast.BinOp(made, ops[1]() if turned else ops[0](), one)
    return made


SUM, PRODUCT = (ast.Add, ast.Sub), (ast.Mult, ast.Div)


def of_expression(node: ast.AST, scope: Shapes) -> Iterator[tuple[str, ast.expr]]:
    """(what is wrong, the wrong expression) for one node of an expression."""
    if isinstance(node, ast.BinOp):
        yield from _of_operator(node)
    elif isinstance(node, ast.Call):
        yield from _of_call(node)
    elif isinstance(node, ast.Compare):
        yield from _of_comparison(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield f"lacks the minus before {pretty(node.operand)}", node.operand
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield f"takes {pretty(node.value)} without transposing it", node.value
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node)
    elif isinstance(node, ast.IfExp):
        yield f"always takes {pretty(node.body)}", node.body
        yield f"always takes {pretty(node.orelse)}", node.orelse
    if isinstance(node, (ast.Name, ast.Subscript)) and isinstance(node.ctx, ast.Load):
        yield from _of_operand(node, scope)


def _of_operator(node: ast.BinOp) -> Iterator[tuple[str, ast.expr]]:
    for ops, what in ((SUM, "term"), (PRODUCT, "factor")):
        if not isinstance(node.op, ops):
            continue
        parts = parts_of(node, ops)
        for k, (part, turned) in enumerate(parts):
            rest = joined(parts[:k] + parts[k + 1 :], ops)
            if rest is not None:
                if what == "factor" and turned:
                    said = f"is not divided by {pretty(part)}"
                else:
                    said = f"lacks the {what} {'-' * (turned and what == 'term')}{pretty(part)}"
                yield said, rest
            other = joined([*parts[:k], (part, not turned), *parts[k + 1 :]], ops)
            if other is not None and what == "term":
                yield f"has the wrong sign at the term {pretty(part)}", other
            elif other is not None:
                done, wanted = ("multiplied", "divided") if turned else ("divided", "multiplied")
                yield f"is {done} by {pretty(part)} where it is to be {wanted}", other
            twice = joined([*parts, (part, turned)], ops)
            if twice is not None and not isinstance(part, ast.Constant):
                yield f"has the {what} {pretty(part)} twice", twice
    if isinstance(node.op, ast.MatMult):
        yield (
            f"has the factors of {pretty(node)} in the other order",
            ast.BinOp(node.right, ast.MatMult(), node.left),
        )
        turned_right = ast.Attribute(node.right, "T", ast.Load())
        if not (isinstance(node.right, ast.Attribute) and node.right.attr == "T"):
            yield (
                f"takes {pretty(node.right)} transposed",
                ast.BinOp(node.left, ast.MatMult(), turned_right),
            )
        left = node.left
        if isinstance(left, ast.Attribute) and left.attr == "T":
            for index, which in ((-1, "last"), (0, "first")):
                rows = f"[{index}:]" if index else "[:1]"
                text = f"({ast.unparse(left.value)}){rows}.T @ ({ast.unparse(node.right)}){rows}"
                said = f"is that of the {which} row only: assigned, not summed"
                yield said, ast.parse(text, mode="eval").body
        yield f"lacks the matrix {pretty(node.right)}", node.left
        yield f"lacks the matrix {pretty(node.left)}", node.right
    if isinstance(node.op, ast.Div):
        yield (
            f"divides {pretty(node)} as whole numbers",
            ast.BinOp(node.left, ast.FloorDiv(), node.right),
        )
    if isinstance(node.op, ast.Pow):
        yield f"takes {pretty(node.left)} in place of {pretty(node)}", node.left
        yield (
            f"takes {pretty(node.left)}^3 in place of {pretty(node)}",
            ast.BinOp(node.left, ast.Pow(), ast.Constant(3)),
        )
    if isinstance(node.op, (ast.FloorDiv, ast.Mod)):
        yield f"takes {pretty(node.left)} in place of {pretty(node)}", node.left


def function_name(node: ast.Call) -> str:
    """What is called, without its module: "sum" of np.sum(x) and of x.sum()."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _of_call(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    name = function_name(node)
    is_numpy = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "np"
    is_method = isinstance(node.func, ast.Attribute) and not is_numpy
    first = node.func.value if is_method else (node.args[0] if node.args else None)  # type: ignore[attr-defined]
    for forms, derivative in ((FOR_D_SIGMOID, "d_sigmoid"), (FOR_D_TANH, "d_tanh")):
        if name == derivative:
            for form, said in forms:
                text = ast.unparse(node.args[0])
                yield said.format(pretty(text)), ast.parse(form.format(text), mode="eval").body
    for other, said in CALLS.get(name, ()):
        if not other and first is not None:
            yield said, first
        elif is_method and other not in NOT_METHODS and first is not None:
            made = copy.deepcopy(node)
            made.func = ast.parse(other, mode="eval").body
            made.args.insert(0, copy.deepcopy(first))
            yield said, made
        elif not is_method and other not in ("min", ""):
            made = copy.deepcopy(node)
            made.func = ast.parse(other, mode="eval").body
            yield said, made
    yield from _of_keywords(node)
    if name in ("mean", "sum") and first is not None:
        yield from _of_sum(node, name, first)
    if name == "concatenate" and node.args and isinstance(node.args[0], (ast.List, ast.Tuple)):
        yield from _of_blocks(node, node.args[0].elts)
    if name == "where" and len(node.args) == 3:
        made = copy.deepcopy(node)
        made.args[1], made.args[2] = made.args[2], made.args[1]
        yield f"has the two cases of {pretty(node.args[0])} exchanged", made
        yield f"always takes {pretty(node.args[1])}", node.args[1]
        yield f"always takes {pretty(node.args[2])}", node.args[2]
    if name in ("range", "arange"):
        words = ("begins at", "goes to", "goes in steps of")[len(node.args) == 1 :]
        for k, argument in enumerate(node.args):
            for sign, op in (("+", ast.Add()), ("-", ast.Sub())):
                made = copy.deepcopy(node)
                made.args[k] = ast.BinOp(argument, op, ast.Constant(1))
                yield f"{words[k]} {pretty(argument)} {sign} 1 in {pretty(node)}", made
    if name in ("min", "max") and is_method and not node.keywords and first is not None:
        for index, which in ((0, "first"), (-1, "last")):
            wrong = f"np.ravel({ast.unparse(first)})[{index}]"
            extreme = "smallest" if name == "min" else "largest"
            said = f"takes the {which}, which need not be the {extreme}"
            yield said, ast.parse(wrong, mode="eval").body
    if name in ("min", "max") and len(node.args) == 2 and not is_method:
        made = copy.deepcopy(node)
        made.func = ast.Name("max" if name == "min" else "min", ast.Load())
        yield f"takes the {'larger' if name == 'min' else 'smaller'} of the two", made
        for kept in node.args:
            yield f"always takes {pretty(kept)}", kept


def _of_sum(node: ast.Call, name: str, first: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """A mean that is divided by another number; one element of the sum."""
    text = ast.unparse(first)
    axis = next((ast.unparse(k.value) for k in node.keywords if k.arg == "axis"), "")
    if name == "mean":
        kept = ", ".join(f"{k.arg}={ast.unparse(k.value)}" for k in node.keywords)
        for size, said in ((f"len({text})", "rows"), (f"({text}).shape[-1]", "columns")):
            wrong = f"np.sum({text}, {kept}) / {size}"
            yield f"is divided by the number of {said}", ast.parse(wrong, mode="eval").body
    elif axis == "0":
        for index, which in ((-1, "last"), (0, "first")):
            wrong = f"({text})[{index}]"
            said = f"is that of the {which} row only: assigned, not summed"
            yield said, ast.parse(wrong, mode="eval").body


def _of_keywords(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """Another axis, or none; without keepdims; other numbers of freedom."""
    for k, keyword in enumerate(node.keywords):
        if keyword.arg == "axis":
            axis = ast.unparse(keyword.value)
            for other in ("0", "1", "-1", "None"):
                if other != axis:
                    made = copy.deepcopy(node)
                    made.keywords[k].value = ast.parse(other, mode="eval").body
                    over = "all axes" if other == "None" else f"axis {other}"
                    yield f"goes over {over}, not over axis {axis}", made
        elif keyword.arg == "keepdims":
            made = copy.deepcopy(node)
            made.keywords.pop(k)
            yield f"lacks keepdims in {pretty(node)}", made
    if function_name(node) in ("var", "std"):
        made = copy.deepcopy(node)
        made.keywords.append(ast.keyword("ddof", ast.Constant(1)))
        yield "divides the variance by n - 1, not by n", made


def _of_blocks(node: ast.Call, blocks: Sequence[ast.expr]) -> Iterator[tuple[str, ast.expr]]:
    """Blocks put together in another order."""
    names = [pretty(block) for block in blocks]
    if 2 <= len(blocks) <= 4:
        for order in list(permutations(range(len(blocks))))[1:]:
            made = copy.deepcopy(node)
            made.args[0] = ast.List([copy.deepcopy(blocks[k]) for k in order], ast.Load())
            yield f"has its blocks in the order {', '.join(names[k] for k in order)}", made


def _of_comparison(node: ast.Compare) -> Iterator[tuple[str, ast.expr]]:
    for other in COMPARISONS.get(type(node.ops[0]), ()):
        made = ast.Compare(node.left, [other()], node.comparators)
        yield f"has {SIGNS[other]} in place of {SIGNS[type(node.ops[0])]} in {pretty(node)}", made


def _of_constant(node: ast.Constant) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
        return
    value = node.value
    near = {value + 1, value - 1} if isinstance(value, int) else {2 * value, value / 2}
    for other in sorted(near | ({0} if isinstance(value, int) else set())):
        if other != value:
            yield f"has {other:g} in place of {value:g}", ast.Constant(other)


def _of_operand(node: ast.Name | ast.Subscript, scope: Shapes) -> Iterator[tuple[str, ast.expr]]:
    """An index one off, and other variables of the same shape."""
    text = ast.unparse(node)
    if isinstance(node, ast.Subscript):
        yield from _shifted(node)
        for index in ast.walk(node.slice):
            if isinstance(index, ast.Name) and scope.get(index.id) == ():
                for other, its in scope.items():
                    if its == () and other.isidentifier() and other != index.id:
                        made = replaced(node, index, ast.Name(other, ast.Load()))
                        yield f"takes {pretty(made)} in place of {pretty(text)}", made
    shape = scope.get(text)
    if shape is None:
        return
    for other, its in scope.items():
        if other != text and its == shape and not other.endswith(" ="):
            yield (
                f"takes {pretty(other)} in place of {pretty(text)}",
                ast.parse(other, mode="eval").body,
            )


def _shifted(node: ast.Subscript) -> Iterator[tuple[str, ast.expr]]:
    """The index, or an end of a slice, one step earlier or later; or a slice without an end."""
    indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for k, index in enumerate(indices):
        changed: list[ast.expr] = []
        if isinstance(index, ast.Slice):
            for lower, upper in ((1, 1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0)):
                changed.append(_moved_slice(index, lower, upper))
            if index.step is not None:
                changed.append(ast.Slice(None, None, None))
        elif not (isinstance(index, ast.Constant) and index.value in (None, Ellipsis)):
            changed = [
                ast.BinOp(index, ast.Add(), ast.Constant(1)),
                ast.BinOp(index, ast.Sub(), ast.Constant(1)),
            ]
        for one in changed:
            made = copy.deepcopy(node)
            if isinstance(made.slice, ast.Tuple):
                made.slice.elts[k] = copy.deepcopy(one)
            else:
                made.slice = copy.deepcopy(one)
            text = pretty(ast.unparse(made)).replace(" + 1 - 1", "")
            yield f"takes {text} in place of {pretty(node)}", _simple(made)


def _moved_slice(index: ast.Slice, lower: int, upper: int) -> ast.Slice:
    """A slice whose ends are moved; an end that is missing is the first or the last."""

    def moved(end: ast.expr | None, by: int, first: bool) -> ast.expr | None:
        if not by:
            return end
        if end is None:
            return ast.Constant(by) if (by > 0) == first else None
        text = ast.unparse(ast.BinOp(end, ast.Add() if by > 0 else ast.Sub(), ast.Constant(1)))
        try:
            number = eval(text, {})
        except NameError:
            return ast.parse(text, mode="eval").body
        return None if number == 0 else ast.Constant(number)

    return ast.Slice(moved(index.lower, lower, True), moved(index.upper, upper, False), index.step)


def _simple(node: ast.Subscript) -> ast.expr:
    """``h[t + 1 - 1]`` is h[t]."""
    return ast.parse(ast.unparse(node).replace(" + 1 - 1", ""), mode="eval").body
