"""The ``sequence`` engine against PyTorch at sizes that nobody chose.

    python benchmarks/random_sizes.py                 the 60 sizes of seed 0, a quarter of an hour
    python benchmarks/random_sizes.py --random        60 others, of a seed drawn from the clock
    python benchmarks/random_sizes.py --seed 7 --count 20 --cells lstm --threads 2
    python benchmarks/random_sizes.py --busy 1        beside a process that never rests
    python benchmarks/random_sizes.py --table         docs/speed.md, from the last files of results

T (8 to 1000), B (1 to 256), I (1 to 256) and H (8 to 512) are drawn log-uniformly, so H is often
no multiple of a vector. Measured as in ``cpu.py``: each peer in its own process, in turns, checked
before it is timed. On one thread and on all; training step, and forward alone (PyTorch's in
``inference_mode``). With ``--busy`` other processes keep that many processors busy meanwhile.

Each time is printed with the largest of three limits of this machine, which are measured too: the
products at the peak rate of a large matrix product, the bytes that must be moved at the rate of
copying as many, and the chain of T steps at the time of the smallest step.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import compact
import numpy as np
from cpu import (
    BENCHED,
    BOUND,
    OURS,
    RESULTS,
    Peer,
    Row,
    Size,
    check,
    compared,
    load,
    load_of_machine,
    machine,
    new_file,
    peers,
    rounds,
    seconds_of_processors,
    taken_away,
    usable_cores,
)
from cpu_report import GATES, forward_flops

LOWEST, HIGHEST = (8, 1, 1, 8), (1000, 256, 256, 512)
COUNT = 60
PASSES = ("training", "forward")
GEMM = 2048
COPIED = (1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28)  # bytes
CHAIN: Size = (1000, 1, 1, 8)
STATES = {"lstm": 2, "gru": 1, "rnn": 1}
MORE = {"lstm": 0, "gru": 4, "rnn": 0}  # numbers of H that backward keeps besides: m_n and dm
# Geometric means of PyTorch's time over ours that were asked for, and at (almost) every size.
WANTED = {"lstm": 1.6, "gru": 3.0, "rnn": 2.5}
WANTED_FORWARD, ALMOST_ALL, AT_LEAST, NEVER_UNDER = 1.1, 0.95, 1.05, 0.95
DOCUMENT = Path(__file__).parent.parent / "docs" / "speed.md"
BEGIN, END = "<!-- benchmark: random sizes -->", "<!-- end -->"


def draw(seed: int, count: int) -> list[Size]:
    """Sizes (T, B, I, H), each log-uniform and rounded."""
    rng = np.random.default_rng(seed)
    low, high = np.log(LOWEST), np.log(HIGHEST)
    drawn = np.rint(np.exp(rng.uniform(low, high, (count, 4)))).astype(int)
    return [(int(T), int(B), int(I), int(H)) for T, B, I, H in drawn]


# ---- the machine's own limits --------------------------------------------------------------------


def measure_limits(workers: dict[int, list[Peer]], folder: Path) -> Row:
    """By number of threads: GFLOP/s of a product, bytes a second of copies, seconds of a step."""
    found: Row = {}
    for threads, both in workers.items():
        peaks = {peer.name: round(peer.ask("gemm", n=GEMM) / 1e9, 1) for peer in both}
        (ours,) = (peer for peer in both if peer.name == OURS)
        copies = {str(size): round(ours.ask("copy", size=size) / 1e9, 2) for size in COPIED}
        steps = {}
        for cell in GATES:
            load([ours], cell, CHAIN, 0, folder)
            for what in PASSES:
                seconds = statistics.median(ours.ask("time", what=what, runs=9, warm=0.2))
                steps[f"{cell} {what}"] = round(1e6 * seconds / CHAIN[0], 3)
        found[str(threads)] = {"gflops": peaks, "copy_gb_s": copies, "step_us": steps}
    return found


def limit(row: Row, limits: Row) -> Row:
    """The largest of the three lower bounds of a time, in ms, and which it is."""
    cell, training = row["cell"], row["what"] == "training"
    T, B, I, H = (row[axis] for axis in "TBIH")
    here, one = limits[str(row["threads"])], limits["1"]
    peak = max(*here["gflops"].values(), *one["gflops"].values())
    flops = forward_flops(cell, T, B, I, H) * (3 if training else 1)
    moved = 4 * numbers_moved(cell, T, B, I, H, training)
    kept = 4 * T * B * (I + (GATES[cell] + STATES[cell]) * H)  # the data that a pass goes over
    rate = next((r for size, r in here["copy_gb_s"].items() if int(size) >= kept), None)
    rate = rate or here["copy_gb_s"][str(COPIED[-1])]
    bounds = {
        "products": flops / peak / 1e6,
        "memory": moved / rate / 1e6,
        "chain": T * one["step_us"][f"{cell} {row['what']}"] / 1e3,
    }
    which = max(bounds, key=lambda name: bounds[name])
    return {"limit": which, "limit_ms": float(f"{bounds[which]:.3g}")}


def numbers_moved(cell: str, T: int, B: int, I: int, H: int, training: bool) -> int:
    """Numbers that a pass must read and write: its arguments, what it keeps, its results."""
    G, S = GATES[cell], STATES[cell]
    gates = 0 if cell == "rnn" else G * H  # its h is all that an RNN keeps
    forward = I + gates + S * H
    if not training:
        return T * B * forward
    backward = H + gates + S * H + G * H + I  # reads dy and what was kept, writes da and dx
    gradients = G * H + I + H  # reads da, x, h
    return T * B * (forward + backward + gradients + MORE[cell] * H)


# ---- measuring -----------------------------------------------------------------------------------


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many other processes that never rest."""
    loop = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(loop) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measure(
    workers: Sequence[Peer], cell: str, size: Size, seconds: float, folder: Path
) -> Iterator[Row]:
    """The rows of one cell at one size and number of threads."""
    load(workers, cell, size, 0, folder)
    for what in PASSES:
        checked = check(workers, what, folder, BOUND)
        row: Row = {"cell": cell, **dict(zip("TBIH", size)), "threads": workers[0].threads}
        row |= {"what": what} | checked.fields()
        jobs = dict.fromkeys(checked.seconds, what)
        yield row | compared(rounds(checked.right, jobs, checked.seconds, seconds))


