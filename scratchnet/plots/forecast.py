"""A forecast and the truth in one figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scratchnet.arrays import Array, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.plots.style import STYLES, axes, colour, figure_of, model_colour


def forecast(
    times: Sequence[Any] | Array,
    truth: Array,
    predictions: Mapping[str, Array],
    *,
    xlabel: str = "time",
    ylabel: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw truth (n,) and predictions, label -> (n,), over times (n,), numbers or texts."""
    ax = axes(ax)
    t = np.arange(len(truth)) if isinstance(times[0], str) else np.asarray(times)
    if len(t) != len(truth):
        raise InvalidValueError(f"times has {len(t)} entries but truth has {len(truth)}")
    ax.plot(t, to_host(truth), "o-", color=colour("truth"), lw=1.6, ms=3.5, label="truth", zorder=3)
    for number, (label, values) in enumerate(predictions.items()):
        if len(values) != len(truth):
            raise InvalidValueError(
                f"the prediction {label!r} has {len(values)} values but truth has {len(truth)}"
            )
        style, tint = STYLES[(number + 1) % 4], model_colour(label)
        ax.plot(t, to_host(values), style, color=tint, lw=1.8, label=label)
    if isinstance(times[0], str):
        every = max(1, len(t) // 8)
        ax.set_xticks(t[::every], list(times)[::every])
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.set_xlim(t[0], t[-1])
    ax.legend(frameon=False, ncols=2)
    return figure_of(ax)
