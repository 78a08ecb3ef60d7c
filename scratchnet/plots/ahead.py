"""Forecasts of many steps: how the error grows with the distance, and the fan of what may come."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scratchnet.arrays import Array, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.plots.forecast import name_times
from scratchnet.plots.style import (
    MARKERS,
    QUIET,
    STYLES,
    Look,
    Size,
    axes,
    colour,
    curve_colours,
    drawing,
    entitle,
    figure_of,
    label_curves,
    model_colour,
    pt,
)


@drawing
def errors_ahead(
    errors: Mapping[str, Array],
    *,
    ylabel: str = "RMSE",
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw the error of each step ahead; line style and marker tell forecasters apart.

    Parameters
    ----------
    errors : label -> (horizon,), at least one, all of one horizon
    ylabel, title : texts
    size : "slide", 10 inches wide, with letters of at least 18 points on a slide of 13.33 x 7.5
        inches; or "paper", 7 inches wide with letters of 10 points
    ax : axes to draw into; a new figure if None

    Returns
    -------
    The new figure; or, so that a notebook does not show a figure of pyplot twice, the given axes.

    Raises
    ------
    ValueError
        Where there are no errors, or their horizons differ.
    """
    lengths = {label: len(values) for label, values in errors.items()}
    if len(set(lengths.values())) != 1:
        raise InvalidValueError(
            f"the horizons are {lengths}: expected at least one forecaster, and one horizon for all"
        )
    ax = axes(ax, size=size)
    named, tints = {}, curve_colours(list(errors))
    for number, (label, values) in enumerate(errors.items()):
        steps = np.arange(1, len(values) + 1)
        every = max(1, len(values) // 12)
        (line,) = ax.plot(steps, to_host(values), STYLES[number % 4], label=label)
        mark = MARKERS[number % len(MARKERS)]
        line.set(color=tints[number], marker=mark, markevery=every)
        named[line] = label
    ax.set(xlabel="steps ahead", ylabel=ylabel)
    entitle(ax, title)
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.margins(x=0.01)
    label_curves(ax, named)
    return figure_of(ax)


@drawing
def fan(
    past: Array,
    middle: Array,
    low: Array | None = None,
    high: Array | None = None,
    *,
    truth: Array | None = None,
    times: Sequence[str] = (),
    asked: float = 0.9,
    label: str = "forecast",
    ylabel: str = "",
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw a forecast after the last measured rows, and the interval between low and high.

    Parameters
    ----------
    past : (m,), the last measured rows
    middle : (horizon,), the forecast
    low, high : (horizon,), ends of the interval; both or none
    truth : (horizon,), what was measured later, where it is known
    times : a text for each row of past, and of the forecast if known
    asked : nominal coverage of the interval, for its label
    label : the model, which also gives the colour
    ylabel, title, size, ax : as in ``errors_ahead``

    Raises
    ------
    ValueError
        Where lengths differ.
    """
    for name, bound in (("low", low), ("high", high), ("truth", truth)):
        if bound is not None and len(bound) != len(middle):
            raise InvalidValueError(
                f"{name} has {len(bound)} steps but the forecast has {len(middle)}"
            )
    ax = axes(ax, size=size)
    t = np.arange(len(past) + len(middle))
    now, tint = len(past) - 1, model_colour(label)
    ahead = t[now:]  # a forecast leaves from the last measured value: there is no gap

    def onward(values: Array) -> Array:
        return np.concatenate([to_host(past)[-1:], to_host(values)])

    ax.plot(t[: now + 1], to_host(past), "-", color=colour("truth"), label="measured")
    named = {}
    if low is not None and high is not None:
        ends = onward(low), onward(high)
        ax.fill_between(ahead, *ends, color=tint, alpha=0.2, lw=0)
        (edge,) = ax.plot(ahead, ends[1], ":", color=tint, lw=pt(1.2))
        ax.plot(ahead, ends[0], ":", color=tint, lw=pt(1.2))
        named[edge] = f"{asked:.0%} interval"
    (line,) = ax.plot(ahead, onward(middle), "--", marker="o", ms=pt(4), color=tint, label=label)
    line.set_markevery(slice(1, None))
    named[line] = label
    if truth is not None:
        (later,) = ax.plot(ahead, onward(truth), "-", color=colour("truth"), label="measured later")
        later.set(marker="s", ms=pt(4), markevery=slice(1, None))
        named[later] = "measured later"
    ax.axvline(now, color=QUIET, lw=pt(1.2), ls=":")
    across: Look = {"transform": ax.get_xaxis_transform(), "va": "bottom", "color": QUIET}
    ax.text(now, 1.01, "measured  ", ha="right", **across)
    ax.text(now, 1.01, "  forecast", ha="left", **across)
    if times:
        name_times(ax, t, times)
    ax.set(xlabel="time" if times else "row", ylabel=ylabel)
    entitle(ax, title, pad=pt(26))
    ax.margins(x=0.01)
    label_curves(ax, named)
    return figure_of(ax)
