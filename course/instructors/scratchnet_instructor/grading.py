"""Grade many submissions, several at a time, into files that people and programs read.

    SUBMISSIONS/alice/06/ex1.py    a folder for each student, with the files at any depth
    SUBMISSIONS/alice_06_ex1.py    or flat: student, lesson and exercise in the name

``results.jsonl`` gets a line when a submission starts and a line with its result, so that a grader
that is stopped goes on where it was. ``report.csv`` has a row for each student and exercise,
``report.json`` all that was said, ``junit.xml`` what continuous integration shows,
``gradescope/STUDENT.json`` what Gradescope reads as results.json, and ``feedback/STUDENT.txt`` what
the student reads.
"""

import csv
import hashlib
import io
import json
import os
import re
import secrets
import threading
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from scratchnet_course import wall
from scratchnet_course.checking import Verdict, check_code
from scratchnet_course.exercise import Exercise
from scratchnet_course.exercises import EXERCISES
from scratchnet_course.keys import Key
from scratchnet_course.plain import plain
from scratchnet_course.sources import beside, source_of
from scratchnet_course.wall import Wall

from scratchnet.arrays import require_count
from scratchnet.errors import InvalidValueError, MissingFileError
from scratchnet.files.writing import replace
from scratchnet_instructor import making

FLAT = re.compile(r"(?P<student>.+?)[_-](?P<lesson>\d\d)[_-]?ex(?P<number>\d+)\.py", re.DOTALL)
TWICE = "twice"  # the name in place of an exercise that is there more than once
FILE = re.compile(r"ex\d+\.py")
DEEPEST = 12  # folders inside each other; a submission can bring thousands
STARTS = 2  # how often a file may be started without a result before it is left out
MOST_NAME = 100  # characters of a student's name, or of a file's
COLUMNS = (
    *("student", "exercise", "points", "most", "status", "mistakes", "file", "sha256"),
    *("seed", "wall"),
)
FORMULA = ("=", "+", "-", "@")  # how a cell begins that a spreadsheet computes


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
    for path in sorted(_files(folder, DEEPEST)):
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
        if path.is_dir() and not path.is_symlink():
            found.setdefault(path.name, {})
    if not found:
        raise InvalidValueError(
            f"{folder} holds no submissions: expected STUDENT/06/ex1.py or STUDENT_06_ex1.py"
        )
    for student, key, _ in twice:  # which one counts is for a person to say
        found[student][key] = folder / TWICE
    return found


def _files(folder: Path, deep: int) -> Iterator[Path]:
    """The entries named ``*.py``, whatever they are, so that what is no file gets a verdict; links
    to folders are not followed."""
    try:
        entries = list(os.scandir(folder))
    except PermissionError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path), deep - 1) if deep else ()
        elif entry.name.endswith(".py"):
            yield Path(entry.path)


class Journal:
    """``results.jsonl``: a line for each start and each result, written when it happens.

    Parameters
    ----------
    path
        The file; None keeps no journal.
    resume
        Whether to read what is there; else it begins empty.
    """

    def __init__(self, path: Path | None, resume: bool = False) -> None:
        self.seed: int | None = None
        self.done: dict[tuple[str, str, str], Verdict] = {}  # by student, exercise and file
        self.started: Counter[tuple[str, str, str]] = Counter()
        self.lock = threading.Lock()
        if path is not None and resume:
            if not path.is_file():
                raise MissingFileError(f"{path} does not exist: there is nothing to resume")
            for line in path.read_bytes().split(b"\n"):
                self._take(line)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.file = None if path is None else path.open("ab" if resume else "wb", buffering=0)

    def _take(self, line: bytes) -> None:
        try:
            row = json.loads(line)
        except ValueError:  # the line at which the grader was stopped
            return
        if "seed" in row:
            self.seed = row["seed"]
        elif "result" in row:
            result: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in row["result"].items()
            }
            self.done[tuple(row["key"])] = Verdict(**result)
        else:
            self.started[tuple(row["key"])] += 1

    def write(self, **row: Any) -> None:
        """Add a line, as a whole."""
        if self.file is not None:
            with self.lock:  # begins with a line break: the line before may be half of one
                self.file.write(b"\n" + json.dumps(row).encode())

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()


