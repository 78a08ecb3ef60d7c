"""``scratchnet course list | start | check | hint | solution | bug | test | worksheet | grade``."""

import argparse
import shutil
from collections.abc import Callable
from importlib import import_module, resources
from pathlib import Path
from typing import Any

from scratchnet_course import check
from scratchnet_course.exercises import EXERCISES, find

INSTRUCTOR = (
    "solutions come with the instructor's package: pip install ./instructor, in the project's"
    " folder"
)


def add(commands: Any) -> None:
    """Add the command and its own commands to an argument parser."""
    course = commands.add_parser(
        "course", help="lessons, exercises with a checker, bug hunts, worksheets, grading"
    )
    inner = course.add_subparsers(required=True, metavar="COMMAND")

    def make(
        name: str, about: str, run: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = inner.add_parser(name, help=about, description=about)
        parser.set_defaults(run=run)
        return parser

    make("list", "the lessons and their exercises", run_list)
    start = make("start", "copy a lesson and its exercises into this folder", run_start)
    start.add_argument("lesson", help="its number, 06")
    start.add_argument("--out", type=Path, default=Path(), help="where to (default: here)")
    checked = make(
        "check",
        "check an exercise: what is wrong, where it begins, and what it is called",
        run_check,
    )
    checked.add_argument(
        "file", nargs="+", help="06/ex2.py; several, or a lesson's number for all of it"
    )
    checked.add_argument("--seed", type=int, help="of the arguments (default: another each time)")
    hint = make("hint", "a hint for an exercise, each time a little more", run_hint)
    hint.add_argument("exercise", help="06/ex2")
    hint.add_argument("--number", type=int, help="which one, from 1 (default: all but the last)")
    solution = make(
        "solution",
        "the solution of an exercise, where the instructor's package is installed",
        run_solution,
    )
    solution.add_argument("exercise", help="06/ex2")
    bug = make(
        "bug",
        "a cell with one realistic bug, another for each student; --line and --reason to answer",
        run_bug,
    )
    bug.add_argument("cell", help="lstm, gru, rnn, ...")
    bug.add_argument("--student", required=True, help="your id: the bug is chosen by it")
    bug.add_argument("--line", type=int, help="the answer: the line of the bug")
    bug.add_argument("--reason", help="the answer: A, B, C, ...")
    bug.add_argument(
        "--out", type=Path, default=Path(), help="where to write the file (default: here)"
    )
    test = make("test", "how many planted bugs your gradient test catches", run_test)
    test.add_argument(
        "file", type=Path, help="a file that defines gradient_test(forward, backward)"
    )
    test.add_argument("--cell", default="lstm", help="whose bugs (default: lstm)")
    sheet = make(
        "worksheet", "a sheet to be worked by hand, with numbers of your own", run_worksheet
    )
    sheet.add_argument("kind", help="bptt or lstm")
    sheet.add_argument("--student", required=True, help="your id: the numbers are made from it")
    sheet.add_argument(
        "--solution", action="store_true", help="with every number; needs the instructor's package"
    )
    sheet.add_argument(
        "--out", type=Path, default=Path(), help="where to write the page (default: here)"
    )
    graded = make("grade", "grade a folder of submissions", run_grade)
    graded.add_argument(
        "submissions", type=Path, help="SUBMISSIONS/student/06/ex1.py, or student_06_ex1.py"
    )
    graded.add_argument(
        "--out", type=Path, default=Path("report"), help="folder to write into (default: report)"
    )
    graded.add_argument("--only", nargs="+", default=[], help="these lessons or exercises alone")
    graded.add_argument(
        "--seed", type=int, default=0, help="of the arguments, the same for all (default: 0)"
    )
    graded.add_argument("--workers", type=int, default=2, help="submissions at a time (default: 2)")


def material() -> Any:
    """The folder of the student's files inside the package."""
    return resources.files("scratchnet_course").joinpath("material")


def numbers() -> list[str]:
    """The lessons there are."""
    return sorted(
        entry.name for entry in material().iterdir() if entry.is_dir() and entry.name.isdigit()
    )


def lesson_of(text: str) -> str:
    """A lesson's number as it is written: "6" is "06". ValueError, with those there are, for
    another."""
    number = text.removesuffix(".py").split("/")[0].zfill(2)
    if number not in numbers():
        raise ValueError(f"there is no lesson {text!r}: there are {', '.join(numbers())}")
    return number


def run_list(chosen: argparse.Namespace) -> int:
    """``course list``."""
    for number in numbers():
        (script,) = (
            e
            for e in material().joinpath(number).iterdir()
            if e.name.startswith(number) and e.name.endswith(".py")
        )
        title = next(
            line
            for line in script.read_text(encoding="utf-8").splitlines()
            if line.startswith("# # ")
        )
        print(title.removeprefix("# # "))
        for exercise in EXERCISES.values():
            if exercise.lesson == number:
                print(f"    {exercise.id}  {exercise.title}")
    return 0


def run_start(chosen: argparse.Namespace) -> int:
    """``course start``: never overwrites what a student has written."""
    number = lesson_of(chosen.lesson)
    folder = chosen.out / number
    folder.mkdir(parents=True, exist_ok=True)
    for entry in sorted(material().joinpath(number).iterdir(), key=lambda e: str(e.name)):
        if not entry.is_file():
            continue  # what Python itself puts beside the files of an installed package
        path = folder / entry.name
        if path.exists():
            print(f"{path} is there already and stays as it is")
            continue
        with resources.as_file(entry) as source:
            shutil.copyfile(source, path)
        print(path)
    return 0


def run_check(chosen: argparse.Namespace) -> int:
    """``course check``: 1 unless all are right."""
    files = [path for name in chosen.file for path in _files(name)]
    results = [check(_exercise_of(file), file, chosen.seed) for file in files]
    print("\n\n".join(map(str, results)))
    return 0 if all(result.right for result in results) else 1


def _exercise_of(file: str) -> str:
    """The exercise that a file is for, by its name and its folder's; of a bare ex1.py the folder is
    where we are."""
    path = Path(file)
    return file if len(path.parts) > 1 else str(Path.cwd().name + "/" + path.name)


def _files(name: str) -> list[str]:
    """The file itself, or those of a lesson that are here."""
    if not name.strip("/").isdigit():
        return [name if name.endswith(".py") else f"{name}.py"]
    number = lesson_of(name.strip("/"))
    here = [
        f"{e.id}.py"
        for e in EXERCISES.values()
        if e.lesson == number and Path(f"{e.id}.py").exists()
    ]
    if not here:
        raise ValueError(
            f"there is no file of lesson {number} here: scratchnet course start {number}"
        )
    return here


def run_hint(chosen: argparse.Namespace) -> int:
    """``course hint``."""
    exercise = find(chosen.exercise)
    hints = exercise.hints
    if chosen.number is not None:
        if not 1 <= chosen.number <= len(hints):
            raise ValueError(
                f"--number is {chosen.number} but {exercise.id} has {len(hints)} hints"
            )
        print(hints[chosen.number - 1])
        return 0
    for number, hint in enumerate(hints[: max(1, len(hints) - 1)], start=1):
        print(f"{number}. {hint}")
    print(f"\nlesson {exercise.lesson}: {exercise.paragraph}")
    if len(hints) > 1:
        print(f"one more: scratchnet course hint {exercise.id} --number {len(hints)}")
    return 0


def instructor() -> Any:
    """The instructor's package.  ValueError, saying how to get it, where it is not installed."""
    try:
        return import_module("scratchnet_instructor")
    except ImportError:
        raise ValueError(INSTRUCTOR) from None


def run_solution(chosen: argparse.Namespace) -> int:
    """``course solution``."""
    exercise = find(chosen.exercise)
    print(instructor().solution(exercise.id))
    return 0


def run_bug(chosen: argparse.Namespace) -> int:
    """``course bug``: writes the file, or checks the answer; 1 where that is wrong."""
    from scratchnet_course import hunt

    found = hunt.hunt(chosen.cell, chosen.student)
    if (chosen.line is None) != (chosen.reason is None):
        raise ValueError("an answer is both: --line N and --reason LETTER")
    if chosen.line is not None:
        right, said = hunt.judge(found, chosen.line, chosen.reason)
        print(said)
        return 0 if right else 1
    safe = "".join(c if c.isalnum() else "_" for c in chosen.student)
    path = chosen.out / f"{chosen.cell}_bug_{safe}.py"
    chosen.out.mkdir(parents=True, exist_ok=True)
    path.write_text(found.code, encoding="utf-8")
    print(f"{path} has one bug in its backward pass. Find the line, and say what is wrong:\n")
    for number, reason in enumerate(found.reasons):
        print(f"  {hunt.letter(number)}  {reason}")
    look = f"from {path.stem} import backward; check_cell({chosen.cell}, backward=backward)"
    print(f"\nTo look, with check_cell of scratchnet.gradcheck: {look}")
    print(
        f"To answer: scratchnet course bug {chosen.cell} --student {chosen.student} --line N"
        " --reason LETTER"
    )
    return 0


def run_test(chosen: argparse.Namespace) -> int:
    """``course test``: 1 unless every planted bug is caught."""
    from scratchnet_course.testing import grade_test

    caught = grade_test(chosen.file.read_text(encoding="utf-8"), chosen.cell)
    print(caught)
    return 0 if caught.share == 1 else 1


def run_worksheet(chosen: argparse.Namespace) -> int:
    """``course worksheet``."""
    from scratchnet_course import worksheet

    made = worksheet.sheet(chosen.kind, chosen.student)
    if chosen.solution:
        instructor()
    safe = "".join(c if c.isalnum() else "_" for c in chosen.student)
    path = chosen.out / f"{chosen.kind}_{safe}{'_solution' if chosen.solution else ''}.html"
    chosen.out.mkdir(parents=True, exist_ok=True)
    path.write_text(worksheet.page(made, chosen.solution), encoding="utf-8")
    print(f"{path}: open it in a browser, and print it from there")
    return 0


def run_grade(chosen: argparse.Namespace) -> int:
    """``course grade``."""
    from scratchnet_course import grading

    grades = grading.grade(
        chosen.submissions, seed=chosen.seed, only=chosen.only, workers=chosen.workers
    )
    made = grading.write(grades, chosen.out)
    print(grading.table(grades))
    print(f"\n{len(made)} files in {chosen.out}")
    return 0
