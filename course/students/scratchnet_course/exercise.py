"""What an exercise asks for: a function with its arguments and outputs. What is right is in its
key, as numbers; see `keys`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scratchnet.errors import InvalidValueError

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Exercise:
    """A function to be written.

    Parameters
    ----------
    id
        The lesson's number and the exercise's name, "06/ex2".
    function
        The name of the function that a student writes.
    outputs
        The names of what is returned.
    timed
        Outputs whose first axis is time.
    gates
        Output -> the letters of the blocks of its last axis.
    backwards
        Whether the computation runs back through time, so that errors spread to earlier steps.
    tolerance
        Relative: what differs by more is wrong, in whatever precision it is computed.
    seconds
        The time limit of all cases together.
    points
        For a right answer.
    title, paragraph, hints
        Text; ``paragraph`` is the heading in the lesson.
    """

    id: str
    function: str
    outputs: tuple[str, ...]
    timed: tuple[str, ...] = ()
    gates: Mapping[str, str] = field(default_factory=dict)
    backwards: bool = True
    tolerance: float = 1e-6
    seconds: float = 20.0
    points: int = 10
    title: str = ""
    paragraph: str = ""
    hints: tuple[str, ...] = ()

    @property
    def lesson(self) -> str:
        """The number of its lesson, "06"."""
        return self.id.partition("/")[0]

    def named(self, answer: Any, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what a function returned, by the names of ``outputs``.

        Parameters
        ----------
        answer
            An array or number, several in a tuple, a list or an array, or a dictionary.
        like
            The right answer, whose shapes tell how a list is meant: as one array, or as several.

        Raises
        ------
        ValueError
            If it is something else; the message is for the student.
        """
        if hasattr(answer, "_asdict"):
            answer = answer._asdict()
        if isinstance(answer, Mapping):
            missing = [name for name in self.outputs if name not in answer]
            if len(missing) == len(self.outputs) == len(answer):
                answer = list(answer.values())  # under other names, in their order
                answer = answer[0] if len(answer) == 1 else answer
            elif missing:
                raise InvalidValueError(
                    f"{self.function} returned {', '.join(map(str, answer))} but no"
                    f" {', '.join(missing)}"
                )
            else:
                return {name: answer[name] for name in self.outputs}
        if len(self.outputs) == 1:
            return {self.outputs[0]: self._one(answer, like)}
        if isinstance(answer, np.ndarray) and answer.ndim and len(answer) == len(self.outputs):
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

    def _one(self, answer: Any, like: Mapping[str, Any] | None) -> Any:
        """The only output: as it is, as an array of its parts, or its only part."""
        if not isinstance(answer, (tuple, list)):
            return np.asarray(answer)
        shape = np.shape(like[self.outputs[0]]) if like else None
        if len(answer) == 1 and np.shape(answer[0]) == shape:
            return np.asarray(answer[0])
        try:
            return np.asarray(answer, dtype=np.float64)
        except (ValueError, TypeError):
            raise InvalidValueError(
                f"{self.function} returned a {type(answer).__name__} of unlike parts: expected one"
                " array"
            ) from None
