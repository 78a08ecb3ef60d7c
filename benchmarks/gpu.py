"""The engines on an NVIDIA GPU against PyTorch: forward alone and a training step.

Checked, timed, and compared with targets.

    export PYTHONPATH=.:kernels
    python benchmarks/gpu.py                       everything, about 5 1/2 minutes
    python benchmarks/gpu.py --quick               a subset, under 90 s
    python benchmarks/gpu.py --cells lstm --sizes 100,64,64,128 --seconds 30 --out .
    python benchmarks/gpu.py --rehearse --out .    on the CPU: every step, but no useful numbers

A training step is forward and backward: the gradients of the input, the initial states and all
weights, on both sides from the same float32 numbers. ``forward`` keeps what backward needs, on both
sides. CuPy's products are exact float32; PyTorch is run twice, with TF32 forbidden and allowed
(``policy``). From 256 units on so is the ``sequence`` engine, as itself and as ``sequence_tf32``.

Each contender is first compared with the array engine in float64, its buffers full of NaN from the
run before; what is too far off is marked and not timed. CuPy and PyTorch share the GPU's default
stream, so their work never overlaps; their runs alternate in groups, with the GPU idle
between. GPU time is that between two events, and a short kernel in front of them keeps the GPU
waiting until the host is done, so that Python's time is not in it. Contenders with hundreds of
launches fill the queue, the GPU waits for the host, and the gaps count: ``host_ahead`` says false.
Wall time is of a group of runs and one synchronisation. Results are written after every size, to a
file that none before it had.
"""

import argparse
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import compact
import numpy as np
from gpu_contenders import (
    LONGEST_HOLD_MS,
    LONGEST_LOOP,
    NO_GPU,
    Contender,
    Cuda,
    DoesNotFitError,
    Host,
    NoGpuError,
    attempt,
    build,
    contenders,
    ended_after,
    first_line,
    make_data,
    output,
    reference,
)
from gpu_report import H200, HEADER, Machine, Row, Size, estimate, line, predict, table, targets

from scratchnet import __version__
from scratchnet.arrays import Array
from scratchnet.files.machine import describe, installed

# (T, B, I, H). The two sizes that have a target come first: a run that is cut short
# has them.
SIZES: tuple[Size, ...] = (
    (100, 64, 64, 128),
    (1000, 32, 8, 128),
    (100, 64, 64, 64),
    (100, 64, 64, 256),
    (50, 16, 1, 32),
    (1000, 32, 8, 64),
    (100, 64, 64, 32),
    (100, 64, 64, 96),
    (100, 64, 64, 160),
    (100, 64, 64, 192),
    (100, 64, 64, 512),
    (200, 64, 128, 512),
    (100, 16, 64, 64),
    (100, 128, 64, 64),
    (100, 256, 64, 64),
    (100, 16, 64, 128),
    (100, 128, 64, 128),
    (100, 256, 64, 128),
)
QUICK_SIZES = SIZES[:5]
REHEARSED_SIZES: tuple[Size, ...] = ((4, 2, 3, 8), (6, 3, 2, 5))
BENCHED = ("lstm", "gru", "rnn")
BOUNDS = {"fp32": 1e-4, "tf32": 5e-3}  # largest relative error that is still right
ROUNDS, MOST_REPETITIONS = 5, 100  # at least a sample of each contender in each round
SLOW_MS = 100.0  # what takes longer is not run more often than it must
GRACE = 90.0  # seconds beyond those allowed, after which a program that hangs is ended
RESULTS = Path(__file__).parent / "results"
POLICY_VARIABLES = ("CUPY_TF32", "NVIDIA_TF32_OVERRIDE")  # each would make a lie of a row's policy
OTHER_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUPY_ACCELERATORS",
    "CUPY_CUDA_PER_THREAD_DEFAULT_STREAM",
    "CUBLAS_WORKSPACE_CONFIG",
    "NUMBA_CUDA_ARRAY_INTERFACE_SYNC",
    "NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS",
    "PYTORCH_CUDA_ALLOC_CONF",
)


# ---- right? ------------------------------------------------------------------------------------


