"""Text coloured by one cell of the network: what the cell responds to."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from scratchnet.arrays import Array, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.plots.source import labels_of, run_of, sequence, title_of
from scratchnet.plots.style import (
    MAPS,
    QUIET,
    Look,
    Size,
    axes,
    colour_bar,
    drawing,
    entitle,
    figure_of,
    map_key,
    one_line,
    pt,
)
from scratchnet.tracing import RunTrace, Trace

MOST = 2000  # steps in one figure: more cannot be read
WIDEST = 84  # characters of a line: more would be smaller than the figure's letters
BREAK, TAB, UNKNOWN = "↵", "→", "□"


@drawing
def text(
    source: Trace | RunTrace | Array,
    labels: Sequence[str] | None = None,
    *,
    unit: int | None = None,
    state: str | None = None,
    sample: int = 0,
    columns: int = 64,
    predicted: Sequence[str] | None = None,
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw text on a background with the value of one unit at each character or word, -1 to 1.

    Parameters
    ----------
    source : a trace or run, or values (T,) from -1 to 1
    labels : (T,), what the steps read; by default the trace's own. Labels longer than one character
        are words, separated by a space. A line break is shown as ↵ and ends the line
    unit : by default the one that varies most
    state : "c" (drawn as tanh(c), the default where the cell has a c) or "h", after the step has
        read the label
    sample : which sequence of the batch
    columns : characters of a line, 84 at most
    predicted : (T,), what the network expects next after each step, written small beneath. Of a
        trace whose input is tokens (T, N) and whose output is their scores (T, N, V) by default the
        most probable one; "·" for a token that the labels do not show. () for none
    title, size, ax : as in ``errors_ahead``

    Raises
    ------
    ValueError
        Where labels are missing or their number is wrong, there is no such unit or state, values
        are outside -1 to 1, or there are more than 2000 steps.

    References
    ----------
    Karpathy, Johnson and Fei-Fei 2015, section 4.1.
    """
    if hasattr(source, "shape"):
        values, name, texts = to_host(source), "", list(map(str, labels or ()))
        if values.ndim != 1:
            raise InvalidValueError(
                f"the values are {values.shape}: expected (T,), one number for each label"
            )
    else:
        texts = labels_of(source, run_of(source), sample, labels)
        values, name = _of_unit(sequence(run_of(source), sample), state, unit)
        if predicted is None and isinstance(source, Trace):
            predicted = most_probable(source, texts, sample)
    if not texts:
        raise InvalidValueError(
            "there are no labels to colour: give labels=, or make the trace with them, trace(...,"
            " labels=text)"
        )
    if len(texts) != len(values):
        raise InvalidValueError(
            f"there are {len(texts)} labels but {len(values)} values: expected one each"
        )
    if len(values) > MOST:
        raise InvalidValueError(
            f"the text has {len(values)} steps, more than the {MOST} that can be read in one"
            " figure: show a part"
        )
    if np.abs(values).max() > 1:
        raise InvalidValueError(
            f"the values reach from {values.min():.3g} to {values.max():.3g}: expected -1 to 1,"
            " such as tanh(c)"
        )
    if not 1 <= columns <= WIDEST:
        raise InvalidValueError(f"columns is {columns}: expected 1 to {WIDEST}")
    if predicted is not None and len(predicted) not in (0, len(values)):
        raise InvalidValueError(
            f"there are {len(predicted)} predicted texts but {len(values)} steps: expected one each"
        )
    return _draw(
        texts, values, columns, list(predicted or ()), title_of(source, title), name, size, ax
    )


def most_probable(trace: Trace, texts: Sequence[str], sample: int) -> list[str]:
    """The text of the most probable next token after each step; [] where there are no tokens."""
    x, y = to_host(trace.x), to_host(trace.y)
    if x.ndim != 2 or x.dtype.kind not in "iu" or y.ndim != 3 or y.shape[:2] != x.shape:
        return []
    first = any(module.get("batch_first") for module in trace.modules)
    tokens, scores = (x[sample], y[sample]) if first else (x[:, sample], y[:, sample])
    written = dict(zip(tokens.tolist(), texts))
    return [written.get(int(token), "·") for token in scores[: len(texts)].argmax(axis=-1)]


