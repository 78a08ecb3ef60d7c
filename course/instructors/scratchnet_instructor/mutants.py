"""Small mistakes in a function, made by changing one thing in its source, each with a sentence that
says what it is: "da_f lacks the factor f (1 - f)".

``mutants(function, ...)`` walks the statements of a right answer and yields every version of it
with one change: a term or a factor left out, another variable of the same shape, an index one off,
a matrix not transposed, an axis, a sum for a mean, a carry that is not updated, outputs exchanged.
"""

import ast
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import getsource
from itertools import permutations
from textwrap import dedent
from typing import Any, NamedTuple

import numpy as np

from scratchnet_instructor.mutations import (
    BUFFERS,
    PRODUCT,
    Shapes,
    function_name,
    located,
    of_expression,
    ordered,
    pretty,
    replaced,
)


class Mutant(NamedTuple):
    """A function with one mistake."""

    name: str  # "da_f lacks the factor f (1 - f)"
    code: str  # of the whole function
    # where the mistake is in one assignment: that statement's number, what it assigns, and the
    # wrong right-hand side
    statement: int = -1
    target: str = ""
    wrong: str = ""


def tree_of(function: Callable[..., Any]) -> ast.FunctionDef:
    """The function's source as a tree, without its annotations."""
    (tree,) = ast.parse(dedent(getsource(function))).body
    if not isinstance(tree, ast.FunctionDef):
        raise TypeError(f"{function!r} is not written with def")
    tree.returns = None
    for one in (*tree.args.args, *tree.args.kwonlyargs):
        one.annotation = None
    return tree


def statements(tree: ast.AST) -> list[ast.stmt]:
    """The simple statements of a function, in order, also those inside loops."""
    kinds = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr)
    return [node for node in ordered(tree) if isinstance(node, kinds) and not is_text(node)]


def is_text(node: ast.AST) -> bool:
    """Whether a statement is a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def mutants(
    tree: ast.FunctionDef, outputs: Sequence[str], scopes: Sequence[Shapes]
) -> list[Mutant]:
    """Every version of a function with one small mistake, those that say most first.

    Parameters
    ----------
    tree
        The right function.
    outputs
        The names of what it returns.
    scopes
        For each of its `statements` what can be read there, with shapes: variables, and indexed
        ones such as ``c[t]``.
    """
    found: list[Mutant] = []
    for number, statement in enumerate(statements(tree)):
        for name, wrong in _of_statement(statement, outputs, scopes[number]):
            code = _with(tree, statement, wrong)
            value = getattr(wrong, "value", None)
            target, text = _target(statement), ""
            if isinstance(wrong, type(statement)) and value is not None and target:
                text = ast.unparse(value)
                if isinstance(wrong, ast.AugAssign):
                    text = f"{target} {_sign(wrong.op)} ({text})"
            # what leaves an accumulator as it was is not told from the accumulator before
            if name.startswith("nothing is added"):
                text = ""
            found.append(Mutant(name, code, number, target if text else "", text))
    found += _of_structure(tree)
    unique: dict[str, Mutant] = {}
    for one in found:
        unique.setdefault(one.code, one)
    unique.pop(ast.unparse(tree), None)
    return list(unique.values())


def _sign(op: ast.operator) -> str:
    return {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}[type(op)]


def _target(statement: ast.stmt) -> str:
    """What a statement assigns, where that is one name or one indexed name."""
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    one = targets[0]
    if len(targets) == 1 and isinstance(one, (ast.Name, ast.Subscript)):
        return ast.unparse(one)
    return ""


def _with(tree: ast.FunctionDef, old: ast.AST, new: ast.AST | list[ast.stmt] | None) -> str:
    """The function's source with one node replaced."""

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            return new if node is old else self.generic_visit(node)

    kept = copy.copy(tree)
    memo = {id(old): old}
    if isinstance(new, ast.AST):
        memo[id(new)] = new
    for one in new if isinstance(new, list) else ():
        memo[id(one)] = one
    kept = copy.deepcopy(tree, memo)
    return ast.unparse(ast.fix_missing_locations(Replace().visit(kept)))


# ---- one statement -----------------------------------------------------------------------------


