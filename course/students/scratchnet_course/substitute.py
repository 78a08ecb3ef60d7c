"""Put a right intermediate in the place of a variable's value: where every number is right then,
nothing after that line is wrong.

Imports only the standard library: `child` loads it next to a student's code.
"""

import ast
from collections.abc import Iterator, Sequence
from typing import Any

from scratchnet_course.edits import Change, Edit

FEED = "__right__"


class Feed:
    """What stands in the program for the right values: each call returns the next one."""

    def start(self, values: Sequence[Any]) -> None:
        """For a run of the program."""
        self.left = iter(values)

    def __call__(self, value: Any) -> Any:
        """The next value, in the shape of the student's; ValueError where there is none."""
        right, shape = next(self.left, None), getattr(value, "shape", ())
        if right is None:
            raise ValueError("no value is left")
        if right.T.shape == shape != right.shape:
            return right.T.copy()
        if not shape:  # one number may stand where an array belongs
            return right.item() if right.size == 1 else right.copy()
        return right.reshape(shape).copy()


def orders(values: Sequence[Any]) -> list[Sequence[Any]]:
    """The orders in which a loop may compute them, the same ones for every case: forwards,
    backwards, and one array row by row."""
    rows = list(values[0]) if len(values) == 1 and values[0].ndim else []
    return [values, values[::-1], rows, rows[::-1]]


def places(tree: ast.Module) -> Iterator[Edit]:
    """After each assignment of the program one of the next right value to the same variable."""
    for top in tree.body:
        for owner in ast.walk(top) if isinstance(top, ast.FunctionDef) else ():
            for field in ("body", "orelse"):
                found = getattr(owner, field, None)
                body: list[Any] = found if isinstance(found, list) else []
                for k, one in enumerate(body):
                    for target in _targets(one):
                        text = ast.unparse(target)
                        new = ast.parse(f"{text} = {FEED}({text})").body
                        change = Change(owner, field, [*body[: k + 1], *new, *body[k + 1 :]])
                        yield Edit(0, one.lineno, "", target, None, (change,), top)


def _targets(one: ast.stmt) -> list[ast.expr]:
    """What a statement assigns, alone."""
    if isinstance(one, ast.AugAssign):
        return [one.target]
    targets = one.targets if isinstance(one, ast.Assign) else []
    return (
        targets if len(targets) == 1 and not isinstance(targets[0], (ast.Tuple, ast.List)) else []
    )
