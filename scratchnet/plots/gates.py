"""What the gates do: heat maps, and the share of the time each gate is shut or wide open."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scratchnet.arrays import Array, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.plots.source import labels_of, run_of, sequence, title_of
from scratchnet.plots.style import (
    HIGHLIGHT,
    MARKERS,
    QUIET,
    Look,
    Size,
    axes,
    colour,
    colour_bar,
    drawing,
    entitle,
    entitle_figure,
    figure_of,
    heatmap,
    inches_of,
    map_key,
    name_of,
    new_figure,
    number_rows,
    pt,
    time_axis,
)
from scratchnet.tracing import RunTrace, Trace
from scratchnet.tracing.order import unit_order
from scratchnet.tracing.terms import blocks

# Every other gate is a sigmoid. Of these u, s and the n of mingru have no tanh: see ``_range``.
GATE_RANGE = dict.fromkeys(("g", "n", "u", "s", "h", "tanh c"), (-1.0, 1.0))
SHUT, OPEN = 0.1, 0.9  # Karpathy, Johnson and Fei-Fei 2015, section 4.2


@drawing
def gates(
    source: Array | Trace | RunTrace,
    letters: str | None = None,
    *,
    sample: int = 0,
    states: Sequence[str] | Mapping[str, Array] | None = None,
    inputs: Array | None = None,
    marks: Sequence[int] = (),
    order: Array | None = None,
    labels: Sequence[str] | None = None,
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw the gates of one sequence as heat maps, units down and time across.

    Colour ranges are fixed: 0 to 1, or -1 to 1 for the output of a tanh. Dark is low and bright is
    high, so that the sign can be read in grey too. The number at a row is the unit's.

    Parameters
    ----------
    source : a trace, one of its runs, or gates (T, N, G*H) after their nonlinearity
    letters : the G gates of an array, such as "ifgo"; of a trace those to draw, by default all
    sample : which sequence of the batch
    states : more panels. Of a trace, names, by default ("c",) where the cell has a c and all gates
        are drawn; of an array, name -> (T, N, H) or (T+1, N, H). c has no bounds and is drawn as
        tanh(c), as h reads it
    inputs : (T,), drawn above
    marks : steps to point out
    order : (H,), the units from the first row to the last, the same in all panels; by default
        ``tracing.order.unit_order``: the one that carries the largest gradient to the first step
        comes first
    labels : (T,), a text for each step
    title, size : as in ``errors_ahead``
    ax : axes for one panel: one letter and no inputs, as in ``gates(trace, "f", ax=ax)``
    """
    panels, texts, run = _panels(source, letters, sample, states, labels)
    H, T = next(iter(panels.values())).shape
    by_gradient = order is None and run is not None and run.has_backward
    if order is None:
        order = np.arange(H) if run is None else unit_order(run)
    rows = np.asarray(to_host(order))
    if sorted(rows.tolist()) != list(range(H)):
        raise InvalidValueError(
            f"order has {len(rows)} entries for {H} units: expected each of 0 to {H - 1} once"
        )
    if inputs is not None and len(inputs) != T:
        raise InvalidValueError(f"inputs has {len(inputs)} entries but the gates have {T} steps")
    if ax is not None and (len(panels) > 1 or inputs is not None):
        raise InvalidValueError(
            f"ax is for one panel, but there are {', '.join(panels)}"
            f"{' and the inputs' * (inputs is not None)}: choose one, such as letters="
            f"{next(iter(panels))!r}"
        )
    title = title_of(source, title)
    if len(panels) == 1 and inputs is None:
        ax = axes(ax, size=size)
        ((letter, values),) = panels.items()
        _panel(ax, letter, values, rows, marks, inches_of(ax)[1], bar=True)
        time_axis(ax, T, texts, run)
        if title:
            whole = f"{title}\n{ax.get_title(loc='left')}"
            entitle(ax, whole, color=colour(letter.split()[-1]))
        return figure_of(ax)
    said = f"A row is one of the {H} units, with its number."
    if by_gradient:
        said += "\nFirst the units that carry most\nof the gradient back to step 0."
    figure = new_figure(size=size)
    cells = _grid(figure, panels, inputs, rows, marks, said)
    for ax in cells:
        time_axis(ax, T, texts, run)
        place = ax.get_subplotspec()
        if place is not None and not place.is_last_row():
            ax.tick_params(labelbottom=False)
            ax.set_xlabel("")
    entitle_figure(figure, title)
    return figure


