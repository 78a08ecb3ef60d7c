"""The cell at one step: its drawing with the numbers of one unit on the wires, the line of its code
that is computed, and where in time that is."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, HPacker, TextArea
from matplotlib.patches import FancyBboxPatch, Rectangle

from scratchnet.plots.equations import Piece, equation, filled, number, symbol, tint_of
from scratchnet.plots.source import gradient_of, run_of, title_of
from scratchnet.plots.style import (
    EDGE,
    GROUND,
    INK,
    QUIET,
    Look,
    Size,
    colour,
    drawing,
    entitle,
    figure_of,
    inches_of,
    new_figure,
    pt,
    style,
)
from scratchnet.plots.walk import Direction, Walk
from scratchnet.plots.wires import GLOW, LETTER, MONO, Drawing, width_of
from scratchnet.view.walk import Step

# Inches of a slide's figure: its height; and from the top the parts besides the drawing.
HEIGHT, HEAD, PANEL, STRIP = 5.625, 0.42, 1.28, 0.55


@drawing
def cell(
    source: Any,
    t: int | None = None,
    unit: int | None = None,
    term: str | None = None,
    *,
    walk: Direction = "backward",
    sample: int = 0,
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw the cell at one step: what its wires carry, and one line of its code with the numbers.

    Backward the wires run from right to left and carry gradients. What the line computes is
    highlighted, and what it reads has thick wires. Beneath are the equation, with the numbers of
    the unit, and the line of the library; at the foot the gradient at all steps, and this one.

    Parameters
    ----------
    source : a trace, or one of its runs
    t : the time step; by default the last
    unit : by default the one that carries the largest gradient to the first step
    term : what the line computes, such as "dc" or "da_f"; by default the pass's first
    walk : "backward" or "forward"
    sample : which sequence of the batch
    title, size : as in ``errors_ahead``
    ax : axes for the drawing alone; its letters get smaller with the axes

    Raises
    ------
    ValueError
        Where the run has no gradients for a walk backward, no line computes the term, or the cell
        has no drawing.
    IndexError
        Where there is no such step, unit or sequence.
    """
    whole = run_of(source)
    ready = Walk(whole, walk, sample, unit)
    t = ready.T - 1 if t is None else t
    ready.require_step(t)
    line = ready.lines[0] if term is None else ready.line_of(term)
    if ax is not None:
        with style("slide", inches_of(ax)[0]):
            Drawing(ready, t, line, ax, *(side / pt(1.0) for side in inches_of(ax))).draw()
            if title:
                entitle(ax, title)
        return figure_of(ax)
    figure = new_figure(height=HEIGHT, size=size)
    figure.set_layout_engine("none")
    draw_frame(figure, ready, t, line, title_of(source, title))
    return figure


def draw_frame(figure: Figure, walk: Walk, t: int, line: Step, title: str = "") -> None:
    """The whole picture on a figure without a layout engine: drawing, line and strip of time."""
    figure.clear()
    down = 1 / HEIGHT
    foot = (STRIP + PANEL) * down
    high = HEIGHT - HEAD - PANEL - STRIP
    Drawing(walk, t, line, figure.add_axes((0, foot, 1, high * down)), 10.0, high).draw()
    _Line(walk, t, line, _panel(figure, STRIP, PANEL)).draw()
    _strip(walk, t, _panel(figure, 0.0, STRIP))
    number_of = walk.lines.index(line) + 1
    said = f"{number_of} of {len(walk.lines)}: {line['title']}"
    head = _panel(figure, HEIGHT - HEAD, HEAD)
    look: Look = {"va": "center", "fontsize": pt(15.4)}
    head.text(0.15, HEAD / 2, said, fontweight="bold", **look)
    where = f"step {t} of {walk.T - 1}, unit {walk.unit}"
    head.text(9.85, HEAD / 2, f"{title}{', ' * bool(title)}{where}", ha="right", **look)


def _panel(figure: Figure, low: float, high: float) -> Axes:
    """Axes as wide as the figure, whose data are inches of a slide's figure."""
    ax = figure.add_axes((0, low / HEIGHT, 1, high / HEIGHT))
    ax.set(xlim=(0, 10), ylim=(0, high))
    ax.set_axis_off()
    return ax


def _room(pieces: list[Piece]) -> float:
    """About how wide pieces are, in letters of 14 points."""
    return 0.1 + 0.97 * sum(width_of(text) for text, _ in pieces)


