"""Which exercise each file is for: by its name, by its folders, or by what is in it.

    06/ex1.py  lesson6_Ex1.py  06/ex1 (2).py    the name says it
    ex1.py, in no lesson's folder               its function does, or "# exercise 06/ex1" in it
    homework.py, a notebook                     all exercises whose functions it has
    bptt_ada.csv, lstm_bug_ada.txt              what is in it; see `handins`

What is not graded is listed with the reason: no file is lost without a word.
"""

import ast
import contextlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from scratchnet_course import notebooks
from scratchnet_course.exercises import EXERCISES
from scratchnet_course.sources import Program, beside, source_of

from scratchnet.errors import InvalidValueError, ScratchnetError
from scratchnet_instructor import handins
from scratchnet_instructor.uploads import LeftOut, Upload, Uploads, uploads

# "06_ex1", "lesson 6 exercise 1 final", "Ex1", "ex1 (2)", "ex01-3": what platforms append goes
NUMBER = re.compile(
    r"(?:|.*?(?:^|\D)(?P<lesson>\d{1,2})[\W_]*|.*[^a-z])(?:ex|exercise|aufgabe|task)[\W_]*"
    r"0*(?P<number>[1-9]\d?)(?:\D.*)?",
    re.I | re.S,
)
LESSON = re.compile(r"[^\d]{0,12}(?P<lesson>\d{1,2})(?!\d).*", re.S)
MARK = re.compile(r"^# exercise (?P<lesson>\d\d)/ex\d+\s*$", re.M)


class Handed(NamedTuple):
    """One student's answer to one exercise."""

    exercise: str
    path: Path
    name: str  # what the student called the file
    when: datetime | None = None
    late: bool = False
    twice: str = ""  # two different files: their names, and none counts

    def text(self) -> tuple[Program, dict[str, str]]:
        """The answer, and the modules beside it that it imports.

        Raises
        ------
        ValueError
            If the file cannot be read as what its name says.
        """
        known = EXERCISES.get(self.exercise)
        program = notebooks.program_of(self.path, known.function if known else "")
        return program, beside(self.path, program.code)


class Collected(NamedTuple):
    """What a class handed in."""

    layout: str
    handed: dict[str, dict[str, Handed]]  # student -> exercise; who handed in nothing is there, too
    left_out: list[LeftOut]
    returns: dict[str, str]  # see Uploads


def collect(given: Path, only: Sequence[str] = (), unpacked: Path | None = None) -> Collected:
    """Return who handed in what, of a folder or an archive.

    Parameters
    ----------
    given
        As learning platforms export it, or a folder for each student; see `uploads`.
    only
        The lessons or exercises that were to be handed in; all if empty.
    unpacked
        Where archives are unpacked; beside ``given`` if None.

    Raises
    ------
    FileNotFoundError
        If ``given`` does not exist.
    ValueError
        If it holds no submissions, or is an archive that cannot be read.
    """
    if unpacked is None:
        unpacked = given.with_name(given.name + "-unpacked")
    collected = by_exercise(uploads(given, unpacked), only)
    if not collected.handed:
        raise InvalidValueError(
            f"{given} holds no submissions: expected STUDENT/06/ex1.py or STUDENT_06_ex1.py, or"
            " what Gradescope, Canvas, Moodle or nbgrader export"
        )
    return collected


def by_exercise(found: Uploads, only: Sequence[str] = ()) -> Collected:
    """Return which file answers which exercise; see `collect`."""
    lessons = {EXERCISES[e].lesson if e in EXERCISES else e for e in only}
    kept: dict[str, dict[str, list[Handed]]] = {student: {} for student in found.students}
    left_out = list(found.left_out)
    for upload in found.files:
        names, why = exercises_of(upload, lessons)
        if not names:
            left_out.append(LeftOut(upload.student, "/".join(upload.name), why))
        for name in names:
            one = Handed(name, upload.path, "/".join(upload.name), upload.when, upload.late)
            kept[upload.student].setdefault(name, []).append(one)
    handed = {s: {e: _one(own) for e, own in files.items()} for s, files in kept.items()}
    return Collected(found.layout, handed, left_out, found.returns)


def exercises_of(upload: Upload, lessons: set[str]) -> tuple[list[str], str]:
    """Return the exercises that a file answers, or none and the reason."""
    file = upload.name[-1] if upload.name else upload.path.name
    stem, suffix = Path(file).stem, Path(file).suffix.lower()
    others: list[str] = []
    if suffix in (".py", ".csv", ".txt"):
        with contextlib.suppress(OSError, ScratchnetError):
            others = handins.which(file, source_of(upload.path))
    if suffix not in (".py", ".ipynb"):
        return others, handins.instead(file)
    names, why = _exercises(upload, stem, suffix, lessons)
    return [*others, *names], why


def _exercises(upload: Upload, stem: str, suffix: str, lessons: set[str]) -> tuple[list[str], str]:
    """The exercises that a Python file or a notebook answers, or none and the reason."""
    try:
        text = source_of(upload.path) if suffix == ".py" else _joined(upload.path)
        why = "it defines no function of an exercise"
    except (OSError, ScratchnetError) as error:
        text, why = "", str(error)
    inside = notebooks.answered(text)
    if suffix == ".ipynb":
        return inside, why
    number, lesson = _said(upload.name[:-1], stem)
    if not number:
        return inside, why
    # A lesson's number can be a date's or a group's: what is in the file decides.
    guess = lesson or (next(iter(lessons)) if len(lessons) == 1 else _marked(text))
    named, same = f"{guess}/ex{number}", [e for e in inside if e.endswith(f"/ex{number}")]
    if named in EXERCISES and (named in inside or not (same or (inside and not lesson))):
        return [named], ""  # also where the function is missing: the checker says so
    return same or inside, f"there is no exercise {named}" if guess else why


def _joined(path: Path) -> str:
    return "\n".join(notebooks.code_cells(path))


def _marked(text: str) -> str:
    """The lesson that the first line of a stub names."""
    found = MARK.search(text)
    return found["lesson"] if found else ""


def _said(folders: Sequence[str], stem: str) -> tuple[str, str]:
    """The exercise's number and the lesson, as far as a file's name and its folders say them."""
    found = NUMBER.fullmatch(stem)
    number = found["number"] if found else ""
    lesson = found["lesson"] if found and found["lesson"] else ""
    for folder in () if lesson else reversed(folders):
        of_folder = LESSON.fullmatch(folder)
        if of_folder and any(e.lesson == of_folder["lesson"].zfill(2) for e in EXERCISES.values()):
            lesson = of_folder["lesson"]
            break
    return number, lesson.zfill(2) if lesson else ""


def _one(files: Sequence[Handed]) -> Handed:
    """The file that counts: of several, the one that is written; none if they differ."""
    if len(files) == 1:
        return files[0]
    written = {file: text for file, text in _texts(files) if not _is_stub(text, file.exercise)}
    if len(set(written.values())) <= 1:
        return next(iter(written), files[0])
    return files[0]._replace(twice=" and ".join(file.name for file in written))


def _texts(files: Iterable[Handed]) -> Iterable[tuple[Handed, str]]:
    for file in files:
        try:
            yield file, file.text()[0].code
        except (OSError, ScratchnetError) as error:
            yield file, str(error)


def _is_stub(text: str, exercise: str) -> bool:
    """Whether the exercise's function does nothing but say that it is not written."""
    if exercise not in EXERCISES:
        return False
    name = EXERCISES[exercise].function
    try:
        functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    own = [node for node in functions if node.name == name]
    return bool(own) and "NotImplementedError" in ast.unparse(own[-1].body[-1])
