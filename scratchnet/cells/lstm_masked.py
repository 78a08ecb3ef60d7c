"""LSTM with the two noises that act inside the loop: variational dropout and zoneout.

With h' and c' for the states of the step before, m, k_h and k_c for the masks,

    a = x W_x + (h' m) W_h + b      pre-activations; m (N, H) is the same at every step: variational dropout
    i = sigmoid(a_i),  f = sigmoid(a_f),  g = tanh(a_g),  o = sigmoid(a_o)
    c~ = f c' + i g                 as in ``lstm.py``, whose gate math this is
    h~ = o tanh(c~)
    c = k_c c' + (1 - k_c) c~       zoneout: where k_c is 1 a unit keeps its old cell state
    h = k_h h' + (1 - k_h) h~       and where k_h is 1 its old hidden state, which is also the output

Plain dropout on h', drawn anew at each step, multiplies a memory of t steps by t masks and so
erases it; one mask for the whole sequence leaves out the same units throughout, and the others
remember. Zoneout erases nothing: in place of noise that sets to zero it has noise that keeps.

``drop``: m, numbers 0 or 1 / (1 - p), or one number; ``keep_h``, ``keep_c``: k, (T, N, H), 0 or 1
in training, and at prediction their expectation p, one number. The masks come from outside
(``layers/masked_lstm.py`` draws them): a cell has no randomness of its own, so its gradient can be
checked. All None is ``lstm.py``, bit by bit.

Shapes. T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, 4H), W_h (H, 4H),
b (4H,), gates i f g o.

Source: Gal and Ghahramani 2016 (variational dropout, here with one mask for all four gates, as
their implementation "tied"), Krueger et al. 2017 (zoneout, equations 4 to 6: h~ is made of c~,
before c is zoned out).
"""

from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, read_only, require_same_dtype
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.lstm import step_backward, step_forward
from scratchnet.cells.padding import hold, pass_over, without_padding

