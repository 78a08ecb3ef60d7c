"""The kernel ladder: one LSTM training step in four rungs, each counted, predicted, and measured.

    export PYTHONPATH=.:kernels
    python benchmarks/ladder.py               T, B, I, H = 100, 64, 64, 128
    python benchmarks/ladder.py --size 50,16,1,32 --array-us 5 --kernel-us 20
    python benchmarks/ladder.py --simulate    do all rungs compute the same?  No GPU needed

    1 array      the cell's file on arrays: CuPy launches a kernel for every + and every tanh
    2 naive      a kernel of our own for each operation (naive_lstm.py)
    3 step       one kernel for all elementwise work (scratchnet_kernels/step_cuda/lstm.py)
    4 sequence   one kernel for the whole time loop (scratchnet_kernels/sequence_cuda/lstm.py)

Launches and bytes are counted, not estimated: the rung runs on arrays that write down each
operation and the bytes it reads and writes, with Numba's simulator in place of a GPU; a kernel is
not run, and counts as reading or writing each of its arrays once. Counted for 2 and 3 steps, and
checked at 5: both numbers grow by the same with every step.

The prediction is the largest of three times, as if each hid behind the longest:

    launches   array launches x --array-us  +  kernel launches x --kernel-us
    bytes      bytes / --bandwidth
    on chip    rung 4 alone: the chain of T steps forward and T back, by the model in gpu_report.py

Where the constants come from: 4.3 TB/s is what a copy reaches of an H200's 4.8. 8 and 50
microseconds are estimates, of CuPy's time for one operation and of Numba's for a launch with
several CuPy arrays, written down before any measurement. With a GPU every rung is compared with
float64 and measured; without one the table says "not measured".
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gpu import BOUNDS, GRACE, check, look, size_of, time_alternating
from gpu_contenders import (
    Cuda,
    NoGpuError,
    ended_after,
    first_line,
    make_data,
    of_pair,
    pair_of,
    reference,
)
from gpu_report import H200, Row, Size, predict

from scratchnet import engines
from scratchnet.arrays import PLAIN, Array
from scratchnet.cells import lstm

RUNGS = ("array", "naive", "step", "sequence")
PASSES = ("forward", "backward")
SIMULATED_SIZE: Size = (2, 2, 2, 5)
SIMULATED_BOUND = 1e-5
Pair = tuple[Callable[..., Any], Callable[..., Any]]


class Cost(NamedTuple):
    """What one pass launches and moves."""

    array: float  # launches by CuPy: elementwise operations, products, sums, copies
    kernel: float  # launches of kernels written with Numba
    bytes: float  # read and written

    def plus(self, other: "Cost", times: float = 1) -> "Cost":
        """This and so many times the other."""
        return Cost(*(a + times * b for a, b in zip(self, other)))


# ---- counting ----------------------------------------------------------------------------------


LEDGER: list[Cost] = []


class Counted(np.ndarray):
    """A NumPy array that writes into LEDGER what a GPU would launch for each operation."""

    __module__ = "numpy"  # the library looks here to know whose array it is

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any
    ) -> Any:
        if out is not None:
            options["out"] = tuple(plain(o) for o in out)
        result = getattr(ufunc, method)(*(plain(a) for a in inputs), **options)
        LEDGER.append(Cost(1, 0, nbytes(*inputs, result)))
        return out[0] if out is not None else counted(result)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        result = function(
            *(plain(a) for a in arguments), **{name: plain(a) for name, a in options.items()}
        )
        if function is np.zeros_like:
            LEDGER.append(Cost(1, 0, nbytes(result)))
        elif function not in (np.empty, np.empty_like, np.asarray, np.ascontiguousarray):
            raise NotImplementedError(
                f"the ladder does not know what np.{function.__name__} launches"
            )
        return counted(result)

    def __setitem__(self, key: Any, value: Any) -> None:
        LEDGER.append(Cost(1, 0, nbytes(value, self[key])))
        plain(self)[key] = plain(value)


PLAIN.add(Counted)  # it computes as an array does


def plain(array: Any) -> Any:
    """The same memory, uncounted."""
    return array.view(np.ndarray) if isinstance(array, Counted) else array


def counted(array: Any) -> Any:
    """The same memory, counted."""
    return array.view(Counted) if isinstance(array, np.ndarray) else array


def nbytes(*arrays: Any) -> int:
    """Bytes of all arrays among them."""
    return sum(a.nbytes for a in arrays if isinstance(a, np.ndarray))


def count_kernels() -> None:
    """From here on the simulator counts a kernel and its arrays, each once, and does not run it."""
    from numba.cuda.simulator.kernel import FakeCUDAKernel

    def note(self: Any, *arguments: Any) -> None:
        flat = [a for given in arguments for a in (given if isinstance(given, tuple) else (given,))]
        arrays = {a.__array_interface__["data"][0]: a for a in flat if isinstance(a, np.ndarray)}
        LEDGER.append(Cost(0, 1, nbytes(*arrays.values())))

    FakeCUDAKernel.__call__ = note


def accept_strides() -> None:
    """Let the simulator accept a part of a row, as a GPU does: through copies."""
    from numba.cuda.simulator.kernel import FakeCUDAKernel

    run: Any = FakeCUDAKernel.__call__

    def run_on_copies(self: Any, *arguments: Any) -> Any:
        copies = [np.ascontiguousarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
        result = run(self, *copies)
        for array, copy in zip(arguments, copies):
            if copy is not array and isinstance(array, np.ndarray):
                array[...] = copy
        return result

    FakeCUDAKernel.__call__ = run_on_copies


def count(pair: Pair, size: Size) -> dict[str, Cost]:
    """Forward's and backward's cost at one size."""
    data, costs = make_data("lstm", size, seed=0), {}
    inputs = [counted(a) for a in (data.x, *data.states.values(), *data.params.values())]
    with np.errstate(all="ignore"):  # what a kernel would have filled holds anything
        LEDGER.clear()
        _, cache = pair[0](*inputs)
        costs["forward"] = sum_of(LEDGER)
        LEDGER.clear()
        pair[1](counted(data.dy), cache)
        costs["backward"] = sum_of(LEDGER)
    return costs


def sum_of(costs: list[Cost]) -> Cost:
    """All together."""
    return Cost(*map(sum, zip(*costs))) if costs else Cost(0, 0, 0)


def count_rung(pair: Pair, size: Size) -> Row:
    """Cost of each pass, once and for every step; ValueError where steps' costs differ."""
    at = {T: count(pair, (T, *size[1:])) for T in (2, 3, 5)}
    found = {}
    for name in PASSES:
        step = at[3][name].plus(at[2][name], -1)
        once = at[2][name].plus(step, -2)
        if once.plus(step, 5) != at[5][name]:
            raise ValueError(
                f"{name}: 5 steps cost {at[5][name]}, but 2 and 3 steps say {once.plus(step, 5)}"
            )
        found[name] = {"once": once, "step": step}
    return found


