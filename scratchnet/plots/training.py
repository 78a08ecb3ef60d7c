"""The course of training: losses, clipping, histograms of parameters and gates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from scratchnet.arrays import Array, to_host
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.plots.gates import GATE_RANGE
from scratchnet.plots.style import (
    EDGE,
    MAPS,
    STYLES,
    Look,
    axes,
    colour,
    figure_of,
    model_colour,
    name_of,
    new_figure,
)
from scratchnet.tracing.watch import TraceWatch
from scratchnet.training import History

SHARES = (1e-3, 1.0)  # of the histograms' colours, the same in all


def learning_curves(
    losses: Mapping[str, Sequence[float]],
    *,
    smooth: int = 1,
    lines: Mapping[str, float] | None = None,
    xlabel: str = "training step",
    ylabel: str = "loss",
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw losses over training, label -> values, on a log axis.

    A running mean over ``smooth`` steps. ``lines``: label -> a horizontal line, such as the loss of
    always answering the mean.
    """
    ax = axes(ax)
    for number, (label, values) in enumerate(losses.items()):
        mean = to_host(values)
        if len(values) >= smooth:
            mean = np.convolve(mean, np.full(smooth, 1 / smooth), mode="valid")
        steps, tint = np.arange(len(mean)) + smooth, model_colour(label)
        ax.plot(steps, mean, STYLES[number % 4], color=tint, lw=1.8, label=label)
    for label, level in (lines or {}).items():
        ax.axhline(level, color="black", lw=0.9, ls=":")
        look: Look = {"textcoords": "offset points", "ha": "right", "va": "top"}
        at, look = ("axes fraction", "data"), look | {"fontsize": 9}
        ax.annotate(label, (0.995, level), (0, -2), xycoords=at, **look)
    ax.set_yscale("log")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.legend(frameon=False)
    return figure_of(ax)


def training_curves(
    history: History, *, ylabel: str = "loss", title: str = "", ax: Axes | None = None
) -> Figure:
    """Draw training and validation loss of each epoch on a log axis; the best is marked.

    Raises ValueError where the history has no epochs.
    """
    _require(history, History, "the History that fit returns")
    if not history.epochs:
        raise InvalidValueError(
            "the history has no epochs: fit and fit_stream record them, single Trainer.steps do not"
        )
    ax = axes(ax)
    epochs = np.arange(1, len(history.epochs) + 1)
    training = history.column("train_loss")
    ax.plot(epochs, training, "-", color=colour("from_future"), lw=1.8, label="training")
    if "val_loss" in history.epochs[0]:
        validation = history.column("val_loss")
        ax.plot(epochs, validation, "--", color=colour("from_loss"), lw=1.8, label="validation")
        if history.best_epoch is not None:
            best = history.best_epoch
            ax.axvline(best + 1, color="black", lw=0.9, ls=":")
            (star,) = ax.plot([best + 1], [validation[best]], "*", color=colour("from_loss"), ms=13)
            text = f"best: {validation[best]:.3g} after epoch {best + 1}"
            star.set(markeredgecolor="white", label=text)
    ax.set_yscale("log")
    ax.set(xlabel="epoch", ylabel=ylabel, title=title)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False)
    return figure_of(ax)


