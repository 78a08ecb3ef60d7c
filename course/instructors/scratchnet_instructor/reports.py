"""What is written of a class's grades, for people and for programs.

report.csv, report.json      a row for each student and exercise, and all that was said
not_graded.csv               files that were not graded, and why
alike.csv                    answers that are more alike than chance makes them
junit.xml                    what continuous integration shows
gradescope/STUDENT.json      what Gradescope reads as results.json
feedback/STUDENT.txt         what the student reads
"""

import csv
import hashlib
import io
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from scratchnet_course.plain import plain

from scratchnet.files.writing import replace
from scratchnet_instructor.alike import Alike
from scratchnet_instructor.collecting import Collected
from scratchnet_instructor.grading import MOST_NAME, Grade
from scratchnet_instructor.uploads import LeftOut
from scratchnet_instructor.wheels import archive

COLUMNS = (
    *("student", "exercise", "points", "most", "status", "mistakes", "file", "sha256"),
    *("seed", "wall", "earned", "late"),
)
FORMULA = ("=", "+", "-", "@")  # how a cell begins that a spreadsheet computes


def _write_whole(path: Path, text: str) -> None:
    """Replace the report as a whole; what UTF-8 cannot hold is written as an escape."""
    with replace(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write(
    grades: Sequence[Grade],
    out: Path,
    left_out: Sequence[LeftOut] = (),
    pairs: Sequence[Alike] = (),
) -> list[Path]:
    """Write all reports into ``out``; returns their paths."""
    for folder in ("gradescope", "feedback"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    rows = [
        [
            *(g.student, r.exercise, f"{g.points:g}", r.most, r.status, "; ".join(r.names)),
            *(r.file, r.sha256, r.seed, r.wall, f"{r.points:g}", g.late),
        ]
        for g in grades
        for r in [g.result]
    ]
    made = [
        _table(out / "report.csv", COLUMNS, rows),
        _table(out / "not_graded.csv", LeftOut._fields, left_out),
        _table(
            out / "alike.csv",
            ("exercise", "student", "other", "share", "pieces", "how"),
            [(p.exercise, *p.students, f"{p.share:.2f}", p.pieces, p.how) for p in pairs],
        ),
        out / "report.json",
        out / "junit.xml",
    ]
    whole = [
        {"student": g.student, **g.result._asdict(), "counts": g.points, "late": g.late}
        for g in grades
    ]
    _write_whole(made[3], json.dumps(whole, indent=1) + "\n")
    _write_whole(made[4], _junit(grades))
    for student, text in feedbacks(grades, left_out).items():
        own = [g for g in grades if g.student == student]
        lost = [one for one in left_out if one.student == student]
        file = _file_name(student)
        scope, said = out / "gradescope" / f"{file}.json", out / "feedback" / f"{file}.txt"
        _write_whole(scope, json.dumps(gradescope(own, lost), indent=1) + "\n")
        _write_whole(said, text)
        made += [scope, said]
    return made


def _table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write a table; no text in it is a formula."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in rows)
    _write_whole(path, text.getvalue())
    return path


def feedbacks(grades: Sequence[Grade], left_out: Sequence[LeftOut] = ()) -> dict[str, str]:
    """What each student reads."""
    return {
        student: feedback(
            student,
            [g for g in grades if g.student == student],
            [one for one in left_out if one.student == student],
        )
        for student in dict.fromkeys(g.student for g in grades)
    }


def returns(grades: Sequence[Grade], handed: Collected, out: Path) -> list[Path]:
    """Write feedback.zip, which Canvas ("Upload submissions") and Moodle ("Upload multiple feedback
    files in a zip") give back to the students; nothing for other platforms."""
    if not handed.returns:
        return []
    said = feedbacks(grades, handed.left_out)
    content = {handed.returns[s]: text.encode() for s, text in said.items() if s in handed.returns}
    archive(out / "feedback.zip", content)
    return [out / "feedback.zip"]


def feedback(student: str, own: Sequence[Grade], lost: Sequence[LeftOut]) -> str:
    """What the student reads."""
    total = f"{sum(g.points for g in own):g} of {sum(g.result.most for g in own)} points"
    parts = [f"{name(student)}: {total}"]
    for g in own:
        parts.append(str(g.result) + (f"\n{g.late}: {g.points:g} points count" if g.late else ""))
    if lost:
        parts.append("\n".join(["not graded:", *(f"  {_why(one)}" for one in lost)]))
    return "\n\n".join(parts) + "\n"


def _why(one: LeftOut) -> str:
    return plain(f"{one.file}: {one.because}", 500, lines=False)


def name(text: str) -> str:
    """A student's name on one line, with nothing that a terminal or XML cannot hold."""
    return plain(text, MOST_NAME, lines=False)


def cell(value: object) -> object:
    """A cell of a table: text is never a formula."""
    if not isinstance(value, str):
        return value
    text = plain(value, 4096, lines=False)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text


def _file_name(student: str) -> str:
    """A name for a student's reports: the student's own, or where that is no plain name, one that
    begins like it."""
    if re.fullmatch(r"[^\W_]([\w .@+-]*\w)?", student) and len(student.encode()) <= MOST_NAME:
        return student
    digest = hashlib.sha256(student.encode(errors="surrogateescape")).hexdigest()
    return re.sub(r"\W", "_", student)[:20] + "-" + digest[:12]


def gradescope(own: Iterable[Grade], lost: Sequence[LeftOut] = ()) -> dict[str, object]:
    """The results.json of Gradescope's autograder:
    https://gradescope-autograders.readthedocs.io/en/latest/specs/."""
    tests = [
        {
            "name": g.result.exercise,
            "score": g.points,
            "max_score": g.result.most,
            "output": "\n".join([*g.result.lines, *([g.late] if g.late else [])]),
            "status": "passed" if g.result.right else "failed",
            "visibility": "visible",
        }
        for g in own
    ]
    said = ["Each exercise was run in a separate process on arguments it had not seen."]
    return {"tests": tests, "output": "\n".join(said + [f"not graded: {_why(o)}" for o in lost])}


def _junit(grades: Sequence[Grade]) -> str:
    """A test suite for each student, a test for each exercise."""
    root = ET.Element("testsuites")
    for student in dict.fromkeys(g.student for g in grades):
        own = [g.result for g in grades if g.student == student]
        failed = sum(not r.right for r in own)
        suite = ET.SubElement(
            root, "testsuite", name=name(student), tests=str(len(own)), failures=str(failed)
        )
        properties = ET.SubElement(suite, "properties")
        for key, value in (("seed", str(own[0].seed)), ("wall", own[0].wall)):
            ET.SubElement(properties, "property", name=key, value=value)
        for r in own:
            case = ET.SubElement(suite, "testcase", classname=name(student), name=r.exercise)
            if not r.right:
                failure = ET.SubElement(
                    case, "failure", message=r.lines[0] if r.lines else r.status
                )
                failure.text = str(r)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def table(
    grades: Sequence[Grade], left_out: Sequence[LeftOut] = (), pairs: Sequence[Alike] = ()
) -> str:
    """Points by student, what was not graded, what is alike, and the commonest mistakes: what to
    talk about in the next lesson."""
    lines = []
    for student in dict.fromkeys(g.student for g in grades):
        own = [g for g in grades if g.student == student]
        marks = " ".join(f"{g.result.exercise} {g.points:g}{'*' if g.late else ''}" for g in own)
        total = f"{sum(g.points for g in own):>6g} of {sum(g.result.most for g in own):<5}"
        lines.append(f"{name(student):<20} {total} {marks}")
    if any(g.late for g in grades):
        lines.append("* late")
    counts = Counter(name for g in grades for name in g.result.names)
    if counts:
        lines += ["", "mistakes, by name:"]
        lines += [f"  {count:>3}  {name}" for name, count in counts.most_common()]
    if left_out:
        lines += ["", "not graded:"]
        lines += [f"  {name(one.student) or '?'}  {_why(one)}" for one in left_out]
    if pairs:
        lines += ["", "look at these together:"]
        lines += [f"  {p.exercise}  {' and '.join(map(name, p.students))}: {p.how}" for p in pairs]
    return "\n".join(lines)
