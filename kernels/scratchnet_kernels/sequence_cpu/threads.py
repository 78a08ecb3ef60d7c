"""Threads that wait for a task: what a ThreadPoolExecutor does, for one caller at a time.

A pass of a small model takes less than a millisecond, and waking a sleeping thread is a part of
that. So a worker that has ended its task waits awake for the next one, for a moment, and so does
the caller for its workers (``awake.py``); then they sleep, and the processors are others'. Locks
say what is done; the flags besides only keep a thread awake.

Measured on two cores (``benchmarks/parts.py``), microseconds for two tasks of 100 us: 216 with an
executor, 133 with these threads and 200 in turn; for two of 20 us: 49 with an executor, 35 with
these threads and 37 in turn.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from threading import Lock, Thread

import numpy as np

from scratchnet_kernels.sequence_cpu.awake import wait_awake

Task = Callable[[], None]

AWAKE = 300e-6  # seconds
# A worker that sees its task too soon finds the caller still holding the GIL, on the way into its
# own task, and is put to sleep.
LATER = 15e-6
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
                self.task()
            except BaseException as error:
                self.error = error
            self.task = _nothing  # its arrays are the caller's
            self.done.release()

    def start(self, task: Task) -> None:
        """Begin with a task."""
        self.error, self.task = None, task
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


class Crew:
    """The workers of this process, for one caller at a time."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self.taken = Lock()

    def run(self, tasks: Sequence[Task]) -> None:
        """Run all tasks, the first one in the caller's thread.

        Raises the first exception, after all have ended. Where another thread of the caller has the
        workers, this one runs its tasks alone: the processors are busy.
        """
        if len(tasks) == 1 or not self.taken.acquire(blocking=False):
            for task in tasks:
                task()
            return
        errors: list[BaseException | None] = []
        try:
            while len(self.workers) < len(tasks) - 1:
                self.workers.append(Worker())
            started = []
            try:
                for worker, task in zip(self.workers, tasks[1:]):
                    worker.start(task)
                    started.append(worker)
                tasks[0]()
            finally:
                errors += [worker.wait() for worker in started]
        finally:
            self.taken.release()
        for error in errors:
            if error is not None:
                raise error


def _nothing() -> None:
    pass


crew = Crew()


def _forked() -> None:
    """In the child of a fork only the forking thread goes on."""
    global crew
    crew = Crew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def run(tasks: Sequence[Task]) -> None:
    """Run tasks side by side; see ``Crew.run``."""
    crew.run(tasks)


def available() -> int:
    """The processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
