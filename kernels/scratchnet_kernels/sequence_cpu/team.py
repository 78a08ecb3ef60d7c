"""A team: the threads that compute one pass together. Which part is whose, and where they wait.

With enough sequences each thread takes some *rows*, through all of time, and waits for nobody: the
sequences of a batch are independent. With few sequences and a large W_h each thread takes some
*units* of all sequences instead. It then reads only its own columns of W_h, which stay in the cache
of its processor, but needs the h of the other units at the next step: the threads meet at every
step.

A team is an array of int64, with a cache line for each thread, where it says how many meetings it
has come to, and one for all: whether one has given up, and how the work is shared.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scratchnet.arrays import Array
from scratchnet_kernels.compiled import compiled
from scratchnet_kernels.sequence_cpu.awake import breathe, give_way, peek, signal

LINE = 8  # numbers in a cache line
GIVEN_UP, BY_UNITS = 0, 1  # places; thread k's is (k + 1) LINE
PATIENCE = 2000  # looks, after which others may have the processor


def new_team(count: int, by_units: bool) -> Array:
    """A team of so many threads, none of which has been anywhere."""
    team = np.zeros((count + 1) * LINE, np.int64)
    team[BY_UNITS] = by_units
    return team


def give_up(teams: Sequence[Array]) -> None:
    """Let no thread wait for this one any more."""
    for team in teams:
        team[GIVEN_UP] = 1


class Part(NamedTuple):
    """What one thread computes: some rows and some units, of which one is all there are."""

    k: int  # the thread
    threads: int  # how many
    by_units: bool
    first_row: int
    last_row: int
    first: int  # unit
    last: int


@compiled
def share(n: int, multiple: int, k: int, count: int) -> tuple[int, int]:
    """First and last of thread k's part of range(n), cut at multiples of this number."""
    blocks = -(-n // multiple)
    return min(blocks * k // count * multiple, n), min(blocks * (k + 1) // count * multiple, n)


@compiled
def part_of(N: int, H: int, lanes: int, team: Array, k: int, count: int) -> Part:
    """Thread k's part of N rows and H units."""
    if count > 1 and team[BY_UNITS] != 0:
        first, last = share(H, lanes, k, count)
        return Part(k, count, True, 0, N, first, last)
    first, last = share(N, 1, k, count)
    return Part(k, count, False, first, last, 0, H)


@compiled
def meet(team: Array, part: Part) -> bool:
    """Wait until all threads have come to as many meetings as this one.

    False where one of them has given up: the caller ends, its result is not needed.
    """
    mine = (part.k + 1) * LINE
    meeting = team[mine] + 1
    signal(team, mine, meeting)
    for other in range(part.threads):
        looks = 0
        while peek(team, (other + 1) * LINE) < meeting:
            if peek(team, GIVEN_UP) != 0:
                return False
            looks += 1
            if looks < PATIENCE:
                breathe()
            else:  # the other one is not running: its processor may be this one
                give_way()
    return True
