"""What needs a GPU is skipped, and never fails, where CuPy is missing, broken, or finds no GPU; a fake CuPy says which."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from scratchnet.commands import doctor
from scratchnet.files.machine import why_no_gpu

from calls import python

ROOT = Path(__file__).parent.parent
PATHS = (ROOT, ROOT / "kernels", ROOT / "course" / "students", ROOT / "course" / "instructors")
NO_DEVICE = "raise RuntimeError('cudaErrorNoDevice: no CUDA-capable device is detected')"
TOO_OLD = (
    "raise RuntimeError('cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version')"
)
# What `import cupy` runs, and the sentence.
RUNTIME = "class cuda:\n class runtime:\n  @staticmethod\n  def getDeviceCount():\n   "
CUPYS = {
    "broken": (
        "raise ImportError('''\n====\nFailed to import CuPy.\nmore\n''')",
        r"CuPy cannot be imported \(ImportError: Failed to import CuPy\.\): install it again",
    ),
    "half removed": (
        "import cupy_backends_missing",
        r"CuPy cannot be imported \(ModuleNotFoundError: .*backends_missing",
    ),
    "crashing": ("raise OSError('libcuda.so.1: file too short')", r"CuPy cannot be imported \(OSError: libcuda"),
    "no device": (RUNTIME + NO_DEVICE, r"CuPy finds no NVIDIA GPU \(RuntimeError: cudaErrorNoDevice: .*as new"),
    "old driver": (
        RUNTIME + TOO_OLD,
        r"CuPy finds no NVIDIA GPU \(RuntimeError: cudaErrorInsufficientDriver: .*as new",
    ),
    "none counted": (RUNTIME + "return 0", r"CuPy finds no NVIDIA GPU: a driver is installed, but no GPU is there"),
    "warning": (
        "import warnings; warnings.warn('CUDA path could not be detected')\n" + RUNTIME + "return 0",
        "no GPU is",
    ),
}


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Puts a CuPy on the path whose file has this content."""
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.syspath_prepend(tmp_path)

    def write(content):
        (tmp_path / "cupy.py").write_text(content, encoding="utf-8")
        return tmp_path

    yield write
    sys.modules.pop("cupy", None)


@pytest.mark.parametrize("kind", CUPYS)
def test_why_there_is_no_gpu(kind, fake):
    content, sentence = CUPYS[kind]
    fake(content)
    assert re.search(sentence, why_no_gpu())
    assert "\n" not in why_no_gpu()


def test_cupy_may_be_missing_or_find_a_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert why_no_gpu().startswith("CuPy is not installed; with an NVIDIA GPU: pip install cupy-cuda12x")
    found = SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=lambda: 1)))
    monkeypatch.setitem(sys.modules, "cupy", found)
    assert why_no_gpu() is None


MISSING = (
    "optuna",
    "torch",
    "sklearn",
    "statsmodels",
    "scipy",
    "mpmath",
    "hypothesis",
    "nbclient",
    "selenium",
    "jupytext",
)


def run_gpu_tests(fake, content, *arguments):
    """``pytest -m gpu`` beside such a CuPy, with no extra installed."""
    folder = fake(content)
    for name in MISSING:
        (folder / f"{name}.py").write_text(f'raise ModuleNotFoundError("No module named {name}")', encoding="utf-8")
    path = os.pathsep.join(map(str, (folder, *PATHS)))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "gpu",
        "-rs",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
    ]
    return subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        timeout=300,
    )


def test_gpu_tests_skip_where_cupy_finds_no_gpu(fake):
    """All of them, and no other test is collected: no extra is needed for that."""
    done = run_gpu_tests(fake, CUPYS["no device"][0])
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"needs a GPU: CuPy finds no NVIDIA GPU \(RuntimeError: cudaErrorNoDevice", done.stdout)
    skipped = int(re.search(r"(\d+) skipped", done.stdout)[1])
    assert skipped > 100
    assert not re.search(r"\d+ (passed|failed|error)", done.stdout)


def test_gpu_tests_run_where_cupy_counts_one(fake):
    """The decision can be wrong: with a GPU that is only counted, a test runs, and fails."""
    done = run_gpu_tests(fake, RUNTIME + "return 1", "tests/test_gpu.py", "-k", "test_losses")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"\d+ failed", done.stdout)
    assert "skipped" not in done.stdout


# ---- scratchnet doctor -------------------------------------------------------------------------------------------------

needs_numba_cuda = pytest.mark.skipif(
    find_spec("numba_cuda") is None, reason="needs numba-cuda: pip install numba-cuda"
)
CHECKED = ["numba-cuda", "NVVM", "nvJitLink", "driver", "compiling", "launching"]


def examined(tmp_path, monkeypatch, **files):
    """What the doctor finds of CUDA with these files first on the path."""
    for name, content in files.items():
        path = tmp_path.joinpath(*name.split("__in__")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return {finding.what: finding for finding in doctor.kernels()[1:]}


@needs_numba_cuda
def test_the_doctor_says_what_cuda_lacks(tmp_path, monkeypatch):
    """With NVIDIA's libraries or without, a line for each part; CuPy is there and finds no GPU."""
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")  # is not passed on: the simulator needs none of it
    found = examined(tmp_path, monkeypatch, cupy=CUPYS["no device"][0])
    assert list(found) == CHECKED
    assert found["numba-cuda"].works
    assert not found["launching"].works
    assert found["launching"].detail.startswith("left out. CuPy finds no NVIDIA GPU (RuntimeError: cudaErrorNoDevice")
    assert found["compiling"].works == found["NVVM"].works
    for finding in found.values():
        assert finding.works or "pip install" in finding.detail or "driver" in finding.detail
        assert "did not end" not in finding.detail


@needs_numba_cuda
def test_the_doctor_outlives_broken_libraries(tmp_path, monkeypatch):
    found = examined(tmp_path, monkeypatch, cuda__in____init__="raise OSError('libcuda.so: file too short')")
    assert list(found) == CHECKED
    for what in ("NVVM", "nvJitLink"):
        assert re.fullmatch(
            r"pip install 'numba-cuda\[cu12\]'.* \(OSError: libcuda\.so: file too short\)", found[what].detail
        )
    assert found["driver"].detail.startswith("a GPU needs NVIDIA's driver, from nvidia.com")
    assert [what for what in CHECKED if found[what].works] == ["numba-cuda"]


@needs_numba_cuda
@pytest.mark.parametrize("way", ["os.abort()", "time.sleep(60)"])
def test_the_doctor_outlives_a_crash_and_a_block(way, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "CHECK_SECONDS", 10.0)
    found = examined(tmp_path, monkeypatch, cuda__in____init__="", cuda__in__pathfinder=f"import os, time; {way}")
    assert list(found) == ["numba-cuda", "NVVM"]
    assert found["NVVM"] == doctor.Finding("NVVM", False, "the check did not end: a library crashed or blocked")


def test_the_doctor_says_so_where_the_check_does_not_begin(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: True)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert doctor._cuda() == [doctor.Finding("CUDA", False, "the check ended with exit code 1")]


@needs_numba_cuda
def test_a_driver_older_than_the_compiler_is_told():
    code = """
import json
from scratchnet_kernels.check_cuda import require_driver
require_driver(13000, 13), require_driver(13020, 12), require_driver(12040, 0)
try:
    require_driver(12040, 13)
except RuntimeError as error:
    print(json.dumps(str(error)))
"""
    assert json.loads(python(code)) == (
        "the driver is for CUDA 12.4, and the compiler is of CUDA 13: pip install 'numba-cuda[cu12]', or install a newer driver"
    )
