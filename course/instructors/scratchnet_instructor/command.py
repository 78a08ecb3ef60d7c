"""The instructor's part of ``scratchnet course``: solution, grade, package, worksheets."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from scratchnet_course import wall, worksheet
from scratchnet_course.command import Commands, add_command, lesson_of, save_page
from scratchnet_course.exercises import EXERCISES, find

from scratchnet.files.writing import replace
from scratchnet_instructor import (
    assigning,
    authoring,
    classroom,
    compiling,
    gradebooks,
    grading,
    handins,
    hunting,
    lateness,
    packages,
    reports,
    solution,
)
from scratchnet_instructor.alike import alike, same_numbers
from scratchnet_instructor.collecting import Collected, collect
from scratchnet_instructor.grading import Grade
from scratchnet_instructor.worked import worked

NO_WALL = (
    "Without a wall a submission can read and change all that you can. Grade only people whom you"
    " trust, or install bubblewrap; course/README.md says more."
)


def add(commands: Commands) -> None:
    """Add the commands to those of ``scratchnet course``; entry point of "scratchnet.course"."""
    shown = add_command(commands, "solution", "the solution of an exercise", run_solution)
    shown.add_argument("exercise", help="06/ex2")
    graded = add_command(commands, "grade", "grade a folder of submissions", run_grade)
    graded.add_argument(
        "submissions",
        type=Path,
        help="what Gradescope, Canvas, Moodle or nbgrader exports, or a folder: STUDENT/06/ex1.py",
    )
    graded.add_argument(
        "--out", type=Path, default=Path("report"), help="folder to write into (default: report)"
    )
    graded.add_argument(
        "--only",
        nargs="+",
        default=[],
        help="these lessons or exercises (default: the lessons of which something was handed in)",
    )
    graded.add_argument(
        "--seed", type=int, help="of the arguments, the same for all (default: a new, secret one)"
    )
    graded.add_argument("--late", type=Path, help="a late policy, late.toml; see course/README.md")
    graded.add_argument(
        "--gradebook", type=Path, help="a table of Canvas, Moodle or your own to fill in"
    )
    graded.add_argument(
        "--assigned", type=Path, help="who works on what: the assigned.csv of course class --pool"
    )
    graded.add_argument("--column", default="", help="of the gradebook (default: the only one)")
    graded.add_argument("--workers", type=int, default=2, help="submissions at a time (default: 2)")
    graded.add_argument(
        "--wall",
        choices=wall.WALLS,
        default="auto",
        help="what each submission runs behind (default: bubblewrap, else account, else none)",
    )
    graded.add_argument(
        "--image", default="", help="of docker and podman: an image with Python and NumPy"
    )
    graded.add_argument(
        "--resume", action="store_true", help="go on where a grader with the same --out was stopped"
    )
    packed = add_command(
        commands,
        "package",
        "an assignment for a learning platform: handout and autograder",
        run_package,
    )
    packed.add_argument("lesson", help="its number, 06")
    packed.add_argument(
        "--for", dest="platform", required=True, choices=packages.PLATFORMS, help="the platform"
    )
    packed.add_argument(
        "--out", type=Path, help="the folder to write into (default: lesson06_PLATFORM)"
    )
    whole = add_command(
        commands,
        "class",
        "worksheets of a whole class in one file, and the key of its hunts",
        run_class,
    )
    whole.add_argument("students", type=Path, help="their ids: one a line, or a CSV's first column")
    whole.add_argument("--out", type=Path, default=Path("class"), help="folder (default: class)")
    whole.add_argument(
        "--pool",
        nargs="+",
        action="append",
        default=[],
        metavar="EXERCISE",
        help="each student works on one of these, 06/ex1 or hunt/lstm; several times for several",
    )
    checked = add_command(commands, "lint", "is a pack of exercises a good one?", run_lint)
    checked.add_argument("pack", type=Path, help="its folder, with files such as 50/ex1.py")
    made = add_command(commands, "pack", "make what students get of a pack", run_pack)
    made.add_argument("pack", type=Path, help="its folder")
    tested = commands.choices["test"]
    tested.add_argument("--names", action="store_true", help="say what the missed bugs are")
    tested.set_defaults(run=run_test)
    sheet = commands.choices["worksheet"]
    sheet.add_argument("--solution", action="store_true", help="with every number filled in")
    sheet.set_defaults(run=run_worksheet)


def run_solution(chosen: argparse.Namespace) -> int:
    """``course solution``."""
    print(solution(find(chosen.exercise).id))
    return 0


def run_worksheet(chosen: argparse.Namespace) -> int:
    """``course worksheet``, with ``--solution`` every number filled in."""
    made = worksheet.sheet(chosen.kind, chosen.student)
    made = worked(made) if chosen.solution else made
    save_page(chosen.out, made, worksheet.page(made), solution=chosen.solution)
    return 0


def run_test(chosen: argparse.Namespace) -> int:
    """``course test``, with ``--names`` what the missed bugs are."""
    from scratchnet_course.testing import grade_test

    caught = grade_test(chosen.file.read_text(encoding="utf-8"), chosen.cell)
    print(caught)
    for number in caught.missed if chosen.names else ():
        lines, _, reason = hunting.answer(chosen.cell, number)
        print(f"  {number}: {reason} (line {lines[0]} of its file)")
    return 0 if caught.share == 1 else 1


def run_lint(chosen: argparse.Namespace) -> int:
    """``course lint``: 1 if there is something to say."""
    said = 0
    taken = {e.id: e.function for e in EXERCISES.values()}
    for path in authoring.sources(chosen.pack):
        name = f"{path.parent.name}/{path.stem}"
        others = {k: v for k, v in taken.items() if k != name or name in compiling.OWN}
        problems = authoring.lint(path, others)
        said += len(problems)
        print(f"{name}  {'; '.join(problems) or 'fine'}")
    return 1 if said else 0


def run_pack(chosen: argparse.Namespace) -> int:
    """``course pack``."""
    made = authoring.compile_pack(chosen.pack)
    print(f"{len(made)} files in {chosen.pack}")
    print(f"students: {chosen.pack / 'compiled'}, as packs/{chosen.pack.name} of their folder")
    print(f"you: SCRATCHNET_PACKS={chosen.pack.resolve()}, and every command sees the exercises")
    return 0


def run_class(chosen: argparse.Namespace) -> int:
    """``course class``."""
    for path in classroom.write(classroom.students(chosen.students), chosen.out, chosen.pool):
        print(path)
    return 0


def run_package(chosen: argparse.Namespace) -> int:
    """``course package``."""
    number = lesson_of(chosen.lesson)
    out = chosen.out or Path(f"lesson{number}_{chosen.platform}")
    made = packages.package(number, chosen.platform, out)
    print(f"{len(made)} files in {out}; {out / 'teacher' / 'README.md'} says how to go on")
    return 0


def run_grade(chosen: argparse.Namespace) -> int:
    """``course grade``."""
    behind, journal = wall.find(chosen.wall, chosen.image), chosen.out / "results.jsonl"
    print(said := f"wall: {behind.name}" + ("" if behind else f" ({behind.why})"))
    if not behind:
        print(NO_WALL)
    policy = None if chosen.late is None else lateness.read(chosen.late)
    assigned = None if chosen.assigned is None else assigning.read(chosen.assigned)
    handed = collect(chosen.submissions, chosen.only, chosen.out / "unpacked")
    print(f"{len(handed.handed)} students, in the layout of {handed.layout}")
    try:
        grades = grading.grade(
            handed,
            seed=chosen.seed,
            only=chosen.only,
            workers=chosen.workers,
            behind=behind,
            journal=journal,
            resume=chosen.resume,
            policy=policy,
            assigned=assigned,
        )
    except KeyboardInterrupt:
        print(f"stopped; the results so far are in {journal}: go on with --resume")
        return 130
    if not chosen.only and assigned is None:
        print(f"graded: {', '.join(_lessons(grades))}; --only grades something else")
    strangers = [s for s in handed.handed if assigned and assigning.of(s, assigned) is None]
    if strangers:
        names = ", ".join(map(reports.name, strangers))
        print(f"not in {chosen.assigned}, graded on all of it: {names}")
    pairs = [*alike(texts(handed, grades)), *same_numbers(made_for(grades))]
    made = reports.write(grades, chosen.out, handed.left_out, pairs)
    made += reports.returns(grades, handed, chosen.out)
    print(reports.table(grades, handed.left_out, pairs))
    if chosen.gradebook:
        made.append(_gradebook(chosen, grades, handed))
    print(f"\n{len(made)} files in {chosen.out}; seed {grades[0].result.seed}, {said}")
    return 0


def _lessons(grades: Sequence[Grade]) -> list[str]:
    """What was graded: lessons, worksheets, ..."""
    names = dict.fromkeys(g.result.exercise for g in grades)
    return list(dict.fromkeys(EXERCISES[n].lesson if n in EXERCISES else n for n in names))


def _gradebook(chosen: argparse.Namespace, grades: Sequence[Grade], handed: Collected) -> Path:
    """Fill the gradebook in, and say who is not in it."""
    said = reports.feedbacks(grades, handed.left_out)
    filled = gradebooks.fill(chosen.gradebook, grades, said, chosen.column)
    path: Path = chosen.out / "gradebook.csv"
    with replace(path) as file:
        file.write(filled.text.encode())
    print(f"\n{path}: the points of {filled.students} students")
    if filled.missing:
        print(f"not in {chosen.gradebook}: {', '.join(map(reports.name, filled.missing))}")
    return path


def texts(handed: Collected, grades: Sequence[Grade]) -> dict[tuple[str, str], str]:
    """The answers that somebody has written, by student and exercise."""
    return {
        (g.student, g.result.exercise): handed.handed[g.student][g.result.exercise].text()[0].code
        for g in grades
        if g.result.exercise in EXERCISES
        and g.result.sha256
        and g.result.status not in ("empty", "missing")
    }


def made_for(grades: Sequence[Grade]) -> list[tuple[str, str, str]]:
    """The worksheets and hunts that were handed in: student, exercise, and for whom it was made."""
    return [
        (g.student, g.result.exercise, said)
        for g in grades
        for said in g.result.lines[:1]
        if g.result.exercise in handins.HANDINS and said.startswith(handins.MADE_FOR)
    ]
