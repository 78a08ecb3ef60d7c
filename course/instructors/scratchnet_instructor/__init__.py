"""The instructor's side of scratchnet's course: solutions, solved worksheets, and a grader.

``solution("06/ex2")``; ``scratchnet_instructor.grading``.
"""

from pathlib import Path

from scratchnet_course import packs
from scratchnet_course.lessons import built, solution_files

from scratchnet.errors import InvalidValueError

__all__ = ["solution", "solutions", "solutions_of"]


def solutions() -> Path:
    """The folder of the solutions; in a checkout built from the lessons first."""
    return built(Path(__file__).parent, "solutions", solution_files)


def solutions_of(lesson: str) -> Path:
    """The folder of a lesson's solutions: the course's, or those of a pack that is named."""
    places = (solutions(), *(folder / "solutions" for folder in packs.named()))
    return next((p / lesson for p in places if (p / lesson).is_dir()), solutions() / lesson)


def solution(exercise: str) -> str:
    """Return the solution of an exercise, "06/ex2", as the text of its file.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    lesson, _, name = exercise.partition("/")
    path = solutions_of(lesson) / f"{name}.py"
    if not path.is_file():
        raise InvalidValueError(f"there is no solution of {exercise!r}")
    return path.read_text(encoding="utf-8")
