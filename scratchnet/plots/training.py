"""The course of training: losses, clipping, histograms of parameters and gates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator

from scratchnet.arrays import Array, to_host
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.plots.gates import GATE_RANGE
from scratchnet.plots.style import (
    INK,
    MAPS,
    QUIET,
    STYLES,
    Look,
    Size,
    axes,
    colour,
    colour_bar,
    curve_colours,
    drawing,
    entitle,
    entitle_figure,
    figure_of,
    label_curves,
    name_of,
    new_figure,
    pt,
)
from scratchnet.tracing.watch import TraceWatch
from scratchnet.training import History

SHARES = (1e-3, 1.0)  # of the histograms' colours, the same in all


@drawing
def learning_curves(
    losses: Mapping[str, Sequence[float]],
    *,
    smooth: int = 1,
    lines: Mapping[str, float] | None = None,
    xlabel: str = "training step",
    ylabel: str = "loss",
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw losses over training, label -> values, on a log axis.

    A running mean over ``smooth`` steps. ``lines``: label -> a horizontal line, such as the loss of
    always answering the mean. ``size`` and ``ax`` as in ``errors_ahead``.
    """
    ax, named, tints = axes(ax, size=size), {}, curve_colours(list(losses))
    for number, (label, values) in enumerate(losses.items()):
        mean = to_host(values)
        if len(values) >= smooth:
            mean = np.convolve(mean, np.full(smooth, 1 / smooth), mode="valid")
        steps = np.arange(len(mean)) + smooth
        (line,) = ax.plot(steps, mean, STYLES[number % 4], color=tints[number], label=label)
        named[line] = label
    for label, level in (lines or {}).items():
        named[ax.axhline(level, color=INK, lw=pt(1.2), ls=":")] = label
    ax.set_yscale("log")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    entitle(ax, title)
    ax.margins(x=0.01)
    label_curves(ax, named)
    return figure_of(ax)


