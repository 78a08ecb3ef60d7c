"""Figures of a trace by the name of their function: what ``scratchnet plot`` draws."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from scratchnet.errors import InvalidValueError
from scratchnet.files import make_folder, save_figure
from scratchnet.plots.cell import cell
from scratchnet.plots.gates import gates, saturation
from scratchnet.plots.gradients import gradient_norms, weight_gradients
from scratchnet.plots.jacobians import jacobians
from scratchnet.plots.per_loss import per_loss_gradients
from scratchnet.plots.river import river
from scratchnet.plots.source import sequence
from scratchnet.plots.style import Look, Size
from scratchnet.plots.text import text
from scratchnet.tracing import RunTrace, Trace


class Wanted(NamedTuple):
    """Options of a figure besides its kind; None is the figure's own default."""

    sample: int | None = None
    k1: int | None = None
    k2: int | None = None
    unit: int | None = None
    t: int | None = None
    term: str | None = None
    labels: tuple[str, ...] = ()
    title: str = ""
    size: Size = "slide"

    @property
    def one(self) -> int:
        """The sequence, for figures of a single one."""
        return self.sample or 0

    def common(self) -> Look:
        """What figures of a single sequence take."""
        return {"sample": self.one, "title": self.title, "size": self.size}


def _river(run: RunTrace, want: Wanted) -> Figure:
    return river({run.cell_name.upper(): run}, **want.common(), labels=want.labels)


KINDS: dict[str, Callable[[RunTrace, Wanted], Figure]] = {
    "river": _river,
    "cell": lambda run, want: cell(
        run,
        want.t,
        want.unit,
        want.term,
        walk="backward" if run.has_backward else "forward",
        **want.common(),
    ),
    "gates": lambda run, want: gates(run, **want.common(), labels=want.labels),
    "saturation": lambda run, want: saturation(
        run, sample=want.sample, title=want.title, size=want.size
    ),
    "gradient_norms": lambda run, want: gradient_norms(
        {run.cell_name.upper(): run}, sample=want.sample, title=want.title, size=want.size
    ),
    "per_loss_gradients": lambda run, want: per_loss_gradients(
        run, **want.common(), k1=want.k1, k2=want.k2, labels=want.labels
    ),
    "jacobians": lambda run, want: jacobians(run, **want.common()),
    "weight_gradients": lambda run, want: weight_gradients(
        _whole_batch(run, want), title=want.title, size=want.size
    ),
    "text": lambda run, want: text(run, want.labels, **want.common(), unit=want.unit),
}


def _whole_batch(run: RunTrace, want: Wanted) -> RunTrace:
    if want.sample is not None and run.N > 1:
        raise InvalidValueError("weight gradients are sums over the batch: sample has no use here")
    return run


# options that only some kinds take
TAKES = {"k1": ("per_loss_gradients",), "k2": ("per_loss_gradients",), "unit": ("text", "cell")}
TAKES |= {"t": ("cell",), "term": ("cell",)}


def _default(trace: Trace, kind: str) -> RunTrace:
    forwards = [run for run in trace.runs.values() if not run.reversed]
    return forwards[-1] if kind == "text" and forwards else trace.run


def write(
    trace: Trace,
    kind: str,
    out: Path,
    *,
    run: str | None = None,
    sample: int | None = None,
    k1: int | None = None,
    k2: int | None = None,
    unit: int | None = None,
    t: int | None = None,
    term: str | None = None,
    size: Size = "slide",
) -> Iterator[str]:
    """Draw one kind into the file ``out``, or "all" into the folder ``out``; yield a line each.

    Parameters
    ----------
    trace, kind, out : the trace, a name of ``KINDS`` or "all", the file or folder
    run : a run's name; by default the last one, and for text the last forward direction
    sample, k1, k2, unit, t, term, size : as in the figures. Of "all", kinds that the trace does not
        allow are left out, and their line says why

    Raises
    ------
    ValueError
        Where the one kind cannot be drawn, or for a name or number that does not exist.
    """
    if kind not in ("all", *KINDS):
        raise InvalidValueError(
            f"there is no kind {kind!r}: expected all or one of {', '.join(KINDS)}"
        )
    if run is not None and run not in trace.runs:
        raise InvalidValueError(f"the trace has no run {run!r}: it has {', '.join(trace.runs)}")
    options = {"k1": k1, "k2": k2, "unit": unit, "t": t, "term": term}
    for name, value in options.items():
        if value is not None and kind not in ("all", *TAKES[name]):
            raise InvalidValueError(
                f"{name} is {value}, but only {' or '.join(TAKES[name])} has a use for it, not"
                f" {kind}"
            )
    chosen = _default(trace, kind) if run is None else trace[run]
    if sample is not None:
        sequence(chosen, sample)  # there must be one
    title = ", ".join(filter(None, [trace.title, chosen.name if len(trace.runs) > 1 else ""]))
    # labels are those of the first sequence
    labels = () if sample else trace.labels
    want = Wanted(sample, k1, k2, unit, t, term, labels, title, size)
    if kind != "all":
        make_folder(out.parent)
        save_figure(KINDS[kind](chosen, want), out)
        yield str(out)
        return
    make_folder(out)
    for name, draw in KINDS.items():
        try:
            figure = draw(chosen, want)
        except ValueError as error:
            yield f"{name} left out: {error}"
            continue
        path = out / f"{name}.png"
        save_figure(figure, path)
        yield str(path)
