"""The LSTM over all of time in one kernel: W_h is read once for the whole sequence.

The math is that of ``scratchnet.cells.lstm``, the plan that of ``rnn.py``. A block owns ``rows``
sequences and has a thread for each of the 4H columns of a, or of the 4U of its U units where a
cluster shares W_h. In every step each thread first computes its column's product, then one thread
for each unit of each row computes its elementwise math.
"""

from collections.abc import Sequence
from functools import cache

from numba import cuda, float32

from scratchnet.cells import lstm
from scratchnet.cells.lstm import gates_backward, gates_forward
from scratchnet_kernels.launch import ALIGNED, Persistent, Pointers
from scratchnet_kernels.sequence_cuda.cluster import cluster
from scratchnet_kernels.sequence_cuda.engine import BackwardRun, ForwardRun, Rule, launch_runs
from scratchnet_kernels.sequence_cuda.product import product
from scratchnet_kernels.sequence_cuda.resources import Resources
from scratchnet_kernels.sequence_cuda.weights import ZERO, column_weights, row_weights

GRADIENTS = 1  # that ``parameter_gradients`` takes: da


@cache
def forward_kernel(H: int, use: Resources) -> Persistent:
    """The kernel that fills h, c and gates.

    In shared memory: h (2, rows, H), read from one half and written to the other; the parts of
    h' W_h (parts, rows, 4U); the weights that are not in registers.
    """
    blocks, U, rows, parts, threads, in_registers, stride, across, *_ = use
    G, half = 4 * H, rows * stride
    PARTS = 2 * half
    weights = column_weights(4, H, U)
    held, load, add, place, operand = product(use, weights, PARTS + parts * rows * across)
    where, own, send, arrive, wait = cluster(use)

    def forward(one: Pointers, other: Pointers, T: int, N: int, ragged: int) -> None:
        a_x, W_h, b, h, c, gates, lengths = other if cuda.blockIdx.y else one
        number, rank, r = where()
        memory = cuda.shared.array(0, float32, ALIGNED)
        shared = own(memory)
        w = cuda.local.array(in_registers, float32)
        sums = cuda.local.array(held, float32)
        load(W_h, rank, r, w, shared)

        # this thread's elementwise work: the block's unit j of the cluster's row u, if there is one
        u, j = r // U, r % U
        row, unit = number * rows + u, rank * U + j
        mine = u < rows and row < N and unit < H
        length = T
        b_i = b_f = b_g = b_o = i_next = f_next = g_next = o_next = ZERO
        i = f = g = o = h_prev = c_prev = ZERO
        if mine:
            if ragged:
                length = lengths[row]
            b_i, b_f, b_g, b_o = b[unit], b[unit + H], b[unit + 2 * H], b[unit + 3 * H]
            h_prev, c_prev = h[row * H + unit], c[row * H + unit]
            at = row * G + unit
            i_next, f_next, g_next, o_next = a_x[at], a_x[at + H], a_x[at + 2 * H], a_x[at + 3 * H]
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
            now = (t & 1) * half
            a_i, a_f, a_g, a_o = i_next + b_i, f_next + b_f, g_next + b_g, o_next + b_o
            if mine and t + 1 < T:  # prefetch one step ahead to hide memory latency
                at = ((t + 1) * N + row) * G + unit
                i_next, f_next = a_x[at], a_x[at + H]
                g_next, o_next = a_x[at + 2 * H], a_x[at + 3 * H]
            add(w, shared, now, r, sums)
            for n in range(held):
                part, one_row, column = place(r, n)
                shared[PARTS + (part * rows + one_row) * across + column] = sums[n]
            cuda.syncthreads()  # the parts are complete
            if mine:
                for p in range(parts):  # a = x W_x + b + h' W_h
                    at = PARTS + (p * rows + u) * across + j
                    a_i += shared[at]
                    a_f += shared[at + U]
                    a_g += shared[at + 2 * U]
                    a_o += shared[at + 3 * U]
                i, f, g, o, c_new, h_new = gates_forward(a_i, a_f, a_g, a_o, c_prev)
                if t < length:  # an ended sequence carries its state
                    h_prev, c_prev = h_new, c_new
                for to in range(blocks):
                    send(memory, to, half - now + u * stride + unit, operand(h_prev))
            arrive()
            if mine:  # written while h is on its way
                at = (t * N + row) * G + unit
                gates[at], gates[at + H], gates[at + 2 * H], gates[at + 3 * H] = i, f, g, o
                at = ((t + 1) * N + row) * H + unit
                h[at], c[at] = h_prev, c_prev
            wait()  # h is complete

    return Persistent(forward, pointers=6, use=use)


