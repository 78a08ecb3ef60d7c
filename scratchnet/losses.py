"""Losses: how wrong an output is as one number, and the gradient with which backpropagation starts.

    loss, dy = mse(y, target, mask)     # a float, and what ``backward`` takes, like y

Every loss is the mean over the elements that the mask keeps (all of them without a mask), and every
gradient is therefore divided by their number n. This is PyTorch's ``reduction="mean"``. Others
divide by less: the temporal softmax loss of CS231n only by the N sequences, which is the same
direction with T times the learning rate. With ``weights`` w it is the weighted mean,
sum w l / sum w over the kept elements.

The mask is boolean or 0/1. It has the target's shape or its leading axes: (T, N) for targets (T, N,
K) keeps or leaves out whole steps of a sequence. What it leaves out is not read, so padding may
hold anything, NaN included. Weights are numbers from 0 up, (N,) for one a sample, or more of the
target's leading axes.

Shapes must agree exactly. Broadcasting is refused: (N, 1) against (N,) would quietly compare every
output with every target.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import (
    Array,
    as_numbers,
    require_array,
    require_floating,
    require_same_dtype,
    require_shape,
)
from scratchnet.elementwise import sigmoid
from scratchnet.errors import InvalidTypeError, InvalidValueError


def mse(
    y: Array, target: Array, mask: Array | None = None, *, weights: Array | None = None
) -> tuple[float, Array]:
    """Mean squared error:  L = 1/n sum (y - target)^2.  Gradient:  dL/dy = 2 (y - target) / n.

    Parameters
    ----------
    y, target : any one shape, one floating type.
    mask : what counts, 0/1, of that shape or its leading axes.
    weights : how much it counts, from 0 up, of that shape or its leading axes.

    Returns
    -------
    The loss, and dL/dy like y.

    Raises
    ------
    ValueError, TypeError : where the arguments do not fit each other.

    Examples
    --------
    >>> mse(np.array([1.0, 2.0]), np.array([0.0, 2.0]))
    (0.5, array([1., 0.]))
    >>> mse(np.array([1.0, 2.0]), np.array([0.0, 2.0]), weights=np.array([1.0, 3.0]))
    (0.25, array([0.5, 0. ]))
    """
    keep, share = check_same_shape(y, target, mask, weights)
    r = y[keep] - target[keep]  # the residual
    d = averaged(2.0 * r, share)  # dL/dy = 2 r / n
    return mean(r * r, share), put_back(d, y, keep)


def mae(
    y: Array, target: Array, mask: Array | None = None, *, weights: Array | None = None
) -> tuple[float, Array]:
    """Mean absolute error: L = 1/n sum |y - target|. Gradient: dL/dy = sign(y - target) / n, and 0
    at the kink. Parameters, Returns, Raises: see ``mse``.
    """
    keep, share = check_same_shape(y, target, mask, weights)
    r = y[keep] - target[keep]
    # dL/dy = sign(r) / n: all residuals pull equally hard, outliers too
    d = averaged(np.sign(r), share)
    return mean(np.abs(r), share), put_back(d, y, keep)


def huber(
    y: Array,
    target: Array,
    mask: Array | None = None,
    delta: float = 1.0,
    *,
    weights: Array | None = None,
) -> tuple[float, Array]:
    """Huber loss, with r = y - target: L = 1/n sum of r^2 / 2 where |r| <= delta, else
    delta (|r| - delta / 2).

    Gradient: dL/dy = clip(r, -delta, delta) / n. A parabola near 0 and straight lines outside, so
    that one outlier does not decide the direction. ``delta`` > 0 is in the unit of y. Parameters,
    Returns, Raises: see ``mse``.

    References
    ----------
    Huber 1964, Robust Estimation of a Location Parameter.
    """
    keep, share = check_same_shape(y, target, mask, weights)
    if isinstance(delta, bool) or not isinstance(delta, (int, float, np.integer, np.floating)):
        raise InvalidTypeError(f"delta is {delta!r:.80}: expected a positive number")
    if not 0 < delta < np.inf:
        raise InvalidValueError(
            f"delta is {delta}: expected a positive number, the residual at which the parabola"
            " becomes a line"
        )
    r = y[keep] - target[keep]
    near = np.clip(r, -delta, delta)  # the part of the residual inside the parabola
    far = np.abs(r - near)  # what sticks out of it
    d = averaged(near, share)  # dL/dy = clip(r, -delta, delta) / n
    return mean(0.5 * near * near + delta * far, share), put_back(d, y, keep)


def binary_cross_entropy(
    y: Array, target: Array, mask: Array | None = None, *, weights: Array | None = None
) -> tuple[float, Array]:
    """Cross entropy of yes-or-no answers.

    With p = sigmoid(y): L = -1/n sum [target log p + (1 - target) log(1 - p)]. Gradient: dL/dy =
    (p - target) / n.

    Parameters
    ----------
    y : logits (before the sigmoid), any shape.
    target : the probability of a yes, in [0, 1], y's shape; ValueError where a kept one is outside.
    mask, weights, and Returns, Raises : see ``mse``.
    """
    keep, share = check_same_shape(y, target, mask, weights)
    a, t = y[keep], target[keep]
    if not bool(np.all((t >= 0) & (t <= 1))):
        low, high = float(np.min(t)), float(np.max(t))
        raise InvalidValueError(
            f"target ranges from {low} to {high}, but a probability lies between 0 and 1"
        )
    # log p = min(a, 0) - log(1 + exp(-|a|)) and log(1 - p) = log p - a: no exp that overflows, no
    # log of 0.
    losses = (np.maximum(a, 0) - a * t) + np.log1p(np.exp(-np.abs(a)))
    # dL/dy = (p - target) / n: the sigmoid's own p (1 - p) has cancelled
    d = averaged(sigmoid(a) - t, share)
    return mean(losses, share), put_back(d, y, keep)


def softmax_cross_entropy(
    y: Array, target: Array, mask: Array | None = None, *, weights: Array | None = None
) -> tuple[float, Array]:
    """Cross entropy of a choice among K classes.

    With p = softmax(y) over the last axis: L = -1/n sum log p[target]. Gradient: dL/dy = (p -
    onehot(target)) / n. n counts the kept targets, not the logits.

    Parameters
    ----------
    y : logits (..., K).
    target : the right classes (...), integers; ValueError where a kept one is outside 0..K-1.
    mask, weights : of the shape of the target (not of y), or its leading axes.
    Returns, Raises : see ``mse``.
    """
    require_floating("y", y)
    require_array("target", target)
    if not np.issubdtype(target.dtype, np.integer):
        raise InvalidTypeError(
            f"target is {target.dtype}, but it names one of the classes: expected an array of"
            " integers"
        )
    if y.ndim == 0:
        raise InvalidValueError(
            "y has shape (): expected (..., K), one logit for each of K classes"
        )
    require_shape(
        "target",
        target,
        y.shape[:-1],
        f"y has logits {tuple(y.shape)}, the classes on the last axis",
    )
    keep = kept(mask, target)
    share = shares(weights, target, keep)
    K = y.shape[-1]
    logits, t = y[keep], target[keep].reshape(-1)
    low, high = int(np.min(t)), int(np.max(t))
    if low < 0 or high >= K:
        raise InvalidValueError(
            f"target ranges from {low} to {high}, but y has {K} classes: expected 0 to {K - 1}"
        )
    a = logits.reshape(-1, K)
    a = a - np.max(a, axis=-1, keepdims=True)  # softmax stays the same, and exp cannot overflow
    log_p = a - np.log(np.sum(np.exp(a), axis=-1, keepdims=True))
    right = np.arange(t.size, like=t), t  # the right class of every row
    d = np.exp(log_p)
    d[right] -= 1
    # dL/dy = (p - onehot) / n
    d = d / t.size if share is None else d * share.reshape(-1, 1)
    losses = -log_p[right]
    value = mean(losses, None if share is None else share.reshape(-1))
    return value, put_back(d.reshape(logits.shape), y, keep)


@checked
def quantile(levels: Sequence[float]) -> Callable[..., tuple[float, Array]]:
    """The "pinball" loss, whose minimum is not the mean but quantiles of the target.

    With r = target - y for a level q: L = 1/n sum of q r where r > 0, else (q - 1) r. Gradient:
    dL/dy = -q / n where r > 0, else (1 - q) / n. For q = 0.9 an answer that is too low costs nine
    times as much as one too high by the same amount: nine targets in ten lie below the best answer.

    Parameters
    ----------
    levels : Q numbers between 0 and 1, ascending; ValueError otherwise.

    Returns
    -------
    A loss of y (..., K Q), Q levels for each of the K targets, target (..., K), and mask and
    weights of the target's shape or its leading axes.

    References
    ----------
    Koenker and Bassett 1978, Regression quantiles.
    """
    q = np.array(levels, dtype=np.float64)
    if q.ndim != 1 or not q.size or not ((q > 0) & (q < 1)).all() or (np.diff(q) <= 0).any():
        raise InvalidValueError(
            f"levels are {list(levels)}: expected ascending numbers between 0 and 1"
        )

    def pinball(
        y: Array, target: Array, mask: Array | None = None, *, weights: Array | None = None
    ) -> tuple[float, Array]:
        require_same_dtype({"y": y, "target": target})
        shape = (*target.shape[:-1], target.shape[-1] * q.size)
        require_shape(
            "y", y, shape, f"target is {tuple(target.shape)} and there are {q.size} levels for each"
        )
        keep, level = kept(mask, target), np.asarray(q, dtype=y.dtype, like=y)
        share = shares(weights, target, keep)
        share = None if share is None else share[..., None] / q.size
        each = y.reshape(*target.shape, q.size)  # (..., K, Q)
        r = target[keep][..., None] - each[keep]
        d = averaged(np.where(r > 0, -level, 1 - level).astype(y.dtype), share)  # dL/dy
        value = mean(np.maximum(level * r, (level - 1) * r), share)
        return value, put_back(d, each, keep).reshape(y.shape)

    return pinball


LOSSES: dict[str, Callable[..., tuple[float, Array]]] = {
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "binary_cross_entropy": binary_cross_entropy,
    "softmax_cross_entropy": softmax_cross_entropy,
}


def measured(
    loss: Callable[..., Any], y: Array, target: Array, name: str = "the loss", /, **options: Any
) -> tuple[float, Array]:
    """What a loss, perhaps the caller's own, returns for these arguments; TypeError unless it is
    the number and its gradient."""
    found = loss(y, target, **options)
    if not isinstance(found, tuple) or len(found) != 2:
        raise InvalidTypeError(
            f"{name} returned a {type(found).__name__}: a loss returns the number and dy, its"
            " gradient"
        )
    return found


def check_same_shape(
    y: Array, target: Array, mask: Array | None, weights: Array | None = None
) -> tuple[Any, Array | None]:
    """Check a loss that compares element by element; returns the index of what the mask keeps, and
    each kept element's share of the mean (None: all alike)."""
    require_same_dtype({"y": y, "target": target})
    require_shape("target", target, y.shape, f"y is {tuple(y.shape)} and a loss does not broadcast")
    keep = kept(mask, target)
    return keep, shares(weights, target, keep)


