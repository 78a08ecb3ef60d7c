"""Conformal calibration: quantiles are shifted until they hold what they say, on rows that were not
trained on.

A network's quantiles fit the training rows, and are too narrow elsewhere. On n calibration
forecasts, let E be by how much the truth lies outside the interval [low, high] (negative: inside),

    E = max(low - y, y - high),      Q = the ceil((n + 1) (1 - a))-th smallest E

and [low - Q, high + Q] holds a new truth with a probability of at least 1 - a, if it is as likely
to come at any place among those n (exchangeable). Rows of a series are only nearly so: what follows
is a promise about the past, and the coverage is to be measured. The n + 1 in place of n is what
makes it true for a small n.

References
----------
Vovk, Gammerman and Shafer 2005, Algorithmic Learning in a Random World. Romano, Patterson and
Candes 2019, Conformalized quantile regression.
"""

from collections.abc import Sequence

import numpy as np

from scratchnet.arrays import Array


def margins(forecast: Array, truth: Array, levels: Sequence[float]) -> Array:
    """What to add to each quantile, (horizon, K, Q).

    Two levels q and 1 - q are the ends of an interval, and are moved apart by the same; a level
    alone is moved until it has its share below; the median stays.

    Parameters
    ----------
    forecast : (n, horizon, K, Q) quantiles for rows that were not trained on.
    truth : (n, horizon, K); NaN where nothing was measured.
    levels : Q numbers between 0 and 1, ascending.
    """
    margin = np.zeros(forecast.shape[1:])
    for k, level in enumerate(levels):
        if level > 0.5:
            other = [j for j, q in enumerate(levels) if abs(q + level - 1) < 1e-9]
            above = truth - forecast[..., k]
            if other:
                outside = np.maximum(forecast[..., other[0]] - truth, above)
                margin[..., k] = smallest_that_holds(outside, 2 * level - 1)
                margin[..., other[0]] = -margin[..., k]
            else:
                margin[..., k] = smallest_that_holds(above, level)
        elif level < 0.5 and not any(abs(q + level - 1) < 1e-9 for q in levels):
            margin[..., k] = -smallest_that_holds(forecast[..., k] - truth, 1 - level)
    return margin


def smallest_that_holds(scores: Array, share: float) -> Array:
    """The ceil((n + 1) share)-th smallest of scores (n, ...), along n, without NaN; the largest
    where there are fewer, which then holds only n / (n + 1); 0 where there are none.

    >>> smallest_that_holds(np.arange(1.0, 20.0), 0.9)  # 18 of 20 places are not above it
    array(18.)
    """
    ordered = np.sort(scores, axis=0)  # NaN last
    n = np.sum(~np.isnan(ordered), axis=0)
    # a share such as 0.9 is not exact: 18.000000000000004 is 18
    place = np.minimum(np.ceil((n + 1) * share - 1e-9).astype(int), n)
    found = np.take_along_axis(ordered, np.maximum(place - 1, 0)[None], axis=0)[0]
    return np.where(n == 0, 0.0, found)


def middle(forecast: Array, levels: Sequence[float]) -> Array:
    """The quantile at 0.5 of forecasts (..., Q), on the straight line between the two levels around
    it; NaN where all levels are on one side."""
    above = int(np.searchsorted(levels, 0.5))
    if above < len(levels) and levels[above] == 0.5:
        return forecast[..., above]
    if not 0 < above < len(levels):
        return np.full(forecast.shape[:-1], np.nan)
    share = (0.5 - levels[above - 1]) / (levels[above] - levels[above - 1])
    found: Array = (1 - share) * forecast[..., above - 1] + share * forecast[..., above]
    return found