def _grid(
    figure: Figure,
    panels: Mapping[str, Array],
    inputs: Array | None,
    rows: Array,
    marks: Sequence[int],
    said: str,
) -> list[Axes]:
    """Draw the inputs and panels into a new figure; return the panels' axes."""
    # Up to two panels one above the other; more in two columns, whose first cell is free at the
    # right and has the key.
    columns = 1 if len(panels) < 3 else 2
    down = len(panels) if columns == 1 else len(panels) // 2 + 1
    above = inputs is not None
    heights = [0.4] * above + [1.0] * down
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    cells = [figure.add_subplot(grid[above + k, 0]) for k in range(down)]
    right = len(panels) - down
    cells += [figure.add_subplot(grid[above + down - right + k, 1]) for k in range(right)]
    inches = 0.62 * figure.get_figheight() / sum(heights)
    for ax, (letter, values) in zip(cells, panels.items()):
        _panel(axes(ax), letter, values, rows, marks, inches, bar=columns == 1)
        ax.sharex(cells[0])
    if inputs is not None:
        _bars(axes(figure.add_subplot(grid[0, 0], sharex=cells[0])), to_host(inputs), marks)
    if columns == 2:
        _key(figure.add_subplot(grid[: above + down - right, 1]), panels, said)
    return cells


def _bars(ax: Axes, inputs: Array, marks: Sequence[int]) -> None:
    """The inputs (T,), above the panels."""
    tints = [HIGHLIGHT if t in marks else "#999999" for t in range(len(inputs))]
    ax.bar(np.arange(len(inputs)), inputs, color=tints, width=0.9)
    ax.set(yticks=[])
    ax.tick_params(labelbottom=False)
    ax.spines[["left"]].set_visible(False)
    entitle(ax, "input" + ", marks coloured" * bool(marks))


def _panel(
    ax: Axes,
    letter: str,
    values: Array,
    rows: Array,
    marks: Sequence[int],
    inches: float,
    bar: bool = False,
) -> None:
    """One heat map (H, T) with its name above; the rows are in order and numbered."""
    low, high = _range(letter, values)
    heatmap(ax, values[rows], low, high, "signed" if low < 0 else "gate", bar=bar)
    quantity = letter.split()[-1]
    ends = "" if abs(high) == 1 else f", {low:.2g} to {high:.2g}"
    entitle(ax, f"{letter}  {name_of(quantity)}{ends}", color=colour(quantity))
    ax.set_ylabel("unit")
    number_rows(ax, rows, inches)
    top = ax.get_xaxis_transform()
    for t in marks:
        ax.plot([t], [1.0], "v", color=HIGHLIGHT, transform=top, clip_on=False, ms=pt(8))


def _key(ax: Axes, panels: Mapping[str, Array], said: str) -> None:
    """The colour bars of several panels, and what their rows are, in a cell without a panel."""
    kinds = {"signed" if _range(k, v)[0] < 0 else "gate" for k, v in panels.items()}
    ax.set_axis_off()
    for number, kind in enumerate(sorted(kinds)):
        ends = (0, 1) if kind == "gate" else (-1, 1)
        inset = ax.inset_axes((0.52 * number, 0.84, 0.44, 0.12))
        ticks = [ends[0], sum(ends) / 2, ends[1]]
        colour_bar(ax, map_key(kind, *ends), ticks, cax=inset, orientation="horizontal")
    ax.text(0, 0.5, said, transform=ax.transAxes, va="top", color=QUIET, linespacing=1.25)


