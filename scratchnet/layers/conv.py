"""Convolution over time: the same linear layer on every window of K steps.

    y[t] = b + sum_k x[stride t + dilation k - left] W[k]      k = 0 .. K-1; x is padded with zeros

Shapes: x (T, N, D), y (T', N, O), W (K, D, O), b (O,). It is written as what it is: K shifted
linear layers, added up. With span = dilation (K-1) + 1,

    padding     left                 all zeros added    T'
    "valid"     0                    0                  (T - span) // stride + 1
    "same"      (span - 1) // 2      span - 1           (T - 1) // stride + 1, T at stride 1
    "causal"    span - 1             span - 1           (T - 1) // stride + 1; no later step is seen

Like every network library this "convolves" without reversing the kernel; in the backward pass, dx
is then the true convolution.

References: Waibel et al. 1989 (time-delay networks); van den Oord et al. 2016 (causal and dilated,
WaveNet).
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from scratchnet import init
from scratchnet.arrays import Array, Lengths, require_count, require_one_of
from scratchnet.cells.sequences import zero_padding
from scratchnet.fingerprint import Fingerprints, fingerprint, require_unchanged
from scratchnet.layers.layer import Example
from scratchnet.layers.over_time import OverTime, strided_view, window_count, window_counts

PADDINGS = ("same", "causal", "valid")


class ConvCache(NamedTuple):
    """One forward pass."""

    x: Array  # (left + T + right, N, D), time first, with the zeros around it
    T: int
    W: Array  # (K, D, O)
    lengths: Array | None  # (N,) of x
    y: Array  # as it was returned
    fingerprints: Fingerprints


class Conv1d(OverTime):
    """x (T, N, D) to y (T', N, O), or (N, T, D) to (N, T', O) if ``batch_first``.

    With ``lengths`` each sequence is convolved as if it were alone, and ``lengths_after`` says how
    long it is then. Equal to ``torch.nn.Conv1d``, whose sequences are (N, D, T) and weights
    (O, D, K).

    Parameters
    ----------
    inputs, outputs, kernel : D, O and K
    rng : draws W as ``weight_init`` draws a (K D, O) matrix; b starts at zero
    stride : steps from one window to the next
    dilation : steps between the K steps of one window
    padding : "same", "causal" or "valid"
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        rng: np.random.Generator,
        stride: int = 1,
        dilation: int = 1,
        padding: str = "same",
        batch_first: bool = False,
        weight_init: init.Initializer = init.xavier_uniform,
        dtype: DTypeLike = np.float64,
    ) -> None:
        super().__init__(batch_first=batch_first)
        for name, count in (("inputs", inputs), ("outputs", outputs), ("kernel", kernel)):
            require_count(name, count, most=10**6)
        self.stride = require_count("stride", stride, most=10**6)
        self.dilation = require_count("dilation", dilation, most=10**6)
        self.padding = require_one_of("padding", padding, PADDINGS)
        W = init.drawn(weight_init, rng, (kernel * inputs, outputs), dtype)
        self.add_param("W", W.reshape(kernel, inputs, outputs))
        self.add_param("b", np.zeros(outputs, dtype))

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Every padding, an even kernel, strides, dilation, ragged batches."""
        cases = ((1, 1, None), (2, 1, None), (1, 2, [7, 5, 6]), (2, 2, [5, 7, 6]))
        for padding in PADDINGS:
            for stride, dilation, lengths in cases:
                even = stride == 2
                new = partial(cls, 2, 3, 2 if even else 3, rng=rng, batch_first=even)
                layer = new(stride=stride, dilation=dilation, padding=padding)
                layer.params["b"] += rng.standard_normal(3)
                x = rng.standard_normal((3, 7, 2) if even else (7, 3, 2))
                label = f"{padding}, stride {stride}, dilation {dilation}"
                if lengths is None:
                    yield Example(label, layer, x)
                else:
                    yield Example(f"{label}, ragged", layer, x, {"lengths": lengths})

    @property
    def span(self) -> int:
        """How many steps one window covers."""
        return self.dilation * (len(self.params["W"]) - 1) + 1

    @property
    def shortest(self) -> int:
        """How many steps a sequence needs at least."""
        return self.span if self.padding == "valid" else 1

    def lengths_after(self, lengths: Lengths) -> Lengths:
        """(length - span) // stride + 1 for "valid", (length - 1) // stride + 1 otherwise."""
        return window_counts(lengths, self.shortest, self.stride)

    def forward(
        self, x: Array, training: bool = False, lengths: Lengths = None
    ) -> tuple[Array, ConvCache]:
        """x (T, N, D) to y (T', N, O).

        Raises ValueError where a sequence is shorter than one "valid" window.
        """
        W, b = self.params["W"], self.params["b"]
        x, lengths = self.check_sequences(x, lengths, W.shape[1], self.shortest)
        T, N, D = x.shape
        zeros = 0 if self.padding == "valid" else self.span - 1
        left = zeros // 2 if self.padding == "same" else zeros
        padded = np.zeros_like(x, shape=(T + zeros, N, D))
        padded[left : left + T] = zero_padding(x, lengths)  # zeros also after a sequence's own end
        steps = window_count(T + zeros, self.span, self.stride)
        y = np.zeros_like(x, shape=(steps, N, len(b)))
        for k in range(len(W)):
            y += strided_view(padded, self.dilation * k, self.stride, steps) @ W[k]
        lengths_of_y = window_counts(lengths, self.shortest, self.stride)
        y = self.caller_order(zero_padding(y + b, lengths_of_y))
        return y, ConvCache(padded, T, W, lengths, y, fingerprint(W=W))

    def backward(self, dy: Array, cache: ConvCache) -> Array:
        """dy, shaped as y, to dx, shaped as x."""
        padded, T, W, lengths, y, fingerprints = cache
        self.check_upstream(dy, y)
        self.check_cache(W=W)
        require_unchanged(fingerprints)
        dy = zero_padding(self.time_first(dy), window_counts(lengths, self.shortest, self.stride))
        steps, _, outputs = dy.shape
        rows = dy.reshape(-1, outputs)
        dx = np.zeros_like(padded)
        for k in range(len(W)):
            tap = strided_view(padded, self.dilation * k, self.stride, steps)
            # undoes  x W[k]: every step adds  x^T dy
            self.grads["W"][k] += tap.reshape(-1, W.shape[1]).T @ rows
            d_tap = strided_view(dx, self.dilation * k, self.stride, steps)
            d_tap += dy @ W[k].T  # undoes  x W[k]; a step in K windows gets K gradients
        self.grads["b"] += rows.sum(axis=0)  # undoes  + b
        left = (len(padded) - T) // 2 if self.padding == "same" else len(padded) - T
        # undoes the zeros around x
        return self.caller_order(zero_padding(dx[left : left + T], lengths))
