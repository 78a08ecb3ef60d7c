"""Batch normalisation: each feature is shifted and stretched to mean 0 and variance 1 over the
batch.

    y = gain n + b,   n = (x - mean) / sqrt(var + eps)        mean and variance of each feature over all rows of the batch

    x, n, y (..., F);  mean, var, gain, b (F,)

While training, mean and variance depend on x too, so x reaches n by three roads: itself, the mean,
and the variance.

Source: Ioffe and Szegedy 2015, algorithms 1 and 2.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, as_lengths, to_host
from scratchnet.layers.layer import Example
from scratchnet.layers.layer_norm import away_from_the_start, check_eps
from scratchnet.layers.over_time import OverTime, require_counts


class BatchNormCache(NamedTuple):
    """One forward pass; M rows, one for each step of each sequence."""

    n: Array  # (M, F) normalised, zero in the padding
    scale: Array  # (F,)  1 / sqrt(var + eps)
    gain: Array  # (F,)
    inside: Array | None  # (M, 1) False in the padding
    # how many are inside; None at prediction, where mean and variance are constants
    rows: int | None
    y: Array  # shaped as x


class BatchNorm1d(OverTime):
    """x (N, F), (T, N, F) or, if ``batch_first``, (N, T, F), to y of the same shape.

    While training, mean and variance are the batch's own, and ``buffers`` follow: running = 0.9
    running + 0.1 batch (at ``momentum`` 0.1), with the unbiased variance, as in PyTorch. At
    prediction the running ones are used, so that an answer does not depend on what else is in the
    batch. With ``lengths``, padding enters no statistics and y is zero there.

    Equal to ``torch.nn.BatchNorm1d(F)``, whose sequences lie as (N, F, T). Raises ValueError while
    training with a single row: it is its own mean, and nothing but b would be left of it.
    """

    def __init__(
        self,
        features: int,
        *,
        momentum: float = 0.1,
        eps: float = 1e-5,
        batch_first: bool = False,
        dtype: Any = np.float64,
    ) -> None:
        super().__init__(batch_first)
        require_counts(features=features)
        if not 0 < momentum <= 1:
            raise ValueError(
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
                layer = away_from_the_start(cls(2, batch_first=shape == (3, 4, 2)), rng)
                layer.buffers["running_mean"] += 1
                layer.buffers["running_var"] *= 2
                arguments = {"training": training} | (
                    {} if lengths is None else {"lengths": lengths}
                )
                label = (
                    f"x {shape},"
                    f" {'training' if training else 'prediction'}{', ragged' if lengths else ''}"
                )
                yield Example(label, layer, 2 + 3 * rng.standard_normal(shape), arguments)

    def forward(
        self, x: Array, training: bool = False, lengths: Any = None
    ) -> tuple[Array, BatchNormCache]:
        """x (..., F) to y (..., F); while training, changes the running statistics too."""
        gain, b = self.params["gain"], self.params["b"]
        inside, count = self._check(x, lengths)
        rows = x.reshape(-1, len(gain))
        if training:
            if count < 2:
                raise ValueError(
                    f"x is {tuple(x.shape)}, {count} row inside its lengths: training needs at"
                    " least 2, because a single row is its own mean"
                )
            mean = only(inside, rows).sum(axis=0) / count
            centred = only(inside, rows - mean)
            var = (centred * centred).sum(axis=0) / count
            # Of the whole population, not of the rows at hand, the best guess is a little wider:
            # count - 1.
            for name, batch in {
                "running_mean": mean,
                "running_var": var * (count / (count - 1)),
            }.items():
                running = self.buffers[name]
                running += self.momentum * (batch - running)
        else:
            centred, var = (
                only(inside, rows - self.buffers["running_mean"]),
                self.buffers["running_var"],
            )
        scale = 1 / np.sqrt(var + self.eps)
        n = centred * scale
        y = only(inside, gain * n + b).reshape(x.shape)
        return y, BatchNormCache(n, scale, gain, inside, count if training else None, y)

    def _check(self, x: Array, lengths: Any) -> tuple[Array | None, int]:
        """Which rows are inside their sequences (M, 1), None if all are, and how many."""
        self.check_input(x)
        F = len(self.params["gain"])
        if x.ndim < 2 or x.shape[-1] != F or x.size == 0:
            raise ValueError(
                f"the layer has {F} features but x is {tuple(x.shape)}: expected (N, {F}), or"
                " sequences of them"
            )
        if lengths is None:
            return None, x.size // F
        if x.ndim != 3:
            raise ValueError(
                f"lengths were given but x is {tuple(x.shape)}: only sequences, with three axes,"
                " have a length"
            )
        T, N, _ = self.turned(x).shape
        ours = as_lengths(lengths, T, N, like=x)
        steps: Any = np.arange(T, like=x)
        return self.turned(steps[:, None] < ours).reshape(-1, 1), int(np.sum(to_host(lengths)))

    def backward(self, dy: Array, cache: BatchNormCache) -> Array:
        """dy (..., F) to dx (..., F)."""
        n, scale, gain, inside, count, y = cache
        self.check_gradient(dy, y)
        dy = only(inside, dy.reshape(n.shape))
        self.grads["gain"] += (dy * n).sum(axis=0)  # undoes  gain n
        self.grads["b"] += dy.sum(axis=0)  # undoes  + b
        dn = dy * gain
        if count is None:
            # the running mean and variance are constants: one road only
            return (dn * scale).reshape(y.shape)
        by_mean = dn.sum(axis=0) / count  # undoes  x - mean
        by_var = n * ((dn * n).sum(axis=0) / count)  # undoes  / sqrt(var + eps)
        return only(inside, scale * (dn - by_mean - by_var)).reshape(y.shape)


def only(inside: Array | None, rows: Array) -> Array:
    """The rows (M, F) that are inside a sequence, zeros in place of the others."""
    return rows if inside is None else np.where(inside, rows, rows.dtype.type(0))
