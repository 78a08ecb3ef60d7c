"""The same work in scratchnet and in other libraries, in one table.

    python benchmarks/others.py                          five sizes, some minutes
    python benchmarks/others.py --random 6               six sizes of a seed drawn from the clock
    python benchmarks/others.py --cells lstm --sizes 100,64,64,128 --only jax
    python benchmarks/others.py --table                  docs/speed.md, from the last results

scratchnet's ``sequence`` engine beside PyTorch, torch.compile, Keras on JAX, a ``lax.scan`` in JAX,
and, for inference, onnxruntime: those that are installed. Three kinds of work: forward alone;
forward and backward; for the LSTM also a whole training iteration (forward, loss, backward,
clipping, Adam). ``others_worker.py`` says how each is written.

Measured as in ``cpu.py``: each in its own process, in turns. Results are compared with PyTorch's
first, and one that differs is named and not timed. What a library compiles, it compiles before.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import compact
import numpy as np
from cpu import (
    BENCHED,
    BOUND,
    EPOCH_BOUND,
    OURS,
    RESULTS,
    SIZES,
    Peer,
    Row,
    Size,
    check,
    compared,
    load,
    load_of_machine,
    machine,
    make_data,
    new_file,
    parse_size,
    peers,
    rounds,
    taken_away,
    usable_cores,
)
from others_worker import HEAD, NEEDED
from random_sizes import between, draw

README: Size = (299, 1, 1, 16)  # of the model on the README's first page
PASSES = ("forward", "training", "iteration")
TITLES = {"forward": "forward", "training": "forward, backward", "iteration": "iteration"}
BESIDE = 9  # rounds of each contender
BEGIN, END = "<!-- benchmark: others -->", "<!-- end of others -->"


def installed() -> tuple[list[str], dict[str, str]]:
    """Contenders that can run here, and why each other one cannot."""
    here, missing = [OURS], {}
    for name, modules in NEEDED.items():
        lacking = [module for module in modules if find_spec(module) is None]
        if lacking:
            missing[name] = f"not installed: {', '.join(lacking)}"
        else:
            here.append(name)
    return here, missing


def load_iteration(workers: Sequence[Peer], size: Size, seed: int, folder: Path) -> None:
    """Give all of them the same model and batch."""
    data = make_data("lstm", size, seed)
    dy = data.pop("dy")
    W, b = HEAD
    data |= {W: data["W_h"][:, :1].copy(), b: np.zeros(1, np.float32)}
    data["target"] = np.random.default_rng(seed).standard_normal((dy.shape[1], 1), np.float32)
    np.savez(path := folder / "iteration.npz", **data)
    for peer in workers:
        peer.ask("load", data=str(path))


def measure(
    workers: Sequence[Peer], cell: str, size: Size, seconds: float, seed: int, folder: Path
) -> Iterator[Row]:
    """The rows of one cell at one size and number of threads."""
    for what in PASSES if cell == "lstm" else PASSES[:2]:
        if what == "iteration":
            load_iteration(workers, size, seed, folder)
        elif what == PASSES[0]:
            load(workers, cell, size, seed, folder)
        able = [peer for peer in workers if peer.ask("can", what=what)]
        checked = check(able, what, folder, EPOCH_BOUND if what == "iteration" else BOUND)
        row: Row = {"cell": cell, **dict(zip("TBIH", size)), "threads": workers[0].threads}
        row |= {"what": what} | checked.fields()
        jobs = dict.fromkeys(checked.seconds, what)
        yield row | compared(rounds(checked.right, jobs, checked.seconds, seconds, BESIDE))


def run(options: argparse.Namespace) -> Row:
    """Measure everything; the report as it is written."""
    here, missing = installed()
    chosen = [name for name in here if name in (OURS, "torch", *(options.only or here))]
    seed = time.time_ns() % 10**6 if options.random else options.seed
    sizes = draw(seed, options.random) if options.random else options.sizes
    report: Row = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(usable_cores()),
        "versions": {},
        "contenders": chosen,
        "missing": missing,
        "load_before": load_of_machine(),
        "dtype": "float32",
        "seed": seed,
        "environment": {"taken_away": taken_away()},
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as name:
        for threads in options.threads or [usable_cores()]:
            with peers(chosen, threads, "others_worker.py") as workers:
                for peer in workers:
                    report["versions"] |= peer.ask("about")
                for cell in options.cells:
                    for size in sizes:
                        args = cell, size, options.seconds, options.seed, Path(name)
                        for row in measure(workers, *args):
                            report["rows"].append(row)
                            print(line(row), flush=True)
    return report


def line(row: Row) -> str:
    """A row for people, while it is measured."""
    size = str(tuple(row[axis] for axis in "TBIH"))
    times = ", ".join(f"{name} {ms['median']:.4g}" for name, ms in row["ms"].items())
    wrong = f"; WRONG: {', '.join(row['wrong'])}" if row.get("wrong") else ""
    return (
        f"{row['cell']:5s}{size:22s}{row['threads']} threads {row['what']:10s} ms: {times}{wrong}"
    )


def table(report: Row) -> Iterator[str]:
    """All rows: our milliseconds, and how many times as long each other one takes."""
    names = [name for name in report["contenders"] if name != OURS]
    yield f"| cell (T, B, I, H) | threads | work | scratchnet, ms | {' | '.join(names)} |"
    yield "|---" * (4 + len(names)) + "|"
    for row in report["rows"]:
        size = ", ".join(str(row[axis]) for axis in "TBIH")
        wrong, ratios = row.get("wrong", ()), row.get("ratio", {})
        cells = [f"{row['ms'][OURS]['median']:.3g}" if OURS in row["ms"] else "wrong"]
        for name in names:
            cells.append(f"{ratios[name]['median']:.2f}" if name in ratios else "")
            if name in wrong:
                cells[-1] = "wrong"
        work = f"{row['cell'].upper()} ({size}) | {row['threads']} | {TITLES[row['what']]}"
        yield f"| {work} | {' | '.join(cells)} |"
    for name, why in report["missing"].items():
        yield f"\n{name}: {why}"


def about(report: Row, name: str) -> Iterator[str]:
    """What was measured where."""
    versions = ", ".join(f"{name} {v}" for name, v in report["versions"].items() if " " not in v)
    yield (
        f"float32, {report['date']}, {report['machine']['processor']},"
        f" {report['machine']['threads']} threads; {versions}; `benchmarks/results/{name}`. Each"
        " number is the other one's time over ours: above 1 scratchnet is faster."
    )
    yield ""


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the JSON, print the table; 1 where ours is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", choices=BENCHED, default=list(BENCHED))
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=(README, *SIZES[:4]))
    parser.add_argument("--random", type=int, default=0, help="so many sizes drawn at random")
    parser.add_argument("--only", nargs="+", choices=NEEDED, help="contenders besides PyTorch")
    parser.add_argument("--threads", nargs="+", type=int, help="default: all")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each row, default 2")
    parser.add_argument("--seed", type=int, default=0, help="of data and weights, default 0")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default benchmarks/results")
    parser.add_argument(
        "--table",
        type=Path,
        nargs="?",
        const=max(RESULTS.glob("others_*.json"), default=RESULTS / "others_none.json"),
        default=False,
        help="measure nothing: write docs/speed.md from this file, default the last one",
    )
    options = parser.parse_args(arguments)
    if options.table is not False:
        report = json.loads(options.table.read_text(encoding="utf-8"))
        between(BEGIN, END, [*about(report, options.table.name), *table(report)])
        return 0
    report = run(options)
    path = new_file(options.out, f"others_{report['date']}_seed{report['seed']}")
    compact.write(path, report)
    print("\n".join(table(report)))
    print(path)
    return int(any(OURS in row.get("wrong", ()) for row in report["rows"]))


if __name__ == "__main__":
    sys.exit(main())
