"""What the tests share: a seeded generator, and the cells with all their options."""

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

# Two test processes with a BLAS thread for each core each fight for two cores; set before NumPy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from scratchnet.cells import variants
from scratchnet.engines import Patience
from scratchnet.files import machine_code
from scratchnet.files.machine import why_no_gpu
from scratchnet.layers import GRU, LSTM, RNN

from browsers import browser, firefox, opened  # noqa: F401 (fixtures)

with suppress(ImportError):  # the tests for a GPU run without it
    from hypothesis import settings

    # The same examples in every run: a failure in CI is a failure at home.
    settings.register_profile("scratchnet", derandomize=True, deadline=None, max_examples=30)
    settings.load_profile("scratchnet")

# "auto" is the compiled engine at once: what a test computes must not depend on the tests before it, or on the disk.
Patience.enough = 0.0
READY = machine_code.ready
machine_code.ready = lambda job, dtype, alone: True

VARIANTS = [pytest.param(cell, options, id=label) for label, cell, options in variants()]
RECURRENT = {
    "rnn tanh": lambda *a, **k: RNN(*a, **k),
    "rnn relu": lambda *a, **k: RNN(*a, nonlinearity="relu", **k),
    "lstm": lambda *a, **k: LSTM(*a, **k),
    "gru": lambda *a, **k: GRU(*a, **k),
    "gru before": lambda *a, **k: GRU(*a, reset_after=False, **k),
}


# Files of few and long tests begin first, so that no process is left with one of them at the end.
LONG = (
    "test_lesson_notebooks",
    "test_cuda",
    "test_tf32",
    "test_course_tools",
    "test_wall",
    "test_demo",
    "test_lessons",
    "test_benchmarks_cpu",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file: the long ones, then the others as they are."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m gpu`` only files with such tests are imported: the others may need what is not installed."""
    if config.option.markexpr != "gpu" or not collection_path.match("test_*.py"):
        return None
    return "pytest.mark.gpu" not in collection_path.read_text(encoding="utf-8") or None


@cache
def without_gpu() -> str | None:
    """Why no test on a GPU can run; asked once."""
    return why_no_gpu()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where none can be used, before any fixture of the test."""
    if item.get_closest_marker("gpu") and (reason := without_gpu()):
        pytest.skip(f"needs a GPU: {reason}")


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def raise_on_floating_point_errors(request: pytest.FixtureRequest) -> Iterator[None]:
    """Overflow, division by zero, invalid and underflow raise, but in tests marked ``underflows``."""
    with np.errstate(all="raise", under="ignore" if request.node.get_closest_marker("underflows") else "raise"):
        yield
