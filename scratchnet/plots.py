"""Figures for a lecture, in matplotlib.  Every function takes ``ax`` or makes a figure, returns the figure, and shows nothing.

Colours come from ``palette.json``: one for each quantity, the same here and in the pages.  Ranges are fixed where a quantity
has one (a gate lies in 0 to 1, a tanh in -1 to 1), so that two figures can be held side by side.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scratchnet.arrays import Array

PALETTE = json.loads(resources.files("scratchnet").joinpath("palette.json").read_text(encoding="utf-8"))
GATE_RANGE = {"g": (-1.0, 1.0), "n": (-1.0, 1.0), "h": (-1.0, 1.0)}  # a tanh; every other gate is a sigmoid's 0 to 1
STYLES = ("-", "--", "-.", ":")


def colour(name: str) -> str:
    """The colour of a quantity ("f", "h", "from_loss") or of a model ("lstm", "truth"); grey for what has none."""
    known = PALETTE["quantities"] | PALETTE["models"]
    return str(known.get(name, PALETTE["models"]["baseline"])["light"])


def model_colour(label: str) -> str:
    """The colour of a curve labelled like "LSTM, 0.12" or "last value": by the model its first word names."""
    words = label.lower().replace(",", " ").split()
    return colour(words[0] if words and words[0] in PALETTE["models"] else "baseline")


def host(array: Any) -> Array:
    """The array as NumPy, wherever it was computed."""
    return np.asarray(array.get() if hasattr(array, "get") else array)


def axes(ax: Axes | None, width: float = 9.0, height: float = 4.0) -> Axes:
    """``ax`` itself, or the axes of a new figure (inches), large enough to read when projected."""
    if ax is None:
        ax = Figure(figsize=(width, height), dpi=150, layout="constrained").add_subplot()
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def figure_of(ax: Axes) -> Figure:
    """The figure an axes belongs to."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("ax belongs to no figure")
    return figure


