"""Threads: how many, what each does, and that BLAS keeps to one while ours run."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from threading import Lock
from typing import Any, TypeAlias

import numpy as np

from scratchnet.arrays import Array
from scratchnet.errors import InvalidValueError
from scratchnet_kernels.sequence_cpu.blocks import rows_of_slice

Task = Callable[[], Any]
Blas: TypeAlias = Any  # a library of threadpoolctl, which has no types

# Multiply-adds of a thread, at least: with less work, waking it costs more than it saves.
# Measured on two cores (benchmarks/parts.py), an LSTM's training step with (T, N, D, H) = (20, 32,
# 8, 32): 0.63 ms with 0.4 million here, 0.44 with 2, 0.42 with 4; from (100, 32, 1, 64) on much the
# same.
WORTH_A_THREAD = 2_000_000

_limit: ContextVar[int | None] = ContextVar("threads", default=None)


def available() -> int:
    """The processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cut(N: int, rows: int) -> list[tuple[int, int]]:
    """N sequences in slices (first, last) of so many rows, the last one with what is left."""
    return [(first, min(first + rows, N)) for first in range(0, N, rows)]


def run_all(tasks: Sequence[Task], work: float) -> None:
    """Run tasks with ``work`` multiply-adds in all, in threads where that pays.

    Raises the first exception of a task, after all have ended.
    """
    threads = min(_limit.get() or available(), len(tasks), max(1, int(work / WORTH_A_THREAD)))
    if threads <= 1:
        _run(tasks)
        return
    shares = [
        tasks[k * len(tasks) // threads : (k + 1) * len(tasks) // threads] for k in range(threads)
    ]
    others = [_pool(os.getpid()).submit(_run, share) for share in shares[1:]]
    try:
        _run(shares[0])
    finally:
        for other in others:
            other.exception()  # wait for all of them: their arrays are the caller's
    for other in others:
        other.result()


def run_slices(
    runs: Sequence[Any], loop_of: Callable[[Any, int, Array], Callable[[int, int], None]]
) -> None:
    """Run ``loop_of(run, rows, lengths)`` over all slices (first, last) of all runs."""
    tasks: list[Task] = []
    work = 0
    for run in runs:
        T, N, _ = run.cache.h[1:].shape
        W_h, lengths = run.cache.W_h, run.cache.lengths
        rows = rows_of_slice(W_h.shape[1])
        loop = loop_of(run, rows, np.full(N, T, np.intp) if lengths is None else lengths)
        tasks += [partial(loop, first, last) for first, last in cut(N, rows)]
        work += T * N * W_h.size
    run_all(tasks, work)


def _run(tasks: Sequence[Task]) -> None:
    for task in tasks:
        task()


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of this process: a fork has none of its parent's."""
    workers = max(1, (os.cpu_count() or 1) - 1)
    return ThreadPoolExecutor(max_workers=workers, thread_name_prefix="scratchnet")


@contextmanager
def one_blas_thread(threads: int | None = None) -> Iterator[None]:
    """While inside, BLAS uses one thread and the library at most ``threads``.

    This avoids oversubscription. The earlier setting is restored at the end, after an exception
    too, and only when the last of several threads of the caller leaves.
    """
    if threads is not None and threads < 1:
        raise InvalidValueError(f"threads is {threads}: expected at least 1")
    token = _limit.set(threads)
    _enter()
    try:
        yield
    finally:
        _leave()
        _limit.reset(token)


_lock = Lock()
_inside = 0
_before: list[tuple[Blas, int]] = []


def _enter() -> None:
    global _inside  # how many are inside, all threads of the caller together
    libraries = _blas()
    with _lock:
        _inside += 1
        if _inside == 1:
            _before[:] = [(library, library.num_threads) for library in libraries]
            for library in libraries:
                _set(library, 1)


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0:
            for library, count in _before:
                _set(library, count)


def _set(library: Blas, count: int) -> None:
    """Set a library's number of threads from any thread.

    threadpoolctl lets only the first thread that sets OpenBLAS do so again, and silently ignores
    the others. Here the last thread to leave sets it, whichever that is, and our lock ensures that
    two never do so at once.
    """
    release = getattr(library, "clear_controlling_thread", lambda force: None)
    release(force=True)
    library.set_num_threads(count)
    release(force=True)


def _forked() -> None:
    """In the child of a fork only the forking thread goes on: reset the count of those inside."""
    global _lock, _inside
    _lock = Lock()
    if _inside:
        _inside = 1
        _leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@cache
def _blas() -> list[Blas]:
    """Every BLAS in the process: NumPy has one, and SciPy another, which Numba uses."""
    import scipy.linalg  # noqa: F401  loads it, so that it is found
    from threadpoolctl import ThreadpoolController

    return [
        library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"
    ]


def as_contiguous_readonly(array: Array) -> Array:
    """The caller's array as loops take it: contiguous, and marked read-only.

    Numba compiles a loop again for every other memory order, and for read-only arrays too.
    """
    found = np.ascontiguousarray(array).view()
    found.flags.writeable = False
    return found
