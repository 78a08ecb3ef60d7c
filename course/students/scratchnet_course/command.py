"""``scratchnet course``: list, start, check, watch, show, hint, bug, test, worksheet.

Another distribution adds commands by an entry point of the group "scratchnet.course", as the
instructor's does: a function of one argument, the course's ``Commands``.
"""

import argparse
import json
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np

from scratchnet.errors import InvalidValueError
from scratchnet_course import keys, lessons, notebooks, packs, progress, watching, worksheet
from scratchnet_course.checking import Verdict, check
from scratchnet_course.exercises import EXERCISES, find
from scratchnet_course.sources import source_of

Commands = argparse._SubParsersAction  # what add_subparsers returns; argparse has no public name
INSTRUCTOR = (
    "solutions and grading come with the instructor's distribution: pip install"
    " './course/instructors', in the project's folder"
)
ELSEWHERE = (
    "solution",
    "grade",
    "package",
)  # commands that answer with this sentence where it is missing


def add(commands: Commands) -> None:
    """Add ``course`` and its commands; entry point of the group "scratchnet.commands"."""
    course = commands.add_parser(
        "course", help="lessons, exercises with a checker, bug hunts, worksheets", epilog=INSTRUCTOR
    )
    course.set_defaults(run=run_progress)
    inner = course.add_subparsers(metavar="COMMAND")

    add_command(inner, "list", "the lessons and their exercises", run_list)
    start = add_command(inner, "start", "copy a lesson and its exercises into a folder", run_start)
    start.add_argument("lesson", help="its number, 06")
    start.add_argument("--out", type=Path, default=Path(), help="where to (default: here)")
    checked = add_command(
        inner,
        "check",
        "check an exercise: what is wrong, where it begins, and what it is called",
        run_check,
    )
    checked.add_argument(
        "file",
        nargs="+",
        help="06/ex2.py or a notebook; several, or a lesson's number for all of it",
    )
    checked.add_argument(
        "--seed", type=int, help="of the arguments (needs the instructor's distribution)"
    )
    checked.add_argument(
        "--exercise", help="06/ex2: the one that the files are for (default: by their names)"
    )
    checked.add_argument(
        "--json", action="store_true", help="one line of JSON for each file, for other programs"
    )
    shown = add_command(inner, "show", "the arguments of a check, to compute by hand", run_show)
    shown.add_argument("exercise", help="06/ex2")
    shown.add_argument("--case", type=int, default=1, help="which one, from 1 (default: 1)")
    shown.add_argument("--answer", action="store_true", help="also what is right")
    watched = add_command(inner, "watch", "check a file each time it is saved", run_watch)
    watched.add_argument("file", help="06/ex2.py; Ctrl-C ends it")
    hint = add_command(inner, "hint", "a hint for an exercise, each time a little more", run_hint)
    hint.add_argument("exercise", help="06/ex2")
    hint.add_argument("--number", type=int, help="which one, from 1 (default: one more)")
    bug = add_command(
        inner,
        "bug",
        "a cell with one realistic bug, another for each student; --line and --reason to answer",
        run_bug,
    )
    bug.add_argument("cell", help="lstm, gru, rnn, ...")
    which = bug.add_mutually_exclusive_group(required=True)
    which.add_argument("--student", help="your id: the bug is chosen by it")
    which.add_argument("--number", type=int, help="which of the cell's bugs, from 1")
    bug.add_argument("--line", type=int, help="the answer: the line of the bug")
    bug.add_argument("--reason", help="the answer: A, B, C, ...")
    bug.add_argument(
        "--out", type=Path, default=Path(), help="where to write the file (default: here)"
    )
    test = add_command(inner, "test", "how many planted bugs your gradient test catches", run_test)
    test.add_argument(
        "file", type=Path, help="a file that defines gradient_test(forward, backward)"
    )
    test.add_argument("--cell", default="lstm", help="whose bugs (default: lstm)")
    sheet = add_command(
        inner, "worksheet", "a sheet to work by hand, with numbers of your own", run_worksheet
    )
    sheet.add_argument("kind", help="bptt or lstm")
    sheet.add_argument("--student", required=True, help="your id: the numbers are made from it")
    sheet.add_argument(
        "--out", type=Path, default=Path(), help="where to write the page (default: here)"
    )
    for plugin in sorted(entry_points(group="scratchnet.course"), key=lambda plugin: plugin.name):
        plugin.load()(inner)
    for name in sorted({*ELSEWHERE} - inner.choices.keys()):
        missing = inner.add_parser(name, description=INSTRUCTOR)
        missing.add_argument("arguments", nargs=argparse.REMAINDER)
        missing.set_defaults(run=run_elsewhere)


