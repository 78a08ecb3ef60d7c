"""Convolution over time: the same small linear layer on every window of K steps.

    y[t] = b + sum_k x[stride t + dilation k - left] W[k]        k = 0 .. K-1;  x before the start and behind the end is zero

    x (T, N, D)  y (T', N, O)  W (K, D, O)  b (O,)      K shifted linear layers, added up: that is all, and how it is written

    padding      left                      all zeros added          T'
    "valid"      0                         0                        (T - span) // stride + 1      span = dilation (K-1) + 1
    "same"       half of them (less)       span - 1                 (T - 1) // stride + 1         T where stride is 1
    "causal"     all of them               span - 1                 (T - 1) // stride + 1         y[t] sees no later step

Like every network library this "convolves" without turning the kernel around; backwards, dx is then
the true convolution.

Sources: Waibel et al. 1989 (time-delay networks); van den Oord et al. 2016 (causal and dilated,
WaveNet).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from scratchnet import init
from scratchnet.arrays import Array, require_rng
from scratchnet.cells.sequences import zero_padding
from scratchnet.layers.layer import Example
from scratchnet.layers.over_time import OverTime, every, require_counts, windows_in

PADDINGS = ("same", "causal", "valid")


class ConvCache(NamedTuple):
    """One forward pass."""

    x: Array  # (left + T + right, N, D), time first, with the zeros around it
    T: int
    W: Array  # (K, D, O)
    lengths: Array | None  # (N,) of x
    y: Array  # as it was returned


class Conv1d(OverTime):
    """x (T, N, D) to y (T', N, O), or (N, T, D) to (N, T', O) if ``batch_first``; the file's head
    has the equation.

    With ``lengths`` each sequence is convolved as if it were alone, and ``lengths_after`` is how
    long it is then. Equal to ``torch.nn.Conv1d``, whose sequences lie as (N, D, T) and weights as
    (O, D, K). W starts as ``weight_init`` makes a (K D, O) matrix, b at zero.
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
        weight_init: Any = init.xavier_uniform,
        dtype: Any = np.float64,
    ) -> None:
        super().__init__(batch_first)
        require_rng(rng)
        require_counts(
            inputs=inputs, outputs=outputs, kernel=kernel, stride=stride, dilation=dilation
        )
        if padding not in PADDINGS:
            raise ValueError(
                f"padding is {padding!r}: expected one of {', '.join(map(repr, PADDINGS))}"
            )
        self.stride, self.dilation, self.padding = stride, dilation, padding
        self.add_param(
            "W",
            weight_init(rng, (kernel * inputs, outputs), dtype=dtype).reshape(
                kernel, inputs, outputs
            ),
        )
        self.add_param("b", np.zeros(outputs, dtype))

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Every padding, an even kernel, strides, dilation, ragged batches."""
        for padding in PADDINGS:
            for stride, dilation, lengths in (
                (1, 1, None),
                (2, 1, None),
                (1, 2, [7, 5, 6]),
                (2, 2, [5, 7, 6]),
            ):
                label = (
                    f"{padding}, stride {stride}, dilation"
                    f" {dilation}{', ragged' if lengths else ''}"
                )
                batch_first, kernel = stride == 2, 3 if stride == 1 else 2
                layer = cls(
                    2,
                    3,
                    kernel,
                    rng=rng,
                    stride=stride,
                    dilation=dilation,
                    padding=padding,
                    batch_first=batch_first,
                )
                layer.params["b"] += rng.standard_normal(3)
                x = rng.standard_normal((3, 7, 2) if batch_first else (7, 3, 2))
                yield Example(label, layer, x, {} if lengths is None else {"lengths": lengths})

    @property
    def span(self) -> int:
        """How many steps one window reaches over."""
        return self.dilation * (len(self.params["W"]) - 1) + 1

    def lengths_after(self, lengths: Any) -> Any:
        """(length - span) // stride + 1 for "valid", (length - 1) // stride + 1 otherwise."""
        return windows_in(lengths, self.span if self.padding == "valid" else 1, self.stride)

    def forward(
        self, x: Array, training: bool = False, lengths: Any = None
    ) -> tuple[Array, ConvCache]:
        """x (T, N, D) to y (T', N, O). Raises ValueError where a sequence is shorter than one
        "valid" window."""
        W, b = self.params["W"], self.params["b"]
        x, lengths = self.check_sequences(
            x, lengths, W.shape[1], self.span if self.padding == "valid" else 1
        )
        T, N, D = x.shape
        zeros = 0 if self.padding == "valid" else self.span - 1
        left = zeros // 2 if self.padding == "same" else zeros
        padded = np.zeros_like(x, shape=(T + zeros, N, D))
        # behind its own end too a sequence meets zeros
        padded[left : left + T] = zero_padding(x, lengths)
        steps = windows_in(T + zeros, self.span, self.stride)
        y = np.zeros_like(x, shape=(steps, N, len(b)))
        for k in range(len(W)):
            y += every(padded, self.dilation * k, self.stride, steps) @ W[k]
        y = self.turned(zero_padding(y + b, self.lengths_after(lengths)))
        return y, ConvCache(padded, T, W, lengths, y)

    def backward(self, dy: Array, cache: ConvCache) -> Array:
        """dy, shaped as y, to dx, shaped as x."""
        padded, T, W, lengths, y = cache
        self.check_gradient(dy, y)
        dy = zero_padding(self.turned(dy), self.lengths_after(lengths))
        steps, _, outputs = dy.shape
        rows = dy.reshape(-1, outputs)
        dx = np.zeros_like(padded)
        for k in range(len(W)):
            tap = every(padded, self.dilation * k, self.stride, steps)
            # undoes  x W[k]: every step adds  x^T dy
            self.grads["W"][k] += tap.reshape(-1, W.shape[1]).T @ rows
            d_tap = every(dx, self.dilation * k, self.stride, steps)
            d_tap += dy @ W[k].T  # undoes  x W[k]; a step that K windows saw gets K gradients
        self.grads["b"] += rows.sum(axis=0)  # undoes  + b
        left = (len(padded) - T) // 2 if self.padding == "same" else len(padded) - T
        # undoes the zeros around x
        return self.turned(zero_padding(dx[left : left + T], lengths))
