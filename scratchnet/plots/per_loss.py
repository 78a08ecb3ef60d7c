"""Per-loss gradients: the share of each loss in each gradient, and what truncated BPTT drops."""

from collections.abc import Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scratchnet.arrays import Array
from scratchnet.cells.sequences import window
from scratchnet.errors import InvalidValueError
from scratchnet.plots.source import labels_of, require_backward, run_of, sequence, title_of
from scratchnet.plots.style import (
    INK,
    MAPS,
    Look,
    Size,
    axes,
    colour_bar,
    drawing,
    entitle,
    figure_of,
    pt,
    time_axis,
    travels,
)
from scratchnet.tracing import RunTrace, Trace, jacobian
from scratchnet.training.bptt import truncated, windows
from scratchnet.training.clip import global_norm

DECADES = 8  # shown below the largest entry, at most
WORK = 7e9  # multiplications in one product of a figure's backward passes: two seconds on one core


@drawing
def per_loss_gradients(
    source: Trace | RunTrace,
    *,
    sample: int = 0,
    k1: int | None = None,
    k2: int | None = None,
    most: int | None = None,
    decades: int | None = None,
    labels: Sequence[str] | None = None,
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw |da| at step t (across) from the loss at step tau (up), of one sequence.

    Colour is logarithmic, relative to the largest entry. A row is the gradient of one loss, which
    travels to the left; right of the diagonal there is none.

    Parameters
    ----------
    source : a trace or one of its runs
    sample : which sequence of the batch
    k1, k2 : draw what truncated BPTT(k1, k2) keeps (k2 defaults to k1), and say what share of the
        weight gradient it drops (``thrown_away``)
    most : number of losses shown, spread evenly; by default 100, fewer for a large network
    decades : how far the colours reach below the largest entry; by default as far as the entries
        do, 8 at most. Give it where two figures are to be compared
    labels, title, size, ax : as in ``gates``

    Raises
    ------
    ValueError
        For a trace without gradients or with zero gradients only, and where k2 < k1.

    References
    ----------
    Cashman, Patterson, Mosca and Chang 2018, RNNbow.
    """
    run = run_of(source)
    require_backward(run, "per-loss gradients")
    texts, run = labels_of(source, run, sample, labels), sequence(run, sample)
    if k1 is None and k2 is not None:
        raise InvalidValueError(
            f"k2 is {k2} but k1 is missing: truncated BPTT(k1, k2) needs both, or k1 alone"
        )
    if most is None:
        most = int(np.clip(WORK / (run.T * run.H * run.H * len(run.cell.GATES)), 10, 100))
    result = jacobian.per_loss_gradients(run, 0, most)
    taus, found = result.losses, result.size
    if not found.size or found.max() == 0:
        raise InvalidValueError(
            f"no gradient reaches {run.name} in sequence {sample}: there is nothing to draw"
        )
    least = float(found[found > 0].min() / found.max())
    if decades is None:
        decades = int(np.clip(np.ceil(-np.log10(least)), 1, DECADES))
    elif decades < 1:
        raise InvalidValueError(f"decades is {decades}: expected at least 1")
    lossy = _loss_steps(run)
    shown = _picture(found, taus, 10.0**-decades, whole=len(taus) == lossy)
    flat = shown.shape[1] < 4  # one loss is a strip, not a wall
    ax = axes(ax, height=2.9 if flat else 5.625, size=size)
    image = ax.imshow(
        shown.T,
        origin="lower",
        aspect="auto",
        norm=LogNorm(10.0**-decades, 1),
        cmap=MAPS["gradient"],
        extent=(-0.5, run.T - 0.5, taus[0] - 0.5, taus[-1] + 0.5),
        interpolation="nearest",
    )
    label = f"|da|, of the largest, {found.max():.2g}"
    colour_bar(ax, image, label="|da| / largest" if flat else label, extend="min")
    time_axis(ax, run.T, texts, run)
    part = "" if len(taus) == lossy else f",\n{len(taus)} of {lossy} shown"
    ax.set_ylabel(f"step τ of the loss{part}")
    ax.set(xlim=(-0.5, run.T - 0.5), ylim=(taus[0] - 0.5, taus[-1] + 0.5))
    if flat:
        ax.set_yticks(taus)
    else:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    lines = [title_of(source, title)]
    if k1 is not None:
        k2 = k1 if k2 is None else k2
        _draw_truncation(ax, run.T, k1, k2)
        lines.append(
            f"BPTT({k1}, {k2}) drops |dW lost| / |dW| = {100 * thrown_away(run, k1, k2):.2g}%"
        )
    entitle(ax, "\n".join(filter(None, lines)), pad=travels(ax))
    return figure_of(ax)


def _picture(found: Array, taus: Array, floor: float, whole: bool) -> Array:
    """Sizes (T, rows) relative to the largest, a row for each step from the first loss to the last.

    Where losses were left out, a row fills in for its neighbours; NaN where there is no gradient.
    """
    rows = np.arange(taus[0], taus[-1] + 1)
    nearest = np.argmin(np.abs(rows[:, None] - taus), axis=1)
    reach = 0 if whole else int(np.max(np.diff(taus)))
    shown = np.maximum(found[:, nearest] / found.max(), floor)
    shown[:, np.abs(rows - taus[nearest]) > reach] = np.nan
    shown[np.arange(len(found))[:, None] > taus[nearest]] = np.nan
    return shown


def thrown_away(source: Trace | RunTrace, k1: int, k2: int, sample: int = 0) -> float:
    """|dW - dW truncated| / |dW| of one sequence for BPTT(k1, k2), over all weights.

    0: nothing is lost. An upstream gradient of the final state belongs to the last window, as the
    last step's own loss does. Raises ValueError for a trace without gradients or where the whole
    gradient is zero.
    """
    run = run_of(source)
    require_backward(run, "truncated BPTT")
    run = sequence(run, sample)
    cell, dy, cache, d_last = run.cell, run["dy"], run.cache, list(run.d_last.values())
    whole = cell.backward(dy, cache, *d_last)
    kept = truncated(cell, dy, cache, k1, k2)
    last = windows(run.T, k1, k2)[-1]
    # BPTT is linear in the upstream gradients: that of the final state takes a separate backward
    # pass, through the last window.
    nothing, end = np.zeros_like(dy[last.start :]), window(cell, cache, last.start, run.T)
    ending = cell.backward(nothing, end, *d_last)
    names = [f"d{name}" for name in run.params]
    size = global_norm({name: getattr(whole, name) for name in names})
    if size == 0:
        raise InvalidValueError(
            f"the gradient of {run.name} is zero in sequence {sample}: no share of it can be lost"
        )
    lost = {
        name: getattr(whole, name) - getattr(kept, name) - getattr(ending, name) for name in names
    }
    return global_norm(lost) / size


def _loss_steps(run: RunTrace) -> int:
    """Number of steps of a one-sequence run with a loss, or the final state's upstream gradient."""
    own = np.abs(run["dy"]).sum(axis=(1, 2)) > 0
    own[-1] |= any(bool(np.any(d)) for d in run.d_last.values())
    return int(own.sum())


def _draw_truncation(ax: Axes, T: int, k1: int, k2: int) -> None:
    """A line at the first step that each window keeps; hatched what is cut off."""
    cuts = windows(T, k1, k2)
    edges = np.array([0, *(cut.stop for cut in cuts)]) - 0.5
    first = np.array([cut.start for cut in cuts]) - 0.5
    edge = [patheffects.withStroke(linewidth=pt(5), foreground=INK)]
    up: Look = {"orientation": "horizontal"}
    look: Look = {"color": "#ffffff", "lw": pt(2.5), "path_effects": edge} | up
    ax.stairs(first, edges, baseline=None, label="the window's first step", **look)
    hatched: Look = {"facecolor": "none", "edgecolor": "#ffffff", "hatch": "//", "alpha": 0.45} | up
    ax.stairs(first, edges, baseline=-0.5, fill=True, lw=0, **hatched)
