"""What all figures share: the palette, new axes, the time axis, heat maps with a colour bar.

Colours come from ``palette.json``: one for each quantity, the same here and in the pages. No curve
relies on its colour alone: line styles and markers differ as well. Nothing here touches pyplot, so
no figure outlives its last reference.
"""

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from scratchnet.arrays import Array
from scratchnet.errors import InvalidValueError
from scratchnet.tracing import RunTrace

PALETTE = json.loads(
    resources.files("scratchnet").joinpath("palette.json").read_text(encoding="utf-8")
)
MAPS: dict[str, str] = PALETTE["maps"]
QUANTITIES = PALETTE["quantities"] | PALETTE["weights"]
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P")
EDGE = "#333333"
Look = dict[str, Any]  # keywords of a matplotlib artist


def colour(name: str) -> str:
    """The colour of a quantity ("f", "h", "W_h") or model ("lstm", "truth"); grey for others."""
    known = QUANTITIES | PALETTE["models"]
    return str(known.get(name, PALETTE["models"]["baseline"])["light"])


def model_colour(label: str) -> str:
    """The colour of a curve labelled like "LSTM, 0.12": of the model its first word names."""
    words = label.lower().replace(",", " ").replace("(", " ").split()
    return colour(words[0] if words and words[0] in PALETTE["models"] else "baseline")


def name_of(letter: str) -> str:
    """What a gate or state is called: "forget gate" for "f"."""
    return str(QUANTITIES.get(letter, {"name": ""})["name"])


def new_figure(width: float = 9.0, height: float = 4.0) -> Figure:
    """A figure (inches) without a window; its letters, 10 points, can be read when projected."""
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def axes(ax: Axes | None, width: float = 9.0, height: float = 4.0) -> Axes:
    """``ax`` itself, or the axes of a new figure (inches)."""
    if ax is None:
        ax = new_figure(width, height).add_subplot()
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def figure_of(ax: Axes) -> Figure:
    """The figure an axes belongs to."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise InvalidValueError("ax belongs to no figure")
    return figure


def heatmap(
    ax: Axes, values: Array, low: float, high: float, kind: str, **options: Any
) -> AxesImage:
    """Draw values (rows, columns) as an image over the fixed range low..high, with a colour bar."""
    image = ax.imshow(values, aspect="auto", vmin=low, vmax=high, cmap=MAPS[kind], **options)
    ticks = [low, (low + high) / 2, high]
    figure_of(ax).colorbar(image, ax=ax, fraction=0.025, pad=0.01, ticks=ticks)
    return image


def one_line(label: str) -> str:
    """A label on one line: a line break as its sign."""
    return label.replace("\n", "↵").replace("\t", "→")


def time_axis(
    ax: Axes, T: int, labels: Sequence[str] = (), run: RunTrace | None = None, which: str = "x"
) -> None:
    """Name the time axis ("x" or "y"), and write the ``labels`` (T,) on it where they fit.

    Characters are all written or none: every third letter of a text says nothing. Dates and words
    may be thinned out.
    """
    axis = ax.xaxis if which == "x" else ax.yaxis
    what = "time step t"
    if run is not None and run.reversed:
        what = "step of the reversed run: 0 is the sequence's last"
    axis.set_label_text(what)
    if not labels:
        return
    longest = max(len(one_line(label)) for label in labels)
    width, height = figure_of(ax).get_size_inches()
    # letters of 9 points that fit side by side; or lines
    level = int(11 * width) if which == "x" else int(5 * height)
    if longest <= 1 and level < T:
        return
    upright = which == "x" and longest > 1 and T * (longest + 1) > level
    every = -(-T // (5 * int(width))) if upright else -(-T // level)
    # A label is text, never mathematics: one with two dollar signs in it stays as it is.
    written = [one_line(label) for label in labels[::every]]
    look: Look = {"fontsize": 9, "parse_math": False, "rotation": 90 if upright else 0}
    axis.set_ticks(np.arange(T)[::every], written, **look)
    axis.set_tick_params(length=2)
