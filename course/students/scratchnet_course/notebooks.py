"""The answers in a notebook: of all its code, what one function needs."""

import ast
import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from scratchnet.errors import InvalidValueError
from scratchnet_course.exercises import EXERCISES
from scratchnet_course.sources import Program, bytes_of, source_of, together

MOST = 50_000_000  # bytes of a notebook, which carries its figures
MAGIC = re.compile(r"^(\s*)([%!?].*)$", re.M)  # not Python: "%matplotlib inline", "!pip install"
DEFINED = re.compile(r"^(?:async\s+)?def\s+(\w+)|^(\w+)\s*=[^=]", re.M)
DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def program_of(path: Path, function: str) -> Program:
    """The answer in a file, or in a notebook.

    Raises
    ------
    ValueError
        If the file cannot be read as what its name says.
    """
    if path.suffix.lower() == ".ipynb":
        return part(code_cells(path), function)
    return Program(source_of(path))


def answered(text: str) -> list[str]:
    """The exercises whose functions a program defines."""
    functions = {exercise.function: name for name, exercise in EXERCISES.items()}
    names = [one or other for one, other in DEFINED.findall(text)]
    return list(dict.fromkeys(functions[name] for name in names if name in functions))


class Statement(NamedTuple):
    """A statement of a cell's first level."""

    first: int  # line in its cell
    text: str
    binds: frozenset[str]
    uses: frozenset[str]
    definition: bool  # of a function or a class: the last one is the one that counts


def code_cells(path: Path) -> list[str]:
    """Return the text of a notebook's code cells.

    Raises
    ------
    ValueError
        If the file is no notebook.
    """
    try:
        whole = json.loads(bytes_of(path, MOST))
        sheets = whole.get("worksheets", [whole])  # of old notebooks
        found = [cell for sheet in sheets for cell in sheet["cells"] if cell["cell_type"] == "code"]
        return [_text(cell["source"] if "source" in cell else cell["input"]) for cell in found]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, InvalidValueError):
            raise
        raise InvalidValueError(f"{path.name} is no notebook that can be read") from None


def _text(source: Any) -> str:
    """A cell's text as Python: magic lines are comments."""
    text = source if isinstance(source, str) else "".join(map(str, source))
    return MAGIC.sub(r"\1pass  # \2", text)


def part(cells: Sequence[str], function: str) -> Program:
    """Return what a function needs of a notebook's cells, as a file: itself, and the imports,
    functions, classes and assignments that it uses, in the order of the cells. Of a function that
    is defined twice it is the last definition that counts, as in the notebook."""
    known: list[Statement] = []
    for text in cells:
        try:
            known += _statements(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            if re.search(rf"^(async )?def {re.escape(function)}\b", text, re.M):
                # Python says what is wrong with it
                return together([(text, lambda line: f"line {line + 1} of the cell")])
    kept, todo, seen = set[int](), [function, "*"], set[str]()  # from numpy import *
    while todo:
        name = todo.pop()
        seen.add(name)
        binding = [k for k, one in enumerate(known) if name in one.binds]
        last = next((k for k in reversed(binding) if known[k].definition), -1)
        for k in binding:
            if k >= last and k not in kept:
                kept.add(k)
                todo += known[k].uses - seen
    return together((known[k].text, partial(_called, known[k], function)) for k in sorted(kept))


def _called(one: Statement, function: str, line: int) -> str:
    """What a line is called: as its own cell counts them."""
    name = "" if function in one.binds else " of " + ", ".join(sorted(one.binds))
    return f"line {one.first + line} of the cell{name}"


def _statements(text: str) -> list[Statement]:
    found = []
    lines = text.splitlines(keepends=True)
    for node in ast.parse(text).body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        own = "".join(lines[first - 1 : node.end_lineno]).rstrip("\n")
        if first == node.end_lineno:  # two statements can share a line
            own = ast.get_source_segment(text, node) or own
        names = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
        uses = frozenset(one.id for one in names if isinstance(one.ctx, ast.Load))
        found.append(Statement(first, own, _binds(node), uses, isinstance(node, DEFINITION)))
    return found


def _binds(node: ast.stmt) -> frozenset[str]:
    """The names that a statement gives a value to, also "w" in w[0] = 1."""
    if isinstance(node, DEFINITION):
        return frozenset([node.name])
    names: set[str] = set()
    for one in ast.walk(node):
        if isinstance(one, (ast.Import, ast.ImportFrom)):
            names |= {(a.asname or a.name).partition(".")[0] for a in one.names}
        elif isinstance(one, DEFINITION):
            names.add(one.name)
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            names.add(one.id)
        elif isinstance(one, (ast.Subscript, ast.Attribute)) and isinstance(one.ctx, ast.Store):
            inner: ast.expr = one
            while isinstance(inner, (ast.Subscript, ast.Attribute)):
                inner = inner.value
            names |= {inner.id} if isinstance(inner, ast.Name) else set()
    return frozenset(names)
