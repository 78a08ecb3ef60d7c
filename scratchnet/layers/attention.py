"""Self-attention: every step of a sequence attends to every other step (``attend.py``).

    q = x W_q    k = x W_k    v = x W_v    y = softmax(score(q, k)) v

Shapes: x (T, N, D); W_q, W_k, W_v (D, U); q, k, v, y (T, N, U).

All steps are computed at once, where a recurrent layer goes step by step: nothing is forgotten on
the way, and T^2 pairs are compared.

References: Vaswani et al. 2017, sections 3.2.1 and 3.2.2; ``attend.py`` has those of the scores.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from scratchnet import init
from scratchnet.arrays import Array, Lengths, require_count, require_one_of
from scratchnet.cells.sequences import sequence_mask, zero_padding
from scratchnet.errors import InvalidValueError
from scratchnet.fingerprint import Fingerprints, fingerprint, require_unchanged
from scratchnet.layers.attend import SCORES, AttendCache, attend, attend_backward
from scratchnet.layers.layer import Example
from scratchnet.layers.over_time import OverTime


class SelfAttentionCache(NamedTuple):
    """One forward pass of the layer."""

    x: Array  # (N, T, D), batch first, zero in the padding
    parts: dict[str, Array]  # W_q, W_k, W_v
    attend: AttendCache  # its arrays are (N, heads, T, units / heads)
    lengths: Array | None
    y: Array  # as it was returned
    fingerprints: Fingerprints

    @property
    def weights(self) -> Array:
        """(N, heads, T, T): how much step i of a sequence looks at step j."""
        return self.attend.weights


class SelfAttention(OverTime):
    """A sequence attends to itself: x (T, N, D) to y (T, N, U), or (N, T, .) if ``batch_first``.

    Without biases, and without the product after the heads:
    ``Sequential(SelfAttention(D, D, heads=h), Linear(D, D))`` is
    ``torch.nn.MultiheadAttention(D, h)``. With ``lengths`` no step looks into the padding.

    Parameters
    ----------
    inputs, units : D and U
    rng : draws the weights, Xavier-uniform
    score : one of ``attend.SCORES``
    causal : True: step i looks at steps 0..i only
    heads : attend in parallel, each on units / heads of the units
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        *,
        rng: np.random.Generator,
        score: str = "scaled",
        causal: bool = False,
        heads: int = 1,
        batch_first: bool = False,
        dtype: DTypeLike = np.float64,
    ) -> None:
        super().__init__(batch_first=batch_first)
        shape = require_count("inputs", inputs), require_count("units", units)
        require_count("heads", heads)
        require_one_of("score", score, SCORES)
        if units % heads or (heads > 1 and score == "additive"):
            raise InvalidValueError(
                f"{units} units and {heads} heads with score {score!r}: heads must share the units"
                " evenly, and 'additive' has one head"
            )
        self.score, self.causal, self.heads = score, causal, heads
        for name in ("W_q", "W_k", "W_v"):
            self.add_param(name, init.xavier_uniform(rng, shape, dtype=dtype))
        if score == "additive":
            self.add_param("v_a", init.xavier_uniform(rng, (units, 1), dtype=dtype)[:, 0].copy())

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Every score; causal, ragged, both, and several heads."""
        for score in SCORES:
            yield Example(score, cls(3, 4, rng=rng, score=score), rng.standard_normal((4, 2, 3)))
            layer = cls(2, 3, rng=rng, score=score, causal=True, batch_first=True)
            x = rng.standard_normal((3, 4, 2))
            yield Example(f"{score}, causal, ragged", layer, x, {"lengths": [4, 1, 3]})
        layer, x = cls(2, 3, rng=rng), rng.standard_normal((4, 3, 2))
        yield Example("ragged", layer, x, {"lengths": [2, 4, 1]})
        layer, x = cls(3, 4, rng=rng, heads=2), rng.standard_normal((4, 2, 3))
        yield Example("two heads", layer, x, {"lengths": [4, 3]})

    def forward(
        self, x: Array, training: bool = False, lengths: Lengths = None
    ) -> tuple[Array, SelfAttentionCache]:
        """x (T, N, D) to y (T, N, U); ``cache.weights`` can be plotted."""
        parts = dict(self.params)
        x, lengths = self.check_sequences(x, lengths, len(parts["W_q"]))
        mask = self._mask(x, lengths)
        x = zero_padding(x, lengths).swapaxes(0, 1)
        q, k, v = (self._split(x @ parts[name]) for name in ("W_q", "W_k", "W_v"))
        y, cache = attend(q, k, v, self.score, mask, parts.get("v_a"))
        y = self.caller_order(zero_padding(self._join(y).swapaxes(0, 1), lengths))
        return y, SelfAttentionCache(x, parts, cache, lengths, y, fingerprint(x=x, **parts))

    def backward(self, dy: Array, cache: SelfAttentionCache) -> Array:
        """dy, shaped as y, to dx, shaped as x."""
        self.check_upstream(dy, cache.y)
        self.check_cache(**cache.parts)
        require_unchanged(cache.fingerprints)
        dy = zero_padding(self.time_first(dy), cache.lengths).swapaxes(0, 1)
        dq, dk, dv, dv_a = attend_backward(self._split(dy), cache.attend)
        dx = np.zeros_like(cache.x)
        rows = cache.x.reshape(-1, cache.x.shape[2])
        for name, heads in (("W_q", dq), ("W_k", dk), ("W_v", dv)):  # x is read three times
            d = self._join(heads)
            self.grads[name] += rows.T @ d.reshape(-1, d.shape[2])  # undoes  x W
            dx += d @ cache.parts[name].T  # undoes  x W
        if dv_a is not None:
            self.grads["v_a"] += dv_a
        return self.caller_order(zero_padding(dx.swapaxes(0, 1), cache.lengths))

    def _mask(self, x: Array, lengths: Array | None) -> Array | None:
        """True where step i may look at step j: broadcasts to (N, 1, T, T); None: everywhere."""
        steps: Array = np.arange(len(x), like=x)
        past = steps[:, None] >= steps if self.causal else None
        inside = sequence_mask(len(x), lengths)
        if inside is None:
            return past
        inside = inside.T[:, None, None, :]
        return inside if past is None else inside & past

    def _split(self, x: Array) -> Array:
        """(N, T, U) to (N, heads, T, U / heads)."""
        N, T, U = x.shape
        return x.reshape(N, T, self.heads, U // self.heads).swapaxes(1, 2)

    def _join(self, x: Array) -> Array:
        """(N, heads, T, U / heads) to (N, T, U)."""
        N, heads, T, units = x.shape
        return x.swapaxes(1, 2).reshape(N, T, heads * units)
