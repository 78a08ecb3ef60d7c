"""Forecasts of many steps: how the error grows with the distance, and the fan of what may come."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scratchnet.arrays import Array, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.plots.style import MARKERS, STYLES, axes, colour, figure_of, model_colour


def errors_ahead(
    errors: Mapping[str, Array], *, ylabel: str = "RMSE", title: str = "", ax: Axes | None = None
) -> Figure:
    """Draw the error of each step ahead; line style and marker tell forecasters apart.

    Parameters
    ----------
    errors : label -> (horizon,), at least one, all of one horizon
    ylabel, title : texts
    ax : axes to draw into; a new figure if None

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
    ax = axes(ax)
    for number, (label, values) in enumerate(errors.items()):
        steps = np.arange(1, len(values) + 1)
        every = max(1, len(values) // 12)
        (line,) = ax.plot(steps, to_host(values), STYLES[number % 4], lw=1.8, ms=4.5, label=label)
        mark = MARKERS[number % len(MARKERS)]
        line.set(color=model_colour(label), marker=mark, markevery=every)
    ax.set(xlabel="steps ahead", ylabel=ylabel, title=title)
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False, ncols=1 if len(errors) < 5 else 2, fontsize=9)
    return figure_of(ax)


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
    asked : nominal coverage of the interval, for the legend
    label : the model, which also gives the colour
    ylabel, title, ax : as in ``errors_ahead``

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
    ax = axes(ax)
    t = np.arange(len(past) + len(middle))
    ahead = t[len(past) :]
    ax.plot(t[: len(past)], to_host(past), "-", color=colour("truth"), lw=1.5, label="measured")
    if low is not None and high is not None:
        ends, name = (to_host(low), to_host(high)), f"{asked:.0%} interval"
        ax.fill_between(ahead, *ends, color=model_colour(label), alpha=0.22, lw=0, label=name)
    ax.plot(ahead, to_host(middle), "--o", ms=3, color=model_colour(label), lw=1.8, label=label)
    if truth is not None:
        ax.plot(
            ahead, to_host(truth), "-o", color=colour("truth"), lw=1.2, ms=3.5, label="what came"
        )
    ax.axvline(len(past) - 0.5, color="#777777", lw=0.9, ls=":")
    if times:
        every = max(1, len(times) // 8)
        ax.set_xticks(t[: len(times) : every], list(times)[::every])
    ax.set(xlabel="time" if times else "row", ylabel=ylabel, title=title)
    ax.margins(x=0.01)
    ax.legend(frameon=False, ncols=2)
    return figure_of(ax)
