"""Pictures that several recipes share, and that the library has no need of."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from scratchnet import plots
from scratchnet.arrays import Array
from scratchnet.plots.style import new_figure


def confusion(ax: Any, truth: Array, guess: Array, names: Sequence[str], title: str = "") -> None:
    """How often each true class (row) was taken for each class (column), counts written in."""
    K = len(names)
    counts = np.bincount(truth * K + guess, minlength=K * K).reshape(K, K)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(K, K):
        tint = "white" if share[row, column] > 0.5 else "black"
        ax.text(
            column,
            row,
            counts[row, column],
            ha="center",
            va="center",
            color=tint,
            fontsize=9 if K < 7 else 7,
        )
    wordy = max(map(len, names)) > 2
    ax.set_xticks(range(K), names, rotation=35 if wordy else 0, ha="right" if wordy else "center")
    ax.set_yticks(range(K), names)
    ax.set(xlabel="taken for", ylabel="truth", title=title)


def bars(
    values: Mapping[str, float],
    baselines: Sequence[str] = (),
    *,
    xlabel: str = "",
    title: str = "",
    decimals: int = 3,
    log: bool = False,
    ax: Any = None,
) -> Any:
    """A bar for each name, in the order given from the top, its number behind it; baselines
    hatched. ``log``: the axis."""
    ax = ax or new_figure(8, 0.4 * len(values) + 1.2).add_subplot()
    for row, (name, value) in enumerate(values.items()):
        plain = name in baselines
        tint = plots.colour("baseline") if plain else plots.model_colour(name.removeprefix("Bi"))
        ax.barh(
            row,
            value,
            color=tint,
            hatch="///" if plain else None,
            edgecolor="white",
            alpha=0.6 if plain else 0.9,
        )
        ax.annotate(
            f"{value:.{decimals}f}",
            (value, row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    if log:
        ax.set_xscale("log")
        ax.set_xlim(left=min(values.values()) / 2)
    ax.set_yticks(range(len(values)), list(values))
    ax.invert_yaxis()
    ax.set(xlabel=xlabel, title=title)
    ax.margins(x=0.12)
    ax.spines[["top", "right"]].set_visible(False)
    return ax.get_figure()


def coloured_words(rows: Sequence[tuple[str, Sequence[str], Array]], title: str = "") -> Any:
    """A line of words for each (label, words, weights): the darker a word, the larger its
    weight."""
    figure = new_figure(10, 0.55 * len(rows) + 0.6)
    ax = figure.add_subplot()
    for row, (label, words, weights) in enumerate(rows):
        ax.text(
            0,
            row - 0.3,
            label,
            fontsize=8,
            color=plots.colour("rnn" if "taken for" in label else "x"),
            va="center",
        )
        at = 0.0
        for word, weight in zip(words, weights / weights.max()):
            width = len(word) + 1.2
            ax.add_patch(
                Rectangle(
                    (at, row - 0.1),
                    width,
                    0.5,
                    color=plots.colour("lstm"),
                    alpha=0.75 * float(weight),
                    lw=0,
                )
            )
            ax.text(
                at + width / 2,
                row + 0.15,
                word,
                fontsize=9,
                family="monospace",
                ha="center",
                va="center",
            )
            at += width
    ax.set(xlim=(0, 100), ylim=(len(rows) - 0.4, -0.6), title=title)
    ax.axis("off")
    return figure
