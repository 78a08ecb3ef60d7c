"""Run tests again and again, each time in a fork of a process that has imported what is not ours.

Torch, SciPy, Matplotlib and pytest take four seconds to import, a mutant's tests often a tenth of one. The library itself is
imported in the fork alone, so every fork has the mutant of its moment.

Each line of standard input is a job, and each line of standard output its result, both JSON:

    tests      files of tests
    order      the tests to run, in this order, and the seconds of each; null for all tests of the files
    options    pytest's other arguments
    kernels    false if the kernels package cannot be imported
    output     the file that pytest's words are written to
    lines      the file that is told which test runs which lines; null if that is not wanted
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections import defaultdict
from pathlib import Path

import coverage
import pytest

OTHERS = (
    "_pytest.assertion.rewrite", "hypothesis.extra.numpy", "hypothesis.strategies", "matplotlib.pyplot", "mpmath", "numba",
    "numpy", "scipy.linalg", "scipy.special", "scipy.stats", "threadpoolctl", "torch", "tqdm",
)  # fmt: skip


def patience(seconds):
    """After how many seconds a test that takes ``seconds`` is in an endless loop."""
    return 10 + 10 * seconds


class Chosen:
    """A pytest plugin: only the chosen tests, in their order, each with a time limit."""

    def __init__(self, order):
        self.order = order
        self.place = {test: n for n, test in enumerate(order or ())}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        """Sort, and drop the others. A test that nobody knows is new: the mutant has changed its parameters."""
        if self.order is not None:
            dropped = [item for item in items if self.order.get(item.nodeid, 0) is None]
            items[:] = [item for item in items if self.order.get(item.nodeid, 0) is not None]
            items.sort(key=lambda item: self.place.get(item.nodeid, -1))
            config.hook.pytest_deselected(items=dropped)

    def pytest_runtest_logstart(self, nodeid):
        """Let SIGALRM end the process: no handler of Python's runs while compiled code does."""
        if self.order is not None:
            signal.setitimer(signal.ITIMER_REAL, patience(self.order.get(nodeid) or 1))


class Lines:
    """A pytest plugin: which test runs which lines, and how long it takes."""

    def __init__(self):
        self.coverage = coverage.Coverage(data_file=None, config_file=False, source=["scratchnet", "kernels"])
        self.seconds = defaultdict(float)
        self.coverage.start()

    def pytest_runtest_logstart(self, nodeid):
        """Begin with the next test."""
        self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report):
        """Add the time of a test's set-up, call or tear-down."""
        self.seconds[report.nodeid] += report.duration

    def write(self, file):
        """Write what was measured; lines that run while the files are imported have the test ""."""
        self.coverage.stop()
        data, lines = self.coverage.get_data(), {}
        for source in data.measured_files():
            lines[os.path.relpath(source)] = data.contexts_by_lineno(source)
        Path(file).write_text(json.dumps({"seconds": self.seconds, "lines": lines}))


def run(job):
    """Run the job in this process, and end it with pytest's status."""
    os.setsid()
    output = os.open(job["output"], os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if not job["kernels"]:
        sys.modules["scratchnet_kernels"] = None
    lines = Lines() if job["lines"] else None
    if not lines:
        signal.alarm(120)  # for the imports
    plugins = [Chosen(job["order"]), *([lines] if lines else [])]
    status = pytest.main([*job["options"], *job["tests"]], plugins=plugins)
    if lines:
        lines.write(job["lines"])
    sys.stdout.flush()
    os._exit(status)


def main():
    """Serve until standard input ends."""
    for name in OTHERS:
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        started = time.monotonic()
        child = os.fork()
        if not child:
            try:
                run(json.loads(line))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what the tests have started
        outcome = {0: "passed", -signal.SIGALRM: "timeout"}.get(status, "failed")
        print(json.dumps([outcome, time.monotonic() - started]), flush=True)


if __name__ == "__main__":
    main()