def run(options: argparse.Namespace) -> Row:
    """Measure everything; the report as it is written."""
    started, worked = time.perf_counter(), seconds_of_processors()
    sizes = draw(options.seed, options.count)
    threads = options.threads or sorted({1, usable_cores()})
    report: Row = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(usable_cores()),
        "versions": {},
        "load_before": load_of_machine(),
        "dtype": "float32",
        "seed": options.seed,
        "count": options.count,
        "busy": options.busy,
        "environment": {"taken_away": taken_away()},
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with peers((OURS, "torch"), 1) as one, peers((OURS, "torch"), usable_cores()) as all_:
            report["limits"] = measure_limits({1: one, usable_cores(): all_}, folder)
            for peer in one:
                report["versions"] |= peer.ask("about")
        for count in threads:
            with peers((OURS, "torch"), count) as workers, busy(options.busy):
                for cell in options.cells:
                    for size in sizes:
                        for row in measure(workers, cell, size, options.seconds, folder):
                            row |= limit(row, report["limits"])
                            report["rows"].append(row)
                            print(line(row), flush=True)
    took = time.perf_counter() - started
    everyone, ours = (after - before for after, before in zip(seconds_of_processors(), worked))
    others = max(0.0, round((everyone - ours) / took, 2)) if everyone else None
    ended: Row = {"seconds": round(took), "load_after": load_of_machine()}
    ended["processors_used_by_others"] = others
    return report | ended | {"summary": list(summary(report["rows"]))}


