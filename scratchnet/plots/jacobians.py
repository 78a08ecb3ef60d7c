"""Singular values: how much one step, and all steps to the last, stretch or shrink a change."""

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scratchnet.arrays import Array
from scratchnet.cells.sequences import window
from scratchnet.errors import InvalidValueError
from scratchnet.plots.source import run_of, sequence, title_of
from scratchnet.plots.style import (
    INK,
    QUIET,
    Size,
    axes,
    colour,
    drawing,
    entitle,
    entitle_figure,
    figure_of,
    label_curves,
    new_figure,
    pt,
    time_axis,
)
from scratchnet.tracing import RunTrace, Trace, jacobian

WORK = 1.9e9  # S^3 for each Jacobian whose singular values are taken: about two seconds on one core


@drawing
def jacobians(
    source: Trace | RunTrace,
    *,
    sample: int = 0,
    most: int | None = None,
    of: str | None = None,
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw singular values of each step's Jacobian, and of the product from t to the last.

    Largest, median and smallest, and faint all others, on log axes. Where the product's largest
    goes to zero no gradient reaches step t; where it grows the gradient explodes. Values below the
    largest times the machine's precision are rounding errors and are not drawn. Needs no target.

    Parameters
    ----------
    source : a trace or one of its runs; its state is h, or h and c, S numbers in all
    sample : which sequence of the batch
    most : number of steps computed, at a cost of S^3 each; by default as many as take about two
        seconds. Of a longer sequence the upper panel shows every k-th step, the lower one the
        product over the last 3 ``most`` steps, each point the product of three; titles say so
    of : "steps" or "products" for one of the two panels; by default both, on ``ax`` the products
    title, size, ax : as in ``errors_ahead``

    References
    ----------
    Pascanu, Mikolov and Bengio 2013, section 2.1.
    """
    if of not in (None, "steps", "products"):
        raise InvalidValueError(f"of is {of!r}: expected 'steps', 'products' or None for both")
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
    of_steps, of_products = _singular_values(run, steps, starts, block)
    floor = S * np.finfo(of_products.dtype).eps * of_products[:, 0]

    some = "" if every == 1 else f", every {every}th of {T} steps"
    last = "" if every == 1 else f", t in the last {reach} of {T}"
    above = np.where(of_products > floor[:, None], of_products, 0)
    panels = {
        "steps": (f"one step's Jacobian{some}", steps, of_steps, colour("h"), None),
        "products": (
            f"product of all steps from t to the last{last}",
            starts,
            above,
            colour("from_future"),
            floor,
        ),
    }
    if ax is not None and of is None:
        of = "products"
    shown = panels if of is None else {of: panels[of]}
    if len(shown) == 1:
        grid = [axes(ax, size=size)]
        figure = figure_of(grid[0])
    else:
        figure = new_figure(size=size)
        grid = list(figure.subplots(2, 1, sharex=every == 1))
        entitle_figure(figure, title_of(source, title))
    for panel, (name, t, drawn, tint, ground) in zip(grid, shown.values()):
        named = _values(axes(panel), t, drawn, tint, ground)
        panel.margins(x=0.01)
        panel.set_ylabel("singular values")
        if panel is grid[-1] or every > 1:
            time_axis(panel, T, (), run)
        whole = title_of(source, title) if len(shown) == 1 else ""
        entitle(panel, f"{whole}: {name}" if whole else name[0].upper() + name[1:])
        label_curves(panel, named)
    return figure


def _singular_values(
    run: RunTrace, steps: Array, starts: Array, block: int
) -> jacobian.SingularValues:
    """Of the Jacobians at these steps, and of the products from these starts, ``block`` apart."""
    if len(steps) == run.T:
        return jacobian.singular_values(jacobian.jacobians(run))
    each = [_jacobian(run, int(t), int(t) + 1)[0] for t in steps]
    products = [_product(_jacobian(run, int(t), int(t) + block)) for t in starts]
    return jacobian.SingularValues(
        np.linalg.svd(np.stack(each), compute_uv=False),
        jacobian.singular_values(np.stack(products)).of_products,
    )


def _jacobian(run: RunTrace, start: int, stop: int) -> Array:
    """The Jacobians of some of the steps of a run of one sequence."""
    return jacobian.jacobians(replace(run, cache=window(run.cell, run.cache, start, stop)))


def _product(jacobians: Array) -> Array:
    """J[n-1] ... J[1] J[0]: how the state before the first moves the state after the last."""
    product = jacobians[0]
    for later in jacobians[1:]:
        product = later @ product
    return product


def _values(ax: Axes, t: Array, values: Array, tint: str, floor: Array | None) -> dict[Line2D, str]:
    """Draw values (steps, S) as S faint lines, with largest, median and smallest; return these.

    Zeros are not drawn. ``floor`` (steps,): below it a value would be a rounding error.
    """
    shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    lines = [np.column_stack([t, value]) for value in shown.T]
    ax.add_collection(LineCollection(lines, colors=tint, linewidths=pt(0.7), alpha=0.35))
    ax.axhline(1, color=INK, lw=pt(1), ls=(0, (1, 3)))
    few, named = len(t) <= 60, {}
    for name, k, style, mark in (
        ("largest", 0, "-", "^"),
        ("median", values.shape[1] // 2, "--", "o"),
        ("smallest", -1, ":", "v"),
    ):
        (line,) = ax.plot(
            t, shown[:, k], style, color=tint, marker=mark if few else None, label=name
        )
        line.set_markersize(pt(5))
        if np.isfinite(shown[:, k]).any():
            named[line] = name
    if floor is not None:
        ground = np.where(floor > 0, floor, np.nan)
        (line,) = ax.plot(t, ground, "-", color=QUIET, lw=pt(1), label="below: rounding errors")
        named[line] = "below: rounding errors"
    ax.set_yscale("log")
    return named
