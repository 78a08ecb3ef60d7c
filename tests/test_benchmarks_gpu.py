"""The GPU benchmark and the kernel ladder on a machine without a GPU: what they refuse, count, predict, write and print.

With a GPU, the test marked ``gpu`` runs both at a small size.
"""

import importlib
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scratchnet import engines
from scratchnet.cells import CELLS

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"
SIZE = (3, 2, 2, 4)
needs_numba_cuda = pytest.mark.skipif(
    find_spec("numba_cuda") is None, reason="needs numba-cuda: pip install numba-cuda"
)
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch")

sys.path.insert(0, str(FOLDER))  # as Python does for a program of that folder
gpu, contenders, report, ladder = (
    importlib.import_module(n) for n in ("gpu", "gpu_contenders", "gpu_report", "ladder")
)


def run(*command, **environment):
    """A program in a process of its own."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", FOLDER)))
    environment = os.environ | {"PYTHONPATH": path} | environment
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False, timeout=300, env=environment
    )


def rehearse(tmp_path, *arguments):
    """A rehearsal in this process: its exit code and the file it wrote."""
    before = set(tmp_path.iterdir())
    code = gpu.main(
        ["--rehearse", "--cells", "rnn", "--sizes", "3,2,2,4", "--seconds", "0.3", "--out", str(tmp_path), *arguments]
    )
    (path,) = set(tmp_path.iterdir()) - before
    return code, json.loads(path.read_text(encoding="utf-8"))


def by_name(rows):
    return {(row["contender"], row["policy"]): row for row in rows}


def choosing(change):
    """engines.choose, with something done to what it answers for "step"."""

    def choose(name, x, H, engine):
        choice = engines.CellEngine(engine, "", CELLS[name].forward, CELLS[name].backward)
        return change(choice) if engine == "step" else choice

    return choose


# ---- refusing ----------------------------------------------------------------------------------------------------------


def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path):
    done = run(FOLDER / "gpu.py", "--out", tmp_path, CUDA_VISIBLE_DEVICES="-1")
    assert done.returncode == gpu.NO_GPU == 3
    assert re.fullmatch(
        r"benchmarks/gpu\.py needs an NVIDIA GPU, CuPy, and PyTorch with CUDA: CuPy .*\.  Nothing was measured\.\n",
        done.stderr,
    )
    assert not done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "100,64,64"], "'100,64,64' is not four whole numbers T,B,I,H, as in 100,64,64,128"),
        (["--sizes", "100,64,64,0"], "each of T,B,I,H is at least 1"),
        (["--cells", "gru_reset_before"], "invalid choice: 'gru_reset_before'"),
        (["--rehearse"], "a rehearsal's numbers do not belong among the results"),
    ],
)
def test_a_wrong_command_line_is_answered(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        gpu.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_the_command_line_has_its_defaults():
    whole, quick = gpu.parse([]), gpu.parse(["--quick", "--cells", "rnn"])
    assert whole.seconds <= 360
    assert set(whole.cells) == {"lstm", "gru", "rnn"}
    assert quick.seconds < 90
    assert quick.cells == ["rnn"]
    assert set(quick.sizes) < set(whole.sizes)
    wanted = {(100, 64, 64, H) for H in (32, 64, 96, 128, 160, 192, 256, 512)}
    wanted |= {(1000, 32, 8, 128), (1000, 32, 8, 64), (50, 16, 1, 32), (200, 64, 128, 512)}
    assert set(whole.sizes) == wanted | {(100, B, 64, H) for B in (16, 128, 256) for H in (64, 128)}
    assert len(set(whole.sizes)) == len(whole.sizes)


# ---- a rehearsal: every step but the GPU's -----------------------------------------------------------------------------


@needs_torch
def test_a_rehearsal_checks_times_writes_and_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(engines, "choose", choosing(lambda choice: choice))
    code, found = rehearse(tmp_path, "--seed", "3", "--commit", "abc")
    assert code == 0
    assert found["complete"]
    assert found["rehearsal"]
    assert (found["seed"], found["commit"], found["dtype"], found["versions"]["numpy"]) == (
        3,
        "abc",
        "float32",
        np.__version__,
    )
    assert {"device", "versions", "variables", "bounds", "date", "targets", "rows"} <= found.keys()
    assert {"python", "scratchnet", "numpy", "torch", "cupy", "numba", "numba-cuda"} <= found["versions"].keys()
    rows = by_name(found["rows"])
    assert list(rows) == contenders.contenders(SIZE[0], SIZE[3])
    assert {policy for name, policy in rows if name.startswith("torch")} == {"fp32", "tf32"}
    for row in found["rows"]:
        assert (row["cell"], row["T"], row["B"], row["I"], row["H"]) == ("rnn", *SIZE)
        assert row["status"] == "measured", row
        assert set(row["errors"]) == {"y", "dx", "dh0", "dW_x", "dW_h", "db"}
        assert 0 < row["max_error"] == max(row["errors"].values()) < 1e-5
        assert row["repeatable"] is True
        assert row["poisoned"] >= 6
        for what in ("forward", "training"):
            times = row[what]
            assert 0 < times["gpu_fastest_ms"] <= times["gpu_ms"]
            assert times["wall_ms"] > 0
            assert times["groups"] == 5
            assert times["repetitions"] >= times["groups"]
    assert rows["sequence", "fp32"]["predicted"]["training"]["first_ms"] > 0
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith(found["targets"][-1])
    assert printed.count("torch loop") == 4  # as they came, and in the table
    assert len(rehearse(tmp_path)[1]["rows"]) == 7  # and into another file
    assert len(list(tmp_path.glob("gpu_*.json"))) == 2


@needs_torch
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_all_contenders_compute_the_same(cell):
    """Weights, biases and gradients find their places: the layer of PyTorch, the loop over its cell, and the array engine."""
    device, data = contenders.Host(), contenders.make_data(cell, SIZE, 0)
    right = contenders.reference(device, cell, data)
    assert set(right) == {"y", "dx", *(f"d{name}" for name in (*data.states, *data.params))}
    for name, policy in (("array", "fp32"), ("torch.nn", "tf32"), ("torch loop", "fp32")):
        contender = contenders.build(device, cell, data, name, policy)
        found = gpu.check(device, contender, right, 1e-5)
        assert "reason" not in found, (name, found)
        assert set(found["errors"]) == set(right)
        tf32 = policy == "tf32"
        if name != "array":
            assert (device.torch.backends.cuda.matmul.allow_tf32, device.torch.backends.cudnn.allow_tf32) == (
                tf32,
                tf32,
            )


def wrong_backward(choice):
    return choice._replace(backward_one=lambda dy, cache: choice.backward_one(dy * np.float32(1.001), cache))


def forgets_the_last_step(choice):
    """An engine with a buffer of its own, of which it fills the last step the first time only."""
    kept = {}

    def forward(*args):
        _, cache = choice.forward_one(*args)
        if "h" not in kept:
            kept["h"] = cache.h
        kept["h"][:-1] = cache.h[:-1]
        return kept["h"][1:], cache._replace(h=kept["h"])

    return choice._replace(forward_one=forward)


def never_the_same(choice):
    rng = np.random.default_rng(0)

    def forward(*args):
        y, cache = choice.forward_one(*args)
        return y * np.float32(1 + 1e-6 * rng.standard_normal()), cache

    return choice._replace(forward_one=forward)


def raises(choice):
    def forward(*args):
        raise ValueError("in /some/folder/of/this_machine/kernel.py\nand more")

    return choice._replace(forward_one=forward)


def another(choice):
    return choice._replace(name="array", why="array, in place of 'step', which does not fit: 1 KB")


def missing(choice):
    raise RuntimeError("engine 'step' has no kernel")


@needs_torch
@pytest.mark.parametrize(
    ("change", "status", "reason", "code"),
    [
        (wrong_backward, "wrong", r"d\w+ is 1\.0e-03 away from float64, the bound is 1e-04", 1),
        (forgets_the_last_step, "wrong", r"\w+ is not finite, or has another shape", 1),
        (raises, "failed", "ValueError: in kernel.py", 1),
        (another, "does not fit", "array, in place of 'step', which does not fit: 1 KB", 0),
        (missing, "does not fit", "engine 'step' has no kernel", 0),
    ],
)
def test_what_is_not_right_is_not_timed(change, status, reason, code, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engines, "choose", choosing(change))
    monkeypatch.setattr(gpu, "contenders", lambda T, H: [("step", "fp32"), ("array", "fp32")])
    returned, found = rehearse(tmp_path)
    rows = by_name(found["rows"])
    assert returned == code
    assert rows["step", "fp32"]["status"] == status
    assert re.search(reason, rows["step", "fp32"]["reason"])
    assert "some/folder" not in rows["step", "fp32"]["reason"]
    assert rows["step", "fp32"]["forward"] is rows["step", "fp32"]["training"] is None
    assert rows["array", "fp32"]["status"] == "measured"
    assert f"{status}: {rows['step', 'fp32']['reason']}" in capsys.readouterr().out


@needs_torch
def test_two_runs_that_differ_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "choose", choosing(never_the_same))
    monkeypatch.setattr(gpu, "contenders", lambda T, H: [("step", "fp32"), ("array", "fp32")])
    rows = by_name(rehearse(tmp_path)[1]["rows"])
    assert (rows["step", "fp32"]["status"], rows["step", "fp32"]["repeatable"]) == ("measured", False)
    assert rows["array", "fp32"]["repeatable"] is True


@needs_torch
def test_when_the_time_is_over_the_rest_is_not_measured(tmp_path):
    code, found = rehearse(tmp_path, "--seconds", "0")
    assert code == 0
    assert {row["status"] for row in found["rows"]} == {"not measured"}
    assert {row["reason"] for row in found["rows"]} == {"the 0 s were over"}
    assert all("not measured" in line for line in found["targets"])


@needs_torch
def test_a_run_that_is_killed_leaves_its_rows(tmp_path, monkeypatch):
    def stopping(*arguments):
        yield [row | {"reason": "first"} for row in gpu.blanks("rnn", SIZE, report.H200)]
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu, "measure_all", stopping)
    with pytest.raises(KeyboardInterrupt):
        rehearse(tmp_path)
    (path,) = tmp_path.iterdir()
    found = json.loads(path.read_text(encoding="utf-8"))
    assert not found["complete"]
    assert {row["reason"] for row in found["rows"]} == {"first"}


def test_only_what_was_written_is_poisoned():
    """No input is: the next run needs it."""
    device, data = SimpleNamespace(place=np.array), contenders.make_data("lstm", SIZE, 0)
    contender = contenders.of_pair(device, data, CELLS["lstm"].forward, CELLS["lstm"].backward)
    result = contender.training()
    written = contender.written(result)
    assert gpu.poison(written) == len(written) == 10  # h, c, gates; dx, dh0, dc0, dW_x, dW_h, db, da
    assert all(np.isnan(a).all() for a in contender.named(result).values())
    assert all(np.isfinite(a).all() for a in contender.named(contender.training()).values())


def test_a_difference_of_one_bit_is_one():
    a = np.ones((2, 3), np.float32)
    b = a.copy()
    assert gpu.same_bits(a.T, b.T)
    b[1, 2] = np.nextafter(np.float32(1), np.float32(2))
    assert not gpu.same_bits(a.T, b.T)
    assert gpu.relative_error(a, a[:1]) == float("inf")


# ---- timing ------------------------------------------------------------------------------------------------------------


def test_runs_alternate_and_medians_are_taken(monkeypatch):
    """On a clock that only the runs move.  A busy moment in the first round changes no median."""
    now, order, busy = [0.0], [], set()

    def call(name, ms):
        def run():
            order.append(name)
            now[0] += (ms + 300 * (len(order) in busy)) / 1000

        return run

    monkeypatch.setattr(gpu, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(contenders, "time", gpu.time)
    device = SimpleNamespace(synchronize=lambda: None)
    device.gpu_times = lambda call, repetitions, hold_ms: contenders.Host.gpu_times(device, call, repetitions, hold_ms)
    runs = [gpu.Run(lambda: None, call(name, ms), ms / 2, ms) for name, ms in (("a", 1), ("b", 200))]
    a, b = gpu.time_alternating(device, runs, 0.03)
    # to warm up, with events, by the clock; what is slow has no warming up
    assert order[:6] == ["a", "a", "a", "b", "b", "a"]
    assert (a["groups"], b["groups"]) == (5, 5)  # though the time was over in the first round
    assert (a["repetitions"], b["repetitions"]) == (5, 5)
    order.clear()
    busy |= {20, 150, 202}  # one of a's runs between events, one by the clock, and b's first
    a, b = gpu.time_alternating(device, runs, 5)
    assert order[199:205] == ["a", "a", "b", "b", "a", "a"]
    assert (a["gpu_ms"], a["wall_ms"], b["gpu_ms"], b["wall_ms"]) == (1, 1, 200, 200)
    assert a["groups"] == gpu.ROUNDS
    assert a["repetitions"] == gpu.MOST_REPETITIONS * gpu.ROUNDS
    assert a["host_ahead"] is True
    assert b["host_ahead"] is False


@needs_torch
def test_each_contender_has_five_samples_whatever_came_before(monkeypatch):
    """The checks have taken all of the time, and an hour more."""
    monkeypatch.setattr(engines, "choose", choosing(lambda choice: choice))
    now = [0.0]

    def slow_check(*arguments):
        now[0] += 3600
        return {}

    def clock():
        now[0] += 1e-3
        return now[0]

    monkeypatch.setattr(gpu, "time", SimpleNamespace(perf_counter=clock))
    monkeypatch.setattr(gpu, "check", slow_check)
    rows = gpu.measure(contenders.Host(), "rnn", SIZE, 10.0, 0, report.H200)
    assert [row["status"] for row in rows] == ["measured"] * len(contenders.contenders(SIZE[0], SIZE[3]))
    for row in rows:
        for what in ("forward", "training"):
            assert row[what]["groups"] >= 5
            assert row[what]["repetitions"] >= 5


def fake_cuda(monkeypatch, streams=(0, 0)):
    """CuPy and PyTorch as Cuda uses them, writing down what is asked."""
    log = []

    class Event:
        def record(self):
            log.append("event")

    device = SimpleNamespace(attributes={"ClockRate": 2_000_000, "MaxSharedMemoryPerBlockOptin": 227 * 1024})
    runtime = SimpleNamespace(
        getDeviceCount=lambda: 1,
        deviceSynchronize=lambda: log.append("wait for all"),
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
    )
    cuda = SimpleNamespace(
        runtime=runtime,
        Event=Event,
        Device=lambda: device,
        get_elapsed_time=lambda start, end: 0.5,
        get_current_stream=lambda: SimpleNamespace(ptr=streams[0]),
    )
    pool = SimpleNamespace(free_all_blocks=lambda: log.append("free"))
    raw = SimpleNamespace(RawKernel=lambda code, name: lambda grid, block, arguments: log.append(int(arguments[0])))
    monkeypatch.setitem(
        sys.modules, "cupy", SimpleNamespace(cuda=cuda, get_default_memory_pool=lambda: pool, **vars(raw))
    )
    torch = importlib.import_module("torch")
    properties = SimpleNamespace(major=9, minor=0, multi_processor_count=132, total_memory=141 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=streams[1]))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: log.append("free"))
    return log


@needs_torch
def test_gpu_time_is_between_two_events_behind_a_wait(monkeypatch):
    log = fake_cuda(monkeypatch)
    device = contenders.Cuda()
    assert device.gpu_times(lambda: log.append("run"), 2, 1.5) == [0.5, 0.5]
    assert log == ["wait for all", *[3_000_000, "event", "run", "event"] * 2, "wait for all"]  # 1.5 ms at 2 GHz
    log.clear()
    device.hold(1e9)
    assert log == [20_000_000]  # never longer than 10 ms
    log.clear()
    device.gpu_times(lambda: log.append("run"), 1, 0.0)
    assert log == ["wait for all", "event", "run", "event", "wait for all"]
    device.free()
    assert log[-2:] == ["free", "free"]


@needs_torch
def test_the_machine_is_described(monkeypatch):
    fake_cuda(monkeypatch)
    about = contenders.Cuda().about()
    assert (about["name"], about["compute_capability"], about["multiprocessors"]) == ("NVIDIA H200", "9.0", 132)
    assert (about["memory_gib"], about["clock_ghz"], about["driver_cuda"]) == (141.0, 2.0, 13000)
    assert gpu.machine_of(about) == report.Machine(132, 2.0, 227.0)
    assert gpu.machine_of({}) == report.H200
    assert gpu.slug(about["name"]) == "nvidia-h200"


@needs_torch
def test_two_streams_are_refused(monkeypatch):
    fake_cuda(monkeypatch, streams=(2, 0))
    with pytest.raises(contenders.NoGpuError, match="CuPy's stream is 2 and PyTorch's 0"):
        contenders.Cuda()


# ---- predicting and judging --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "first", "tuned"),
    [((100, 64, 64, 128), (0.3, 0.4), (0.14, 0.20)), ((1000, 32, 8, 128), (2.8, 3.6), (1.2, 1.6))],
)
def test_the_model_says_what_was_counted_by_hand(size, first, tuned):
    lstm, gru = (report.predict(cell, size) for cell in ("lstm", "gru"))
    assert first[0] <= lstm["training"]["first_ms"] <= first[1]
    assert tuned[0] <= lstm["training"]["tuned_ms"] <= tuned[1]
    assert 0.75 <= gru["training"]["first_ms"] / lstm["training"]["first_ms"] <= 0.85
    assert lstm["forward"]["first_ms"] < lstm["training"]["first_ms"] / 1.9


def test_the_model_knows_what_does_not_fit():
    assert report.predict("lstm", (100, 64, 64, 160)) == {
        "reason": "240 KB of weights in shared memory, and a block has 227 KB"
    }
    assert report.predict("lstm", (100, 64, 64, 512)) == {"reason": "2048 threads, and a block has 1024 at most"}
    assert "training" in report.predict("rnn", (100, 64, 64, 256))
    twice = report.step_clocks("lstm", 256, 128, report.H200)  # 256 sequences on 132 multiprocessors: two each
    assert twice == (512 * 4 + 1024 + 700, 1024 + 350)


def row(cell, size, contender, gpu_ms=None, wall_ms=None, policy="fp32"):
    times = {"gpu_ms": gpu_ms, "wall_ms": wall_ms or gpu_ms}
    known = {
        "status": "measured",
        "reason": "",
        "forward": times,
        "training": times,
        "max_error": 1e-6,
        "repeatable": True,
    }
    unknown = {
        "status": "does not fit",
        "reason": "too large",
        "forward": None,
        "training": None,
        "max_error": None,
        "repeatable": None,
    }
    start = {"cell": cell, **dict(zip("TBIH", size)), "contender": contender, "policy": policy, "predicted": None}
    return start | (known if gpu_ms else unknown)


def test_targets_are_met_missed_or_not_measured():
    first, long, wide = (100, 64, 64, 128), (1000, 32, 8, 128), (100, 64, 64, 256)
    rows = [
        row("lstm", first, "sequence", 0.4, 0.5),
        row("lstm", first, "torch.nn", 1.0),
        row("lstm", first, "torch.nn", 0.45, policy="tf32"),
        row("lstm", long, "sequence", 5.0, 7.0),
        row("lstm", long, "torch.nn", 6.0, 6.5),
        row("lstm", long, "torch.nn", 8.0, policy="tf32"),
        row("gru", first, "sequence"),
        row("gru", first, "torch.nn", 1.0),
        row("gru", wide, "sequence", 9.0),
        row("gru", wide, "torch.nn", 1.0),
        row("gru", wide, "sequence_tf32", 0.5, policy="tf32"),
        row("gru", wide, "torch.nn", 0.8, policy="tf32"),
        row("gru", (50, 16, 1, 32), "sequence", 0.1, 0.9),
    ]
    fp32, tf32, short, longer, wall, tensor_cores = report.targets(rows)
    assert (
        "met at 1 of 2 sizes measured; MISSED: lstm (1000, 32, 8, 128) 0.83 (wall 1.08) of torch's time; not measured: gru"
        in fp32
    )
    assert "(100, 64, 64, 256)" not in fp32  # H > 128
    assert "met at 1 of 2 sizes measured; MISSED: lstm (100, 64, 64, 128) 0.89 (wall 1.11)" in tf32
    assert tensor_cores == "sequence_tf32 faster than torch.nn tf32, H >= 256: met at 1 of 1 sizes measured"
    assert short.endswith("met, 0.400 ms")
    assert longer.endswith("MISSED, 5.000 ms, 1.25 times the bound")
    assert (
        "met at 2 of 3 sizes measured; MISSED: lstm (1000, 32, 8, 128) 1.40; not measured: gru (100, 64, 64, 128)"
        in wall
    )
    assert [line.rpartition(": ")[2] for line in report.targets([])] == ["not measured"] * 6


def test_the_table_has_a_line_for_every_row():
    size = (100, 64, 64, 128)
    rows = [row("lstm", size, "sequence", 0.4, 0.5), row("lstm", size, "torch.nn", 1.0), row("gru", size, "sequence")]
    rows[0]["predicted"] = report.predict("lstm", size)
    lines = report.table(rows).splitlines()
    assert "0.400    0.500     0.400    0.500     2.50      0.33-0.19  1.0e-06  yes" in lines[1]
    assert "does not fit: too large" in lines[3]
    assert max(map(len, lines[:3])) <= 129


def test_results_that_are_kept_are_whole():
    """What a machine with a GPU has written, if one has."""
    for path in gpu.RESULTS.glob("gpu_*.json"):
        kept = json.loads(path.read_text(encoding="utf-8"))
        assert not kept["rehearsal"], path
        assert kept["device"]["name"], path
        assert {row["status"] for row in kept["rows"]} <= {
            "measured",
            "wrong",
            "does not fit",
            "failed",
            "not measured",
        }, path
        for old in kept["rows"]:
            if old["status"] == "measured":
                assert old["max_error"] <= kept["bounds"][old["policy"]], path


# ---- the ladder --------------------------------------------------------------------------------------------------------


@pytest.mark.underflows
@needs_numba_cuda
def test_the_ladder_without_a_gpu_counts_and_predicts():
    done = run(FOLDER / "ladder.py", CUDA_VISIBLE_DEVICES="-1")
    assert done.returncode == 0, done.stderr
    rungs = {line.split()[1]: line for line in done.stdout.splitlines() if re.match(r"[1-4] ", line)}
    assert list(rungs) == list(ladder.RUNGS)
    assert all(line.endswith("not measured") for line in rungs.values())
    # As the code reads: forward a product, a sum, and per gate a sigmoid (4) or tanh; c, h, and six copies.  Backward likewise.
    launches = {name: re.search(r"(\d+) \+ (\d+) +(\d+)", line).groups() for name, line in rungs.items()}
    assert launches["array"][:2] == ("26", "29")
    assert launches["naive"][:2] == ("11", "20")
    assert launches["step"][:2] == ("3", "3")
    assert launches["sequence"][:2] == ("0", "0")
    totals = [int(total) for _, _, total in launches.values()]
    assert totals == sorted(totals, reverse=True)
    assert 100 * 6 < totals[2] < 100 * 6 + 20 > totals[3] + 600
    # step forward: the product 5, the sum 12, the kernel 11, x W_x 4 and + b 8; backward the sum 3, kernel 13, product 5, after it 17
    assert re.search(r"step +s =  40, w = 4, i = 1   s =  38, w = 4, i = 2", done.stdout)
    assert re.search(r"sequence s =  14, w = 0, i = 1", done.stdout)  # b is added inside: no pass of its own
    readme = (ROOT / "kernels" / "README.md").read_text(encoding="utf-8")
    lesson = (ROOT / "tutorials" / "14_from_numpy_to_the_gpu.py").read_text(encoding="utf-8")
    times = {}
    for name, line in rungs.items():  # the table there is this one
        ms = r" +[\d.]+ +[\d.]+ +[\d.-]+ +([\d.]+) +not measured$"
        launched, counted, moved, predicted = re.search(rf"(\d+ \+ \d+) +(\d+) +([\d.]+){ms}", line).groups()
        assert re.search(
            rf"^\| {line[0]} `{name}` \| {re.escape(launched)} \| {counted} \| {moved} \| {predicted} \| ", readme, re.M
        )
        # lesson 14 has the same launches, and says how many are Numba's; its model gives the same times
        row = re.search(rf"^# \| {name} \| .* \| (\d+) \+ (\d+) \| (\d+) \+ (\d+) \|$", lesson, re.M)
        forward, backward, *by_numba = map(int, row.groups())
        assert launched == f"{forward} + {backward}"
        asking = 100 * (8e-3 * (forward + backward - sum(by_numba)) + 50e-3 * sum(by_numba))
        times[name] = float(predicted)
        assert name == "sequence" or asking == pytest.approx(times[name], rel=0.02)
    assert max(times, key=times.get) == "naive"  # and both say so
    assert "this rung is predicted to be the slowest" in " ".join(readme.split())
    assert "By this model `naive` is the slowest rung" in lesson


@needs_numba_cuda
def test_all_rungs_compute_the_same_in_the_simulator():
    done = run(FOLDER / "ladder.py", "--simulate")
    assert done.returncode == 0, done.stderr
    errors = {line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines()}
    assert list(errors) == list(ladder.RUNGS)
    assert max(errors.values()) < 1e-6


@needs_numba_cuda
def test_a_rung_that_computes_something_else_is_found():
    code = (
        "import ladder, naive_lstm, sys; naive_lstm.D_TANH = naive_lstm.D_SIGMOID;"
        "everything = list(ladder.pairs()); ladder.pairs = lambda: everything[:2]; sys.exit(ladder.simulate())"
    )
    done = run("-c", code, NUMBA_ENABLE_CUDASIM="1")
    assert done.returncode == 1, done.stderr
    assert float(done.stdout.splitlines()[-1].split()[1]) > 1e-3


@needs_numba_cuda
def test_the_naive_kernels_compile_for_a_gpu():
    """For arrays with strides, as a gate's block has; no double precision in float32."""
    code = """
from numba import cuda, float32
from numba.cuda import dispatcher
dispatcher.get_current_device = lambda: type("", (), {"compute_capability": (9, 0)})
import naive_lstm
for name in ("SIGMOID", "D_SIGMOID", "D_TANH", "TANH", "MULTIPLY", "ADD"):
    function = getattr(naive_lstm, name).py_func
    ptx, _ = cuda.compile_ptx(function, (float32[:, :],) * function.__code__.co_argcount, cc=(9, 0))
    print(name, ".f64" in ptx)
"""
    done = run("-c", code)
    if done.returncode and ("libnvvm" in done.stderr or "libnvrtc" in done.stderr or "NvvmSupportError" in done.stderr):
        pytest.skip("needs NVIDIA's compiler libraries: pip install -e '.[ptx]'")
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["False"] * 6


