"""The exercises of the course, as the checker and the commands walk them.

Their texts, and the keys of their answers, are files that are compiled from the instructor's
references; see `compiled`.
"""

import json
import warnings
from pathlib import Path
from typing import Any

from scratchnet.errors import InvalidValueError
from scratchnet_course import packs
from scratchnet_course.compiled import answers
from scratchnet_course.exercise import Exercise


def _all() -> dict[str, Exercise]:
    """Every exercise with its text, by id."""
    found = _read(answers())
    for folder in packs.folders():
        try:
            found = _read(folder) | found  # the course's own come first
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            warnings.warn(
                f"the pack {folder} cannot be read, and is left out: {error}", stacklevel=2
            )
    return dict(sorted(found.items()))


def _read(folder: Path) -> dict[str, Exercise]:
    """The exercises of the course, or of one pack."""
    found = {}
    for row in json.loads((folder / packs.TEXTS).read_text(encoding="utf-8")):
        own: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
        found[str(row["id"])] = Exercise(**own)
    return found


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
