"""What all figures share: the palette, two sizes, new axes, labels at curves, heat maps.

Colours come from ``palette.json``: one for each quantity, the same here and in the pages. No curve
relies on its colour alone: line styles and markers differ as well, and each carries its name.
Nothing here touches pyplot, so no figure outlives its last reference.

Every figure is drawn inside ``style(size)``, which sets the letters and lines for a slide or for
paper; a length in points is written ``pt(2)``, as it is on a slide.
"""

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib import resources
from io import BytesIO
from itertools import pairwise
from typing import Any, Literal, NamedTuple, ParamSpec, TypeAlias

import numpy as np
from matplotlib import colormaps, rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from scratchnet.arrays import Array
from scratchnet.errors import InvalidValueError
from scratchnet.plots.source import time_name
from scratchnet.tracing import RunTrace

PALETTE = json.loads(
    resources.files("scratchnet").joinpath("palette.json").read_text(encoding="utf-8")
)
QUANTITIES = PALETTE["quantities"] | PALETTE["weights"]
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P")
QUIET = PALETTE["page"]["quiet"]["light"]
INK = PALETTE["page"]["ink"]["light"]
HIGHLIGHT, EDGE, GROUND = (PALETTE["page"][k]["light"] for k in ("highlight", "line", "panel"))
Look = dict[str, Any]  # keywords of a matplotlib artist

# "gate" (0 to 1), "signed" (-1 to 1) and "gradient" (log) -> matplotlib's name of the map
MAPS = {name: f"scratchnet_{name}" for name in PALETTE["maps"]}
for _name, _stops in PALETTE["maps"].items():
    colormaps.register(
        LinearSegmentedColormap.from_list(MAPS[_name], _stops["light"]),
        name=MAPS[_name],
        force=True,
    )


class Format(NamedTuple):
    """The width (inches) and letters (points) of a figure; letters grow with a wider figure."""

    width: float
    letters: float


SLIDE = 13.33  # inches: the width of a 16:9 slide, which is 7.5 high
# On a slide 10 inches become 13.33, and 14 points 18.7.
SIZES = {"slide": Format(10.0, 14.0), "paper": Format(7.0, 10.0)}
Size: TypeAlias = Literal["slide", "paper"]
# A new figure; or the given axes. Their figure is not returned: pyplot may show it by itself, and
# a notebook would show it twice.
Drawn: TypeAlias = Figure | Any
P = ParamSpec("P")


class Picture(Figure):
    """A figure that a notebook displays once, with and without ``%matplotlib inline``.

    pyplot does not know the figure and does not show it; IPython asks the value of a cell for its
    picture, and only a Figure that pyplot's inline backend has registered would have one.
    """

    def _repr_png_(self) -> bytes:
        return png(self)


def png(figure: Figure) -> bytes:
    """The figure as a picture in memory."""
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


@contextmanager
def style(size: Size = "slide", width: float | None = None) -> Iterator[None]:
    """Letters, lines and the size of new figures, for ``slide`` or ``paper``, inside the block.

    Parameters
    ----------
    size : "slide", 10 x 5.6 inches, whose letters are at least 18 points once the figure is as wide
        as a slide of 13.33 x 7.5 inches; or "paper", 7 inches wide with letters of 10 points
    width : inches of a figure that exists already; wider figures get larger letters
    """
    if size not in SIZES:
        raise InvalidValueError(f"size is {size!r}: expected {' or '.join(map(repr, SIZES))}")
    known = SIZES[size]
    letters = known.letters * (width or known.width) / known.width
    if size == "paper":
        letters = max(letters, known.letters)  # half a page has letters of 10 points too
    k = letters / SIZES["slide"].letters
    same = ["font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize"]
    same += ["legend.fontsize", "legend.title_fontsize"]
    look: Any = dict.fromkeys(same, letters)
    look |= {"figure.titlesize": 1.1 * letters, "axes.titlesize": 1.1 * letters}
    look |= {"axes.titleweight": "bold", "figure.titleweight": "bold", "axes.titlelocation": "left"}
    look |= {"legend.frameon": False}
    look |= {"axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": QUIET}
    look |= {"axes.titlepad": 8 * k, "axes.labelpad": 5 * k, "axes.linewidth": k}
    look |= {"lines.linewidth": 2.4 * k, "lines.markersize": 7 * k, "hatch.linewidth": k}
    for tick in ("xtick", "ytick"):
        look |= {f"{tick}.major.size": 5 * k, f"{tick}.minor.size": 3 * k, f"{tick}.color": INK}
        look |= {f"{tick}.major.width": k, f"{tick}.minor.width": 0.7 * k}
    with rc_context(look):
        yield


