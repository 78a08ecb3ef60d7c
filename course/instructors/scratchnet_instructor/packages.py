"""A lesson as an assignment: what students get and what grades it, for one platform.

handout/      the lesson, its exercises, the wheels to install, and how to hand in
teacher/      solutions, a late policy to fill in, and the commands for this platform
autograder.zip, source/, tests/                   for Gradescope, nbgrader and Otter
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scratchnet_course.command import folder_of, lesson_of
from scratchnet_course.exercise import Exercise
from scratchnet_course.exercises import EXERCISES
from scratchnet_course.lessons import EXERCISE

from scratchnet.arrays import require_one_of
from scratchnet_instructor import folders, solutions_of
from scratchnet_instructor.wheels import archive, wheels

PLATFORMS = ("gradescope", "canvas", "moodle", "nbgrader", "otter", "folder")
HERE = Path(__file__).parent / "platforms"  # texts; {lesson} and the like are filled in

Notebook = dict[str, Any]


def package(lesson: str, platform: str, out: Path) -> list[Path]:
    """Write an assignment of one lesson; returns the paths of its files.

    Parameters
    ----------
    lesson
        Its number, "06".
    platform
        One of `PLATFORMS`.
    out
        The folder to write into, which is made.

    Raises
    ------
    ValueError
        If there is no such lesson or platform.
    """
    require_one_of("platform", platform, PLATFORMS)
    number = lesson_of(lesson)
    exercises = [e for e in EXERCISES.values() if e.lesson == number]
    words = {
        "lesson": number,
        "functions": "\n".join(f"- `{e.id[3:]}.py`: `{e.function}`, {e.title}" for e in exercises),
        "points": str(sum(e.points for e in exercises)),
    }
    given = {path.name: path.read_bytes() for path in folder_of(number).glob("*.*")}
    solved = {path.name: path.read_bytes() for path in solutions_of(number).glob("*.py")}
    made = [
        *folders.write(out / "handout", given | {"README.md": _text("handout.md", words)}),
        *wheels(out / "handout" / "wheels", instructor=False),
        *folders.write(out / "teacher" / "solutions", solved),
        *folders.write(
            out / "teacher",
            {"README.md": _text(f"{platform}.md", words), "late.toml": _text("late.toml", words)},
        ),
    ]
    more: Callable[..., list[Path]] | None = MORE.get(platform)
    made += more(out, exercises, words) if more else []
    made = list(dict.fromkeys(made))  # Otter's notebook is written in place of the lesson's
    handout = [path for path in made if path.is_relative_to(out / "handout")]
    whole = out / f"lesson{number}.zip"
    archive(whole, {p.relative_to(out / "handout").as_posix(): p.read_bytes() for p in handout})
    return [*made, whole]


def _text(name: str, words: dict[str, str]) -> bytes:
    text = HERE.joinpath(name).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", value)
    return text.encode()


def _gradescope(out: Path, exercises: Sequence[Exercise], words: dict[str, str]) -> list[Path]:
    """The zip that Gradescope builds its container of."""
    programs = ("setup.sh", "run_autograder")
    content = {name: _text(name, words) for name in programs}
    made = wheels(out / "teacher" / "wheels")
    content |= {f"wheels/{path.name}": path.read_bytes() for path in made}
    archive(out / "autograder.zip", content, programs)
    return [*made, out / "autograder.zip"]


def _notebook(lesson: str) -> tuple[str, Notebook]:
    (path,) = folder_of(lesson).glob("*.ipynb")
    return path.name, json.loads(path.read_text(encoding="utf-8"))


def _exercise(cell: dict[str, Any]) -> Exercise | None:
    """The exercise of a notebook's cell, None if it is none."""
    found = EXERCISE.match("".join(cell["source"]) + "\n")
    return EXERCISES.get(found.group(1)) if found else None


