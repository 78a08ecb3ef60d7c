"""Grade many submissions, several at a time, into files that people and programs read.

    SUBMISSIONS/alice/06/ex1.py    a folder for each student, with the files at any depth
    SUBMISSIONS/alice_06_ex1.py    or flat: student, lesson and exercise in the name

``report.csv`` has a row for each student and exercise, ``report.json`` all that was said,
``junit.xml`` what continuous integration shows, ``gradescope/STUDENT.json`` what Gradescope reads
as results.json, and ``feedback/STUDENT.txt`` what the student reads.
"""

import csv
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from scratchnet_course.checking import Verdict, check_code, source_of
from scratchnet_course.exercise import Exercise
from scratchnet_course.exercises import EXERCISES

from scratchnet.errors import InvalidValueError, MissingFileError

FLAT = re.compile(r"(?P<student>.+?)[_-](?P<lesson>\d\d)[_-]?ex(?P<number>\d+)\.py")
TWICE = "twice"  # the name in place of an exercise that is there more than once
FILE = re.compile(r"ex\d+\.py")


class Grade(NamedTuple):
    """One exercise of one student."""

    student: str
    result: Verdict


def submissions(folder: Path) -> dict[str, dict[str, Path]]:
    """Return the submitted files: student -> exercise -> file.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If it holds no submissions.
    """
    if not folder.is_dir():
        raise MissingFileError(f"{folder} is not a folder of submissions")
    found: dict[str, dict[str, Path]] = {}
    twice: list[tuple[str, str, Path]] = []
    for path in sorted(folder.rglob("*.py")):
        flat = FLAT.fullmatch(path.name)
        parts = path.relative_to(folder).parts
        if flat:
            student, key = flat["student"], f"{flat['lesson']}/ex{flat['number']}"
        elif FILE.fullmatch(path.name) and len(parts) >= 3:
            student, key = parts[0], f"{parts[-2][:2]}/{path.stem}"
        else:
            continue
        if key not in EXERCISES:
            continue
        if key in found.setdefault(student, {}):
            twice.append((student, key, path))
        found[student].setdefault(key, path)
    for path in folder.iterdir():  # who handed in nothing is there, too, with no points
        if path.is_dir():
            found.setdefault(path.name, {})
    if not found:
        raise InvalidValueError(
            f"{folder} holds no submissions: expected STUDENT/06/ex1.py or STUDENT_06_ex1.py"
        )
    for student, key, _ in twice:  # which one counts is for a person to say
        found[student][key] = folder / TWICE
    return found


def grade(
    folder: Path, *, seed: int = 0, only: Sequence[str] = (), workers: int = 2
) -> list[Grade]:
    """Grade every student's exercises; what is missing has 0 points.

    Parameters
    ----------
    folder
        The submissions; the module's docstring has the names of the files.
    seed
        Of the arguments, the same for all students: graded again, the points are the same.
    only
        Lessons ("06") or exercises ("06/ex1"); all if empty.
    workers
        How many submissions at a time.

    Raises
    ------
    ValueError
        If nothing is named in ``only`` that exists, or there are no submissions.
    """
    wanted = [e for e in EXERCISES.values() if not only or e.id in only or e.lesson in only]
    if not wanted:
        raise InvalidValueError(
            f"there is nothing to grade in {' '.join(only)}: there are {', '.join(EXERCISES)}"
        )
    found = submissions(folder)
    jobs = [
        (student, exercise, files.get(exercise.id))
        for student, files in sorted(found.items())
        for exercise in wanted
    ]
    # threads wait for processes: a loop for ever costs its own time only
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda job: _one(job[0], job[1], job[2], seed), jobs))


def _one(student: str, exercise: Exercise, path: Path | None, seed: int) -> Grade:
    if path is not None and path.name == TWICE:
        said = (f"{exercise.id} was handed in twice: only one file may be there",)
        return Grade(student, Verdict(exercise.id, "twice", 0.0, exercise.points, seed, said))
    if path is None:
        nothing = Verdict(
            exercise.id, "absent", 0.0, exercise.points, seed, ("nothing was handed in",)
        )
        return Grade(student, nothing)
    try:
        return Grade(student, check_code(exercise, source_of(path), seed, str(path)))
    except Exception as error:  # one submission must never cost the others their grades
        said = (
            f"{path.name} could not be graded, look at it by hand: {type(error).__name__}: {error}",
        )
        return Grade(
            student, Verdict(exercise.id, "error", 0.0, exercise.points, seed, said, (), str(path))
        )