def clipping(
    watch: TraceWatch, *, step: int | None = None, title: str = "", ax: Axes | None = None
) -> Figure:
    """Draw the gradient norm of each parameter and gate before and after clipping, as bars.

    The mean over the recorded steps, or ``step`` alone. Raises ValueError where nothing, or not
    that step, was recorded.
    """
    _require_records(watch)
    if step is not None and step not in watch.steps:
        has = f"{watch.steps[0]} to {watch.steps[-1]}, every {watch.every}"
        raise InvalidValueError(f"step {step} was not recorded: the watch has {has}")
    first = 0 if step is None else watch.steps.index(step)
    rows = slice(first, None if step is None else first + 1)
    positions, names = _bar_positions(list(watch.before))
    ax = axes(ax, max(9.0, 0.33 * positions[-1] + 1.5), 4.2)
    bars: tuple[tuple[str, float, Any, Look], ...] = (
        ("before clipping", -0.21, watch.before, {"hatch": "////", "alpha": 0.45}),
        ("after", 0.21, watch.after, {}),
    )
    for _, offset, values, look in bars:
        heights = [float(np.mean(values[block][rows])) for block in watch.before]
        tints = [colour(letter) for _, letter in watch.before]
        ax.bar(positions + offset, heights, 0.4, color=tints, edgecolor="white", lw=0.5, **look)
    ax.set_xticks(positions, [letter or " " for _, letter in watch.before])
    for name, middle in names.items():
        name = name.replace(".", ".\n", 1)
        look = {"ha": "center", "va": "top", "fontsize": 9, "annotation_clip": False}
        look |= {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        ax.annotate(name, (middle, 0), (0, -18), **look)
    ax.set_yscale("log")
    ax.tick_params(axis="x", length=0)
    when = f"mean of {len(watch.steps)} steps" if step is None else f"step {step}"
    ax.set(ylabel=f"gradient norm, {when}", title=title)
    ax.set_xlim(positions[0] - 0.8, positions[-1] + 0.8)
    ax.set_ylim(top=2.5 * ax.dataLim.ymax)  # room for the legend
    grey: Look = {"facecolor": "#777777", "edgecolor": "white"}
    legend = [Patch(label=label, **grey, **look) for label, _, _, look in bars]
    ax.legend(handles=legend, frameon=False, ncols=2)
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


def clip_factor(history: History, *, limit: float | None = None, title: str = "") -> Figure:
    """Draw gradient norm before and after clipping, the ``limit``, and the clip factor.

    A factor of 1 is a step that was not clipped. Raises ValueError where the history has no steps.
    """
    _require(history, History, "the History that fit returns")
    if not history.steps:
        raise InvalidValueError("the history has no steps: there was no training yet")
    norm, factor = np.array(history.column("grad_norm")), np.array(history.column("clip_factor"))
    steps = np.arange(len(norm))
    figure = new_figure(height=4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [1.4, 1]})
    axes(upper).plot(steps, norm, "-", color=colour("from_loss"), lw=1.0, label="before clipping")
    upper.plot(steps, norm * factor, "-", color=colour("from_future"), lw=1.3, label="after")
    if limit is not None:
        upper.axhline(limit, color="black", lw=1.1, ls="--", label=f"limit {limit:g}")
    upper.set_yscale("log")
    upper.set_ylabel("gradient norm")
    upper.legend(frameon=False, ncols=3)
    axes(lower).plot(steps, factor, ".", color=EDGE, ms=3)
    lower.set(ylim=(0, 1.05), xlabel="training step", ylabel="clip factor")
    clipped = factor[factor < 1]
    said = "never clipped"
    if len(clipped):
        share, median = len(clipped) / len(factor), np.median(clipped)
        said = f"clipped at {share:.0%} of the steps; median factor there {median:.2g}"
    lower.set_title(said, fontsize=10)
    lower.margins(x=0.01)
    figure.suptitle(title)
    return figure


def histograms(watch: TraceWatch, what: str = "parameters", *, title: str = "") -> Figure:
    """Draw how the values of parameters, or gates ("activations"), spread over training.

    A panel each; a column is one recorded step, its colour the share of the values in a bin,
    logarithmic from 0.1% to all; blank is a bin without a value. Parameters are those before the
    step, so the first column is the initialisation. Raises ValueError where nothing was recorded,
    and for activations without a probe.
    """
    _require_records(watch)
    if what not in ("parameters", "activations"):
        raise InvalidValueError(f"what is {what!r}: expected 'parameters' or 'activations'")
    found: dict[Any, Any] = watch.parameters if what == "parameters" else watch.activations
    if not found:
        raise InvalidValueError(
            "the watch saw no gates: give it an input to compute them on, TraceWatch(probe=x)"
        )
    across = 2 if len(found) > 1 else 1
    down = -(-len(found) // across)
    figure = new_figure(height=1.6 * down + 0.9)
    grid = figure.subplots(down, across, squeeze=False, sharex=True).ravel()
    for ax, (key, histogram) in zip(grid, found.items()):
        shares = histogram.shares.T
        ends = np.append(watch.steps, watch.steps[-1] + watch.every) - 0.5 * watch.every
        shown = np.where(shares > 0, np.maximum(shares, SHARES[0]), np.nan)
        tints: Look = {"cmap": MAPS["share"], "norm": LogNorm(*SHARES)}
        image = ax.pcolormesh(ends, histogram.edges, shown, **tints)
        used = np.flatnonzero(shares.any(axis=1))
        low, high = histogram.edges[used[0]], histogram.edges[used[-1] + 1]
        if what == "activations" and low >= -1 and high <= 1:  # the n of mingru has no bounds
            low, high = GATE_RANGE.get(key[1], (0.0, 1.0))
        ax.set_ylim(low, high)
        name = key if isinstance(key, str) else f"{key[0]}  {key[1]}  {name_of(key[1])}"
        axes(ax).set_title(name, fontsize=10)
    for ax in grid[len(found) :]:
        ax.set_visible(False)
    for ax in grid[max(0, len(found) - across) : len(found)]:
        ax.set_xlabel("training step")
        ax.tick_params(labelbottom=True)
    size: Look = {"fraction": 0.02, "pad": 0.01, "aspect": 15 * down}
    bar = figure.colorbar(image, ax=list(grid), extend="min", **size)
    bar.set_label("share of the values in a bin")
    figure.suptitle(title)
    return figure


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
