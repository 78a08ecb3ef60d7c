"""The right answers of the course's exercises: for each lesson a Python file and a TOML file.

``REFERENCES`` is what the grader and the tests walk, and what `compiling` makes the students' keys
of. ``lessonNN.py`` has each exercise's right answer and the arguments of its checks.
``lessonNN.toml`` has its text, and a row for each mistake that is known by name:

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

from scratchnet_instructor import authoring
from scratchnet_instructor.reference import Reference, Wrong


def _all() -> dict[str, Reference]:
    """Every exercise with its text, by id."""
    found: dict[str, Reference] = {}
    for path in sorted(resources.files(__name__).iterdir(), key=lambda path: path.name):
        name, _, kind = path.name.partition(".")
        if kind == "toml":
            texts = tomllib.loads(path.read_text(encoding="utf-8"))
            for one in import_module(f"{__name__}.{name}").EXERCISES:
                found[one.id] = _with_text(one, texts[one.id.partition("/")[2]])
    for one in authoring.references():
        found.setdefault(one.id, one)  # the course's own comes first
    return found


def _with_text(one: Reference, text: dict[str, Any]) -> Reference:
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
        one,
        title=text["title"],
        paragraph=text["paragraph"],
        hints=tuple(text["hints"]),
        wrongs=tuple(wrongs),
    )


REFERENCES: dict[str, Reference] = _all()
