"""The CPU benchmark at sizes of no interest: what it refuses, how it divides, what it writes, and that the README has it."""

import importlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scratchnet.cells import CELLS
from scratchnet.files.machine import describe

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"
SIZE = (3, 2, 2, 4)
needs_torch = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("numba") is None, reason="needs PyTorch and Numba"
)

sys.path.insert(0, str(FOLDER))  # as Python does for a program of that folder
cpu, compact, report_of, worker_of = map(importlib.import_module, ("cpu", "compact", "cpu_report", "cpu_worker"))


def program(*arguments, **environment):
    """The benchmark as it is started, with an environment that workers must not see."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])} | environment
    command = [sys.executable, str(FOLDER / "cpu.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)


class Fake:
    """A peer in this process, whose results and times are given."""

    def __init__(self, name, results=None, takes=(), log=None, threads=2):
        self.name, self.results, self.takes, self.log, self.threads = name, results, iter(takes), log, threads

    def ask(self, do, **request):
        if do == "check":
            np.savez(request["out"], **self.results)
            return 0.5
        if do == "time":
            self.log.append((self.name, request["what"], request["runs"], request["warm"]))
            return [next(self.takes)] * request["runs"]
        return None


# ---- numbers -----------------------------------------------------------------------------------------------------------


def test_spread_is_median_and_quartiles():
    assert report_of.spread([5, 1, 3, 2, 4]) == {"median": 3, "q1": 2, "q3": 4, "n": 5}
    assert report_of.spread([1.23456]) == {"median": 1.235, "q1": 1.235, "q3": 1.235, "n": 1}


def test_a_ratio_is_taken_round_by_round():
    """The third round met a busy machine; the ratio of the medians would be 1.5."""
    assert report_of.ratio([2, 4, 60], [1, 2, 30]) == {"median": 2, "q1": 2, "q3": 2, "n": 3}
    assert report_of.ratio([3, 3], [1, 2, 99])["n"] == 2  # a peer that took part in the first rounds only


def test_exponent_of_a_power_law():
    assert report_of.exponent([1, 2, 4, 8], [3 * s**1.5 for s in (1, 2, 4, 8)]) == 1.5


def test_flops_are_those_of_the_products():
    """Forward of one LSTM step, counted on the matrices; a training step has three times as many products."""
    T, B, I, H = 5, 2, 3, 4
    each = [(B, I, 4 * H), (B, H, 4 * H)]
    assert report_of.forward_flops("lstm", T, B, I, H) == T * sum(2 * n * k * m for n, k, m in each)
    backward = [(I, B, 4 * H), (H, B, 4 * H), (B, 4 * H, I), (B, 4 * H, H)]
    both = each + backward
    assert report_of.training_flops("lstm", T, B, I, H) == T * sum(2 * n * k * m for n, k, m in both)
    assert 4 * report_of.training_flops("rnn", T, B, I, H) == report_of.training_flops("lstm", T, B, I, H)


def test_share_of_peak():
    row = {
        "what": "training",
        "cell": "rnn",
        **dict(zip("TBIH", (10, 10, 10, 10))),
        "threads": 2,
        "ms": {"sequence": {"median": 0.06}},
    }
    assert cpu.share_of_peak(row, {"2": {"peak": 4.0}}) == 0.5  # 120 000 operations in 60 us: 2 of 4 GFLOP/s
    assert cpu.share_of_peak(row | {"ms": {}}, {}) is None


# ---- right, and timed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda a: a["dW_h"].__setitem__((0, 0), a["dW_h"][0, 0] + 0.01), 0.01),
        (lambda a: a["y"].__setitem__(0, np.nan), None),
        (lambda a: a.pop("dx"), None),
        (lambda a: a.update(dx=a["dx"][:1]), None),
    ],
)
def test_a_wrong_engine_is_not_timed(tmp_path, capsys, change, error):
    right = {"y": np.ones(3), "dx": np.ones(2), "dW_h": np.eye(2)}
    wrong = {name: value.copy() for name, value in right.items()}
    change(wrong)
    log = []
    workers = [
        Fake("array", right, [0.1] * 99, log),
        Fake("torch", right, [0.1] * 99, log),
        Fake("sequence", wrong, [], log),
    ]
    training, forward = cpu.measure(workers, "rnn", SIZE, 0, 0, tmp_path)
    for row in (training, forward):
        assert row["wrong"] == ["sequence"]
        assert row["errors"] == {"array": 0, "sequence": error}
        assert row["ms"].keys() == {"array", "torch"}
        assert "ratio" not in row
    assert "sequence is" in capsys.readouterr().err
    assert {name for name, *_ in log} == {"array", "torch"}
    report = {"machine": {"threads": 2}, "rows": [training, forward], "epoch": [], "memory": []}
    assert [t["met"] for t in report_of.targets(report) if t["target"].startswith("RNN")] == [False]


def test_peers_take_turns(monkeypatch):
    """The order turns round; the array engine, which no target is about, drops out; long runs are not repeated."""
    log = []
    workers = [
        Fake("array", takes=[9] * 99, log=log),
        Fake("torch", takes=[6, 60, 6, 6], log=log),
        Fake("sequence", takes=[3, 30, 3, 3], log=log),
    ]
    once = {"array": 1.0, "torch": 0.01, "sequence": 1e-9}
    monkeypatch.setattr(cpu, "MOST_ROUNDS", 4)
    times = cpu.rounds(workers, dict.fromkeys(once, "training"), once, 100)
    assert [name[0] for name, *_ in log] == list("staatsstats")
    assert set(log) == {
        ("array", "training", 1, 0),
        ("torch", "training", 10, cpu.WARM),
        ("sequence", "training", cpu.MOST_RUNS, cpu.WARM),
    }
    assert times == {"array": [9] * 3, "torch": [6, 60, 6, 6], "sequence": [3, 30, 3, 3]}
    found = cpu.compared(times)
    assert found["ratio"]["torch"] == {"median": 2, "q1": 2, "q3": 2, "n": 4}
    assert found["ratio"]["array"]["n"] == 3
    log.clear()
    workers = [Fake("torch", takes=[1] * 99, log=log), Fake("sequence", takes=[1] * 99, log=log)]
    cpu.rounds(workers, dict.fromkeys(once, "training"), once, 0)  # no seconds: no more than must be
    assert set(log) == {("torch", "training", 1, 0), ("sequence", "training", 1, 0)}
    assert len(log) == 2 * cpu.LEAST_ROUNDS


@needs_torch
@pytest.mark.parametrize("cell", cpu.BENCHED)
def test_peers_compute_the_same(cell):
    data = cpu.make_data(cell, SIZE, 0)
    ours, theirs = worker_of.Ours("sequence", 1).load(cell, data), worker_of.Torch(1).load(cell, data)
    names = {"y", "dx"} | {f"d{name}" for name in CELLS[cell].param_shapes(2, 4)}
    for what in ("forward", "training"):
        found, right = ours[what](), theirs[what]()
        assert found.keys() == right.keys() == (names if what == "training" else {"y"})
        assert cpu.difference(found, right) < 1e-5
        assert all(np.abs(value).max() > 0 for value in right.values())
        assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}


@needs_torch
def test_weights_get_into_torch_as_they_get_out():
    """Put there by the benchmark, fetched by the library."""
    import torch
    from scratchnet.convert.torch import from_torch

    for cell in cpu.BENCHED:
        data, module = cpu.make_data(cell, SIZE, 0), getattr(torch.nn, cell.upper())(2, 4)
        worker_of.Torch(1).put(module, "_l0", data)
        for name, value in from_torch(module).params.items():
            np.testing.assert_array_equal(value, data[name.removesuffix("_l0")])


@needs_torch
def test_epochs_are_the_same():
    data = cpu.make_epoch_data(0)
    assert (data["x"].shape, data["y"].shape) == ((182, 9, 1), (182, 1))  # years 1709-1890
    ours, torch = worker_of.Ours("sequence", 1).load_epoch(data, 3), worker_of.Torch(1).load_epoch(data, 3)
    for _ in range(2):
        found, right = ours["epoch"](), torch["epoch"]()
        assert cpu.difference(found, right) < cpu.EPOCH_BOUND
    assert (
        cpu.difference(torch["epoch_fused"](), worker_of.Ours("array", 1).load_epoch(data, 3)["epoch"]())
        < cpu.EPOCH_BOUND
    )
    assert found.keys() == data.keys() - {"x", "y"} | {"losses"}
    assert len(found["losses"]) == 12
    assert not np.allclose(found["head.W"], data["head.W"])


def test_runs_to_warm_up_are_not_timed():
    worker, calls = worker_of.Worker(None), []
    worker.jobs["training"] = lambda: calls.append(1)
    assert len(worker.time("training", 3)) == len(calls) == 3
    assert len(worker.time("training", 3, warm=0.01)) == 3
    assert len(calls) > 6


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_peak_memory_is_what_the_runs_add():
    """Of a run that takes 30 MB twice, after one that took 60 and gave them back."""
    worker = worker_of.Worker(None)
    np.ones(60 << 20, np.uint8)
    worker.jobs["training"] = lambda: (np.ones(30 << 20, np.uint8), np.ones(30 << 20, np.uint8))[0][:1].copy()
    found = worker.memory("training")
    if found["how"] == "getrusage":
        pytest.skip("the peak cannot be reset here")
    # Not 30, 90 or 120.  No closer: a system short of memory takes back, meanwhile, pages that were there before.
    assert 50 << 20 < found["bytes"] < 70 << 20


# ---- the whole program -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One run at tiny sizes: its output, its folder, its report."""
    if find_spec("torch") is None or find_spec("numba") is None:
        pytest.skip("needs PyTorch and Numba")
    folder = tmp_path_factory.mktemp("results")
    arguments = ["--cells", "rnn", "--sizes", "3,2,2,4", "--seconds", "0", "--quick", "--seed", "5", "--out", folder]
    done = program(*arguments, OPENBLAS_CORETYPE="Haswell", OMP_WAIT_POLICY="active")
    assert done.returncode == 0, done.stderr
    (path,) = folder.iterdir()
    return done.stdout, path, json.loads(path.read_text(encoding="utf-8"))


