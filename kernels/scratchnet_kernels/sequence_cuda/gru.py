"""The GRU over all of time in one kernel: W_h is read once for the whole sequence.

The math is that of ``scratchnet.cells.gru``, the plan that of ``lstm.py`` with three gates. The
product computes the recurrent projection m = h' W_h; the input projection a is added only inside
the gates. Backwards it is dm, not da, that is multiplied by W_h^T, and dh' has a second, direct
part.
"""

from collections.abc import Sequence
from functools import cache

from numba import cuda, float32

from scratchnet.cells import gru
from scratchnet.cells.gru import gates_backward, gates_forward
from scratchnet_kernels.launch import ALIGNED, Persistent, Pointers
from scratchnet_kernels.sequence_cuda.cluster import cluster
from scratchnet_kernels.sequence_cuda.engine import BackwardRun, ForwardRun, Rule, launch_runs
from scratchnet_kernels.sequence_cuda.product import product
from scratchnet_kernels.sequence_cuda.resources import Resources
from scratchnet_kernels.sequence_cuda.weights import ZERO, column_weights, row_weights

GRADIENTS = 2  # that ``parameter_gradients`` takes: da, dm


@cache
def forward_kernel(H: int, use: Resources) -> Persistent:
    """The kernel that fills h, gates and m_n.

    In shared memory: h (2, rows, H), read from one half and written to the other; the parts of m
    (parts, rows, 3U); the weights that are not in registers.
    """
    blocks, U, rows, parts, threads, in_registers, stride, across, *_ = use
    G, half = 3 * H, rows * stride
    PARTS = 2 * half
    weights = column_weights(3, H, U)
    held, load, add, place, operand = product(use, weights, PARTS + parts * rows * across)
    where, own, send, arrive, wait = cluster(use)

    def forward(one: Pointers, other: Pointers, T: int, N: int, ragged: int) -> None:
        a_x, W_h, b, b_hn, h, gates, m_n, lengths = other if cuda.blockIdx.y else one
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
        b_r = b_z = b_n = b_m = r_next = z_next = n_next = ZERO
        r_gate = z = n_gate = h_prev = ZERO
        if mine:
            if ragged:
                length = lengths[row]
            b_r, b_z, b_n, b_m = b[unit], b[unit + H], b[unit + 2 * H], b_hn[unit]
            h_prev = h[row * H + unit]
            at = row * G + unit
            r_next, z_next, n_next = a_x[at], a_x[at + H], a_x[at + 2 * H]
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
            a_r, a_z, a_n = r_next + b_r, z_next + b_z, n_next + b_n  # a = x W_x + b
            if mine and t + 1 < T:  # prefetch one step ahead to hide memory latency
                at = ((t + 1) * N + row) * G + unit
                r_next, z_next, n_next = a_x[at], a_x[at + H], a_x[at + 2 * H]
            add(w, shared, now, r, sums)
            for n in range(held):
                part, one_row, column = place(r, n)
                shared[PARTS + (part * rows + one_row) * across + column] = sums[n]
            cuda.syncthreads()  # the parts are complete
            m_r, m_z, m_new = ZERO, ZERO, b_m
            if mine:
                for p in range(parts):  # m = h' W_h, and b_hn in the n block
                    at = PARTS + (p * rows + u) * across + j
                    m_r += shared[at]
                    m_z += shared[at + U]
                    m_new += shared[at + 2 * U]
                r_gate, z, n_gate, h_new = gates_forward(a_r, a_z, a_n, m_r, m_z, m_new, h_prev)
                if t < length:  # an ended sequence carries its state
                    h_prev = h_new
                for to in range(blocks):
                    send(memory, to, half - now + u * stride + unit, operand(h_prev))
            arrive()
            if mine:  # written while h is on its way
                at = (t * N + row) * G + unit
                gates[at], gates[at + H], gates[at + 2 * H] = r_gate, z, n_gate
                at = (t * N + row) * H + unit
                m_n[at], h[at + N * H] = m_new, h_prev
            wait()  # h is complete

    return Persistent(forward, pointers=7, use=use)


