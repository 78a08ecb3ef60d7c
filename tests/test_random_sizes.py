"""The benchmark at random sizes: what it draws, its limits and its summary; and one size measured for real."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(FOLDER))
random_sizes = pytest.importorskip("random_sizes")

LIMITS = {
    "1": {
        "gflops": {"sequence": 100.0, "torch": 90.0},
        "copy_gb_s": {str(size): 10.0 for size in random_sizes.COPIED},
        "step_us": {f"{cell} {what}": 2.0 for cell in ("lstm", "gru", "rnn") for what in ("training", "forward")},
    }
}
LIMITS["2"] = {**LIMITS["1"], "gflops": {"sequence": 200.0, "torch": 150.0}}


def test_sizes_are_log_uniform_and_the_same_for_a_seed():
    sizes = np.array(random_sizes.draw(0, 2000))
    assert random_sizes.draw(0, 5) == random_sizes.draw(0, 2000)[:5]
    assert random_sizes.draw(1, 5) != random_sizes.draw(0, 5)
    assert (sizes >= random_sizes.LOWEST).all()
    assert (sizes <= random_sizes.HIGHEST).all()
    middle = np.sqrt(np.multiply(random_sizes.LOWEST, random_sizes.HIGHEST))
    np.testing.assert_allclose(np.median(sizes, axis=0), middle, rtol=0.1)
    assert (sizes[:, 3] % 16 != 0).mean() > 0.8


def row(what="training", threads=1, ratio=2.0, T=10, B=1, I=8, H=8, cell="lstm"):
    return {
        "cell": cell,
        "T": T,
        "B": B,
        "I": I,
        "H": H,
        "threads": threads,
        "what": what,
        "ms": {"sequence": {"median": 1.0}, "torch": {"median": ratio}},
        "ratio": {"torch": {"median": ratio}},
    }


def test_the_limit_is_the_largest_of_three():
    assert random_sizes.limit(row(), LIMITS) == {"limit": "chain", "limit_ms": 0.02}
    large = row(B=256, I=256, H=512)
    flops = 6 * 10 * 256 * 4 * 512 * (256 + 512)
    assert random_sizes.limit(large, LIMITS) == {"limit": "products", "limit_ms": float(f"{flops / 1e8:.3g}")}
    assert random_sizes.limit(large | {"threads": 2}, LIMITS)["limit_ms"] == float(f"{flops / 2e8:.3g}")
    wide = row(T=1000, B=256, I=1, H=8)
    numbers = 1000 * 256 * ((1 + 6 * 8) + (8 + 32 + 16 + 32 + 1) + (32 + 1 + 8))
    assert random_sizes.limit(wide, LIMITS) == {"limit": "memory", "limit_ms": float(f"{4 * numbers / 1e7:.3g}")}


def test_the_summary_counts_what_was_wrong_as_a_miss():
    rows = [row(ratio=r) for r in (1.0, 2.0, 4.0)] + [row("forward", ratio=1.2)]
    training, forward = random_sizes.summary(rows)
    assert training["geometric_mean"] == 2.0
    assert (training["least"], training["share_at_least_1.05"], training["under_0.95"]) == (1.0, 0.667, 0)
    assert (training["asked"], training["met"]) == (1.6, False)
    assert (forward["asked"], forward["met"]) == (1.1, True)
    wrong = [{k: v for k, v in row().items() if k != "ratio"}]
    assert [found["met"] for found in random_sizes.summary(wrong)] == [False]


def test_one_size_is_measured_and_becomes_a_table(tmp_path, monkeypatch):
    command = [sys.executable, str(FOLDER / "random_sizes.py"), "--count", "1", "--cells", "rnn", "--threads", "1"]
    monkeypatch.setattr(random_sizes, "COPIED", (1 << 18,))
    done = subprocess.run(
        [*command, "--seed", "3", "--seconds", "0.01", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("random_*_seed3.json")
    report = json.loads(path.read_text(encoding="utf-8"))
    assert [r["what"] for r in report["rows"]] == ["training", "forward"]
    assert all(r["ratio"]["torch"]["median"] > 0 and r["limit_ms"] > 0 for r in report["rows"])
    report["rows"] += [row() | {"limit": "chain", "limit_ms": 0.1}]
    table = list(random_sizes.lstm_by_size(report["rows"]))
    assert "| 10, 1, 8, 8 | 1 | 2.00 | chain 0.1 |" in table
    document = tmp_path / "speed.md"
    document.write_text(f"before\n{random_sizes.BEGIN}\nold\n{random_sizes.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(random_sizes, "DOCUMENT", document)
    random_sizes.write_document([path])
    text = document.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| RNN | training | 1 |" in text


def test_where_pytorch_is_ahead_is_said():
    rows = [row(ratio=r) | {"limit": "chain", "limit_ms": 0.1} for r in (0.9, 2.0, 0.8)]
    *_, first, second = random_sizes.ahead(rows)
    assert "PyTorch is faster in 2 of 3 measurements:" in list(random_sizes.ahead(rows))
    assert first == "| LSTM | training | 1 | 10, 1, 8, 8 | 0.80 | 1 | chain 0.1 |"
    assert "| 0.90 |" in second


def test_the_documents_tables_are_those_of_the_last_results():
    """Not so?  python benchmarks/random_sizes.py --table"""
    text = random_sizes.DOCUMENT.read_text(encoding="utf-8")
    shown = text.partition(random_sizes.BEGIN)[2].partition(random_sizes.END)[0]
    files = [FOLDER / "results" / name for name in re.findall(r"benchmarks/results/(\S+\.json)", shown)]
    assert files
    assert shown.strip() == "\n".join(random_sizes.document(files)).strip()


def test_the_last_files_are_one_of_each_kind(tmp_path):
    names = [f"random_2026-01-0{day}_{what}.json" for day in (1, 2) for what in ("seed0", "seed9", "seed0_busy1")]
    for age, name in enumerate(names):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (age, age))
    assert [path.name for path in random_sizes.latest(tmp_path)] == [names[3], names[4], names[5]]