def pairs() -> Iterator[tuple[str, Callable[[], Pair]]]:
    """Each rung on arrays that the simulator takes, built on demand."""

    def naive() -> Pair:
        import naive_lstm

        return (
            partial(lstm.forward, step=naive_lstm.step_forward),
            partial(lstm.backward, step=naive_lstm.step_backward),
        )

    def engine(name: str) -> Pair:
        from scratchnet_kernels import cuda_kernels, step_engine
        from scratchnet_kernels.sequence_cuda.engine import CudaSequence

        if name == "step":
            return pair_of(step_engine(lstm, cuda_kernels()["step", "lstm"], ""))
        return pair_of(CudaSequence("lstm", ""))

    yield "array", lambda: (lstm.forward, lstm.backward)
    yield "naive", naive
    yield "step", partial(engine, "step")
    yield "sequence", partial(engine, "sequence")


def count_all(size: Size) -> Row:
    """Every rung's cost, or the reason why it was not counted.  Runs in the simulator."""
    found: Row = {}
    with suppress(ImportError):  # every rung but the first says so itself
        count_kernels()
    for name, build in pairs():
        try:
            found[name] = {**count_rung(build(), size), "units": units_of(build())}
        except Exception as error:
            found[name] = {"reason": first_line(error)}
    return found


