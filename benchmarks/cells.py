"""Time a cell with every engine that runs here: forward alone, and a training step, in float32.

    python benchmarks/cells.py      every cell, about 40 s; writes results/cells_<date>.json
    python benchmarks/cells.py --cells lstm --seconds 5 --out .

A training step is forward, mean squared error at every step, backward and Adam. An engine is timed
only after its numbers have been compared with ``array``'s. Runs of all engines alternate, so that a
busy moment of the machine meets all of them alike, and the median of each is kept. Times are wall
clock, in milliseconds.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import compact

# (T, N, D, H): a lesson, a small and a larger model
SIZES = ((100, 1, 1, 32), (100, 16, 8, 64), (100, 32, 64, 128))
ENGINES = ("array", "step")
RESULTS = Path(__file__).parent / "results"
POOLS = ("OPENBLAS_NUM", "OMP_NUM", "MKL_NUM", "VECLIB_MAXIMUM")
THREAD_VARIABLES = tuple(f"{pool}_THREADS" for pool in POOLS)
LEAST_ROUNDS = 3


def main(arguments: list[str] | None = None) -> int:
    """Time, print a table, write the JSON; 1 where an engine's numbers are wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", help="default: all")
    parser.add_argument(
        "--seconds", type=float, default=40.0, help="for all timed runs together, default 40"
    )
    parser.add_argument("--threads", type=int, default=1, help="BLAS threads, default 1")
    parser.add_argument("--seed", type=int, default=0, help="of data and weights, default 0")
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="folder, default benchmarks/results"
    )
    options = parser.parse_args(arguments)
    # BLAS reads these when NumPy loads it
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(options.threads)))

    from scratchnet.cells import CELLS

    cells = options.cells or list(CELLS)
    if unknown := set(cells) - set(CELLS):
        parser.error(
            f"there is no cell {', '.join(sorted(unknown))}: expected some of {', '.join(CELLS)}"
        )
    if os.environ.get("OPENBLAS_CORETYPE"):
        print(
            "OPENBLAS_CORETYPE is set: BLAS uses that processor's routines, not this one's",
            file=sys.stderr,
        )
    about = machine(options.threads)
    share = options.seconds / (len(cells) * len(SIZES))
    print(
        f"{'cell':14s}   {'T':>3s} {'N':>3s} {'D':>3s} {'H':>3s} "
        f" {'engine':8s}{'forward':>10s}{'step':>10s}   ms, median"
    )
    results = []
    for cell in cells:
        for size in SIZES:
            for row in measure(cell, size, share, options.seed):
                results.append(row)
                T, N, D, H = size
                start = f"{cell:14s}   {T:3d} {N:3d} {D:3d} {H:3d}  {row['engine']:8s}"
                times = f"{row['forward_ms']:10.3f}{row['training_step_ms']:10.3f}"
                print(f"{start}{times}   of {row['rounds']}", flush=True)
    day = datetime.now(UTC).date().isoformat()
    report = {"date": day, **about, "dtype": "float32", "seed": options.seed, "results": results}
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"cells_{day}.json"
    compact.write(path, report)
    print(path)
    return 0


def measure(
    cell_name: str, size: tuple[int, int, int, int], seconds: float, seed: int
) -> Iterator[dict[str, Any]]:
    """The rows of one cell at one size (T, N, D, H), one for each engine.

    ``seconds`` is about the time of all of them together.
    """
    runs: dict[tuple[str, str], Callable[[], Any]] = {}
    first: dict[str, list[Any]] = {}
    for engine in ENGINES:
        pair = passes(cell_name, engine, size, seed)
        if pair is None:
            continue
        runs[engine, "forward"], runs[engine, "training_step"] = pair
        # the first call compiles
        first[engine] = [array for call in pair for array in call()]
        for ours, reference in zip(first[engine], first["array"], strict=True):
            off = float(abs(ours - reference).max() / abs(reference).max())
            if not off <= 1e-4:
                what = f"{cell_name} {size}: engine {engine!r} is {off:.1e} away from array"
                raise SystemExit(f"{what}; nothing was timed")
    times: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < LEAST_ROUNDS or time.perf_counter() < end:
        for key, call in runs.items():
            started = time.perf_counter()
            call()
            times[key].append(1000 * (time.perf_counter() - started))
        rounds += 1
    for engine in first:
        row = {"cell": cell_name, **dict(zip("TNDH", size)), "engine": engine, "rounds": rounds}
        for what in ("forward", "training_step"):
            row[f"{what}_ms"] = round(statistics.median(times[engine, what]), 4)
            row[f"{what}_fastest_ms"] = round(min(times[engine, what]), 4)
        yield row


def passes(
    cell_name: str, engine: str, size: tuple[int, int, int, int], seed: int
) -> tuple[Callable[[], list[Any]], Callable[[], list[Any]]] | None:
    """Forward and training step of one cell with one engine, or None without the engine.

    They return the output and the gradients.
    """
    import numpy as np

    from scratchnet import engines
    from scratchnet.cells import CELLS
    from scratchnet.init import xavier_uniform
    from scratchnet.losses import mse
    from scratchnet.training.optim import Adam

    T, N, D, H = size
    cell, rng = CELLS[cell_name], np.random.default_rng(seed)
    x = rng.standard_normal((T, N, D)).astype(np.float32)
    target = rng.standard_normal((T, N, H)).astype(np.float32)
    states = [np.zeros((N, H), np.float32) for _ in cell.STATES]
    params = {}
    for name, shape in cell.param_shapes(D, H).items():
        vector = np.full(shape, name.startswith("gain"), np.float32)
        params[name] = xavier_uniform(rng, shape, np.float32) if len(shape) == 2 else vector
    try:
        chosen = engines.choose(cell_name, x, H, engine)
    except RuntimeError:
        return None
    optimizer = Adam(1e-3)

    def forward() -> list[Any]:
        [(y, _)] = chosen.forward([(x, *states, *params.values())])
        return [y]

    def training_step() -> list[Any]:
        [(y, cache)] = chosen.forward([(x, *states, *params.values())])
        _, dy = mse(y, target)
        [found] = chosen.backward([(dy, cache)])
        grads = {name: getattr(found, f"d{name}") for name in params}
        optimizer.step(params, grads)
        return [*grads.values()]

    return forward, training_step


def machine(threads: int) -> dict[str, Any]:
    """What the times depend on besides the code."""
    from scratchnet.files.machine import blas, describe

    about = describe()
    return {
        "machine": about,
        # above 0.5 other programs were running
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": about["python"],
        "numpy": about["versions"]["numpy"],
        "numba": about["versions"].get("numba"),
        "scratchnet": about["versions"].get("scratchnet-rnn"),
        "blas": f"{blas()['name']} {blas()['version']}",
        "blas_threads": threads,
        "openblas_coretype_unset": "OPENBLAS_CORETYPE" not in os.environ,
    }


if __name__ == "__main__":
    sys.exit(main())