def kept(mask: Array | None, target: Array) -> Any:
    """What the mask keeps, as an index into target and y: ``...``, which is everything, or booleans
    (leading axes).

    Raises ValueError for another shape, for values other than 0 and 1, and where nothing is kept:
    the mean of nothing.
    """
    if target.size == 0:
        raise InvalidValueError(
            f"target is {tuple(target.shape)}: there is nothing to take the mean over"
        )
    if mask is None:
        return ...
    keep = as_numbers("mask", mask, "an array of numbers", like=target)
    require_leading_axes("mask", keep, target)
    if not bool(np.all((keep == 0) | (keep == 1))):
        raise InvalidValueError(
            f"mask ranges from {np.min(keep)} to {np.max(keep)}: expected True or False, 1 or 0"
        )
    keep = keep.astype(bool)
    if not bool(np.any(keep)):
        raise InvalidValueError(
            f"mask {tuple(keep.shape)} keeps nothing of target {tuple(target.shape)}: expected one"
            " True or more"
        )
    return keep


def shares(weights: Array | None, target: Array, keep: Any) -> Array | None:
    """Each kept element's share of the weighted mean, float64 in the shape of ``target[keep]``;
    together they are 1. None without weights: all alike.

    Raises ValueError for another shape, negative or infinite weights, and where all that are kept
    are 0.
    """
    if weights is None:
        return None
    w = as_numbers("weights", weights, "an array of numbers", like=target).astype(np.float64)
    require_leading_axes("weights", w, target)
    w = np.broadcast_to(w.reshape(w.shape + (1,) * (target.ndim - w.ndim)), target.shape)[keep]
    total = float(np.sum(w))
    if not (0 < total < np.inf and bool(np.all(w >= 0))):
        raise InvalidValueError(
            f"weights range from {np.min(w)} to {np.max(w)}: expected finite numbers from 0 up, not"
            " all of them 0"
        )
    return w / total


def require_leading_axes(name: str, array: Array, target: Array) -> None:
    """ValueError unless the array has the target's shape or its leading axes."""
    if array.ndim == 0 or tuple(array.shape) != tuple(target.shape[: array.ndim]):
        raise InvalidValueError(
            f"{name} is {tuple(array.shape)} but target is {tuple(target.shape)}: expected its"
            " leading axes"
        )


def mean(losses: Array, share: Array | None = None) -> float:
    """The mean, by shares where there are some, as a Python float, summed in float64: over many
    elements a float32 sum would lose digits."""
    if share is None:
        return float(np.mean(losses, dtype=np.float64))
    return float(np.sum(losses * share))


def averaged(d: Array, share: Array | None) -> Array:
    """The gradient of each element's own loss to that of their mean."""
    return d / d.size if share is None else d * share


def put_back(d: Array, y: Array, keep: Any) -> Array:
    """The gradient of the kept elements in the place and shape they had in y; what was left out had
    no part in the loss."""
    dy = np.zeros_like(y)
    dy[keep] = d
    return dy
