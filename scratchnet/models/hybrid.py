"""A hybrid model: what changes over time and what does not, each through its own branch, joined for
the answer.

    h        = recurrent(sequence)                     (N, T, H)
    s        = tanh(static W + b)                      (N, S)
    concat:     z = [ h_T | s ]
    attention:  z = [ context | s ],  context = attend(query = s W_q, keys = h, values = h)
    y        = head(z)

By concatenation the last state must hold whatever the answer needs; by attention the static branch
asks for it: the customer decides which days matter.

Sources: the attention is Vaswani et al. 2017 with a single query; the join by concatenation is
folklore.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, as_lengths, require_shape
from scratchnet.layers import Composite, Example, Linear, Recurrent, Tanh
from scratchnet.layers.attend import attend, attend_backward

JOINS = ("concat", "attention")


class HybridCache(NamedTuple):
    """One forward pass."""

    rec: Any
    static: Any
    tanh: Any
    query: Any
    attention: Any  # attend's own cache, None where the join is by concatenation
    head: Any
    shapes: tuple[int, int]  # T, and how many numbers of z come from the sequence


class Hybrid(Composite):
    """x = (sequence (N, T, D), static (N, F)), samples first, to y (N, K).

    ``cell``, ``units``, ``bidirectional``, ``num_layers``, ``dropout`` of the sequence branch;
    ``static_units`` of the other. Raises ValueError for a join that does not exist and for sizes
    below 1.
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
        if join not in JOINS:
            raise ValueError(f"join is {join!r}: expected one of {', '.join(JOINS)}")
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
            yield Example(
                join,
                model,
                (rng.standard_normal((3, 4, 2)), rng.standard_normal((3, 3))),
                {"lengths": [4, 1, 2]},
            )

    def forward(
        self, x: tuple[Array, Array], training: bool = False, lengths: Any = None
    ) -> tuple[Array, HybridCache]:
        """(sequence (N, T, D), static (N, F)) to y (N, K). ``lengths`` (N,): sequences that are
        over sooner."""
        if not isinstance(x, tuple) or len(x) != 2:
            raise TypeError(
                f"x is a {type(x).__name__}: expected a tuple (sequence (N, T, D), static (N, F))"
            )
        sequence, static = x
        require_shape(
            "static",
            static,
            (len(sequence), *static.shape[1:]),
            f"sequence is {tuple(sequence.shape)}",
        )
        part: Any = self.layers
        h, rec = part["rec"].forward(sequence, training=training, lengths=lengths)
        a, static_cache = part["static"].forward(static)
        s, tanh = part["tanh"].forward(a)
        query = attention = None
        if self.join == "attention":
            q, query = part["query"].forward(s)
            N, T, _ = h.shape
            ends = as_lengths(lengths, T, N, like=h)
            # (N, 1, T)
            mask = None if ends is None else (np.arange(T, like=h) < ends[:, None])[:, None, :]
            context, attention = attend(q[:, None, :], h, h, mask=mask)
            h = context[:, 0]
        y, head = part["head"].forward(np.concatenate([h, s], axis=1))
        return y, HybridCache(
            rec, static_cache, tanh, query, attention, head, (sequence.shape[1], h.shape[1])
        )

    def backward(self, dy: Array, cache: HybridCache) -> tuple[Array, Array]:
        """dy (N, K) to (dsequence, dstatic)."""
        part: Any = self.layers
        dz = part["head"].backward(dy, cache.head)
        wide = cache.shapes[1]
        dh, ds = dz[:, :wide], dz[:, wide:]  # undoes  z = [ h | s ]
        if self.join == "attention":
            looked = attend_backward(dh[:, None, :], cache.attention)
            dh = looked.dk + looked.dv  # h is read twice: as keys and as values
            # and s twice: by the head, and as the query
            ds = ds + part["query"].backward(looked.dq[:, 0], cache.query)
        dstatic = part["static"].backward(part["tanh"].backward(ds, cache.tanh), cache.static)
        return part["rec"].backward(dh, cache.rec), dstatic