@cache
def backward_kernel(H: int, use: Resources) -> Persistent:
    """Fills da and db, and turns the gradients of the final states into those of the initial ones.

    In shared memory: da (rows, 4U); the shares of dh' (2, blocks, parts, rows, U), written to one
    half while the other may still be read; the weights that are not in registers.
    """
    blocks, U, rows, parts, threads, in_registers, stride, *_ = use
    G, SHARES, half = 4 * H, rows * stride, blocks * parts * rows * U
    weights = row_weights(4, H, U)
    held, load, add, place, operand = product(use, weights, SHARES + 2 * half)
    where, own, send, arrive, wait = cluster(use)

    def backward(one: Pointers, other: Pointers, T: int, N: int, ragged: int) -> None:
        dy, W_h, c, gates, da, db, dh_state, dc_state, lengths = other if cuda.blockIdx.y else one
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
        dh_next = dc_next = dy_t = i = f = g = o = c_t = c_prev = ZERO
        db_i = db_f = db_g = db_o = ZERO
        if mine:
            if ragged:
                length = lengths[row]
            dh_next, dc_next = dh_state[row * H + unit], dc_state[row * H + unit]
            at = ((T - 1) * N + row) * G + unit
            i, f, g, o = gates[at], gates[at + H], gates[at + 2 * H], gates[at + 3 * H]
            at = ((T - 1) * N + row) * H + unit
            dy_t, c_prev, c_t = dy[at], c[at], c[at + N * H]
        for at in range(r, SHARES, threads):
            shared[at] = ZERO  # also of rows and units that do not exist
        arrive()
        wait()

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
                at = u * stride + j
                shared[at], shared[at + U] = operand(da_i), operand(da_f)
                shared[at + 2 * U], shared[at + 3 * U] = operand(da_g), operand(da_o)
                at = (t * N + row) * G + unit
                da[at], da[at + H], da[at + 2 * H], da[at + 3 * H] = da_i, da_f, da_g, da_o
                db_i, db_f, db_g, db_o = db_i + da_i, db_f + da_f, db_g + da_g, db_o + da_o
                if t > 0:  # prefetch one step ahead
                    at = ((t - 1) * N + row) * G + unit
                    i, f, g, o = gates[at], gates[at + H], gates[at + 2 * H], gates[at + 3 * H]
                    at = ((t - 1) * N + row) * H + unit
                    dy_t, c_prev, c_t = dy[at], c[at], c_prev
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
            at = row * G + unit
            db[at], db[at + H], db[at + 2 * H], db[at + 3 * H] = db_i, db_f, db_g, db_o
            dh_state[row * H + unit], dc_state[row * H + unit] = dh_next, dc_next

    return Persistent(backward, pointers=8, use=use)


def loop_forward(runs: Sequence[ForwardRun], rule: Rule) -> None:
    """The loop of ``lstm.forward``, for one or two runs in one launch."""
    read = [{"a_x": run.a_x, "W_h": run.cache.W_h, "b": run.params["b"]} for run in runs]
    filled = [{"h": run.cache.h, "c": run.cache.c, "gates": run.cache.gates} for run in runs]
    launch_runs("forward", forward_kernel, rule, lstm, [run.cache for run in runs], read, filled)


def loop_backward(runs: Sequence[BackwardRun], rule: Rule) -> None:
    """The loop of ``lstm.backward``, for one or two runs in one launch."""
    read = [
        {"dy": run.dy, "W_h": run.cache.W_h, "c": run.cache.c, "gates": run.cache.gates}
        for run in runs
    ]
    filled = [
        {"da": run.da[0], "db": run.db[0], "dh": run.d_states[0], "dc": run.d_states[1]}
        for run in runs
    ]
    launch_runs("backward", backward_kernel, rule, lstm, [run.cache for run in runs], read, filled)