def line(row: Row) -> str:
    """A row for people."""
    size = str(tuple(row[axis] for axis in "TBIH"))
    ours, theirs = row["ms"].get(OURS), row["ms"]["torch"]["median"]
    if ours is None:
        return f"{row['cell']:5s}{size:22s}{row['threads']} threads {row['what']:9s} WRONG"
    return (
        f"{row['cell']:5s}{size:22s}{row['threads']} threads {row['what']:9s}"
        f" {ours['median']:10.3f} ms, torch {theirs:10.3f}: {row['ratio']['torch']['median']:5.2f};"
        f" {row['limit']} {row['limit_ms']} ms"
    )


def summary(rows: Sequence[Row]) -> Iterator[Row]:
    """For each cell, number of threads and pass: the ratios in four numbers, and what was asked."""
    keys = dict.fromkeys((row["cell"], row["threads"], row["what"]) for row in rows)
    for cell, threads, what in keys:
        these = [r for r in rows if (r["cell"], r["threads"], r["what"]) == (cell, threads, what)]
        ratios = [ratio(r) if "ratio" in r else 0.0 for r in these]
        mean = math.exp(statistics.fmean(math.log(max(r, 1e-9)) for r in ratios))
        found = {
            "cell": cell,
            "threads": threads,
            "what": what,
            "sizes": len(ratios),
            "geometric_mean": round(mean, 2),
            "least": round(min(ratios), 2),
            "share_at_least_1.05": round(sum(r >= AT_LEAST for r in ratios) / len(ratios), 3),
            "under_0.95": sum(r < NEVER_UNDER for r in ratios),
        }
        asked = WANTED[cell] if what == "training" else WANTED_FORWARD
        met = mean >= asked
        if what == "training":
            met = met and found["share_at_least_1.05"] >= ALMOST_ALL and not found["under_0.95"]
        yield found | {"asked": asked, "met": met}


# ---- the document --------------------------------------------------------------------------------


def write_document(files: Sequence[Path]) -> None:
    """Put the tables of results files between the marks in docs/speed.md."""
    between(BEGIN, END, document(files))


def document(files: Sequence[Path]) -> Iterator[str]:
    """A summary of each file; of the first one also what PyTorch wins, and the LSTM by sizes."""
    for path in files:
        report = json.loads(path.read_text(encoding="utf-8"))
        yield from summary_table(report, path.name)
        if path == files[0]:
            yield from ahead(report["rows"])
            yield from lstm_by_size(report["rows"])
        yield ""


def between(begin: str, end: str, lines: Iterable[str]) -> None:
    """Put these lines between two marks in docs/speed.md."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    made = "\n".join(lines)
    DOCUMENT.write_text(f"{before}{begin}\n{made}\n{end}{after}", encoding="utf-8")


def summary_table(report: Row, name: str) -> Iterator[str]:
    """Where and what was measured, and a row for each cell, pass and number of threads."""
    about, versions = report["machine"], report["versions"]
    beside = f", {report['busy']} busy all the time" if report["busy"] else ""
    yield (
        f"Seed {report['seed']}, {report['count']} sizes, float32, {report['date']}."
        f" {about['processor']}, {about['threads']} processors{beside}; NumPy {versions['numpy']},"
        f" Numba {versions['numba']}, PyTorch {versions['torch']}; `benchmarks/results/{name}`."
    )
    yield ""
    yield "| cell | pass | threads | geometric mean | least | 1.05 or more | under 0.95 | asked | |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in report["summary"]:
        yield (
            f"| {row['cell'].upper()} | {row['what']} | {row['threads']} |"
            f" {row['geometric_mean']:.2f} | {row['least']:.2f} |"
            f" {row['share_at_least_1.05']:.0%} | {row['under_0.95']} | {row['asked']} |"
            f" {'met' if row['met'] else 'missed'} |"
        )


def ahead(rows: Sequence[Row]) -> Iterator[str]:
    """The sizes at which PyTorch is faster, the most first."""
    found = [row for row in rows if "ratio" in row and ratio(row) < 1]
    yield ""
    yield f"PyTorch is faster in {len(found)} of {len(rows)} measurements:"
    yield ""
    yield "| cell | pass | threads | T, B, I, H | torch / ours | ours, ms | limit, ms |"
    yield "|---|---|---|---|---|---|---|"
    for row in sorted(found, key=ratio):
        yield (
            f"| {row['cell'].upper()} | {row['what']} | {row['threads']} |"
            f" {', '.join(str(row[axis]) for axis in 'TBIH')} | {ratio(row):.2f} |"
            f" {row['ms'][OURS]['median']:.3g} | {row['limit']} {row['limit_ms']:.3g} |"
        )


def ratio(row: Row) -> float:
    """PyTorch's time over ours."""
    return float(row["ratio"]["torch"]["median"])


