"""How far gradients reach: norms over time, and each step's part of the weight gradients."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scratchnet.arrays import Array, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.plots.source import require_backward, run_of, sequence, title_of
from scratchnet.plots.style import (
    MARKERS,
    STYLES,
    Look,
    axes,
    colour,
    figure_of,
    model_colour,
    time_axis,
)
from scratchnet.tracing import RunTrace, Trace


def gradient_norms(
    norms: Mapping[str, Array | Trace | RunTrace] | Trace | RunTrace,
    *,
    sample: int | None = None,
    xlabel: str = "time step t",
    ylabel: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw gradient norms by time step on a log axis.

    Later steps are to the right, so the gradient travels left. Where a norm is exactly zero the
    curve ends, and its label says so.

    Parameters
    ----------
    norms : a trace or run, or label -> trace or run, whose dh (and dc) are drawn; or label ->
        norms (T,)
    sample : one sequence; None: the norm over units and sequences together
    xlabel, ylabel, title, ax : as in ``errors_ahead``

    Raises
    ------
    ValueError
        For a trace without gradients, or runs of both directions in one figure.
    """
    if isinstance(norms, Trace | RunTrace):
        run = run_of(norms)
        title = title_of(norms, title)
        norms = {run.cell_name.upper(): norms}
    ax = axes(ax)
    ylabel = ylabel or "size of the gradient at step t"
    backwards = [run_of(s).reversed for s in norms.values() if isinstance(s, Trace | RunTrace)]
    if any(backwards) and not all(backwards):
        raise InvalidValueError(
            "a run forwards and one backwards in time have no common axis: draw them in two figures"
        )
    if any(backwards):
        xlabel = "step of the reversed run: 0 is the sequence's last"
    for number, (label, source) in enumerate(norms.items()):
        if not isinstance(source, Trace | RunTrace):
            _norm_curve(
                ax, label, np.asarray(to_host(source)), STYLES[number % 4], model_colour(label)
            )
            continue
        run = run_of(source)
        require_backward(run, "a figure of gradient norms")
        if sample is not None:
            run = sequence(run, sample)
        for k, state in enumerate(run.cell.STATES):
            d = run[f"d{state}"] if f"d{state}" in run else run[f"d{state}_next"]
            mark = MARKERS[number % len(MARKERS)]
            tint = _tint(label, number) if len(norms) > 1 else colour(state)
            line = _norm_curve(
                ax, f"{label}  dL/d{state}", np.sqrt(np.sum(d * d, axis=(1, 2))), STYLES[k], tint
            )
            line.set(marker=mark, markevery=(2 * number % run.T, 1 + run.T // 9), markersize=5)
    ax.set_yscale("log")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.margins(x=0.01)
    ax.legend(frameon=False)
    return figure_of(ax)


def _tint(label: str, number: int) -> str:
    """The model's own colour, or for a label that names no model one of four that stay apart."""
    own = model_colour(label)
    return colour(("lstm", "rnn", "gru", "mlp")[number % 4]) if own == colour("baseline") else own


def _norm_curve(ax: Axes, label: str, v: Array, style: str, tint: str) -> Line2D:
    gone = int(np.sum(v == 0))
    text = f"{label} (zero at {gone} step{'s' * (gone > 1)})" if gone else label
    shown = np.where(v > 0, v, np.nan)
    return ax.plot(np.arange(len(v)), shown, style, color=tint, lw=2, label=text)[0]


def weight_gradients(
    source: Trace | RunTrace, *, title: str = "", ax: Axes | None = None
) -> Figure:
    """Draw the norm of each step's part of the gradient of each weight, on a log axis.

    Steps point in different directions: their sum is shorter than the norms together, and the
    legend has both. Norms are over all sequences of the batch, as the weight's gradient is. Raises
    ValueError for a trace without gradients.
    """
    run = run_of(source)
    require_backward(run, "a figure of weight gradients")
    if not run.step_norms:
        raise InvalidValueError(
            f"{run.name} is one sequence of a run: weight gradients are those of the whole batch"
        )
    below: Look = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13)}
    below = below if ax is None else {"loc": "best", "fontsize": 9}
    ax = axes(ax, height=4.8)
    for number, (name, norms) in enumerate(run.step_norms.items()):
        whole, together = float(np.linalg.norm(run.grads[name])), float(norms.sum())
        label = f"{name}:  norm of the sum {whole:.3g}, sum of norms {together:.3g}"
        line = _norm_curve(ax, label, norms, STYLES[number % 4], colour(name[1:]))
        line.set(
            marker=MARKERS[number % len(MARKERS)],
            markevery=(2 * number % run.T, 1 + run.T // 9),
            markersize=5,
        )
    ax.set_yscale("log")
    ax.set(ylabel="size of what step t adds to dW", title=title_of(source, title))
    time_axis(ax, run.T, (), run)
    ax.margins(x=0.01)
    ax.legend(frameon=False, **below)
    return figure_of(ax)
