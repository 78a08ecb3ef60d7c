"""LSTM with the two kinds of noise that act inside the loop: variational dropout and zoneout.

With h' and c', the states of the previous step, and the masks m, k_h and k_c,

    a = x W_x + (h' m) W_h + b      pre-activations; m (N, H) is the same at every step
    i f g o, c~, h~                 gates and states of ``lstm.py``, whose gate math this is
    c = k_c c' + (1 - k_c) c~       zoneout: where k_c is 1 a unit keeps its cell state
    h = k_h h' + (1 - k_h) h~       and where k_h is 1 its hidden state, which is also the output

Plain dropout on h', with another mask at each step, multiplies a memory of t steps by t masks and
so erases it. One mask for the whole sequence (variational dropout) drops the same units throughout,
and the others remember. Zoneout erases nothing: instead of setting to zero, its noise keeps.

The masks come from outside (``layers/masked_lstm.py`` draws them): a cell draws no random numbers,
so its gradient can be checked. With all of them None this is ``lstm.py``, bit by bit.

Shapes: W_x (D, 4H), W_h (H, 4H), b (4H,), gates i f g o. ``drop``: m, numbers 0 or 1 / (1 - p),
(N, H), or one number; ``keep_h``, ``keep_c``: k, (T, N, H), 0 or 1 while training, and for
predictions their expectation p, one number.

References: Gal and Ghahramani 2016 (variational dropout, here with one mask for all four gates, as
their implementation "tied"); Krueger et al. 2017 (zoneout, equations 4 to 6: h~ uses c~).
"""

from typing import Annotated, Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, Lengths, Step, read_only, require_same_dtype
from scratchnet.cells import lstm
from scratchnet.cells.checks import check_backward
from scratchnet.cells.lstm import step_backward, step_forward
from scratchnet.cells.sequences import carry_state, input_projection, skip_padding_gradient
from scratchnet.errors import InvalidValueError
from scratchnet.fingerprint import Fingerprints

GATES = "ifgo"
STATES: tuple[str, ...] = ("h", "c")
OPTIONS: dict[str, tuple[str, ...]] = {}
Grads, param_shapes = lstm.Grads, lstm.param_shapes


class Cache(NamedTuple):
    """The LSTM's cache, c~ and the masks."""

    x: Annotated[Array, "T, N, D"]
    h: Annotated[Array, "T+1, N, H"]  # h[0] is the initial state, h[1:] is the output
    c: Annotated[Array, "T+1, N, H"]  # c[0] is the initial state
    gates: Annotated[Array, "T, N, 4H"]  # i f g o, after their sigmoid or tanh
    c_new: Annotated[Array, "T, N, H"]  # c~
    drop: Annotated[Array | None, "T, N, H"]  # m, the same at every step
    keep_h: Annotated[Array | None, "T, N, H"]  # k_h
    keep_c: Annotated[Array | None, "T, N, H"]  # k_c
    W_x: Annotated[Array, "D, 4H"]
    W_h: Annotated[Array, "H, 4H"]
    lengths: Array | None  # (N,)
    fingerprints: Fingerprints = None  # of x and the weights


def mask(name: str, given: Any, h: Array) -> Array | None:
    """A mask as (T, N, H), without a copy: from one number, (N, H) if ``drop``, or (T, N, H).

    h (T+1, N, H). Raises ValueError or TypeError, with both sides, for another shape or type.
    """
    if given is None:
        return None
    if isinstance(given, (int, float, np.floating)):
        if given < 0 or (given > 1 and name != "drop"):
            expected = "at least 0" if name == "drop" else "a share, from 0 to 1"
            raise InvalidValueError(f"{name} is {given}: expected {expected}")
        given = np.asarray(given, dtype=h.dtype, like=h)
    require_same_dtype({"x": h, name: given})
    shape = h[1:].shape
    allowed = ((), shape[1:]) if name == "drop" else ((), shape)
    if given.shape not in allowed:
        raise InvalidValueError(
            f"{name} is {given.shape} but x and h0 make {shape}: expected a number or {allowed[1]}"
        )
    return np.broadcast_to(given, shape)


