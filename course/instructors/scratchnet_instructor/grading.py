"""Grade many submissions, several at a time.

``results.jsonl`` gets a line when a submission starts and a line with its result, so that a grader
that is stopped goes on where it was. `collecting` says whose files are graded, and `reports` what
is written of them.
"""

import hashlib
import json
import secrets
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from scratchnet_course import wall
from scratchnet_course.checking import Verdict, check_code, in_cells
from scratchnet_course.exercise import Exercise
from scratchnet_course.exercises import EXERCISES
from scratchnet_course.keys import Key
from scratchnet_course.plain import plain
from scratchnet_course.wall import Wall

from scratchnet.arrays import require_count
from scratchnet.errors import InvalidValueError, MissingFileError
from scratchnet_instructor import assigning, handins, making
from scratchnet_instructor.assigning import Assigned
from scratchnet_instructor.collecting import Collected, Handed, collect
from scratchnet_instructor.lateness import Policy

STARTS = 2  # how often a file may be started without a result before it is left out
MOST_NAME = 100  # characters of a student's name, or of a file's


class Grade(NamedTuple):
    """One exercise of one student."""

    student: str
    result: Verdict
    share: float = 0.0  # of its points that being late takes
    late: str = ""  # why

    @property
    def points(self) -> float:
        """What counts."""
        return round(self.result.points * (1 - self.share), 2)


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


def _given_out(found: Collected, assigned: Assigned | None) -> set[str]:
    """What to grade without a word on it."""
    if assigned:
        return {name for names in assigned.values() for name in names}
    some = {name for files in found.handed.values() for name in files}
    lessons = {EXERCISES[name].lesson for name in some if name in EXERCISES}
    return lessons | some.intersection(handins.HANDINS) or set(EXERCISES)


def grade(
    given: Path | Collected,
    *,
    seed: int | None = None,
    only: Sequence[str] = (),
    workers: int = 2,
    behind: Wall | None = None,
    journal: Path | None = None,
    resume: bool = False,
    policy: Policy | None = None,
    assigned: Assigned | None = None,
) -> list[Grade]:
    """Grade every student's exercises; what is missing has 0 points.

    Parameters
    ----------
    given
        The submissions, as `collect` has sorted them, or their folder or archive.
    seed
        Of the arguments, the same for all students: graded again with it, the points are the same.
        A new one, which nobody can have known, if None.
    only
        Lessons ("06") or exercises ("06/ex1"). If empty what was assigned, or else the lessons of
        which anybody has handed in an exercise, and what else was handed in.
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
    policy
        What being late costs; nothing if None.
    assigned
        Who works on what; see `assigning`. Who is not in it is graded on all of it.

    Raises
    ------
    ValueError
        If nothing is named in ``only`` that exists, there are no submissions, or ``seed`` is not
        the journal's.
    FileNotFoundError
        If there is no journal to resume.
    """
    known = EXERCISES | handins.HANDINS
    found = collect(given, only) if isinstance(given, Path) else given
    chosen_from = set(only) or _given_out(found, assigned)
    wanted = [e for e in known.values() if e.id in chosen_from or e.lesson in chosen_from]
    if not wanted:
        raise InvalidValueError(
            f"there is nothing to grade in {' '.join(only)}: there are {', '.join(known)}"
        )
    jobs = [
        _Job(student, exercise, files.get(exercise.id))
        for student, files in sorted(found.handed.items())
        for exercise in _own(student, assigned, wanted)
    ]
    with closing(Journal(journal, resume)) as kept:
        if kept.seed is not None and seed not in (None, kept.seed):
            raise InvalidValueError(f"seed is {seed}, but {journal} was begun with {kept.seed}")
        chosen = kept.seed if seed is None else seed
        chosen = secrets.randbelow(2**53) if chosen is None else chosen
        if kept.seed is None:
            kept.write(seed=chosen)
        names = sorted({j.exercise.id for j in jobs if j.handed and j.exercise.id in EXERCISES})
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
    return [
        Grade(job.student, result, *_late(job, policy))
        for job, result in zip(jobs, results)
        if result is not None
    ]


def _own(student: str, assigned: Assigned | None, wanted: list[Exercise]) -> list[Exercise]:
    """What a student is graded on."""
    names = None if assigned is None else assigning.of(student, assigned)
    return wanted if names is None else [one for one in wanted if one.id in names]


def _late(job: "_Job", policy: Policy | None) -> tuple[float, str]:
    """The share of the points that being late takes, and why."""
    if policy is None or job.handed is None:
        return 0.0, ""
    return policy.taken(job.student, job.handed.when, job.handed.late)


class _Job(NamedTuple):
    """One file to grade, or none."""

    student: str
    exercise: Exercise
    handed: Handed | None


class _Grader(NamedTuple):
    """What is the same for all files of one run."""

    seed: int
    keys: dict[str, Key]
    behind: Wall
    journal: Journal

    def verdict(self, job: _Job, again: bool = False) -> Verdict | None:
        """Return the verdict on a file; None, unless ``again``, for one that was running when the
        grader ended."""
        exercise, handed = job.exercise, job.handed
        if handed is None:
            return self._nothing(job, "absent", "nothing was handed in")
        if handed.twice:
            said = (
                f"{exercise.id} was handed in twice, and only one file may be there: {handed.twice}"
            )
            return self._nothing(job, "twice", said)
        name = plain(handed.path.name, MOST_NAME, lines=False)
        try:
            program, modules = handed.text()
            code = program.code
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
            if exercise.id in handins.HANDINS:
                result = self._handin(exercise, code, handed)._replace(sha256=digest)
            else:
                known = self.keys[exercise.id]
                some = (exercise, code, self.seed, str(handed.path), self.behind, known, modules)
                result = in_cells(check_code(*some), program)
        except Exception as error:  # one submission must never cost the others their grades
            said = f"{name} could not be graded, look at it by hand: {_sentence(error)}"
            result = self._nothing(job, "error", said)
        self.journal.write(key=key, result=result._asdict())
        return result

    def _handin(self, exercise: Exercise, text: str, handed: Handed) -> Verdict:
        """The verdict on a worksheet, a hunt or a test."""
        judged = handins.judge(exercise.id, text, self.behind)
        status = "right" if judged.share == 1 else "wrong"
        lines = tuple(plain(line, 500) for line in judged.lines)
        points, most = round(exercise.points * judged.share, 2), exercise.points
        return Verdict(
            *(exercise.id, status, points, most, self.seed, lines, (), str(handed.path)),
            wall=self.behind.name,
        )

    def _nothing(self, job: _Job, status: str, said: str) -> Verdict:
        """A verdict without points, on a file that was not run."""
        most, file = job.exercise.points, str(job.handed.path) if job.handed else ""
        shown = (plain(said, 1000),)
        return Verdict(
            job.exercise.id, status, 0.0, most, self.seed, shown, (), file, "", self.behind.name
        )


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
