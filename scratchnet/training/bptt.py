"""Backpropagation through time (BPTT), full and truncated: the truncation is explicit.

A recurrent network unrolled over T steps is a network T layers deep that uses one set of weights T
times. Full BPTT backpropagates through all of them. Truncated BPTT(k1, k2) works in windows: every
k1 steps it takes the losses of those k1 new steps and carries them back k2 steps, no further.

    k1 = k2 = T        full BPTT
    k1 = k2 < T        chunks laid end to end; the loss at a chunk's first step sees that one step
    k1 < k2            every loss is carried back k2 - k1 + 1 steps or more, for k2 / k1 of the work

    step    0 1 2 3 4 5 6 7 8 ...            k1 = 3, k2 = 5
            n n n                            n  new: their losses are counted in this window
              - - n n n                      -  passed through again: gradient, but no loss
                    - - n n n

Cutting ("detaching") at a window's first state drops exactly those terms of the sum over (loss
step, earlier step) that lie more than the window apart. Nothing else is approximated.

References
----------
Williams and Peng 1990, BPTT(h; h') with h = k2 and h' = k1; the names k1 and k2 are Sutskever's
(2013, section 2.8.6).
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array
from scratchnet.cells import Cell
from scratchnet.cells.checks import check_backward
from scratchnet.cells.sequences import window
from scratchnet.errors import InvalidValueError
from scratchnet.layers import BatchNorm1d, Layer, Recurrent
from scratchnet.losses import measured

MOST_WINDOWS = 10**7


class Window(NamedTuple):
    """Steps ``start`` to ``stop`` - 1 are backpropagated through; the losses from step ``new`` on
    are counted."""

    start: int
    new: int
    stop: int


@checked
def windows(T: int, k1: int, k2: int) -> list[Window]:
    """The windows of truncated BPTT over T steps. Each step is new in exactly one; the last may
    hold fewer than k1.

    Raises ValueError unless 1 <= k1 <= k2: with k2 < k1 the losses of some steps would never be
    counted.
    """
    if T < 1 or k1 < 1:
        raise InvalidValueError(f"T is {T} and k1 is {k1}: expected at least 1 of each")
    if T // k1 > MOST_WINDOWS:
        raise InvalidValueError(
            f"T is {T} and k1 is {k1}: expected at most {MOST_WINDOWS} windows, since each takes"
            " time and memory"
        )
    if k2 < k1:
        raise InvalidValueError(
            f"k2 is {k2} but k1 is {k1}: with k2 < k1 the losses of {k1 - k2} in {k1} steps are"
            " never counted"
        )
    stops = (min(new + k1, T) for new in range(0, T, k1))
    return [Window(max(0, stop - k2), new, stop) for new, stop in zip(range(0, T, k1), stops)]


@checked
def full(
    model: Layer,
    x: Array,
    target: Array,
    loss: Callable[..., tuple[float, Array]],
    **arguments: Any,
) -> float:
    """Full BPTT: one forward pass, the loss, one backward pass through everything.

    Parameters
    ----------
    model, x, target : as ``loss`` and the model's forward take them.
    loss : ``loss(y, target) -> (number, dy)``.
    arguments : for the model's forward.

    Returns
    -------
    The loss; the gradients are added to ``model.grads``.
    """
    y, cache = model.forward(x, training=True, **arguments)
    value, dy = measured(loss, y, target)
    model.backward(dy, cache)
    return value


def truncated_terms(
    cell: Cell, dy: Array, cache: Any, k1: int, k2: int
) -> Iterator[tuple[Window, Any]]:
    """Truncated BPTT through one recorded forward pass of a cell: each window and its gradients.

    Parameters
    ----------
    dy : (T, N, H) the gradient of the loss with respect to each output, without what comes through
        later states.
    cache : of the cell's forward pass.
    k1, k2 : see ``windows``.

    Yields
    ------
    Each window and the cell's Grads: those of full BPTT for the steps start..stop-1, with the state
    at ``start`` as a constant and dy counted from ``new`` on.

    Raises
    ------
    ValueError, TypeError : where dy does not fit the cache's outputs.
    """
    check_backward(dy, cache, cast(Any, cell).Cache)
    for part in windows(len(dy), k1, k2):
        counted = dy[part.start : part.stop].copy()
        counted[: part.new - part.start] = 0
        yield part, cell.backward(counted, window(cell, cache, part.start, part.stop))


def truncated(cell: Cell, dy: Array, cache: Any, k1: int, k2: int) -> Any:
    """The sum of all windows' gradients, as the cell's Grads for the whole sequence; with k2 >= T
    it is full BPTT's.

    The gradients of the initial states come from the windows that reach step 0, and da (T, N, G) is
    summed over windows.
    """
    total: dict[str, Array] = {}
    for part, grads in truncated_terms(cell, dy, cache, k1, k2):
        for name, grad in grads._asdict().items():
            if name in ("dx", "da"):
                whole = total.setdefault(
                    name, np.zeros_like(grad, shape=(len(dy), *grad.shape[1:]))
                )
                whole[part.start : part.stop] += grad
            # a state's gradient; where a window starts later, this is where it was cut
            elif name.endswith("0"):
                whole = total.setdefault(name, np.zeros_like(grad))
                if part.start == 0:
                    whole += grad
            else:
                total[name] = total[name] + grad if name in total else grad
    return cell.Grads(**total)


class Streamed(NamedTuple):
    """One window of a stream; its gradients are in ``model.grads``, to be clipped and used."""

    window: Window
    loss: float
    state: Any  # the state after the window's last step


@checked
def stream(
    model: Layer,
    x: Array,
    target: Array,
    loss: Callable[..., tuple[float, Array]],
    k1: int,
    k2: int | None = None,
    state: Any = None,
    training: bool = True,
) -> Iterator[Streamed]:
    """Stateful training over a long sequence: yields after each window's backward, so that the
    caller can step the weights.

        for window in stream(model, x, target, mse, k1=20, k2=40):
            clip_global_norm(model.grads, 1.0)
            optimizer.step(model.params, model.grads)

    The state is carried from window to window, detached: no gradient flows past it. Where k2 > k1
    the k2 - k1 older steps are run again with the *present* weights, from the state that was
    recorded there, so the gradient is exactly that of the window as the weights are now. Gradients
    are set to zero before each window.

    Parameters
    ----------
    x, target : (T, N, D) and (T, N, ...), time first.
    k1, k2 : see ``windows``; k2 defaults to k1.
    state : continues an earlier stream, from its last ``Streamed.state``.
    training : False switches dropout off.

    Raises
    ------
    ValueError : where lengths differ, k2 < k1, or the model cannot be cut in time (bidirectional,
        batch_first, an output that is not a sequence).
    """
    require_streamable(model)
    cuts = windows(require_same_steps(x, target), k1, k1 if k2 is None else k2)
    return _stream(model, x, target, loss, cuts, state, training)


def _stream(
    model: Any, x: Array, target: Array, loss: Any, cuts: list[Window], state: Any, training: bool
) -> Iterator[Streamed]:
    for part, following in zip(cuts, [*cuts[1:], None]):
        y, cache = model.forward(x[part.start : part.stop], training=training, state=state)
        skipped = part.new - part.start
        value, dy_new = measured(loss, y[skipped:], target[part.new : part.stop])
        dy = np.zeros_like(y)
        dy[skipped:] = dy_new
        model.zero_grad()
        model.backward(dy, cache)
        if following is not None:  # detached: no gradient flows past this state
            state = model.state_at(cache, following.start - part.start)
        yield Streamed(part, value, model.state_at(cache, part.stop - part.start))


def require_same_steps(x: Array, target: Array) -> int:
    """T; ValueError unless x and target have as many steps."""
    for name, array in (("x", x), ("target", target)):
        if not array.ndim:
            raise InvalidValueError(f"{name} is one number: expected (T, ...), time first")
    if len(x) != len(target):
        raise InvalidValueError(
            f"x has {len(x)} steps but target has {len(target)}: expected one target for each step,"
            " time first"
        )
    return len(x)


def require_streamable(model: Layer) -> None:
    """ValueError unless a model can run over a sequence in pieces, with its state carried over."""
    if not model.recurrent:
        raise InvalidValueError(
            f"{type(model).__name__} has no recurrent layer: there is no state to carry from window"
            " to window"
        )
    parts = getattr(model, "layers", {"the layer": model})
    for name, layer in parts.items():
        if layer is not model and hasattr(layer, "layers") and layer.recurrent:
            require_streamable(layer)
        elif layer.ragged and not isinstance(layer, (Recurrent, BatchNorm1d)):
            raise InvalidValueError(
                f"{name} is a {type(layer).__name__}, which looks at several steps at once: cut in"
                " time it would miss those beyond the cut"
            )
        if isinstance(layer, Recurrent):
            for what, bad in (
                ("bidirectional", layer.bidirectional),
                ("batch_first", layer.batch_first),
                ("made with return_sequences=False", not layer.return_sequences),
            ):
                if bad:
                    raise InvalidValueError(
                        f"{name} is {what}, but a stream is cut in time: it needs (T, N, D) in and"
                        " out, forwards"
                    )
