"""Check one answer: run it in a separate process on new arguments, compare, say what is wrong."""

import codecs
import hashlib
import inspect
import io
import os
import re
import stat
import time
import tokenize
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet_course import child, keys, sandbox
from scratchnet_course.diagnose import Diagnosis, Watch, diagnose
from scratchnet_course.exercise import Exercise
from scratchnet_course.exercises import find
from scratchnet_course.keys import Key
from scratchnet_course.plain import plain
from scratchnet_course.wall import Wall

MOST_SOURCE = 1_000_000  # bytes of a file that somebody has written by hand
MOST_LINES, MOST_LINE = 300, 5000  # of what is said of an answer, and characters of each
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


class Verdict(NamedTuple):
    """What came of a check.  ``print(result)`` is what the student reads."""

    exercise: str
    # right, wrong, empty, missing, raised, timeout, memory, type, large, changed, died
    status: str
    points: float
    most: int
    seed: int
    lines: tuple[str, ...]
    names: tuple[str, ...] = ()  # the mistakes, recognised with certainty
    file: str = ""
    sha256: str = ""  # of the file that was checked
    wall: str = ""  # what the file ran behind: "bubblewrap", ..., or "none"
    case: int = 0  # the simplest that is wrong, from 1
    wrong: tuple[str, ...] = ()  # outputs
    at: str = ""  # the step at which it begins, "t=4"
    line: int = 0  # of the file, where it begins
    found: tuple[str, ...] = ()  # mistakes seen in one line or output, each by itself
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        """True if nothing is wrong."""
        return self.status == "right"

    def __str__(self) -> str:
        mark = "RIGHT" if self.right else "NOT YET"
        which = f"{plain(self.file, MOST_LINE, lines=False)} " if self.file else ""
        head = (
            f"{self.exercise}  {mark}  {self.points:g} of {self.most} points  ({which}seed"
            f" {self.seed})"
        )
        return "\n".join([head, *self.lines])


def check(
    name: str, answer: str | Path | Callable[..., Any] | None = None, seed: int | None = None
) -> Verdict:
    """Check an answer to an exercise.

    Parameters
    ----------
    name
        The exercise's id, "06/ex2".
    answer
        A file, or in a notebook the function itself; the file "06/ex2.py" if None.
    seed
        Of the arguments; those of the package if None. Others are made by the instructor's
        distribution.

    Raises
    ------
    ValueError
        If there is no such exercise, or the file is not text that Python can read.
    OSError
        If there is no such file.
    TypeError
        If the source of a function cannot be found.
    """
    exercise = find(name)
    if callable(answer):
        try:
            code = _with_names(answer)
        except (OSError, TypeError):
            raise InvalidTypeError(
                f"the source of {answer!r} cannot be found: save it in a file and check that"
            ) from None
        return check_code(exercise, code, seed)
    path = Path(answer) if answer is not None else Path(f"{exercise.id}.py")
    return check_code(exercise, source_of(path), seed, str(path))


def source_of(path: Path) -> str:
    """Return a file's text as Python reads it: by its coding line, with or without a byte order
    mark.

    Raises
    ------
    ValueError
        If it is a link, a FIFO or anything else than a file, or too large, neither of which is
        opened; or not such text. The message names the file.
    """
    data = _bytes_of(path)
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        if not CODECS.fullmatch(codecs.lookup(encoding).name):
            raise SyntaxError(f"the encoding {encoding} is not one of an editor's")
        return io.TextIOWrapper(io.BytesIO(data), encoding).read()
    except (SyntaxError, UnicodeDecodeError) as error:
        raise InvalidValueError(
            f"{path} cannot be read as Python, which is UTF-8 unless it says otherwise: {error}"
        ) from None


def _bytes_of(path: Path) -> bytes:
    """The content of a regular file of at most MOST_SOURCE bytes."""
    _regular(path, path.lstat())
    # It can have been replaced since: neither follow a link nor wait for a FIFO's other end.
    flags = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    with open(os.open(path, os.O_RDONLY | sum(flags)), "rb") as file:
        _regular(path, os.fstat(file.fileno()))
        return file.read(MOST_SOURCE)


def _regular(path: Path, found: os.stat_result) -> None:
    """Raise unless it is a file that can be read without a surprise."""
    expected = f"expected a regular file of at most {MOST_SOURCE} bytes"
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise InvalidValueError(f"{path} is {kind}: {expected}")
    if found.st_size > MOST_SOURCE:
        raise InvalidValueError(f"{path} has {found.st_size} bytes: {expected}")


