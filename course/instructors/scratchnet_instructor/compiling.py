"""Compile what students get of the references: texts, and keys that hold numbers only.

    python -m scratchnet_instructor.compiling FOLDER [LESSON ...]

Writes ``FOLDER/exercises.json``, ``FOLDER/06_ex2.npz`` and so on, and ``FOLDER/hunts.json``.
``setup.py`` of the student's distribution runs it before the package is packed, and a checkout on
first use.
"""

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

from scratchnet_course.compiled import STAMP, digests
from scratchnet_course.exercise import Exercise
from scratchnet_course.keys import packed

from scratchnet.files.writing import replace
from scratchnet_instructor.hunting import hunts
from scratchnet_instructor.making import made
from scratchnet_instructor.references import REFERENCES

# the course's own: packs are compiled by themselves
OWN = {
    name: one for name, one in REFERENCES.items() if one.right.__module__[:16] != "scratchnet_pack_"
}
SEEDS = (20_251, 20_269)  # of the students' keys: known to all, so that grading uses others


def exercises() -> list[Exercise]:
    """What students get of every exercise."""
    return [reference.exercise for reference in OWN.values()]


def key_file(name: str) -> tuple[str, bytes]:
    """The file of an exercise's key: its name and content."""
    return f"{name.replace('/', '_')}.npz", packed(made(REFERENCES[name], SEEDS).key)


def compile_into(out: Path, lessons: list[str]) -> None:
    """Write the files of some lessons, or of all, and what they were made from."""
    out.mkdir(parents=True, exist_ok=True)
    names = [name for name, one in OWN.items() if not lessons or one.lesson in lessons]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for file, content in pool.map(key_file, names):
            _write(out / file, content)
    _write(out / "exercises.json", json.dumps([asdict(e) for e in exercises()], indent=1).encode())
    _write(out / "hunts.json", json.dumps(hunts(), indent=1).encode())
    _write(out / STAMP, json.dumps(digests()).encode())


def _write(path: Path, content: bytes) -> None:
    """As a whole: several processes may find the same file to be old."""
    with replace(path) as file:
        file.write(content)


if __name__ == "__main__":
    compile_into(Path(sys.argv[1]), sys.argv[2:])
