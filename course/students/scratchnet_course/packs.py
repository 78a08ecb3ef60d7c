"""Exercises from outside: packs, which every command sees beside the course's own.

A pack is a folder with exercises.json, a key for each exercise, and the lessons' files, as `course
pack` of the instructor's distribution makes it. It is found where it lies in ``packs`` of the
student's folder, where SCRATCHNET_PACKS names it, or where a distribution names it by an entry
point of the group "scratchnet.exercises", whose value is a module in that folder.
"""

import os
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

VARIABLE = "SCRATCHNET_PACKS"
TEXTS = "exercises.json"
COMPILED = "compiled"  # in an instructor's pack, beside the right answers


def named() -> list[Path]:
    """The folders that the environment and other distributions name."""
    found = [Path(name) for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    for point in entry_points(group="scratchnet.exercises"):
        spec = find_spec(point.module)
        found += [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    return found


@cache
def folders() -> tuple[Path, ...]:
    """The packs for students."""
    here = (Path.cwd(), Path.cwd().parent)
    found = named() + [path for place in here for path in sorted(place.glob("packs/*"))]
    both = [inner for path in found for inner in (path, path / COMPILED)]
    return tuple(dict.fromkeys(path.resolve() for path in both if (path / TEXTS).is_file()))


def place_of(own: Path, file: str) -> Path:
    """A file of the course, or of the pack that has it."""
    return next((path / file for path in (own, *folders()) if (path / file).exists()), own / file)
