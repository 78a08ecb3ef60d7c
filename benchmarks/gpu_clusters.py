"""Thread-block clusters in Numba: do they run, and what does one exchange cost?

    PYTHONPATH=.:kernels python benchmarks/gpu_clusters.py            on a GPU of 2022 or later
    PYTHONPATH=.:kernels python benchmarks/gpu_clusters.py --compile  to PTX only, without a GPU

A cluster is a group of up to 8 blocks (16 where the GPU allows it) that run at the same time, on
neighbouring multiprocessors. A block may read and write the shared memory of the others, and one
barrier waits for all threads of the cluster. Numba has no functions for that, but it can insert an
instruction of PTX: below are the three that are needed. The blocks of a cluster form a ring: in
each of T steps every thread takes the number that its left neighbour's thread sent, adds one, and
sends it to the right. In the end each number is T, or the exchange is broken.
"""

import argparse
import ctypes
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import scratchnet_kernels.launch  # noqa: F401  prepares Numba for the NumPy that is installed
from gpu_contenders import NO_GPU, first_line
from llvmlite import ir
from numba import cuda, float32, int32, types
from numba.cuda.extending import intrinsic
from numba.cuda.typing import signature

from scratchnet.files.machine import why_no_gpu

SIZES = (2, 4, 8, 16)  # blocks of a cluster
STEPS, THREADS, BLOCKS = 10_000, 256, 128
HOPPER = (9, 0)  # the first architecture with clusters
SIGNATURE = types.void(types.CPointer(float32), int32)
VOID, I32, I64, F32 = ir.VoidType(), ir.IntType(32), ir.IntType(64), ir.FloatType()


def insert(
    builder: Any, returns: Any, takes: list[Any], text: str, registers: str, arguments: list[Any]
) -> Any:
    """An instruction of PTX, in place of a call."""
    return builder.asm(
        ir.FunctionType(returns, takes), text, registers, arguments, side_effect=True
    )


@intrinsic
def cluster_rank(typing_context: Any) -> Any:
    """Which block of its cluster this one is."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return insert(builder, I32, [], "mov.u32 $0, %cluster_ctarank;", "=r", [])

    return signature(types.int32), generate


@intrinsic
def cluster_barrier(typing_context: Any) -> Any:
    """Wait for every thread of the cluster; what they wrote before it, all see after it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrive = "barrier.cluster.arrive.release.aligned;"
        wait = "barrier.cluster.wait.acquire.aligned;"
        insert(builder, VOID, [], arrive + wait, "~{memory}", [])
        return context.get_dummy_value()

    return signature(types.void), generate


@intrinsic
def store_to(typing_context: Any, rank: Any, array: Any, k: Any, value: Any) -> Any:
    """``array[k] = value`` in the shared memory of block ``rank`` of this cluster."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rank, array, k, value = arguments
        data = context.make_array(signature.args[1])(context, builder, array).data
        here = builder.ptrtoint(builder.gep(data, [k]), I64)
        # mapa: the same place in the other block's shared memory
        text = "{ .reg .u64 there; mapa.u64 there, $0, $1; st.f32 [there], $2; }"
        insert(builder, VOID, [I64, I32, F32], text, "l,r,f,~{memory}", [here, rank, value])
        return context.get_dummy_value()

    return signature(types.void, types.int32, array, types.int64, types.float32), generate


def ring(blocks: int) -> Callable[..., None]:
    """The kernel for clusters of so many blocks."""

    def kernel(out, T):  # type: ignore[no-untyped-def]
        # two numbers for each thread: one is read in this step, the other is written for the next
        shared = cuda.shared.array(0, float32, 16)
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        rank = cluster_rank()
        shared[thread] = float32(0)
        shared[threads + thread] = float32(0)
        cluster_barrier()
        for t in range(T):
            now, following = (t & 1) * threads, threads - (t & 1) * threads
            sent = shared[now + thread] + float32(1)
            store_to(int32((rank + 1) % blocks), shared, types.int64(following + thread), sent)
            cluster_barrier()
        out[cuda.blockIdx.x * threads + thread] = shared[(T & 1) * threads + thread]

    return kernel


def compile_only() -> int:
    """Print for each size whether its PTX has the instructions of a cluster; 1 where not."""
    from numba.cuda import dispatcher

    dispatcher.get_current_device = lambda: type("SomeGpu", (), {"compute_capability": HOPPER})
    complete = True
    for blocks in SIZES:
        ptx, _ = cuda.compile_ptx(ring(blocks), SIGNATURE.args, cc=HOPPER, launch_bounds=THREADS)
        found = {name: name in ptx for name in ("barrier.cluster", "mapa.u64", "%cluster_ctarank")}
        complete = complete and all(found.values())
        print(json.dumps({"blocks": blocks, **found}), flush=True)
    return int(not complete)


def measure() -> int:
    """Print microseconds of a store and a barrier for each size, and whether the result is right.

    Returns 1 where a result is wrong or a launch failed.
    """
    import cupy
    from cuda.bindings import driver
    from cuda.core import Device, LaunchConfig, launch

    if cuda.get_current_device().compute_capability < HOPPER:
        print("left out: the GPU is older than clusters, which came with compute capability 9.0")
        return NO_GPU
    device = Device(0)
    device.set_current()
    wrong = 0
    for blocks in SIZES:
        compiled = cuda.jit(SIGNATURE, launch_bounds=THREADS)(ring(blocks))
        (loaded,) = compiled.overloads.values()
        function = loaded._codelibrary.get_cufunc()
        if blocks > 8:  # more than every GPU with clusters promises
            attribute = driver.CUfunction_attribute
            allow = attribute.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED
            kernel = driver.CUkernel(int(function.handle))
            driver.cuKernelSetAttribute(allow, 1, kernel, driver.CUdevice(0))
        for clusters in (1, BLOCKS // blocks):
            row: dict[str, Any] = {"blocks": blocks, "clusters": clusters}
            try:
                out = cupy.full(clusters * blocks * THREADS, cupy.nan, cupy.float32)
                config = LaunchConfig(
                    grid=clusters, cluster=blocks, block=THREADS, shmem_size=2 * 4 * THREADS
                )
                times = []
                for _ in range(3):
                    cupy.cuda.runtime.deviceSynchronize()
                    started = time.perf_counter()
                    steps = ctypes.c_int32(STEPS)
                    launch(device.default_stream, config, function.kernel, out.data.ptr, steps)
                    cupy.cuda.runtime.deviceSynchronize()
                    times.append(1e6 * (time.perf_counter() - started) / STEPS)
                row |= {"us_a_step": round(min(times), 4), "right": bool((out == STEPS).all())}
            except Exception as error:
                row |= {"error": first_line(error), "right": False}
            wrong += not row["right"]
            print(json.dumps(row), flush=True)
    return int(wrong > 0)


def main(arguments: list[str] | None = None) -> int:
    """Compile or measure; 3 without a GPU."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compile", action="store_true", help="to PTX only; needs no GPU")
    options = parser.parse_args(arguments)
    if options.compile:
        return compile_only()
    if reason := why_no_gpu():
        print(f"benchmarks/gpu_clusters.py needs an NVIDIA GPU: {reason}.", file=sys.stderr)
        return NO_GPU
    return measure()


if __name__ == "__main__":
    sys.exit(main())