@cache
def backward_kernel(H: int, use: Resources) -> Persistent:
    """Fills da, dm, db and db_hn, and turns the gradient of the final state into the initial one's.

    In shared memory: dm (rows, 3U); the shares of dh' (2, blocks, parts, rows, U), written to one
    half while the other may still be read; the weights that are not in registers.
    """
    blocks, U, rows, parts, threads, in_registers, stride, *_ = use
    G, SHARES, half = 3 * H, rows * stride, blocks * parts * rows * U
    weights = row_weights(3, H, U)
    held, load, add, place, operand = product(use, weights, SHARES + 2 * half)
    where, own, send, arrive, wait = cluster(use)

    def backward(one: Pointers, other: Pointers, T: int, N: int, ragged: int) -> None:
        dy, W_h, h, gates, m_n, da, dm, db, db_hn, dh_state, lengths = (
            other if cuda.blockIdx.y else one
        )
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
        dh_next = dh_direct = dy_t = r_t = z_t = n_t = m_t = h_prev = ZERO
        db_r = db_z = db_n = db_m = ZERO
        if mine:
            if ragged:
                length = lengths[row]
            dh_next = dh_state[row * H + unit]
            at = ((T - 1) * N + row) * G + unit
            r_t, z_t, n_t = gates[at], gates[at + H], gates[at + 2 * H]
            at = ((T - 1) * N + row) * H + unit
            dy_t, h_prev, m_t = dy[at], h[at], m_n[at]
        for at in range(r, SHARES, threads):
            shared[at] = ZERO  # also of rows and units that do not exist
        arrive()
        wait()

        for back in range(T):
            t = T - 1 - back
            if mine:
                da_r, da_z, da_n, dm_n, dh_direct = gates_backward(
                    dy_t + dh_next, r_t, z_t, n_t, m_t, h_prev
                )
                if t >= length:  # an ended sequence passes its gradient on
                    da_r = da_z = da_n = dm_n = ZERO
                at = u * stride + j
                shared[at], shared[at + U] = operand(da_r), operand(da_z)
                shared[at + 2 * U] = operand(dm_n)
                at = (t * N + row) * G + unit
                da[at], da[at + H], da[at + 2 * H] = da_r, da_z, da_n
                dm[at], dm[at + H], dm[at + 2 * H] = da_r, da_z, dm_n
                db_r, db_z, db_n, db_m = db_r + da_r, db_z + da_z, db_n + da_n, db_m + dm_n
                if t > 0:  # prefetch one step ahead
                    at = ((t - 1) * N + row) * G + unit
                    r_t, z_t, n_t = gates[at], gates[at + H], gates[at + 2 * H]
                    at = ((t - 1) * N + row) * H + unit
                    dy_t, h_prev, m_t = dy[at], h[at], m_n[at]
            cuda.syncthreads()  # dm is complete
            add(w, shared, 0, r, sums)  # undoes  m = h' W_h
            now = SHARES + (back & 1) * half
            for n in range(held):
                part, one_row, k = place(r, n)
                at = now + ((rank * parts + part) * rows + one_row) * U + k % U
                send(memory, k // U, at, sums[n])
            arrive()
            wait()  # all shares are there
            if mine and t < length:
                dh_next = dh_direct
                for share in range(blocks * parts):
                    dh_next += shared[now + (share * rows + u) * U + j]

        if mine:
            at = row * G + unit
            db[at], db[at + H], db[at + 2 * H] = db_r, db_z, db_n
            db_hn[row * H + unit], dh_state[row * H + unit] = db_m, dh_next

    return Persistent(backward, pointers=10, use=use)


def loop_forward(runs: Sequence[ForwardRun], rule: Rule) -> None:
    """The loop of ``gru.forward``, for one or two runs in one launch."""
    read = [
        {"a_x": run.a_x, "W_h": run.cache.W_h, "b": run.params["b"], "b_hn": run.params["b_hn"]}
        for run in runs
    ]
    filled = [{"h": run.cache.h, "gates": run.cache.gates, "m_n": run.cache.m_n} for run in runs]
    launch_runs("forward", forward_kernel, rule, gru, [run.cache for run in runs], read, filled)


def loop_backward(runs: Sequence[BackwardRun], rule: Rule) -> None:
    """The loop of ``gru.backward``, for one or two runs in one launch."""
    read = [
        {
            "dy": run.dy,
            "W_h": run.cache.W_h,
            "h": run.cache.h,
            "gates": run.cache.gates,
            "m_n": run.cache.m_n,
        }
        for run in runs
    ]
    filled = [
        {
            "da": run.da[0],
            "dm": run.da[1],
            "db": run.db[0],
            "db_hn": run.db[1],
            "dh": run.d_states[0],
        }
        for run in runs
    ]
    launch_runs("backward", backward_kernel, rule, gru, [run.cache for run in runs], read, filled)
