"""How far gradients reach: norms over time, and each step's part of the weight gradients."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scratchnet.arrays import Array, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.plots.source import (
    gradient_of,
    require_backward,
    run_of,
    sequence,
    time_name,
    title_of,
)
from scratchnet.plots.style import (
    MARKERS,
    STYLES,
    Size,
    axes,
    colour,
    curve_colour,
    drawing,
    entitle,
    figure_of,
    label_curves,
    time_axis,
    travels,
)
from scratchnet.tracing import RunTrace, Trace


@drawing
def gradient_norms(
    norms: Mapping[str, Array | Trace | RunTrace] | Trace | RunTrace,
    *,
    sample: int | None = None,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw gradient norms by time step on a log axis.

    Later steps are to the right, so the gradient travels to the left, where the curves carry their
    names. Where a norm is exactly zero the curve ends, and its label says so.

    Parameters
    ----------
    norms : a trace or run, or label -> trace or run, whose dh (and dc) are drawn; or label ->
        norms (T,)
    sample : one sequence; None: the norm over units and sequences together
    xlabel, ylabel, title, size, ax : as in ``errors_ahead``

    Raises
    ------
    ValueError
        For a trace without gradients, or runs of both directions in one figure.
    """
    if isinstance(norms, Trace | RunTrace):
        title = title_of(norms, title)
        norms = {run_of(norms).cell_name.upper(): norms}
    ax = axes(ax, size=size)
    runs = [run_of(s) for s in norms.values() if isinstance(s, Trace | RunTrace)]
    xlabel = xlabel or time_name(*runs)
    steps, named = 1, {}
    for number, (label, source) in enumerate(norms.items()):
        if not isinstance(source, Trace | RunTrace):
            values, tint = np.asarray(to_host(source)), curve_colour(label, number)
            line = _norm_curve(ax, label, values, STYLES[number % 4], tint)
            line.set(marker=MARKERS[number % len(MARKERS)], markevery=1 + len(values) // 9)
            named[line], steps = str(line.get_label()), max(steps, len(values))
            continue
        run = run_of(source)
        require_backward(run, "a figure of gradient norms")
        if sample is not None:
            run = sequence(run, sample)
        steps = max(steps, run.T)
        for k, state in enumerate(run.cell.STATES):
            d = gradient_of(run, state)
            tint = curve_colour(label, number) if len(norms) > 1 else colour(state)
            line = _norm_curve(
                ax, f"{label}  dL/d{state}", np.sqrt(np.sum(d * d, axis=(1, 2))), STYLES[k], tint
            )
            mark = MARKERS[number % len(MARKERS)]
            line.set(marker=mark, markevery=(2 * number % run.T, 1 + run.T // 9))
            named[line] = str(line.get_label())
    ax.set_yscale("log")
    time_axis(ax, steps)
    ax.set(xlabel=xlabel, ylabel=ylabel or "size of the gradient at step t")
    ax.margins(x=0.01)
    _values_at_the_right(ax)
    entitle(ax, title or "How far back the gradient reaches", pad=travels(ax))
    label_curves(ax, named, side="left")
    return figure_of(ax)


def _values_at_the_right(ax: Axes) -> None:
    """Numbers where the gradient starts; the left side, where it arrives, is for the names."""
    ax.yaxis.tick_right()
    ax.yaxis.set_label_position("right")
    ax.spines["left"].set_visible(False)
    ax.spines["right"].set_visible(True)


def _norm_curve(ax: Axes, label: str, v: Array, style: str, tint: str) -> Line2D:
    gone = int(np.sum(v == 0))
    text = f"{label} (zero at {gone} step{'s' * (gone > 1)})" if gone else label
    shown = np.where(np.isfinite(v) & (v > 0), v, np.nan)
    return ax.plot(np.arange(len(v)), shown, style, color=tint, label=text)[0]


@drawing
def weight_gradients(
    source: Trace | RunTrace, *, title: str = "", size: Size = "slide", ax: Axes | None = None
) -> Figure:
    """Draw the norm of each step's part of the gradient of each weight, on a log axis.

    Steps point in different directions: their sum is shorter than the norms together, and each
    label has both. Norms are over all sequences of the batch, as the weight's gradient is. A part
    is zero where what the weight is multiplied by is: W_h at t = 0, where h0 = 0. Raises ValueError
    for a trace without gradients.
    """
    run = run_of(source)
    require_backward(run, "a figure of weight gradients")
    if not run.step_norms:
        raise InvalidValueError(
            f"{run.name} is one sequence of a run: weight gradients are those of the whole batch"
        )
    ax, named = axes(ax, size=size), {}
    for number, (name, norms) in enumerate(run.step_norms.items()):
        whole, together = float(np.linalg.norm(run.grads[name])), float(norms.sum())
        line = _norm_curve(ax, name, norms, STYLES[number % 4], colour(name[1:]))
        line.set(marker=MARKERS[number % len(MARKERS)])
        line.set(markevery=(2 * number % run.T, 1 + run.T // 9))
        named[line] = f"{name}\nnorm of the sum {whole:.3g}\nsum of norms {together:.3g}"
        zero = np.flatnonzero(norms == 0)
        if len(zero):
            start = norms[0] == 0 and name == "dW_h" and not np.any(run["h"][0])
            why = ",\nwhere h0 = 0" if start else ""
            where = f"t = {zero[0]}" if len(zero) == 1 else f"{len(zero)} steps"
            named[line] += f"\nzero at {where}{why if len(zero) == 1 else ''}"
    ax.set_yscale("log")
    ax.set(ylabel="norm of what step t adds")
    time_axis(ax, run.T, (), run)
    ax.margins(x=0.01)
    entitle(ax, title_of(source, title))
    label_curves(ax, named, room=24)
    return figure_of(ax)