def forward(
    x: Array,
    h0: Array,
    c0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    lengths: Lengths = None,
    step: Step = step_forward,
    drop: Any = None,
    keep_h: Any = None,
    keep_c: Any = None,
) -> tuple[Array, Cache]:
    """Run the cell over a sequence; arguments and results as ``lstm.forward``'s, and the masks.

    Parameters
    ----------
    drop : number or (N, H), what multiplies h' in the product; None for no dropout
    keep_h, keep_c : number or (T, N, H), zoneout; None for none
    """
    base = lstm.new_cache(x, h0, c0, W_x, W_h, b, lengths)
    h, c, gates, lengths = base.h, base.c, base.gates, base.lengths
    a_x = input_projection(base.x, W_x, b)
    m, k_h, k_c = mask("drop", drop, h), mask("keep_h", keep_h, h), mask("keep_c", keep_c, h)
    c_new = np.empty_like(c[1:])
    for t in range(len(a_x)):
        a = a_x[t] + (h[t] if m is None else h[t] * m[t]) @ W_h
        step(a, c[t], gates[t], c_new[t], h[t + 1])
        c[t + 1] = c_new[t] if k_c is None else k_c[t] * c[t] + (1 - k_c[t]) * c_new[t]
        if k_h is not None:
            h[t + 1] = k_h[t] * h[t] + (1 - k_h[t]) * h[t + 1]
        if lengths is not None:
            carry_state(lengths <= t, t, h, c)
    masks = m, k_h, k_c
    cache = Cache(base.x, h, c, gates, c_new, *masks, W_x, W_h, lengths, base.fingerprints)
    return read_only(h[1:]), cache


def backward(
    dy: Array,
    cache: Cache,
    dh_last: Array | None = None,
    dc_last: Array | None = None,
    step: Step = step_backward,
) -> lstm.Grads:
    """Backpropagate through time; arguments and results as ``lstm.backward``'s."""
    check_backward(dy, cache, Cache, dh_last=dh_last, dc_last=dc_last)
    h, c, gates, c_new, W_h = cache.h, cache.c, cache.gates, cache.c_new, cache.W_h
    m, k_h, k_c = cache.drop, cache.keep_h, cache.keep_c
    da = np.empty_like(gates)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    dc_next = np.zeros_like(c[0]) if dc_last is None else dc_last
    for t in reversed(range(len(gates))):
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        dh_new = dh if k_h is None else dh * (1 - k_h[t])  # undoes  h = ... + (1 - k_h) h~
        dc_new = (
            dc_next if k_c is None else dc_next * (1 - k_c[t])
        )  # undoes  c = ... + (1 - k_c) c~
        dc_prev = step(dh_new, dc_new, gates[t], c[t], c_new[t], da[t])
        dh_prev = da[t] @ W_h.T  # undoes  a = ... + (h' m) W_h
        if m is not None:
            dh_prev *= m[t]  # undoes  h' m
        if k_h is not None:
            dh_prev += dh * k_h[t]  # undoes  h = k_h h' + ...:  the path of a unit that was kept
        if k_c is not None:
            dc_prev = dc_prev + dc_next * k_c[t]  # undoes  c = k_c c' + ...
        if cache.lengths is not None:
            ended = cache.lengths <= t
            skip_padding_gradient(ended, da[t], (dh_prev, dh_next), (dc_prev, dc_next))
        dh_next, dc_next = dh_prev, dc_prev  # one step back: upstream of step t-1
    h_seen = h if m is None else np.concatenate([h[:-1] * m, h[-1:]])  # W_h's factor is h' m
    base = lstm.Cache(cache.x, h_seen, c, gates, cache.W_x, W_h, cache.lengths)
    return lstm.parameter_gradients(base, da, dh_next, dc_next)
