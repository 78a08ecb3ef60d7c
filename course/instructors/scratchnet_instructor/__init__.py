"""The instructor's side of scratchnet's course: solutions, solved worksheets, and a grader.

``solution("06/ex2")``; ``scratchnet_instructor.grading``.
"""

from pathlib import Path

from scratchnet_course.lessons import built, solution_files

from scratchnet.errors import InvalidValueError

__all__ = ["solution", "solutions"]


def solutions() -> Path:
    """The folder of the solutions; in a checkout built from the lessons first."""
    return built(Path(__file__).parent, "solutions", solution_files)


def solution(exercise: str) -> str:
    """Return the solution of an exercise, "06/ex2", as the text of its file.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    lesson, _, name = exercise.partition("/")
    path = solutions() / lesson / f"{name}.py"
    if not path.is_file():
        raise InvalidValueError(f"there is no solution of {exercise!r}")
    return path.read_text(encoding="utf-8")