def _range(letter: str, values: Array) -> tuple[float, float]:
    """The ends of the colour range: fixed, except where values go beyond, as h of a relu does."""
    low, high = GATE_RANGE.get(letter, (0.0, 1.0))
    largest = float(np.max(np.abs(values)))
    if not largest > high:
        return low, high
    return (-largest if values.min() < 0 else 0.0), largest


def _panels(
    source: Any, letters: str | None, sample: int, states: Any, labels: Sequence[str] | None
) -> tuple[dict[str, Array], list[str], RunTrace | None]:
    """Name -> (H, T) of each heat map, the labels of the steps, and the run if there is one."""
    if hasattr(source, "shape"):
        T, N, G = source.shape
        if letters is None or G % len(letters):
            raise InvalidValueError(
                f"gates is {source.shape}: expected letters, one for each block of its last axis,"
                " like 'ifgo'"
            )
        if states is not None and not isinstance(states, Mapping):
            raise InvalidValueError(
                f"states is {states!r} but gates is an array: expected name -> array"
            )
        if not 0 <= sample < N:
            raise InvalidValueError(
                f"sample is {sample} but gates has {N} sequences: expected 0 to {N - 1}"
            )
        if labels and len(labels) != T:
            raise InvalidValueError(
                f"there are {len(labels)} labels but the gates have {T} steps: expected one each"
            )
        run, texts, chosen = None, list(labels or ()), None
        gate_values, known = to_host(source), dict(states or {})
    else:
        whole = run_of(source)
        run, texts = sequence(whole, sample), labels_of(source, whole, sample, labels)
        gate_values, chosen, letters, sample = gates_of(run), letters, run.cell.GATES, 0
        if chosen is not None and (not chosen or set(chosen) - set(letters)):
            raise InvalidValueError(
                f"letters is {chosen!r}, but the gates of a {run.cell_name} are {letters}"
            )
        if states is None:
            states = ("c",) if chosen is None and "c" in run.cell.STATES else ()
        for name in states:
            if name not in run.cell.STATES:
                raise InvalidValueError(
                    f"{run.cell_name} has no state {name!r}: it has {', '.join(run.cell.STATES)}"
                )
        known = {name: run[name] for name in states if name not in letters}
    panels = {letter: block[:, sample].T for letter, block in blocks(gate_values, letters).items()}
    if chosen is not None:
        panels = {letter: panels[letter] for letter in chosen}
    for name, values in known.items():
        values = to_host(values)[-len(gate_values) :, sample].T  # without the initial state
        panels["tanh c" if name == "c" else name] = np.tanh(values) if name == "c" else values
    return panels, texts, run


def gates_of(run: RunTrace) -> Array:
    """The gates of a run, (T, N, G*H); of a cell without gates h, (T, N, H)."""
    return run.cache.gates if "gates" in run.cache._fields else run.cache.h[1:]


