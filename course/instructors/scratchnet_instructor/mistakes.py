"""The mistakes people make in a backward pass, as data, and the cell or the layer with one of them
planted.

``mistakes.toml`` is the table: each mistake is an edit of the cell's or the layer's own file, so a
planted bug is the real code with one thing wrong, and a table that no longer fits the code says so.
"""

import linecache
import tomllib
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module, resources
from inspect import getsource
from types import ModuleType
from typing import Any, NamedTuple

from scratchnet.cells import CELLS
from scratchnet.elementwise import ELEMENTWISE
from scratchnet.errors import InvalidValueError
from scratchnet.layers import LAYERS, Layer


class Mistake(NamedTuple):
    """One row of the table; ``mistakes.toml`` says what the fields mean."""

    id: str
    name: str
    why: str
    edits: tuple[tuple[str, str], ...]  # (right, wrong)
    cell: str = ""  # a name of CELLS, or
    layer: str = ""  # of LAYERS
    # of a layer, where the mistake is in a module that it builds on: "layers.attend"
    file: str = ""
    example: str = ""  # the label of the layer's example with which it shows; all of them if empty
    options: dict[str, Any] = {}  # noqa: RUF012 (a NamedTuple's default, never changed)
    begins: int | None = None
    at_final: bool = False
    first_wrong: tuple[str, ...] = ()  # "dW_x:if" is dW_x in the gates i and f


def load() -> list[Mistake]:
    """Every mistake of the table."""
    text = (
        resources.files("scratchnet_instructor")
        .joinpath("mistakes.toml")
        .read_text(encoding="utf-8")
    )
    return [_mistake(row) for row in tomllib.loads(text)["mistake"]]


def of_cell(cell: str) -> list[Mistake]:
    """The mistakes of a cell that show in its plain form: without options, by wrong gradients."""
    return [row for row in load() if row.cell == cell and not row.options and row.first_wrong]


@cache
def backwards(cell: str) -> tuple[tuple[str, Callable[..., Any]], ...]:
    """The names of a cell's mistakes that change a gradient, each with a backward that makes it.

    The entry point "scratchnet.mistakes": with it a trace calls a mistake by its name.
    """
    rows = (row for row in load() if row.cell == cell and row.first_wrong)
    return tuple((row.name, plant(row).backward) for row in rows)


def _mistake(row: dict[str, Any]) -> Mistake:
    edits = tuple((right, wrong) for right, wrong in row.pop("edits"))
    return Mistake(edits=edits, first_wrong=tuple(row.pop("first_wrong", ())), **row)


def source(mistake: Mistake) -> str:
    """Return the text of the cell's or the layer's file with the mistake in it.

    Raises
    ------
    ValueError
        If an edit's right text is not exactly once in the file.
    """
    original = _original(mistake)
    path = original.__name__.removeprefix("scratchnet.").replace(".", "/")
    return edited(getsource(original), mistake.edits, f"{mistake.id}: {path}.py")


def edited(text: str, edits: Iterable[tuple[str, str]], name: str) -> str:
    """Return the text with each right text replaced by its wrong one.

    Raises
    ------
    ValueError
        If a right text is not exactly once in the text; the message begins with ``name``.
    """
    for right, wrong in edits:
        if text.count(right) != 1:
            raise InvalidValueError(
                f"{name} has {text.count(right)} times {right!r}, expected once"
            )
        text = text.replace(right, wrong)
    return text


def _original(mistake: Mistake) -> ModuleType:
    """The module whose file is edited."""
    if mistake.layer:
        own = LAYERS[mistake.layer].__module__
        return import_module(f"scratchnet.{mistake.file}" if mistake.file else own)
    return CELLS[mistake.cell]  # type: ignore[return-value]


def plant(mistake: Mistake) -> ModuleType:
    """Return a new module: the cell's or the layer's file with the mistake in it."""
    return _module(mistake.id, source(mistake))


def _module(name: str, text: str) -> ModuleType:
    filename, module = f"<{name}>", ModuleType(name)
    marked = len(ELEMENTWISE)
    exec(compile(text, filename, "exec"), module.__dict__)
    del ELEMENTWISE[marked:]  # kernels are never made of a wrong cell
    # for tracebacks and getsource
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    return module


def plant_layer(mistake: Mistake) -> type[Layer]:
    """The class of the layer with the mistake in it."""
    planted, own = plant(mistake), LAYERS[mistake.layer]
    # the layer's own file is right, and is given the wrong module, or what it took from it
    if mistake.file:
        wrong = {mistake.file.rpartition(".")[2]: planted} | vars(planted)
        planted = _module(f"{mistake.id}-{mistake.layer}", getsource(import_module(own.__module__)))
        vars(planted).update(
            {name: wrong[name] for name in wrong.keys() & vars(planted).keys() if name[0] != "_"}
        )
    found: type[Layer] = getattr(planted, own.__name__)
    return found
