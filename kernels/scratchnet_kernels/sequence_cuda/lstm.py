"""The LSTM over all of time in one kernel: W_h is read once for the whole sequence.

The math is that of ``scratchnet.cells.lstm``. A block owns ``rows`` sequences and has a thread for
each of the 4H columns of a. In every step each thread first computes its column's product, then one
thread for each unit of each row computes its elementwise math. Between the two, and after them, the
block waits for all its threads; blocks are independent.
"""

from collections.abc import Sequence
from functools import cache

from numba import cuda, float32

from scratchnet.cells import lstm
from scratchnet.cells.lstm import gates_backward, gates_forward
from scratchnet_kernels.launch import ALIGNED, Persistent, Pointers
from scratchnet_kernels.sequence_cuda.engine import BackwardRun, ForwardRun, launch_runs
from scratchnet_kernels.sequence_cuda.product import ZERO, product
from scratchnet_kernels.sequence_cuda.resources import Resources

GRADIENTS = 1  # that ``parameter_gradients`` takes: da


@cache
def forward_kernel(H: int, use: Resources) -> Persistent:
    """The kernel that fills h, c and gates.

    In shared memory: h (rows, H), a (rows, 4H), the weights that are not in registers.
    """
    _, rows, in_registers, _ = use
    G = 4 * H
    A = rows * H  # where a begins
    multiply = product(H, in_registers, rows, H, G, A + rows * G)
    load, add = multiply.load, multiply.add

    def forward(one: Pointers, other: Pointers, T: int, N: int, ragged: int) -> None:
        a_x, W_h, h, c, gates, lengths = other if cuda.blockIdx.y else one
        r = cuda.threadIdx.x & 1023  # tells the compiler that it is not negative
        first = cuda.blockIdx.x * rows
        shared = cuda.shared.array(0, float32, ALIGNED)
        w = cuda.local.array(in_registers, float32)
        a = cuda.local.array(rows, float32)
        a_next = cuda.local.array(rows, float32)
        load(W_h, r, G, r, w, shared)  # column r

        # this thread's elementwise work: unit j of the block's row u, if there is one
        u, j = r // H, r % H
        row = first + u
        mine = u < rows and row < N
        length = T
        h_prev = c_prev = ZERO
        if mine:
            if ragged:
                length = lengths[row]
            h_prev, c_prev = h[row * H + j], c[row * H + j]
        if u < rows:
            shared[u * H + j] = h_prev
        for n in range(rows):
            a_next[n] = a_x[(first + n) * G + r] if first + n < N else ZERO
        cuda.syncthreads()

        for t in range(T):
            for n in range(rows):
                a[n] = a_next[n]
                if t + 1 < T and first + n < N:
                    # prefetch one step ahead to hide memory latency
                    a_next[n] = a_x[((t + 1) * N + first + n) * G + r]
            add(w, shared, 0, r, a)  # a = a_x + h' W_h
            for n in range(rows):
                shared[A + n * G + r] = a[n]
            cuda.syncthreads()  # a is complete
            if mine:
                at = A + u * G + j
                i, f, g, o, c_new, h_new = gates_forward(
                    shared[at], shared[at + H], shared[at + 2 * H], shared[at + 3 * H], c_prev
                )
                at = (t * N + row) * G + j
                gates[at], gates[at + H], gates[at + 2 * H], gates[at + 3 * H] = i, f, g, o
                if t < length:  # an ended sequence carries its state
                    h_prev, c_prev = h_new, c_new
                at = ((t + 1) * N + row) * H + j
                h[at], c[at] = h_prev, c_prev
                shared[u * H + j] = h_prev
            cuda.syncthreads()  # h is complete

    return Persistent(forward, pointers=5, use=use)


