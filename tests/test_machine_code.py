"""Machine code of the ``sequence`` engine on the CPU: kept on disk until a file that it is made of changes, and no longer."""

import os
import re
import shutil
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scratchnet import elementwise
from scratchnet.files import machine_code
from scratchnet_kernels import compiled

from sequence_problems import EVERY_CELL, ROOT, needs_compiler, python

RNN_STEP = """
import numpy as np
from scratchnet.layers import RNN
for kind in ("tanh", "relu"):
    layer = RNN(1, 1, kind, rng=np.random.default_rng(0), engine="sequence", dtype=np.float32)
    for p in layer.params.values():
        p[...] = 1
    print(layer.forward(np.full((1, 1, 1), -0.5, np.float32))[0].item())
"""


@needs_compiler
def test_machine_code_is_kept_until_the_math_changes(tmp_path):
    """Compiled once, said so, found again by another process; and never used for another text of the cell's file."""
    shutil.copytree(ROOT / "scratchnet", tmp_path / "scratchnet", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "kernels", tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    run_it = partial(python, RNN_STEP, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    first, said = run_it(PYTHONHASHSEED="1")
    assert np.allclose([float(v) for v in first.split()], [np.tanh(0.5), 0.5])  # -0.5 + 1
    lines = said.splitlines()
    assert len(lines) == 1  # the loop over time
    assert all(
        re.fullmatch(r"scratchnet: compiling \w+\.\w+ for float32, and keeping it for the next time", line)
        for line in lines
    )
    assert run_it(PYTHONHASHSEED="2") == (first, "")
    cell = tmp_path / "scratchnet" / "cells" / "rnn.py"
    text = cell.read_text(encoding="utf-8")
    assert text.count("return np.tanh(a)") == 1
    cell.write_text(text.replace("return np.tanh(a)", "return np.tanh(a + a)"), encoding="utf-8")
    edited, said = run_it()
    assert np.allclose([float(v) for v in edited.split()], [np.tanh(1.0), 0.5])
    assert said.splitlines() == lines
    assert run_it() == (edited, "")
    folders = sorted((tmp_path / "cache" / "scratchnet").iterdir())
    assert len(folders) == 2
    old = time.time() - 2 * compiled.UNUSED
    for folder in folders:
        os.utime(folder, (old, old))
    assert run_it() == (edited, "")  # removes what has not been used for long, and not its own
    assert len(list((tmp_path / "cache" / "scratchnet").iterdir())) == 1


@needs_compiler
@pytest.mark.parametrize("damage", [b"", b"\x80\x04", b"not a pickle"])
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_damaged_machine_code_is_compiled_again(tmp_path, kind, damage):
    """A file cut short, by a full disk or a kill, failed every forward pass from then on."""
    run_it = partial(python, RNN_STEP, NUMBA_CACHE_DIR=str(tmp_path))
    right, _ = run_it()
    for file in tmp_path.rglob(f"*.{kind}"):
        file.write_bytes(damage)
    again, said = run_it()
    assert again == right
    assert said.count("compiling") == 1
    assert run_it() == (right, "")


@needs_compiler
def test_processes_that_compile_at_once_do_not_confuse_each_other(tmp_path):
    """Two types at once, in four processes, with nothing kept yet: what is kept then is right for both."""
    code = """
import sys
import numpy as np
from scratchnet.layers import RNN
for dtype in sys.argv[1:]:
    layer = RNN(2, 3, rng=np.random.default_rng(0), engine="sequence", dtype=np.dtype(dtype))
    y, cache = layer.forward(np.ones((3, 2, 2), dtype))
    print(dtype, y.dtype, float(y.sum()), float(layer.backward(y, cache).sum()))
"""
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}", "NUMBA_CACHE_DIR": str(tmp_path)}
    start = partial(subprocess.Popen, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    orders = [("float32", "float64"), ("float64", "float32")] * 2
    running = [start([sys.executable, "-c", code, *order]) for order in orders]
    printed = [sorted(process.communicate(timeout=200)[0].splitlines()) for process in running]
    assert all(lines == printed[0] and len(lines) == 2 for lines in printed)
    after = start([sys.executable, "-c", code, *orders[0]])
    out, said = after.communicate(timeout=200)
    assert (sorted(out.splitlines()), said) == (printed[0], "")


@needs_compiler
def test_a_second_process_compiles_nothing():
    """Of any cell, in either type, in the user's own folder."""
    assert python(EVERY_CELL)[0] == "equal\n"
    assert python(EVERY_CELL, PYTHONHASHSEED="3") == ("equal\n", "")


def test_a_debugger_can_enter():
    """With NUMBA_DISABLE_JIT=1 Python runs the loops themselves; nothing is compiled, nothing said."""
    assert python(EVERY_CELL, NUMBA_DISABLE_JIT="1") == ("equal\n", "")


@needs_compiler
def test_a_folder_that_cannot_be_written(tmp_path):
    """A home and a package that are read-only, or no home at all: each process compiles for itself, and says nothing."""
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    for place in (blocked, Path(os.devnull)):
        printed, said = python(RNN_STEP, NUMBA_CACHE_DIR=str(place))
        assert np.allclose([float(v) for v in printed.split()], [np.tanh(0.5), 0.5])
        assert said == ""


@needs_compiler
def test_a_full_disk(monkeypatch, tmp_path):
    """Machine code that cannot be saved runs all the same."""

    def add_one(a):
        for i in range(len(a)):
            a[i] += 1

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    a = np.zeros(3)
    compiled.kept(add_one)(a)
    assert a.tolist() == [1, 1, 1]


@needs_compiler
def test_an_error_of_the_loop_itself_is_the_callers(monkeypatch, tmp_path):
    def broken(a):
        return a.no_such_thing

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    with pytest.raises(Exception, match="no_such_thing"):
        compiled.kept(broken)(np.zeros(3))


def test_the_users_own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert machine_code.cache_root() == tmp_path / "scratchnet"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    for platform, variable in (("linux", "XDG_CACHE_HOME"), ("win32", "LOCALAPPDATA")):
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setenv(variable, str(tmp_path / variable))
        assert machine_code.cache_root() == tmp_path / variable / "scratchnet"
        monkeypatch.delenv(variable)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    assert machine_code.cache_root() == tmp_path / ".cache" / "scratchnet"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert machine_code.cache_root() == tmp_path / "Library" / "Caches" / "scratchnet"

    def nowhere():
        raise RuntimeError("could not determine home directory")

    monkeypatch.setattr(Path, "home", nowhere)
    with compiled._folder("float32") as folder:
        assert folder is None


@needs_compiler
def test_numbas_own_folder_is_left_alone():
    """A user's cached functions stay where they are."""
    before = compiled.numba.config.CACHE_DIR
    with compiled._folder("float32"):
        assert before != compiled.numba.config.CACHE_DIR
    assert before == compiled.numba.config.CACHE_DIR


ONCE = """
import numpy as np
from scratchnet_kernels.sequence_cpu import gru, gru_reset_before, lstm, product, rnn
from calls import pair
from sequence_problems import problem, run
for name in ("rnn", "lstm", "gru", "gru_reset_before"):
    for dtype in ("float32", "float64"):
        call, arriving, lengths = problem(name, dtype, 3, 4, 2, 5, ragged=True)
        locked = [np.asfortranarray(a) for a in call + arriving]
        for a in locked:
            a.flags.writeable = False
        both = pair(name, call[0], 5, "sequence")
        run(*both, call, arriving, None, {})
        run(*both, locked[: len(call)], locked[len(call) :], lengths, {})
loops = [product.gradients]
loops += [loop for file in (rnn, lstm, gru, gru_reset_before) for loop in (file.forward_part, file.backward_part)]
for loop in loops:
    made = loop.__closure__[[*loop.__code__.co_freevars].index("loops")].cell_contents
    print({dtype: (len(one.signatures), one.targetoptions["nogil"]) for dtype, one in sorted((str(k), v) for k, v in made.items())})
"""


@needs_compiler
def test_each_loop_is_compiled_once_for_each_type():
    """Whatever memory order or permission the caller's arrays have; and it releases the GIL."""
    printed = set(python(ONCE)[0].splitlines())
    assert printed == {"{'float32': (1, True), 'float64': (1, True)}"}


def test_compiled_code_is_made_again_when_a_file_of_it_changes(tmp_path, monkeypatch):
    """Every cell, the elementwise functions they share, and the kernels: a stale loop would go on with the old math."""
    library = shutil.copytree(Path(elementwise.__file__).parent, tmp_path / "scratchnet")
    package = shutil.copytree(Path(compiled.__file__).parent, tmp_path / "scratchnet_kernels")
    monkeypatch.setattr(machine_code, "__file__", str(library / "files" / "machine_code.py"))
    monkeypatch.setattr(machine_code, "find_spec", lambda name: SimpleNamespace(origin=str(package / "__init__.py")))
    keys = (
        compiled.sources.__wrapped__,
        machine_code.sources.__wrapped__,
    )  # without the answers that are kept for the process
    key = lambda: tuple(make() for make in keys)  # noqa: E731
    files = [library / "elementwise.py", library / "adam.py", *(library / "cells").glob("*.py"), *package.rglob("*.py")]
    assert len({file.name for file in files}) > 12
    seen = {*key()}
    for file in files:
        file.chmod(file.stat().st_mode | stat.S_IWUSR)
        file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        assert not seen & {*key()}, file
        seen |= {*key()}
    (library / "losses.py").write_text("", encoding="utf-8")
    assert seen >= {*key()}


@needs_compiler
def test_what_is_compiled_is_known_by_the_text_that_was_loaded():
    """Not by the file as it is when a loop is first called: by then somebody may have edited it, and Python has the old one."""
    code = """
from scratchnet_kernels import compiled
print(compiled.sources.cache_info().currsize)
"""
    assert python(code)[0] == "1\n"


TOGETHER = """
import threading
import numpy as np
from scratchnet_kernels.sequence_cpu import work
from scratchnet.layers import RNN
work.WORTH_A_THREAD = 1
work.by_units = lambda *_: BY_UNITS
layer = RNN(2, 30, rng=np.random.default_rng(0), engine="sequence", threads=2)
y, cache = layer.forward(np.ones((3, 8, 2)))
layer.backward(y, cache)
"""


@needs_compiler
@pytest.mark.parametrize("by_units", [False, True])
def test_two_threads_that_need_a_loop_compile_it_once(by_units, tmp_path):
    """The second waits for the first to compile, not to run: in a loop the two wait for each other."""
    _, said = python(TOGETHER.replace("BY_UNITS", str(by_units)), NUMBA_CACHE_DIR=str(tmp_path))
    lines = said.splitlines()
    assert len(lines) == len(set(lines)) == 4