def _of_statement(
    statement: ast.stmt, outputs: Sequence[str], scope: Shapes
) -> Iterator[tuple[str, ast.stmt]]:
    """(what is wrong, the wrong statement)."""
    value = getattr(statement, "value", None)
    if value is None:
        return
    named = _named_parts(statement, value, outputs)
    if not (isinstance(statement, ast.Assign) and isinstance(value, ast.Constant)):
        indices = {
            id(n)
            for one in ast.walk(value)
            if isinstance(one, ast.Subscript)
            for n in ast.walk(one.slice)
        }
        # the parts of a / (b c) are a, 1 / b and 1 / c, not b and c
        below = {
            id(n.right)
            for n in ast.walk(value)
            if isinstance(n, ast.BinOp)
            and isinstance(n.op, ast.Div)
            and isinstance(n.right, ast.BinOp)
            and isinstance(n.right.op, PRODUCT)
        }
        for node in ordered(value):
            if id(node) in indices or id(node) in below:
                continue
            owner = next((n for part, n in named if node in ordered(part)), "")
            for said, wrong in of_expression(node, scope):
                changed = replaced(statement, node, wrong)
                yield f"{owner} {said}" if owner else said, changed
    if isinstance(statement, ast.AugAssign):
        target = ast.unparse(statement.target)
        made = ast.Assign([statement.target], statement.value)
        yield f"{_bare(target)} is assigned, not summed", located(made)
        if isinstance(statement.op, ast.Add):
            yield (
                f"{_bare(target)} has the opposite sign",
                located(ast.AugAssign(statement.target, ast.Sub(), statement.value)),
            )
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Tuple):
        yield from _orders(statement, statement.targets[0])
    for part, name in named:
        if is_buffer(part):
            continue
        for said, form in ADDED if isinstance(statement, ast.AugAssign) else WHOLE:
            wrong = ast.parse(form.format("_"), mode="eval").body
            wrong = replaced(wrong, "_", part)
            title = said.format("", name) if "{1}" in said else f"{name} {said}"
            yield title, replaced(statement, part, wrong)
        yield from _of_whole(statement, part, name, scope)
    if isinstance(statement, ast.Return):
        yield from _of_return(statement, value, outputs, scope)


WHOLE = (
    ("has the opposite sign", "-({0})"),
    ("is half of what it should be", "0.5 * ({0})"),
    ("is twice what it should be", "2 * ({0})"),
    ("is all zeros", "0 * ({0})"),
    ("is computed in float32", "np.float32({0})"),
)
ADDED = (
    ("what is added to {1} has the opposite sign", "-({0})"),
    ("half is added to {1}", "0.5 * ({0})"),
    ("twice as much is added to {1}", "2 * ({0})"),
    ("nothing is added to {1}", "0 * ({0})"),
    ("what is added to {1} is computed in float32", "np.float32({0})"),
)


def _of_whole(
    statement: ast.stmt, part: ast.expr, name: str, scope: Shapes
) -> Iterator[tuple[str, ast.stmt]]:
    """Another variable of the same shape, in place of all that is computed."""
    shape = scope.get(f"{name} =")
    if shape is None or isinstance(part, (ast.Name, ast.Constant)):
        return
    for other, its in scope.items():
        if its == shape and other != name and not other.endswith(" ="):
            wrong = ast.parse(other, mode="eval").body
            yield (
                f"{name} is {pretty(other)}, not {pretty(part)}",
                replaced(statement, part, wrong),
            )


def is_buffer(node: ast.AST) -> bool:
    """Whether an expression is only the beginning of a result: zeros, or an empty list."""
    called = isinstance(node, ast.Call) and function_name(node) in BUFFERS
    return called or isinstance(node, (ast.List, ast.Constant))


def _named_parts(
    statement: ast.stmt, value: ast.expr, outputs: Sequence[str]
) -> list[tuple[ast.expr, str]]:
    """The right-hand sides of a statement, each with the name of what it becomes."""
    if isinstance(statement, ast.Return):
        if isinstance(value, ast.Dict):
            return [
                (v, str(k.value))
                for k, v in zip(value.keys, value.values)
                if isinstance(k, ast.Constant)
            ]
        parts = value.elts if isinstance(value, ast.Tuple) else [value]
        return list(zip(parts, outputs)) if len(parts) == len(outputs) else []
    if isinstance(statement, ast.Expr):
        if isinstance(value, ast.Call) and function_name(value) == "append":
            return [(value.args[0], ast.unparse(value.func).split(".")[0])]
        return []
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    one = targets[0]
    if isinstance(one, ast.Tuple) and isinstance(value, ast.Tuple):
        return [(v, _bare(ast.unparse(t))) for t, v in zip(one.elts, value.elts)]
    return [(value, _bare(ast.unparse(one)))] if one is not None else []