def _of_unit(run: RunTrace, state: str | None, unit: int | None) -> tuple[Array, str]:
    """The values (T,) of one unit of one sequence, and what they are."""
    states = run.cell.STATES
    state = state or ("c" if "c" in states else "h")
    if state not in states:
        raise InvalidValueError(
            f"{run.cell_name} has no state {state!r}: it has {', '.join(states)}"
        )
    values = run[state][1:, 0]
    values = np.tanh(values) if state == "c" else values
    chosen = int(np.argmax(values.std(axis=0))) if unit is None else unit
    if not 0 <= chosen < run.H:
        raise InvalidValueError(
            f"unit is {unit} but {run.name} has {run.H} units: expected 0 to {run.H - 1}"
        )
    most = ", the one that varies most" if unit is None else ""
    name = "tanh(c)" if state == "c" else "h"
    return values[:, chosen], f"{name} of unit {chosen} of {run.name}{most}"


def layout(labels: Sequence[str], columns: int) -> tuple[list[tuple[int, int, int, str]], int, int]:
    """(column, row, width, text) of each label, and the width and number of rows of the whole."""
    space = 1 if any(len(label) > 1 for label in labels) else 0
    places, column, row, widest = [], 0, 0, 1
    for label in labels:
        written = label.replace("\n", BREAK).replace("\t", TAB)
        width = max(1, len(written)) + space
        if column and column + width - space > columns:
            column, row = 0, row + 1
        places.append((column, row, width, written))
        column += width
        widest = max(widest, column)
        if label.endswith("\n"):
            column, row = 0, row + 1
    return places, widest, places[-1][1] + 1


def letter_colour(ground: Array) -> str:
    """Black or white, by the greater contrast with the ground (r, g, b).

    By the WCAG's relative luminance.
    """
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in ground[:3])
    luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"


def _draw(
    labels: Sequence[str],
    values: Array,
    columns: int,
    predicted: Sequence[str],
    title: str,
    name: str,
    size: Size,
    ax: Axes | None,
) -> Figure:
    places, width, rows = layout(labels, columns)
    # Few letters are written larger, many as large as the figure's; a letter is 0.6 of it wide.
    across = 9.8 * 72 / width if ax is None else 0.0  # points of a slide
    letter = float(np.clip(across / 0.72, 14, 26))
    high = letter * (1.7 + 1.5 * bool(predicted)) / 72  # inches of a row
    ax = axes(ax, height=high * rows + 1.25 + 0.4 * bool(title), size=size)
    font = FontProperties(family="monospace", size=pt(letter))
    small = FontProperties(family="monospace", size=pt(max(14.0, 0.7 * letter)))
    drawable = get_font(findfont(font))
    ax.spines[:].set_visible(False)
    norm, tints = Normalize(-1, 1), colormaps[MAPS["signed"]]
    grounds = np.asarray(tints(norm(values)))
    deep = 0.55 if predicted else 1.0
    boxes = [[(c, r), (c + w, r), (c + w, r + deep), (c, r + deep)] for c, r, w, _ in places]
    edge: Look = {"edgecolors": "white", "linewidths": pt(0.5)}
    ax.add_collection(PolyCollection(boxes, facecolors=grounds, **edge))
    look: Look = {"ha": "center", "va": "center", "parse_math": False}

    def known(text: str) -> str:
        return "".join(s if drawable.get_char_index(ord(s)) else UNKNOWN for s in text)

    for (column, row, wide, written), ground in zip(places, grounds):
        at = (column + wide / 2, row + 0.52 * deep)
        ax.text(*at, known(written), color=letter_colour(ground), fontproperties=font, **look)
    for (column, row, wide, _), expected in zip(places, predicted):
        at, text = (column + wide / 2, row + 0.76), known(one_line(expected))
        ax.text(*at, text, color=QUIET, fontproperties=small, **look)
    # A short text keeps its letters' shape: it does not fill the width.
    ax.set(xlim=(0, max(width, 9.8 * 72 / (letter * 1.0))), ylim=(rows, 0), xticks=[], yticks=[])
    entitle(ax, title)
    below: Look = {"orientation": "horizontal", "fraction": 0.04, "aspect": 40, "pad": 0.02}
    beneath = "; beneath: the most probable next one" if predicted else ""
    colour_bar(ax, map_key("signed", -1, 1), [-1, 0, 1], name + beneath, **below)
    return figure_of(ax)