@cache
def backward_kernel(H: int, use: Resources) -> Persistent:
    """Fills da, and turns the gradients of the final states into those of the initial ones.

    Thread (q, k) makes, of dh'[k] = sum over all da W_h^T, the part of gate q. In shared memory: da
    (rows, 4H), the parts (rows, 4H), weights.
    """
    _, rows, in_registers, _ = use
    G = 4 * H
    PARTS = rows * G
    multiply = product(H, in_registers, rows, G, G, 2 * rows * G)
    load, add = multiply.load, multiply.add

    def backward(one: Pointers, other: Pointers, T: int, N: int, ragged: int) -> None:
        dy, W_h, c, gates, da, dh_state, dc_state, lengths = other if cuda.blockIdx.y else one
        r = cuda.threadIdx.x & 1023
        shared = cuda.shared.array(0, float32, ALIGNED)
        w = cuda.local.array(in_registers, float32)
        part = cuda.local.array(rows, float32)
        q, j = r // H, r % H  # gate and unit in the product; row and unit in the elementwise work
        load(W_h, j * G + q * H, 1, r, w, shared)  # of row j, the block of gate q

        row = cuda.blockIdx.x * rows + q
        mine = q < rows and row < N
        length = T
        dh_next = dc_next = dy_t = i = f = g = o = c_t = c_prev = ZERO
        if q < rows:
            for gate in range(4):
                shared[q * G + gate * H + j] = ZERO  # rows past the batch
        if mine:
            if ragged:
                length = lengths[row]
            dh_next, dc_next = dh_state[row * H + j], dc_state[row * H + j]
            at = ((T - 1) * N + row) * G + j
            i, f, g, o = gates[at], gates[at + H], gates[at + 2 * H], gates[at + 3 * H]
            at = ((T - 1) * N + row) * H + j
            dy_t, c_prev, c_t = dy[at], c[at], c[at + N * H]

        for back in range(T):
            t = T - 1 - back
            if mine:
                da_i, da_f, da_g, da_o, dc_prev = gates_backward(
                    dy_t + dh_next, dc_next, i, f, g, o, c_prev, c_t
                )
                if t < length:
                    dc_next = dc_prev
                else:  # an ended sequence passes its gradient on
                    da_i = da_f = da_g = da_o = ZERO
                at = q * G + j
                shared[at], shared[at + H], shared[at + 2 * H], shared[at + 3 * H] = (
                    da_i,
                    da_f,
                    da_g,
                    da_o,
                )
                at = (t * N + row) * G + j
                da[at], da[at + H], da[at + 2 * H], da[at + 3 * H] = da_i, da_f, da_g, da_o
                if t > 0:  # prefetch one step ahead
                    at = ((t - 1) * N + row) * G + j
                    i, f, g, o = gates[at], gates[at + H], gates[at + 2 * H], gates[at + 3 * H]
                    at = ((t - 1) * N + row) * H + j
                    dy_t, c_prev, c_t = dy[at], c[at], c_prev
            cuda.syncthreads()  # da is complete
            for n in range(rows):
                part[n] = ZERO
            add(w, shared, q * H, r, part)  # undoes  a = ... + h' W_h,  gate q's part
            for n in range(rows):
                shared[PARTS + n * G + r] = part[n]
            cuda.syncthreads()  # the parts are complete
            if mine and t < length:
                at = PARTS + q * G + j
                dh_next = shared[at] + shared[at + H] + shared[at + 2 * H] + shared[at + 3 * H]

        if mine:
            dh_state[row * H + j], dc_state[row * H + j] = dh_next, dc_next

    return Persistent(backward, pointers=7, use=use)


def loop_forward(runs: Sequence[ForwardRun]) -> None:
    """The loop of ``lstm.forward``, for one or two runs in one launch."""
    read = [{"a_x": run.a, "W_h": run.cache.W_h} for run in runs]
    filled = [{"h": run.cache.h, "c": run.cache.c, "gates": run.cache.gates} for run in runs]
    launch_runs(forward_kernel, lstm, [run.cache for run in runs], read, filled)


def loop_backward(runs: Sequence[BackwardRun]) -> None:
    """The loop of ``lstm.backward``, for one or two runs in one launch."""
    read = [
        {"dy": run.dy, "W_h": run.cache.W_h, "c": run.cache.c, "gates": run.cache.gates}
        for run in runs
    ]
    filled = [{"da": run.da[0], "dh": run.d_states[0], "dc": run.d_states[1]} for run in runs]
    launch_runs(backward_kernel, lstm, [run.cache for run in runs], read, filled)
