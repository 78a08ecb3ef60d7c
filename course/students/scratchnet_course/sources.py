"""The text of an answer: of a file, with the modules beside it, or of a function in a notebook."""

import ast
import codecs
import inspect
import io
import os
import re
import stat
import sys
import tokenize
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scratchnet.errors import InvalidValueError
from scratchnet_course import wall

MOST_MODULES, MOST_CONSTANT = 20, 10_000
MOST_SOURCE = 1_000_000  # bytes of a file that somebody has written by hand
# Codecs of editors. Python knows others, and decodes a megabyte of punycode in half a minute.
CODECS = re.compile(
    r"utf-8(-sig)?|ascii|iso8859-\d+|cp\d+|koi8-\w|gb\w+|big5\w*|shift_jis\w*|euc_\w+"
)
KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def source_of(path: Path) -> str:
    """Return a file's text as Python reads it: by its coding line, with or without a byte order
    mark.

    Raises
    ------
    ValueError
        If it is a link, a FIFO or anything else than a file, or too large, neither of which is
        opened; or not such text. The message names the file.
    """
    data = bytes_of(path, MOST_SOURCE)
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        if not CODECS.fullmatch(codecs.lookup(encoding).name):
            raise SyntaxError(f"the encoding {encoding} is not one of an editor's")
        return io.TextIOWrapper(io.BytesIO(data), encoding).read()
    except (SyntaxError, UnicodeDecodeError) as error:
        raise InvalidValueError(
            f"{path} cannot be read as Python, which is UTF-8 unless it says otherwise: {error}"
        ) from None


def bytes_of(path: Path, most: int) -> bytes:
    """Return the content of a regular file; ValueError if it is a link or anything else than a
    file, or has more bytes than ``most``."""
    _regular(path, path.lstat(), most)
    # It can have been replaced since: neither follow a link nor wait for a FIFO's other end.
    flags = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    with open(os.open(path, os.O_RDONLY | sum(flags)), "rb") as file:
        _regular(path, os.fstat(file.fileno()), most)
        return file.read(most)


def _regular(path: Path, found: os.stat_result, most: int) -> None:
    """Raise unless it is a file that can be read without a surprise."""
    expected = f"expected a regular file of at most {most} bytes"
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise InvalidValueError(f"{path} is {kind}: {expected}")
    if found.st_size > most:
        raise InvalidValueError(f"{path} has {found.st_size} bytes: {expected}")


def beside(path: Path, code: str) -> dict[str, str]:
    """The modules in the folder of a file that its code imports, and those that they import: name
    -> text. Python's own modules and installed packages come before them.
    """
    taken = {*sys.stdlib_module_names, *wall.packages()}
    found: dict[str, str] = {}
    todo = [code]
    while todo:
        for name in _imported(todo.pop()) - taken - found.keys():
            file = path.parent / f"{name}.py"
            if len(found) < MOST_MODULES and file.is_file() and not file.is_symlink():
                found[name] = source_of(file)
                todo.append(found[name])
    return found


