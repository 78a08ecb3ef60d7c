"""Layer normalisation over the last axis, forward and backward, without gain and bias.

    n = (x - mean(x)) / sqrt(var(x) + eps)

Mean and variance are those of one vector, not of the batch: there are no running statistics,
training and prediction are the same function, and a batch of one works too. The variance is the
biased one, mean((x - mean(x))^2). Callers add their gain and bias.

References: Ba, Kiros and Hinton 2016 (arXiv:1607.06450), equations 3 and 4; eps as in PyTorch.
"""

import numpy as np

from scratchnet.arrays import Array

EPS = 1e-5


def forward(x: Array, eps: float = EPS) -> tuple[Array, Array]:
    """x (..., K) to n (..., K), of mean 0 and variance 1, and 1 / sqrt(var + eps) (..., 1)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):
        var = (centred * centred).mean(axis=-1, keepdims=True)
    scale = 1 / np.sqrt(var + eps)
    if isinstance(x, np.ndarray) and not np.isfinite(var).all():  # a square beyond the type
        size = np.maximum(np.abs(centred).max(axis=-1, keepdims=True), 1)
        unit = centred / size
        scale = 1 / np.sqrt((unit * unit).mean(axis=-1, keepdims=True) + eps / size / size) / size
    return centred * scale, scale


def backward(dn: Array, n: Array, scale: Array) -> Array:
    """dn (..., K) to dx, with what ``forward`` returned.

    n depends on x in three ways: directly, through the mean, and through the variance. The last two
    remove from dn what shifts or scales the whole vector: n is the same for shifted or scaled x.
    """
    by_mean = dn.mean(axis=-1, keepdims=True)  # undoes  x - mean(x)
    by_variance = n * (dn * n).mean(axis=-1, keepdims=True)  # undoes  / sqrt(var(x) + eps)
    return scale * (dn - by_mean - by_variance)
