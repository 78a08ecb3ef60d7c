"""Work that is cut into parts, one for each thread.

A pass is a loop over time, of which a thread computes some rows or some units (``team.py``), or a
loop over the columns of a gradient. Each number is computed in one order, wherever the work is cut,
so the result is the same to the last bit for any number of threads.
"""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from scratchnet.arrays import Array
from scratchnet_kernels.sequence_cpu.product import ROWS
from scratchnet_kernels.sequence_cpu.team import give_up, new_team
from scratchnet_kernels.sequence_cpu.threads import available
from scratchnet_kernels.sequence_cpu.threads import run as run_parts

Result = TypeVar("Result")

# Multiply-adds of a thread, at least: with less work, waking it costs more than it saves.
WORTH_A_THREAD = 4_000_000
LARGE = 1 << 17  # weights: 512 KB of float32, half a processor's own cache


class Work(NamedTuple):
    """One pass: ``loop(*args, team, k, count)`` is the part of thread k of ``count``."""

    loop: Callable[..., None]
    args: tuple[Any, ...]
    cost: float  # multiply-adds in all
    rows: int = 0  # of a loop over time
    weights: int = 0  # in W_h


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


def by_units(rows: int, weights: int, count: int) -> bool:
    """Whether threads take units, not rows: few rows for each, and much of W_h.

    With units each, nobody waits for a thread that has a row more, all rows are in one tile, and a
    thread's columns of W_h stay in its cache. A small W_h is not worth a meeting at every step.
    """
    few, very_few = rows <= ROWS * count, rows <= 2 * count
    return (few and weights >= LARGE) or (very_few and weights >= LARGE // 4)


def run(step: Sequence[Work], threads: int | None = None) -> None:
    """Run all of this work, in threads where that pays.

    Raises the first exception of a thread, after all have ended.
    """
    cost, teams = 0.0, []
    for work in step:
        cost += work.cost
    count = max(1, int(cost / WORTH_A_THREAD))
    if count > 1:
        count = min(count, threads or available())
    for work in step:
        teams.append(new_team(count, count > 1 and by_units(work.rows, work.weights, count)))
    run_parts(count, partial(part, step, teams), partial(give_up, teams))


def part(step: Sequence[Work], teams: Sequence[Array], k: int, count: int) -> None:
    """What thread k of ``count`` does: its part of each work."""
    for number, (work, team) in enumerate(zip(step, teams)):
        # Where a work is too small for all threads, the next one begins with another thread.
        work.loop(*work.args, team, (k + number) % count, count)
