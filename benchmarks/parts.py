"""Measurements of single decisions of the CPU kernels against the alternative; float32, medians.

    env -u OPENBLAS_CORETYPE PYTHONPATH=.:kernels python benchmarks/parts.py

writes results/parts_<date>.json, about these files of scratchnet_kernels:

products  sequence_cpu/product.py: the recurrent product of 16 sequences, in tiles and by BLAS,
          GFLOP/s on one thread
reuse     sequence_cpu/memory.py: an LSTM's training step with fresh and with reused memory, ms
wake      sequence_cpu/threads.py: two tasks in turn, in an executor, in our threads, microseconds
meeting   sequence_cpu/team.py: two threads that wait for each other once, microseconds
units     sequence_cpu/work.py: an LSTM's training step on two threads by rows and by units, ms
threads   sequence_cpu/work.py: an LSTM's training step for several values of WORTH_A_THREAD, ms
updates   update_cpu.py: Adam and norms with array operations and fused, microseconds
"""

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import compact
import numpy as np
from cells import machine
from scratchnet_kernels.compiled import compiled
from scratchnet_kernels.sequence_cpu import memory, product, work
from scratchnet_kernels.sequence_cpu.team import give_up, meet, new_team, part_of
from scratchnet_kernels.sequence_cpu.threads import available
from scratchnet_kernels.sequence_cpu.threads import run as run_parts
from threadpoolctl import threadpool_limits

from scratchnet.cells import lstm
from scratchnet.engines import choose
from scratchnet.training import clip
from scratchnet.training.optim import Adam

F = np.float32