def relative_error(ours: Array, right: Array) -> float:
    """Largest difference over the largest number, in float64; infinite where ours is not finite."""
    if ours.shape != right.shape or not bool(np.isfinite(ours).all()):
        return float("inf")
    return float(np.abs(ours - right).max() / np.abs(right).max())


def same_bits(a: Array, b: Array) -> bool:
    """True where two float32 arrays agree in every bit."""
    return bool((a.view(np.int32) == b.view(np.int32)).all())


def poison(arrays: list[Array]) -> int:
    """Fill every buffer with NaN, so that a missing write is seen; return their number."""
    for array in arrays:
        array.fill(np.nan)
    return len(arrays)


def check(device: Host, contender: Contender, right: dict[str, Array], bound: float) -> Row:
    """The row's fields on errors and repeatability, with a ``reason`` for a wrong contender."""
    contender.prepare()
    started = time.perf_counter()
    result = contender.training()
    device.synchronize()
    # with compilation, or with loading the cubins that are kept on disk
    found: Row = {"first_call_s": round(time.perf_counter() - started, 3)}
    found["poisoned"] = poison(contender.written(result))
    del result  # the memory goes back to its pool, NaN in it, and the next run gets it
    result = contender.training()
    named = contender.named(result)
    errors = {name: relative_error(named[name], right[name]) for name in right}
    kept = {name: array.copy() for name, array in named.items()}
    poison(contender.written(result))
    del result, named
    again = contender.named(contender.training())
    found["repeatable"] = all(same_bits(kept[name], again[name]) for name in kept)
    worst = max(errors, key=lambda name: errors[name])
    found["errors"] = {
        name: float(f"{e:.3g}") if np.isfinite(e) else None for name, e in errors.items()
    }
    found["max_error"] = found["errors"][worst]
    if found["max_error"] is None:
        found["reason"] = (
            f"{worst} is not finite, or has another shape: an element that was never written,"
            " or NaN"
        )
    elif not errors[worst] <= bound:
        found["reason"] = (
            f"{worst} is {errors[worst]:.1e} away from float64, the bound is {bound:.0e}"
        )
    return found


# ---- how fast? ---------------------------------------------------------------------------------


class Run(NamedTuple):
    """One pass of one contender, and what the first look at it said."""

    prepare: Callable[[], None]
    call: Callable[[], Any]
    host_ms: float  # until the host is done with asking
    wall_ms: float  # until the GPU is done as well

    @property
    def hold_ms(self) -> float:
        """Milliseconds the GPU must wait so that the host is ahead; 0 for a full queue."""
        hold = 1.5 * self.host_ms + 0.02
        return hold if hold <= LONGEST_HOLD_MS else 0.0


def look(device: Host, prepare: Callable[[], None], call: Callable[[], Any]) -> Run:
    """Run twice, to warm up and to see how long it takes; once what is slow."""
    prepare()
    for _ in range(2):
        device.synchronize()
        started = time.perf_counter()
        call()
        host_ms = 1000 * (time.perf_counter() - started)
        device.synchronize()
        run = Run(prepare, call, host_ms, 1000 * (time.perf_counter() - started))
        if run.wall_ms > SLOW_MS:
            break
    return run


def time_alternating(device: Host, runs: list[Run], seconds: float) -> list[Row]:
    """Medians of each run, in rounds: a busy moment of the machine affects all alike.

    ``seconds`` decides how often a round repeats each run, once at least. All rounds take place,
    also where the checks before have used up the time: a median of two samples says nothing.
    """
    if not runs:
        return []
    visit = 1000 * seconds / (ROUNDS * len(runs))  # ms for each run in each round
    counts = [max(1, min(MOST_REPETITIONS, int(visit / (3 * run.wall_ms + 1e-3)))) for run in runs]
    gpu: list[list[float]] = [[] for _ in runs]
    wall: list[list[float]] = [[] for _ in runs]
    for _ in range(ROUNDS):
        for k, (run, count) in enumerate(zip(runs, counts)):
            run.prepare()
            if run.wall_ms <= SLOW_MS:
                run.call()  # the GPU's caches hold another contender's numbers
            gpu[k] += device.gpu_times(run.call, count, run.hold_ms)
            device.synchronize()
            started = time.perf_counter()
            for _ in range(count):
                run.call()
            device.synchronize()
            wall[k].append(1000 * (time.perf_counter() - started) / count)
    return [
        {
            "gpu_ms": round(statistics.median(gpu[k]), 5),
            "gpu_fastest_ms": round(min(gpu[k]), 5),
            "wall_ms": round(statistics.median(wall[k]), 5),
            "host_ms": round(run.host_ms, 5),
            "host_ahead": run.hold_ms > 0,
            "repetitions": len(gpu[k]),
            "groups": len(wall[k]),
        }
        for k, run in enumerate(runs)
    ]


