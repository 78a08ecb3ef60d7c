"""Cubins are kept on disk, each process but the first loads them, and nothing wrong is ever loaded.

The compiler is the real one, and no GPU is needed. What a driver does with a cubin that was kept is not shown.
"""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs numba-cuda: pip install numba-cuda")


def run(folder, cc="90"):
    """Kernel -> (hash of its cubin, number of compilations), and what was said."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "cubins_kept.py"), cc],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(folder)},
    )
    if done.returncode and ("libnv" in done.stderr or "NvvmSupportError" in done.stderr):
        pytest.skip("needs NVIDIA's compiler libraries: pip install -e '.[ptx]'")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: digest for name, digest, _ in rows}, sum(count for *_, count in rows), done.stderr


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """What the first process prints, and its folder."""
    folder = tmp_path_factory.mktemp("cubins")
    return *run(folder), folder


@pytest.fixture
def folder(first, tmp_path):
    """A copy of the first process's folder."""
    return shutil.copytree(first[-1], tmp_path / "kept")


def test_the_second_process_compiles_nothing(first, folder):
    hashes, compiled, said, _ = first
    assert compiled >= len(hashes) == 7
    assert len(set(hashes.values())) == 7, "one kernel for two types, one for two sizes, two functions, two with PTX"
    assert said.count("compiling step_cuda.rnn.forward_kernel.fill_h, and keeping it for the next time") == 2
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*.kernel")}
    assert len(before) == 7
    assert run(folder) == (hashes, 0, "")
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()} == before


def test_another_architecture_has_cubins_of_its_own(first, folder):
    ampere, compiled, _ = run(folder, "80")
    assert compiled >= 5
    assert not set(first[0].values()) & set(ampere.values())
    assert len(list(folder.rglob("*.kernel"))) == 12
    assert run(folder)[:2] == (first[0], 0)
    assert run(folder, "80")[:2] == (ampere, 0)


def test_a_damaged_file_is_compiled_and_written_again(folder):
    files = sorted(folder.rglob("*.kernel"))
    empty, short, one_bit, *_ = files
    empty.write_bytes(b"")
    short.write_bytes(short.read_bytes()[:-100])
    content = bytearray(one_bit.read_bytes())
    content[len(content) // 2] ^= 1
    one_bit.write_bytes(content)
    found, compiled, said = run(folder)
    assert compiled >= 3
    assert said.count("compiling") == 3
    assert sorted(folder.rglob("*.kernel")) == files
    assert run(folder) == (found, 0, "")


def test_where_nothing_can_be_written_each_process_compiles(tmp_path):
    (tmp_path / "a file").write_text("")
    _, compiled, said = run(tmp_path / "a file")
    assert compiled >= 5
    assert said == ""
