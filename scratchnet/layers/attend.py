"""Attention: each query looks at all keys, and takes a weighted mean of their values.

    scores[i, j] = q_i . k_j / sqrt(U)       "scaled", Vaswani et al. 2017, equation 1
                   q_i . k_j                 "dot", Luong, Pham and Manning 2015, equation 8
                   v_a . tanh(q_i + k_j)     "additive", Bahdanau, Cho and Bengio 2015, A.1.2
    weights[i] = softmax_j(scores[i])        over the keys that the mask allows
    y_i = sum_j weights[i, j] v_j

Shapes: q (..., I, U), k (..., J, U), v (..., J, E), scores and weights (..., I, J), y (..., I, E);
the leading axes are sequences and heads.
"""

import math
from typing import NamedTuple

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_one_of, require_same_dtype, require_shape
from scratchnet.elementwise import d_tanh
from scratchnet.errors import InvalidValueError
from scratchnet.fingerprint import Fingerprints, fingerprint, require_unchanged
from scratchnet.layers.layer import Layer

SCORES = ("scaled", "dot", "additive")


def softmax(scores: Array, mask: Array | None = None, axis: int = -1) -> Array:
    """exp(scores) / sum exp(scores) along ``axis``, over the scores where ``mask`` is True.

    All zeros where the mask is False along the whole axis.

    >>> softmax(np.log([1.0, 2.0, 5.0])).round(3).tolist()
    [0.125, 0.25, 0.625]
    >>> softmax(np.log([1.0, 2.0, 5.0]), np.array([True, True, False])).round(3).tolist()
    [0.333, 0.667, 0.0]
    """
    if mask is not None:
        scores = np.where(mask, scores, scores.dtype.type(-np.inf))
    # Subtracting the largest score changes no weight, and exp cannot overflow.
    largest = scores.max(axis=axis, keepdims=True)
    raised = np.exp(scores - np.where(largest == -np.inf, scores.dtype.type(0), largest))
    total = raised.sum(axis=axis, keepdims=True)
    return raised / np.where(total == 0, scores.dtype.type(1), total)


def softmax_backward(dweights: Array, weights: Array, axis: int = -1) -> Array:
    """dweights to dscores.

    The weights sum to one, so raising one score lowers all other weights: the gradient of a score
    depends on how far dweights is above its weighted average. Where a mask made a weight zero,
    dscores is zero too.
    """
    average = (dweights * weights).sum(axis=axis, keepdims=True)
    return weights * (dweights - average)


class AttendCache(NamedTuple):
    """One forward pass of ``attend``."""

    q: Array  # (..., I, U)
    k: Array  # (..., J, U)
    v: Array  # (..., J, E)
    weights: Array  # (..., I, J) how much query i looks at key j; each row sums to one
    score: str
    alike: Array | None  # (..., I, J, U) tanh(q_i + k_j), of "additive" only
    v_a: Array | None  # (U,)
    y: Array  # (..., I, E)
    fingerprints: Fingerprints


class AttendGrads(NamedTuple):
    """Gradients of ``attend``'s arguments."""

    dq: Array
    dk: Array
    dv: Array
    dv_a: Array | None


def attend(
    q: Array,
    k: Array,
    v: Array,
    score: str = "scaled",
    mask: Array | None = None,
    v_a: Array | None = None,
) -> tuple[Array, AttendCache]:
    """Let each query attend to all keys; return y (..., I, E) and the cache for the backward pass.

    Parameters
    ----------
    q, k, v : (..., I, U), (..., J, U) and (..., J, E)
    score : one of SCORES
    mask : broadcasts against (..., I, J), True where query i may look at key j; a query that may
        look at no key gets zeros. Masked keys and values must still be finite
    v_a : (U,), of score "additive" only

    Raises
    ------
    ValueError, TypeError
        Where shapes or types do not fit, with both sides.

    Examples
    --------
    >>> q, k = np.array([[9.0, 0.0]]), np.array([[9.0, 0.0], [0.0, 9.0]])
    >>> y, cache = attend(q, k, np.array([[1.0], [2.0]]))
    >>> cache.weights.round(3).tolist(), y.round(3).tolist()
    ([[1.0, 0.0]], [[1.0]])
    """
    _check(q, k, v, score, v_a)
    alike = None
    if score == "additive":
        alike = np.tanh(q[..., :, None, :] + k[..., None, :, :])
        scores = alike @ v_a
    else:
        scores = q @ k.swapaxes(-1, -2) * _scale(score, q)
    weights = softmax(scores, mask)
    y = weights @ v
    seen = fingerprint(q=q, k=k, v=v, **({} if v_a is None else {"v_a": v_a}))
    return y, AttendCache(q, k, v, weights, score, alike, v_a, y, seen)


@checked
def attend_backward(dy: Array, cache: AttendCache) -> AttendGrads:
    """dy (..., I, E) to the gradients of q, k, v and v_a."""
    q, k, v, weights, score, alike, v_a, y, fingerprints = cache
    Layer.check_upstream(dy, y)
    require_unchanged(fingerprints)
    dv = weights.swapaxes(-1, -2) @ dy  # undoes  weights v
    dweights = dy @ v.swapaxes(-1, -2)  # undoes  weights v
    dscores = softmax_backward(dweights, weights)  # undoes the softmax
    if alike is None:
        dscores = dscores * _scale(score, q)  # undoes  / sqrt(U)
        return AttendGrads(dscores @ k, dscores.swapaxes(-1, -2) @ q, dv, None)  # undoes  q k^T
    da = dscores[..., None] * v_a * d_tanh(alike)  # undoes  v_a . tanh(a)
    leading = tuple(range(alike.ndim - 1))
    dv_a = (dscores[..., None] * alike).sum(axis=leading)  # undoes  v_a . tanh(a)
    # undoes  a = q_i + k_j: each query is added to all keys, and each key to all queries
    return AttendGrads(da.sum(axis=-2), da.sum(axis=-3), dv, dv_a)


def _scale(score: str, q: Array) -> float:
    """1 / sqrt(U): scaled from variance U to one, q . k does not saturate the softmax."""
    return 1 / math.sqrt(q.shape[-1]) if score == "scaled" else 1.0


def _check(q: Array, k: Array, v: Array, score: str, v_a: Array | None) -> None:
    require_one_of("score", score, SCORES)
    if (v_a is None) == (score == "additive"):
        raise InvalidValueError(
            f"score is {score!r} and v_a is {'missing' if v_a is None else 'given'}: only"
            " 'additive' has one"
        )
    require_same_dtype({"q": q, "k": k, "v": v} | ({} if v_a is None else {"v_a": v_a}))
    if q.ndim < 2:
        raise InvalidValueError(f"q is {tuple(q.shape)}: expected (..., queries, units)")
    keys = k.shape[-2] if k.ndim > 1 else 1
    require_shape("k", k, (*q.shape[:-2], keys, q.shape[-1]), f"q is {tuple(q.shape)}")
    require_shape("v", v, (*k.shape[:-1], v.shape[-1] if v.ndim else 1), f"k is {tuple(k.shape)}")
    if v_a is not None:
        require_shape("v_a", v_a, (q.shape[-1],), f"q has {q.shape[-1]} units")
