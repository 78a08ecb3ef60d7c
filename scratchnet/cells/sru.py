"""Simple recurrent unit: gates that look at the unit's own memory only, forward and backward
through time.

With c' for the cell state of the step before,

    a = x W_x + b                   pre-activations, side by side: a_u | a_f | a_r | a_s
    u = a_u                         candidate; no tanh
    f = sigmoid(a_f + v_f c')       forget gate: how much of the old cell state is kept
    r = sigmoid(a_r + v_r c')       reset gate:  how much of the cell state is shown, the rest is the input
    s = a_s                         the input, on its way past the cell
    c = f c' + (1 - f) u            cell state
    h = r c + (1 - r) s             hidden state, which is only the output

There is no W_h: a step waits for no product, and the loop over time has elementwise work only,
which is the point of the cell. No step reads h' either, so h0 changes nothing and dh0 is zero; h
stands among the states because a layer's first one is its output.

The paper takes s = x, which needs D = H. Here s has a block of weights of its own always, which is
how its authors do it where D differs from H; and b has a block for u and s too, where the paper has
biases in f and r only.

Shapes. T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, 4H), v_f (H,), v_r
(H,), b (4H,), blocks in the order u f r s. ``da`` is the gradient of all that a sigmoid is taken
of, v c' included.

Source: Lei, Zhang, Wang, Dai and Artzi 2018 (arXiv:1709.02755), section 3, without the scaling of
section 3.2.
"""

from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, read_only
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.padding import hold, pass_over, without_padding
from scratchnet.elementwise import ONE, d_sigmoid, elementwise, sigmoid

