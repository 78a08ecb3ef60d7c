"""The benchmark beside other libraries: gate orders, its table, and one size measured for real."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scratchnet.cells import CELLS

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(FOLDER))
others = pytest.importorskip("others")
worker = pytest.importorskip("others_worker")


def test_gates_in_another_order_and_back():
    for cell, ours in worker.GATES.items():
        assert ours == CELLS[cell].GATES
        matrix = np.arange(2 * 3 * len(ours)).reshape(2, -1)
        for theirs in (worker.KERAS[cell], worker.ONNX[cell]):
            assert sorted(theirs) == sorted(ours)
            there = worker.reordered(matrix, cell, ours, theirs)
            first = ours.index(theirs[0])
            np.testing.assert_array_equal(there[:, :3], matrix[:, 3 * first : 3 * first + 3])
            np.testing.assert_array_equal(worker.reordered(there, cell, theirs, ours), matrix)


def test_a_table_names_what_is_wrong_and_what_is_missing():
    row = {"cell": "lstm", "T": 1, "B": 2, "I": 3, "H": 4, "threads": 2, "what": "forward"}
    right = {"ms": {"sequence": {"median": 0.5}}, "ratio": {"torch": {"median": 2.0}, "jax": {"median": 0.8}}}
    report = {
        "contenders": ["sequence", "torch", "jax"],
        "missing": {"keras": "not installed: keras"},
        "rows": [row | right, row | {"what": "iteration", "wrong": ["sequence", "jax"], "ms": {}, "ratio": {}}],
    }
    head, _, first, second, missing = others.table(report)
    assert head.split(" | ")[3:] == ["scratchnet, ms", "torch", "jax |"]
    assert first == "| LSTM (1, 2, 3, 4) | 2 | forward | 0.5 | 2.00 | 0.80 |"
    assert second == "| LSTM (1, 2, 3, 4) | 2 | iteration | wrong |  | wrong |"
    assert missing == "\nkeras: not installed: keras"


def test_who_is_installed(monkeypatch):
    monkeypatch.setattr(others, "find_spec", lambda name: None if name in ("jax", "onnx") else name)
    here, missing = others.installed()
    assert here == ["sequence", "torch", "torch.compile"]
    assert missing["onnxruntime"] == "not installed: onnx"
    assert missing["keras"] == missing["jax"] == "not installed: jax"


@pytest.mark.parametrize("extra", ["torch.compile", "keras", "jax", "onnxruntime"])
def test_measured_for_real(extra, tmp_path):
    """All three kinds of work, and results that agree; the first contender is always PyTorch."""
    if lacking := [m for m in ("torch", *worker.NEEDED[extra]) if find_spec(m) is None]:
        pytest.skip(f"not installed: {', '.join(lacking)}")
    if extra == "torch.compile":
        pytest.skip("compiles C++ for half a minute")
    command = [sys.executable, str(FOLDER / "others.py"), "--sizes", "3,2,2,5", "--seconds", "0.1"]
    done = subprocess.run(
        [*command, "--only", extra, "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("others_*.json")
    report = json.loads(path.read_text(encoding="utf-8"))
    works = [("lstm", "forward"), ("lstm", "training"), ("lstm", "iteration")]
    works += [(cell, what) for cell in ("gru", "rnn") for what in ("forward", "training")]
    assert [(row["cell"], row["what"]) for row in report["rows"]] == works
    for row in report["rows"]:
        assert "wrong" not in row, row
        able = extra != "onnxruntime" or row["what"] == "forward"
        assert set(row["ms"]) == {"sequence", "torch", *([extra] if able else [])}


def test_ours_and_pytorch_measured_for_real(tmp_path):
    pytest.importorskip("torch")
    options = ["--cells", "lstm", "--sizes", "3,2,2,5", "--seconds", "0.1", "--only", "torch", "--threads", "1"]
    command = [sys.executable, str(FOLDER / "others.py"), *options, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("others_*.json")
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert [row["what"] for row in rows] == ["forward", "training", "iteration"]
    for row in rows:
        assert set(row["ms"]) == {"sequence", "torch"}
        assert row["errors"]["sequence"] < 1e-4


def test_the_document_gets_the_table(tmp_path, monkeypatch):
    document = tmp_path / "speed.md"
    document.write_text(f"before\n{others.BEGIN}\nold\n{others.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(others.sys.modules["random_sizes"], "DOCUMENT", document)
    results = tmp_path / "others_1.json"
    row = {"cell": "lstm", "T": 1, "B": 2, "I": 3, "H": 4, "threads": 2, "what": "forward"}
    row |= {"ms": {"sequence": {"median": 0.5}}, "ratio": {"torch": {"median": 2.0}}}
    report = {"date": "today", "machine": {"processor": "a processor", "threads": 2}, "versions": {"torch": "2.1"}}
    report |= {"contenders": ["sequence", "torch"], "missing": {}, "rows": [row]}
    results.write_text(json.dumps(report), encoding="utf-8")
    assert others.main(["--table", str(results)]) == 0
    text = document.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{others.BEGIN}\nfloat32, today, a processor, 2 threads; torch 2.1;")
    assert "| LSTM (1, 2, 3, 4) | 2 | forward | 0.5 | 2.00 |" in text
    assert text.endswith(f"{others.END}\nafter\n")
    assert "old" not in text
