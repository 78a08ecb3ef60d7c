"""The first minutes on a GPU: does what may never have run there, run, and is it right?

    PYTHONPATH=.:kernels python benchmarks/gpu_smoke.py --out DIR     two minutes, without PyTorch
    PYTHONPATH=.:kernels python benchmarks/gpu_smoke.py --rehearse    the checks, on the CPU

Questions are asked one after the other, and one that fails stops no other. Each answer is a line of
JSON, on the screen and in DIR/smoke.jsonl, with the prediction where there is one:

compiler_libraries, plain_kernel    where one says no, no other answer counts
sequence ...                        a kernel against float64, its buffers full of NaN from the run
                                    before; "two runs differ" is a race between threads
registers_and_local_memory          local memory is memory of the GPU, and hundreds of times slower
                                    than a register: it must be 0
microseconds ...                    of the host's calls, and of a time step of the kernels
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gpu import BOUNDS, check
from gpu_contenders import (
    NO_GPU,
    ON_TENSOR_CORES,
    SMALLEST_TF32,
    Cuda,
    DoesNotFitError,
    Host,
    NoGpuError,
    attempt,
    make_data,
    output,
    reference,
    scratchnet,
)
from gpu_report import STEP_US, Row, Size

from scratchnet import engines
from scratchnet.cells import CELLS
from scratchnet.files.machine import installed

PACKAGES = [
    *("numpy", "numba", "numba-cuda", "llvmlite", "torch", "pytest", "cupy-cuda12x"),
    *("cupy-cuda13x", "cuda-core", "cuda-bindings", "cuda-pathfinder", "nvidia-nvvm"),
    *("nvidia-nvjitlink", "nvidia-cuda-nvrtc"),
]
# cell and (T, B, I, H): registers alone; some weights in shared memory; a block that is not full;
# two rows a block; odd H; as much shared memory as there is; clusters of 2, 4, 8 and 16 blocks,
# with one row, and with as many as they take
CHECKED: tuple[tuple[str, Size], ...] = (
    ("rnn", (3, 2, 3, 8)),
    ("lstm", (3, 2, 3, 8)),
    ("gru", (3, 2, 3, 8)),
    ("lstm", (100, 64, 64, 128)),
    ("gru", (100, 64, 64, 128)),
    ("lstm", (7, 141, 5, 128)),
    ("gru", (7, 141, 5, 128)),
    ("lstm", (9, 401, 3, 33)),
    ("gru", (9, 700, 3, 33)),
    ("gru", (12, 3, 4, 168)),
    ("rnn", (12, 3, 4, 296)),
    ("lstm", (12, 3, 4, 145)),
    ("lstm", (12, 3, 4, 256)),
    ("lstm", (7, 301, 4, 301)),
    ("lstm", (12, 3, 4, 512)),
    ("gru", (7, 301, 4, 512)),
    ("rnn", (7, 301, 4, 512)),
    ("lstm", (1000, 32, 8, 128)),
    ("lstm", (100, 64, 64, 256)),
)
REHEARSED = CHECKED[:3]
TIMED = ((64, 32), (64, 64), (64, 96), (64, 128), (256, 128), (32, 128))  # B, H
Question = Callable[[], Row]


def versions() -> Row:
    """Packages, and the GPU."""
    query = "--query-gpu=name,driver_version,clocks.max.sm", "--format=csv,noheader"
    found = {"gpu": attempt(lambda: output("nvidia-smi", *query))}
    return found | {"python": platform.python_version()} | {p: installed(p) for p in PACKAGES}


def compiler_libraries() -> Row:
    """Where NVIDIA's libraries are, and the math functions that NVVM links."""
    from cuda.pathfinder import load_nvidia_dynamic_lib
    from numba.cuda.cuda_paths import get_cuda_paths

    found = {name: load_nvidia_dynamic_lib(name).abs_path for name in ("nvvm", "nvJitLink")}
    libdevice = get_cuda_paths()["libdevice"].info
    if not (libdevice and os.path.isfile(libdevice)):
        raise RuntimeError(f"libdevice is not at {libdevice}: set CUDA_HOME")
    return {name: Path(path).name for name, path in found.items()}


