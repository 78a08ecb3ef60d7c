"""Work that is cut into parts, one for each thread.

A pass is a loop over rows (sequences) or columns (of a gradient) of which any part can be computed
alone. Threads never wait for each other inside a pass, and since each number is computed in one
order, wherever it is cut, the result is the same to the last bit for any number of threads.
"""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from scratchnet_kernels.sequence_cpu.threads import available
from scratchnet_kernels.sequence_cpu.threads import run as run_tasks

Result = TypeVar("Result")

# Multiply-adds of a thread, at least: with less work, waking it costs more than it saves.
WORTH_A_THREAD = 4_000_000


class Work(NamedTuple):
    """One pass: ``loop(*args, first, last)`` for parts of a range that together cover it."""

    loop: Callable[..., None]
    args: tuple[Any, ...]
    first: int
    last: int
    multiple: int  # a part has so many rows or columns, or a multiple of it
    most: int  # rows or columns that are computed in one call
    cost: float  # multiply-adds in all


# The passes of one layer direction: each step is what can be computed at the same time.
Passes: TypeAlias = Generator[list[Work], None, Result]


def run_together(directions: Sequence[Passes[Result]], threads: int | None) -> list[Result]:
    """Run the passes of several layer directions, side by side; return what each one returns."""
    found: dict[int, Result] = {}
    while len(found) < len(directions):
        step: list[Work] = []
        for number, passes in enumerate(directions):
            try:
                step += next(passes)
            except StopIteration as end:
                found[number] = end.value
        if step:
            run(step, threads)
    return [found[number] for number in range(len(directions))]


def run(step: Sequence[Work], threads: int | None = None) -> None:
    """Run all of this work, in threads where that pays.

    Raises the first exception of a thread, after all have ended.
    """
    cost = sum(work.cost for work in step)
    count = max(1, min(threads or available(), int(cost / WORTH_A_THREAD)))
    run_tasks([partial(part, step, k, count) for k in range(count)])


def part(step: Sequence[Work], k: int, count: int) -> None:
    """What thread k of ``count`` does: its part of each work."""
    for number, work in enumerate(step):
        # Where a work is too small for all threads, the next one begins with another thread.
        mine = (k + number) % count
        blocks = -(-(work.last - work.first) // work.multiple)
        first = work.first + blocks * mine // count * work.multiple
        last = min(work.first + blocks * (mine + 1) // count * work.multiple, work.last)
        for begin in range(first, last, work.most):
            work.loop(*work.args, begin, min(begin + work.most, last))
