"""What a gradient check found, as a table and in words."""

from typing import NamedTuple

CANNOT_SEE = """\
The check compares a backward pass with its own forward pass, in float64. It cannot see
- a forward pass that computes something else than intended: compare with a second implementation;
- a mistake that needs more steps, other sizes or other options than the cases that were run;
- an error below the tolerance, or below 1e-11 of the largest gradient;
- at a kink, which of the slopes beside it is taken;
- what happens in float32, on a GPU or in a compiled engine: those are compared with this one."""


class Row(NamedTuple):
    """The comparison of one tensor, or of one gate's block in it."""

    tensor: str  # "dW_h"
    gate: str  # "f", or "" where the tensor has no gate blocks
    error: float  # the largest relative error in it; infinite for a NaN
    worst: tuple[int, ...]  # index of the worst element in the whole tensor
    ours: float
    numeric: float


class Report(NamedTuple):
    """What a check found.  ``str(report)`` is the table, ``report.explain()`` the diagnosis."""

    rows: list[Row]
    tolerance: float
    steps: int | None = None  # how many time steps were run, where there is time
    final_states: bool = True  # whether a gradient arrived at the final states
    origin: "Report | None" = None  # the check over the fewest last steps that fail
    notes: tuple[str, ...] = ()  # what else is wrong: an argument was changed in place, say
    cases: tuple[str, ...] = ()  # what was run, a line each: sizes, padding, how it was compared
    doubts: int = 0  # elements at a kink, or that no step measures to the tolerance

    @property
    def wrong(self) -> list[Row]:
        """The rows above the tolerance, worst first."""
        wrong = [row for row in self.rows if not row.error <= self.tolerance]  # so a NaN is wrong
        return sorted(wrong, key=lambda row: -row.error)

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return not self.wrong and not self.notes

    @property
    def error(self) -> float:
        """The largest relative error of all."""
        return max(row.error for row in self.rows)

    @property
    def begins(self) -> int | None:
        """The step, counted from 0, at which the error begins, going backwards from the last."""
        if self.origin is None or self.steps is None or self.origin.steps is None:
            return None
        return self.steps - self.origin.steps

    def __str__(self) -> str:
        width = max(len("gradient"), *(len(row.tensor) for row in self.rows))
        lines = [f"{'gradient':<{width}} {'gate':<4}  relative error"]
        for row in self.rows:
            mark = "" if row.error <= self.tolerance else "   WRONG"
            lines.append(f"{row.tensor:<{width}} {row.gate:<4}  {row.error:>14.1e}{mark}")
        if self.doubts:
            few = "at a kink, or too small or too sharply bent to measure to the tolerance"
            lines.append(f"{self.doubts} elements are {few}")
        return "\n".join([*lines, *self.notes, *self.cases])

    def explain(self) -> str:
        """The diagnosis: tensor, gate, time step, worst element, and which gradients are right."""
        lines = list(self.notes)
        first = self.origin or self
        if first.wrong:
            # a gate's block says more than dx, to which all gates contribute
            gated = [row for row in first.wrong if row.gate]
            worst = (gated or first.wrong)[0]
            gates = f" in gate {first.gates_of(worst.tensor)}" if worst.gate else ""
            size = f"relative error {worst.error:.1e}, tolerance {self.tolerance:.0e}"
            lines.append(f"{worst.tensor} is wrong{gates}: {size}")
            at = f"{worst.tensor}[{', '.join(map(str, worst.worst))}]"
            lines.append(
                f"  worst element {at}: yours {worst.ours:.8g}, numeric {worst.numeric:.8g}"
            )
            if self.begins is not None:
                lines.append(f"  {self._when()}")
                if first.final_states:
                    lines.append(
                        "  and only where a gradient arrives at the final states: with a loss on y"
                        " alone it is right"
                    )
            lines.append(f"  {first.summary()}")
            lines += [f"  in the case {case}" for case in self.cases]
            if first is not self and first.steps != self.steps:
                lines.append(f"  over all {self.steps} steps {self.summary()}")
        return "\n".join(lines)

    def gates_of(self, tensor: str) -> str:
        """The gates in which a tensor is wrong: "i, f"."""
        wrong = self.wrong
        return ", ".join(row.gate for row in self.rows if row.tensor == tensor and row in wrong)

    def summary(self) -> str:
        """Which gradients are wrong, with their gates, and which are right, in one line."""
        bad = dict.fromkeys(row.tensor for row in self.rows if row in self.wrong)
        good = dict.fromkeys(row.tensor for row in self.rows if row.tensor not in bad)
        wrong = ", ".join(f"{t} ({self.gates_of(t)})" if self.gates_of(t) else t for t in bad)
        return f"wrong: {wrong}; right: {', '.join(good) or 'none'}"

    def _when(self) -> str:
        begins, steps = self.begins, self.steps
        if steps == 1 or begins == (steps or 0) - 1:
            return f"begins at t={begins}, the last step of {steps}: wrong within a single step"
        return (
            f"begins at t={begins} of 0 to {(steps or 0) - 1}, going backwards: the steps after it"
            " are right"
        )


class GradientError(AssertionError):
    """A gradient is wrong: the message says where; ``report`` holds every comparison."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.explain())
        self.report = report