def _bare(text: str) -> str:
    """The name of an indexed variable: "dx[t]" is dx."""
    return text.split("[")[0]


def _orders(statement: ast.Assign, target: ast.Tuple) -> Iterator[tuple[str, ast.stmt]]:
    """The targets of an unpacking in another order."""
    names = [ast.unparse(one) for one in target.elts]
    if 2 <= len(names) <= 4 and not isinstance(statement.value, ast.Tuple):
        for order in list(permutations(range(len(names))))[1:]:
            made = copy.deepcopy(statement)
            made.targets = [ast.Tuple([target.elts[k] for k in order], ast.Store())]
            order_of = " ".join(names[k] for k in order)
            yield f"the blocks are read as {order_of}, not as {' '.join(names)}", located(made)


def _of_return(
    statement: ast.Return, value: ast.expr, outputs: Sequence[str], scope: Shapes
) -> Iterator[tuple[str, ast.stmt]]:
    """Outputs exchanged."""
    if isinstance(value, ast.Tuple) and len(value.elts) == len(outputs):
        for a in range(len(outputs)):
            for b in range(a):
                made = copy.deepcopy(statement)
                parts = made.value.elts  # type: ignore[union-attr]
                parts[a], parts[b] = parts[b], parts[a]
                yield f"{outputs[b]} and {outputs[a]} are exchanged", located(made)
    if isinstance(value, ast.Dict):
        for a in range(len(outputs)):
            for b in range(a):
                made = copy.deepcopy(statement)
                values = made.value.values  # type: ignore[union-attr]
                values[a], values[b] = values[b], values[a]
                yield f"{outputs[b]} and {outputs[a]} are exchanged", located(made)


# ---- loops and the order of things -------------------------------------------------------------


def _of_structure(tree: ast.FunctionDef) -> Iterator[Mutant]:
    """Loops that run otherwise, statements that are missing or exchanged."""
    for loop in [node for node in ordered(tree) if isinstance(node, ast.For)]:
        for said, wrong in _of_loop(loop):
            made = copy.deepcopy(loop)
            made.iter = ast.parse(wrong, mode="eval").body
            yield Mutant(said, _with(tree, loop, located(made)))
    for owner in ordered(tree):
        body = getattr(owner, "body", None)
        if not isinstance(body, list):
            continue
        for k, statement in enumerate(body):
            if not isinstance(statement, (ast.Assign, ast.AugAssign)):
                continue
            target = pretty(_target(statement) or ast.unparse(statement).split(" = ")[0])
            inside = isinstance(owner, ast.For)
            said = f"{target} is not updated" if inside else f"{target} is never computed"
            yield Mutant(said, _with(tree, statement, ast.Pass()))
            if isinstance(statement, ast.Assign) and inside:
                name = statement.targets[0]
                if isinstance(name, ast.Name):
                    added = _with(tree, statement, ast.AugAssign(name, ast.Add(), statement.value))
                    yield Mutant(f"{target} is added up, not replaced", added)
            if isinstance(statement, ast.Assign) and not inside and _target(statement):
                zero = ast.parse(f"0.0 * ({ast.unparse(statement.value)})", mode="eval").body
                changed = ast.Assign(statement.targets, zero)
                yield Mutant(f"{target} starts from zero", _with(tree, statement, located(changed)))
            if isinstance(owner, ast.For):
                yield from _moved(tree, owner, body, k, target)


def _moved(
    tree: ast.FunctionDef, loop: ast.For, body: list[ast.stmt], k: int, target: str
) -> Iterator[Mutant]:
    """A statement of a loop before another one, which then reads the new value."""
    for to in range(k):
        if not any(_depends(other, body[k]) for other in body[to:k]):
            continue
        made = copy.copy(loop)
        made.body = [*body[:to], body[k], *body[to:k], *body[k + 1 :]]
        said = f"{target} is computed too early, before {pretty(_target(body[to]) or 'the rest')}"
        yield Mutant(said, _with(tree, loop, made))


