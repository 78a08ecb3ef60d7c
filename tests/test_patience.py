"""When "auto" begins with compiled engines: never before their machine code is there, and nobody waits for it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scratchnet.engines import Patience
from scratchnet.files import machine_code
from scratchnet_kernels import warm

import conftest
from sequence_problems import needs_compiler, python


@pytest.fixture
def began(monkeypatch, tmp_path):
    """No work yet, an empty folder for machine code, and a list of processes that were begun."""
    begun = []

    class Process:
        def __init__(self, command, **options):
            begun.append((command, options))

    monkeypatch.setattr(machine_code, "ready", conftest.READY)
    monkeypatch.setattr(Patience, "enough", 1.0)
    monkeypatch.setattr(Patience, "done", 0.0)
    monkeypatch.setattr(Patience, "again", {})
    monkeypatch.setattr(machine_code, "_found", set())
    monkeypatch.setattr(machine_code, "_tried", set())
    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    return begun


def marker(job="lstm", dtype="float32"):
    return machine_code.cache_root() / "ready" / f"{machine_code.sources()}-{job}-{dtype}"


def passes(count, job="lstm", dtype="float32"):
    """Which of so many passes, of an eighth of a second each, array operations compute."""
    return [Patience.lasts(1 / 8, job, dtype) for _ in range(count)]


def test_where_machine_code_is_kept_kernels_begin_after_a_second(began):
    marker().parent.mkdir(parents=True)
    marker().touch()
    assert passes(30) == [True] * 8 + [False] * 22
    assert Patience.done == 1.0  # the kernels' work is not counted
    assert not began


def test_where_it_is_not_another_process_compiles_and_this_one_goes_on(began):
    assert passes(12) == [True] * 12
    (command, options) = began.pop()
    assert command[0] == sys.executable
    assert command[-3:] == ["lstm", "float32", str(marker())]
    assert Path(options["cwd"]).is_dir()
    assert str(Path(machine_code.__file__).parents[2]) in options["env"]["PYTHONPATH"].split(os.pathsep)
    marker().touch()
    assert passes(10) == [True] * 4 + [False] * 6  # it looks again when the work has doubled
    assert not began
    assert passes(3) == [False] * 3


def test_one_process_compiles_a_job_however_many_ask(began):
    passes(100)
    Patience.again.clear()  # as if this were another process
    passes(10)
    assert len(began) == 1
    note = marker().with_suffix(".begun")
    long_ago = time.time() - machine_code.COMPILING - 1
    os.utime(note, (long_ago, long_ago))  # it never came to an end: this one does not try again, another one does
    assert passes(300)[-1] is False
    assert len(began) == 1
    machine_code._tried.clear()
    machine_code._found.clear()
    Patience.again.clear()
    passes(1)
    assert len(began) == 2


def test_each_cell_and_type_is_waited_for_on_its_own(began):
    marker().parent.mkdir(parents=True)
    marker().touch()
    passes(10)
    assert passes(2, "gru") == [True, True]
    assert passes(2, "lstm", "float64") == [True, True]
    assert passes(2) == [False, False]
    assert [command[-3:-1] for command, _ in began] == [["gru", "float32"], ["lstm", "float64"]]


@pytest.mark.parametrize("why", ["a frozen program", "no folder", "no process"])
def test_where_no_other_process_can_this_one_compiles_after_twenty_seconds(began, why, monkeypatch, tmp_path):
    def refused(*args, **options):
        raise OSError(why)

    if why == "a frozen program":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    elif why == "no folder":
        (tmp_path / "file").touch()
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    else:
        monkeypatch.setattr(subprocess, "Popen", refused)
        monkeypatch.setattr(Path, "touch", refused)
    lasted = passes(300)
    assert lasted.index(False) == 8 * 32  # it looks after 1, 2, 4, ... 32 seconds
    assert not any(lasted[8 * 32 :])
    assert not began


def test_nothing_is_waited_for_without_numba_or_without_compiling(began, monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert passes(9)[-1] is False
    monkeypatch.delenv("NUMBA_DISABLE_JIT")
    machine_code._found.clear()
    assert passes(1) == [True]
    began.clear()
    monkeypatch.setattr(machine_code, "find_spec", lambda name: None if name == "numba" else name)
    monkeypatch.setattr(Patience, "again", {})
    assert passes(1) == [False]
    assert not began


def test_a_version_that_is_not_known_stops_no_training(began, monkeypatch):
    def unknown():
        raise machine_code.metadata.PackageNotFoundError("numba")

    monkeypatch.setattr(machine_code, "sources", unknown)
    assert passes(300).index(False) == 8 * 32
    assert not began


def test_arrays_on_a_device_are_not_waited_for(began):
    class Device:
        shape, dtype = (10**6, 256, 256), np.dtype(np.float32)

    assert Patience.engine("lstm", "auto", Device(), 512, 4) == "auto"
    assert Patience.done == 0
    assert not began


@pytest.mark.parametrize("job", ["lstm_norm", "a cell of a notebook"])
def test_what_has_no_kernel_is_ready_at_once(job, tmp_path):
    warm.main(job, "float32", str(tmp_path / "marker"))
    assert (tmp_path / "marker").exists()


FIRST_RUN = """
import sys, time
import numpy as np
from scratchnet.layers import LSTM
from scratchnet.engines import Patience
from scratchnet.files import machine_code
rng = np.random.default_rng(0)
layer, x = LSTM(2, 3, rng=rng, dtype=np.float32), np.ones((1000, 1, 2), np.float32)
def engines(work):
    Patience.done = work
    return layer.forward(x)[1].engines[0].name
started = time.perf_counter()
print(engines(0.0), engines(1.0), "numba" in sys.modules)
assert time.perf_counter() - started < 5
marker = machine_code.cache_root() / "ready" / f"{machine_code.sources()}-lstm-float32"
while not marker.exists():
    assert time.perf_counter() - started < 200
    time.sleep(0.1)
print(engines(1.5), engines(2.0))
"""


@needs_compiler
def test_a_first_run_on_a_machine(tmp_path):
    """Another process compiles all that the layer's forward needs: nothing is compiled here."""
    printed, said = python(FIRST_RUN, NUMBA_CACHE_DIR=str(tmp_path))
    assert printed.splitlines() == ["array array False", "array sequence"]
    assert said == ""
    assert not list((tmp_path / "scratchnet" / "ready").glob("*.begun"))
