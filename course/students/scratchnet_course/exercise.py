"""What an exercise is: a function to be written, the right answer to compare it with, and the
mistakes known by name.

Wrong answers are recognised by what they compute, not by how they are written: each catalogued
mistake is an edit of the right code, is planted, run on the same arguments, and compared with what
the student's function returned. So a mistake has the same name in a loop and in an einsum.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import getsource
from typing import Any, NamedTuple

import numpy as np

from scratchnet.cells import CELLS
from scratchnet.errors import InvalidValueError
from scratchnet_course import mistakes

Arguments = dict[str, Any]


class Wrong(NamedTuple):
    """A mistake that people make in an exercise."""

    name: str  # "dh_next is not added"
    why: str  # the sentence that sets it right
    edits: tuple[tuple[str, str], ...]  # (right, wrong), each right text once in the source
    # the heading in the lesson where it is explained; the exercise's own if empty
    paragraph: str = ""


@dataclass(frozen=True)
class Exercise:
    """A function to be written.

    Parameters
    ----------
    id
        The lesson's number and the exercise's name, "06/ex2".
    right
        ``right(**arguments)`` is the answer: an array or number, or a tuple of them, named by
        ``outputs``. Its name is the name of the function that a student writes. With a ``cell``,
        ``right(module, **arguments)`` gets the cell's module.
    cases
        ``cases(rng)`` makes the arguments of several calls, from the simplest to the general one.
    outputs
        The names of what is returned.
    timed
        Outputs whose first axis is time.
    gates
        Output -> the letters of the blocks of its last axis.
    backwards
        Whether the computation runs back through time, so that errors spread to earlier steps.
    cell
        A name of ``CELLS``: its rows of ``mistakes.toml`` belong to the exercise.
    title, paragraph, hints, wrongs
        Text, from the lesson's TOML file: ``paragraph`` is the heading in the lesson.
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
    title: str = ""
    paragraph: str = ""
    hints: tuple[str, ...] = ()
    wrongs: tuple[Wrong, ...] = ()

    @property
    def function(self) -> str:
        """The name of the function that a student writes."""
        return self.right.__name__

    @property
    def lesson(self) -> str:
        """The number of its lesson, "06"."""
        return self.id.partition("/")[0]

    @property
    def catalogue(self) -> tuple[Wrong, ...]:
        """Every mistake known by name."""
        if self.cell is None:
            return self.wrongs
        rows = mistakes.of_cell(self.cell)
        return self.wrongs + tuple(Wrong(row.name, row.why, row.edits) for row in rows)

    def answer(self, arguments: Arguments) -> dict[str, Any]:
        """What is right, by name."""
        given = {
            name: np.copy(v) if isinstance(v, np.ndarray) else v for name, v in arguments.items()
        }
        answer = self.right(**given) if self.cell is None else self.right(CELLS[self.cell], **given)
        return self.named(answer)

    def planted(self, *wrongs: Wrong) -> Callable[..., dict[str, Any]]:
        """Return the right code with mistakes in it, as a function of the arguments.

        Raises
        ------
        ValueError
            If an edit's right text is not exactly once in the source, as where two mistakes edit
            the same place.
        """
        edits = tuple(edit for wrong in wrongs for edit in wrong.edits)
        if self.cell is not None:
            module = mistakes.plant(
                mistakes.Mistake(
                    id=f"{self.id}-planted", cell=self.cell, name="", why="", edits=edits
                )
            )
            return lambda **arguments: self.named(self.right(module, **arguments))
        text = mistakes.edited(getsource(self.right), edits, f"{self.id}: the right answer")
        space = dict(self.right.__globals__)
        exec(compile(text, f"<{self.id}>", "exec"), space)
        function = space[self.right.__name__]
        return lambda **arguments: self.named(function(**arguments))

    def named(self, answer: Any) -> dict[str, Any]:
        """Return what a function returned, by the names of ``outputs``.

        Raises
        ------
        ValueError
            If it is something else; the message is for the student.
        """
        if hasattr(answer, "_asdict"):
            answer = answer._asdict()
        if isinstance(answer, Mapping):
            missing = [name for name in self.outputs if name not in answer]
            if missing:
                raise InvalidValueError(
                    f"{self.function} returned {', '.join(map(str, answer))} but no"
                    f" {', '.join(missing)}"
                )
            return {name: answer[name] for name in self.outputs}
        if len(self.outputs) == 1 and not (
            isinstance(answer, (tuple, list)) and len(answer) == 1 and np.ndim(answer[0])
        ):
            try:
                return {
                    self.outputs[0]: np.asarray(
                        answer, dtype=None if np.ndim(answer) else np.float64
                    )
                }
            except ValueError:
                given = type(answer).__name__
                raise InvalidValueError(
                    f"{self.function} returned a {given} of unlike parts: expected one array"
                ) from None
        if isinstance(answer, np.ndarray) and answer.ndim and len(answer) == len(self.outputs) > 1:
            answer = list(answer)
        if not isinstance(answer, (tuple, list)) or len(answer) != len(self.outputs):
            given = (
                f"{len(answer)} values"
                if isinstance(answer, (tuple, list))
                else f"a {type(answer).__name__}"
            )
            wanted = f"{len(self.outputs)}: {', '.join(self.outputs)}"
            raise InvalidValueError(f"{self.function} returned {given}: expected {wanted}")
        return dict(zip(self.outputs, answer))
