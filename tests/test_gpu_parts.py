"""``make gpu``: parts with time limits, results written as they come, one sentence where there is no GPU.

The parts here are fakes; what the real ones do on a GPU only a GPU can show.
"""

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"
PATH = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", FOLDER)))
needs_numba_cuda = pytest.mark.skipif(
    find_spec("numba_cuda") is None, reason="needs numba-cuda: pip install numba-cuda"
)

sys.path.insert(0, str(FOLDER))  # as Python does for a program of that folder
parts, report, smoke = (importlib.import_module(name) for name in ("gpu_parts", "gpu_report", "gpu_smoke"))

# prints, starts a child that writes its number into a file, and never ends; both ignore a request to end
HANGS = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("started", flush=True)
code = "import os, pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
code += f"; pathlib.Path({sys.argv[1]!r}).write_text(str(os.getpid())); time.sleep(300)"
subprocess.run([sys.executable, "-c", code])
"""


def fake(name, code, *arguments, seconds=20.0, **more):
    return parts.Part(name, seconds, (sys.executable, "-c", code, *map(str, arguments)), **more)


def alive(pid):
    """Whether a process still runs; one that has ended and waits to be asked for its result does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def number_in(file):
    """The number a process writes into a file, once it has."""
    until = time.monotonic() + 20
    while not (file.exists() and file.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    return int(file.read_text())


def rows(out):
    return {row["part"]: row for row in json.loads((out / "parts.json").read_text(encoding="utf-8"))["parts"]}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_part_ends_at_its_limit_with_its_children(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parts, "GRACE", 0.2)
    hangs = fake("hangs", HANGS, tmp_path / "child", seconds=6)
    assert parts.run_all([hangs, fake("next", "print('ran')")], tmp_path, 60, "abc") == 1
    assert not alive(number_in(tmp_path / "child"))
    assert (tmp_path / "hangs.log").read_text() == "started\n"
    assert rows(tmp_path)["hangs"]["reason"] == "its 6 s were over, see hangs.log"
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"hangs: stopped in \d s: its 6 s were over, see hangs\.log", lines[-2])
    assert re.fullmatch(r"next: done( in \d s)?", lines[-1])


def test_what_became_of_each_part(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "GRACE", 0.2)
    several = [
        fake("right", "print('one'); print('two')"),
        fake("wrong", "raise ValueError('three')"),
        fake("nothing", f"raise SystemExit({parts.NO_GPU})"),
        fake("module", "", needs=("json", "no_such_module")),
        fake("program", "", program="no-such-program"),
        fake("variables", "import os; print(os.environ['PYTHONPATH'], 'CUDA_HOME' in os.environ)"),
    ]
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))  # it has no libraries, and is not passed on
    assert parts.run_all(several, tmp_path, 60, "abc") == 1
    found = rows(tmp_path)
    assert {name: row["status"] for name, row in found.items()} == {
        "right": "done",
        "wrong": "failed",
        "nothing": "left out",
        "module": "left out",
        "program": "left out",
        "variables": "done",
    }
    assert found["wrong"]["reason"] == "exit code 1, see wrong.log"
    assert found["module"]["reason"] == "needs no_such_module"
    assert found["program"]["reason"] == "needs no-such-program on the path"
    assert "ValueError: three" in (tmp_path / "wrong.log").read_text()
    assert (tmp_path / "variables.log").read_text() == f"{PATH} False\n"
    assert parts.run_all([several[0], several[2], several[3]], tmp_path, 60, "abc") == 0
    assert parts.run_all([several[0]], tmp_path, -1, "abc") == 0
    assert rows(tmp_path)["right"] == {
        "part": "right",
        "status": "left out",
        "reason": "the time for all parts was over",
        "seconds": 0.0,
    }