def simulate() -> int:
    """Run every rung in the simulator at a small size; compare with the cell in float64."""
    accept_strides()
    data, worst = make_data("lstm", SIMULATED_SIZE, seed=0), 0.0

    def run(pair: Pair, dtype: type) -> list[Array]:
        arrays = [a.astype(dtype) for a in (data.x, *data.states.values(), *data.params.values())]
        y, cache = pair[0](*arrays)
        return [y, *pair[1](data.dy.astype(dtype), cache)]

    right = run((lstm.forward, lstm.backward), np.float64)
    for name, build in pairs():
        errors = [
            float(np.abs(a - b).max() / np.abs(b).max())
            for a, b in zip(run(build(), np.float32), right)
        ]
        off = max(errors) if all(np.isfinite(errors)) else float("inf")
        worst = max(worst, off)
        print(
            f"{name:9s}{off:9.1e} away from float64, at {SIMULATED_SIZE}, the largest of y and all"
            " gradients"
        )
    return int(not worst <= SIMULATED_BOUND)


def in_simulator(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this program in a new process in which Numba simulates CUDA."""
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


# ---- predicting and measuring ------------------------------------------------------------------


def total(costs: Row, T: int) -> Cost:
    """Forward and backward over T steps."""
    whole = Cost(0, 0, 0)
    for name in PASSES:
        whole = whole.plus(Cost(*costs[name]["once"])).plus(Cost(*costs[name]["step"]), T)
    return whole


def predicted_ms(
    rung: str, cost: Cost, size: Size, options: argparse.Namespace
) -> dict[str, float]:
    """The three times of the prediction, in milliseconds."""
    times = {
        "launches": (cost.array * options.array_us + cost.kernel * options.kernel_us) / 1e3,
        "bytes": cost.bytes / (options.bandwidth * 1e9),
    }
    chain = predict("lstm", size, H200).get("training") if rung == "sequence" else None
    return times | ({"on chip": chain["first_ms"]} if chain else {})


def measure(size: Size, seconds: float) -> dict[str, Any]:
    """GPU and wall milliseconds of each rung's training step, or the reason why there are none.

    Raises NoGpuError without a GPU.
    """
    device = Cuda()
    data = make_data("lstm", size, seed=0)
    right = reference(device, "lstm", data)
    found: dict[str, Any] = {}
    ready = {}
    for name, build in pairs():
        try:
            contender = of_pair(
                device,
                data,
                *(chosen(device, data, name) if name in ("step", "sequence") else build()),
            )
            checked = check(device, contender, right, BOUNDS["fp32"])
            if "reason" in checked:
                raise RuntimeError(f"wrong: {checked['reason']}")
            ready[name] = look(device, contender.prepare, contender.training)
        except Exception as error:
            found[name] = first_line(error)
    return found | dict(zip(ready, time_alternating(device, list(ready.values()), seconds)))


def chosen(device: Cuda, data: Any, engine: str) -> Pair:
    """The engine as a layer would get it; RuntimeError where another would run instead."""
    choice = engines.choose("lstm", device.place(data.x), data.dy.shape[2], engine)
    if choice.name != engine:
        raise RuntimeError(choice.why)
    return pair_of(choice)


def report(
    size: Size, costs: Row, times: dict[str, Any], options: argparse.Namespace
) -> Iterator[str]:
    """The table, line by line."""
    yield f"One LSTM training step at T, B, I, H = {size}, float32"
    yield ""
    yield f"{'':51s}{'ms for':>22s}"
    yield (
        f"{'rung':11s}{'launches a step':>17s}{'in all':>9s}{'MB moved':>10s}"
        f"{'launches':>10s}{'bytes':>9s}{'on chip':>9s}{'predicted':>11s}{'measured':>14s}"
    )
    for number, rung in enumerate(RUNGS, 1):
        measured = times.get(rung, "not measured")
        shown = f"{measured['gpu_ms']:.3f} ms" if isinstance(measured, dict) else measured
        if "reason" in costs[rung]:
            yield f"{number} {rung:9s}  not counted: {costs[rung]['reason']}; {shown}"
            continue
        steps = [Cost(*costs[rung][name]["step"]) for name in PASSES]
        cost = total(costs[rung], size[0])
        parts = predicted_ms(rung, cost, size, options)
        launches = " + ".join(f"{s.array + s.kernel:g}" for s in steps)
        chain = f"{parts['on chip']:.3f}" if "on chip" in parts else "-"
        yield (
            f"{number}"
            f" {rung:9s}{launches:>17s}{cost.array + cost.kernel:9.0f}{cost.bytes / 1e6:10.1f}"
            f"{parts['launches']:10.3f}{parts['bytes']:9.3f}{chain:>9s}{max(parts.values()):11.3f}{shown:>14s}"
        )
    yield ""
    yield (
        "launches a step: forward + backward.  measured: GPU time, float32, after comparison with"
        " float64."
    )
    yield (
        f"predicted: the largest of the three.  A launch by CuPy: {options.array_us:g} us, by"
        f" Numba: {options.kernel_us:g};"
    )
    yield (
        f"memory moves {options.bandwidth:g} TB/s; on the chip, the model in gpu_report.py, first"
        " version."
    )
    yield ""
    yield (
        "MB moved = once + T 4 (s B H + w H^2 + i B I) bytes, with, as counted, forward and"
        " backward:"
    )
    for rung in RUNGS:
        if "units" in costs[rung]:
            both = "   ".join(
                "s = {:3d}, w = {}, i = {}".format(*costs[rung]["units"][name]) for name in PASSES
            )
            yield f"  {rung:9s}{both}"


def units_of(pair: Pair) -> dict[str, tuple[int, int, int]]:
    """A step's traffic in units of B H, H^2 and B I numbers, from three small sizes."""
    sizes = [(2, 1, 1, 2), (2, 2, 1, 2), (2, 1, 2, 3)]
    matrix = np.array([[B * H, H * H, B * I] for _, B, I, H in sizes], float)
    costs = [count_rung(pair, size) for size in sizes]
    found = {}
    for name in PASSES:
        numbers = [cost[name]["step"].bytes / 4 for cost in costs]
        s, w, i = (round(value) for value in np.linalg.solve(matrix, numbers))
        found[name] = (s, w, i)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print the ladder; 1 where the rungs disagree (--simulate) or nothing could be counted."""
    options = parse(arguments)
    simulator = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
    if options.count:
        print(json.dumps(count_all(options.size)))
        return 0
    if options.simulate:
        if simulator:
            return simulate()
        done = in_simulator("--simulate")
        print(done.stdout + done.stderr, end="")
        return done.returncode
    done = in_simulator("--count", "--size", ",".join(map(str, options.size)))
    if done.returncode:
        print(f"nothing was counted:\n{done.stderr}", file=sys.stderr)
        return 1
    costs = json.loads(done.stdout)
    try:
        with ended_after(options.seconds + GRACE):
            times = measure(options.size, options.seconds)
    except NoGpuError as error:
        times = {}
        print(f"Not measured: {error}.\n")
    print("\n".join(report(options.size, costs, times, options)))
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size",
        type=size_of,
        default=(100, 64, 64, 128),
        metavar="T,B,I,H",
        help="default 100,64,64,128",
    )
    parser.add_argument(
        "--array-us", type=float, default=8.0, help="microseconds of one CuPy operation, default 8"
    )
    parser.add_argument(
        "--kernel-us", type=float, default=50.0, help="microseconds of one Numba launch, default 50"
    )
    parser.add_argument("--bandwidth", type=float, default=4.3, help="TB/s, default 4.3")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="for all measurements together, default 20"
    )
    parser.add_argument(
        "--simulate",
        action="store_true",
        help="compare all rungs in Numba's simulator, and measure nothing",
    )
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