def add_command(
    commands: Commands, name: str, about: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Add one command of ``scratchnet course``; returns its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(run=run)
    return parser


def material() -> Path:
    """The folder of the student's files; in a checkout built from the lessons first."""
    return lessons.built(Path(__file__).parent, "material", lessons.student_files)


def numbers() -> list[str]:
    """The lessons there are."""
    places = (material(), *packs.folders())
    return sorted(
        {path.name for place in places for path in place.iterdir() if path.name.isdigit()}
    )


def folder_of(number: str) -> Path:
    """The folder of a lesson's files."""
    return packs.place_of(material(), number)


def lesson_of(text: str) -> str:
    """A lesson's number as it is written: "6" is "06". ValueError, with those there are, for
    another."""
    number = text.removesuffix(".py").split("/")[0].zfill(2)
    if number not in numbers():
        raise InvalidValueError(f"there is no lesson {text!r}: there are {', '.join(numbers())}")
    return number


def run_list(chosen: argparse.Namespace) -> int:
    """``course list``."""
    for number in numbers():
        print(f"{number}  {_title(number)}")
        for exercise in EXERCISES.values():
            if exercise.lesson == number:
                print(f"    {exercise.id}  {exercise.title}")
    return 0


def _title(number: str) -> str:
    """A lesson's title, without its number."""
    (script,) = folder_of(number).glob(f"{number}_*.py")
    lines = script.read_text(encoding="utf-8").splitlines()
    return next(line[4:] for line in lines if line.startswith("# # ")).removeprefix(number).strip()


def run_start(chosen: argparse.Namespace) -> int:
    """``course start``: never overwrites what a student has written."""
    number = lesson_of(chosen.lesson)
    folder = chosen.out / number
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(folder_of(number).iterdir()):
        if not source.is_file():
            continue  # __pycache__, which installing adds
        path = folder / source.name
        if path.exists():
            print(f"{path} is there already and stays as it is")
            continue
        path.write_bytes(source.read_bytes())
        print(path)
    return 0


def run_check(chosen: argparse.Namespace) -> int:
    """``course check``: 1 unless all are right."""
    if chosen.exercise is None:
        files = [pair for name in chosen.file for pair in _files(name)]
    else:
        files = [(find(chosen.exercise).id, path) for path in chosen.file]
    right = True
    for number, (exercise, file) in enumerate(files):
        result = check(exercise, file, chosen.seed)
        right = right and result.right
        if chosen.json:
            print(as_json(result), flush=True)
        else:
            print(("\n" if number else "") + str(result))
            progress.Progress(progress.folder_of(file)).checked(result)
    return 0 if right else 1


def run_progress(chosen: argparse.Namespace) -> int:
    """``course`` alone: what is done, what was tried, and what comes next."""
    print(progress.Progress(progress.folder_of()).table({n: _title(n) for n in numbers()}))
    print("\nscratchnet course --help lists the commands")
    return 0


def run_watch(chosen: argparse.Namespace) -> int:
    """``course watch``: until Ctrl-C."""
    exercise, path = _exercise_of(chosen.file), Path(chosen.file)
    source_of(path)  # a file that is not there is said at once
    try:
        for _ in watching.saves(path):
            result = check(exercise, path)
            print(f"{watching.CLEAR}{result}\n\nsave {path.name} to check it again; Ctrl-C ends")
            progress.Progress(progress.folder_of(path)).checked(result)
    except KeyboardInterrupt:
        print()
    return 0


def as_json(result: Verdict) -> str:
    """A verdict as a line of JSON."""
    return json.dumps(
        {
            "file": result.file,
            "exercise": result.exercise,
            "verdict": result.status,
            "points": result.points,
            "names": result.names,  # with certainty
            "found": result.found,  # in one output or line
            "case": result.case,
            "outputs": result.wrong,
            "step": result.at,
            "line": result.line,
            "seconds": result.seconds,
            "seed": result.seed,
            "text": str(result),
        }
    )


def run_show(chosen: argparse.Namespace) -> int:
    """``course show``: a case's arguments as Python."""
    exercise = find(chosen.exercise)
    cases = keys.of(exercise).cases[0]
    if not 1 <= chosen.case <= len(cases):
        raise InvalidValueError(
            f"--case is {chosen.case}, but {exercise.id} has the cases 1 to {len(cases)}"
        )
    case = cases[chosen.case - 1]
    print(
        f"# {exercise.id}, case {chosen.case} of {len(cases)}, from the simplest to the general\n"
    )
    print("from numpy import array\n")
    with np.printoptions(precision=8, threshold=10_000, linewidth=100):
        for name, value in case.arguments.items():
            print(f"{name} = {value!r}" + (f"  # {value.shape}" if np.ndim(value) else ""))
        if chosen.answer:
            print("\n# right:")
            for name, value in case.right.items():
                print(f"{name} = {value!r}" if np.ndim(value) else f"{name} = {value.item()!r}")
    return 0


def _exercise_of(file: str) -> str:
    """The exercise that a file is for, by its name and its folder's; of a bare ex1.py the folder is
    where we are."""
    path = Path(file)
    return file if len(path.parts) > 1 else str(Path.cwd().name + "/" + path.name)


def _files(name: str) -> list[tuple[str, str]]:
    """An exercise and its file, those that a notebook answers, or those of a lesson that are
    here."""
    if name.endswith(".ipynb"):
        text = "\n".join(notebooks.code_cells(Path(name)))
        found = [(exercise, name) for exercise in notebooks.answered(text)]
        if not found:
            raise InvalidValueError(f"{name} defines no function of an exercise")
        return found
    if not name.strip("/").isdigit():
        path = name if name.endswith(".py") else f"{name}.py"
        return [(_exercise_of(path), path)]
    number = lesson_of(name.strip("/"))
    here = [
        (e.id, f"{e.id}.py")
        for e in EXERCISES.values()
        if e.lesson == number and Path(f"{e.id}.py").exists()
    ]
    if not here:
        raise InvalidValueError(
            f"there is no file of lesson {number} here: scratchnet course start {number}"
        )
    return here


def run_hint(chosen: argparse.Namespace) -> int:
    """``course hint``."""
    exercise = find(chosen.exercise)
    hints, kept = exercise.hints, progress.Progress(progress.folder_of())
    if chosen.number is not None:
        if not 1 <= chosen.number <= len(hints):
            raise InvalidValueError(
                f"--number is {chosen.number} but {exercise.id} has {len(hints)} hints"
            )
        print(hints[chosen.number - 1])
        return 0
    shown = min(kept.of(exercise.id).hints + 1, len(hints))
    kept.hinted(exercise.id, shown)
    for number, hint in enumerate(hints[:shown], start=1):
        print(f"{number}. {hint}")
    print(f"\nlesson {exercise.lesson}: {exercise.paragraph}")
    more = len(hints) - shown
    print(f"{more} more: ask again" if more else "there are no more hints")
    return 0


def run_elsewhere(chosen: argparse.Namespace) -> int:
    """A command of the instructor's distribution, where it is not installed."""
    raise InvalidValueError(INSTRUCTOR)


def run_bug(chosen: argparse.Namespace) -> int:
    """``course bug``: writes the file, or checks the answer; 1 where that is wrong."""
    from scratchnet_course import hunt

    if chosen.number is None:
        found, who = hunt.hunt(chosen.cell, chosen.student), f"--student {chosen.student}"
    else:
        known = hunt.of_cell(chosen.cell)
        if not 1 <= chosen.number <= len(known):
            raise InvalidValueError(
                f"--number is {chosen.number}, but {chosen.cell} has {len(known)} bugs"
            )
        found, who = known[chosen.number - 1], f"--number {chosen.number}"
    if (chosen.line is None) != (chosen.reason is None):
        raise InvalidValueError("an answer is both: --line N and --reason LETTER")
    if chosen.line is not None:
        right, said = hunt.judge(found, chosen.line, chosen.reason)
        print(said)
        if chosen.student:
            chosen.out.mkdir(parents=True, exist_ok=True)
            kept = chosen.out / f"{chosen.cell}_bug_{safe(chosen.student)}.txt"
            answer = hunt.handed_in(found, chosen.student, chosen.line, chosen.reason)
            kept.write_text(answer, encoding="utf-8")
            print(f"your answer is in {kept}, to hand it in")
        return 0 if right else 1
    path = chosen.out / f"{chosen.cell}_bug_{safe(chosen.student or str(chosen.number))}.py"
    chosen.out.mkdir(parents=True, exist_ok=True)
    path.write_text(found.code, encoding="utf-8")
    print(f"{path} has one bug in its backward pass. Find the line, and say what is wrong:\n")
    for number, reason in enumerate(found.reasons):
        print(f"  {hunt.letter(number)}  {reason}")
    look = f"from {path.stem} import backward; check_cell({chosen.cell}, backward=backward)"
    print(f"\nTo look, with check_cell of scratchnet.gradcheck: {look}")
    print(f"To answer: scratchnet course bug {chosen.cell} {who} --line N --reason LETTER")
    return 0


def run_test(chosen: argparse.Namespace) -> int:
    """``course test``: 1 unless every planted bug is caught."""
    from scratchnet_course.testing import grade_test

    caught = grade_test(chosen.file.read_text(encoding="utf-8"), chosen.cell)
    print(caught)
    return 0 if caught.share == 1 else 1


def run_worksheet(chosen: argparse.Namespace) -> int:
    """``course worksheet``."""
    made = worksheet.sheet(chosen.kind, chosen.student)
    save_page(chosen.out, made, worksheet.page(made))
    return 0


def save_page(out: Path, made: worksheet.Sheet, page: str, solution: bool = False) -> None:
    """Write a worksheet's page into a folder, under the student's id, and say where."""
    name = f"{made.kind}_{safe(made.student)}{'_solution' if solution else ''}.html"
    out.mkdir(parents=True, exist_ok=True)
    (out / name).write_text(page, encoding="utf-8")
    print(f"{out / name}: open it in a browser, and print it from there")
    if not solution:
        form = (out / name).with_suffix(".csv")
        form.write_text(worksheet.form(made), encoding="utf-8", newline="")
        print(f"{form}: to hand the numbers in, fill it in with a spreadsheet")


def safe(student: str) -> str:
    """A student's id as part of a file name."""
    return "".join(c if c.isalnum() else "_" for c in student)
