"""Mini-batches as index arrays: shuffled, in order, or of similar length."""

from collections.abc import Iterator, Sequence

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_count, require_memory
from scratchnet.errors import InvalidTypeError


@checked
def minibatches(n: int, batch_size: int, rng: np.random.Generator | None = None) -> Iterator[Array]:
    """Iterate once over n samples in index arrays (batch_size,); the last one may be shorter.

    Shuffling *windows* of a series is harmless: each keeps its own inner order, and which of them
    are for training was settled before.

    Parameters
    ----------
    n, batch_size : numbers of samples
    rng : shuffles the samples; None for the order 0, 1, ...

    Raises
    ------
    ValueError, TypeError
        At the call, not at the first batch.

    Examples
    --------
    >>> [batch.tolist() for batch in minibatches(5, 2)]
    [[0, 1], [2, 3], [4]]
    """
    n, batch_size = require_count("n", n), require_count("batch_size", batch_size)
    require_memory("the order of the samples", (n,), np.int64)
    order = np.arange(n) if rng is None else rng.permutation(n)
    return (order[start : start + batch_size] for start in range(0, n, batch_size))


@checked
def buckets(
    lengths: Sequence[int] | Array,
    batch_size: int,
    rng: np.random.Generator | None = None,
    pool: int = 20,
) -> Iterator[Array]:
    """``minibatches`` in which each batch holds sequences of similar length.

    A batch takes as many steps as its longest sequence has, so mixing short and long ones computes
    mostly padding. Sequences are shuffled, sorted by length within pools of ``pool`` batches, cut
    into batches, and the batches shuffled: a small pool mixes the sequences better, a large one has
    less padding.

    Parameters
    ----------
    lengths : (n,), whole numbers
    batch_size, pool : sequences in a batch, batches in a pool
    rng : shuffles; None for the order of length within each pool

    Raises
    ------
    ValueError, TypeError
        At the call, not at the first batch.

    Examples
    --------
    >>> [batch.tolist() for batch in buckets([9, 2, 8, 1], batch_size=2)]
    [[3, 1], [2, 0]]
    """
    ends = np.asarray(lengths)
    if ends.ndim != 1 or not np.issubdtype(ends.dtype, np.integer):
        raise InvalidTypeError(
            f"lengths are {ends.dtype} of shape {ends.shape}: expected whole numbers, one for each"
            " sequence"
        )
    batch_size, pool = require_count("batch_size", batch_size), require_count("pool", pool)
    order = next(minibatches(len(ends), len(ends), rng))
    chosen = []
    for start in range(0, len(order), batch_size * pool):
        part = order[start : start + batch_size * pool]
        part = part[np.argsort(ends[part], kind="stable")]
        chosen += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return iter(chosen if rng is None else [chosen[i] for i in rng.permutation(len(chosen))])