GATES = "ifgo"
STATES: tuple[str, ...] = ("h", "c")
OPTIONS: dict[str, tuple[str, ...]] = {}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order in which ``forward`` takes
    them."""
    return {"W_x": (D, 4 * H), "W_h": (H, 4 * H), "b": (4 * H,)}


class Cache(NamedTuple):
    """All that the forward pass saw and made; ``backward``, plots and tests read the same one."""

    x: Array  # (T, N, D)
    h: Array  # (T+1, N, H)  h[0] is the initial state, h[1:] is the output
    c: Array  # (T+1, N, H)  c[0] is the initial state
    gates: Array  # (T, N, 4H)   i f g o, after their sigmoid or tanh
    c_new: Array  # (T, N, H)    c~, which h~ was made of
    drop: Array | None  # (T, N, H)  m, the same at every step
    keep_h: Array | None  # (T, N, H)  k_h
    keep_c: Array | None  # (T, N, H)  k_c
    W_x: Array  # (D, 4H)
    W_h: Array  # (H, 4H)
    lengths: Array | None  # (N,)

    def window(self, start: int, stop: int) -> "Cache":
        """The cache of steps start..stop-1 alone, the state at ``start`` taken as given: truncated
        BPTT detaches here."""
        lengths = None if self.lengths is None else self.lengths - start
        states = slice(start, stop + 1)
        x, h, c, gates = self.x[start:stop], self.h[states], self.c[states], self.gates[start:stop]
        m, k_h, k_c = (
            None if k is None else k[start:stop] for k in (self.drop, self.keep_h, self.keep_c)
        )
        return Cache(
            x, h, c, gates, self.c_new[start:stop], m, k_h, k_c, self.W_x, self.W_h, lengths
        )


class Grads(NamedTuple):
    """Gradients in the order of the forward's arguments, each with its argument's shape, and da (T,
    N, 4H)."""

    dx: Array
    dh0: Array
    dc0: Array
    dW_x: Array
    dW_h: Array
    db: Array
    da: Array  # of all pre-activations


def mask(name: str, given: Any, h: Array) -> Array | None:
    """A mask as (T, N, H), without a copy: from one number, from (N, H) if it is ``drop``, or from
    (T, N, H).

    h (T+1, N, H).  Raises ValueError or TypeError, naming both sides, for another shape or type.
    """
    if given is None:
        return None
    if isinstance(given, (int, float, np.floating)):
        if given < 0 or (given > 1 and name != "drop"):
            raise ValueError(
                f"{name} is {given}: expected"
                f" {'at least 0' if name == 'drop' else 'a share, from 0 to 1'}"
            )
        given = np.asarray(given, dtype=h.dtype, like=h)
    require_same_dtype({"x": h, name: given})
    shape = h[1:].shape
    allowed = ((), shape[1:]) if name == "drop" else ((), shape)
    if given.shape not in allowed:
        raise ValueError(
            f"{name} is {given.shape} but x and h0 make {shape}: expected a number or {allowed[1]}"
        )
    return np.broadcast_to(given, shape)


def before_loop(
    x: Array,
    h0: Array,
    c0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    lengths: Any = None,
    drop: Any = None,
    keep_h: Any = None,
    keep_c: Any = None,
) -> tuple[Array, Cache]:
    """What of the forward pass does not recur: a_x = x W_x + b (T, N, 4H), and the cache, which the
    loop fills.

    Raises as ``forward`` does.
    """
    lengths = check_forward(
        x, {"h0": h0, "c0": c0}, {"W_x": W_x, "W_h": W_h, "b": b}, param_shapes, lengths
    )
    x = without_padding(x, lengths)
    T, N, D = x.shape
    h = np.empty_like(x, shape=(T + 1, N, h0.shape[1]), order="C")
    h[0] = h0
    c = np.empty_like(h)
    c[0] = c0
    a_x = (x.reshape(T * N, D) @ W_x).reshape(T, N, -1)  # one product for all time steps
    a_x += b
    m, k_h, k_c = mask("drop", drop, h), mask("keep_h", keep_h, h), mask("keep_c", keep_c, h)
    return a_x, Cache(
        x, h, c, np.empty_like(a_x), np.empty_like(c[1:]), m, k_h, k_c, W_x, W_h, lengths
    )


def forward(
    x: Array,
    h0: Array,
    c0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    lengths: Any = None,
    step: Any = step_forward,
    drop: Any = None,
    keep_h: Any = None,
    keep_c: Any = None,
) -> tuple[Array, Cache]:
    """Run the cell over a whole sequence: x (T, N, D), h0 and c0 (N, H), to y (T, N, H) and the
    cache.

    ``lengths`` (N,): sequences that are over sooner; past its length a sequence's state stays at
    its last value. ``drop``: one number or (N, H); ``keep_h``, ``keep_c``: one number or (T, N, H);
    None for no such noise. ``step``: what runs one time step; an engine puts its kernel here
    (``step_forward`` is the reference). Raises ValueError or TypeError, naming both sides, where
    shapes or types do not fit.
    """
    a_x, cache = before_loop(x, h0, c0, W_x, W_h, b, lengths, drop, keep_h, keep_c)
    _, h, c, gates, c_new, m, k_h, k_c, _, _, lengths = cache
    for t in range(len(a_x)):
        a = a_x[t] + (h[t] if m is None else h[t] * m[t]) @ W_h
        step(a, c[t], gates[t], c_new[t], h[t + 1])
        c[t + 1] = c_new[t] if k_c is None else k_c[t] * c[t] + (1 - k_c[t]) * c_new[t]
        if k_h is not None:
            h[t + 1] = k_h[t] * h[t] + (1 - k_h[t]) * h[t + 1]
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
    after. Each gradient has its argument's shape. Raises ValueError or TypeError where one that
    arrives has not.
    """
    check_backward(dy, cache.h, dh_last=dh_last, dc_last=dc_last)
    _, h, c, gates, c_new, m, k_h, k_c, _, W_h, lengths = cache
    T = len(gates)
    da = np.empty_like(gates)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    dc_next = np.zeros_like(c[0]) if dc_last is None else dc_last
    for t in reversed(range(T)):
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        dh_new = dh if k_h is None else dh * (1 - k_h[t])  # undoes  h = ... + (1 - k_h) h~
        # undoes  c = ... + (1 - k_c) c~
        dc_new = dc_next if k_c is None else dc_next * (1 - k_c[t])
        dc_prev = step(dh_new, dc_new, gates[t], c[t], c_new[t], da[t])
        dh_prev = da[t] @ W_h.T  # undoes  a = ... + (h' m) W_h
        if m is not None:
            dh_prev *= m[t]  # undoes  h' m
        if k_h is not None:
            dh_prev += dh * k_h[t]  # undoes  h = k_h h' + ...:  the road of a unit that was kept
        if k_c is not None:
            dc_prev = dc_prev + dc_next * k_c[t]  # undoes  c = k_c c' + ...
        if lengths is not None:
            pass_over(lengths <= t, da[t], (dh_prev, dh_next), (dc_prev, dc_next))
        # one step back: what left step t is what arrives at step t-1
        dh_next, dc_next = dh_prev, dc_prev
    return after_loop(cache, da, dh_next, dc_next)


def after_loop(cache: Cache, da: Array, dh0: Array, dc0: Array) -> Grads:
    """What of the backward pass does not recur: with da (T, N, 4H) known, every other gradient is
    one product or sum."""
    x, h, _, _, _, m, _, _, W_x, _, _ = cache
    T, N, D = x.shape
    # a weight is used at every step and by every sequence: its gradient is the sum over both
    flat = da.reshape(T * N, -1)
    h_seen = h[:-1] if m is None else h[:-1] * m  # W_h met h' as far as the mask let it through
    return Grads(
        dx=(flat @ W_x.T).reshape(x.shape),  # undoes  a = x W_x + ...
        dh0=dh0,
        dc0=dc0,
        dW_x=x.reshape(T * N, D).T @ flat,  # W_x met x
        dW_h=h_seen.reshape(T * N, -1).T @ flat,
        db=flat.sum(axis=0),
        da=da,
    )
