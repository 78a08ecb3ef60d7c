"""Losses: how wrong an output is as one number, and the gradient with which backpropagation starts.

    loss, dy = mse(y, target, mask)         loss: a Python float;  dy: shape and dtype of y, what ``backward`` takes

Every loss is the mean over the elements that the mask keeps (all of them without a mask), and every
gradient is therefore divided by their number n. This is PyTorch's ``reduction="mean"``. Others
divide by less: the temporal softmax loss of CS231n only by the N sequences, which is the same
direction with T times the learning rate.

The mask is boolean or 0/1. It has the target's shape or its leading axes: (T, N) for targets (T, N,
K) keeps or leaves out whole steps of a sequence. What it leaves out is not read, so padding may
hold anything, NaN included.

Shapes must agree exactly. Broadcasting is refused: (N, 1) against (N,) would quietly compare every
output with every target.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scratchnet.arrays import Array, is_array, require_floating, require_same_dtype, require_shape
from scratchnet.elementwise import sigmoid


def mse(y: Array, target: Array, mask: Array | None = None) -> tuple[float, Array]:
    """Mean squared error:  L = 1/n sum (y - target)^2.  Gradient:  dL/dy = 2 (y - target) / n.

    y, target: any one shape; mask: that shape or its leading axes. Raises ValueError or TypeError
    where they do not fit.
    """
    keep = check_same_shape(y, target, mask)
    r = y[keep] - target[keep]  # the residual
    d = 2.0 * r / r.size  # dL/dy = 2 r / n
    return mean(r * r), put_back(d, y, keep)


def mae(y: Array, target: Array, mask: Array | None = None) -> tuple[float, Array]:
    """Mean absolute error: L = 1/n sum |y - target|. Gradient: dL/dy = sign(y - target) / n, and 0
    at the kink.

    y, target: any one shape; mask: that shape or its leading axes. Raises ValueError or TypeError
    where they do not fit.
    """
    keep = check_same_shape(y, target, mask)
    r = y[keep] - target[keep]
    d = np.sign(r) / r.size  # dL/dy = sign(r) / n: all residuals pull equally hard, outliers too
    return mean(np.abs(r)), put_back(d, y, keep)


def huber(
    y: Array, target: Array, mask: Array | None = None, delta: float = 1.0
) -> tuple[float, Array]:
    """Huber loss, with r = y - target:  L = 1/n sum of  r^2 / 2  where |r| <= delta,  else  delta (|r| - delta / 2).

    Gradient: dL/dy = clip(r, -delta, delta) / n. A parabola near 0 and straight lines outside, so
    that one outlier does not decide the direction.

    y, target: any one shape; mask: that shape or its leading axes; delta > 0 in the unit of y.
    Raises ValueError or TypeError where they do not fit. Source: Huber 1964, Robust Estimation of a
    Location Parameter.
    """
    keep = check_same_shape(y, target, mask)
    if not 0 < delta < np.inf:
        raise ValueError(
            f"delta is {delta}: expected a positive number, the residual at which the parabola"
            " becomes a line"
        )
    r = y[keep] - target[keep]
    near = np.clip(r, -delta, delta)  # the part of the residual inside the parabola
    far = np.abs(r - near)  # what sticks out of it
    d = near / r.size  # dL/dy = clip(r, -delta, delta) / n
    return mean(0.5 * near * near + delta * far), put_back(d, y, keep)


def binary_cross_entropy(y: Array, target: Array, mask: Array | None = None) -> tuple[float, Array]:
    """Cross entropy of yes-or-no answers. y are logits (before the sigmoid), target the probability
    of a yes, in [0, 1].

    With p = sigmoid(y): L = -1/n sum [target log p + (1 - target) log(1 - p)]. Gradient: dL/dy = (p
    - target) / n.

    y, target: any one shape; mask: that shape or its leading axes. Raises ValueError or TypeError
    where they do not fit, ValueError for a kept target outside [0, 1].
    """
    keep = check_same_shape(y, target, mask)
    a, t = y[keep], target[keep]
    if not bool(np.all((t >= 0) & (t <= 1))):
        low, high = float(np.min(t)), float(np.max(t))
        raise ValueError(
            f"target ranges from {low} to {high}, but a probability lies between 0 and 1"
        )
    # log p = min(a, 0) - log(1 + exp(-|a|)) and log(1 - p) = log p - a: no exp that overflows, no
    # log of 0.
    losses = (np.maximum(a, 0) - a * t) + np.log1p(np.exp(-np.abs(a)))
    # dL/dy = (p - target) / n: the sigmoid's own p (1 - p) has cancelled
    d = (sigmoid(a) - t) / a.size
    return mean(losses), put_back(d, y, keep)


def softmax_cross_entropy(
    y: Array, target: Array, mask: Array | None = None
) -> tuple[float, Array]:
    """Cross entropy of a choice among K classes. y are logits (..., K), target the right classes
    (...), integers 0..K-1.

    With p = softmax(y) over the last axis: L = -1/n sum log p[target]. Gradient: dL/dy = (p -
    onehot(target)) / n. n counts the kept targets, not the logits.

    mask: shape of the target (not of y), or its leading axes. Raises ValueError or TypeError where
    they do not fit, ValueError for a kept target outside 0..K-1.
    """
    require_floating("y", y)
    if not is_array(target) or not np.issubdtype(target.dtype, np.integer):
        kind = target.dtype if is_array(target) else type(target).__name__
        raise TypeError(
            f"target is {kind}, but it names one of the classes: expected an array of integers"
        )
    if y.ndim == 0:
        raise ValueError("y has shape (): expected (..., K), one logit for each of K classes")
    require_shape(
        "target",
        target,
        y.shape[:-1],
        f"y has logits {tuple(y.shape)}, the classes on the last axis",
    )
    keep = kept(mask, target)
    K = y.shape[-1]
    logits, t = y[keep], target[keep].reshape(-1)
    low, high = int(np.min(t)), int(np.max(t))
    if low < 0 or high >= K:
        raise ValueError(
            f"target ranges from {low} to {high}, but y has {K} classes: expected 0 to {K - 1}"
        )
    a = logits.reshape(-1, K)
    a = a - np.max(a, axis=-1, keepdims=True)  # softmax stays the same, and exp cannot overflow
    log_p = a - np.log(np.sum(np.exp(a), axis=-1, keepdims=True))
    right = np.arange(t.size, like=t), t  # the right class of every row
    d = np.exp(log_p)
    d[right] -= 1
    d = d / t.size  # dL/dy = (p - onehot) / n
    return mean(-log_p[right]), put_back(d.reshape(logits.shape), y, keep)


def quantile(levels: Sequence[float]) -> Callable[..., tuple[float, Array]]:
    """The loss whose minimum is not the mean but quantiles of what can come: y (..., K Q), Q levels
    for each of the K targets.

    With r = target - y for a level q:  L = 1/n sum of  q r  where r > 0,  else  (q - 1) r,  the "pinball" loss.
    Gradient:  dL/dy = -q / n  where r > 0,  else  (1 - q) / n.  For q = 0.9 an answer that is too low costs nine times as much
    as one too high by the same amount: it settles where nine in ten lie below.
    The returned loss takes target (..., K) and mask (...).  Raises ValueError unless 0 < level < 1, ascending.
    Source: Koenker and Bassett 1978, Regression quantiles.
    """
    q = np.array(levels, dtype=np.float64)
    if q.ndim != 1 or not q.size or not ((q > 0) & (q < 1)).all() or (np.diff(q) <= 0).any():
        raise ValueError(f"levels are {list(levels)}: expected ascending numbers between 0 and 1")

    def pinball(y: Array, target: Array, mask: Array | None = None) -> tuple[float, Array]:
        require_same_dtype({"y": y, "target": target})
        shape = (*target.shape[:-1], target.shape[-1] * q.size)
        require_shape(
            "y", y, shape, f"target is {tuple(target.shape)} and there are {q.size} levels for each"
        )
        keep, level = kept(mask, target), np.asarray(q, dtype=y.dtype, like=y)
        each = y.reshape(*target.shape, q.size)  # (..., K, Q)
        r = target[keep][..., None] - each[keep]
        d = np.where(r > 0, -level, 1 - level).astype(y.dtype) / r.size  # dL/dy
        return mean(np.maximum(level * r, (level - 1) * r)), put_back(d, each, keep).reshape(
            y.shape
        )

    return pinball


LOSSES: dict[str, Callable[..., tuple[float, Array]]] = {
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "binary_cross_entropy": binary_cross_entropy,
    "softmax_cross_entropy": softmax_cross_entropy,
}


def check_same_shape(y: Array, target: Array, mask: Array | None) -> Any:
    """Check a loss that compares element by element; returns the index of what the mask keeps."""
    require_same_dtype({"y": y, "target": target})
    require_shape("target", target, y.shape, f"y is {tuple(y.shape)} and a loss does not broadcast")
    return kept(mask, target)


def kept(mask: Array | None, target: Array) -> Any:
    """What the mask keeps, as an index into target and y: ``...``, which is everything, or booleans
    (leading axes).

    Raises ValueError for another shape, for values other than 0 and 1, and where nothing is kept:
    the mean of nothing.
    """
    if target.size == 0:
        raise ValueError(f"target is {tuple(target.shape)}: there is nothing to take the mean over")
    if mask is None:
        return ...
    keep = np.asarray(mask, like=target)
    axes = tuple(target.shape[: keep.ndim])
    if keep.ndim == 0 or tuple(keep.shape) != axes:
        raise ValueError(
            f"mask is {tuple(keep.shape)} but target is {tuple(target.shape)}: expected its leading"
            " axes"
        )
    if not bool(np.all((keep == 0) | (keep == 1))):
        raise ValueError(
            f"mask ranges from {np.min(keep)} to {np.max(keep)}: expected True or False, 1 or 0"
        )
    keep = keep.astype(bool)
    if not bool(np.any(keep)):
        raise ValueError(
            f"mask {tuple(keep.shape)} keeps nothing of target {tuple(target.shape)}: expected one"
            " True or more"
        )
    return keep


def mean(losses: Array) -> float:
    """The mean as a Python float, summed in float64: over many elements a float32 sum would lose
    digits."""
    return float(np.mean(losses, dtype=np.float64))


def put_back(d: Array, y: Array, keep: Any) -> Array:
    """The gradient of the kept elements in the place and shape they had in y; what was left out had
    no part in the loss."""
    dy = np.zeros_like(y)
    dy[keep] = d
    return dy