def _imported(code: str) -> set[str]:
    """The modules that a program imports, by the first part of their names."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.name.partition(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


class Program(NamedTuple):
    """An answer that was put together from the cells of a notebook."""

    code: str
    where: tuple[str, ...] = ()  # what its lines are called: "line 8", as the cell counts them

    def said(self, text: str) -> str:
        """A sentence about lines of the program, with the lines of the cells."""
        return re.sub(r"\bline (\d+)\b", lambda found: self.line(int(found[1])), text)

    def line(self, number: int) -> str:
        """What a line is called."""
        known = self.where[number - 1] if 0 < number <= len(self.where) else ""
        return known or f"line {number}"


def together(parts: Iterable[tuple[str, Callable[[int], str]]]) -> Program:
    """Texts, each with what its lines are called, counted from 0, as one program."""
    lines: list[str] = []
    where: list[str] = []
    for text, called in parts:
        own = [*text.splitlines(), ""]
        lines += own
        where += [called(k) for k in range(len(own))]
    return Program("\n".join(lines), tuple(where))


def with_names(function: Callable[..., Any]) -> Program:
    """A notebook's function as a file: before it, what it uses of the other cells: imports,
    functions, classes, and constants.

    Raises
    ------
    TypeError, OSError
        If its source cannot be found.
    """
    parts: list[tuple[str, str, int]] = []  # a text, a name, and its first line or 0
    todo: list[Any] = [function]
    seen = set()
    while todo:
        one = todo.pop()
        seen.add(one)
        parts.append((_source(one), "" if one is function else one.__name__, _first(one)))
        for name, value in _used(one):
            own = getattr(value, "__module__", None) in ("__main__", function.__module__)
            if inspect.ismodule(value):
                parts.append((f"import {value.__name__} as {name}", name, 0))
            elif own and (inspect.isfunction(value) or inspect.isclass(value)):
                todo += [] if value in seen else [value]
            elif callable(value) and getattr(value, "__name__", "") == name:
                parts.append((f"from {value.__module__} import {name}", name, 0))
            elif not callable(value):
                parts += [(text, name, 0) for text in _constant(name, value)]
    unique = {text: (name, first) for text, name, first in reversed(parts)}
    return together(
        (text, partial(_called, *which))
        for text, which in {"import numpy as np": ("np", 0), **unique}.items()
    )


def _called(name: str, first: int, line: int) -> str:
    """What a line of a function is called, or that of a constant."""
    return f"line {first + line}" + f" in {name}" * bool(name) if first else f"the line of {name}"


def _first(one: Any) -> int:
    """The line of its cell or file in which a function or a class begins; 0 if not known."""
    try:
        return inspect.getsourcelines(one)[1]
    except (OSError, TypeError):
        return 0


def _source(one: Any) -> str:
    """The source of a function or a class, also of a notebook's class, which has no file."""
    try:
        return inspect.cleandoc("\n" + inspect.getsource(one))
    except (OSError, TypeError):
        methods = [value for value in vars(one).values() if inspect.isfunction(value)]
        if not methods:
            raise
        lines, _ = inspect.findsource(methods[0])
        for node in ast.walk(ast.parse("".join(lines))):
            if isinstance(node, ast.ClassDef) and node.name == one.__name__:
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                return "".join(lines[first - 1 : node.end_lineno])
        raise


def _used(one: Any) -> list[tuple[str, Any]]:
    """The global names that a function, or a class's methods, use, with their values."""
    functions = [one] if inspect.isfunction(one) else []
    if inspect.isclass(one):
        functions = [value for value in vars(one).values() if inspect.isfunction(value)]
    found: dict[str, Any] = {}
    for function in functions:
        space = function.__globals__
        todo = [function.__code__]
        while todo:  # with the functions inside it
            code = todo.pop()
            found |= {name: space[name] for name in code.co_names if name in space}
            todo += [inner for inner in code.co_consts if inspect.iscode(inner)]
    if inspect.isclass(one):  # what stands around the methods: decorators, bases, defaults
        space = functions[0].__globals__ if functions else {}
        for node in ast.walk(ast.parse(_source(one))):
            if isinstance(node, ast.Name) and node.id in space:
                found.setdefault(node.id, space[node.id])
    found.pop(getattr(one, "__name__", ""), None)
    return list(found.items())


def _constant(name: str, value: Any) -> list[str]:
    """An assignment of a plain value; none for what cannot be written down."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.size <= MOST_CONSTANT:
        return [f"{name} = np.array({value.tolist()!r}, dtype=np.{value.dtype.name})"]
    text = (
        repr(value)
        if not isinstance(value, (np.generic, np.ndarray))
        else repr(value.item())
        if value.size == 1
        else ""
    )
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    return [f"{name} = {text}"]
