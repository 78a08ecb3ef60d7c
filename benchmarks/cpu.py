"""scratchnet's engines on a CPU against PyTorch: training step, forward alone, and epoch.

    python benchmarks/cpu.py               everything, about six minutes
    python benchmarks/cpu.py --quick       a subset, about a minute
    python benchmarks/cpu.py --table       the README's table, from the last file of results
    python benchmarks/cpu.py --cells lstm --sizes 100,64,64,128 --seconds 20 --out .

A training step is forward and backward: the gradients of the input and all weights, on both sides
from the same float32 numbers. Forward alone keeps what backward would need in ours, and nothing in
PyTorch (``inference_mode``).

Each peer is a separate process (``cpu_worker.py``): two thread pools in one process compete. They
work in turns, a few runs each, round after round, one at a time, so that a busy moment affects all
alike. A turn counts by its median, the rounds by the median of their ratios and the quartiles.
Before that, output and gradients of each engine are compared with PyTorch's, and one that is wrong
is not timed.

Workers do not see what the environment says to BLAS and OpenMP: ``OPENBLAS_CORETYPE`` chooses the
routines of another processor, often at half the speed. The results name the variables that were
removed. Each run writes a new file.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import compact
import numpy as np
from cpu_report import (
    BUSY,
    MEGABYTE,
    bracketed,
    exponent,
    forward_flops,
    latest,
    ratio,
    size_of,
    spread,
    targets,
    training_flops,
    write_readme,
)

from scratchnet.arrays import Array
from scratchnet.cells import CELLS
from scratchnet.commands.demo import UNITS, WIDTH
from scratchnet.data import Standardizer, datasets, sliding_windows, split_at
from scratchnet.files.machine import describe

Size = tuple[int, int, int, int]  # (T, B, I, H): time steps, sequences, inputs, units
Row = dict[str, Any]

SIZES: tuple[Size, ...] = (
    (50, 16, 8, 32),
    (100, 32, 1, 64),
    (100, 64, 64, 128),
    (100, 64, 64, 256),
    (200, 64, 128, 512),
    (1000, 32, 8, 128),
    (1000, 1, 8, 64),
)
QUICK_SIZES = SIZES[:3]
BENCHED = ("lstm", "gru", "rnn")
OURS = "sequence"  # the engine that targets and ratios are about
BESIDE = ("array", "step")  # others of scratchnet
SWEEP_FROM: Size = (100, 32, 32, 128)
SWEEPS = {
    "T": (0, (50, 100, 200, 400)),
    "B": (1, (8, 16, 32, 64, 128)),
    "H": (3, (32, 64, 128, 256)),
}
QUICK_SWEEPS = {"T": (0, (25, 50, 100)), "B": (1, (4, 8, 16)), "H": (3, (32, 64, 128))}
BOUND = 1e-4  # largest difference to PyTorch over the largest number, that is still right
EPOCH_BOUND = 1e-3  # after an epoch of Adam, which divides by small gradients
# Seconds, about, of a peer's turn, and untimed before it: after a rest, all threads of a process
# wake up on one core, and it takes the system a while to spread them.
TURN, WARM = 0.1, 0.05
# the last for peers without a target
MOST_RUNS, LEAST_ROUNDS, MOST_ROUNDS, BESIDE_ROUNDS = 200, 4, 9, 3
# seconds after a turn: OpenBLAS's threads busy-wait for more work, PyTorch's not as long
PAUSE = {"array": 0.04}
SHORT_PAUSE = 0.01
PARTS = {"rows": 0.75, "sweeps": 0.15, "epoch": 0.1}  # of the seconds left for timing
# rows and columns of the matrices whose product measures the machine's peak
GEMM, QUICK_GEMM = 2048, 512
LIBRARIES = {OURS: "numpy", "torch": "torch"}  # whose product it is
FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
TAKEN_AWAY = ("OPENBLAS_", "OMP_", "GOMP_", "KMP_", "MKL_", "BLIS_", "VECLIB_", "ATEN_", "TORCH_")
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


# ---- peers -------------------------------------------------------------------------------------


class Peer:
    """A worker process that is asked and answers."""

    def __init__(self, name: str, threads: int, worker: str = "cpu_worker.py") -> None:
        self.name, self.threads = name, threads
        command = [sys.executable, str(FOLDER / worker), name, str(threads)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment(threads),
        )

    def ask(self, do: str, **request: Any) -> Any:
        """The worker's answer; RuntimeError where the process has ended, with its stderr."""
        try:
            print(json.dumps({"do": do} | request), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline() if self.process.stdout else ""
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(
                f"the worker {self.name} on {self.threads} threads ended when asked to {do}"
                f" {request}"
            )
        return json.loads(answer)

    def close(self) -> None:
        """No more requests: it ends."""
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        if self.process.stdout:
            self.process.stdout.close()
        self.process.wait()


@contextmanager
def peers(
    names: Iterable[str], threads: int, worker: str = "cpu_worker.py"
) -> Iterator[list[Peer]]:
    """Workers by these names, for as long as the context lasts."""
    with ExitStack() as stack:
        found = []
        for name in names:
            found.append(Peer(name, threads, worker))
            stack.callback(found[-1].close)
        yield found


def environment(threads: int) -> dict[str, str]:
    """The environment of a worker: without the variables that steer BLAS and OpenMP.

    Only their number of threads is set.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(TAKEN_AWAY)}
    path = os.pathsep.join(
        [
            str(FOLDER.parent),
            str(FOLDER.parent / "kernels"),
            *filter(None, [kept.get("PYTHONPATH")]),
        ]
    )
    return kept | dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"PYTHONPATH": path}


def taken_away() -> dict[str, str]:
    """What workers do not see of this process's environment."""
    return {
        name: value for name, value in sorted(os.environ.items()) if name.startswith(TAKEN_AWAY)
    }


# ---- data --------------------------------------------------------------------------------------


def make_data(cell_name: str, size: Size, seed: int) -> dict[str, Array]:
    """Input, gradient of the output, and weights as PyTorch draws them, float32, in our layout."""
    T, B, I, H = size
    rng = np.random.default_rng(seed)
    data = {"x": rng.standard_normal((T, B, I)), "dy": rng.standard_normal((T, B, H)) / (T * B)}
    for name, shape in CELLS[cell_name].param_shapes(I, H).items():
        data[name] = rng.uniform(-1, 1, shape) / math.sqrt(H)
    return {name: value.astype(np.float32) for name, value in data.items()}


def make_epoch_data(seed: int) -> dict[str, Array]:
    """The demo's sunspots to learn from, as windows, and the weights of its LSTM."""
    series = datasets.load("sunspots")
    train = split_at(series.times, 1890)[0]
    z = Standardizer().fit(series.values[train]).transform(series.values).astype(np.float32)
    learned = sliding_windows(z, WIDTH, part=slice(WIDTH, train.stop))
    cell = make_data("lstm", (1, 1, 1, UNITS), seed)
    rec = {f"rec.{name}_l0": cell[name] for name in ("W_x", "W_h", "b")}
    head = {"head.W": cell["W_h"][:, :1].copy(), "head.b": np.zeros(1, np.float32)}
    return {"x": learned.x, "y": learned.y} | rec | head


# ---- right? ------------------------------------------------------------------------------------


def difference(ours: dict[str, Array], theirs: dict[str, Array]) -> float:
    """The largest relative difference of all arrays.

    Largest difference over the largest number; infinite where ours lacks an array or has NaN.
    """
    worst = 0.0
    for name, right in theirs.items():
        mine = ours.get(name)
        if mine is None or mine.shape != right.shape or not np.isfinite(mine).all():
            return math.inf
        scale = float(np.abs(right).max())
        worst = max(worst, float(np.abs(mine - right).max()) / (scale or 1.0))
    return worst


class Checked(NamedTuple):
    """What came of comparing a job of all peers with the first one's."""

    right: list[Peer]  # those to be timed
    errors: dict[str, float | None]  # of each engine; None where it was not finite
    seconds: dict[str, float]  # that a run takes, roughly

    def fields(self) -> Row:
        """What a row says about it: the errors, and who was ``wrong``."""
        wrong = [name for name in self.errors if name not in {peer.name for peer in self.right}]
        return {"errors": self.errors} | ({"wrong": wrong} if wrong else {})


def check(workers: Sequence[Peer], what: str, folder: Path, bound: float) -> Checked:
    """Compare the engines' results with PyTorch's."""
    results: dict[str, dict[str, Array]] = {}
    errors: dict[str, float | None] = {}
    seconds, right = {}, []
    for peer in sorted(workers, key=lambda p: p.name != "torch"):
        path = folder / f"{peer.name}.npz"
        seconds[peer.name] = peer.ask("check", what=what, out=str(path))
        with np.load(path) as file:
            results[peer.name] = {name: file[name] for name in file.files}
        off = difference(results[peer.name], results["torch"])
        if peer.name != "torch":
            errors[peer.name] = float(f"{off:.2g}") if math.isfinite(off) else None
        if off <= bound:
            right.append(peer)
        else:
            wrong = f"WRONG: {peer.name} is {off:.1e} away from torch and is not timed"
            print(wrong, file=sys.stderr)
    return Checked(right, errors, seconds)


# ---- time --------------------------------------------------------------------------------------


def rounds(
    workers: Sequence[Peer],
    what: dict[str, str],
    once: dict[str, float],
    seconds: float,
    beside: int = BESIDE_ROUNDS,
) -> dict[str, list[float]]:
    """Seconds of a run, by peer, a number a round, at least LEAST_ROUNDS rounds.

    ``what``: the job of each peer; ``once``: what a run takes, roughly; ``beside``: rounds, at
    most, of those besides ours and PyTorch. The order turns round every time.
    """
    turn = min(TURN, seconds / LEAST_ROUNDS)
    fitting = {peer.name: round(turn / max(once[peer.name], 1e-6)) for peer in workers}
    runs = {name: max(1, min(MOST_RUNS, count)) for name, count in fitting.items()}
    times: dict[str, list[float]] = {peer.name: [] for peer in workers}
    end = time.perf_counter() + seconds
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and time.perf_counter() > end:
            break
        taking_part = [peer for peer in workers if number < beside or peer.name in (OURS, "torch")]
        for peer in taking_part if number % 2 else taking_part[::-1]:
            count = runs[peer.name]
            warm = WARM if count > 1 else 0
            taken = peer.ask("time", what=what[peer.name], runs=count, warm=warm)
            times[peer.name].append(statistics.median(taken))
            time.sleep(PAUSE.get(peer.name, SHORT_PAUSE))
    return times


def compared(times: dict[str, list[float]]) -> Row:
    """Milliseconds of each peer, and how often ours fits into each other's time."""
    found: Row = {"ms": {name: spread([1000 * s for s in taken]) for name, taken in times.items()}}
    if OURS in times:
        others = {name: taken for name, taken in times.items() if name != OURS}
        found["ratio"] = {name: ratio(taken, times[OURS]) for name, taken in others.items()}
    return found


def measure(
    workers: Sequence[Peer], cell: str, size: Size, seconds: float, seed: int, folder: Path
) -> Iterator[Row]:
    """The rows of one cell at one size and number of threads: training step, forward alone."""
    load(workers, cell, size, seed, folder)
    for what in ("training", "forward"):
        checked = check(workers, what, folder, BOUND)
        row: Row = {"cell": cell, **dict(zip("TBIH", size))}
        row |= {"threads": workers[0].threads, "what": what} | checked.fields()
        jobs = dict.fromkeys(checked.seconds, what)
        yield row | compared(rounds(checked.right, jobs, checked.seconds, seconds / 2))


def load(workers: Sequence[Peer], cell: str, size: Size, seed: int, folder: Path) -> None:
    """Give all of them the same data."""
    path = folder / "data.npz"
    np.savez(path, **make_data(cell, size, seed))
    for peer in workers:
        peer.ask("load", cell=cell, data=str(path))


def measure_epoch(workers: Sequence[Peer], seconds: float, seed: int, folder: Path) -> Row:
    """One epoch of the demo's LSTM; PyTorch's is that with the faster of its two Adams."""
    path = folder / "epoch.npz"
    np.savez(path, **make_epoch_data(seed))
    for peer in workers:
        peer.ask("load", data=str(path), seed=seed)
    checked = check(workers, "epoch", folder, EPOCH_BOUND)
    row: Row = {"threads": workers[0].threads} | checked.fields()
    (torch,) = (peer for peer in workers if peer.name == "torch")
    adams = {
        job: statistics.median(torch.ask("time", what=job, runs=3, warm=WARM))
        for job in ("epoch", "epoch_fused")
    }
    faster = min(adams, key=lambda job: adams[job])
    once = {
        peer.name: statistics.median(peer.ask("time", what="epoch", runs=2, warm=WARM))
        for peer in checked.right
    }
    times = rounds(checked.right, dict.fromkeys(once, "epoch") | {"torch": faster}, once, seconds)
    return (
        row
        | {"torch_adam": {"epoch": "default", "epoch_fused": "fused=True"}[faster]}
        | compared(times)
    )


def sweep(
    workers: Sequence[Peer],
    axis: int,
    values: Sequence[int],
    seconds: float,
    seed: int,
    folder: Path,
) -> Row:
    """Training steps of the LSTM at several values of one of (T, B, I, H), and growth exponents."""
    found: dict[str, list[float]] = {peer.name: [] for peer in workers}
    for value in values:
        T, B, I, H = (value if place == axis else given for place, given in enumerate(SWEEP_FROM))
        load(workers, "lstm", (T, B, I, H), seed, folder)
        once = {
            peer.name: peer.ask("time", what="training", runs=1, warm=WARM)[0] for peer in workers
        }
        times = rounds(workers, dict.fromkeys(once, "training"), once, seconds / len(values))
        for name, taken in times.items():
            found[name].append(float(f"{1000 * statistics.median(taken):.4g}"))
    return {
        "from": dict(zip("TBIH", SWEEP_FROM)),
        "values": list(values),
        "ms": found,
        "exponent": {name: exponent(values, taken) for name, taken in found.items()},
    }


# ---- the machine -------------------------------------------------------------------------------


def gemm_peaks(
    workers: dict[int, list[Peer]], n: int, before: dict[str, Row] | None = None
) -> dict[str, Row]:
    """For each number of threads, GFLOP/s of a float32 product of (n, n) matrices.

    By NumPy's BLAS, by PyTorch's, and the most: of both, of fewer threads, and of what was measured
    ``before``.
    """
    found: dict[str, Row] = {}
    peak = 0.0
    for threads in sorted(workers):
        row = {"numpy": 0.0, "torch": 0.0} | (before or {}).get(str(threads), {})
        for peer in workers[threads]:
            if peer.name in LIBRARIES:
                library = LIBRARIES[peer.name]
                row[library] = max(row[library], round(peer.ask("gemm", n=n) / 1e9, 1))
                time.sleep(PAUSE["array"])
        peak = max(peak, row["numpy"], row["torch"])
        found[str(threads)] = row | {"peak": peak}
    return found


def share_of_peak(row: Row, peaks: dict[str, Row]) -> float | None:
    """Share of the GEMM peak, on as many threads, that our time for a row amounts to.

    None where there is none.
    """
    if OURS not in row["ms"]:
        return None
    flops = (training_flops if row["what"] == "training" else forward_flops)(
        row["cell"], *(row[axis] for axis in "TBIH")
    )
    return float(
        f"{flops / (row['ms'][OURS]['median'] * 1e6 * peaks[str(row['threads'])]['peak']):.3g}"
    )


def peak_memory(cell: str, size: Size, threads: int, seed: int) -> Row:
    """Peak bytes of a training step above data, weights and libraries, of both libraries.

    Each in a new process.
    """
    row: Row = {"cell": cell, **dict(zip("TBIH", size))}
    with tempfile.TemporaryDirectory() as name:
        for peer in (OURS, "torch"):
            with peers([peer], threads) as workers:
                # compiles, and wakes the threads
                load(workers, cell, (2, 2, 2, size[3]), seed, Path(name))
                workers[0].ask("time", what="training", runs=2)
                load(workers, cell, size, seed, Path(name))
                found = workers[0].ask("memory", what="training")
                row |= {peer: found["bytes"], "how": found["how"]}
    return row


def machine(threads: int) -> Row:
    """What the times depend on besides the code."""
    return describe() | {"threads": threads}


def usable_cores() -> int:
    """All threads: as many as there are processors for this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seconds_of_processors() -> tuple[float, float]:
    """Busy seconds of all processors since boot, and of this process and its children.

    The first is 0 where the system does not tell.
    """
    own = sum(os.times()[:4])
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0, own
    user, nice, system, _, _, *interrupts = (
        int(ticks) for ticks in stat.read_text(encoding="ascii").split()[1:9]
    )
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK"), own


def load_of_machine() -> float | None:
    """How many processes wanted to run, mean of the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


# ---- all of it ---------------------------------------------------------------------------------


def run(options: argparse.Namespace) -> Row:
    """Measure everything; the report as it is written."""
    started, worked = time.perf_counter(), seconds_of_processors()
    end = started + options.seconds
    threads = usable_cores()
    sizes: tuple[Size, ...] = options.sizes or (QUICK_SIZES if options.quick else SIZES)
    names = [*dict.fromkeys(options.engines), "torch", OURS]
    report: Row = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(threads),
        "versions": {},
        "load_before": load_of_machine(),
        "dtype": "float32",
        "seed": options.seed,
        "environment": {
            "taken_away": taken_away(),
            "openblas_coretype_unset": True,
            "set": {str(n): {name: str(n) for name in THREAD_VARIABLES} for n in {1, threads}},
        },
        "rows": [],
        "epoch": [],
        "sweeps": {},
        "memory": [],
    }
    jobs = [(cell, size, threads, options.seed) for cell in options.cells for size in sizes]
    with ThreadPoolExecutor(usable_cores()) as pool:  # bytes are the same with others at work
        report["memory"] = list(pool.map(lambda job: peak_memory(*job), jobs))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        by_threads = {
            n: stack.enter_context(peers(names, n)) for n in sorted({threads, 1}, reverse=True)
        }
        for peer in by_threads[threads]:
            report["versions"] |= peer.ask("about")
        n = QUICK_GEMM if options.quick else GEMM
        report["gemm_gflops"] = gemm_peaks(by_threads, n)
        print(f"GEMM peak, GFLOP/s: {report['gemm_gflops']}", flush=True)
        timed = max(0.0, end - time.perf_counter())  # what is left
        for workers in list(by_threads.values())[: 1 if options.quick else None]:
            share = timed * PARTS["epoch"] / len(by_threads)
            report["epoch"].append(measure_epoch(workers, share, options.seed, folder))
            print(f"epoch, {workers[0].threads} threads: {line(report['epoch'][-1])}", flush=True)
        pair = [peer for peer in by_threads[threads] if peer.name in (OURS, "torch")]
        for axis, (place, values) in (QUICK_SWEEPS if options.quick else SWEEPS).items():
            share = timed * PARTS["sweeps"] / len(SWEEPS)
            report["sweeps"][axis] = sweep(pair, place, values, share, options.seed, folder)
            print(f"time ~ {axis}^p: {report['sweeps'][axis]['exponent']}", flush=True)
        # what they leave is for the large ones
        small_first = sorted(sizes, key=lambda size: training_flops("lstm", *size))
        todo = [
            (size, cell, workers)
            for size in small_first
            for cell in options.cells
            for workers in by_threads.values()
        ]
        for done, (size, cell, workers) in enumerate(todo):
            share = max(0.0, end - time.perf_counter()) / (len(todo) - done)
            for row in measure(workers, cell, size, share, options.seed, folder):
                report["rows"].append(row)
                print(
                    f"{cell:5s}{size!s:22s}{row['threads']} threads  {row['what']:9s}{line(row)}",
                    flush=True,
                )
        # again: a busy moment must not lower it
        report["gemm_gflops"] = gemm_peaks(by_threads, n, report["gemm_gflops"])
    for row in report["rows"]:
        row["of_gemm_peak"] = share_of_peak(row, report["gemm_gflops"])
    order = {size: place for place, size in enumerate(sizes)}
    report["rows"].sort(
        key=lambda r: (
            options.cells.index(r["cell"]),
            order[r["T"], r["B"], r["I"], r["H"]],
            -r["threads"],
        )
    )
    took = time.perf_counter() - started
    everyone, ours = (after - before for after, before in zip(seconds_of_processors(), worked))
    others = max(0.0, round((everyone - ours) / took, 2)) if everyone else None
    ended: Row = {
        "seconds": round(took),
        "load_after": load_of_machine(),
        "processors_used_by_others": others,
    }
    return report | ended | {"targets": targets(report)}


