"""The order of the units in heat maps, the same in the figures and on the page."""

import numpy as np

from scratchnet.arrays import Array, to_host
from scratchnet.tracing.run import RunTrace


def unit_order(run: RunTrace, sample: int = 0) -> Array:
    """Unit numbers (H,): the unit that carries the largest gradient to the first step comes first.

    Sorted by |dc| at t = 0, or |dh| where the cell has no c; a gradient that is not a number comes
    last. Without a backward side the order is 0 to H-1.

    Parameters
    ----------
    run : one run of a trace
    sample : which sequence of the batch; IndexError where there is none
    """
    run.require_sample(sample)
    if not run.has_backward:
        return np.arange(run.H)
    run = run.right  # of a custom backward the order is that of the right gradient
    state = "c" if "c" in run.cell.STATES else "h"
    d = run[f"d{state}"] if f"d{state}" in run else run[f"d{state}_next"]
    return np.argsort(-np.abs(to_host(d[0, sample])), kind="stable")