def _with_names(function: Callable[..., Any]) -> str:
    """A notebook's function as a file: before it, what it uses of the other cells, imports and
    functions."""
    lines, todo, seen = [], [function], set()
    while todo:
        one = todo.pop()
        seen.add(one)
        lines.append(inspect.cleandoc("\n" + inspect.getsource(one)))
        for name, value in inspect.getclosurevars(one).globals.items():
            own = getattr(value, "__module__", None) in ("__main__", one.__module__)
            if inspect.ismodule(value):
                lines.append(f"import {value.__name__} as {name}")
            elif inspect.isfunction(value) and own:
                todo += [] if value in seen else [value]
            elif callable(value) and getattr(value, "__name__", "") == name:
                lines.append(f"from {value.__module__} import {name}")
    return "\n\n".join(["import numpy as np", *reversed(lines)]) + "\n"


def check_code(
    exercise: Exercise,
    code: str,
    seed: int | None = None,
    file: str = "",
    behind: Wall | None = None,
    key: Key | None = None,
) -> Verdict:
    """Check the text of a file, behind a wall, or the machine's own if None, by a key, or that of
    the seed; see `check`."""
    started = time.perf_counter()
    key = keys.of(exercise, seed) if key is None else key
    cases = [case.arguments for row in key.cases for case in row]
    ran = sandbox.run(code, exercise.function, cases, exercise.seconds, behind=behind)

    def watch(some: Sequence[dict[str, Any]]) -> sandbox.Watched:
        return sandbox.watch(code, exercise.function, some, exercise.seconds, behind=behind)

    status, lines, found = _judged(exercise, key, ran, watch)
    if ran.printed:
        lines += [
            "",
            "your code printed:",
            *(f"  {line}" for line in ran.printed.rstrip().splitlines()),
        ]
    points = float(exercise.points) if status == "right" else 0.0
    digest = hashlib.sha256(code.encode(errors="surrogatepass")).hexdigest()
    said = tuple(plain(line, MOST_LINE) for line in lines[:MOST_LINES])
    seconds = round(time.perf_counter() - started, 2)
    head = Verdict(exercise.id, status, points, exercise.points, key.seeds[0], said, found.names)
    return head._replace(
        file=file,
        sha256=digest,
        wall=ran.wall,
        case=found.case,
        wrong=found.wrong,
        at=found.at,
        line=found.line,
        found=found.found,
        seconds=seconds,
    )


NOTHING = Diagnosis(False, (), ())


def _judged(
    exercise: Exercise, key: Key, ran: sandbox.Ran, watch: Watch
) -> tuple[str, list[str], Diagnosis]:
    """The status, what to read, and what was found."""
    if ran.status == "raised" and any(answer is not None for answer in ran.answers):
        found = diagnose(exercise, key, ran.answers, watch)
        return "raised", [*found.lines, *_excuse(exercise, ran)], found._replace(line=_line(ran))
    if ran.status != "ran":
        return ran.status, _excuse(exercise, ran), NOTHING._replace(line=_line(ran))
    found = diagnose(exercise, key, ran.answers, watch)
    lines = list(found.lines)
    if ran.changed:
        note = (
            f"{', '.join(ran.changed)} was changed in place, but it belongs to the caller: work on"
            " a copy"
        )
        if found.right:
            lines = [note, "  the numbers are right"]
            return "changed", lines, found._replace(names=("an argument is changed in place",))
        lines.append(note)
    return "right" if found.right else "wrong", lines, found


def _line(ran: sandbox.Ran) -> int:
    """The line of the file in which an exception was raised, 0 without one."""
    lines = re.findall(rf'File "{child.FILE}", line (\d{{1,6}})', ran.text)
    return int(lines[-1]) if lines else 0


def _excuse(exercise: Exercise, ran: sandbox.Ran) -> list[str]:
    """Why there is nothing to compare."""
    name = exercise.function
    if ran.status == "empty":
        return [f"{name} is not written yet: it raises NotImplementedError"]
    if ran.status == "missing":
        return [f"the file defines no function {name}: it has {ran.text or 'no functions at all'}"]
    if ran.status == "timeout":
        return [
            f"{name} was stopped after {ran.text}: a loop that never ends, or work that grows too"
            " fast"
        ]
    if ran.status == "large":
        return [f"{name} returned more than {child.MOST_BYTES >> 20} MB of numbers"]
    if ran.status == "memory":
        return [f"{name} took more memory than {ran.text}"]
    if ran.status == "type":
        number, _, kind = ran.text.partition("|")
        if int(number) < 0:
            missing = ": is the return missing?" if kind == "NoneType" else ""
            return [
                f"{name} returned a {kind}, not numbers{missing}",
                f"  expected {', '.join(exercise.outputs)}",
            ]
        output = exercise.outputs[min(int(number), len(exercise.outputs) - 1)]
        return [f"{output} is a {kind}, not numbers: expected an array or a number"]
    if ran.status == "died":
        return [
            f"the process that ran {name} terminated without output: did it exit, or write without"
            " end?"
        ]
    return ["your code raised:", *(f"  {line}" for line in ran.text.rstrip().splitlines())]