class _Line:
    """One line of the walk: its terms as equations, with numbers, and the library's code."""

    def __init__(self, walk: Walk, t: int, line: Step, ax: Axes) -> None:
        self.walk, self.t, self.line, self.ax = walk, t, line, ax

    def draw(self) -> None:
        """Terms in rows, more than three in columns with their results only; and the code."""
        ax = self.ax
        ax.add_patch(
            FancyBboxPatch(
                (0.15, 0.06),
                9.7,
                PANEL - 0.1,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=GROUND,
                edgecolor=EDGE,
                lw=pt(1),
                zorder=0,
            )
        )
        terms = self._weights() if "weights" in self.line else self._terms()
        rows = 2 if len(terms) == 4 else min(3, len(terms))
        columns = -(-len(terms) // rows)
        pitch, room = 0.82 / rows, 9.5 / columns
        points = {1: 20, 2: 17, 3: 14}[rows] if columns == 1 else 14
        middle = max(_room(symbols) for symbols, _ in terms) * points / 14
        for k, (symbols, numbers) in enumerate(terms):
            x, y = 0.32 + (k // rows) * room, PANEL - 0.08 - (k % rows + 0.5) * pitch
            if columns > 1:
                whole = [*symbols, *numbers[-2:]]
                short = [*symbols[:2], numbers[-1]]
                self._write(x, y, whole if _room(whole) < room else short, room, points)
                continue
            fits = middle + _room(numbers) * points / 14 < room
            self._write(x, y, symbols, room, points)
            if fits or rows == 1:
                self._write(x + middle, y, numbers, room - middle, points)
            else:
                self._write(x + middle, y, [numbers[0], numbers[-1]], room - middle, points)
        for place, code, comment in self.line["code"][:1]:
            said = f"{code}  # {comment}" if comment else code
            room = int(9.2 / LETTER) - len(place) - 2
            shown = said if len(said) <= room else code
            shown = shown if len(shown) <= room else f"{shown[: room - 1]}…"
            look: Look = {"family": MONO, "parse_math": False}
            parts = [
                TextArea(text, textprops=look | {"color": tint, "fontsize": pt(14)})
                for text, tint in ((f"{place}  ", QUIET), (shown, INK))
            ]
            self._row(0.32, 0.24, parts)

    def _terms(self) -> list[tuple[list[Piece], list[Piece]]]:
        """Each term in symbols; and what that is in numbers, with the result at the end."""
        walk, numbers, last = self.walk, self.walk.numbers, self.t == self.walk.T - 1
        found = []
        for term in self.line["terms"]:
            symbols = equation(numbers, term, last)
            result, *computed = filled(numbers, term, self.t, walk.unit)
            if term == "dx" and walk.run.cache.x.shape[2] > 1:
                result = (f"{walk.run.cache.x.shape[2]} numbers", QUIET)
            found.append((symbols, [*computed, (" = ", INK), result]))
        return found

    def _weights(self) -> list[tuple[list[Piece], list[Piece]]]:
        """What this step adds to each weight's gradient, and how large that is."""
        found = []
        numbers, program = self.walk.numbers, self.walk.program
        for name, blocks in program.weights.items():
            size = 0.0
            for left, right in blocks:
                parts = [numbers.row(k, self.t) for k in (left, right) if k is not None]
                size += float(np.prod([np.sum(np.square(part)) for part in parts]))
            symbols = [(symbol(f"d{name}"), tint_of(name)), (" +=", INK)]
            found.append((symbols, [("  of size ", QUIET), (number(size**0.5), INK)]))
        return found

    def _write(self, x: float, y: float, pieces: list[Piece], room: float, points: float) -> None:
        """Coloured pieces on one line, as large as they fit."""
        k = pt(points * min(1.0, room / (_room(pieces) * points / 14)))
        areas = [
            TextArea(
                text.replace(" ", "\u00a0"), textprops={"color": tint, "fontsize": max(k, pt(14))}
            )
            for text, tint in pieces
        ]
        self._row(x, y, areas)

    def _row(self, x: float, y: float, parts: list[TextArea]) -> None:
        """Texts side by side."""
        box = HPacker(children=[*parts], pad=0, sep=0, align="baseline")
        self.ax.add_artist(
            AnnotationBbox(box, (x, y), frameon=False, box_alignment=(0, 0.5), pad=0)
        )


def _strip(walk: Walk, t: int, ax: Axes) -> None:
    """The gradient of each state at all steps, as ribbons on a logarithmic scale, and this step."""
    run, n = walk.run, walk.numbers.sample
    left, right, middle = 0.75, 9.2, STRIP / 2
    pitch = (right - left) / walk.T
    x = left + (np.arange(walk.T) + 0.5) * pitch
    ax.add_patch(
        Rectangle((x[t] - pitch / 2, 0.03), pitch, STRIP - 0.06, color=GLOW, lw=0, gid="cursor")
    )
    ax.text(9.85, middle, f"t = {t}", ha="right", va="center")
    if not run.has_backward:
        ax.plot(x, np.full(walk.T, middle), "o", ms=pt(3), color=QUIET)
        return
    states = run.cell.STATES[::-1]
    with np.errstate(all="ignore"):
        sizes = {s: np.linalg.norm(gradient_of(run, s)[: walk.T, n], axis=1) for s in states}
    real = [v for d in sizes.values() for v in d if np.isfinite(v) and v > 0]
    most = max(real, default=1.0)
    for k, (state, d) in enumerate(sizes.items()):
        room = (STRIP - 0.08) / len(states)
        y = STRIP - 0.04 - (k + 0.5) * room
        with np.errstate(all="ignore"):
            power = np.nan_to_num(1 + np.log10(d / most) / 6, nan=0.0, posinf=0.0, neginf=0.0)
        half = 0.45 * room * np.clip(power, 0, 1)
        ends = np.concatenate([[left], x, [right]]), np.concatenate([half[:1], half, half[-1:]])
        ax.fill_between(ends[0], y - ends[1], y + ends[1], color=colour(state), lw=0, alpha=0.92)
        ax.text(left - 0.1, y, symbol(f"d{state}"), ha="right", va="center", color=colour(state))
