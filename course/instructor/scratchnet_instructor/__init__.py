"""The solutions of scratchnet's course, for those who teach it. They are made from the lessons by
``make course``."""

from importlib import resources


def solution(exercise: str) -> str:
    """The solution of an exercise, "06/ex2", as its file. Raises ValueError where there is none."""
    lesson, _, name = exercise.partition("/")
    path = resources.files(__name__).joinpath("solutions", lesson, f"{name}.py")
    if not path.is_file():
        raise ValueError(f"there is no solution of {exercise!r}")
    return path.read_text(encoding="utf-8")