def _depends(one: ast.AST, other: ast.AST) -> bool:
    """Whether one of two statements writes what the other reads or writes."""

    def names(node: ast.AST, kind: type) -> set[str]:
        found = {
            n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, kind)
        }
        if kind is ast.Store:  # x[t] = ... writes x
            for n in ast.walk(node):
                if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store):
                    found |= {m.id for m in ast.walk(n.value) if isinstance(m, ast.Name)}
        return found

    first, second = names(one, ast.Store), names(other, ast.Store)
    reads = names(other, ast.Load) & first | names(one, ast.Load) & second
    return bool(reads - {"t"} or first & second)


def _of_loop(loop: ast.For) -> Iterator[tuple[str, str]]:
    text, name, wrap = ast.unparse(loop.iter), ast.unparse(loop.target), "{}"
    inner = loop.iter
    if isinstance(inner, ast.Call) and function_name(inner) == "reversed":
        inner, wrap = inner.args[0], "reversed({})"
        yield "the backward loop runs forwards", ast.unparse(inner)
    if not (isinstance(inner, ast.Call) and function_name(inner) == "range"):
        return
    if inner is loop.iter:
        yield "the loop runs backwards", f"reversed({text})"
    if len(inner.args) == 1:
        stop = ast.unparse(inner.args[0])
        yield f"the loop leaves out the last {name}", wrap.format(f"range({stop} - 1)")
        yield f"the loop leaves out {name} = 0", wrap.format(f"range(1, {stop})")


def scopes_of(
    tree: ast.FunctionDef, space: dict[str, Any], cases: Sequence[Mapping[str, Any]]
) -> list[dict[str, tuple[int, ...]]]:
    """What can be read at each statement, with shapes: of the last case in which it is reached.

    Indexed variables are those that occur in the function.
    """
    count = len(statements(tree))
    found: list[dict[str, tuple[int, ...]]] = [{} for _ in range(count)]
    indexed = sorted(
        {
            ast.unparse(node)
            for node in ordered(tree)
            if isinstance(node, ast.Subscript)
            and not any(isinstance(n, ast.Call) for n in ast.walk(node))
        }
    )

    def note(number: int, names: dict[str, Any]) -> None:
        shapes = {}
        for name, value in names.items():
            if isinstance(value, (np.ndarray, np.generic, float, int)) and name[0] != "_":
                shapes[name] = np.shape(value)
        for text in indexed:
            try:
                shapes[text] = np.shape(eval(text, space, names))
            except Exception:
                continue
        found[number] = shapes

    made = copy.deepcopy(tree)
    assigned = [_target(statement) for statement in statements(tree)]
    probe(made, lambda number: [ast.parse(f"__note__({number}, dict(locals()))").body[0]])
    run = compiled(ast.unparse(made), tree.name, {**space, "__note__": note})
    for case in cases:
        run(**{k: np.copy(v) if isinstance(v, np.ndarray) else v for k, v in case.items()})
    for target, shapes, later in zip(assigned, found, [*found[1:], {}]):
        # of a loop's last statement what is read at its first one
        known = next((one[target] for one in (later, shapes, *found) if target in one), None)
        if target and known is not None:
            shapes[f"{_bare(target)} ="] = known
    return found


def probe(tree: ast.FunctionDef, before: Callable[[int], list[ast.stmt]]) -> None:
    """Put statements before each of the function's simple statements, by its number."""
    numbers = {id(node): k for k, node in enumerate(statements(tree))}

    class Insert(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            self.generic_visit(node)
            if id(node) in numbers:
                return [*before(numbers[id(node)]), node]
            return node

    Insert().visit(tree)
    ast.fix_missing_locations(tree)


def compiled(code: str, name: str, space: Mapping[str, Any]) -> Callable[..., Any]:
    """The function of that name in a program."""
    own = dict(space)
    exec(compile(code, f"<{name}>", "exec"), own)
    function: Callable[..., Any] = own[name]
    return function