def test_results_are_written_before_the_next_part(tmp_path):
    reads = "import pathlib, sys; print(pathlib.Path(sys.argv[1]).read_text())"
    assert parts.run_all([fake("one", ""), fake("two", reads, "{out}/parts.json")], tmp_path, 60, "abc") == 0
    seen = json.loads((tmp_path / "two.log").read_text())
    assert seen["commit"] == "abc"
    assert [(row["part"], row["status"]) for row in seen["parts"]] == [("one", "done"), ("two", "not run")]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_part_and_keeps_what_is_there(number, tmp_path):
    code = """
import signal
import sys
from pathlib import Path
import gpu_parts as parts
signal.signal(signal.SIGINT, signal.default_int_handler)  # where a shell runs the tests in the background it is ignored
parts.GRACE = 0.2
out = Path(sys.argv[1])
python = lambda name, code, *more: parts.Part(name, 100.0, (sys.executable, "-c", code, *more))
several = [python("one", ""), python("hangs", sys.argv[2], str(out / "child")), python("never", "")]
sys.exit(parts.run_all(several, out, 300, "abc"))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), HANGS],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": PATH},
    )
    child = number_in(tmp_path / "child")
    assert alive(child)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert not alive(child)
    assert re.fullmatch(r"one: done( in \d s)?", printed.splitlines()[-3])
    assert printed.splitlines()[-2:] == ["hangs: stopped: interrupted", "never: not run"]
    assert [row["status"] for row in rows(tmp_path).values()] == ["done", "stopped", "not run"]


# ---- refusing ----------------------------------------------------------------------------------------------------------


def one_sentence(done):
    assert done.returncode == parts.NO_GPU == 3
    assert not done.stdout
    assert re.fullmatch(r"Nothing was run: [^\n]*pip install [^\n]+\.\n", done.stderr), done.stderr


@pytest.mark.parametrize("flag", ["-S", "-u"])  # -S: without any package, also without NumPy
def test_without_a_gpu_one_sentence_says_what_to_install(flag, tmp_path):
    if flag == "-u" and find_spec("cupy"):
        pytest.skip("CuPy is installed")
    command = [sys.executable, flag, str(FOLDER / "gpu_parts.py"), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": PATH}, cwd=tmp_path
    )
    one_sentence(done)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_gpu_says_the_sentence_and_fails(tmp_path):
    python = f"PYTHON={sys.executable} -S"
    done = subprocess.run(
        ["make", "-s", "gpu", python, f"OUT={tmp_path / 'out'}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
    )
    assert done.returncode != 0
    assert not done.stdout
    sentence, make = done.stderr.splitlines()
    assert re.fullmatch(
        r"Nothing was run: numpy is not installed: pip install -e '\.\[cuda12,torch\]' pytest.*", sentence
    )
    assert make.startswith("make: ***")
    assert not list(tmp_path.iterdir())


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        parts.main(["first", "third"])
    assert "no part is named 'third': expected first, second, smoke, clusters" in capsys.readouterr().err


def test_what_is_asked_for_is_run(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(parts, "why_not", lambda: None)
    monkeypatch.setattr(parts, "run_all", lambda several, out, seconds, commit: asked.append([p.name for p in several]))
    for what in ([], ["second"], ["tests", "smoke"]):
        parts.main([*what, "--out", str(tmp_path)])
    assert asked == [
        ["smoke", "clusters", "flagship", "tests", "racecheck", "memcheck", "all", "ladder"],
        ["racecheck", "memcheck", "all", "ladder"],
        ["tests", "smoke"],
    ]


# ---- the real parts ----------------------------------------------------------------------------------------------------


def test_the_parts_fit_ten_minutes_and_name_what_exists():
    for group in parts.PARTS.values():
        assert sum(part.seconds for part in group) <= 600
        for part in group:
            for word in part.command:
                assert not word.endswith(".py") or Path(word).is_file(), word
            if "--seconds" in part.command:  # a benchmark has time to check and to write after the last measurement
                assert float(part.command[part.command.index("--seconds") + 1]) <= part.seconds - 40


@pytest.mark.parametrize("name", ["gpu_smoke.py", "gpu_tiny.py", "gpu_clusters.py"])
def test_a_part_without_a_gpu_says_so(name):
    if name == "gpu_clusters.py" and find_spec("numba_cuda") is None:
        pytest.skip("needs numba-cuda")
    done = subprocess.run(
        [sys.executable, str(FOLDER / name)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": PATH, "CUDA_VISIBLE_DEVICES": "-1"},
    )
    assert done.returncode == parts.NO_GPU
    assert re.fullmatch(rf"benchmarks/{name} needs an NVIDIA GPU[^\n]*: CuPy [^\n]+\.\n", done.stderr)


def test_the_smoke_test_checks_and_writes(tmp_path, capsys, monkeypatch):
    """On the CPU's engine: right, and then with a kernel that is off, and one that races."""
    pytest.importorskip("numba")
    monkeypatch.setattr(smoke, "REHEARSED", smoke.CHECKED[:1])
    assert smoke.main(["--rehearse", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("0 answers are no\n")
    about, answer = map(json.loads, (tmp_path / "smoke.jsonl").read_text(encoding="utf-8").splitlines())
    assert about["numpy"]
    assert answer["question"] == "sequence rnn (3, 2, 3, 8)"
    assert answer["ok"]
    assert answer["max_error"] < 1e-5
    assert answer["poisoned"] >= 6
    for found, error in (
        ({"reason": "dW_h is off"}, "RuntimeError: dW_h is off"),
        ({"repeatable": False}, "RuntimeError: two runs differ"),
    ):
        monkeypatch.setattr(smoke, "check", lambda *arguments, found=found: found)
        assert smoke.main(["--rehearse", "--out", str(tmp_path)]) == 1
        last = json.loads((tmp_path / "smoke.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        assert (last["ok"], last["error"]) == (False, error)


@needs_numba_cuda
def test_the_cluster_program_compiles():
    done = subprocess.run(
        [sys.executable, str(FOLDER / "gpu_clusters.py"), "--compile"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": PATH},
    )
    if done.returncode and ("libnv" in done.stderr or "NvvmSupportError" in done.stderr):
        pytest.skip("needs NVIDIA's compiler libraries: pip install -e '.[ptx]'")
    assert done.returncode == 0, done.stderr + done.stdout
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row.pop("blocks") for row in found] == [2, 4, 8, 16]
    assert all(all(row.values()) for row in found)


def test_predictions_are_written_beside_measurements():
    gpu = importlib.import_module("gpu")
    estimated = {
        (row["cell"], *size, row["contender"]): row["estimated_ms"]
        for size in gpu.SIZES
        for cell in gpu.BENCHED
        for row in gpu.blanks(cell, size, report.H200)
        if row["estimated_ms"]
    }
    assert estimated["lstm", 100, 64, 64, 128, "sequence"] == 0.34
    assert estimated["gru", 100, 64, 64, 256, "sequence"] == (0.17, 0.21)
    assert estimated["lstm", 1000, 32, 8, 128, "torch.nn"] == (5, 10)
    assert len(estimated) == 8 * 3 + 2 * 2  # and sequence_tf32 at two sizes
    assert report.STEP_US["lstm", 64, 128] == (1.05, 1.1)