def test_the_file_has_everything(measured):
    stdout, path, report = measured
    assert stdout.splitlines()[-1] == str(path)
    assert path.name == f"cpu_{report['date']}.json"
    assert (report["dtype"], report["seed"]) == ("float32", 5)
    assert report["versions"].keys() == {"numpy", "blas", "scratchnet", "numba", "torch", "torch_libraries"}
    assert report["machine"].keys() == {*describe(), "threads"}
    threads = report["machine"]["threads"]
    taken = report["environment"]["taken_away"]
    assert (taken["OPENBLAS_CORETYPE"], taken["OMP_WAIT_POLICY"]) == ("Haswell", "active")
    assert report["environment"]["set"][str(threads)] == dict.fromkeys(cpu.THREAD_VARIABLES, str(threads))
    assert {(row["what"], row["threads"]) for row in report["rows"]} == {
        (w, n) for w in ("training", "forward") for n in (1, threads)
    }
    for row in report["rows"]:
        assert (row["cell"], row["T"], row["B"], row["I"], row["H"]) == ("rnn", *SIZE)
        assert row["ms"].keys() == {"array", "sequence", "torch"}
        assert all(0 < found["q1"] <= found["median"] <= found["q3"] for found in row["ms"].values())
        assert row["ratio"].keys() == {"array", "torch"}
        assert row["ratio"]["torch"]["n"] >= cpu.LEAST_ROUNDS
        assert 0 < row["of_gemm_peak"] < 1
        assert all(error < cpu.BOUND for error in row["errors"].values())
    assert [row["threads"] for row in report["epoch"]] == [threads]  # --quick: not on one
    assert report["sweeps"].keys() == {"T", "B", "H"}
    assert all(fit["exponent"].keys() == {"sequence", "torch"} for fit in report["sweeps"].values())
    assert [row.keys() for row in report["memory"]] == [{"cell", *"TBIH", "sequence", "torch", "how"}]
    assert all(peak["peak"] >= max(peak["numpy"], peak["torch"]) > 0 for peak in report["gemm_gflops"].values())
    assert (
        report["processors_used_by_others"] is None
        or 0 <= report["processors_used_by_others"] <= report["machine"]["cores"]
    )
    assert len(report["targets"]) == 7
    for target in report["targets"]:
        assert target.keys() == {"target", "wanted", "measured", "met", "why"}
        assert (target["met"] is None) == (target["measured"] is None)
        assert target["why"] == ""
    assert [t["met"] is None for t in report["targets"][:6]] == [True, True, False, True, True, False]


