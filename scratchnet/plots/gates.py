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
    MARKERS,
    Look,
    axes,
    colour,
    figure_of,
    heatmap,
    name_of,
    new_figure,
    time_axis,
)
from scratchnet.tracing import RunTrace, Trace
from scratchnet.tracing.terms import blocks

# Every other gate is a sigmoid. Of these u, s and the n of mingru have no tanh: see ``_range``.
GATE_RANGE = dict.fromkeys(("g", "n", "u", "s", "h", "tanh c"), (-1.0, 1.0))
SHUT, OPEN = 0.1, 0.9  # Karpathy, Johnson and Fei-Fei 2015, section 4.2


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
) -> Figure:
    """Draw the gates of one sequence as heat maps, units down and time across.

    Colour ranges are fixed: 0 to 1, or -1 to 1 for the output of a tanh.

    Parameters
    ----------
    source : a trace, one of its runs, or gates (T, N, G*H) after their nonlinearity
    letters : the G gates of an array, such as "ifgo"
    sample : which sequence of the batch
    states : more panels. Of a trace, names, by default ("c",) where the cell has a c; of an array,
        name -> (T, N, H) or (T+1, N, H). c has no bounds and is drawn as tanh(c), as h reads it
    inputs : (T,), drawn above
    marks : steps to point out
    order : (H,), the order of the units in all panels; by default the step at which the first gate
        is furthest from its mean, so that units that act together are neighbours
    labels : (T,), a text for each step
    title : text
    """
    panels, texts, run = _panels(source, letters, sample, states, labels)
    first = next(iter(panels.values()))
    H, T = first.shape
    rows = peak_order(first) if order is None else np.asarray(to_host(order))
    if sorted(rows.tolist()) != list(range(H)):
        raise InvalidValueError(
            f"order has {len(rows)} entries for {H} units: expected each of 0 to {H - 1} once"
        )
    heights = [0.45] * (inputs is not None) + [1.0] * len(panels)
    figure = new_figure(height=1.45 * sum(heights) + 0.8)
    ratios = {"height_ratios": heights}
    grid = figure.subplots(len(heights), sharex=True, squeeze=False, gridspec_kw=ratios)[:, 0]
    if inputs is not None:
        if len(inputs) != T:
            raise InvalidValueError(
                f"inputs has {len(inputs)} entries but the gates have {T} steps"
            )
        tints = [colour("f") if t in marks else "#bbbbbb" for t in range(T)]
        grid[0].bar(np.arange(T), to_host(inputs), color=tints, width=0.9)
        grid[0].set(ylabel="input", yticks=[])
        grid[0].spines[["top", "right", "left"]].set_visible(False)
    for ax, (letter, values) in zip(grid[inputs is not None :], panels.items()):
        low, high = _range(letter, values)
        heatmap(ax, values[rows], low, high, "signed" if low < 0 else "gate")
        quantity = letter.split()[-1]
        look: Look = {"fontweight": "bold", "fontsize": 9.5}
        ax.set_ylabel(f"{letter}\n{name_of(quantity)}", color=colour(quantity), **look)
        ax.set_yticks([])
        top = ax.get_xaxis_transform()
        for t in marks:
            ax.plot([t], [1.0], "v", color=colour("f"), transform=top, clip_on=False, ms=6)
    for ax in grid[:-1]:
        ax.tick_params(bottom=False)
    time_axis(grid[-1], T, texts, run)
    rows_are = f"(each row is one of the {H} units, the same in all panels)"
    grid[-1].set_xlabel(f"{grid[-1].get_xlabel()}          {rows_are}")
    figure.suptitle(title_of(source, title))
    return figure


def _range(letter: str, values: Array) -> tuple[float, float]:
    """The ends of the colour range: fixed, except where values go beyond, as h of a relu does."""
    low, high = GATE_RANGE.get(letter, (0.0, 1.0))
    largest = float(np.max(np.abs(values)))
    if not largest > high:
        return low, high
    return (-largest if values.min() < 0 else 0.0), largest


def peak_order(values: Array) -> Array:
    """Units (H,) by the step at which their values (H, T) are furthest from the unit's own mean."""
    away = np.abs(values - values.mean(axis=1, keepdims=True))
    return np.argsort(np.argmax(away, axis=1), kind="stable")


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
        run, texts = None, list(labels or ())
        gate_values, known = to_host(source), dict(states or {})
    else:
        whole = run_of(source)
        run, texts = sequence(whole, sample), labels_of(source, whole, sample, labels)
        gate_values, letters, sample = gates_of(run), run.cell.GATES, 0
        if states is None:
            states = ("c",) if "c" in run.cell.STATES else ()
        for name in states:
            if name not in run.cell.STATES:
                raise InvalidValueError(
                    f"{run.cell_name} has no state {name!r}: it has {', '.join(run.cell.STATES)}"
                )
        known = {name: run[name] for name in states if name not in letters}
    panels = {letter: block[:, sample].T for letter, block in blocks(gate_values, letters).items()}
    for name, values in known.items():
        values = to_host(values)[-len(gate_values) :, sample].T  # without the initial state
        panels["tanh c" if name == "c" else name] = np.tanh(values) if name == "c" else values
    return panels, texts, run


def gates_of(run: RunTrace) -> Array:
    """The gates of a run, (T, N, G*H); of a cell without gates h, (T, N, H)."""
    return run.cache.gates if "gates" in run.cache._fields else run.cache.h[1:]


def saturation(
    source: Trace | RunTrace, *, sample: int | None = None, title: str = "", ax: Axes | None = None
) -> Figure:
    """Draw each unit's share of steps with a gate under 0.1 (shut) and over 0.9 (open).

    A unit on the right never passes anything on; one at the top is always open; one at the lower
    left changes from step to step.

    Parameters
    ----------
    source : a trace or one of its runs
    sample : one sequence; None: all sequences of the batch, without their padding
    title, ax : as in ``errors_ahead``

    Raises
    ------
    ValueError
        For a cell without gates.

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
    if sample is not None:
        run = sequence(run, sample)
    real = np.arange(run.T)[:, None] < run.lengths  # (T, N)
    ax = axes(ax, 5.6, 5.2)
    letters = [letter for letter in run.cell.GATES if letter not in GATE_RANGE]
    for letter, marker in zip(letters, MARKERS):
        values = blocks(gates_of(run), run.cell.GATES)[letter][real]  # (steps, H)
        shut, opened = np.mean(values < SHUT, axis=0), np.mean(values > OPEN, axis=0)
        look: Look = {"edgecolor": "white", "linewidth": 0.5, "alpha": 0.75, "s": 36}
        dots = ax.scatter(shut, opened, marker=marker, color=colour(letter), **look)
        dots.set(label=f"{letter}  {name_of(letter)}", clip_on=False, zorder=3)
    ax.plot([0, 1], [1, 0], color="#999999", lw=0.9, ls=":")
    look = {"textcoords": "offset points", "rotation": -45, "rotation_mode": "anchor"}
    look |= {"fontsize": 9, "color": "#666666", "ha": "center", "va": "bottom"}
    ax.annotate("never in between", (0.5, 0.5), (4, 4), **look)
    ax.set(xlabel=f"share of steps under {SHUT}: shut", ylabel=f"share of steps over {OPEN}: open")
    ax.set(xlim=(0, 1), ylim=(0, 1), title=title_of(source, title), aspect="equal")
    ax.legend(frameon=False, loc="upper right", title=f"a dot is one of {run.H} units")
    return figure_of(ax)
