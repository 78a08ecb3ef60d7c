"""Check one answer: run it in a separate process on new arguments, compare, say what is wrong."""

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scratchnet.errors import InvalidTypeError
from scratchnet_course import changes, child, keys, sandbox
from scratchnet_course.diagnose import Diagnosis, Repair, Watch, diagnose
from scratchnet_course.exercise import Exercise
from scratchnet_course.exercises import find
from scratchnet_course.keys import Key
from scratchnet_course.notebooks import program_of
from scratchnet_course.plain import plain
from scratchnet_course.sources import Program, beside, with_names
from scratchnet_course.wall import Wall

MOST_LINES, MOST_LINE = 300, 5000  # of what is said of an answer, and characters of each


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

    def _repr_markdown_(self) -> str:
        """What a notebook shows: the points, what is wrong, and the rest as text."""
        mark = "right" if self.right else "not yet"
        head = f"**{self.exercise}: {mark}, {self.points:g} of {self.most} points**"
        text = "\n".join(self.lines).replace("~~~~", "~ ~ ~")
        return f"{head}\n\n~~~~text\n{text}\n~~~~\n"


def check(
    name: str, answer: str | Path | Callable[..., Any] | None = None, seed: int | None = None
) -> Verdict:
    """Check an answer to an exercise.

    Parameters
    ----------
    name
        The exercise's id, "06/ex2".
    answer
        A file or a notebook, or in a notebook the function itself; the file "06/ex2.py" if None.
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
            program = with_names(answer)
        except (OSError, TypeError):
            raise InvalidTypeError(
                f"the source of {answer!r} cannot be found: save it in a file and check that"
            ) from None
        return in_cells(check_code(exercise, program.code, seed), program)
    path = Path(answer) if answer is not None else Path(f"{exercise.id}.py")
    program = program_of(path, exercise.function)
    modules = beside(path, program.code)
    return in_cells(check_code(exercise, program.code, seed, str(path), modules=modules), program)


def check_code(
    exercise: Exercise,
    code: str,
    seed: int | None = None,
    file: str = "",
    behind: Wall | None = None,
    key: Key | None = None,
    modules: Mapping[str, str] = sandbox.NO_MODULES,
) -> Verdict:
    """Check the text of a file, with the modules beside it, behind a wall, or the machine's own if
    None, by a key, or that of the seed; see `check`."""
    started = time.perf_counter()
    key = keys.of(exercise, seed) if key is None else key
    cases = [case.arguments for row in key.cases for case in row]
    function, seconds = exercise.function, exercise.seconds
    ran = sandbox.run(code, function, cases, seconds, behind=behind, modules=modules)

    def watch(some: Sequence[dict[str, Any]]) -> sandbox.Watched:
        return sandbox.watch(code, function, some, seconds, behind=behind, modules=modules)

    def repair() -> sandbox.Repairs:
        """By the key that everybody has: what is right in it is no secret."""
        known = [case for row in keys.of(exercise).cases for case in row]
        some = (code, function, known, exercise.tolerance)
        return sandbox.repair(*some, behind=behind, modules=modules)

    status, lines, found = _judged(exercise, key, ran, watch, repair)
    if ran.printed:
        lines += [
            "",
            "your code printed:",
            *(f"  {line}" for line in ran.printed.rstrip().splitlines()),
        ]
    points = exercise.points * _share(exercise, status, found)
    digest = hashlib.sha256(code.encode(errors="surrogatepass")).hexdigest()
    said = tuple(plain(line, MOST_LINE) for line in lines[:MOST_LINES])
    took = round(time.perf_counter() - started, 2)
    head = Verdict(
        *(exercise.id, status, round(points, 2), exercise.points, key.seeds[0], said, found.names)
    )
    return head._replace(
        file=file,
        sha256=digest,
        wall=ran.wall,
        case=found.case,
        wrong=found.wrong,
        at=found.at,
        line=found.line,
        found=found.found,
        seconds=took,
    )


def in_cells(result: Verdict, program: Program) -> Verdict:
    """A verdict on a program that was put together, with the lines of the cells."""
    number = re.match(r"line (\d+)", program.line(result.line))
    return result._replace(
        lines=tuple(map(program.said, result.lines)),
        names=tuple(map(program.said, result.names)),
        found=tuple(map(program.said, result.found)),
        line=int(number[1]) if number else 0,
    )


NOTHING = Diagnosis(False, (), ())


def _share(exercise: Exercise, status: str, found: Diagnosis) -> float:
    """The share of the points: that of the outputs that are right in every case."""
    if status == "wrong" and found.wrong:
        return 1 - len(found.wrong) / len(exercise.outputs)
    return float(status == "right")


def _judged(
    exercise: Exercise, key: Key, ran: sandbox.Ran, watch: Watch, repair: Repair
) -> tuple[str, list[str], Diagnosis]:
    """The status, what to read, and what was found."""
    if ran.status == "raised" and any(answer is not None for answer in ran.answers):
        found = diagnose(exercise, key, ran.answers, watch, repair)
        lines = [*found.lines, *_excuse(exercise, ran, key)]
        return "raised", lines, found if found.names else found._replace(line=_line(ran))
    if ran.status == "raised":
        said = changes.said(exercise, repair())
        lines = [*_excuse(exercise, ran, key), *said.lines]
        line = said.line if said.names else _line(ran)
        return "raised", lines, NOTHING._replace(names=said.names, found=said.found, line=line)
    if ran.status != "ran":
        return ran.status, _excuse(exercise, ran, key), NOTHING._replace(line=_line(ran))
    found = diagnose(exercise, key, ran.answers, watch, repair)
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


def _excuse(exercise: Exercise, ran: sandbox.Ran, key: Key) -> list[str]:
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
    shown = ["your code raised:", *(f"  {line}" for line in ran.text.rstrip().splitlines())]
    if re.search(rf"{name}\(\) (got an unexpected keyword|missing \d+ required)", ran.text):
        names = ", ".join(key.cases[0][0].arguments)
        shown.append(f"keep the names of the stub: {name}({names})")
    return shown
