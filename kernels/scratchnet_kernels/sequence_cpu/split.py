"""Products over all steps at once, split over threads: a cell's work outside its time loop.

A cell writes ``x W_x`` and ``x^T da`` as for any array. With a ``Split`` in such a product, the
product is computed in parts, always the same parts for the same shapes, each by one thread.
"""

from functools import partial
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet_kernels.sequence_cpu.memory import empty
from scratchnet_kernels.sequence_cpu.slices import Task, run_all

PART = 1_000_000  # multiply-adds of a part, at least
PARTS = 16  # at most
WIDE = 128  # columns of a part, at least: BLAS goes through the whole left factor for each
ELEMENT = 4  # multiply-adds that take as long as reading and writing one number
LONG = 512  # terms of a sum's part, at least


class Split(np.ndarray):
    """An array whose products, sums over the first axis, and in-place additions run in parts.

    ``np.empty_like`` of it takes memory that was used before.
    """

    def __array_function__(self, function: Any, kinds: Any, arguments: Any, options: Any) -> Any:
        if function is np.empty_like and len(arguments) == 1:
            shape, dtype = options.get("shape"), options.get("dtype")
            return empty(
                self.shape if shape is None else shape, self.dtype if dtype is None else dtype
            ).view(Split)
        return super().__array_function__(function, kinds, arguments, options)

    def __matmul__(self, right: Any) -> Any:
        return product(plain(self), plain(right))

    def __rmatmul__(self, left: Any) -> Any:
        return product(plain(left), plain(self))

    def __iadd__(self, b: Any) -> Any:  # type: ignore[misc]
        if np.ndim(b) != 1 or not self.flags.c_contiguous:  # reshape would make a copy of it
            return np.add(self, b, out=self)
        rows = plain(self).reshape(-1, self.shape[-1])
        work = ELEMENT * rows.size
        cuts = _cuts(len(rows), _parts(work))
        run_all([partial(np.add, rows[i:j], b, out=rows[i:j]) for i, j in cuts], work)
        return self

    def sum(self, axis: Any = None, **options: Any) -> Any:  # type: ignore[override]
        if axis != 0 or options or self.ndim != 2:
            return plain(self).sum(axis=axis, **options)
        ours = plain(self)
        ones = np.ones(len(ours), self.dtype)  # a sum over rows is a product with ones: fast BLAS
        work = ELEMENT * ours.size
        cuts = _cuts(len(ours), min(_parts(work), max(1, len(ours) // LONG)))
        sums = np.empty((len(cuts), ours.shape[1]), self.dtype)
        tasks = [partial(np.dot, ones[i:j], ours[i:j], out=s) for (i, j), s in zip(cuts, sums)]
        run_all(tasks, work)
        out = sums[0].copy()
        for s in sums[1:]:  # in this order, for any threads
            out += s
        return out


def split(array: Any) -> Any:
    """The same numbers as a Split; other objects unchanged, for the cell to reject."""
    return array.view(Split) if isinstance(array, np.ndarray) else array


def plain(array: Any) -> Any:
    """The same numbers as NumPy's own array."""
    return array.view(np.ndarray) if isinstance(array, Split) else array


def product(left: Array, right: Array) -> Split:
    """left (M, K) times right (K, C), in parts of the rows, of the columns or of the sum."""
    (M, K), C = left.shape, right.shape[1]
    parts = _parts(M * K * C)
    tasks: list[Task]
    if parts > 1 and M >= C and M >= K:
        out = empty((M, C), left.dtype)
        tasks = [partial(np.dot, left[i:j], right, out=out[i:j]) for i, j in _cuts(M, parts)]
    elif parts > 1 and C >= 4 * WIDE:
        out = empty((M, C), left.dtype)
        tasks = [
            partial(np.matmul, left, right[:, i:j], out=out[:, i:j])
            for i, j in _cuts(C, min(parts, C // WIDE))
        ]
    else:
        cuts = _cuts(K, min(parts, max(1, K // LONG)))
        out = empty((M, C), left.dtype)
        # apart from the first, which may be kept for long
        others = empty((len(cuts) - 1, M, C), left.dtype)
        tasks = [
            partial(np.dot, left[:, i:j], right[i:j], out=s)
            for (i, j), s in zip(cuts, [out, *others])
        ]
        run_all(tasks, M * K * C)
        for s in others:  # in this order, for any threads
            out += s
        return out.view(Split)
    run_all(tasks, M * K * C)
    return out.view(Split)


def _cuts(length: int, parts: int) -> list[tuple[int, int]]:
    return [(length * k // parts, length * (k + 1) // parts) for k in range(parts)]


def _parts(work: int) -> int:
    return max(1, min(PARTS, work // PART))
