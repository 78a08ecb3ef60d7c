"""Run somebody else's code in a separate process, with limits of time and memory, behind a wall
where there is one.

Nothing that the process says is trusted: not that an answer is right, not the sizes of its arrays.
What it says is read after it has ended, from a file without a name that this process alone has
given it, up to a limit.  `wall` says what the code can reach.  Without a wall this contains
accidents, and is not a security boundary against malicious code.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array
from scratchnet.errors import InvalidValueError
from scratchnet_course import child, wall
from scratchnet_course import repair as repairing
from scratchnet_course.keys import Case
from scratchnet_course.probe import MOST_TEXT, Place
from scratchnet_course.repair import Found
from scratchnet_course.wall import MEGABYTES, Wall

MOST_REPORT = 1 << 18  # bytes of the line before the numbers
# What a child may say. "right" is not in it: that follows from comparing.
SAID = ("ran", "empty", "raised", "missing", "type", "memory", "large", "passed", "caught")
Numbers = bytes | memoryview
NO_MODULES: Mapping[str, str] = MappingProxyType({})
EXPIRED = (signal.SIGKILL, signal.SIGXCPU) if os.name == "posix" else ()


class Ran(NamedTuple):
    """What came of running a function on some cases."""

    status: str  # one of SAID, timeout, died
    text: str  # the traceback, or what there is to say
    printed: str = ""  # what the code printed
    changed: tuple[str, ...] = ()  # arguments it wrote into
    # of each case: an array, a list of arrays, a dict of them, or None where it raised an exception
    answers: tuple[Any, ...] = ()
    wall: str = "none"


class Watched(NamedTuple):
    """What a function computed on its way: of each case the values, in order, with their places."""

    places: tuple[Place, ...] = ()
    seen: tuple[tuple[tuple[int, Array], ...], ...] = ()
    single: int = -1  # the first place that computes in less than double precision


Repairs = tuple[tuple[Found, ...], ...]
DIED = Ran("died", "the process terminated without output")


def run(
    code: str,
    function: str,
    cases: Sequence[dict[str, Any]],
    seconds: float,
    *,
    cell: str = "",
    behind: Wall | None = None,
    modules: Mapping[str, str] = NO_MODULES,
) -> Ran:
    """Run a function of the code on each case's arguments, in a separate process.

    Parameters
    ----------
    code
        The text of a file that defines ``function``.
    cases
        Arguments, arrays and plain numbers, of each call.
    seconds
        The time limit of all calls together.
    cell
        The text of a cell's file, in place of cases: then ``function(forward, backward)`` is a
        gradient test, and the status is "passed", or "caught" where it raised AssertionError.
    behind
        The wall; the one that there is on this machine if None.
    modules
        The texts of modules that the code may import besides those that are installed.
    """
    behind = wall.find() if behind is None else behind
    task: dict[str, Any] = {"code": code, "function": function, "cell": cell, "watch": False}
    task["modules"] = dict(modules)
    ran = _started(
        task, cases, seconds, behind, lambda report, numbers: _read(report, numbers, cases)
    )
    return (DIED if ran is None else ran)._replace(wall=behind.name)


def watch(
    code: str,
    function: str,
    cases: Sequence[dict[str, Any]],
    seconds: float,
    *,
    behind: Wall | None = None,
    modules: Mapping[str, str] = NO_MODULES,
) -> Watched:
    """Run a function as `run` does, and return every value that it computes on its way."""
    behind = wall.find() if behind is None else behind
    task: dict[str, Any] = {"code": code, "function": function, "cell": "", "watch": True}
    task["modules"] = dict(modules)
    found = _started(
        task, cases, seconds, behind, lambda report, numbers: _read_watched(report, numbers, cases)
    )
    return found if isinstance(found, Watched) else Watched()


def repair(
    code: str,
    function: str,
    cases: Sequence[Case],
    tolerance: float,
    *,
    behind: Wall | None = None,
    modules: Mapping[str, str] = NO_MODULES,
) -> Repairs:
    """Small changes of the code, each of one or of several places, that make the outputs of every
    case right.

    What is right goes to the process in which the code runs: for arguments that are public.
    """
    if not hasattr(signal, "setitimer"):  # on Windows nothing ends a change that loops without end
        return ()
    behind = wall.find() if behind is None else behind
    task: dict[str, Any] = {"code": code, "function": function, "cell": "", "watch": False}
    task |= {"modules": dict(modules), "tolerance": tolerance}
    seconds = 3 * repairing.MOST_SECONDS  # on a machine that does other things, too
    task["steps"] = [[step.name for step in case.steps] for case in cases]
    steps = [
        dict(zip(("moments", "own"), case.reached()))
        | {f"step {k}": step.value for k, step in enumerate(case.steps)}
        for case in cases
    ]
    tables = [*(case.arguments for case in cases), *(case.right for case in cases), *steps]
    found = _started(
        *(task, tables, seconds, behind),
        lambda report, _: _read_repairs(report, len(cases[0].right)),
        count=len(cases),
    )
    return found if isinstance(found, tuple) and not isinstance(found, Ran) else ()


def _read_repairs(report: dict[str, Any], outputs: int) -> Repairs:
    """The changes that the child says it has found; any error for what it cannot have said."""

    def found(place: list[Any]) -> Found:
        line, wrong, old, new, cost, fixes, whole, alone, several, instead = place
        wrong, old, new, whole = (str(text)[:MOST_TEXT] for text in (wrong, old, new, whole))
        fixed = tuple(k for k in range(outputs) if k in fixes)
        more = (fixed, whole, bool(alone), int(several), str(instead)[:MOST_TEXT])
        return Found(int(line), wrong, old, new, int(cost), *more)

    return tuple(tuple(found(place) for place in places) for places in report["repairs"] if places)


def _started(
    task: dict[str, Any],
    tables: Sequence[Mapping[str, Any]],
    seconds: float,
    behind: Wall,
    read: Callable[[dict[str, Any], bytes], Any],
    count: int | None = None,
) -> Any:
    """What ``read(report, numbers)`` makes of what the child says; None for what it cannot have
    said. Of the tables ``count`` are cases, or all."""
    packed = [(list(row), *child.pack([np.asarray(v) for v in row.values()])) for row in tables]
    token = secrets.token_hex(16)
    task |= {
        "token": token,
        "tables": [(names, kinds) for names, kinds, _ in packed],
        "count": len(tables) if count is None else count,
        "seconds": seconds,
        "megabytes": MEGABYTES,
        "walled": bool(behind),
        "packages": [name.removesuffix(".py") for name in wall.packages()],
    }
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as made:
        given.write(json.dumps(task).encode() + b"\n" + b"".join(n for _, _, n in packed))
        given.seek(0)
        ran = _wait(behind, given, made, seconds, f"scratchnet-{token}")
        if ran is not None:
            return ran
        try:
            return read(*_said(made, token))
        except Exception:  # whatever the code has written in place of the child's own words
            return None


def _wait(behind: Wall, given: IO[bytes], made: IO[bytes], seconds: float, name: str) -> Ran | None:
    """Start the child and wait; None where it ended by itself, and has perhaps said something."""
    new_group: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {}
    folder = tempfile.mkdtemp(prefix="course-")
    if behind.name == "account":
        os.chown(folder, child.NOBODY, child.NOBODY)
    process = subprocess.Popen(
        behind.command(name),
        cwd=folder,
        env=behind.environment,
        stdin=given,
        stdout=made,
        stderr=subprocess.DEVNULL,
        **new_group,
    )
    try:  # without a wall the child's own parent ends it, and needs a moment for that
        code = process.wait(timeout=seconds if behind else seconds + 1)
    except subprocess.TimeoutExpired:
        code = -EXPIRED[0] if EXPIRED else 0
    finally:
        if os.name == "posix":  # with all that it has started
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        behind.end(name)
        _remove(folder)
    if code in (*(-signal_ for signal_ in EXPIRED), *(128 + signal_ for signal_ in EXPIRED)):
        return Ran("timeout", f"{seconds:g} seconds")
    return None


def _remove(folder: str) -> None:
    """Remove what the code has left in its folder, however deep."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        with contextlib.suppress(OSError):
            subprocess.run(["rm", "-rf", folder], check=False, stderr=subprocess.DEVNULL)


