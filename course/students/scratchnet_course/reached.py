"""Which right intermediates a function reaches: by value, whatever its variables are called.

Imports only the standard library: `child` loads it next to a student's code.
"""

import ast
import contextlib
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

MOST_VALUES = 400  # looked at in one run


class Reached:
    """Runs functions of a program and looks at every variable after it was assigned.

    Parameters
    ----------
    tree
        The program.
    file
        What it is compiled as.
    """

    def __init__(self, tree: ast.Module, file: str) -> None:
        self.file = file
        self.targets: dict[int, list[CodeType]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.stmt):
                self.targets.setdefault(node.lineno, []).extend(_targets(node))

    def __call__(
        self, call: Callable[[], Any], matches: Callable[[Any], Any], own: int
    ) -> tuple[frozenset[int], frozenset[int]]:
        """The right intermediates among what the call computes, even if it raises, and the
        lines that assign nothing else.

        ``matches(value)`` has the numbers of those that a value equals. The first ``own`` of them
        are assigned in a right answer; the others are computed on the way, and no line is right
        because of them.
        """
        found: set[int] = set()
        lines: tuple[set[int], set[int]] = (set(), set())  # with values that match none, or some
        before: dict[int, int] = {}  # of each frame the line that is run
        left = MOST_VALUES

        def see(frame: Any, event: str, _: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename != self.file or frame.f_code.co_name.startswith("<"):
                return None
            if event in ("line", "return") and (
                event == "return" or frame.f_lineno in self.targets
            ):
                line = before.pop(id(frame), 0)
                for code in self.targets.get(line, ()) if left > 0 else ():
                    left -= 1
                    try:
                        which = matches(eval(code, frame.f_globals, frame.f_locals))
                    except Exception:  # not assigned after all, or no numbers
                        continue
                    found.update(map(int, which))
                    lines[int(any(k < own for k in which))].add(line)
                before[id(frame)] = frame.f_lineno
            return see

        sys.settrace(see)
        try:
            with contextlib.suppress(Exception):
                call()
        finally:
            sys.settrace(None)
        return frozenset(found), frozenset(lines[1] - lines[0])


def _targets(node: ast.stmt) -> list[CodeType]:
    """What a statement assigns, to be read."""
    assigned = getattr(node, "targets", [getattr(node, "target", None)])
    found = []
    for target in assigned if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)) else ():
        several = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
        for one in several:
            if isinstance(one, (ast.Name, ast.Subscript, ast.Attribute)):
                found.append(compile(ast.unparse(one), "<target>", "eval"))
    return found