@drawing
def training_curves(
    history: History,
    *,
    ylabel: str = "loss",
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw training and validation loss of each epoch on a log axis; the best is marked.

    ``size`` and ``ax`` as in ``errors_ahead``. Raises ValueError where the history has no epochs.
    """
    _require(history, History, "the History that fit returns")
    if not history.epochs:
        raise InvalidValueError(
            "the history has no epochs: fit and fit_stream record them, single Trainer.steps do not"
        )
    ax = axes(ax, size=size)
    epochs = np.arange(1, len(history.epochs) + 1)
    training = history.column("train_loss")
    named = dict.fromkeys(ax.plot(epochs, training, "-", color=colour("training")), "training")
    if "val_loss" in history.epochs[0]:
        validation = history.column("val_loss")
        tint = colour("validation")
        (line,) = ax.plot(epochs, validation, "--", color=tint)
        named[line] = "validation"
        if history.best_epoch is not None:
            best = history.best_epoch
            ax.axvline(best + 1, color=QUIET, lw=pt(1.2), ls=":")
            (star,) = ax.plot([best + 1], [validation[best]], "*", color=tint, ms=pt(18))
            star.set(markeredgecolor="white", clip_on=False, zorder=5)
            star.set_label(f"best: {validation[best]:.3g}, epoch {best + 1}")
            named[star] = str(star.get_label())
    for line, label in named.items():
        line.set_label(label)
    ax.set_yscale("log")
    ax.set(xlabel="epoch", ylabel=ylabel)
    entitle(ax, title)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.margins(x=0.01)
    label_curves(ax, named)
    return figure_of(ax)


@drawing
def clipping(
    watch: TraceWatch,
    *,
    step: int | None = None,
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw the gradient norm of each parameter and gate before and after clipping, as two marks.

    The mean over the recorded steps, or ``step`` alone. ``size`` and ``ax`` as in ``errors_ahead``.
    Raises ValueError where nothing, or not that step, was recorded.
    """
    _require_records(watch)
    if step is not None and step not in watch.steps:
        has = f"{watch.steps[0]} to {watch.steps[-1]}, every {watch.every}"
        raise InvalidValueError(f"step {step} was not recorded: the watch has {has}")
    first = 0 if step is None else watch.steps.index(step)
    rows = slice(first, None if step is None else first + 1)
    positions, names = _bar_positions(list(watch.before))
    ax = axes(ax, size=size)
    before, after = (
        np.array([float(np.mean(values[block][rows])) for block in watch.before])
        for values in (watch.before, watch.after)
    )
    tints = [colour(letter) for _, letter in watch.before]
    ax.vlines(positions, after, before, colors=tints, lw=pt(2))
    look: Look = {"s": pt(11) ** 2, "linewidths": pt(2), "edgecolors": tints, "zorder": 3}
    hollow = ax.scatter(positions, before, facecolors="white", label="before clipping", **look)
    full = ax.scatter(
        positions, after, color=tints, marker="s", s=pt(9) ** 2, label="after", zorder=4
    )
    ax.set_xticks(positions, [letter or " " for _, letter in watch.before])
    for name, middle in names.items():
        look = {"ha": "center", "va": "top", "annotation_clip": False}
        look |= {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        ax.annotate(name.replace(".", ".\n", 1), (middle, 0), (0, -pt(26)), **look)
    ax.set_yscale("log")
    ax.tick_params(axis="x", length=0)
    when = f"mean of {len(watch.steps)} steps" if step is None else f"step {step}"
    ax.set_ylabel(f"gradient norm, {when}")
    entitle(ax, title, pad=pt(34))
    ax.set_xlim(positions[0] - 0.8, positions[-1] + 0.8)
    above: Look = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "ncols": 2}
    legend = ax.legend(handles=[hollow, full], **above)
    handles: list[Any] = legend.legend_handles
    for handle, ground in zip(handles, ("white", QUIET)):
        handle.set(edgecolor=QUIET, facecolor=ground)
    return figure_of(ax)


def _bar_positions(keys: list[tuple[str, str]]) -> tuple[Array, dict[str, float]]:
    """Positions of the bars, with gaps between parameters, and the middle of each parameter's."""
    positions: list[float] = []
    groups: dict[str, list[float]] = {}
    at, before = -1.0, ""
    for name, _ in keys:
        at += 1.0 if name == before else 1.8
        before = name
        positions.append(at)
        groups.setdefault(name, []).append(at)
    return np.array(positions), {name: float(np.mean(bars)) for name, bars in groups.items()}


@drawing
def clip_factor(
    history: History,
    *,
    limit: float | None = None,
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw the gradient norm of each step before and after clipping, and the ``limit``.

    On the log axis the clip factor is the distance between the two. ``size`` and ``ax`` as in
    ``errors_ahead``. Raises ValueError where the history has no steps.
    """
    _require(history, History, "the History that fit returns")
    if not history.steps:
        raise InvalidValueError("the history has no steps: there was no training yet")
    norm, factor = np.array(history.column("grad_norm")), np.array(history.column("clip_factor"))
    steps = np.arange(len(norm))
    ax = axes(ax, size=size)
    ax.fill_between(steps, norm * factor, norm, color=colour("rnn"), alpha=0.25, lw=0)
    (before,) = ax.plot(steps, norm, "-", color=colour("rnn"), lw=pt(1.5), label="before clipping")
    (after,) = ax.plot(steps, norm * factor, "-", color=INK, lw=pt(1.8), label="after")
    named: dict[Line2D, str] = {before: "before clipping", after: "after"}
    if limit is not None:
        line = ax.axhline(limit, color=QUIET, lw=pt(1.5), ls="--", label=f"limit {limit:g}")
        named[line] = f"limit {limit:g}"
    ax.set_yscale("log")
    ax.set(xlabel="training step", ylabel="gradient norm")
    clipped = factor[factor < 1]
    said = "Never clipped"
    if len(clipped):
        share, median = len(clipped) / len(factor), np.median(clipped)
        said = f"Clipped at {share:.0%} of the steps; median factor there {median:.2g}"
    entitle(ax, f"{title}\n{said}" if title else said)
    ax.margins(x=0.01)
    label_curves(ax, named)
    return figure_of(ax)


@drawing
def histograms(
    watch: TraceWatch,
    what: str = "parameters",
    *,
    names: Sequence[str] | None = None,
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw how the values of parameters, or gates ("activations"), spread over training.

    A panel each; a column is one recorded step, its colour the share of the values in a bin,
    logarithmic from 0.1% to all; blank is a bin without a value. Parameters are those before the
    step, so the first column is the initialisation. A parameter that is a single number has no
    spread and gets no panel.

    Parameters
    ----------
    watch : a callback of a training
    what : "parameters" or "activations"
    names : those to draw, such as "lstm.W_h_l0", or of a gate "lstm.l0 f"; by default all
    title, size : as in ``errors_ahead``
    ax : axes for one panel, of one name

    Raises
    ------
    ValueError
        Where nothing was recorded or there is no such name, and for activations without a probe.
    """
    _require_records(watch)
    if what not in ("parameters", "activations"):
        raise InvalidValueError(f"what is {what!r}: expected 'parameters' or 'activations'")
    all_of_them: dict[Any, Any] = watch.parameters if what == "parameters" else watch.activations
    if not all_of_them:
        raise InvalidValueError(
            "the watch saw no gates: give it an input to compute them on, TraceWatch(probe=x)"
        )
    found = {k if isinstance(k, str) else " ".join(k): (k, v) for k, v in all_of_them.items()}
    for name in names or ():
        if name not in found:
            raise InvalidValueError(f"there is no {name!r}: the watch has {', '.join(found)}")
    if names is None:
        found = {name: kept for name, kept in found.items() if kept[1].rows[0].sum() > 1} or found
    else:
        found = {name: found[name] for name in names}
    if ax is not None and len(found) != 1:
        raise InvalidValueError(f"ax is for one panel: choose one name of {', '.join(found)}")
    if ax is None:
        figure, grid = _grid(len(found), size)
        entitle_figure(figure, title)
    else:
        figure, grid = figure_of(ax), [ax]
    for panel, (key, histogram) in zip(grid, found.values()):
        image = _histogram(axes(panel), watch, key, histogram, what == "activations")
    colour_bar(grid, image, label="share of the values", extend="min", aspect=30)
    if ax is None:
        figure.supxlabel("training step", fontsize=grid[0].xaxis.label.get_fontsize())
    return figure


def _grid(count: int, size: Size) -> tuple[Figure, list[Axes]]:
    """Axes for so many panels, three side by side at most, without a hole: the last are wider."""
    across = min(3, count)
    down = -(-count // across)
    figure = new_figure(height=max(5.625, 1.75 * down + 0.8), size=size)
    cells = figure.add_gridspec(down, 6)
    grid = []
    for row in range(down):
        here = min(across, count - row * across)
        wide = 6 // here
        grid += [figure.add_subplot(cells[row, wide * k : wide * (k + 1)]) for k in range(here)]
    return figure, grid


def _histogram(ax: Axes, watch: TraceWatch, key: Any, histogram: Any, gate: bool) -> Any:
    shares = histogram.shares.T
    ends = np.append(watch.steps, watch.steps[-1] + watch.every) - 0.5 * watch.every
    shown = np.where(shares > 0, np.maximum(shares, SHARES[0]), np.nan)
    image = ax.pcolormesh(ends, histogram.edges, shown, cmap=MAPS["gate"], norm=LogNorm(*SHARES))
    used = np.flatnonzero(shares.any(axis=1))
    low, high = histogram.edges[used[0]], histogram.edges[used[-1] + 1]
    if gate and low >= -1 and high <= 1:  # the n of mingru has no bounds
        low, high = GATE_RANGE.get(key[1], (0.0, 1.0))
    ax.set_ylim(low, high)
    ax.set_ylabel("value")
    whole = (low, high) in ((0, 1), (-1, 1))
    ax.yaxis.set_major_locator(MultipleLocator(0.5) if whole else MaxNLocator(nbins=3))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    ax.set_title(key if isinstance(key, str) else f"{key[0]}  {key[1]}  {name_of(key[1])}")
    return image


def _require(value: Any, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        raise InvalidTypeError(
            f"a {type(value).__module__}.{type(value).__name__} was given: expected {what}"
        )


def _require_records(watch: Any) -> None:
    _require(watch, TraceWatch, "a scratchnet.tracing.TraceWatch that was a callback of fit")
    if not watch.steps:
        raise InvalidValueError(
            "the watch recorded nothing: give it to fit in callbacks=[...], before training"
        )
