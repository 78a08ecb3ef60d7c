"""Lessons as text: percent scripts, cut into cells, and the files that are built from them.

A lesson is a Python script with ``# %%`` before each cell and ``# %% [markdown]`` before text. A
cell that begins with ``# exercise 06/ex2`` is an exercise: the text between ``# BEGIN SOLUTION``
and ``# END SOLUTION`` is for instructors.

``setup.py`` of both distributions loads this file alone, so it imports the standard library only.
"""

import hashlib
import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

MARK = re.compile(r"^# %%( \[markdown\])?\s*$", re.M)
EXERCISE = re.compile(r"\A# exercise (\d\d/ex\d+)\s*\n")
SOLUTION = re.compile(
    r"^(?P<indent>[ \t]*)# BEGIN SOLUTION\n(?P<body>.*?)^[ \t]*# END SOLUTION\n?", re.M | re.S
)
# a comment, and lines that a lesson's own code may have, too
PLAIN = re.compile(r"#|return \{|for t in|\"\w+\": \w+,$")


class NotebookCell(NamedTuple):
    """One cell."""

    markdown: bool
    text: str

    @property
    def exercise(self) -> str | None:
        """Its exercise's id, where it is one."""
        found = None if self.markdown else EXERCISE.match(self.text)
        return found.group(1) if found else None


def cells(script: str) -> list[NotebookCell]:
    """Return a percent script's cells.

    Raises
    ------
    ValueError
        If the marks of a solution are not in pairs, or not in an exercise.
    """
    starts = list(MARK.finditer(script))
    ends = [*(mark.start() for mark in starts[1:]), len(script)]
    found = [
        NotebookCell(bool(mark.group(1)), script[mark.end() : end].strip("\n") + "\n")
        for mark, end in zip(starts, ends)
    ]
    for cell in found:
        begun, ended = cell.text.count("# BEGIN SOLUTION"), cell.text.count("# END SOLUTION")
        if begun != ended or (begun > 0) != (cell.exercise is not None):
            raise ValueError(
                f"a cell has {begun} beginnings and {ended} ends of a solution: {cell.text[:60]!r}"
            )
    return found


def script(parts: list[NotebookCell]) -> str:
    """Cells as a percent script."""
    return "\n".join(f"# %%{' [markdown]' if cell.markdown else ''}\n{cell.text}" for cell in parts)


def notebook(parts: list[NotebookCell]) -> str:
    """Return cells as the JSON text of a notebook without output (nbformat 4.5).

    A markdown cell loses the ``# `` before its lines, and a commented magic line its comment mark,
    as in jupytext's percent format.
    """
    made: list[dict[str, object]] = []
    for number, cell in enumerate(parts):
        mark, shown = ("# ?", "") if cell.markdown else ("# (%\\w)", r"\1")
        text = re.sub(f"^{mark}", shown, cell.text.strip("\n"), flags=re.M)
        code: dict[str, object] = {} if cell.markdown else {"execution_count": None, "outputs": []}
        made.append(
            {
                "cell_type": "markdown" if cell.markdown else "code",
                "id": f"cell{number:03d}",
                "metadata": {},
                "source": text.splitlines(keepends=True),
                **code,
            }
        )
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def stub(text: str, exercise: str) -> str:
    """An exercise's cell without its solution: in its place it says that it is not written."""
    return SOLUTION.sub(
        lambda m: f'{m["indent"]}raise NotImplementedError("{exercise}: write this")\n', text
    )


def solved(text: str) -> str:
    """An exercise's cell with its solution and without the marks."""
    return SOLUTION.sub(lambda m: m["body"], text)


def student(parts: list[NotebookCell]) -> list[NotebookCell]:
    """A lesson as a student gets it."""
    return [
        cell if cell.exercise is None else cell._replace(text=stub(cell.text, cell.exercise))
        for cell in parts
    ]


def teacher(parts: list[NotebookCell]) -> list[NotebookCell]:
    """A lesson with its solutions, without the marks."""
    return [
        cell if cell.exercise is None else cell._replace(text=solved(cell.text)) for cell in parts
    ]


def solution_lines(parts: list[NotebookCell]) -> set[str]:
    """Every line of a solution that says something: what students must not get."""
    bodies = [match["body"] for cell in parts for match in SOLUTION.finditer(cell.text)]
    lines = {line.strip() for body in bodies for line in body.splitlines()}
    return {line for line in lines if len(line) > 12 and not PLAIN.match(line)}


def headings(parts: list[NotebookCell]) -> list[str]:
    """The headings of a lesson, without their marks: what an exercise points to."""
    lines = (line for cell in parts if cell.markdown for line in cell.text.splitlines())
    return [line.lstrip("# ").strip() for line in lines if line.startswith("# #")]


def title(parts: list[NotebookCell]) -> str:
    """The lesson's first heading."""
    return headings(parts)[0]


# ---- the files that are built from the lessons -------------------------------------------------


def sources(tutorials: Path) -> list[Path]:
    """The lessons in a folder, in order."""
    return sorted(tutorials.glob("[0-9][0-9]_*.py"))


def student_files(lesson: Path) -> dict[str, str]:
    """Return what a student gets of a lesson: file name -> text, without a line of a solution."""
    parts = student(cells(lesson.read_text(encoding="utf-8")))
    whole = {lesson.name: script(parts), f"{lesson.stem}.ipynb": notebook(parts)}
    return whole | exercise_files(parts)


def solution_files(lesson: Path) -> dict[str, str]:
    """Return what an instructor gets of a lesson: file name -> text, with every solution."""
    parts = teacher(cells(lesson.read_text(encoding="utf-8")))
    return {lesson.name: script(parts)} | exercise_files(parts)


def exercise_files(parts: list[NotebookCell]) -> dict[str, str]:
    """A file for each exercise: below the line that names it is what is asked, as in the lesson."""
    files = {}
    for task, cell in pairwise(parts):
        if cell.exercise:
            mark, _, code = cell.text.partition("\n")
            asked = re.sub(r"^# ## Exercise \S+: ", "# ", task.text) if task.markdown else ""
            asked = f"#\n{asked}" if asked else ""
            files[f"{cell.exercise[3:]}.py"] = f"{mark}\n{asked}\n{code}"
    return files


def built(package: Path, name: str, files: Callable[[Path], dict[str, str]]) -> Path:
    """Return a package's folder of built files; in a checkout, bring it up to date first.

    Parameters
    ----------
    package
        The folder of scratchnet_course or scratchnet_instructor. In a checkout, where setup.py is
        next to it and the lessons are two folders above that, files are written if any lesson has
        changed. A wheel and a source archive carry the built files.
    name
        The folder inside the package; git ignores it.
    files
        student_files or solution_files.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist and there are no lessons to build it from.
    """
    out, tutorials = package / name, package.parents[2] / "tutorials"
    lessons = sources(tutorials) if (package.parent / "setup.py").is_file() else []
    if lessons:
        texts = [path.read_bytes() for path in (*lessons, Path(__file__))]
        digest = hashlib.sha256(b"\0".join(texts)).hexdigest()
        stamp = out / "built_from"
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != digest:
            made = {
                out / lesson.stem[:2] / file: text
                for lesson in lessons
                for file, text in files(lesson).items()
            }
            for old in set(out.glob("*/*.*")) - made.keys():
                old.unlink(missing_ok=True)
            for path, text in made.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            stamp.write_text(digest, encoding="utf-8")
    if not out.is_dir():
        raise FileNotFoundError(
            f"{out} does not exist, and no lessons to build it from: {tutorials}"
        )
    return out