def lstm_by_size(rows: Sequence[Row]) -> Iterator[str]:
    """Every size of the LSTM's training step."""
    yield ""
    yield "The LSTM's training step, size by size:"
    yield ""
    heads = [f"ms on {n} | torch / ours | limit, ms" for n in sorted({r["threads"] for r in rows})]
    yield f"| T, B, I, H | {' | '.join(heads)} |"
    yield "|---" * (1 + 3 * len(heads)) + "|"
    by_size: dict[tuple[int, ...], list[str]] = {}
    for row in rows:
        if (row["cell"], row["what"]) == ("lstm", "training"):
            cells = by_size.setdefault(tuple(row[axis] for axis in "TBIH"), [])
            if "ratio" in row:
                cells.append(f"{row['ms'][OURS]['median']:.3g}")
                cells.append(f"{ratio(row):.2f}")
                cells.append(f"{row['limit']} {row['limit_ms']:.3g}")
    for size, cells in by_size.items():
        yield f"| {', '.join(map(str, size))} | {' | '.join(cells)} |"


def latest(folder: Path) -> list[Path]:
    """The last results files: of seed 0, of another seed, and beside busy processes."""
    found = dict[str, Path]()
    for path in sorted(folder.glob("random_*.json"), key=lambda path: path.stat().st_mtime):
        kinds = [kind for kind in ("busy", "seed0") if kind in path.name]
        found[kinds[0] if kinds else "other"] = path
    return [found[kind] for kind in ("seed0", "other", "busy") if kind in found]


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the JSON, print the summary; or write the document's tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sizes, default 0")
    parser.add_argument("--random", action="store_true", help="a new seed, from the clock")
    parser.add_argument("--count", type=int, default=COUNT, help=f"sizes, default {COUNT}")
    parser.add_argument("--cells", nargs="+", choices=BENCHED, default=list(BENCHED))
    parser.add_argument("--threads", nargs="+", type=int, help="default: one, and all")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each row, default 0.3")
    parser.add_argument("--busy", type=int, default=0, help="processors kept busy, default 0")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default benchmarks/results")
    parser.add_argument(
        "--table",
        type=Path,
        nargs="*",
        help="measure nothing: write docs/speed.md from these files, default the last ones",
    )
    options = parser.parse_args(arguments)
    if options.table is not None:
        write_document(options.table or latest(RESULTS))
        return 0
    if options.random:
        options.seed = time.time_ns() % 10**6
    report = run(options)
    busy_too = f"_busy{options.busy}" if options.busy else ""
    path = new_file(options.out, f"random_{report['date']}_seed{options.seed}{busy_too}")
    compact.write(path, report)
    found: Any
    for found in report["summary"]:
        print(found)
    print(path)
    return int(any("wrong" in row for row in report["rows"]))


if __name__ == "__main__":
    sys.exit(main())
