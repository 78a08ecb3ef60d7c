"""The data of a figure: one run of a trace, or one sequence of it without padding."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scratchnet.arrays import Array
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.tracing import RunTrace, Trace

TIME, REVERSED_TIME = "time step t", "step of the reversed run: 0 is the sequence's last"
HOW = "make it with a target, scratchnet.trace(model, x, target), or with dy="


def run_of(source: Any) -> RunTrace:
    """A RunTrace, or the last run of a Trace, on the host; TypeError for anything else."""
    if isinstance(source, Trace):
        return source.run.on_host()
    if isinstance(source, RunTrace):
        return source.on_host()
    raise InvalidTypeError(
        f"a {type(source).__module__}.{type(source).__name__} is not a trace: expected the result"
        " of scratchnet.trace(model, x), or one of its runs"
    )


def require_backward(run: RunTrace, figure: str) -> None:
    """ValueError where the trace has no gradients; says how to get them."""
    if not run.has_backward:
        raise InvalidValueError(
            f"{figure} needs gradients, but the trace of {run.name} was made without a target:"
            f" {HOW}"
        )


def time_name(*runs: RunTrace) -> str:
    """The name of the time axis of these runs; ValueError where they have no common one."""
    reverse = {run.reversed for run in runs}
    if len(reverse) > 1:
        raise InvalidValueError(
            "a run forwards and one backwards in time have no common axis: draw them in two figures"
        )
    return REVERSED_TIME if True in reverse else TIME


def gradient_of(run: RunTrace, state: str) -> Array:
    """d of a state (T, N, H): the whole of it, or of a cell without terms what the future sent."""
    return run[f"d{state}"] if f"d{state}" in run else run[f"d{state}_next"]


def sequence(run: RunTrace, sample: int) -> RunTrace:
    """One sequence of the run's batch as a run, cut to its length: N = 1.

    Weight gradients are sums over the batch and are left out. Raises ValueError where there is no
    such sequence.
    """
    if not 0 <= sample < run.N:
        raise InvalidValueError(
            f"sample is {sample} but {run.name} has {run.N} sequences: expected 0 to {run.N - 1}"
        )
    T, one = int(run.lengths[sample]), slice(sample, sample + 1)
    changed: dict[str, Any] = {"lengths": None}
    for name, value in run.cache._asdict().items():
        if name not in run.params and hasattr(value, "ndim") and value.ndim == 3:
            changed[name] = value[: T + (name in run.cell.STATES), one]
    return replace(
        run,
        cache=run.cache._replace(**changed),
        dy=None if run.dy is None else run.dy[:T, one],
        d_next={name: d[:T, one] for name, d in run.d_next.items()},
        d_last={name: d[one] for name, d in run.d_last.items()},
        grads={name: run.grads[name][:T, one] for name in ("da",) if name in run.grads},
        observed={name: d[:T, one] for name, d in run.observed.items()},
        step_norms={},
    )


def labels_of(source: Any, run: RunTrace, sample: int, labels: Sequence[str] | None) -> list[str]:
    """A text for each step of the sequence in the run's own order of time, or none.

    ``labels`` as given, else the trace's own, which speak of its first sequence. ValueError where
    their number is wrong.
    """
    if labels is None:
        labels = source.labels if isinstance(source, Trace) and sample == 0 else ()
    T = int(run.lengths[sample])
    if labels and len(labels) not in (T, run.T):
        raise InvalidValueError(
            f"there are {len(labels)} labels but {run.name} has {T} steps: expected one for each"
        )
    texts = [str(label) for label in labels[:T]]
    return texts[::-1] if run.reversed else texts


def title_of(source: Any, title: str) -> str:
    """The title as given, else the trace's own, else none."""
    return title or (source.title if isinstance(source, Trace) else "")
