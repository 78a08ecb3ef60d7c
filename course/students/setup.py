"""Build the student's files from the lessons and the references before the package is packed;
pyproject.toml says the rest."""

import sys
from pathlib import Path

from setuptools import setup

PACKAGE = Path(__file__).resolve().parent / "scratchnet_course"
sys.path.append(str(PACKAGE))  # the module alone: the package needs NumPy

from compiled import answers  # noqa: E402
from lessons import built, student_files  # noqa: E402

# Here, not in a build step: a wheel, a source archive and an editable install all need them.
built(PACKAGE, "material", student_files)
answers()
setup()
