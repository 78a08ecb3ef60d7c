"""What a student has done: progress.json in their folder, beside the lessons' folders."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from scratchnet.files.writing import replace
from scratchnet_course.checking import Verdict
from scratchnet_course.exercise import Exercise
from scratchnet_course.exercises import EXERCISES

NAME = "progress.json"
NEXT = "scratchnet course start {0}, then scratchnet course check {0}/{1}.py"


class Row(NamedTuple):
    """One exercise."""

    tries: int = 0
    best: float = 0.0
    status: str = ""  # of the last check
    hints: int = 0  # how many were shown


class Progress:
    """What was tried, by exercise.

    Parameters
    ----------
    folder
        The student's folder; the file is made at the first `keep`.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.rows: dict[str, Row] = {}
        try:
            whole = json.loads(self.path.read_text(encoding="utf-8"))
            self.rows = {name: _row(row) for name, row in whole.items() if name in EXERCISES}
        except FileNotFoundError:
            pass
        except (ValueError, TypeError, AttributeError, OSError):  # nothing is lost: it is put aside
            with suppress(OSError):
                self.path.replace(self.path.with_suffix(".broken.json"))

    def of(self, exercise: str) -> Row:
        """What is known of an exercise."""
        return self.rows.get(exercise, Row())

    def checked(self, result: Verdict) -> None:
        """Note a check."""
        if result.status == "empty":
            return
        row = self.of(result.exercise)
        self._keep(
            result.exercise,
            row._replace(
                tries=row.tries + 1, best=max(row.best, result.points), status=result.status
            ),
        )

    def hinted(self, exercise: str, count: int) -> None:
        """Note that so many hints were shown."""
        self._keep(exercise, self.of(exercise)._replace(hints=count))

    def _keep(self, exercise: str, row: Row) -> None:
        self.rows[exercise] = row
        whole = {name: row._asdict() for name, row in sorted(self.rows.items())}
        with suppress(OSError), replace(self.path, text=True) as file:  # a folder may be read-only
            json.dump(whole, file, indent=1)

    def table(self, titles: Mapping[str, str]) -> str:
        """Lesson by lesson what is done and what was tried, and what comes next.

        Parameters
        ----------
        titles
            Lesson -> its title.
        """
        lines = []
        for lesson, title in titles.items():
            own = [e for e in EXERCISES.values() if e.lesson == lesson]
            marks = " ".join(f"{self._mark(e):>3}" for e in own)
            earned, most = sum(self.of(e.id).best for e in own), sum(e.points for e in own)
            lines.append(f"{lesson}  {title:<48} {marks:<16}{earned:>5g} of {most}")
        earned = sum(row.best for row in self.rows.values())
        most = sum(e.points for e in EXERCISES.values())
        lines += ["", f"{earned:g} of {most} points   (ok: right, 3x: tried three times, -: open)"]
        return "\n".join([*lines, *self._next()])

    def _mark(self, exercise: Exercise) -> str:
        row = self.of(exercise.id)
        return "ok" if row.best >= exercise.points else f"{row.tries}x" if row.tries else "-"

    def _next(self) -> list[str]:
        """What to do now: go on with what was tried, or begin the one after the last."""
        every = list(EXERCISES.values())
        done = [self.of(e.id).best >= e.points for e in every]
        tried = [e for e, right in zip(every, done) if not right and self.of(e.id).tries]
        if all(done):
            return ["all done"]
        if tried:
            tries = self.of(tried[0].id).tries
            often = "once" if tries == 1 else f"{tries} times"
            return [f"next: {tried[0].id}  {tried[0].title} (tried {often})"]
        last = max((k for k, right in enumerate(done) if right), default=-1)
        one = next(every[k] for k in (*range(last + 1, len(every)), *range(last)) if not done[k])
        return [f"next: {one.id}  {one.title}", f"  {NEXT.format(one.lesson, one.id[3:])}"]


def _row(row: Any) -> Row:
    """A row as the file has it; ValueError or TypeError for what is none."""
    made = Row(**row)
    return Row(int(made.tries), float(made.best), str(made.status), int(made.hints))


def folder_of(file: str | Path = "") -> Path:
    """The student's folder: above the folder of a lesson, where the file lies in one or we are."""
    here = Path(file).resolve().parent if file else Path.cwd()
    return here.parent if here.name[:2].isdigit() else here
