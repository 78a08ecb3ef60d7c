"""Singular values: how much one step, and all steps to the last, stretch or shrink a change."""

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scratchnet.arrays import Array
from scratchnet.cells.sequences import window
from scratchnet.errors import InvalidValueError
from scratchnet.plots.source import run_of, sequence, title_of
from scratchnet.plots.style import Look, axes, colour, new_figure, time_axis
from scratchnet.tracing import RunTrace, Trace, jacobian

WORK = 1.9e9  # S^3 for each Jacobian whose singular values are taken: about two seconds on one core


def jacobians(
    source: Trace | RunTrace, *, sample: int = 0, most: int | None = None, title: str = ""
) -> Figure:
    """Draw singular values of each step's Jacobian, and of the product from t to the last.

    Largest, median and smallest, on log axes. Where the product's largest goes to zero no gradient
    reaches step t; where it grows the gradient explodes. Values below the largest times the
    machine's precision are rounding errors and are not drawn. Needs no target.

    Parameters
    ----------
    source : a trace or one of its runs; its state is h, or h and c, S numbers in all
    sample : which sequence of the batch
    most : number of steps computed, at a cost of S^3 each; by default as many as take about two
        seconds. Of a longer sequence the upper panel shows every k-th step, the lower one the
        product over the last 3 ``most`` steps, each point the product of three; titles say so
    title : text

    References
    ----------
    Pascanu, Mikolov and Bengio 2013, section 2.1.
    """
    run = run_of(source)
    if run.N > 1 or run.cache.lengths is not None or sample:
        run = sequence(run, sample)
    T, S = run.T, run.H * len(run.cell.STATES)
    if most is None:
        most = max(8, int(WORK / S**3))
    if most < 2:
        raise InvalidValueError(f"most is {most}: expected at least 2 steps")
    every = -(-T // most)
    block = 1 if every == 1 else 3
    reach = T if every == 1 else min(T, block * most) // block * block
    steps = np.arange((T - 1) % every, T, every)
    starts = np.arange(T - reach, T, block)
    if every == 1:
        values = jacobian.singular_values(jacobian.jacobians(run))
        of_steps, of_products = values.of_steps, values.of_products
    else:
        each = [_jacobian(run, int(t), int(t) + 1)[0] for t in steps]
        of_steps = np.linalg.svd(np.stack(each), compute_uv=False)
        products = [_product(_jacobian(run, int(t), int(t) + block)) for t in starts]
        of_products = jacobian.singular_values(np.stack(products)).of_products
    floor = S * np.finfo(of_products.dtype).eps * of_products[:, 0]

    figure = new_figure(height=5.6)
    upper, lower = figure.subplots(2, 1, sharex=every == 1)
    _band(upper, steps, of_steps, colour("h"))
    above = np.where(of_products > floor[:, None], of_products, 0)
    _band(lower, starts, above, colour("from_future"), floor)
    some = "" if every == 1 else f", every {every}th of {T} steps"
    last = "" if every == 1 else f", t in the last {reach} of {T}"
    whole = f"of the product of all steps from t to the last{last}"
    upper.set_title(f"of the step's Jacobian{some}", loc="left", fontsize=11)
    lower.set_title(whole, loc="left", fontsize=11)
    for ax in (upper, lower):
        axes(ax).margins(x=0.01)
        ax.set_ylabel("singular values")
        if ax is lower or every > 1:
            time_axis(ax, T, (), run)
    place: Look = {"loc": "lower right", "bbox_to_anchor": (1, 0.97), "frameon": False}
    upper.legend(ncols=3, **place)
    lower.legend(handles=lower.lines[-1:], **place)
    figure.suptitle(title_of(source, title))
    return figure


def _jacobian(run: RunTrace, start: int, stop: int) -> Array:
    """The Jacobians of some of the steps of a run of one sequence."""
    return jacobian.jacobians(replace(run, cache=window(run.cell, run.cache, start, stop)))


def _product(jacobians: Array) -> Array:
    """J[n-1] ... J[1] J[0]: how the state before the first moves the state after the last."""
    product = jacobians[0]
    for later in jacobians[1:]:
        product = later @ product
    return product


def _band(ax: Axes, t: Array, values: Array, tint: str, floor: Array | None = None) -> None:
    """Draw largest, median and smallest of values (steps, S), and fill the range between them.

    Zeros are not drawn; the filled range ends at ``floor`` (steps,), below which a value would be a
    rounding error.
    """
    shown = np.where(values > 0, values, np.nan)
    largest, median, smallest = shown[:, 0], shown[:, values.shape[1] // 2], shown[:, -1]
    if floor is None:
        least = np.nanmin(shown, axis=1, initial=np.inf)
    else:
        least = np.where(np.isnan(smallest), floor, smallest)
    ax.fill_between(t, least, largest, where=least <= largest, color=tint, alpha=0.15, lw=0)
    ax.axhline(1, color="black", lw=0.8, ls=(0, (1, 3)))
    few = len(t) <= 60
    for name, line, style, mark in (
        ("largest", largest, "-", "^"),
        ("median", median, "--", "o"),
        ("smallest", smallest, ":", "v"),
    ):
        ax.plot(t, line, style, color=tint, lw=1.8, marker=mark if few else None, ms=4, label=name)
    if floor is not None:
        ground = np.where(floor > 0, floor, np.nan)
        ax.plot(t, ground, "-", color="#888888", lw=0.8, label="below: rounding errors")
    ax.set_yscale("log")