def plain_kernel(cupy: Any) -> Row:
    """A kernel of Numba's on CuPy's arrays, on the default stream and on another."""
    from numba import cuda

    @cuda.jit
    def double(a, out):  # type: ignore[no-untyped-def]
        k = cuda.grid(1)
        if k < a.size:
            out[k] = a[k] + a[k]

    a = cupy.arange(1000, dtype=cupy.float32)
    for stream in (cupy.cuda.Stream.null, cupy.cuda.Stream(non_blocking=True)):
        with stream:
            out = cupy.zeros_like(a)
            double[8, 128, cuda.external_stream(stream.ptr) if stream.ptr else 0](a, out)
            stream.synchronize()
            if not bool((out == 2 * a).all()):
                raise RuntimeError("the kernel's result is wrong")
    (compiled,) = double.overloads.values()
    capability = cuda.get_current_device().compute_capability
    return {"compute_capability": capability, "lto": bool(compiled._codelibrary._lto)}


def is_right(device: Host, cell: str, size: Size, engine: str = "sequence") -> Row:
    """An engine against float64, and twice the same bits."""
    data = make_data(cell, size, 0)
    try:
        contender = scratchnet(device, cell, data, engine)
    except DoesNotFitError as error:
        return {"does_not_fit": str(error)}
    oracle = reference(_HOST, cell, data)  # by the CPU: a broken GPU cannot agree with it
    right = {name: device.place(array) for name, array in oracle.items()}
    found = check(device, contender, right, BOUNDS["tf32" if engine == ON_TENSOR_CORES else "fp32"])
    if "reason" in found:
        raise RuntimeError(found["reason"])
    if not found["repeatable"]:
        raise RuntimeError("two runs differ")
    return {name: found[name] for name in ("max_error", "first_call_s", "poisoned")}


class _Numpy(Host):
    """The CPU without PyTorch."""

    def __init__(self) -> None:
        self.xp = np


_HOST = _Numpy()


def ragged_on_another_stream(cupy: Any) -> Row:
    """Lengths, a dy with strides, and CuPy's current stream not the default one."""
    cell, rng = CELLS["lstm"], np.random.default_rng(1)
    T, N, D, H = 11, 141, 3, 128
    lengths = rng.integers(1, T + 1, N)
    shapes = [(T, N, D), (N, H), (N, H), *cell.param_shapes(D, H).values()]
    call = [rng.standard_normal(s).astype(np.float32) / np.float32(H**0.5) for s in shapes]
    dy = rng.standard_normal((T, N, 2 * H)).astype(np.float32)
    y, cache = cell.forward(*call, lengths=lengths)
    want = (y, *cell.backward(dy[:, :, H:], cache))
    worst = 0.0
    for stream in (cupy.cuda.Stream.null, cupy.cuda.Stream(non_blocking=True)):
        with stream:
            there = [cupy.asarray(a) for a in call]
            chosen = engines.choose("lstm", there[0], H, "sequence")
            [(there_y, there_cache)] = chosen.forward([there], lengths=lengths)
            [grads] = chosen.backward([(cupy.asarray(dy)[:, :, H:], there_cache)])
            stream.synchronize()
            for ours, oracle in zip((there_y, *grads), want):
                scale = max(1.0, float(np.abs(oracle).max()))
                worst = max(worst, float(np.abs(ours.get() - oracle).max()) / scale)
    if not worst < BOUNDS["fp32"]:
        raise RuntimeError(f"{chosen.name}: {worst:.1e} away from the host's float32")
    return {"engine": chosen.name, "worst": worst}


def registers_and_local_memory() -> Row:
    """What the real compiler made of each kernel: its registers and bytes of local memory."""
    from scratchnet_kernels.launch import device
    from scratchnet_kernels.sequence_cuda import gru, lstm
    from scratchnet_kernels.sequence_cuda.resources import resources

    found, spilled = {}, []
    for name, gates, module in (("lstm", 4, lstm), ("gru", 3, gru)):
        for H, N in ((64, 64), (128, 64), (128, 256), (256, 64), (512, 64)):
            plan = resources(gates, H, N, device())
            for way, use in plan._asdict().items():
                made = getattr(module, f"{way}_kernel")(H, use)
                (kernel,) = made.dispatcher.overloads.values()
                label = f"{name} {way} H={H} blocks={use.blocks} rows={use.rows}"
                found[label] = (kernel.regs_per_thread, kernel.local_mem_per_thread)
                if kernel.local_mem_per_thread:
                    spilled.append(label)
    if spilled:
        raise RuntimeError(f"local memory in {spilled}: {found}")
    return {"registers, local memory": found}


