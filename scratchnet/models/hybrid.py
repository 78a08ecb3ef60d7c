"""A hybrid model: one branch for features that change over time, one for features that do not.

    h        = recurrent(sequence)                     (N, T, H)
    s        = tanh(static W + b)                      (N, S)
    concat:     z = [ h_T | s ]
    attention:  z = [ context | s ],  context = attend(query = s W_q, keys = h, values = h)
    y        = head(z)

With "concat" the last state must hold all that the head needs; with "attention" the static branch
chooses the steps: the customer decides which days matter.

References: the attention is Vaswani et al. 2017 with a single query; the join by concatenation is
common practice.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, Lengths, as_lengths, require_one_of, require_shape
from scratchnet.cells.sequences import sequence_mask
from scratchnet.errors import InvalidTypeError
from scratchnet.layers import Composite, Example, Linear, Recurrent, Tanh
from scratchnet.layers.attend import AttendCache, attend, attend_backward
from scratchnet.layers.recurrent import RecurrentCache

JOINS = ("concat", "attention")


class HybridCache(NamedTuple):
    """One forward pass: the cache of each layer."""

    rec: RecurrentCache
    static: tuple[Array, ...]
    tanh: Array
    query: tuple[Array, ...] | None  # None where the join is "concat", as attention
    attention: AttendCache | None
    head: tuple[Array, ...]
    wide: int  # how many numbers of z come from the sequence


class Hybrid(Composite):
    """x = (sequence (N, T, D), static (N, F)), samples first, to y (N, K).

    Parameters
    ----------
    inputs, static, outputs : D, F and K
    rng : draws weights and dropout masks
    units, cell, num_layers, bidirectional, dropout, engine : of the sequence branch's ``Recurrent``
    static_units : of the static branch
    join : "concat" or "attention"

    Raises
    ------
    ValueError
        For an unknown join and for sizes below 1.
    """

    def __init__(
        self,
        inputs: int,
        static: int,
        outputs: int,
        *,
        rng: np.random.Generator,
        units: int = 32,
        static_units: int = 16,
        join: str = "concat",
        cell: str = "lstm",
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        engine: str = "auto",
    ) -> None:
        require_one_of("join", join, JOINS)
        rec = Recurrent(
            cell,
            inputs,
            units,
            rng=rng,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            batch_first=True,
            return_sequences=join == "attention",
            engine=engine,
        )
        wide = rec.output_size
        layers = {"rec": rec, "static": Linear(static, static_units, rng=rng), "tanh": Tanh()}
        if join == "attention":
            layers["query"] = Linear(static_units, wide, rng=rng)
        super().__init__({**layers, "head": Linear(wide + static_units, outputs, rng=rng)})
        self.join, self.batch_first = join, True

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Both joins, ragged."""
        for join in JOINS:
            model = cls(2, 3, 2, rng=rng, units=3, static_units=4, join=join, bidirectional=True)
            x = rng.standard_normal((3, 4, 2)), rng.standard_normal((3, 3))
            yield Example(join, model, x, {"lengths": [4, 1, 2]})

    def lengths_after(self, lengths: Lengths) -> Lengths:
        """None: y has no time axis."""
        return None

    def forward(
        self, x: tuple[Array, Array], training: bool = False, lengths: Lengths = None
    ) -> tuple[Array, HybridCache]:
        """(sequence (N, T, D), static (N, F)) to y (N, K); ``lengths`` (N,) of the sequences."""
        if not isinstance(x, tuple) or len(x) != 2:
            raise InvalidTypeError(
                f"x is a {type(x).__name__}: expected a tuple (sequence (N, T, D), static (N, F))"
            )
        sequence, static = x
        expected = (len(sequence), *static.shape[1:])
        require_shape("static", static, expected, f"sequence is {tuple(sequence.shape)}")
        part: dict[str, Any] = self.layers
        h, rec = part["rec"].forward(sequence, training=training, lengths=lengths)
        a, static_cache = part["static"].forward(static)
        s, tanh = part["tanh"].forward(a)
        query = attention = None
        if self.join == "attention":
            q, query = part["query"].forward(s)
            N, T, _ = h.shape
            inside = sequence_mask(T, as_lengths(lengths, T, N, like=h))
            mask = None if inside is None else inside.T[:, None, :]  # (N, 1, T)
            context, attention = attend(q[:, None, :], h, h, mask=mask)
            h = context[:, 0]
        y, head = part["head"].forward(np.concatenate([h, s], axis=1))
        return y, HybridCache(rec, static_cache, tanh, query, attention, head, h.shape[1])

    def backward(self, dy: Array, cache: HybridCache) -> tuple[Array, Array]:
        """dy (N, K) to (dsequence, dstatic)."""
        part: dict[str, Any] = self.layers
        dz = part["head"].backward(dy, cache.head)
        wide = cache.wide
        dh, ds = dz[:, :wide], dz[:, wide:]  # undoes  z = [ h | s ]
        if cache.attention is not None:
            d = attend_backward(dh[:, None, :], cache.attention)
            dh = d.dk + d.dv  # h is read twice: as keys and as values
            ds = ds + part["query"].backward(d.dq[:, 0], cache.query)  # s: by head and query
        dstatic = part["static"].backward(part["tanh"].backward(ds, cache.tanh), cache.static)
        return part["rec"].backward(dh, cache.rec), dstatic