def test_workers_do_not_see_what_steers_blas(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    assert cpu.taken_away()["OPENBLAS_CORETYPE"] == "Haswell"
    found = cpu.environment(3)
    assert "OPENBLAS_CORETYPE" not in found
    assert {found[name] for name in cpu.THREAD_VARIABLES} == {"3"}


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux")
def test_others_are_told_from_this_process():
    everyone, own = cpu.seconds_of_processors()
    deadline = own + 0.2
    while sum(os.times()[:4]) < deadline:
        pass
    more, own_more = cpu.seconds_of_processors()
    assert own_more - own > 0.19
    assert more - everyone >= 0.1  # it counts this process too, in ticks of a hundredth


def test_a_worker_that_ends_is_an_error():
    peer = cpu.Peer("sequence", 1)
    try:
        with pytest.raises(RuntimeError, match="the worker sequence on 1 threads ended when asked to time"):
            peer.ask("time", what="nothing", runs=1)
    finally:
        peer.close()


def test_a_file_is_never_overwritten(tmp_path):
    names = []
    for _ in range(11):
        path = cpu.new_file(tmp_path, "cpu_2026-01-31")
        path.touch()
        names.append(path.name)
    assert names[:3] == ["cpu_2026-01-31.json", "cpu_2026-01-31_2.json", "cpu_2026-01-31_3.json"]
    assert report_of.latest(tmp_path).name == "cpu_2026-01-31_11.json"
    (tmp_path / "cpu_2026-02-01.json").touch()
    assert report_of.latest(tmp_path).name == "cpu_2026-02-01.json"


def test_exit_code_and_warnings(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cpu, "run", lambda options: report)
    report = made_up() | {"processors_used_by_others": 0.0}
    assert cpu.main(["--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "cpu_2026-01-31.json").read_text(encoding="utf-8")) == report
    assert capsys.readouterr().err == ""
    report["processors_used_by_others"] = 0.7
    report["rows"][0]["wrong"] = ["sequence"]
    assert cpu.main(["--out", str(tmp_path)]) == 1
    assert "others used 0.7 processors meanwhile: measure again" in capsys.readouterr().err
    assert (tmp_path / "cpu_2026-01-31_2.json").exists()


def test_bad_sizes_are_refused(capsys):
    for given in ("1,2,3", "1,2,3,x", "0,1,1,1"):
        with pytest.raises(SystemExit):
            cpu.main(["--sizes", given])
        assert f"invalid parse_size value: '{given}'" in capsys.readouterr().err


# ---- targets and the README --------------------------------------------------------------------------------------------


def row(cell, H, torch, threads=2, what="training"):
    found = {
        "ms": {"sequence": report_of.spread([1.0])},
        "ratio": {"torch": report_of.spread([torch])},
        "of_gemm_peak": 0.25,
    }
    return {"cell": cell, **dict(zip("TBIH", (1, 1, 1, H))), "threads": threads, "what": what} | found


def made_up():
    """A report with the LSTM at two sizes, the RNN at one, and rows that no target is about."""
    rows = [
        row("lstm", 1, 4.0),
        row("lstm", 2, 1.0),
        row("lstm", 1, 0.1, threads=1),
        row("lstm", 2, 0.1, what="forward"),
        row("rnn", 1, 1.19),
    ]
    memory = [
        {"cell": "lstm", **dict(zip("TBIH", (1, 1, 1, H))), "sequence": s << 20, "torch": t << 20}
        for H, s, t in ((1, 1, 2), (2, 9, 8))
    ]
    epoch = [
        {"threads": n, "ms": {"sequence": report_of.spread([2.0])}, "ratio": {"torch": report_of.spread([n])}}
        for n in (2, 1)
    ]
    report = {
        "date": "2026-01-31",
        "processors_used_by_others": 0.1,
        "machine": {"processor": "P", "threads": 2},
        "versions": {"numpy": "2", "numba": "0", "torch": "3"},
        "rows": rows,
        "memory": memory,
        "epoch": epoch,
        "sweeps": {"T": {"exponent": {"sequence": 0.9, "torch": 1.0}}},
    }
    return report | {"targets": report_of.targets(report)}


def test_targets():
    found = {t["target"]: (t["wanted"], t["measured"], t["met"]) for t in made_up()["targets"]}
    assert found == {
        "LSTM training step, geometric mean of 2 sizes": (">= 1.5", 2.0, True),
        "GRU training step, geometric mean of 0 sizes": (">= 2.5", None, None),
        "RNN training step, geometric mean of 1 sizes": (">= 1.2", 1.19, False),
        "LSTM training step, every size; the least at (1, 1, 1, 2)": (">= 1.05", 1.0, False),
        "GRU training step, every size": (">= 1.05", None, None),
        "one epoch of the demo's LSTM": (">= 1.5", 2.0, True),
        "peak memory of a training step, part of PyTorch's; the most for LSTM at (1, 1, 1, 2)": ("<= 1", 1.125, False),
    }


def test_the_table_shows_what_was_measured():
    report = made_up()
    report["targets"][3]["why"] = "the machine was busy"
    text = report_of.table(report, "cpu_x.json")
    assert "| LSTM | 1, 1, 1, 1 | 1 | 4.00 (4.00-4.00) | 0.10 (0.10-0.10) | - | - | 25% | 1 : 2 |" in text
    assert "| LSTM | 1, 1, 1, 2 | 1 | 1.00 (1.00-1.00) | - | 0.10 (0.10-0.10) | - | 25% | 9 : 8 |" in text
    assert "2 ms, torch / ours 2.00 (2.00-2.00)" in text
    assert "T^0.9 (torch T^1)" in text
    assert ">= 1.05 | 1.00 | missed: the machine was busy |" in text
    assert "on P, 2 cores" in text
    assert "while others used" not in text
    assert "while others used 0.7 of its processors" in report_of.table(
        report | {"processors_used_by_others": 0.7}, "cpu_x.json"
    )


def test_the_table_is_written_between_its_markers(tmp_path):
    results, readme = tmp_path / "cpu_2026-01-31.json", tmp_path / "README.md"
    results.write_text(json.dumps(made_up()), encoding="utf-8")
    readme.write_text(f"before\n{report_of.BEGIN}\nold\n{report_of.END}\nafter\n", encoding="utf-8")
    for _ in range(2):  # the second time changes nothing
        report_of.write_readme(results, readme)
        text = readme.read_text(encoding="utf-8")
        assert text.startswith(f"before\n{report_of.BEGIN}\nMeasured 2026-01-31")
        assert text.endswith(f"|\n{report_of.END}\nafter\n")
        assert "old" not in text
        assert report_of.readme_block(readme) == report_of.block(results)
    readme.write_text("no place\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"README\.md has no lines <!-- benchmark: cpu --> and <!-- end -->"):
        report_of.write_readme(results, readme)
    assert readme.read_text(encoding="utf-8") == "no place\n"


def test_results_are_a_row_a_line(tmp_path):
    """Whole and short; NaN, which JSON does not have, leaves the file as it was."""
    path, report = tmp_path / "r.json", {"n": 1, "rows": [{"a": {"q1": 1}}, {"a": 2}], "of": {"x": {"y": [1, 2]}}}
    compact.write(path, report)
    assert path.read_text(encoding="utf-8").splitlines() == [
        "{",
        ' "n": 1,',
        ' "rows": [',
        '  {"a": {"q1": 1}},',
        '  {"a": 2}',
        " ],",
        ' "of": {',
        '  "x": {"y": [1, 2]}',
        " }",
        "}",
    ]
    with pytest.raises(ValueError, match="Out of range"):
        compact.write(path, {"n": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == report
    for kept in (FOLDER / "results").glob("*.json"):
        text, levels = kept.read_text(encoding="utf-8"), 4 if kept.name.startswith("recipes") else 2
        compact.write(path, json.loads(text), levels)
        assert path.read_text(encoding="utf-8") == text, kept.name
        assert len(text.splitlines()) < 1000, kept.name


def test_the_readme_shows_the_last_results():
    """Not so?  python benchmarks/cpu.py --table"""
    assert report_of.readme_block() == report_of.block(report_of.latest(FOLDER / "results"))


def test_make_bench_runs_it():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = makefile.partition("\nbench:")[2].partition("\n\n")[0]
    assert [line.partition("benchmarks/")[2] for line in commands.splitlines()[1:]] == [
        "cells.py",
        "parts.py",
        "cpu.py",
        "cpu.py --table",
    ]


def test_the_parts_say_what_the_kernels_docstrings_say():
    """Numbers in docstrings and in kernels/README.md are those of the committed file of benchmarks/parts.py."""
    found = json.loads(max((ROOT / "benchmarks" / "results").glob("parts_*.json")).read_text(encoding="utf-8"))
    folder = ROOT / "kernels" / "scratchnet_kernels" / "sequence_cpu"
    texts = {
        name: " ".join((folder / f"{name}.py").read_text(encoding="utf-8").split())
        for name in ("product", "memory", "threads")
    }
    product, step = found["products"]["H=256"], found["reuse"]["100, 64, 64, 128"]
    assert f"{product['tiles']:.0f} GFLOP/s in tiles, {product['BLAS']:.0f} by BLAS" in texts["product"]
    assert f"takes {step['used before']:.1f} ms so, and {step['fresh']:.1f} with fresh memory" in texts["memory"]
    for size in ("20 us", "100 us"):
        took = found["wake"][size]
        said = f"{took['executor']} with an executor, {took['ours']} with these threads and {took['one after the other']} in turn"
        assert said in texts["threads"]
    readme = (ROOT / "kernels" / "README.md").read_text(encoding="utf-8")
    for row in found["updates"].values():
        assert (
            "| "
            + " | ".join(str(row[f"{what} {engine}"]) for what in ("adam", "norm") for engine in ("array", "step"))
            + " |"
            in readme
        )
