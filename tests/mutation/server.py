"""Run tests again and again, each time in a fork of a process that is ready to run them.

Torch, SciPy, Matplotlib and pytest take four seconds to import, a file of tests half of one, and the tests of a mutant often a
hundredth. So there are two kinds of forks. One runs the whole of pytest, in a process that has imported all but the library. The
other begins where pytest has collected a file of tests: it replaces the code of the functions that a mutant changes. The second
is only for mutants of what has not run while the library and the tests were imported.

Each line of standard input is a job, and each line of standard output its result, both JSON:

    test       a file of tests
    order      its tests in the order in which to run them, with the seconds of each, or null for one that is left out
    options    pytest's other arguments
    kernels    "none": they cannot be imported; "compiled"; "interpreted": Numba leaves them the Python functions that they are
    output     the file that pytest's words are written to
    lines      the file that is told which test runs which lines; null if that is not wanted
    changed    the file whose functions to replace; null to import all of them again
"""

import contextlib
import gc
import importlib
import json
import math
import os
import signal
import sys
import time
import traceback
from collections import defaultdict
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import numba
import pytest
from hypothesis.internal.conjecture import engine

OTHERS = (
    "_pytest.assertion.rewrite", "hypothesis.extra.numpy", "hypothesis.strategies", "matplotlib.pyplot", "mpmath", "numpy",
    "scipy.linalg", "scipy.special", "scipy.stats", "threadpoolctl", "torch", "tqdm",
)  # fmt: skip
IMPORT = 77  # status of a process that cannot replace what has changed
LIMIT = 60  # seconds of a test without any mutant


def patience(seconds):
    """After how many seconds a test that takes ``seconds`` is in an endless loop."""
    return 10 + 10 * seconds


class Chosen:
    """A pytest plugin: only the chosen tests, in their order, each with a time limit."""

    def __init__(self, order):
        self.order = order
        self.place = {test: n for n, test in enumerate(order)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        """Sort, and drop the others. A test that nobody knows is new: the mutant has changed its parameters."""
        items[:] = [item for item in items if self.order.get(item.nodeid, 0) is not None]
        items.sort(key=lambda item: self.place.get(item.nodeid, -1))

    def pytest_runtest_logstart(self, nodeid):
        """Let SIGALRM end the process: no handler of Python's runs while compiled code does."""
        signal.setitimer(signal.ITIMER_REAL, patience(self.order.get(nodeid) or 1))


class Lines:
    """A pytest plugin: which test runs which lines, and how long it takes."""

    def __init__(self):
        signal.signal(signal.SIGALRM, self.too_slow)
        self.coverage = coverage.Coverage(data_file=None, config_file=False, source=["scratchnet", "kernels"])
        self.seconds = defaultdict(float)
        self.coverage.start()

    def pytest_runtest_logstart(self, nodeid):
        """Begin with the next test."""
        self.coverage.switch_context(nodeid)
        signal.alarm(LIMIT)

    def too_slow(self, *_):
        """End a test that has no time to be run for every mutant: compiled, it may have taken a moment."""
        raise TimeoutError

    def pytest_runtest_logreport(self, report):
        """Add the time of a test's set-up, call or tear-down; forget a test that fails."""
        signal.alarm(0)
        self.seconds[report.nodeid] += math.nan if report.outcome == "failed" else report.duration

    def write(self, file):
        """Write what was measured; lines that run while the files are imported have the test ""."""
        self.coverage.stop()
        data, lines = self.coverage.get_data(), {}
        seconds = {test: None if math.isnan(time) else time for test, time in self.seconds.items()}
        for source in data.measured_files():
            lines[os.path.relpath(source)] = data.contexts_by_lineno(source)
        Path(file).write_text(json.dumps({"seconds": seconds, "lines": lines}))


class Ready:
    """A pytest plugin: where the tests would run, wait for jobs instead, and run each in a fork."""

    def __init__(self, jobs, results):
        self.jobs, self.results = jobs, results

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        """Return in the forks alone, which then run the tests."""
        ours = [
            f
            for f in gc.get_objects()
            if isinstance(f, FunctionType) and f.__code__.co_filename.startswith(os.getcwd())
        ]
        gc.freeze()
        for line in self.jobs:
            job = json.loads(line)

            def begin(job=job):
                chosen = Chosen(job["order"])
                chosen.pytest_collection_modifyitems(session.items)
                session.config.pluginmanager.register(chosen)
                if not replace(ours, job["changed"]):
                    os._exit(IMPORT)

            result = in_fork(job, begin)
            if result is None:
                return
            print(json.dumps(result), file=self.results, flush=True)
        os._exit(0)


def replace(functions, file):
    """Give the functions that the file defines the code that it has now; False if that is not all that has changed."""

    def codes(code):
        yield code
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                yield from codes(inner)

    def name(code):
        return code.co_qualname, code.co_firstlineno

    path, new = os.path.abspath(file), defaultdict(list)
    for code in codes(compile(Path(file).read_bytes(), path, "exec")):
        new[name(code)].append(code)
    replaced = 0
    for function in functions:
        old = function.__code__
        if old.co_filename == path and old not in new[name(old)]:
            if len(new[name(old)]) != 1 or len(old.co_freevars) != len(new[name(old)][0].co_freevars):
                return False
            function.__code__ = new[name(old)][0]
            replaced += 1
    return replaced > 0


def in_fork(job, begin):
    """Run ``begin`` in a fork; there, return None; here, the outcome and the seconds when the fork has ended."""
    started = time.monotonic()
    child = os.fork()
    if not child:
        os.setsid()
        output = os.open(job["output"], os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        begin()
        return None
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what the tests have started
    return {0: "passed", IMPORT: "import", -signal.SIGALRM: "timeout"}.get(status, "failed"), time.monotonic() - started


def collect(job, *plugins):
    """Run pytest in this process, and end it with pytest's status."""
    try:
        if job["kernels"] == "none":
            sys.modules["scratchnet_kernels"] = None
        elif job["kernels"] == "interpreted":
            numba.config.DISABLE_JIT = 1
            os.environ["NUMBA_DISABLE_JIT"] = "1"  # in other processes
        status = pytest.main([*job["options"], job["test"]], plugins=plugins)
        if job["lines"]:
            plugins[0].write(job["lines"])
        sys.stdout.flush()
        os._exit(status)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def ready(job):
    """Pipes to and from a process that has collected the job's file of tests."""
    jobs, results = os.pipe(), os.pipe()
    if not os.fork():
        os.close(jobs[1])
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        collect(job, Ready(os.fdopen(jobs[0]), os.fdopen(results[1], "w")))
    os.close(jobs[0])
    os.close(results[1])
    return os.fdopen(jobs[1], "w"), os.fdopen(results[0])


def main():
    """Serve until standard input ends."""
    for name in OTHERS:
        importlib.import_module(name)
    engine.MAX_SHRINKING_SECONDS = 0  # one failure is enough, whether or not it is the simplest
    gc.freeze()
    waiting = {}
    for line in sys.stdin:
        job = json.loads(line)
        key = job["test"], job["kernels"], *job["options"]
        if job["changed"]:
            print(line, end="", file=waiting[key][0], flush=True)
            result = json.loads(waiting[key][1].readline() or "null")
        elif job["lines"] or job["order"]:
            result = in_fork(job, lambda: None)
            if result is None:
                if not job["lines"]:
                    signal.alarm(120)  # for the imports
                collect(job, Lines() if job["lines"] else Chosen(job["order"]))
        else:
            if key not in waiting:
                waiting[key] = ready(job)
            result = "ready"
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