def drawing(draw: Callable[P, Figure]) -> Callable[P, Drawn]:
    """Run a function with ``size=``, and perhaps ``ax=``, in its style; of ``ax=`` return ax."""

    @wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> Drawn:
        ax: Any = kwargs.get("ax")
        size: Any = kwargs.get("size", "slide")
        width = figure_of(ax).get_figwidth() if isinstance(ax, Axes) else None
        with style(size, width):
            figure = draw(*args, **kwargs)
        return figure if ax is None else ax

    return in_style


def pt(points: float) -> float:
    """A length in points, as it is on a slide; smaller on paper, as the letters are."""
    return points * float(rcParams["font.size"]) / SIZES["slide"].letters


def colour(name: str) -> str:
    """The colour of a quantity ("f", "h", "W_h") or model ("lstm", "truth"); grey for others."""
    known = QUANTITIES | PALETTE["models"]
    return str(known.get(name, PALETTE["models"]["baseline"])["light"])


def model_colour(label: str) -> str:
    """The colour of a curve labelled like "LSTM, 0.12": of the model its first word names."""
    words = label.lower().replace(",", " ").replace("(", " ").split()
    return colour(words[0] if words and words[0] in PALETTE["models"] else "baseline")


def curve_colour(label: str, number: int) -> str:
    """The model's own colour, or for a label that names no model one of four that stay apart."""
    own = model_colour(label)
    return colour(("lstm", "rnn", "gru", "mlp")[number % 4]) if own == colour("baseline") else own


def curve_colours(labels: Sequence[str]) -> list[str]:
    """A colour for each curve: its model's own, or where that is taken one of the others'."""
    found: list[str] = []
    for label in labels:
        others = (colour(name) for name in ("rnn", "lstm", "gru", "mlp", "ar"))
        free = (tint for tint in (model_colour(label), *others) if tint not in found)
        found.append(next(free, model_colour(label)))
    return found


def name_of(letter: str) -> str:
    """What a gate or state is called: "forget gate" for "f"."""
    return str(QUANTITIES.get(letter, {"name": ""})["name"])


def new_figure(width: float = 10.0, height: float = 5.625, size: Size = "slide") -> Picture:
    """A figure without a window; inches of a slide's figure, smaller by 0.7 on paper."""
    k = SIZES[size].width / SIZES["slide"].width
    return Picture(figsize=(k * width, k * height), dpi=150, layout="constrained")


def axes(
    ax: Axes | None = None, width: float = 10.0, height: float = 5.625, size: Size = "slide"
) -> Axes:
    """``ax`` itself, or the axes of a new figure, with letters of the present style."""
    if ax is None:
        ax = new_figure(width, height, size).add_subplot()
    ax.spines[["top", "right"]].set_visible(False)
    # Ticks are made when they are first drawn, after the style's block, and labels before it.
    freeze_ticks(ax)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_fontsize(rcParams["axes.labelsize"])
    return ax


def freeze_ticks(ax: Axes) -> None:
    """Give ticks that will be made later the size that the style has now."""
    now: Any = rcParams
    for which in ("major", "minor"):
        for axis in ("x", "y"):
            tick = f"{axis}tick"
            look = {"labelsize": now[f"{tick}.labelsize"], "length": now[f"{tick}.{which}.size"]}
            ax.tick_params(axis=axis, which=which, width=now[f"{tick}.{which}.width"], **look)
    for offset in (ax.xaxis.get_offset_text(), ax.yaxis.get_offset_text()):
        offset.set_fontsize(now["font.size"])


