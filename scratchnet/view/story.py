"""A guided walk through a trace: eight to ten captioned stops, made from its own numbers.

``to_html(trace, path, story=...)`` takes True (this walk), False, or stops of one's own.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from scratchnet.errors import InvalidTypeError, OutOfRangeError
from scratchnet.tracing.order import unit_order
from scratchnet.tracing.program import Program
from scratchnet.tracing.run import RunTrace
from scratchnet.tracing.terms import program_for
from scratchnet.tracing.trace import Trace
from scratchnet.view.walk import Step, carry, name_of, steps

AROUND = ("clip", "update")  # steps after the cell's own


class Stop(NamedTuple):
    """One stop of a walk: a caption and a place of the page. None leaves it where it was."""

    title: str
    say: str
    t: int | None = None
    term: str | None = None  # what the micro-step computes, such as "dc", or AROUND
    unit: int | None = None
    zoom: str = "cell"  # or "river"
    walk: str = "backward"


def as_data(story: bool | Sequence[Stop], trace: Trace, run: RunTrace, n: int) -> list[Step]:
    """The stops as data for the page, each with the number of its micro-step.

    Raises TypeError or IndexError for a stop that is none, or a step that the run does not have.
    """
    program = program_for(run.cell, run.cache)
    unseen = f"d{run.cell.STATES[-1]}" not in run  # no backward pass, or one that hid its terms
    if story is False or program is None or (story is True and unseen):
        return []
    stops = list(the_walk(run, program, n) if story is True else story)
    walks = steps(program, run.cell)
    found = []
    for stop in stops:
        if not isinstance(stop, Stop):
            raise InvalidTypeError(f"a stop of the story is a {type(stop).__name__}: expected Stop")
        if stop.t is not None and not 0 <= stop.t < run.lengths[n]:
            raise OutOfRangeError(
                f"the stop {stop.title!r} is at t={stop.t} but {run.name} has {run.lengths[n]}"
                f" steps: expected 0 to {run.lengths[n] - 1}"
            )
        data = {k: v for k, v in stop._asdict().items() if v is not None and k != "term"}
        if stop.term in AROUND:
            data["around"] = stop.term
        elif stop.term is not None:
            data["step"] = _place(walks[stop.walk], stop.term)
        found.append(data)
    return found


def _place(walk: list[Step], term: str) -> int:
    for k, step in enumerate(walk):
        if term in step["terms"] or term.removeprefix("d") in step.get("weights", ()):
            return k
    raise OutOfRangeError(f"no micro-step of the cell computes {term!r}")


def the_walk(run: RunTrace, program: Program, n: int = 0) -> Iterator[Stop]:
    """From the loss back to the first step, and into the weights."""
    T, states = int(run.lengths[n]), run.cell.STATES
    carried = states[-1]
    unit = int(unit_order(run, n)[0])
    sizes = np.linalg.norm(run[f"d{carried}"][:T, n], axis=-1)
    losses = _losses(run, n)
    last, middle = losses[-1], T // 2
    yield Stop(
        "The river",
        f"The network, unrolled over {T} steps. The gradient flows from right to left; a ribbon is"
        " as wide as the gradient of a state is large, on a logarithmic scale.",
        zoom="river",
    )
    many = f"at {len(losses)} steps" if len(losses) > 1 else f"at step {last} only"
    yield Stop(
        "The loss",
        f"The loss sends a gradient into the network {many}. At the last step there is no future:"
        " this is all that arrives.",
        last,
        "dh",
        unit,
    )
    if T > 1:
        yield Stop(
            "Two gradients meet in h",
            f"At step {middle} h is read twice: by the output, and by step {middle + 1}. What both"
            " send back is added.",
            middle,
            "dh",
            unit,
        )
    if carried != "h":
        yield Stop(
            f"Two gradients meet in {carried}",
            f"{carried} is read twice too: by h, and by the next step. This sum is the gradient"
            " that the cell remembers with.",
            middle,
            f"d{carried}",
            unit,
        )
    yield from _back_in_time(run, program, n, carried, middle, unit)
    left = sizes[0] / sizes[last] if sizes[last] > 0 else np.nan
    rest = f"{left:.2g} times" if np.isfinite(left) else "not a finite multiple of"
    yield Stop(
        "Back at the first step",
        f"{last} steps back the gradient of {carried} is {rest} what it was at step {last}. It"
        " tells the network what to remember from the very beginning.",
        0,
        f"d{carried}",
        unit,
    )
    first = next(iter(run.params))
    yield Stop(
        "The weights collect",
        "Every step used the same weights, so every step adds its share to their gradient: here"
        " this step's share, the sum so far, and the whole.",
        0,
        f"d{first}",
        unit,
    )
    norm = float(np.sqrt(sum(float(np.sum(run.grads[f"d{p}"] ** 2)) for p in run.params)))
    clipped = (
        f"clipping at 1 multiplies all of it by {1 / norm:.2g}" if norm > 1 else "1 is not exceeded"
    )
    yield Stop(
        "Clip",
        f"Together the gradients of these weights have the norm {norm:.3g}: {clipped}. Only the"
        " length changes, not the direction. Try the slider.",
        0,
        "clip",
        unit,
    )
    yield Stop(
        "The optimiser's step",
        "Last, every weight moves a little against its gradient: w becomes w - lr dw. Then the"
        " next batch comes, forwards and back again.",
        0,
        "update",
        unit,
    )


def _back_in_time(
    run: RunTrace, program: Program, n: int, carried: str, t: int, unit: int
) -> Iterator[Stop]:
    """Along the carry path where the cell has one, else through W_h."""
    through = f"d{carried}_prev"
    factor = carry(run.cell, program).get(carried)
    if factor is None:
        yield Stop(
            "Through W_h, again and again",
            "To reach the step before, the gradient is multiplied by the slope of the activation"
            " and by W_h. The next step back does the same with the same W_h: what shrinks once"
            " shrinks every time.",
            t,
            through,
            unit,
        )
        return
    gate, rest = _gate_of(program, factor, run.cell.GATES)
    if gate is None:
        yield Stop(
            f"Straight along {carried}",
            f"The gradient of {carried} goes to the step before as it is: nothing multiplies it.",
            t,
            through,
            unit,
        )
        return
    name = f"1 - {gate}" if rest else gate
    called = f"by {name}" if rest else f"by the {name_of(gate)} {gate}"
    values = run[gate][: int(run.lengths[n]), n, unit]
    values = 1 - values if rest else values
    yield Stop(
        f"Times {name}",
        f"Straight along {carried} to the step before, the gradient is multiplied {called} alone."
        f" For unit {unit} at step {t} it is {values[t]:.3g}.",
        t,
        through,
        unit,
    )
    if t > 0:
        span = values[1 : t + 1]
        with np.errstate(under="ignore"):
            product = float(np.prod(span))
        yield Stop(
            f"Times {name}, again and again",
            f"One step earlier the same again. From step {t} to the first one the {len(span)}"
            f" factors multiply to {product:.2g}: near 1 they let the gradient"
            " through.",
            t - 1,
            through,
            unit,
        )


def _gate_of(program: Program, factor: int, gates: str) -> tuple[str | None, bool]:
    """The gate that multiplies a state, and True where it is the rest, 1 - gate; None for none."""
    kind, *args = program.ops[factor]
    rest = kind == "subtract" and program.ops[args[0]] == ("constant", 1.0)
    at = args[1] if rest else factor
    return next((g for g in gates if program.forward.get(g) == at), None), rest


def _losses(run: RunTrace, n: int) -> list[int]:
    """The steps at which a gradient comes from the loss; the final state's counts as the last."""
    T = int(run.lengths[n])
    own = np.abs(run["dy"][:T, n]).sum(axis=1)
    own[-1] += sum(float(np.abs(d[n]).sum()) for d in run.d_last.values())
    found = [int(t) for t in np.flatnonzero(own)]
    return found or [T - 1]
