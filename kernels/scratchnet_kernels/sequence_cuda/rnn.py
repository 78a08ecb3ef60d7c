"""The RNN over all of time in one kernel: the simplest of the three, and the one to read first.

A block owns one sequence and has a thread for each of the H units. The thread has its column of W_h
in registers (and shared memory, where H is large), makes a, then h, and waits for the others: the
next step reads all of h.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from numba import cuda, float32

from scratchnet.arrays import Array
from scratchnet.cells import rnn
from scratchnet.cells.rnn import UNIT
from scratchnet_kernels.launch import ALIGNED, Persistent, Pointers
from scratchnet_kernels.sequence_cuda.engine import BackwardRun, ForwardRun, Kernel, launch_runs
from scratchnet_kernels.sequence_cuda.product import ZERO, product
from scratchnet_kernels.sequence_cuda.resources import Resources

GRADIENTS = 1  # that ``parameter_gradients`` takes: da


def forward_kernel(nonlinearity: str) -> Kernel:
    """The kernel that fills h.  In shared memory: h (H,), the weights that are not in registers."""
    unit: Callable[..., Any] = UNIT[nonlinearity][0]

    @cache
    def make(H: int, use: Resources) -> Persistent:
        _, _, in_registers, _ = use
        multiply = product(H, in_registers, 1, H, H, 2 * H)
        load, add = multiply.load, multiply.add

        def forward(one: Pointers, other: Pointers, T: int, N: int, ragged: int) -> None:
            a_x, W_h, h, lengths = other if cuda.blockIdx.y else one
            j = cuda.threadIdx.x & 1023  # tells the compiler that it is not negative
            row = cuda.blockIdx.x
            shared = cuda.shared.array(0, float32, ALIGNED)
            w = cuda.local.array(in_registers, float32)
            a = cuda.local.array(1, float32)
            load(W_h, j, H, j, w, shared)  # column j
            length = T
            if ragged:
                length = lengths[row]
            h_prev = h[row * H + j]
            shared[j] = h_prev
            a_next = a_x[row * H + j]
            cuda.syncthreads()

            for t in range(T):
                a[0] = a_next
                if t + 1 < T:
                    # prefetch one step ahead to hide memory latency
                    a_next = a_x[((t + 1) * N + row) * H + j]
                add(w, shared, 0, j, a)  # a = a_x + h' W_h
                if t < length:  # an ended sequence carries its state
                    h_prev = unit(a[0])
                h[((t + 1) * N + row) * H + j] = h_prev
                cuda.syncthreads()  # all have read h'
                shared[j] = h_prev
                cuda.syncthreads()  # h is complete

        return Persistent(forward, pointers=3, use=use)

    return make


def backward_kernel(nonlinearity: str) -> Kernel:
    """The kernel that fills da and replaces dh of the final state by that of the initial one."""
    d_unit: Callable[..., Any] = UNIT[nonlinearity][1]

    @cache
    def make(H: int, use: Resources) -> Persistent:
        _, _, in_registers, _ = use
        multiply = product(H, in_registers, 1, H, H, 2 * H)
        load, add = multiply.load, multiply.add

        def backward(one: Pointers, other: Pointers, T: int, N: int, ragged: int) -> None:
            dy, W_h, h, da, dh_state, lengths = other if cuda.blockIdx.y else one
            j = cuda.threadIdx.x & 1023
            row = cuda.blockIdx.x
            shared = cuda.shared.array(0, float32, ALIGNED)
            w = cuda.local.array(in_registers, float32)
            dh = cuda.local.array(1, float32)
            load(W_h, j * H, 1, j, w, shared)  # row j
            length = T
            if ragged:
                length = lengths[row]
            dh_next = dh_state[row * H + j]
            dy_t, h_t = dy[((T - 1) * N + row) * H + j], h[(T * N + row) * H + j]

            for back in range(T):
                t = T - 1 - back
                da_t = d_unit(dy_t + dh_next, h_t)
                if t >= length:  # an ended sequence passes its gradient on
                    da_t = ZERO
                da[(t * N + row) * H + j] = da_t
                if t > 0:  # prefetch one step ahead
                    dy_t, h_t = dy[((t - 1) * N + row) * H + j], h[(t * N + row) * H + j]
                cuda.syncthreads()  # all have read the da of the step after
                shared[j] = da_t
                cuda.syncthreads()  # da is complete
                dh[0] = ZERO
                add(w, shared, 0, j, dh)  # undoes  a = ... + h' W_h
                if t < length:
                    dh_next = dh[0]

            dh_state[row * H + j] = dh_next

        return Persistent(backward, pointers=5, use=use)

    return make


FORWARD = {name: forward_kernel(name) for name in UNIT}
BACKWARD = {name: backward_kernel(name) for name in UNIT}


def loop_forward(runs: Sequence[ForwardRun]) -> None:
    """The loop of ``rnn.forward``, for one or two runs in one launch."""
    caches = [run.cache for run in runs]
    read: list[dict[str, Array]] = [{"a_x": run.a, "W_h": run.cache.W_h} for run in runs]
    launch_runs(
        FORWARD[caches[0].nonlinearity], rnn, caches, read, [{"h": cache.h} for cache in caches]
    )


def loop_backward(runs: Sequence[BackwardRun]) -> None:
    """The loop of ``rnn.backward``, for one or two runs in one launch."""
    caches = [run.cache for run in runs]
    read = [{"dy": run.dy, "W_h": run.cache.W_h, "h": run.cache.h} for run in runs]
    filled = [{"da": run.da[0], "dh": run.d_states[0]} for run in runs]
    launch_runs(BACKWARD[caches[0].nonlinearity], rnn, caches, read, filled)
