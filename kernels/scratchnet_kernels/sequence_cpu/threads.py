"""Threads that wait for a task: what a ThreadPoolExecutor does, for one caller at a time.

A pass of a small model takes less than a millisecond, and waking a sleeping thread is a part of
that. So a worker that has ended its task waits awake for the next one, for a moment, and so does
the caller for its workers (``awake.py``); then they sleep, and the processors are others'. Locks
say what is done; the flags besides only keep a thread awake.

Where another program uses a processor too, a thread on it stands still for milliseconds, and all
others wait. A thread notices: more time has passed than it has computed. Then the caller works
alone for a while, with the same result.

Measured on two cores (``benchmarks/parts.py``), microseconds for two tasks of 100 us: 244 with an
executor, 147 with these threads and 189 in turn; for two of 20 us: 71 with an executor, 44 with
these threads and 38 in turn.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from threading import Lock, Thread

import numpy as np

from scratchnet_kernels.sequence_cpu.awake import wait_awake

Task = Callable[[], None]
Parts = Callable[[int, int], None]  # of (k, count): what thread k of so many does

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a Linux container: microseconds, and in how many
AWAKE = 300e-6  # seconds
# A worker that sees its task too soon finds the caller still holding the GIL, on the way into its
# own task, and is put to sleep.
LATER = 15e-6
# Seconds, and share of its time, in which a task did not compute: its processor was another's.
STOLEN, LARGE_SHARE = 500e-6, 0.2
ALONE, LONGEST = 0.005, 1.0  # seconds to work alone then: at first, and when it goes on
EXACT_CLOCK = time.get_clock_info("thread_time").resolution < STOLEN  # not so on Windows
# flags: the worker has ended its task; it has another one; the caller waits, which nobody asks
RESTS, BEGIN, CALLER = 0, 1, 2


@cache
def looks() -> tuple[int, int]:
    """How often a thread looks at a flag in AWAKE and in LATER seconds."""
    flags = np.zeros(3, np.int64)
    wait_awake(flags, RESTS, BEGIN, 1, 1)  # compiles
    started = time.perf_counter()
    wait_awake(flags, RESTS, BEGIN, 10_000, 0)
    one = (time.perf_counter() - started) / 10_000
    return round(AWAKE / one), round(LATER / one)


class Worker:
    """A thread that runs one task at a time."""

    def __init__(self) -> None:
        self.task: Task = _nothing
        self.error: BaseException | None = None
        self.stolen = False
        self.flags = np.zeros(3, np.int64)
        self.begin, self.done = Lock(), Lock()
        self.begin.acquire()
        self.done.acquire()
        looks()
        Thread(target=self._loop, name="scratchnet", daemon=True).start()

    def _loop(self) -> None:
        while True:
            wait_awake(self.flags, RESTS, BEGIN, *looks())
            self.begin.acquire()
            self.flags[BEGIN] = 0
            try:
                self.stolen = stolen(self.task)
            except BaseException as error:
                self.error = error
            self.task = _nothing  # its arrays are the caller's
            self.done.release()

    def start(self, task: Task) -> None:
        """Begin with a task."""
        self.error, self.stolen, self.task = None, False, task
        self.flags[RESTS], self.flags[BEGIN] = 0, 1
        self.begin.release()

    def wait(self) -> BaseException | None:
        """Return when the task has ended: its exception, or one that interrupted the waiting."""
        interrupted: BaseException | None = None
        while True:
            try:
                wait_awake(self.flags, CALLER, RESTS, looks()[0], 0)
                self.done.acquire()
                return interrupted or self.error
            except BaseException as error:  # Ctrl-C: the task still writes to the caller's arrays
                interrupted = error


def stolen(task: Task) -> bool:
    """Run a task. Whether its processor was another's for much of the time."""
    passed, computed = time.perf_counter(), time.thread_time()
    task()
    passed, computed = time.perf_counter() - passed, time.thread_time() - computed
    return EXACT_CLOCK and passed - computed > max(STOLEN, LARGE_SHARE * passed)


class Crew:
    """The workers of this process, for one caller at a time."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self.taken = Lock()
        self.alone_until = 0.0
        self.alone = ALONE

    def run(self, count: int, part: Parts, give_up: Task) -> None:
        """Run ``count`` parts at the same time, the first one in the caller's thread.

        Parts may wait for each other; ``give_up`` says that one has ended early. Raises the first
        exception, after all have ended. Where another thread of the caller has the workers, or
        another program a processor, this one does everything alone.
        """
        alone = count == 1 or time.perf_counter() < self.alone_until
        if alone or not self.taken.acquire(blocking=False):
            part(0, 1)
            return
        busy = False
        errors: list[BaseException | None] = []
        started = []
        try:
            while len(self.workers) < count - 1:
                self.workers.append(Worker())
            try:
                for k, worker in enumerate(self.workers[: count - 1], 1):
                    worker.start(partial(_guarded, part, give_up, k, count))
                    started.append(worker)
                busy = stolen(partial(part, 0, count))
            except BaseException:
                give_up()
                raise
            finally:
                errors += [worker.wait() for worker in started]
            self._remember(busy or any(worker.stolen for worker in started))
        finally:
            self.taken.release()
        for error in errors:
            if error is not None:
                raise error

    def _remember(self, busy: bool) -> None:
        """Work alone for a while where a processor was busy, each time for twice as long."""
        if busy:
            self.alone_until = time.perf_counter() + self.alone
        self.alone = min(2 * self.alone, LONGEST) if busy else max(self.alone / 2, ALONE)


def _guarded(part: Parts, give_up: Task, k: int, count: int) -> None:
    try:
        part(k, count)
    except BaseException:
        give_up()
        raise


def _nothing() -> None:
    pass


crew = Crew()


def _forked() -> None:
    """In the child of a fork only the forking thread goes on."""
    global crew
    crew = Crew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def run(count: int, part: Parts, give_up: Task) -> None:
    """Run ``count`` parts side by side; see ``Crew.run``."""
    crew.run(count, part, give_up)


def available() -> int:
    """The processors this process may use; in a container, those whose time it is given."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), given())
    return min(os.cpu_count() or 1, given())


@cache
def given() -> int:
    """The processors whose time this process is given."""
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()
        return max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # no container, or "max"
        return sys.maxsize