def figure_of(ax: Axes) -> Figure:
    """The figure an axes belongs to."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise InvalidValueError("ax belongs to no figure")
    return figure


def inches_of(ax: Axes) -> tuple[float, float]:
    """Width and height of the axes; a little off before the first layout."""
    box, (width, height) = ax.get_position(), figure_of(ax).get_size_inches()
    return box.width * width, box.height * height


def letters_across(inches: float) -> int:
    """How many letters of the style fit side by side: one is 0.58 of its size wide, on average."""
    return max(8, int(inches * 72 / (0.58 * rcParams["font.size"])))


def entitle(ax: Axes, title: str, pad: float | None = None, color: str = "black") -> None:
    """The title of the axes, left and bold, broken into lines that fit above it."""
    room = int(letters_across(inches_of(ax)[0] * 1.1) / 1.2)  # bold, and 1.1 times as large
    written = "\n".join(textwrap.fill(line, room) for line in title.splitlines())
    size = rcParams["axes.titlesize"]
    look: Look = {"fontsize": size, "fontweight": "bold", "color": color}
    ax.set_title(written, loc="left", pad=pad, **look)


def entitle_figure(figure: Figure, title: str) -> None:
    """The same above several panels."""
    if title:
        room = int(letters_across(figure.get_figwidth()) / 1.2)
        written = "\n".join(textwrap.fill(line, room) for line in title.splitlines())
        figure.suptitle(written, x=0.01, ha="left")


def label_curves(
    ax: Axes, labels: Mapping[Line2D, str], side: str = "right", room: int = 20
) -> None:
    """Write each curve's name, in its colour, at its first (side="left") or last point.

    Names are outside of the axes, one above the other without an overlap; a thin line leads to a
    curve's end that is not at the same height. Call it when the limits of the axes are final.
    """
    to_axes = ax.transScale + ax.transLimits
    height = inches_of(ax)[1] * 72 / (1.25 * rcParams["font.size"])  # of the axes, in lines
    ends, left = [], side == "left"
    for line, label in labels.items():
        x, y = (np.asarray(v, float) for v in line.get_data())
        if line.get_transform() != ax.transData:  # axhline: from 0 to 1 of the axes' width
            x = np.asarray(ax.get_xlim())
        real = np.flatnonzero(np.isfinite(y))
        point = (x[real[0 if left else -1]], y[real[0 if left else -1]]) if len(real) else None
        at = 0.0 if point is None else float(np.clip(to_axes.transform(point)[1], 0, 1))
        text = "\n".join(textwrap.fill(part, room) for part in label.splitlines())
        ends.append((at, text, line, point))
    ends.sort(key=lambda end: end[0])
    sizes = [(1 + text.count("\n")) / height for _, text, _, _ in ends]
    places = spread([at for at, _, _, _ in ends], sizes)
    for (at, text, line, point), place in zip(ends, places):
        tint = line.get_color()
        look: Look = {"xycoords": "data", "textcoords": "axes fraction", "annotation_clip": False}
        look |= {"ha": "right" if left else "left", "va": "center", "color": tint}
        far = point is not None and abs(to_axes.transform(point)[0] - (not left)) > 0.03
        if point is not None and (far or abs(place - at) > 0.4 / height):
            edge = {"arrowstyle": "-", "color": tint, "lw": pt(0.8), "shrinkA": 0, "shrinkB": pt(3)}
            look["arrowprops"] = edge | {"relpos": (1.0 if left else 0.0, 0.5), "alpha": 0.6}
        where = (-0.025 if left else 1.025, place)
        anchor = point or (ax.get_xlim()[0], ax.get_ylim()[0])
        ax.annotate(text, anchor, where, **look)


def spread(wanted: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Middles of boxes of these sizes, near the wanted ones (ascending), without an overlap."""
    places = list(wanted)
    gaps = [(a + b) / 2 for a, b in pairwise(sizes)]
    if not places:
        return places
    for k, gap in enumerate(gaps):
        places[k + 1] = max(places[k + 1], places[k] + gap)
    places[-1] = min(places[-1], max(1.0, sum(gaps)))
    for k in reversed(range(len(gaps))):
        places[k] = min(places[k], places[k + 1] - gaps[k])
    return places