def timed(runs: dict[Any, Callable[[], Any]], rounds: int) -> dict[Any, float]:
    """Median seconds of each, in turns, so that a busy moment affects all alike."""
    times: dict[Any, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    # the first round compiles
    return {name: statistics.median(all_[1:]) for name, all_ in times.items()}


def products(rng: np.random.Generator) -> dict[str, Any]:
    """(16, H) times (H, 4H), GFLOP/s."""
    found = {}
    for H in (64, 100, 128, 256, 512):
        h, W = rng.standard_normal((16, H)).astype(F), rng.standard_normal((H, 4 * H)).astype(F)
        packed, out = product.room(W, 1), np.empty((16, 4 * H), F)
        product.pack(W, packed)
        runs = {
            "tiles": lambda: [product.multiply(h, packed, out, 0) for _ in range(20)],  # noqa: B023  called before the next H
            "BLAS": lambda: [np.dot(h, W, out) for _ in range(20)],  # noqa: B023
        }
        with threadpool_limits(1, "blas"):
            times = timed(runs, 25)
        found[f"H={H}"] = {k: round(20 * 2 * 16 * H * 4 * H / t / 1e9, 1) for k, t in times.items()}
    return found


def training_step(rng: np.random.Generator, T: int, N: int, D: int, H: int) -> Callable[[], None]:
    """One of an LSTM, on all threads."""
    shapes = [(T, N, D), (N, H), (N, H), *lstm.param_shapes(D, H).values()]
    call, dy = [rng.standard_normal(s).astype(F) / 8 for s in shapes], np.ones((T, N, H), F)
    engine = choose("lstm", call[0], H, "sequence")

    def step() -> None:
        [(_, cache)] = engine.forward([call])
        engine.backward([(dy, cache)])

    return step


def reuse(rng: np.random.Generator) -> dict[str, Any]:
    """Training step of an LSTM (T, N, D, H), ms, with fresh memory and with reused memory."""
    found, before, store = {}, memory.KEPT, memory.store
    for size in ((24, 32, 1, 64), (100, 64, 64, 128), (400, 128, 32, 128)):
        step = training_step(rng, *size)
        stores = {0: memory._Store(), before: memory._Store()}

        def keeping(
            most: int, step: Callable[[], None] = step, stores: dict[int, Any] = stores
        ) -> None:
            memory.KEPT, memory.store = most, stores[most]
            for _ in range(6):
                step()

        runs = {
            "fresh": lambda keeping=keeping: keeping(0),
            "used before": lambda keeping=keeping: keeping(before),
        }
        times = timed(runs, 10)
        found[str(size)[1:-1]] = {k: round(1000 * t / 6, 3) for k, t in times.items()}
    memory.KEPT, memory.store = before, store
    return found


def wake(rng: np.random.Generator) -> dict[str, Any]:
    """Two tasks of so many microseconds each, us."""
    found = {}
    busy(rng.standard_normal((16, 16)).astype(F), 1)  # compiles
    with ThreadPoolExecutor(1) as pool:
        for microseconds in (20, 50, 100, 200, 1000):
            numbers = rng.standard_normal((16, 16)).astype(F)
            started = time.perf_counter()
            busy(numbers, 1000)
            count = int(1000 * microseconds * 1e-6 / (time.perf_counter() - started))
            task = partial(busy, numbers, count)

            def executor(task: Callable[[], Any] = task) -> None:
                other = pool.submit(task)
                task()
                other.result()

            runs = {
                "one after the other": lambda task=task: (task(), task()),
                "executor": executor,
                "ours": lambda task=task: run_parts(2, lambda k, count: task(), list),
            }
            found[f"{microseconds} us"] = {k: round(1e6 * t) for k, t in timed(runs, 100).items()}
    return found


@compiled
def busy(a: Any, count: int) -> float:
    """Some arithmetic, without the GIL."""
    total = 0.0
    for _ in range(count):
        for number in a.flat:
            total += math.sqrt(abs(number) + total)
    return total


def meeting(rng: np.random.Generator) -> dict[str, Any]:
    """Time of one meeting of two threads that do nothing else, us."""
    count = 10_000
    meetings(new_team(1, by_units=True), 0, 1, 1)  # compiles

    def runs() -> None:
        team = new_team(2, by_units=True)
        run_parts(2, lambda k, threads: meetings(team, k, threads, count), lambda: give_up([team]))

    return {"two threads": round(1e6 * timed({"": runs}, 25)[""] / count, 2)}


@compiled
def meetings(team: Any, k: int, threads: int, count: int) -> None:
    """So many meetings, one after the other."""
    part = part_of(1, 1, 1, team, k, threads)
    for _ in range(count):
        if not meet(team, part):
            return


def units(rng: np.random.Generator) -> dict[str, Any]:
    """Training step of an LSTM (T, N, D, H) on all threads, ms; and what is chosen."""
    found: dict[str, Any] = {}
    chosen = work.by_units
    for H in (64, 128, 181, 256, 362, 512):
        for N in (1, 4, 16, 32, 64):
            step = training_step(rng, 50, N, 32, H)

            def sharing(by_units: bool, step: Callable[[], None] = step) -> None:
                work.by_units = lambda rows, weights, count: by_units and count > 1
                step()

            runs = {
                "rows": lambda sharing=sharing: sharing(False),
                "units": lambda sharing=sharing: sharing(True),
            }
            times = {k: round(1000 * t, 3) for k, t in timed(runs, 25).items()}
            which = "units" if chosen(N, 4 * H * H, available()) else "rows"
            found[f"50, {N}, 32, {H}"] = {**times, "chosen": which}
    work.by_units = chosen
    return found


def threads(rng: np.random.Generator) -> dict[str, Any]:
    """Training step of an LSTM (T, N, D, H), ms, for each multiply-adds worth a thread."""
    found, before = {}, work.WORTH_A_THREAD
    for size in ((20, 32, 8, 32), (24, 32, 1, 64), (100, 32, 1, 64), (100, 64, 64, 128)):
        step = training_step(rng, *size)

        def worth(least: int, step: Callable[[], None] = step) -> None:
            work.WORTH_A_THREAD = least
            step()

        runs = {
            least: lambda least=least, worth=worth: worth(least)
            for least in (400_000, 1_000_000, 2_000_000, 4_000_000, 10_000_000)
        }
        found[str(size)[1:-1]] = {str(k): round(1000 * t, 3) for k, t in timed(runs, 50).items()}
    work.WORTH_A_THREAD = before
    return found


def updates(rng: np.random.Generator) -> dict[str, Any]:
    """One step of Adam and one global norm, microseconds, by parameters and tensors."""
    found = {}
    for count, tensors in ((1000, 1), (100_000, 1), (100_000, 5), (1_000_000, 1), (1_000_000, 5)):
        draws = rng.standard_normal((2, tensors, count // tensors)).astype(F)
        params, grads = ({str(k): d[k].copy() for k in range(tensors)} for d in draws)
        runs: dict[str, Callable[[], Any]] = {}
        for engine in ("array", "step"):
            optimizer = Adam(1e-3, engine=engine)
            runs[f"adam {engine}"] = lambda step=optimizer.step, params=params, grads=grads: step(
                params, grads
            )
            runs[f"norm {engine}"] = lambda engine=engine, grads=grads: clip.global_norm(
                grads, engine
            )
        found[f"{count:,} in {tensors}"] = {k: round(1e6 * t) for k, t in timed(runs, 25).items()}
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parent / "results",
        help="default benchmarks/results",
    )
    out = parser.parse_args(arguments).out
    if os.environ.get("OPENBLAS_CORETYPE"):
        print(
            "OPENBLAS_CORETYPE is set: BLAS uses that processor's routines, not this one's",
            file=sys.stderr,
        )
    day = datetime.now(UTC).date().isoformat()
    report: dict[str, Any] = {"date": day, **machine(available()), "dtype": "float32", "seed": 0}
    for part in (products, reuse, wake, meeting, units, threads, updates):
        report[part.__name__] = part(np.random.default_rng(0))
        print(
            part.__name__,
            *(f"  {k}: {v}" for k, v in report[part.__name__].items()),
            sep="\n",
            flush=True,
        )
    out.mkdir(parents=True, exist_ok=True)
    compact.write(out / f"parts_{day}.json", report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
