"""A thread-block cluster: blocks on neighbouring multiprocessors that write each other's memory.

Where W_h does not fit one multiprocessor, 2 to 16 blocks share it, and exchange h (or the parts of
dh) every step. Numba has no words for that; the GPU has three instructions, written here as inline
PTX. A block on its own is a cluster of one, and the same kernels serve it.

The barrier waits until all that a thread has written is seen by the others, also what it wrote to
global memory; so the kernels write that between ``arrive`` and ``wait``. The other way to exchange,
``st.async`` with a barrier object in shared memory, would not wait for it. Not measured.

The simulator has no clusters: there, the blocks of a cluster are groups of threads of one block,
and their shared memories are parts of its own.

References: PTX ISA, sections "mapa", "st" (state space shared::cluster) and "barrier.cluster".
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import cuda, float32, types

from scratchnet.arrays import Array
from scratchnet.errors import UnavailableError
from scratchnet_kernels.launch import (
    ALIGNED,
    SIMULATED,
    Compiled,
    Persistent,
    Pointers,
    device_function,
)
from scratchnet_kernels.sequence_cuda.ptx import assemble, instruction
from scratchnet_kernels.sequence_cuda.resources import Resources


class Cluster(NamedTuple):
    """Device functions for clusters of one shape."""

    # where() -> number of the cluster, rank of this block in it, number of this thread in the block
    where: Compiled
    # own(memory) -> this block's part of cuda.shared.array, which on a GPU is all of it
    own: Compiled
    # send(memory, rank, k, value): own(memory)[k] = value, in the block of that rank
    send: Compiled
    # arrive(): this thread has sent what others read after the barrier, and read what they change
    arrive: Compiled
    # wait(): until all threads of the cluster have arrived; between the two there is time for work
    wait: Compiled


@cache
def cluster(use: Resources) -> Cluster:
    """The functions for clusters of ``use.blocks`` blocks."""
    if SIMULATED:
        return _simulated(use.blocks, use.threads, use.shared_bytes // 4)
    return _one_block() if use.blocks == 1 else _several_blocks(use.blocks)


@device_function
def _nothing() -> None:
    pass


@device_function
def _block_barrier() -> None:
    cuda.syncthreads()


@device_function
def _all_of_it(memory: Array) -> Array:
    return memory


def _one_block() -> Cluster:
    @device_function
    def where() -> tuple[int, int, int]:
        return cuda.blockIdx.x, 0, cuda.threadIdx.x & 1023  # tells the compiler: not negative

    @device_function
    def send(memory: Array, rank: int, k: int, value: float) -> None:
        memory[k] = value

    return Cluster(where, _all_of_it, send, _nothing, _block_barrier)


def _several_blocks(blocks: int) -> Cluster:
    rank, send, arrive, wait = _instructions()

    @device_function
    def where() -> tuple[int, int, int]:
        return cuda.blockIdx.x // blocks, rank() & 15, cuda.threadIdx.x & 1023

    return Cluster(where, _all_of_it, send, arrive, wait)


def _simulated(blocks: int, threads: int, floats: int) -> Cluster:
    @device_function
    def where() -> tuple[int, int, int]:
        return cuda.blockIdx.x, cuda.threadIdx.x // threads, cuda.threadIdx.x % threads

    @device_function
    def own(memory: Array) -> Array:
        rank = cuda.threadIdx.x // threads
        return memory[rank * floats : (rank + 1) * floats]

    @device_function
    def send(memory: Array, rank: int, k: int, value: float) -> None:
        memory[rank * floats + k] = value

    return Cluster(where, own, send, _nothing, _block_barrier)


@cache
def _instructions() -> tuple[Compiled, ...]:
    """rank(), send(memory, rank, k, value), arrive() and wait(), each a few instructions of PTX."""
    from numba.cuda.typing import signature

    void, i32, i64, f32 = ir.VoidType(), ir.IntType(32), ir.IntType(64), ir.FloatType()

    def rank(context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return assemble(builder, i32, [], "mov.u32 $0, %cluster_ctarank;", "=r", [])

        return signature(types.int32), generate

    def half_of_the_barrier(name: str, text: str) -> Compiled:
        def half(context: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                assemble(builder, void, [], text, "~{memory}", [])
                return context.get_dummy_value()

            return signature(types.void), generate

        return instruction(name, half)

    def send(context: Any, memory: Any, rank: Any, k: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            memory, rank, k, value = arguments
            data = context.make_array(signature.args[0])(context, builder, memory).data
            here = builder.ptrtoint(builder.gep(data, [k]), i64)
            # the address here, then the same place in the other block's memory
            text = (
                "{ .reg .u64 a; .reg .u32 s; cvta.to.shared.u64 a, $0; cvt.u32.u64 s, a;"
                " mapa.shared::cluster.u32 s, s, $1; st.shared::cluster.f32 [s], $2; }"
            )
            assemble(builder, void, [i64, i32, f32], text, "l,r,f,~{memory}", [here, rank, value])
            return context.get_dummy_value()

        return signature(types.void, memory, types.int32, types.int64, types.float32), generate

    arrive = half_of_the_barrier("arrive", "barrier.cluster.arrive.release.aligned;")
    wait = half_of_the_barrier("wait", "barrier.cluster.wait.acquire.aligned;")
    return instruction("rank", rank), instruction("send", send), arrive, wait


@cache
def require_clusters(use: Resources) -> None:
    """UnavailableError unless a cluster that takes ``use`` runs here, and its blocks exchange.

    It is tried: whether a GPU has the room for such a cluster, only the GPU can tell.
    """
    like = np.empty(0, np.float32) if SIMULATED else _cupy().empty(0, np.float32)
    found = np.full_like(like, np.nan, shape=use.blocks * use.blocks)
    try:
        _exchange(use).launch(1, [(found,)], [None], 1, 1)
        sent = np.arange(use.blocks, dtype=np.float32, like=found)
        right = bool((found.reshape(use.blocks, use.blocks) == sent).all())
    except Exception as error:  # of the driver, in one of its many classes
        refused = f"{type(error).__name__}: {error}"
        raise UnavailableError(
            f"cannot launch clusters of {use.blocks} blocks: {refused}"
        ) from error
    if not right:
        raise UnavailableError(f"cannot exchange numbers in clusters of {use.blocks} blocks")


@cache
def _exchange(use: Resources) -> Persistent:
    """The kernel in which each block sends its rank to all blocks, and writes what it was sent."""
    where, own, send, arrive, wait = cluster(use)
    blocks = use.blocks

    def exchange(one: Pointers, other: Pointers, T: int, N: int, ragged: int) -> None:
        found, _ = other if cuda.blockIdx.y else one
        _, rank, r = where()
        memory = cuda.shared.array(0, float32, ALIGNED)
        shared = own(memory)
        arrive()
        wait()  # all blocks have begun
        if r < blocks:
            send(memory, r, rank, float32(rank))
        arrive()
        wait()
        if r < blocks:
            found[rank * blocks + r] = shared[r]

    return Persistent(exchange, pointers=1, use=use)


def _cupy() -> Any:
    import cupy

    return cupy
