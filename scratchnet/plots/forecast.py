"""A forecast and the truth in one figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scratchnet.arrays import Array, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.plots.style import (
    STYLES,
    Size,
    axes,
    colour,
    curve_colours,
    drawing,
    entitle,
    figure_of,
    inches_of,
    label_curves,
    letters_across,
    pt,
)


@drawing
def forecast(
    times: Sequence[Any] | Array,
    truth: Array,
    predictions: Mapping[str, Array],
    *,
    xlabel: str = "time",
    ylabel: str = "",
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw truth (n,) and predictions, label -> (n,), over times (n,), numbers or texts.

    ``size`` and ``ax`` as in ``errors_ahead``.
    """
    ax = axes(ax, size=size)
    t = np.arange(len(truth)) if isinstance(times[0], str) else np.asarray(times)
    if len(t) != len(truth):
        raise InvalidValueError(f"times has {len(t)} entries but truth has {len(truth)}")
    named = ax.plot(t, to_host(truth), "o-", color=colour("truth"), ms=pt(4), zorder=3)
    tints = curve_colours(list(predictions))
    for number, (label, values) in enumerate(predictions.items()):
        if len(values) != len(truth):
            raise InvalidValueError(
                f"the prediction {label!r} has {len(values)} values but truth has {len(truth)}"
            )
        named += ax.plot(t, to_host(values), STYLES[(number + 1) % 4], color=tints[number])
    for line, label in zip(named, ("truth", *predictions)):
        line.set_label(label)
    if isinstance(times[0], str):
        name_times(ax, t, list(times))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    entitle(ax, title)
    ax.set_xlim(t[0], t[-1])
    label_curves(ax, {line: str(line.get_label()) for line in named})
    return figure_of(ax)


def name_times(ax: Axes, t: Array, names: Sequence[str]) -> None:
    """Write as many of the texts ``names`` at ``t`` as fit side by side."""
    longest = max(len(name) for name in names) + 2
    fit = max(2, int(0.75 * letters_across(inches_of(ax)[0])) // longest)
    every = -(-len(names) // fit)
    ax.set_xticks(t[: len(names) : every], list(names)[::every])
