"""Lessons as text: percent scripts, cut into cells, with the solutions taken out or put into files.

A lesson is a Python script with ``# %%`` before each cell and ``# %% [markdown]`` before text. A
cell that begins with ``# exercise 06/ex2`` is an exercise: what stands between ``# BEGIN SOLUTION``
and ``# END SOLUTION`` is for instructors.
"""

import re
from typing import NamedTuple

MARK = re.compile(r"^# %%( \[markdown\])?\s*$", re.M)
EXERCISE = re.compile(r"\A# exercise (\d\d/ex\d+)\s*\n")
SOLUTION = re.compile(
    r"^(?P<indent>[ \t]*)# BEGIN SOLUTION\n(?P<body>.*?)^[ \t]*# END SOLUTION\n?", re.M | re.S
)


class Cell(NamedTuple):
    """One cell."""

    markdown: bool
    text: str

    @property
    def exercise(self) -> str | None:
        """Its exercise's id, where it is one."""
        found = None if self.markdown else EXERCISE.match(self.text)
        return found.group(1) if found else None


def cells(script: str) -> list[Cell]:
    """A percent script's cells. Raises ValueError where marks of a solution do not come in
    pairs."""
    starts = list(MARK.finditer(script))
    ends = [*(mark.start() for mark in starts[1:]), len(script)]
    found = [
        Cell(bool(mark.group(1)), script[mark.end() : end].strip("\n") + "\n")
        for mark, end in zip(starts, ends)
    ]
    for cell in found:
        begun, ended = cell.text.count("# BEGIN SOLUTION"), cell.text.count("# END SOLUTION")
        if begun != ended or (begun > 0) != (cell.exercise is not None):
            raise ValueError(
                f"a cell has {begun} beginnings and {ended} ends of a solution: {cell.text[:60]!r}"
            )
    return found


def script(parts: list[Cell]) -> str:
    """Cells as a percent script."""
    return "\n".join(f"# %%{' [markdown]' if cell.markdown else ''}\n{cell.text}" for cell in parts)


def stub(text: str, exercise: str) -> str:
    """An exercise's cell without its solution: in its place it says that it is not written."""
    return SOLUTION.sub(
        lambda m: f'{m["indent"]}raise NotImplementedError("{exercise}: write this")\n', text
    )


def solved(text: str) -> str:
    """An exercise's cell with its solution and without the marks."""
    return SOLUTION.sub(lambda m: m["body"], text)


def student(parts: list[Cell]) -> list[Cell]:
    """A lesson as a student gets it."""
    return [
        cell if cell.exercise is None else cell._replace(text=stub(cell.text, cell.exercise))
        for cell in parts
    ]


def teacher(parts: list[Cell]) -> list[Cell]:
    """A lesson with its solutions, without the marks."""
    return [
        cell if cell.exercise is None else cell._replace(text=solved(cell.text)) for cell in parts
    ]


def solution_lines(parts: list[Cell]) -> set[str]:
    """Every line of a solution that says something: what must not be found in what students get."""
    found = set()
    for cell in parts:
        for match in SOLUTION.finditer(cell.text):
            found |= {line.strip() for line in match["body"].splitlines()}
    return {
        line
        for line in found
        if len(line) > 12 and not line.startswith(("#", "return {", "for t in"))
    }


def headings(parts: list[Cell]) -> list[str]:
    """The headings of a lesson, without their marks: what an exercise points to."""
    lines = (line for cell in parts if cell.markdown for line in cell.text.splitlines())
    return [line.lstrip("# ").strip() for line in lines if line.startswith("# #")]


def title(parts: list[Cell]) -> str:
    """The lesson's first heading."""
    return headings(parts)[0]
