"""The course: exercises with a checker that names the mistake, bug hunts, worksheets, a grader.
``check("06/ex2", f)``."""

from scratchnet_course.checking import Verdict, check

__all__ = ["Verdict", "check"]