def travels(ax: Axes, pad: float = 1.0) -> float:
    """An arrow above the axes: the gradient travels to the left. Returns the title's pad."""
    letters = float(rcParams["font.size"])
    lift = 1 + pad * letters / 72 / inches_of(ax)[1]
    arrow: Look = {"arrowstyle": "-|>", "color": colour("from_future"), "lw": pt(2)}
    arrow |= {"mutation_scale": pt(16), "shrinkA": 0, "shrinkB": 0}
    frame = "axes fraction"
    ax.annotate("", (0, lift), (1, lift), frame, frame, arrowprops=arrow, annotation_clip=False)
    look: Look = {"ha": "center", "va": "center", "color": colour("from_future")}
    look |= {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": pt(3)}}
    ax.text(0.5, lift, "the gradient travels this way", transform=ax.transAxes, **look)
    return (pad + 1.0) * letters


def heatmap(
    ax: Axes, values: Array, low: float, high: float, kind: str, bar: bool = True, **options: Any
) -> AxesImage:
    """Draw values (rows, columns) as an image over the fixed range low..high, with a colour bar."""
    image = ax.imshow(
        values,
        aspect="auto",
        vmin=low,
        vmax=high,
        cmap=MAPS[kind],
        interpolation="nearest",
        **options,
    )
    if bar:
        colour_bar(ax, image, [low, (low + high) / 2, high])
    return image


def colour_bar(
    ax: Axes | Sequence[Axes],
    image: Any,
    ticks: Sequence[float] | None = None,
    label: str = "",
    **options: Any,
) -> None:
    """A colour bar at the right of the axes, or as matplotlib's ``options`` say."""
    first = ax if isinstance(ax, Axes) else ax[0]
    look: Look = {"fraction": 0.03, "pad": 0.01} | options
    bar = figure_of(first).colorbar(image, ax=ax, ticks=ticks, **look)
    if ticks is not None:
        bar.set_ticks(list(ticks), labels=[f"{tick:.2g}" for tick in ticks])
    freeze_ticks(bar.ax)
    bar.outline.set_visible(False)
    bar.set_label(label)


def map_key(kind: str, low: float, high: float) -> ScalarMappable:
    """What a colour bar needs where no single image is its own."""
    return ScalarMappable(Normalize(low, high), colormaps[MAPS[kind]])


def number_rows(ax: Axes, units: Array, inches: float) -> None:
    """Write the unit's number beside as many rows of a heat map, ``inches`` high, as fit."""
    fit = max(1, int(inches * 72 / (1.15 * rcParams["font.size"])))
    every = -(-len(units) // fit)
    ax.set_yticks(np.arange(len(units))[::every], [str(u) for u in units[::every]])


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
    axis.set_label_text("time step t" if run is None else time_name(run))
    letters = rcParams["font.size"]
    width, height = inches_of(ax)
    room = 72 * (width if which == "x" else height) / letters  # in letters' heights
    if not labels:
        _whole_steps(axis, T, int(room / 4))
        return
    longest = max(len(one_line(label)) for label in labels)
    level = int(room / 0.75) if which == "x" else int(room / 1.2)
    if longest <= 1 and level < T:
        _whole_steps(axis, T, int(room / 4))
        return
    upright = which == "x" and longest > 1 and T * (longest + 1) > level
    every = -(-T // max(1, int(room / 1.2))) if upright else -(-T // max(1, level))
    # A label is text, never mathematics: one with two dollar signs in it stays as it is.
    written = [one_line(label) for label in labels[::every]]
    look: Look = {"fontsize": letters, "parse_math": False, "rotation": 90 if upright else 0}
    axis.set_ticks(np.arange(T)[::every], written, **look)


def _whole_steps(axis: Any, T: int, most: int) -> None:
    """Ticks at whole steps: a time between two steps does not exist."""
    step = next((s * 10**k for k in range(7) for s in (1, 2, 5) if s * 10**k * most >= T), T)
    axis.set_ticks(np.arange(0, T, step))
