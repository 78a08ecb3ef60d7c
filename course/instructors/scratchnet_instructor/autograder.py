"""Gradescope's autograder: grades one submission inside the container that Gradescope starts.

    python -m scratchnet_instructor.autograder --only 06

Reads /autograder/submission and writes /autograder/results/results.json. `course package --for
gradescope` makes the zip that installs it.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from scratchnet_course import wall

from scratchnet.errors import ScratchnetError
from scratchnet.files.writing import replace
from scratchnet_instructor import grading
from scratchnet_instructor.collecting import by_exercise
from scratchnet_instructor.reports import gradescope
from scratchnet_instructor.uploads import of_one


def main(arguments: Sequence[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", required=True, help="lessons or exercises")
    parser.add_argument("--root", type=Path, default=Path("/autograder"))
    chosen = parser.parse_args(arguments)
    made = results(chosen.root, chosen.only)
    with replace(chosen.root / "results" / "results.json", text=True) as file:
        json.dump(made, file, indent=1)
    return 0


def results(root: Path, only: Sequence[str]) -> dict[str, object]:
    """What Gradescope reads: an error, without points, where nothing can be graded safely."""
    try:
        behind = wall.find()
        if not behind:  # a submission could write the results itself
            return {"score": 0, "output": f"not graded, tell your instructor: {behind.why}"}
        handed = by_exercise(of_one("submission", root / "submission", root / "unpacked"), only)
        grades = grading.grade(handed, only=only, behind=behind)
    except (ScratchnetError, OSError) as error:
        return {"score": 0, "output": f"not graded, tell your instructor: {error}"}
    return gradescope(grades, handed.left_out)


if __name__ == "__main__":
    raise SystemExit(main())