GATES = "ufrs"
STATES: tuple[str, ...] = ("h", "c")
OPTIONS: dict[str, tuple[str, ...]] = {}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order in which ``forward`` takes
    them."""
    return {"W_x": (D, 4 * H), "v_f": (H,), "v_r": (H,), "b": (4 * H,)}


@elementwise
def gates_forward(a_u: Any, a_f: Any, a_r: Any, a_s: Any, c_prev: Any, v_f: Any, v_r: Any) -> Any:
    """One step, elementwise: pre-activations and old cell state to gates, new cell state and
    output."""
    f, r = sigmoid(a_f + v_f * c_prev), sigmoid(a_r + v_r * c_prev)
    c = f * c_prev + (ONE - f) * a_u
    h = r * c + (ONE - r) * a_s
    return a_u, f, r, a_s, c, h


@elementwise
def gates_backward(
    dh: Any, dc_next: Any, u: Any, f: Any, r: Any, s: Any, c_prev: Any, c: Any, v_f: Any, v_r: Any
) -> Any:
    """One step back, elementwise: dh and dc_next to the four da and the gradient of c_prev."""
    # undoes  h = r c + (1 - r) s,  where r stands twice;  r = sigmoid(a_r + v_r c')
    da_r = dh * (c - s) * d_sigmoid(r)
    da_s = dh * (ONE - r)  # undoes  h = ... + (1 - r) s,  s = a_s
    dc = dh * r + dc_next  # c is read twice: by  h = r c  and by the next step
    # undoes  c = f c' + (1 - f) u,  where f stands twice;  f = sigmoid(...)
    da_f = dc * (c_prev - u) * d_sigmoid(f)
    da_u = dc * (ONE - f)  # undoes  c = ... + (1 - f) u,  u = a_u
    # undoes  f c',  v_f c'  and  v_r c':  three roads on which memory travels
    dc_prev = dc * f + da_f * v_f + da_r * v_r
    return da_u, da_f, da_r, da_s, dc_prev


class Cache(NamedTuple):
    """All that the forward pass saw and made; ``backward``, plots and tests read the same one."""

    x: Array  # (T, N, D)
    h: Array  # (T+1, N, H)  h[0] is given and never read, h[1:] is the output
    c: Array  # (T+1, N, H)  c[0] is the initial state
    gates: Array  # (T, N, 4H)   u f r s, f and r after their sigmoid
    W_x: Array  # (D, 4H)
    v_f: Array  # (H,)
    v_r: Array  # (H,)
    lengths: Array | None  # (N,)

    def window(self, start: int, stop: int) -> "Cache":
        """The cache of steps start..stop-1 alone, the state at ``start`` taken as given: truncated
        BPTT detaches here."""
        lengths = None if self.lengths is None else self.lengths - start
        states = slice(start, stop + 1)
        x, h, c, gates = self.x[start:stop], self.h[states], self.c[states], self.gates[start:stop]
        return Cache(x, h, c, gates, self.W_x, self.v_f, self.v_r, lengths)


class Grads(NamedTuple):
    """Gradients in the order of the forward's arguments, each with its argument's shape, and da (T,
    N, 4H)."""

    dx: Array
    dh0: Array
    dc0: Array
    dW_x: Array
    dv_f: Array
    dv_r: Array
    db: Array
    da: Array  # of all pre-activations


def split(a: Array) -> tuple[Array, Array, Array, Array]:
    """The four blocks of a (..., 4H) array, as views."""
    H = a.shape[-1] // 4
    return a[..., :H], a[..., H : 2 * H], a[..., 2 * H : 3 * H], a[..., 3 * H :]


def step_forward(
    a: Array, c_prev: Array, v_f: Array, v_r: Array, gates: Array, c: Array, h: Array
) -> None:
    """One time step: from a (N, 4H), the old cell state and v (H,), fills gates (N, 4H), c and h
    (N, H)."""
    u, f, r, s = split(gates)
    u[...], f[...], r[...], s[...], c[...], h[...] = gates_forward(*split(a), c_prev, v_f, v_r)


def step_backward(
    dh: Array,
    dc_next: Array,
    gates: Array,
    c_prev: Array,
    c: Array,
    v_f: Array,
    v_r: Array,
    da: Array,
) -> Array:
    """One time step back: fills da (N, 4H) and returns the gradient of c_prev (N, H)."""
    da_u, da_f, da_r, da_s = split(da)
    da_u[...], da_f[...], da_r[...], da_s[...], dc_prev = gates_backward(
        dh, dc_next, *split(gates), c_prev, c, v_f, v_r
    )
    return dc_prev


def before_loop(
    x: Array,
    h0: Array,
    c0: Array,
    W_x: Array,
    v_f: Array,
    v_r: Array,
    b: Array,
    lengths: Any = None,
) -> tuple[Array, Cache]:
    """What of the forward pass does not recur: a = x W_x + b (T, N, 4H), and the cache, which the
    loop fills.

    Raises as ``forward`` does.
    """
    params = {"W_x": W_x, "v_f": v_f, "v_r": v_r, "b": b}
    lengths = check_forward(x, {"h0": h0, "c0": c0}, params, param_shapes, lengths)
    x = without_padding(x, lengths)
    T, N, D = x.shape
    h = np.empty_like(x, shape=(T + 1, N, h0.shape[1]), order="C")
    h[0] = h0
    c = np.empty_like(h)
    c[0] = c0
    # one product for all time steps, and there is no other
    a = (x.reshape(T * N, D) @ W_x).reshape(T, N, -1)
    a += b
    return a, Cache(x, h, c, np.empty_like(a), W_x, v_f, v_r, lengths)


def forward(
    x: Array,
    h0: Array,
    c0: Array,
    W_x: Array,
    v_f: Array,
    v_r: Array,
    b: Array,
    lengths: Any = None,
    step: Any = step_forward,
) -> tuple[Array, Cache]:
    """Run the cell over a whole sequence: x (T, N, D), h0 and c0 (N, H), to y (T, N, H) and the
    cache.

    ``lengths`` (N,): sequences that are over sooner; past its length a sequence's state stays at
    its last value. ``step``: what runs one time step; an engine puts its kernel here
    (``step_forward`` is the reference). Raises ValueError or TypeError, naming both sides, where
    shapes or types do not fit.
    """
    a, cache = before_loop(x, h0, c0, W_x, v_f, v_r, b, lengths)
    _, h, c, gates, *_, lengths = cache
    for t in range(len(a)):
        step(a[t], c[t], v_f, v_r, gates[t], c[t + 1], h[t + 1])
        if lengths is not None:
            hold(lengths <= t, t, h, c)
    return read_only(h[1:]), cache


def backward(
    dy: Array,
    cache: Cache,
    dh_last: Array | None = None,
    dc_last: Array | None = None,
    step: Any = step_backward,
) -> Grads:
    """Backpropagation through time: dy (T, N, H), the loss's own gradient of every output, to the
    gradient of every input.

    ``dh_last``, ``dc_last`` (N, H): gradients that arrive at the final states from whatever comes
    after. Each gradient has its argument's shape; dh0 is zero. Raises ValueError or TypeError where
    one that arrives has not.
    """
    check_backward(dy, cache.h, dh_last=dh_last, dc_last=dc_last)
    _, h, c, gates, _, v_f, v_r, lengths = cache
    da = np.empty_like(gates)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    dc_next = np.zeros_like(c[0]) if dc_last is None else dc_last
    for t in reversed(range(len(gates))):
        # step t+1 does not read h: dh_next is what arrived at the final state, and zero before it
        dh = dy[t] + dh_next
        dc_prev = step(dh, dc_next, gates[t], c[t], c[t + 1], v_f, v_r, da[t])
        dh_prev = np.zeros_like(dh)  # no line of the forward pass reads h'
        if lengths is not None:
            pass_over(lengths <= t, da[t], (dh_prev, dh_next), (dc_prev, dc_next))
        # one step back: what left step t is what arrives at step t-1
        dh_next, dc_next = dh_prev, dc_prev
    return after_loop(cache, da, dh_next, dc_next)


def after_loop(cache: Cache, da: Array, dh0: Array, dc0: Array) -> Grads:
    """What of the backward pass does not recur: with da (T, N, 4H) known, every other gradient is
    one product or sum."""
    x, _, c, _, W_x, *_ = cache
    T, N, D = x.shape
    # a weight is used at every step and by every sequence: its gradient is the sum over both
    flat = da.reshape(T * N, -1)
    _, da_f, da_r, _ = split(da)
    return Grads(
        dx=(flat @ W_x.T).reshape(x.shape),  # undoes  a = x W_x + b
        dh0=dh0,
        dc0=dc0,
        dW_x=x.reshape(T * N, D).T @ flat,  # W_x met x
        dv_f=(da_f * c[:-1]).sum(axis=(0, 1)),  # v_f and v_r met c', the *previous* cell state
        dv_r=(da_r * c[:-1]).sum(axis=(0, 1)),
        db=flat.sum(axis=0),
        da=da,
    )