def _nbgrader(out: Path, exercises: Sequence[Exercise], words: dict[str, str]) -> list[Path]:
    """The instructor's version of the assignment, of which nbgrader makes the students'."""
    name, whole = _notebook(words["lesson"])
    cells = []
    for cell in whole["cells"]:
        cells.append(cell)
        exercise = _exercise(cell)
        if exercise is None:
            continue
        grade_id = exercise.id.replace("/", "-")
        cell["source"] = _marked("".join(cell["source"]), exercise).splitlines(keepends=True)
        cell["metadata"]["nbgrader"] = _marks(f"{grade_id}-answer", solution=True)
        test = (
            f"# {exercise.id}: each output earns its share\n"
            "from scratchnet_course import check\n\n"
            f'result = check("{exercise.id}", {exercise.function})\nprint(result)\nresult.points'
        )
        marks = _marks(grade_id, points=exercise.points)
        cells.append(_code(f"{grade_id}-test", test, {"nbgrader": marks}))
    whole["cells"] = cells
    folder = out / "source" / f"lesson{words['lesson']}"
    return folders.write(folder, {name: _json(whole)})


def _marks(grade_id: str, solution: bool = False, points: int | None = None) -> dict[str, Any]:
    """A cell's metadata for nbgrader, in the third version of its schema."""
    scored = {} if points is None else {"points": points}
    return {
        "grade_id": grade_id,
        "schema_version": 3,
        "cell_type": "code",
        "task": False,
        "solution": solution,
        "grade": points is not None,
        "locked": not solution,
        **scored,
    }


def _code(name: str, text: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": name,
        "metadata": metadata,
        "outputs": [],
        "execution_count": None,
        "source": text.splitlines(keepends=True),
    }


def _json(whole: Notebook) -> bytes:
    return (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode()


def _marked(stub: str, exercise: Exercise) -> str:
    """The solution between nbgrader's marks: what it has and the stub has not."""
    path = solutions_of(exercise.lesson) / f"{exercise.id[3:]}.py"
    mark, *solved = path.read_text(encoding="utf-8").splitlines()
    # what is asked is in the notebook's text
    given, solved = stub.splitlines(), [mark, *solved[solved.index("") + 1 :]]
    same = next((k for k, (a, b) in enumerate(zip(given, solved)) if a != b), len(given))
    body = solved[same:]
    indent = " " * (len(given[same]) - len(given[same].lstrip())) if same < len(given) else ""
    return "\n".join(
        [*solved[:same], f"{indent}### BEGIN SOLUTION", *body, f"{indent}### END SOLUTION"]
    )


def _otter(out: Path, exercises: Sequence[Exercise], words: dict[str, str]) -> list[Path]:
    """The students' notebook with Otter's checks, and a test file for each exercise."""
    name, whole = _notebook(words["lesson"])
    begin = f'import otter\n\ngrader = otter.Notebook("{name}")'
    cells = [_code("otter", begin, {})]
    for cell in whole["cells"]:
        cells.append(cell)
        exercise = _exercise(cell)
        if exercise is not None:
            question = exercise.id.replace("/", "_")
            cells.append(_code(f"check-{question}", f'grader.check("{question}")', {}))
    whole["cells"] = cells
    tests = {f"{e.id.replace('/', '_')}.py": _otter_test(e) for e in exercises}
    handout = out / "handout"
    made = folders.write(handout, {name: _json(whole)}) + folders.write(handout / "tests", tests)
    return made + folders.write(out / "tests", tests)


def _otter_test(exercise: Exercise) -> bytes:
    """A test case for each output, worth its share."""
    share = exercise.points / len(exercise.outputs)
    lines = [
        f'"""{exercise.id}: each output earns its share."""',
        "",
        "from otter.test_files import test_case",
        "",
        "OK_FORMAT = False",
        f'name = "{exercise.id.replace("/", "_")}"',
        "points = None",
        "",
    ]
    for output in exercise.outputs:
        lines += [
            "",
            f"@test_case(points={share!r})",
            f"def test_{output}({exercise.function}):",
            "    from scratchnet_course import check",
            "",
            f'    result = check("{exercise.id}", {exercise.function})',
            '    compared = result.status in ("right", "wrong")',
            f'    assert compared and "{output}" not in result.wrong, str(result)',
            "",
        ]
    return "\n".join(lines).encode()


MORE = {"gradescope": _gradescope, "nbgrader": _nbgrader, "otter": _otter}
