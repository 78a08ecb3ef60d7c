"""Threads that wait for a task: what a ThreadPoolExecutor does, for one caller at a time.

One pass of a small model takes less than a millisecond, and waking a thread is a part of that.
Measured on two cores (``benchmarks/parts.py``), microseconds for two tasks of 100 us: 155 with an
executor, 151 with these threads and 197 in turn; for two of 20 us: 76 with an executor, 53 with
these threads and 38 in turn.
"""

import os
from collections.abc import Callable, Sequence
from threading import Lock, Thread

Task = Callable[[], None]


class Worker:
    """A thread that runs one task at a time."""

    def __init__(self) -> None:
        self.task: Task = _nothing
        self.error: BaseException | None = None
        self.begin, self.done = Lock(), Lock()
        self.begin.acquire()
        self.done.acquire()
        Thread(target=self._loop, name="scratchnet", daemon=True).start()

    def _loop(self) -> None:
        while True:
            self.begin.acquire()
            try:
                self.task()
            except BaseException as error:
                self.error = error
            self.task = _nothing  # its arrays are the caller's
            self.done.release()

    def start(self, task: Task) -> None:
        """Begin with a task."""
        self.error, self.task = None, task
        self.begin.release()

    def wait(self) -> BaseException | None:
        """Return when the task has ended: its exception, or one that interrupted the waiting."""
        interrupted: BaseException | None = None
        while True:
            try:
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
