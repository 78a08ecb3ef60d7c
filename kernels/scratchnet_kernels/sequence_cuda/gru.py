"""The GRU over all of time in one kernel: W_h is read once for the whole sequence.

The math is that of ``scratchnet.cells.gru``, the plan that of ``lstm.py`` with 3H threads. The
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
from scratchnet_kernels.sequence_cuda.engine import BackwardRun, ForwardRun, launch_runs
from scratchnet_kernels.sequence_cuda.product import ZERO, product
from scratchnet_kernels.sequence_cuda.resources import Resources

GRADIENTS = 2  # that ``parameter_gradients`` takes: da, dm


@cache
def forward_kernel(H: int, use: Resources) -> Persistent:
    """The kernel that fills h, gates and m_n.

    In shared memory: h (rows, H), m (rows, 3H), the weights that are not in registers.
    """
    _, rows, in_registers, _ = use
    G = 3 * H
    M = rows * H  # where m begins
    multiply = product(H, in_registers, rows, H, G, M + rows * G)
    load, add = multiply.load, multiply.add

    def forward(one: Pointers, other: Pointers, T: int, N: int, ragged: int) -> None:
        a, W_h, b_hn, h, gates, m_n, lengths = other if cuda.blockIdx.y else one
        r = cuda.threadIdx.x & 1023  # tells the compiler that it is not negative
        shared = cuda.shared.array(0, float32, ALIGNED)
        w = cuda.local.array(in_registers, float32)
        m = cuda.local.array(rows, float32)
        load(W_h, r, G, r, w, shared)  # column r
        b_m = b_hn[r - 2 * H] if r >= 2 * H else ZERO

        # this thread's elementwise work: unit j of the block's row u, if there is one
        u, j = r // H, r % H
        row = cuda.blockIdx.x * rows + u
        mine = u < rows and row < N
        length = T
        h_prev = a_r = a_z = a_n = ZERO
        if mine:
            if ragged:
                length = lengths[row]
            h_prev = h[row * H + j]
        if u < rows:
            shared[u * H + j] = h_prev
        cuda.syncthreads()

        for t in range(T):
            if mine:
                at = (t * N + row) * G + j
                # prefetched before the product, needed after it
                a_r, a_z, a_n = a[at], a[at + H], a[at + 2 * H]
            for n in range(rows):
                m[n] = b_m
            add(w, shared, 0, r, m)  # m = h' W_h, and b_hn in the n block
            for n in range(rows):
                shared[M + n * G + r] = m[n]
            cuda.syncthreads()  # m is complete
            if mine:
                at = M + u * G + j
                m_new = shared[at + 2 * H]
                r_gate, z, n_gate, h_new = gates_forward(
                    a_r, a_z, a_n, shared[at], shared[at + H], m_new, h_prev
                )
                at = (t * N + row) * G + j
                gates[at], gates[at + H], gates[at + 2 * H] = r_gate, z, n_gate
                m_n[(t * N + row) * H + j] = m_new
                if t < length:  # an ended sequence carries its state
                    h_prev = h_new
                h[((t + 1) * N + row) * H + j] = h_prev
                shared[u * H + j] = h_prev
            cuda.syncthreads()  # h is complete

    return Persistent(forward, pointers=6, use=use)


@cache
def backward_kernel(H: int, use: Resources) -> Persistent:
    """Fills da and dm, and turns the gradient of the final state into that of the initial one.

    Thread (q, k) makes, of dh'[k] = sum over all dm W_h^T, the part of gate q. In shared memory: dm
    (rows, 3H), the parts (rows, 3H), weights.
    """
    _, rows, in_registers, _ = use
    G = 3 * H
    PARTS = rows * G
    multiply = product(H, in_registers, rows, G, G, 2 * rows * G)
    load, add = multiply.load, multiply.add

    def backward(one: Pointers, other: Pointers, T: int, N: int, ragged: int) -> None:
        dy, W_h, h, gates, m_n, da, dm, dh_state, lengths = other if cuda.blockIdx.y else one
        r = cuda.threadIdx.x & 1023
        shared = cuda.shared.array(0, float32, ALIGNED)
        w = cuda.local.array(in_registers, float32)
        part = cuda.local.array(rows, float32)
        q, j = r // H, r % H  # gate and unit in the product; row and unit in the elementwise work
        load(W_h, j * G + q * H, 1, r, w, shared)  # of row j, the block of gate q

        row = cuda.blockIdx.x * rows + q
        mine = q < rows and row < N
        length = T
        dh_next = dh_direct = dy_t = r_t = z_t = n_t = m_t = h_prev = ZERO
        if q < rows:
            for gate in range(3):
                shared[q * G + gate * H + j] = ZERO  # rows past the batch
        if mine:
            if ragged:
                length = lengths[row]
            dh_next = dh_state[row * H + j]
            at = ((T - 1) * N + row) * G + j
            r_t, z_t, n_t = gates[at], gates[at + H], gates[at + 2 * H]
            at = ((T - 1) * N + row) * H + j
            dy_t, h_prev, m_t = dy[at], h[at], m_n[at]

        for back in range(T):
            t = T - 1 - back
            if mine:
                da_r, da_z, da_n, dm_n, dh_direct = gates_backward(
                    dy_t + dh_next, r_t, z_t, n_t, m_t, h_prev
                )
                if t >= length:  # an ended sequence passes its gradient on
                    da_r = da_z = da_n = dm_n = ZERO
                at = q * G + j
                shared[at], shared[at + H], shared[at + 2 * H] = da_r, da_z, dm_n
                at = (t * N + row) * G + j
                da[at], da[at + H], da[at + 2 * H] = da_r, da_z, da_n
                dm[at], dm[at + H], dm[at + 2 * H] = da_r, da_z, dm_n
                if t > 0:  # prefetch one step ahead to hide memory latency
                    at = ((t - 1) * N + row) * G + j
                    r_t, z_t, n_t = gates[at], gates[at + H], gates[at + 2 * H]
                    at = ((t - 1) * N + row) * H + j
                    dy_t, h_prev, m_t = dy[at], h[at], m_n[at]
            cuda.syncthreads()  # dm is complete
            for n in range(rows):
                part[n] = ZERO
            add(w, shared, q * H, r, part)  # undoes  m = h' W_h,  gate q's part
            for n in range(rows):
                shared[PARTS + n * G + r] = part[n]
            cuda.syncthreads()  # the parts are complete
            if mine and t < length:
                at = PARTS + q * G + j
                dh_next = shared[at] + shared[at + H] + shared[at + 2 * H] + dh_direct

        if mine:
            dh_state[row * H + j] = dh_next

    return Persistent(backward, pointers=8, use=use)


def loop_forward(runs: Sequence[ForwardRun]) -> None:
    """The loop of ``gru.forward``, for one or two runs in one launch."""
    read = [{"a": run.a, "W_h": run.cache.W_h, "b_hn": run.params["b_hn"]} for run in runs]
    filled = [{"h": run.cache.h, "gates": run.cache.gates, "m_n": run.cache.m_n} for run in runs]
    launch_runs(forward_kernel, gru, [run.cache for run in runs], read, filled)


def loop_backward(runs: Sequence[BackwardRun]) -> None:
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
    filled = [{"da": run.da[0], "dm": run.da[1], "dh": run.d_states[0]} for run in runs]
    launch_runs(backward_kernel, gru, [run.cache for run in runs], read, filled)