def grade(
    folder: Path,
    *,
    seed: int | None = None,
    only: Sequence[str] = (),
    workers: int = 2,
    behind: Wall | None = None,
    journal: Path | None = None,
    resume: bool = False,
) -> list[Grade]:
    """Grade every student's exercises; what is missing has 0 points.

    Parameters
    ----------
    folder
        The submissions; the module's docstring has the names of the files.
    seed
        Of the arguments, the same for all students: graded again with it, the points are the same.
        A new one, which nobody can have known, if None.
    only
        Lessons ("06") or exercises ("06/ex1"); all if empty.
    workers
        How many submissions at a time.
    behind
        The wall around each submission; the one that there is on this machine if None.
    journal
        The file in which results are kept as they come.
    resume
        Whether to go on with the journal of a grader that was stopped, with its seed. A file with
        a result is not run again. A file that was running when the grader ended is run once more,
        after all others and alone; if the grader ends then, too, the file gets 0 points.

    Raises
    ------
    ValueError
        If nothing is named in ``only`` that exists, there are no submissions, or ``seed`` is not
        the journal's.
    FileNotFoundError
        If there is no journal to resume.
    """
    wanted = [e for e in EXERCISES.values() if not only or e.id in only or e.lesson in only]
    if not wanted:
        raise InvalidValueError(
            f"there is nothing to grade in {' '.join(only)}: there are {', '.join(EXERCISES)}"
        )
    found = submissions(folder)
    jobs = [
        _Job(student, exercise, files.get(exercise.id))
        for student, files in sorted(found.items())
        for exercise in wanted
    ]
    with closing(Journal(journal, resume)) as kept:
        if kept.seed is not None and seed not in (None, kept.seed):
            raise InvalidValueError(f"seed is {seed}, but {journal} was begun with {kept.seed}")
        chosen = kept.seed if seed is None else seed
        chosen = secrets.randbelow(2**53) if chosen is None else chosen
        if kept.seed is None:
            kept.write(seed=chosen)
        names = sorted({job.exercise.id for job in jobs if job.path is not None})
        made = making.keys(names, chosen, require_count("workers", workers))
        grader = _Grader(chosen, made, wall.find() if behind is None else behind, kept)
        # Threads wait for processes: a loop for ever costs its own time only. Ctrl-C waits for
        # those that run, and starts no other. None starts before all jobs are handed out: a pool
        # that is interrupted while it starts a thread does not know of it, and would not wait.
        handed_out, stopped = threading.Event(), threading.Event()

        def verdict(job: _Job) -> Verdict | None:
            handed_out.wait()
            return None if stopped.is_set() else grader.verdict(job)

        with ThreadPoolExecutor(workers) as pool:
            try:
                coming = [pool.submit(verdict, job) for job in jobs]
                handed_out.set()
                while wait(coming, timeout=0.2).not_done:
                    pass  # one long wait can miss a Ctrl-C that comes just before it
            finally:
                stopped.set()
                handed_out.set()
        results = [future.result() for future in coming]
        # alone, one after the other: those that were running when the grader ended
        results = [result or grader.verdict(job, again=True) for job, result in zip(jobs, results)]
    return [Grade(job.student, result) for job, result in zip(jobs, results) if result is not None]


class _Job(NamedTuple):
    """One file to grade, or none."""

    student: str
    exercise: Exercise
    path: Path | None