def test_an_operation_that_the_ladder_cannot_count_is_an_error():
    x = ladder.counted(np.ones((2, 3), np.float32))
    ladder.LEDGER.clear()
    with pytest.raises(NotImplementedError, match=r"np\.where"):
        np.where(x > 0, x, x)
    ladder.LEDGER.clear()
    y = x.reshape(3, 2) @ x + np.float32(1)  # two launches; a shape costs nothing
    y[0] = 2 * y[1].T
    assert type(y) is ladder.Counted
    assert ladder.sum_of(ladder.LEDGER) == (4, 0, 4 * ((6 + 6 + 9) + (9 + 9) + (3 + 3) + (3 + 3)))


@pytest.mark.underflows
def test_steps_that_do_not_cost_the_same_are_an_error():
    def forward(x, h0, c0, W_x, W_h, b):
        y, cache = CELLS["lstm"].forward(x, h0, c0, W_x, W_h, b)
        return (y + y if len(x) > 4 else y), cache

    with pytest.raises(ValueError, match="forward: 5 steps cost"):
        ladder.count_rung((forward, CELLS["lstm"].backward), SIZE)


def test_the_prediction_is_the_largest_of_its_times():
    options = ladder.parse(["--array-us", "1", "--kernel-us", "10", "--bandwidth", "2"])
    cost = ladder.Cost(array=1000, kernel=300, bytes=8_000_000)
    assert ladder.predicted_ms("step", cost, SIZE, options) == {"launches": 4.0, "bytes": 0.004}
    assert ladder.predicted_ms("sequence", cost, (100, 64, 64, 128), options)["on chip"] == pytest.approx(
        0.33, abs=0.01
    )
    costs = {rung: {"reason": "numba is missing"} for rung in ladder.RUNGS}
    step = {name: {"once": [2, 0, 16], "step": [10, 3, 80_000]} for name in ladder.PASSES}
    costs["step"] = step | {"units": dict.fromkeys(ladder.PASSES, (40, 4, 1))}
    lines = list(ladder.report((100, 1, 1, 1), costs, {"step": {"gpu_ms": 3.25}}, options))
    assert any(
        re.match(r"3 step +13 \+ 13 +2604 +16\.0 +8\.004 +0\.008 +- +8\.004 +3\.250 ms$", line) for line in lines
    )
    assert "1 array      not counted: numba is missing; not measured" in lines


@pytest.mark.gpu
def test_both_on_a_gpu(tmp_path):
    """As they are run, at a size that takes a moment: nothing is wrong, nothing has failed, every rung has a time."""
    pytest.importorskip("cupy")
    done = run(FOLDER / "gpu.py", "--cells", "lstm", "gru", "--sizes", "20,4,3,8", "--seconds", "15", "--out", tmp_path)
    if done.returncode == gpu.NO_GPU:
        pytest.skip(done.stderr)
    (path,) = tmp_path.glob("gpu_*.json")
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert done.returncode == 0, [(row["contender"], row["status"], row["reason"]) for row in rows]
    assert {row["status"] for row in rows} == {"measured"}
    done = run(FOLDER / "ladder.py", "--size", "20,4,3,8", "--seconds", "4")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^[1-4] .* ms$", done.stdout, re.M)) == 4, done.stdout