def blanks(cell_name: str, size: Size, machine: Machine) -> list[Row]:
    """The rows of one cell at one size, with nothing in them yet but the prediction."""
    unknown = dict.fromkeys(
        ("max_error", "repeatable", "poisoned", "first_call_s", "forward", "training")
    )
    rows = []
    for name, policy in contenders(size[0], size[3]):
        row: Row = {
            "cell": cell_name,
            **dict(zip("TBIH", size)),
            "contender": name,
            "policy": policy,
        }
        row |= {"status": "not measured", "reason": "", "errors": {}, **unknown}
        row["predicted"] = predict(cell_name, size, machine) if name == "sequence" else None
        rows.append(row | {"estimated_ms": estimate(cell_name, size, name)})
    return rows


def measure(
    device: Host, cell_name: str, size: Size, end: float, seed: int, machine: Machine
) -> list[Row]:
    """The rows of one cell at one size: each contender checked, then all right ones timed.

    Timing ends at ``end``, or when each has its five samples, if that is later.
    """
    rows = blanks(cell_name, size, machine)
    data = make_data(cell_name, size, seed)
    right: dict[str, Array] = {}
    ready: list[tuple[Row, Contender]] = []
    for row in rows:
        try:
            contender = build(device, cell_name, data, row["contender"], row["policy"])
            right = right or reference(device, cell_name, data)
            row |= check(device, contender, right, BOUNDS[row["policy"]])
            if row["reason"]:
                row["status"] = "wrong"
            else:
                ready.append((row, contender))
        except DoesNotFitError as error:
            row |= {"status": "does not fit", "reason": str(error)}
        except Exception as error:  # one contender's failure is its own row's; the others go on
            row |= {"status": "failed", "reason": first_line(error)}
    try:
        runs = [look(device, c.prepare, call) for _, c in ready for call in (c.forward, c.training)]
        times = time_alternating(device, runs, end - time.perf_counter())
        for k, (row, _) in enumerate(ready):
            row |= {"status": "measured", "forward": times[2 * k], "training": times[2 * k + 1]}
    except Exception as error:
        for row, _ in ready:
            row |= {"status": "failed", "reason": first_line(error)}
    return rows