def line(row: Row) -> str:
    """A row for people."""
    took = "  ".join(f"{name} {found['median']:.4g}" for name, found in row["ms"].items())
    ratios = "  ".join(
        f"{name}/{OURS} {bracketed(found)}" for name, found in row.get("ratio", {}).items()
    )
    return f"ms: {took}   {ratios}" + (
        f"   WRONG: {', '.join(row['wrong'])}" if row.get("wrong") else ""
    )


def new_file(folder: Path, name: str) -> Path:
    """A results file that is not there yet: <name>.json, then <name>_2.json and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    path, number = folder / f"{name}.json", 1
    while path.exists():
        number += 1
        path = folder / f"{name}_{number}.json"
    return path


def parse_size(text: str) -> Size:
    """``100,64,64,128`` as (T, B, I, H)."""
    numbers = tuple(int(part) for part in text.split(","))
    if len(numbers) != 4 or min(numbers) < 1:
        raise ValueError(text)
    return numbers


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the JSON, print the targets; or rewrite the README's table.

    Returns 1 where an engine's numbers are wrong.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cells", nargs="+", choices=BENCHED, default=list(BENCHED), help="default: all three"
    )
    parser.add_argument("--sizes", nargs="+", type=parse_size, help="each T,B,I,H; default: seven")
    parser.add_argument(
        "--engines",
        nargs="+",
        choices=BESIDE,
        default=["array"],
        help=f"beside {OURS}; default: array",
    )
    parser.add_argument("--quick", action="store_true", help="fewer and smaller sizes, in a minute")
    parser.add_argument(
        "--seconds",
        type=float,
        help="in all, roughly: 340, or 50 with --quick; some rounds are run anyway",
    )
    parser.add_argument("--seed", type=int, default=0, help="of data and weights, default 0")
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="folder, default benchmarks/results"
    )
    parser.add_argument(
        "--table",
        type=Path,
        nargs="?",
        const=latest(RESULTS),
        default=False,
        help="measure nothing: write the README's table from this file, default the last one",
    )
    options = parser.parse_args(arguments)
    if options.table is not False:
        write_readme(options.table)
        return 0
    if options.seconds is None:
        options.seconds = 50.0 if options.quick else 340.0
    report = run(options)
    path = new_file(options.out, f"cpu_{report['date']}")
    compact.write(path, report)
    for row in report["memory"]:
        megabytes = ", ".join(f"{name} {row[name] / MEGABYTE:.2f} MB" for name in (OURS, "torch"))
        print(f"memory, {row['cell']} {size_of(row)}: {megabytes}")
    if (report["processors_used_by_others"] or 0) > BUSY:
        print(
            f"others used {report['processors_used_by_others']} processors meanwhile: measure"
            " again",
            file=sys.stderr,
        )
    for target in report["targets"]:
        verdict = {True: "met", False: "MISSED", None: "not measured"}[target["met"]]
        print(
            f"{target['target']}: wanted {target['wanted']}, measured {target['measured']}:"
            f" {verdict}"
        )
    print(path)
    return int(any(row.get("wrong") for row in [*report["rows"], *report["epoch"]]))


if __name__ == "__main__":
    sys.exit(main())
