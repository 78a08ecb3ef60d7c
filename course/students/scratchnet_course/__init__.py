"""The course: exercises with a checker that names the mistake, bug hunts, worksheets.
``check("06/ex2", f)``."""

from typing import Any

__all__ = ["Verdict", "check"]


def __getattr__(name: str) -> Any:
    """`check` and `Verdict`, on first use: the program that compiles the exercises does without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from scratchnet_course import checking

    return getattr(checking, name)
