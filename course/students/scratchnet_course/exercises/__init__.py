"""The exercises of the course: for each lesson a Python file and a TOML file.

``EXERCISES`` is what the checker, the grader and the tests walk. ``lessonNN.py`` has each
exercise's right answer and the arguments of its checks. ``lessonNN.toml`` has its text, and a row
for each mistake that is known by name:

name, why
    What went wrong, and the sentence that sets it right.
edits
    Pairs [right, wrong]; the right text is exactly once in the source of the right answer.
paragraph
    The lesson's heading that explains the mistake, if it is not the exercise's.

A new mistake is a row. A new exercise is an entry in both files, and its cell in the lesson's
script, with the solution between its marks.
"""

import tomllib
from dataclasses import replace
from importlib import import_module, resources
from typing import Any

from scratchnet.errors import InvalidValueError
from scratchnet_course.exercise import Exercise, Wrong


def _all() -> dict[str, Exercise]:
    """Every exercise with its text, by id."""
    found: dict[str, Exercise] = {}
    for path in sorted(resources.files(__name__).iterdir(), key=lambda path: path.name):
        name, _, kind = path.name.partition(".")
        if kind == "toml":
            texts = tomllib.loads(path.read_text(encoding="utf-8"))
            for exercise in import_module(f"{__name__}.{name}").EXERCISES:
                found[exercise.id] = _with_text(exercise, texts[exercise.id.partition("/")[2]])
    return found


def _with_text(exercise: Exercise, text: dict[str, Any]) -> Exercise:
    """The exercise with what the lesson's TOML file says of it."""
    wrongs = [
        Wrong(
            row["name"],
            row["why"],
            tuple((right, wrong) for right, wrong in row["edits"]),
            row.get("paragraph", ""),
        )
        for row in text.get("mistakes", ())
    ]
    return replace(
        exercise,
        title=text["title"],
        paragraph=text["paragraph"],
        hints=tuple(text["hints"]),
        wrongs=tuple(wrongs),
    )


EXERCISES: dict[str, Exercise] = _all()


def find(name: str) -> Exercise:
    """Return the exercise of an id or a file name: "06/ex2", "06/ex2.py", "somewhere/06/ex2.py".

    Raises
    ------
    ValueError
        If there is none; the message lists those of the lesson, or all lessons.
    """
    parts = name.replace("\\", "/").removesuffix(".py").split("/")
    if len(parts) > 1:
        parts[-2] = parts[-2].zfill(2)
    key = "/".join(parts[-2:])
    if key not in EXERCISES:
        same = [
            known
            for known in EXERCISES
            if known.startswith(f"{parts[-2] if len(parts) > 1 else parts[-1]}/")
        ]
        lessons = sorted({known.partition("/")[0] for known in EXERCISES})
        there = (
            f"that lesson has {', '.join(same)}"
            if same
            else f"there are exercises for the lessons {', '.join(lessons)}"
        )
        raise InvalidValueError(f"there is no exercise {name!r}: {there}")
    return EXERCISES[key]
