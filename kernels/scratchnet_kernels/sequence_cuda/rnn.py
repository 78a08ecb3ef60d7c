"""The RNN over all of time in one kernel: the simplest of the three, and the one to read first.

A block owns a sequence, and has a thread for each of the H units. The thread has its column of W_h
in registers (and shared memory, where H is large), computes a, then h, and waits for the others:
the next step reads all of h.

Where W_h is too large for one multiprocessor, the blocks of a cluster own the same ``rows``
sequences, and each has U of the H units. Forward, every block computes its units' h and sends it to
all blocks. Backward, every block multiplies its units' da by its columns of W_h, transposed; that
gives a share of dh' for all units, and each is sent to the block that has the unit. A block on its
own is a cluster of one, and sends to itself.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from numba import cuda, float32

from scratchnet.arrays import Array
from scratchnet.cells import rnn
from scratchnet.cells.rnn import UNIT
from scratchnet_kernels.launch import ALIGNED, Persistent, Pointers
from scratchnet_kernels.sequence_cuda.cluster import cluster
from scratchnet_kernels.sequence_cuda.engine import (
    BackwardRun,
    ForwardRun,
    Kernel,
    Rule,
    launch_runs,
)
from scratchnet_kernels.sequence_cuda.product import product
from scratchnet_kernels.sequence_cuda.resources import Resources
from scratchnet_kernels.sequence_cuda.weights import ZERO, column_weights, row_weights

GRADIENTS = 1  # that ``parameter_gradients`` takes: da


def forward_kernel(nonlinearity: str) -> Kernel:
    """The kernel that fills h.

    In shared memory: h (2, rows, H), read from one half and written to the other; the parts of
    h' W_h (parts, rows, U); the weights that are not in registers.
    """
    unit_forward: Callable[..., Any] = UNIT[nonlinearity][0]

    @cache
    def make(H: int, use: Resources) -> Persistent:
        blocks, U, rows, parts, threads, in_registers, stride, across, *_ = use
        half = rows * stride
        PARTS = 2 * half
        weights = column_weights(1, H, U)
        held, load, add, place, operand = product(use, weights, PARTS + parts * rows * across)
        where, own, send, arrive, wait = cluster(use)

        def forward(one: Pointers, other: Pointers, T: int, N: int, ragged: int) -> None:
            a_x, W_h, b, h, lengths = other if cuda.blockIdx.y else one
            number, rank, r = where()
            memory = cuda.shared.array(0, float32, ALIGNED)
            shared = own(memory)
            w = cuda.local.array(in_registers, float32)
            sums = cuda.local.array(held, float32)
            load(W_h, rank, r, w, shared)

            # this thread's elementwise work: unit j of the cluster's row u, if there is one
            u, j = r // U, r % U
            row, unit = number * rows + u, rank * U + j
            mine = u < rows and row < N and unit < H
            length = T
            b_j = h_prev = a_next = ZERO
            if mine:
                if ragged:
                    length = lengths[row]
                b_j, h_prev, a_next = b[unit], h[row * H + unit], a_x[row * H + unit]
            for at in range(r, PARTS, threads):
                shared[at] = ZERO  # also of rows and units that do not exist
            arrive()
            wait()
            if mine:
                for to in range(blocks):
                    send(memory, to, u * stride + unit, operand(h_prev))
            arrive()
            wait()

            for t in range(T):
                now = (t & 1) * half  # where h' is
                a = a_next + b_j
                if mine and t + 1 < T:  # prefetch one step ahead to hide memory latency
                    a_next = a_x[((t + 1) * N + row) * H + unit]
                add(w, shared, now, r, sums)
                for n in range(held):
                    part, one_row, column = place(r, n)
                    shared[PARTS + (part * rows + one_row) * across + column] = sums[n]
                cuda.syncthreads()  # the parts are complete
                if mine:
                    for p in range(parts):  # a = x W_x + b + h' W_h
                        a += shared[PARTS + (p * rows + u) * across + j]
                    if t < length:  # an ended sequence carries its state
                        h_prev = unit_forward(a)
                    for to in range(blocks):
                        send(memory, to, half - now + u * stride + unit, operand(h_prev))
                arrive()
                if mine:  # written while h is on its way
                    h[((t + 1) * N + row) * H + unit] = h_prev
                wait()  # h is complete

        return Persistent(forward, pointers=4, use=use)

    return make


def backward_kernel(nonlinearity: str) -> Kernel:
    """The kernel that fills da and db, and replaces dh of the final state by that of the initial.

    In shared memory: da (rows, U); the shares of dh' (2, blocks, parts, rows, U), written to one
    half while the other may still be read; the weights that are not in registers.
    """
    unit_backward: Callable[..., Any] = UNIT[nonlinearity][1]

    @cache
    def make(H: int, use: Resources) -> Persistent:
        blocks, U, rows, parts, threads, in_registers, stride, *_ = use
        SHARES, half = rows * stride, blocks * parts * rows * U
        weights = row_weights(1, H, U)
        held, load, add, place, operand = product(use, weights, SHARES + 2 * half)
        where, own, send, arrive, wait = cluster(use)

        def backward(one: Pointers, other: Pointers, T: int, N: int, ragged: int) -> None:
            dy, W_h, h, da, db, dh_state, lengths = other if cuda.blockIdx.y else one
            number, rank, r = where()
            memory = cuda.shared.array(0, float32, ALIGNED)
            shared = own(memory)
            w = cuda.local.array(in_registers, float32)
            sums = cuda.local.array(held, float32)
            load(W_h, rank, r, w, shared)

            u, j = r // U, r % U
            row, unit = number * rows + u, rank * U + j
            mine = u < rows and row < N and unit < H
            length = T
            dh_next = dy_t = h_t = db_j = ZERO
            if mine:
                if ragged:
                    length = lengths[row]
                dh_next = dh_state[row * H + unit]
                dy_t, h_t = dy[((T - 1) * N + row) * H + unit], h[(T * N + row) * H + unit]
            for at in range(r, SHARES, threads):
                shared[at] = ZERO  # also of rows and units that do not exist
            arrive()
            wait()

            for back in range(T):
                t = T - 1 - back
                if mine:
                    da_t = unit_backward(dy_t + dh_next, h_t)
                    if t >= length:  # an ended sequence passes its gradient on
                        da_t = ZERO
                    shared[u * stride + j] = operand(da_t)
                    da[(t * N + row) * H + unit] = da_t
                    db_j += da_t
                    if t > 0:  # prefetch one step ahead
                        dy_t = dy[((t - 1) * N + row) * H + unit]
                        h_t = h[(t * N + row) * H + unit]
                cuda.syncthreads()  # da is complete
                add(w, shared, 0, r, sums)  # undoes  a = ... + h' W_h
                now = SHARES + (back & 1) * half
                for n in range(held):
                    part, one_row, k = place(r, n)
                    at = now + ((rank * parts + part) * rows + one_row) * U + k % U
                    send(memory, k // U, at, sums[n])
                arrive()
                wait()  # all shares are there
                if mine and t < length:
                    dh_next = ZERO
                    for share in range(blocks * parts):
                        dh_next += shared[now + (share * rows + u) * U + j]

            if mine:
                db[row * H + unit], dh_state[row * H + unit] = db_j, dh_next

        return Persistent(backward, pointers=6, use=use)

    return make


FORWARD = {name: forward_kernel(name) for name in UNIT}
BACKWARD = {name: backward_kernel(name) for name in UNIT}


def loop_forward(runs: Sequence[ForwardRun], rule: Rule) -> None:
    """The loop of ``rnn.forward``, for one or two runs in one launch."""
    caches = [run.cache for run in runs]
    read: list[dict[str, Array]] = [
        {"a_x": run.a_x, "W_h": run.cache.W_h, "b": run.params["b"]} for run in runs
    ]
    filled = [{"h": cache.h} for cache in caches]
    launch_runs("forward", FORWARD[caches[0].nonlinearity], rule, rnn, caches, read, filled)


def loop_backward(runs: Sequence[BackwardRun], rule: Rule) -> None:
    """The loop of ``rnn.backward``, for one or two runs in one launch."""
    caches = [run.cache for run in runs]
    read = [{"dy": run.dy, "W_h": run.cache.W_h, "h": run.cache.h} for run in runs]
    filled = [{"da": run.da[0], "db": run.db[0], "dh": run.d_states[0]} for run in runs]
    launch_runs("backward", BACKWARD[caches[0].nonlinearity], rule, rnn, caches, read, filled)
