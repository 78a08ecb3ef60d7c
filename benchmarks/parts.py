"""Measurements of single decisions of the CPU kernels against the alternative; float32, medians.

    env -u OPENBLAS_CORETYPE PYTHONPATH=.:kernels python benchmarks/parts.py

writes results/parts_<date>.json, about these files of scratchnet_kernels:

blocks    sequence_cpu/blocks.py: the recurrent product of 16 sequences, W_h in blocks and whole,
          GFLOP/s on one thread
reuse     sequence_cpu/memory.py: an LSTM's training step with fresh and with reused memory, ms
threads   sequence_cpu/slices.py: the same for several values of WORTH_A_THREAD, ms
updates   update_cpu.py: Adam and norms with array operations and fused, microseconds
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import compact
import numpy as np
from cells import machine
from scratchnet_kernels import sequence, sequence_cpu
from scratchnet_kernels.sequence_cpu import memory, slices, split
from scratchnet_kernels.sequence_cpu.blocks import in_blocks, multiply

from scratchnet.cells import lstm
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


def blocks(rng: np.random.Generator) -> dict[str, Any]:
    """(16, H) times (H, 4H), GFLOP/s."""
    found = {}
    for H in (64, 128, 256, 512):
        h, W = rng.standard_normal((16, H)).astype(F), rng.standard_normal((H, 4 * H)).astype(F)
        cut, whole = in_blocks(W, 64), in_blocks(W, 4 * H)
        out, out_whole = (np.empty((len(b), 16, b.shape[2]), F) for b in (cut, whole))
        runs = {
            "blocks": lambda: [multiply(h, cut, out) for _ in range(20)],  # noqa: B023  called before the next H
            "whole": lambda: [multiply(h, whole, out_whole) for _ in range(20)],  # noqa: B023
        }
        with slices.one_blas_thread():
            found[f"H={H}"] = {
                k: round(20 * 2 * 16 * H * 4 * H / t / 1e9, 1) for k, t in timed(runs, 25).items()
            }
    return found


def reuse(rng: np.random.Generator) -> dict[str, Any]:
    """Training step of an LSTM (T, N, D, H), ms, with fresh memory and with reused memory."""
    forward, backward = sequence.pair(sequence_cpu.LOOPS["lstm"])
    found = {}
    for T, N, D, H in ((100, 32, 1, 64), (100, 64, 64, 128)):
        shapes = [(T, N, D), (N, H), (N, H), *lstm.param_shapes(D, H).values()]
        call, dy = [rng.standard_normal(s).astype(F) / 8 for s in shapes], np.ones((T, N, H), F)

        def step(empty: Callable[..., Any], call: list[Any] = call, dy: Any = dy) -> None:
            split.empty = empty
            _, cache = forward(*call)
            backward(dy, cache)

        runs = {
            "fresh": lambda step=step: step(np.empty),
            "used before": lambda step=step: step(memory.empty),
        }
        found[f"{T}, {N}, {D}, {H}"] = {k: round(1000 * t, 3) for k, t in timed(runs, 25).items()}
    split.empty = memory.empty
    return found


def threads(rng: np.random.Generator) -> dict[str, Any]:
    """Training step of an LSTM (T, N, D, H), ms, for each multiply-adds worth a thread."""
    forward, backward = sequence.pair(sequence_cpu.LOOPS["lstm"])
    found, before = {}, slices.WORTH_A_THREAD
    for T, N, D, H in ((20, 32, 8, 32), (100, 32, 1, 64), (100, 64, 64, 128)):
        shapes = [(T, N, D), (N, H), (N, H), *lstm.param_shapes(D, H).values()]
        call, dy = [rng.standard_normal(s).astype(F) / 8 for s in shapes], np.ones((T, N, H), F)

        def step(worth: int, call: list[Any] = call, dy: Any = dy) -> None:
            slices.WORTH_A_THREAD = worth
            _, cache = forward(*call)
            backward(dy, cache)

        runs = {
            worth: lambda worth=worth, step=step: step(worth)
            for worth in (400_000, 2_000_000, 4_000_000, 10_000_000)
        }
        found[f"{T}, {N}, {D}, {H}"] = {
            str(k): round(1000 * t, 3) for k, t in timed(runs, 25).items()
        }
    slices.WORTH_A_THREAD = before
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
    report: dict[str, Any] = {
        "date": day,
        **machine(slices.available()),
        "dtype": "float32",
        "seed": 0,
    }
    for part in (blocks, reuse, threads, updates):
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
