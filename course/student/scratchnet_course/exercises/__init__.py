"""The exercises of the course: a file for each lesson, and the table of them all.

``EXERCISES`` is what the checker, the grader and the tests walk.  A new exercise is one entry of its lesson's list, and its
cell in the lesson's script, with the solution between its marks.
"""

from importlib import import_module
from pkgutil import iter_modules

from scratchnet_course.exercise import Exercise


def _all() -> dict[str, Exercise]:
    found: dict[str, Exercise] = {}
    for module in sorted(iter_modules(__path__), key=lambda m: m.name):
        if module.name.startswith("lesson"):
            exercises: list[Exercise] = import_module(f"{__name__}.{module.name}").EXERCISES
            found |= {exercise.id: exercise for exercise in exercises}
    return found


EXERCISES: dict[str, Exercise] = _all()


def find(name: str) -> Exercise:
    """The exercise of an id or a file name: "06/ex2", "06/ex2.py", "somewhere/06/ex2.py".

    Raises ValueError, listing those of the lesson or all lessons, where there is none.
    """
    parts = name.replace("\\", "/").removesuffix(".py").split("/")
    if len(parts) > 1:
        parts[-2] = parts[-2].zfill(2)
    key = "/".join(parts[-2:])
    if key not in EXERCISES:
        same = [known for known in EXERCISES if known.startswith(f"{parts[-2] if len(parts) > 1 else parts[-1]}/")]
        lessons = sorted({known.partition("/")[0] for known in EXERCISES})
        there = f"that lesson has {', '.join(same)}" if same else f"there are exercises for the lessons {', '.join(lessons)}"
        raise ValueError(f"there is no exercise {name!r}: {there}")
    return EXERCISES[key]