# ---- all of it ---------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the JSON, print table and targets.

    Returns 1 where a row is wrong or failed, 3 without a GPU.
    """
    options = parse(arguments)
    unset = [name for name in POLICY_VARIABLES if os.environ.pop(name, None) is not None]
    try:
        device = Host() if options.rehearse else Cuda()
    except NoGpuError as error:
        needs = "PyTorch" if options.rehearse else "an NVIDIA GPU, CuPy, and PyTorch with CUDA"
        print(f"benchmarks/gpu.py needs {needs}: {error}.  Nothing was measured.", file=sys.stderr)
        return NO_GPU
    about = device.about()
    report = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "complete": False,  # until the last row: a run that was stopped says so
        "rehearsal": options.rehearse,
        "commit": options.commit or attempt(lambda: output("git", "rev-parse", "HEAD")),
        "changed": attempt(
            lambda: bool(output("git", "status", "--porcelain", "--untracked-files=no"))
        ),
        "device": about,
        "versions": versions(device),
        "machine": describe(),
        "variables": {name: os.environ[name] for name in OTHER_VARIABLES if name in os.environ},
        "unset": unset,
        "seed": options.seed,
        "dtype": "float32",
        "bounds": BOUNDS,
        "seconds_allowed": options.seconds,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = free_path(options.out, f"gpu_{slug(about['name'] or 'unknown')}_{report['date'][:10]}")
    rows: list[Row] = []
    started = time.perf_counter()
    print(HEADER)
    with ended_after(options.seconds + GRACE):
        for more in measure_all(device, options, machine_of(about)):
            rows += more
            print("\n".join(line(row, rows) for row in more), flush=True)
            compact.write(
                path, {**report, "seconds": round(time.perf_counter() - started, 1), "rows": rows}
            )
    judged = {"complete": True, "targets": targets(rows)}
    compact.write(
        path, {**report, **judged, "seconds": round(time.perf_counter() - started, 1), "rows": rows}
    )
    print(f"\n{path}\n\n{table(rows)}")
    return int(any(row["status"] in ("wrong", "failed") for row in rows))


def measure_all(device: Host, options: argparse.Namespace, machine: Machine) -> Iterator[list[Row]]:
    """The rows of each cell and size; those for which no time is left say so."""
    jobs = [(cell, size) for size in options.sizes for cell in options.cells]
    end = time.perf_counter() + options.seconds
    weights = [3.0 if size[0] > LONGEST_LOOP else 1.0 for _, size in jobs]
    for k, (cell, size) in enumerate(jobs):
        left = end - time.perf_counter()
        if left <= 0:
            yield [
                row | {"reason": f"the {options.seconds:g} s were over"}
                for row in blanks(cell, size, machine)
            ]
            continue
        share = left * weights[k] / sum(weights[k:])
        yield measure(device, cell, size, time.perf_counter() + share, options.seed, machine)
        device.free()


def machine_of(about: Row) -> Machine:
    """The model's constants for this GPU, where it told them."""
    told = {
        "multiprocessors": about.get("multiprocessors"),
        "clock_ghz": about.get("clock_ghz"),
        "shared_kb": about.get("shared_kb_per_block"),
    }
    return H200._replace(**{name: value for name, value in told.items() if value})


def versions(device: Host) -> dict[str, str | None]:
    """Packages that the times depend on."""
    found = {
        name: installed(name) for name in ("numba", "numba-cuda", "cuda-core", "cuda-bindings")
    }
    cupy = None if device.xp is np else device.xp.__version__
    ours = {"python": platform.python_version(), "scratchnet": __version__, "numpy": np.__version__}
    return {**ours, "torch": str(device.torch.__version__), "cupy": cupy, **found}


def slug(name: str) -> str:
    """``NVIDIA H200`` as ``nvidia-h200``."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def free_path(folder: Path, stem: str) -> Path:
    """A file that is not there yet: no run writes over another's results."""
    names = [f"{stem}.json", *(f"{stem}_{k}.json" for k in range(2, 1000))]
    return next(folder / name for name in names if not (folder / name).exists())


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="five sizes of lstm and gru, 80 s")
    parser.add_argument(
        "--cells",
        nargs="+",
        choices=BENCHED,
        metavar="CELL",
        help=f"of {', '.join(BENCHED)}; default all",
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=size_of,
        metavar="T,B,I,H",
        help="default: all that have a target",
    )
    parser.add_argument(
        "--seconds", type=float, help="for everything together, default 330, with --quick 80"
    )
    parser.add_argument("--seed", type=int, default=0, help="of data and weights, default 0")
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="folder, default benchmarks/results"
    )
    parser.add_argument("--commit", help="what the results are of, where git cannot be asked")
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="on the CPU, with NumPy: every step, no numbers of use",
    )
    options = parser.parse_args(arguments)
    options.seconds = (
        options.seconds if options.seconds is not None else 80.0 if options.quick else 330.0
    )
    options.cells = options.cells or (BENCHED[:2] if options.quick else BENCHED)
    options.sizes = options.sizes or (
        REHEARSED_SIZES if options.rehearse else QUICK_SIZES if options.quick else SIZES
    )
    if options.rehearse and options.out == RESULTS:
        parser.error(
            "a rehearsal's numbers do not belong among the results: give --out another folder"
        )
    return options


def size_of(text: str) -> Size:
    """``100,64,64,128`` as (T, B, I, H)."""
    try:
        T, B, I, H = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not four whole numbers T,B,I,H, as in 100,64,64,128"
        ) from None
    if min(T, B, I, H) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: each of T,B,I,H is at least 1")
    return T, B, I, H


if __name__ == "__main__":
    sys.exit(main())
