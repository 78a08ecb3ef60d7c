"""What is right in an exercise: a function, the arguments of its checks, and the mistakes known by
name. Only here: students get the numbers that `making` makes of it.

Wrong answers are recognised by what they compute, not by how they are written: each mistake is an
edit of the right code, and is run on the same arguments as the student's function. So a mistake has
the same name in a loop and in an einsum.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from inspect import getsource
from typing import Any, NamedTuple

import numpy as np
from scratchnet_course.exercise import Arguments, Exercise

from scratchnet_instructor import mistakes

__all__ = ["Arguments", "Reference", "Wrong"]


class Wrong(NamedTuple):
    """A mistake that people make in an exercise."""

    name: str  # "dh_next is not added"
    why: str  # the sentence that sets it right
    edits: tuple[tuple[str, str], ...]  # (right, wrong), each right text once in the source
    # the heading in the lesson where it is explained; the exercise's own if empty
    paragraph: str = ""


@dataclass(frozen=True, eq=False)
class Reference:
    """An exercise with its right answer.

    Parameters
    ----------
    id, outputs, timed, gates, backwards, tolerance, seconds, points, title, paragraph, hints
        See `Exercise`. The texts come from the lesson's TOML file.
    right
        ``right(**arguments)`` is the answer: an array or number, or a tuple of them, named by
        ``outputs``. Its name is the name of the function that a student writes, and its
        variables have the lesson's names: `mutants` makes mistakes of it.
    cases
        ``cases(rng)`` makes the arguments of several calls, from the simplest to the general one.
        Sizes are different primes, so that a size is recognised in a number.
    cell
        A name of ``CELLS``: its rows of ``mistakes.toml`` belong to the exercise.
    by_cell
        ``by_cell(module, **arguments)``: what `right` gives, by a module of that cell.
    wrongs
        The mistakes of the TOML file.
    """

    id: str
    right: Callable[..., Any]
    cases: Callable[[np.random.Generator], Sequence[Arguments]]
    outputs: tuple[str, ...]
    timed: tuple[str, ...] = ()
    gates: Mapping[str, str] = field(default_factory=dict)
    backwards: bool = True
    tolerance: float = 1e-6
    seconds: float = 20.0
    points: int = 10
    cell: str | None = None
    by_cell: Callable[..., Any] | None = None
    title: str = ""
    paragraph: str = ""
    hints: tuple[str, ...] = ()
    wrongs: tuple[Wrong, ...] = ()

    @cached_property
    def exercise(self) -> Exercise:
        """What students get of it."""
        return Exercise(
            *(self.id, self.right.__name__, self.outputs, self.timed, self.gates, self.backwards),
            *(self.tolerance, self.seconds, self.points, self.title, self.paragraph, self.hints),
        )

    @property
    def lesson(self) -> str:
        """The number of its lesson, "06"."""
        return self.exercise.lesson

    @cached_property
    def catalogue(self) -> tuple[Wrong, ...]:
        """Every mistake with a name and a sentence of its own."""
        if self.cell is None:
            return self.wrongs
        rows = mistakes.of_cell(self.cell)
        return self.wrongs + tuple(Wrong(row.name, row.why, row.edits) for row in rows)

    def answer(self, arguments: Arguments) -> dict[str, Any]:
        """What is right, by name."""
        given = {
            name: np.copy(v) if isinstance(v, np.ndarray) else v for name, v in arguments.items()
        }
        return self.exercise.named(self.right(**given))

    def planted(self, *wrongs: Wrong) -> Callable[..., dict[str, Any]]:
        """Return the right code with mistakes in it, as a function of the arguments.

        Raises
        ------
        ValueError
            If an edit's right text is not exactly once in the source, as where two mistakes edit
            the same place.
        """
        edits = tuple(edit for wrong in wrongs for edit in wrong.edits)
        if self.by_cell is not None and self.cell is not None:
            by_cell = self.by_cell
            row = mistakes.Mistake(f"{self.id}-planted", "", "", edits, self.cell)
            module = mistakes.plant(row)
            return lambda **arguments: self.exercise.named(by_cell(module, **arguments))
        text = mistakes.edited(getsource(self.right), edits, f"{self.id}: the right answer")
        space = dict(self.right.__globals__)
        exec(compile(text, f"<{self.id}>", "exec"), space)
        function = space[self.right.__name__]
        return lambda **arguments: self.exercise.named(function(**arguments))
