"""Build the solutions from the lessons before the package is packed; pyproject.toml says the
rest."""

import sys
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
LESSONS = HERE.parent / "students" / "scratchnet_course"

if LESSONS.is_dir():  # a checkout; a source archive carries the solutions
    sys.path.append(str(LESSONS))  # the module alone: the package needs NumPy
    from lessons import built, solution_files

    built(HERE / "scratchnet_instructor", "solutions", solution_files)
setup()
