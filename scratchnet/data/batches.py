"""Mini-batches as index arrays: shuffled, in order, or of similar length."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from scratchnet.arrays import require_rng
from scratchnet.data.windows import _count


def minibatches(n: int, batch_size: int, rng: np.random.Generator | None = None) -> Iterator[Any]:
    """Index arrays (batch_size,) that go once through n samples, the last one shorter where n is no
    multiple.

    Shuffled by ``rng`` where one is given, else in order. Shuffling *windows* is harmless: each
    keeps its own inner order, and which of them train was settled before. Raises ValueError or
    TypeError at the call, not at the first batch.
    """
    n, batch_size = _count("n", n), _count("batch_size", batch_size)
    if rng is not None:
        require_rng(rng)
    order = np.arange(n) if rng is None else rng.permutation(n)
    return (order[start : start + batch_size] for start in range(0, n, batch_size))


def buckets(
    lengths: Any, batch_size: int, rng: np.random.Generator | None = None, pool: int = 20
) -> Iterator[Any]:
    """As ``minibatches`` over sequences of these lengths (n,), but each batch holds sequences of
    similar length.

    A batch takes as many steps as its longest sequence has, so mixing short and long ones computes
    mostly padding. Sequences are shuffled, sorted by length within pools of ``pool`` batches, cut
    into batches, and the batches shuffled: with a small pool there is more chance in who meets
    whom, with a large one less padding. Raises ValueError or TypeError at the call.
    """
    ends = np.asarray(lengths)
    if ends.ndim != 1 or not np.issubdtype(ends.dtype, np.integer):
        raise TypeError(
            f"lengths are {ends.dtype} of shape {ends.shape}: expected whole numbers, one for each"
            " sequence"
        )
    batch_size, pool = _count("batch_size", batch_size), _count("pool", pool)
    order = np.concatenate(list(minibatches(_count("n", len(ends)), len(ends), rng)))
    chosen = []
    for start in range(0, len(order), batch_size * pool):
        part = order[start : start + batch_size * pool]
        part = part[np.argsort(ends[part], kind="stable")]
        chosen += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return iter(chosen if rng is None else [chosen[i] for i in rng.permutation(len(chosen))])
