"""The mistakes people make in a backward pass, as data, and the cell with one of them planted.

``mistakes.toml`` is the table: each mistake is an edit of the cell's own file, so a planted bug is the real code with one
thing wrong, and a table that no longer fits the code says so.
"""

import linecache
import tomllib
from importlib import resources
from inspect import getsource
from types import ModuleType
from typing import Any, NamedTuple

from scratchnet.cells import CELLS
from scratchnet.elementwise import ELEMENTWISE


class Mistake(NamedTuple):
    """One row of the table; ``mistakes.toml`` says what the fields mean."""

    id: str
    cell: str
    name: str
    why: str
    edits: tuple[tuple[str, str], ...]  # (right, wrong)
    options: dict[str, str] = {}  # noqa: RUF012 (a NamedTuple's default, never changed)
    begins: int | None = None
    at_final: bool = False
    first_wrong: tuple[str, ...] = ()  # "dW_x:if" is dW_x in the gates i and f


def load() -> list[Mistake]:
    """Every mistake of the table."""
    text = resources.files("scratchnet.course").joinpath("mistakes.toml").read_text(encoding="utf-8")
    return [_mistake(row) for row in tomllib.loads(text)["mistake"]]


def _mistake(row: dict[str, Any]) -> Mistake:
    edits = tuple((right, wrong) for right, wrong in row.pop("edits"))
    return Mistake(edits=edits, first_wrong=tuple(row.pop("first_wrong", ())), **row)


def source(mistake: Mistake) -> str:
    """The text of the cell's file with the mistake in it.

    Raises ValueError where an edit's right text does not stand exactly once in the file.
    """
    text = getsource(CELLS[mistake.cell])  # type: ignore[arg-type]
    for right, wrong in mistake.edits:
        if text.count(right) != 1:
            times = text.count(right)
            raise ValueError(f"{mistake.id}: {right!r} stands {times} times in cells/{mistake.cell}.py, expected once")
        text = text.replace(right, wrong)
    return text


def plant(mistake: Mistake) -> ModuleType:
    """The cell as a module of its own with the mistake in it; the library's cell is untouched."""
    text, filename = source(mistake), f"<{mistake.id}>"
    module = ModuleType(mistake.id)
    marked = len(ELEMENTWISE)
    exec(compile(text, filename, "exec"), module.__dict__)
    del ELEMENTWISE[marked:]  # kernels are never made of a wrong cell
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)  # for tracebacks and getsource
    return module