@drawing
def saturation(
    source: Trace | RunTrace,
    letters: str | None = None,
    *,
    sample: int | None = None,
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw each unit's share of steps with a gate under 0.1 (shut) and over 0.9 (open).

    A panel for each gate. A unit at the lower right never passes anything on; one at the upper left
    is always open; one at the lower left is mostly in between. A dot is one unit; units that
    would cover each other are one larger mark, at their mean, with their number on it.

    Parameters
    ----------
    source : a trace or one of its runs
    letters : the gates to draw, by default all that are between 0 and 1
    sample : one sequence; None: all sequences of the batch, without their padding
    title, size : as in ``errors_ahead``
    ax : axes for one panel, of one letter

    Raises
    ------
    ValueError
        For a cell without gates, or a letter that is none of its gates between 0 and 1.

    References
    ----------
    Karpathy, Johnson and Fei-Fei 2015, section 4.2, figure 2.
    """
    run = run_of(source)
    if "gates" not in run.cache._fields:
        raise InvalidValueError(
            f"{run.name} is a {run.cell_name}, which has no gates: there is nothing to be shut or"
            " open"
        )
    known = [letter for letter in run.cell.GATES if letter not in GATE_RANGE]
    chosen = known if letters is None else list(letters)
    if not chosen or set(chosen) - set(known):
        raise InvalidValueError(
            f"letters is {letters!r}, but the gates between 0 and 1 of a {run.cell_name} are"
            f" {''.join(known)}"
        )
    if ax is not None and len(chosen) > 1:
        raise InvalidValueError(
            f"ax is for one panel, but there are {', '.join(chosen)}: choose one, such as"
            f" letters={chosen[0]!r}"
        )
    if sample is not None:
        run = sequence(run, sample)
    real = np.arange(run.T)[:, None] < run.lengths  # (T, N)
    if ax is None:
        figure: Figure = new_figure(height=4.8, size=size)
        panels = figure.subplots(1, len(chosen), sharey=True, squeeze=False)[0]
        entitle_figure(figure, title_of(source, title))
    else:
        panels, figure = np.array([ax]), figure_of(ax)
    for k, (panel, letter) in enumerate(zip(panels, chosen)):
        values = blocks(gates_of(run), run.cell.GATES)[letter][real]  # (steps, H)
        shares = np.stack([np.mean(values < SHUT, axis=0), np.mean(values > OPEN, axis=0)], axis=1)
        _dots(axes(panel), shares, colour(letter), MARKERS[known.index(letter)])
        panel.set_title(f"{letter}  {name_of(letter)}", color=colour(letter))
        panel.plot([0, 1], [1, 0], color=QUIET, lw=pt(1), ls=":", zorder=1)
        panel.set(xlim=(-0.1, 1.1), ylim=(-0.1, 1.1), aspect="equal", xlabel=f"shut: under {SHUT}")
        panel.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        if k == 0:
            panel.set_ylabel(f"open: over {OPEN}")
    if ax is None:
        said = "share of the steps; a dot: one unit; a number: so many; line: never in between"
        figure.supxlabel(said, fontsize=panels[0].xaxis.label.get_fontsize(), color=QUIET)
    return figure


def _dots(ax: Axes, shares: Array, tint: str, marker: str) -> None:
    """A mark for each unit, or for several that would cover each other, with their number."""
    places, counts = clusters(shares, 0.13)
    alone = counts == 1
    look: Look = {"color": tint, "clip_on": False, "zorder": 3, "linewidth": 0}
    for x, y, how in (
        (*places[alone].T, {"marker": marker, "s": pt(9) ** 2}),
        (*places[~alone].T, {"marker": "o", "s": pt(23) ** 2}),
    ):
        ax.scatter(x, y, **look, **how)
    words: Look = {"fontweight": "bold", "color": "white", "zorder": 4, "ha": "center"}
    for (x, y), count in zip(places[~alone], counts[~alone]):
        ax.text(x, y, str(count), va="center_baseline", **words)


def clusters(points: Array, apart: float) -> tuple[Array, Array]:
    """Means (k, 2) of groups of points, at least ``apart`` from each other, and their counts (k,).

    The two groups that are closest are joined, until none are closer than that.
    """
    places, counts = np.unique(points, axis=0, return_counts=True)
    while len(places) > 1:
        away = np.linalg.norm(places[:, None] - places[None], axis=2)
        np.fill_diagonal(away, np.inf)
        i, j = np.unravel_index(np.argmin(away), away.shape)
        if away[i, j] >= apart:
            break
        both = counts[i] + counts[j]
        places[i] = (counts[i] * places[i] + counts[j] * places[j]) / both
        counts[i] = both
        places, counts = np.delete(places, j, axis=0), np.delete(counts, j)
    return places, counts
