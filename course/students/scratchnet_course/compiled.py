"""The files that are compiled from the instructor's references: the exercises' texts and keys.

``setup.py`` loads this file alone, so it imports the standard library only.
"""

import hashlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
INSTRUCTORS = HERE.parents[1] / "instructors" / "scratchnet_instructor"
STAMP = "built_from.json"


@cache
def answers() -> Path:
    """Return the folder of the keys and texts; in a checkout, bring it up to date first.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist and there are no references to compile it from.
    """
    out = HERE / "answers"
    if (HERE.parent / "setup.py").is_file() and (INSTRUCTORS / "compiling.py").is_file():
        _compile(out)
    if not (out / "exercises.json").is_file():
        raise FileNotFoundError(
            f"{out} does not exist, and no references to compile it from: {INSTRUCTORS}"
        )
    return out


def digests() -> dict[str, str]:
    """What the files of each lesson are compiled from, as a hash: lesson -> digest."""
    library = HERE.parents[2] / "scratchnet"
    programs = ("reference", "mistakes", "mutants", "mutations", "making", "compiling", "hunting")
    shared = [INSTRUCTORS / f"{name}.py" for name in programs]
    shared += [INSTRUCTORS / "mistakes.toml", library / "elementwise.py"]
    shared += [HERE / f"{name}.py" for name in ("exercise", "keys", "probe", "hunt")]
    shared += sorted((library / "cells").glob("*.py"))
    texts = [path.read_bytes() for path in shared]
    found = {}
    for path in sorted((INSTRUCTORS / "references").glob("lesson*.py")):
        own = [*texts, path.read_bytes(), path.with_suffix(".toml").read_bytes()]
        found[path.stem[6:]] = hashlib.sha256(b"\0".join(own)).hexdigest()
    return found


def _compile(out: Path) -> None:
    """Compile the lessons whose sources have changed, in a process of the instructor's program."""
    wanted, stamp = digests(), out / STAMP
    there = json.loads(stamp.read_text(encoding="utf-8")) if stamp.is_file() else {}
    if there == wanted:
        return
    lessons = [lesson for lesson, digest in wanted.items() if there.get(lesson) != digest]
    # with what this process finds: pip builds where NumPy is on its path alone
    paths = [*map(str, (HERE.parents[2], HERE.parent, INSTRUCTORS.parent)), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    words = [sys.executable, "-m", "scratchnet_instructor.compiling", str(out), *lessons]
    subprocess.run(words, env=environment, check=True)