def forecast(
    times: Sequence[Any] | Array, truth: Array, predictions: Mapping[str, Array], *, ylabel: str = "", title: str = "",
    ax: Axes | None = None,
) -> Figure:  # fmt: skip
    """Truth (n,) against predictions, label -> (n,), over times (n,), numbers or text; models in their own colours."""
    ax = axes(ax)
    t = np.arange(len(truth)) if isinstance(times[0], str) else np.asarray(times)
    if len(t) != len(truth):
        raise ValueError(f"times has {len(t)} entries but truth has {len(truth)}")
    ax.plot(t, host(truth), "o-", color=colour("truth"), lw=1.6, ms=3.5, label="truth", zorder=3)
    for number, (label, values) in enumerate(predictions.items()):
        if len(values) != len(truth):
            raise ValueError(f"the prediction {label!r} has {len(values)} values but truth has {len(truth)}")
        ax.plot(t, host(values), STYLES[(number + 1) % 4], color=model_colour(label), lw=1.8, label=label)
    if isinstance(times[0], str):
        every = max(1, len(t) // 8)
        ax.set_xticks(t[::every], list(times)[::every])
    ax.set(ylabel=ylabel, title=title)
    ax.set_xlim(t[0], t[-1])
    ax.legend(frameon=False, ncols=2)
    return figure_of(ax)


def learning_curves(
    losses: Mapping[str, Sequence[float]], *, smooth: int = 1, lines: Mapping[str, float] | None = None,
    xlabel: str = "training step", ylabel: str = "loss", title: str = "", ax: Axes | None = None,
) -> Figure:  # fmt: skip
    """Loss over training, label -> values, on a log axis, as a running mean over ``smooth`` steps.

    ``lines``: label -> a level to draw across, the loss of having learned nothing, say.
    """
    ax = axes(ax)
    for number, (label, values) in enumerate(losses.items()):
        mean = np.convolve(host(values), np.full(smooth, 1 / smooth), mode="valid") if len(values) >= smooth else host(values)
        ax.plot(np.arange(len(mean)) + smooth, mean, STYLES[number % 4], color=model_colour(label), lw=1.8, label=label)
    for label, level in (lines or {}).items():
        ax.axhline(level, color="black", lw=0.9, ls=":")
        ax.annotate(label, (0.995, level), (0, -2), xycoords=("axes fraction", "data"), textcoords="offset points",
                    ha="right", va="top", fontsize=9)  # fmt: skip
    ax.set_yscale("log")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.legend(frameon=False)
    return figure_of(ax)


def gradient_norms(
    norms: Mapping[str, Array], *, xlabel: str = "time step t", ylabel: str = "size of dL/dh at step t", title: str = "",
    ax: Axes | None = None,
) -> Figure:  # fmt: skip
    """Gradient norm by time step, label -> (T,), on a log axis; later steps to the right, so the gradient travels left.

    Where a norm is exactly zero the curve ends, and its label says so.
    """
    ax = axes(ax)
    for number, (label, values) in enumerate(norms.items()):
        v = host(values)
        gone = int(np.sum(v == 0))
        text = f"{label} (zero at {gone} steps)" if gone else label
        ax.plot(np.arange(len(v)), np.where(v > 0, v, np.nan), STYLES[number % 4], color=model_colour(label), lw=2, label=text)
    ax.set_yscale("log")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.margins(x=0.01)
    ax.legend(frameon=False)
    return figure_of(ax)


def gates(
    gates: Array, letters: str, *, sample: int = 0, inputs: Array | None = None, marks: Sequence[int] = (),
    order: Array | None = None, title: str = "",
) -> Figure:  # fmt: skip
    """Gate activations as heatmaps, one for each gate, units down and time across, of one sequence of the batch.

    ``gates`` (T, N, G*H) after their nonlinearity, as a cell's cache has them; ``letters`` the G gates ("ifgo").
    ``inputs`` (T,) is drawn above, with ``marks`` at the steps to point out.  The units stand in one order in all panels:
    ``order`` (H,), or by the step at which the first gate is furthest from its mean, so that units that act together stand
    together.
    """
    activations = host(gates)[:, sample]
    T, H = len(activations), activations.shape[1] // len(letters)
    blocks = {letter: activations[:, k * H : (k + 1) * H].T for k, letter in enumerate(letters)}
    first = blocks[letters[0]]
    if order is None:
        order = np.argsort(np.argmax(np.abs(first - first.mean(axis=1, keepdims=True)), axis=1), kind="stable")
    order = host(order)
    rows = len(letters) + (inputs is not None)
    heights = [0.45] * (inputs is not None) + [1.0] * len(letters)
    figure = Figure(figsize=(9, 1.55 * sum(heights) + 0.8), dpi=150, layout="constrained")
    grid = figure.subplots(rows, 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    if inputs is not None:
        grid[0].bar(np.arange(T), host(inputs), color=[colour("f") if t in marks else "#bbbbbb" for t in range(T)], width=0.9)
        grid[0].set(ylabel="input", yticks=[])
        grid[0].spines[["top", "right", "left"]].set_visible(False)
    for ax, letter in zip(grid[inputs is not None :], letters):
        low, high = GATE_RANGE.get(letter, (0.0, 1.0))
        kind = "signed" if low < 0 else "gate"
        image = ax.imshow(
            blocks[letter][order], aspect="auto", vmin=low, vmax=high, cmap=PALETTE["maps"][kind], interpolation="nearest"
        )
        name = PALETTE["quantities"].get(letter, {"name": letter})["name"]
        ax.set_ylabel(f"{letter}  {name}", color=colour(letter), fontweight="bold")
        ax.set_yticks([])
        above = ax.get_xaxis_transform()
        ax.plot(list(marks), [1.0] * len(marks), "v", color=colour("f"), transform=above, clip_on=False, ms=6)
        figure.colorbar(image, ax=ax, fraction=0.025, pad=0.01, ticks=[low, (low + high) / 2, high])
    grid[-1].set_xlabel(f"time step t          (each row is one of the {H} units, the same in all panels)")
    figure.suptitle(title)
    return figure