def microseconds_of_the_host(device: Cuda) -> Row:
    """Of one call each, the queue empty: what the wall time of small models consists of."""
    cupy = device.xp
    from scratchnet_kernels.step_cuda import lstm as step

    a, b = cupy.ones((64, 512), cupy.float32), cupy.ones((64, 128), cupy.float32)
    W = cupy.ones((128, 512), cupy.float32)
    gates, c, h = cupy.empty_like(a), cupy.empty_like(b), cupy.empty_like(b)
    tiny = scratchnet(device, "lstm", make_data("lstm", (2, 16, 8, 32), 0), "sequence")
    calls: dict[str, Callable[[], Any]] = {
        "cupy a + a": lambda: a + a,
        "cupy empty_like": lambda: cupy.empty_like(a),
        "cupy matmul": lambda: b @ W,
        "a launch with 5 arrays": lambda: step.step_forward(a, b, gates, c, h),
        "sequence forward": tiny.forward,
        "sequence training": tiny.training,
    }
    return {name: round(_host_us(device, call), 1) for name, call in calls.items()}


def _host_us(device: Cuda, call: Callable[[], Any]) -> float:
    """Median microseconds until the host is done with asking."""
    times = []
    for _ in range(60):
        device.synchronize()
        started = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - started))
    return statistics.median(times[10:])


def microseconds_of_a_step(device: Cuda, cell: str, B: int, H: int) -> Row:
    """GPU time of T = 1000 less that of T = 200, over 800: no launch is in it."""
    times = {}
    for T in (200, 1000):
        contender = scratchnet(device, cell, make_data(cell, (T, B, 8, H), 0), "sequence")
        for name, call in (("forward", contender.forward), ("training", contender.training)):
            call()
            times[name, T] = statistics.median(device.gpu_times(call, 7, 3.0))
    forward, training = (
        (times[name, 1000] - times[name, 200]) / 0.8 for name in ("forward", "training")
    )
    found = {"forward_us": round(forward, 3), "backward_us": round(training - forward, 3)}
    return found | {"predicted_us": STEP_US.get((cell, B, H))}


def questions(device: Host, sizes: tuple[tuple[str, Size], ...]) -> Iterator[tuple[str, Question]]:
    """What is asked, in order."""
    yield "versions", versions
    gpu = isinstance(device, Cuda)
    if gpu:
        yield "compiler_libraries", compiler_libraries
        yield "plain_kernel", partial(plain_kernel, device.xp)
    for cell, size in sizes:
        yield f"sequence {cell} {size}", partial(is_right, device, cell, size)
    for cell, size in sizes:
        if size[3] >= SMALLEST_TF32:
            tf32 = partial(is_right, device, cell, size, ON_TENSOR_CORES)
            yield f"{ON_TENSOR_CORES} {cell} {size}", tf32
    if isinstance(device, Cuda):
        yield "ragged_on_another_stream", partial(ragged_on_another_stream, device.xp)
        yield "registers_and_local_memory", registers_and_local_memory
        yield "microseconds_of_the_host", partial(microseconds_of_the_host, device)
        for cell in ("lstm", "gru"):
            for B, H in TIMED:
                named = f"microseconds of a step, {cell} B={B} H={H}"
                yield named, partial(microseconds_of_a_step, device, cell, B, H)


def ask(name: str, question: Question) -> Row:
    """The answer to one question, whatever happens."""
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            answer: Row = {"ok": True, **question()}
        except Exception as error:
            text = f"{type(error).__name__}: {error}"[:400]
            answer = {"ok": False, "error": text, "trace": traceback.format_exc()[-1200:]}
    told = sorted({f"{w.category.__name__}: {str(w.message)[:120]}" for w in heard})
    answer |= {"warnings": told[:5]} if told else {}
    return {"question": name, "seconds": round(time.perf_counter() - started, 2), **answer}


def main(arguments: list[str] | None = None) -> int:
    """Ask, and print each answer: 1 where one is no, 3 without a GPU."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="a folder, for smoke.jsonl")
    parser.add_argument("--rehearse", action="store_true", help="the checks alone, on the CPU")
    options = parser.parse_args(arguments)
    try:
        device = _HOST if options.rehearse else Cuda(with_torch=False)
    except NoGpuError as error:
        print(f"benchmarks/gpu_smoke.py needs an NVIDIA GPU and CuPy: {error}.", file=sys.stderr)
        return NO_GPU
    refused = 0
    for name, question in questions(device, REHEARSED if options.rehearse else CHECKED):
        answer = ask(name, question)
        refused += not answer["ok"]
        line = json.dumps(answer, default=str)
        print(line, flush=True)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            with (options.out / "smoke.jsonl").open("a", encoding="utf-8") as log:
                log.write(line + "\n")
    print(f"{refused} answers are no")
    return int(refused > 0)


if __name__ == "__main__":
    sys.exit(main())