class _Grader(NamedTuple):
    """What is the same for all files of one run."""

    seed: int
    keys: dict[str, Key]
    behind: Wall
    journal: Journal

    def verdict(self, job: _Job, again: bool = False) -> Verdict | None:
        """Return the verdict on a file; None, unless ``again``, for one that was running when the
        grader ended."""
        exercise, path = job.exercise, job.path
        if path is None:
            return self._nothing(job, "absent", "nothing was handed in")
        if path.name == TWICE:
            said = f"{exercise.id} was handed in twice: only one file may be there"
            return self._nothing(job, "twice", said)
        name = plain(path.name, MOST_NAME, lines=False)
        try:
            code = source_of(path)
            modules = beside(path, code)
        except Exception as error:  # a folder's name can be anything, and so can its rights
            return self._nothing(job, "error", f"{name} was not graded: {_sentence(error)}")
        text = "\0".join([code, *modules.values()])
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
        key = (job.student, exercise.id, digest)
        if key in self.journal.done:
            return self.journal.done[key]
        if self.journal.started[key] >= STARTS:
            said = f"{name} was not graded: the grader ended {STARTS} times while it was running"
            return self._nothing(job, "error", said)
        if self.journal.started[key] and not again:
            return None
        self.journal.write(key=key)
        try:
            known = self.keys[exercise.id]
            result = check_code(exercise, code, self.seed, str(path), self.behind, known, modules)
        except Exception as error:  # one submission must never cost the others their grades
            said = f"{name} could not be graded, look at it by hand: {_sentence(error)}"
            result = self._nothing(job, "error", said)
        self.journal.write(key=key, result=result._asdict())
        return result

    def _nothing(self, job: _Job, status: str, said: str) -> Verdict:
        """A verdict without points, on a file that was not run."""
        most, file = job.exercise.points, "" if job.path is None else str(job.path)
        shown = (plain(said, 1000),)
        return Verdict(
            job.exercise.id, status, 0.0, most, self.seed, shown, (), file, "", self.behind.name
        )


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _write_whole(path: Path, text: str) -> None:
    """Replace the report as a whole; what UTF-8 cannot hold is written as an escape."""
    with replace(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write(grades: Sequence[Grade], out: Path) -> list[Path]:
    """Write all reports into ``out``; returns their paths."""
    for name in ("gradescope", "feedback"):
        (out / name).mkdir(parents=True, exist_ok=True)
    made = [out / "report.csv", out / "report.json", out / "junit.xml"]
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    for student, r in grades:
        names = "; ".join(r.names)
        row = [student, r.exercise, f"{r.points:g}", r.most, r.status, names]
        writer.writerow([_cell(v) for v in (*row, r.file, r.sha256, r.seed, r.wall)])
    whole = [{"student": student, **r._asdict()} for student, r in grades]
    _write_whole(made[0], table.getvalue())
    _write_whole(made[1], json.dumps(whole, indent=1) + "\n")
    _write_whole(made[2], _junit(grades))
    for student in dict.fromkeys(g.student for g in grades):
        own = [g.result for g in grades if g.student == student]
        name = _file_name(student)
        scope, said = out / "gradescope" / f"{name}.json", out / "feedback" / f"{name}.txt"
        _write_whole(scope, json.dumps(_gradescope(own), indent=1) + "\n")
        total = f"{sum(r.points for r in own):g} of {sum(r.most for r in own)} points"
        text = "\n\n".join([f"{_name(student)}: {total}", *map(str, own)]) + "\n"
        _write_whole(said, text)
        made += [scope, said]
    return made


def _name(text: str) -> str:
    """A student's name on one line, with nothing that a terminal or XML cannot hold."""
    return plain(text, MOST_NAME, lines=False)


def _cell(value: object) -> object:
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
            root, "testsuite", name=_name(student), tests=str(len(own)), failures=str(failed)
        )
        properties = ET.SubElement(suite, "properties")
        for key, value in (("seed", str(own[0].seed)), ("wall", own[0].wall)):
            ET.SubElement(properties, "property", name=key, value=value)
        for r in own:
            case = ET.SubElement(suite, "testcase", classname=_name(student), name=r.exercise)
            if not r.right:
                failure = ET.SubElement(
                    case, "failure", message=r.lines[0] if r.lines else r.status
                )
                failure.text = str(r)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def table(grades: Sequence[Grade]) -> str:
    """Points by student, and the commonest mistakes: what to talk about in the next lesson."""
    lines = []
    for student in dict.fromkeys(g.student for g in grades):
        own = [g.result for g in grades if g.student == student]
        marks = " ".join(f"{r.exercise} {r.points:g}" for r in own)
        lines.append(
            f"{_name(student):<20} {sum(r.points for r in own):>6g} of"
            f" {sum(r.most for r in own):<5} {marks}"
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
