"""Batch normalisation: each feature is scaled to mean 0 and variance 1 over the batch.

    y = gain n + b,   n = (x - mean) / sqrt(var + eps)      mean, var: over all rows of the batch

Shapes: x, n, y (..., F); mean, var, gain, b (F,).

While training, mean and variance depend on x too, so n depends on x in three ways: directly,
through the mean, and through the variance.

References: Ioffe and Szegedy 2015, algorithms 1 and 2.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from scratchnet.arrays import Array, Lengths, as_lengths, require_count, require_memory, to_host
from scratchnet.cells.sequences import sequence_mask
from scratchnet.errors import InvalidValueError
from scratchnet.layers.layer import Example
from scratchnet.layers.layer_norm import check_eps, perturbed
from scratchnet.layers.over_time import OverTime


class BatchNormCache(NamedTuple):
    """One forward pass over M rows, one for each step of each sequence."""

    n: Array  # (M, F) normalised, zero in the padding
    scale: Array  # (F,)  1 / sqrt(var + eps)
    gain: Array  # (F,)
    inside: Array | None  # (M, 1) False in the padding
    rows: int | None  # rows inside; None at prediction, where mean and variance are constants
    y: Array  # shaped as x


class BatchNorm1d(OverTime):
    """x (N, F), (T, N, F) or, if ``batch_first``, (N, T, F), to y of the same shape.

    While training, mean and variance are those of the batch, and ``buffers`` follow them: running =
    0.9 running + 0.1 batch (at ``momentum`` 0.1), with the unbiased variance, as in PyTorch. At
    prediction the running ones are used, so that an output does not depend on the rest of the
    batch. With ``lengths``, padding is left out of the statistics and y is zero there. Equal to
    ``torch.nn.BatchNorm1d(F)``, whose sequences are (N, F, T).

    Parameters
    ----------
    features : F
    momentum : share of the newest batch in the running statistics, 0 < momentum <= 1
    eps : added to the variance
    """

    def __init__(
        self,
        features: int,
        *,
        momentum: float = 0.1,
        eps: float = 1e-5,
        batch_first: bool = False,
        dtype: DTypeLike = np.float64,
    ) -> None:
        super().__init__(batch_first=batch_first)
        require_count("features", features)
        require_memory("gain", (4 * features,), dtype)
        if not 0 < momentum <= 1:
            raise InvalidValueError(
                f"momentum is {momentum}: expected 0 < momentum <= 1, the share of the newest batch"
            )
        self.momentum, self.eps = momentum, check_eps(eps)
        self.add_param("gain", np.ones(features, dtype))
        self.add_param("b", np.zeros(features, dtype))
        self._buffers["running_mean"] = np.zeros(features, dtype)
        self._buffers["running_var"] = np.ones(features, dtype)

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Both modes, rows and sequences, padded ones too."""
        for training in (True, False):
            for shape, lengths in (((5, 2), None), ((3, 4, 2), None), ((4, 3, 2), [4, 1, 2])):
                layer = perturbed(cls(2, batch_first=shape == (3, 4, 2)), rng)
                layer.buffers["running_mean"] += 1
                layer.buffers["running_var"] *= 2
                arguments: dict[str, Any] = {"training": training}
                label = f"x {shape}, {'training' if training else 'prediction'}"
                if lengths is not None:
                    arguments["lengths"], label = lengths, f"{label}, ragged"
                yield Example(label, layer, 2 + 3 * rng.standard_normal(shape), arguments)

    def forward(
        self, x: Array, training: bool = False, lengths: Lengths = None
    ) -> tuple[Array, BatchNormCache]:
        """x (..., F) to y (..., F); while training, updates the running statistics too.

        Raises ValueError while training on a single row: the row is its own mean, so y would be b.
        """
        gain, b = self.params["gain"], self.params["b"]
        inside, count = self._check(x, lengths)
        rows = x.reshape(-1, len(gain))
        if training:
            if count < 2:
                raise InvalidValueError(
                    f"x is {tuple(x.shape)}, {count} row inside its lengths: training needs at"
                    " least 2, because a single row is its own mean"
                )
            mean = only(inside, rows).sum(axis=0) / count
            centred = only(inside, rows - mean)
            var = (centred * centred).sum(axis=0) / count
            unbiased = var * (count / (count - 1))  # the population varies more than these rows
            for name, batch in (("running_mean", mean), ("running_var", unbiased)):
                running = self.buffers[name]
                running += self.momentum * (batch - running)
        else:
            centred = only(inside, rows - self.buffers["running_mean"])
            var = self.buffers["running_var"]
        scale = 1 / np.sqrt(var + self.eps)
        n = centred * scale
        y = only(inside, gain * n + b).reshape(x.shape)
        return y, BatchNormCache(n, scale, gain.copy(), inside, count if training else None, y)

    def _check(self, x: Array, lengths: Lengths) -> tuple[Array | None, int]:
        """Which rows are inside their sequences (M, 1), None if all are, and how many."""
        self.check_input(x)
        F = len(self.params["gain"])
        if x.ndim < 2 or x.shape[-1] != F or x.size == 0:
            raise InvalidValueError(
                f"the layer has {F} features but x is {tuple(x.shape)}: expected (N, {F}), or"
                " sequences of them"
            )
        if lengths is None:
            return None, x.size // F
        if x.ndim != 3:
            raise InvalidValueError(
                f"lengths were given but x is {tuple(x.shape)}: only sequences, with three axes,"
                " have a length"
            )
        T, N, _ = self.time_first(x).shape
        inside = sequence_mask(T, as_lengths(lengths, T, N, like=x))
        rows = None if inside is None else self.caller_order(inside).reshape(-1, 1)
        return rows, int(np.sum(to_host(lengths)))

    def backward(self, dy: Array, cache: BatchNormCache) -> Array:
        """dy (..., F) to dx (..., F)."""
        n, scale, gain, inside, count, y = cache
        self.check_upstream(dy, y)
        self.check_cache(gain=gain)
        dy = only(inside, dy.reshape(n.shape))
        self.grads["gain"] += (dy * n).sum(axis=0)  # undoes  gain n
        self.grads["b"] += dy.sum(axis=0)  # undoes  + b
        dn = dy * gain
        if count is None:  # the running mean and variance are constants
            return (dn * scale).reshape(y.shape)
        by_mean = dn.sum(axis=0) / count  # undoes  x - mean
        by_var = n * ((dn * n).sum(axis=0) / count)  # undoes  / sqrt(var + eps)
        return only(inside, scale * (dn - by_mean - by_var)).reshape(y.shape)


def only(inside: Array | None, rows: Array) -> Array:
    """rows (M, F) with zeros where ``inside`` (M, 1) is False."""
    return rows if inside is None else np.where(inside, rows, rows.dtype.type(0))