def write(grades: Sequence[Grade], out: Path) -> list[Path]:
    """Write all reports into ``out``; returns their paths."""
    for name in ("gradescope", "feedback"):
        (out / name).mkdir(parents=True, exist_ok=True)
    made = [out / "report.csv", out / "report.json", out / "junit.xml"]
    with made[0].open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["student", "exercise", "points", "most", "status", "mistakes", "file", "sha256"]
        )
        for student, r in grades:
            writer.writerow(
                [
                    student,
                    r.exercise,
                    f"{r.points:g}",
                    r.most,
                    r.status,
                    "; ".join(r.names),
                    r.file,
                    r.sha256,
                ]
            )
    whole = [{"student": student, **r._asdict()} for student, r in grades]
    made[1].write_text(
        json.dumps(whole, indent=1) + "\n", encoding="utf-8", errors="backslashreplace"
    )
    made[2].write_text(_junit(grades), encoding="utf-8", errors="backslashreplace")
    for student in dict.fromkeys(g.student for g in grades):
        own = [g.result for g in grades if g.student == student]
        scope, said = out / "gradescope" / f"{student}.json", out / "feedback" / f"{student}.txt"
        scope.write_text(json.dumps(_gradescope(own), indent=1) + "\n", encoding="utf-8")
        total = f"{sum(r.points for r in own):g} of {sum(r.most for r in own)} points"
        text = "\n\n".join([f"{student}: {total}", *map(str, own)]) + "\n"
        said.write_text(text, encoding="utf-8", errors="backslashreplace")
        made += [scope, said]
    return made


def _gradescope(results: Iterable[Verdict]) -> dict[str, object]:
    """The results.json of Gradescope's autograder:
    https://gradescope-autograders.readthedocs.io/en/latest/specs/."""
    tests = [
        {
            "name": r.exercise,
            "score": r.points,
            "max_score": r.most,
            "output": "\n".join(r.lines),
            "status": "passed" if r.right else "failed",
            "visibility": "visible",
        }
        for r in results
    ]
    return {
        "tests": tests,
        "output": "Each exercise was run in a separate process on arguments it had not seen.",
    }


def _junit(grades: Sequence[Grade]) -> str:
    """A test suite for each student, a test for each exercise."""
    root = ET.Element("testsuites")
    for student in dict.fromkeys(g.student for g in grades):
        own = [g.result for g in grades if g.student == student]
        failed = sum(not r.right for r in own)
        suite = ET.SubElement(
            root, "testsuite", name=student, tests=str(len(own)), failures=str(failed)
        )
        for r in own:
            case = ET.SubElement(suite, "testcase", classname=student, name=r.exercise)
            if not r.right:
                failure = ET.SubElement(
                    case, "failure", message=_printable(r.lines[0] if r.lines else r.status)
                )
                failure.text = _printable(str(r))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _printable(text: str) -> str:
    """Without the control characters that XML cannot hold, whatever a student's code printed."""
    return "".join(c if c in "\n\t" or c >= " " else "?" for c in text)


def table(grades: Sequence[Grade]) -> str:
    """Points by student, and the commonest mistakes: what to talk about in the next lesson."""
    lines = []
    for student in dict.fromkeys(g.student for g in grades):
        own = [g.result for g in grades if g.student == student]
        marks = " ".join(f"{r.exercise} {r.points:g}" for r in own)
        lines.append(
            f"{student:<20} {sum(r.points for r in own):>6g} of {sum(r.most for r in own):<5}"
            f" {marks}"
        )
    counts: dict[str, int] = {}
    for g in grades:
        for name in g.result.names:
            counts[name] = counts.get(name, 0) + 1
    if counts:
        lines += ["", "mistakes, by name:"]
        lines += [
            f"  {count:>3}  {name}"
            for name, count in sorted(counts.items(), key=lambda item: -item[1])
        ]
    return "\n".join(lines)