def _said(made: IO[bytes], token: str) -> tuple[dict[str, Any], bytes]:
    """The report and the numbers after it; ValueError unless they begin with the token."""
    size = os.fstat(made.fileno()).st_size
    if size > len(token) + MOST_REPORT + child.MOST_BYTES:
        raise InvalidValueError(f"the child said {size} bytes")
    made.seek(0)
    if made.readline(len(token) + 1) != f"{token}\n".encode():
        raise InvalidValueError("the child did not say its token")
    return json.loads(made.readline(MOST_REPORT)), made.read()


def _read(report: dict[str, Any], numbers: Numbers, cases: Sequence[dict[str, Any]]) -> Ran:
    """What the child said; any error for what it cannot have said."""
    status, text, printed = report["status"], str(report["text"]), str(report["printed"])
    if status not in SAID or (status == "type" and not re.match(r"-1\||\d{1,4}\|", text)):
        return DIED
    answers: list[Any] = []
    for how, kinds in report["answers"] if status in ("ran", "raised") else ():
        parts, numbers = child.unpack(kinds, numbers)
        if how == "raised":
            answers.append(None)
        elif how == "one":
            answers += parts
        else:
            answers.append(parts if how == "list" else dict(zip(map(str, how), parts)))
    if len(answers) != len(cases):
        if status == "ran":
            return DIED
        answers = []  # the file itself raised
    changed = tuple(name for name in (cases[0] if cases else ()) if name in report["changed"])
    return Ran(
        status, text[: child.MOST_TEXT], printed[: child.MOST_TEXT + 100], changed, tuple(answers)
    )


def _read_watched(
    report: dict[str, Any], numbers: Numbers, cases: Sequence[dict[str, Any]]
) -> Watched:
    """What the probes saw; any error for what they cannot have seen."""
    places = tuple(
        Place(
            *(int(line), str(text)[:MOST_TEXT], str(target)[:MOST_TEXT], bool(operand), int(called))
        )
        for line, text, target, operand, called in report["places"]
    )
    seen = []
    for which, shapes in report["seen"]:
        arrays, numbers = child.unpack([("<f8", shape) for shape in shapes], numbers)
        if not all(0 <= k < len(places) for k in which) or len(which) != len(arrays):
            return Watched()
        seen.append(tuple(zip(which, arrays)))
    single = int(report["single"])
    return Watched(places, tuple(seen), single if single < len(places) else -1)
