"""Sequences too long to keep a whole pass: forward in chunks, full BPTT with recomputation.

A forward pass keeps the gates and states of all T steps for backward. Over a million steps these
are gigabytes, although each step needs only its own. Gradient checkpointing keeps the state at
every k-th step, and computes the steps between again when backward comes to them:

    forward   |--- k steps ---|--- k steps ---|--- k steps ---|   keep the states at | only
    backward                                  |==== again ====|   forward again, then backward with
                              |==== again ====|                   the gradient of the state at |
              |==== again ====|

That is one more forward pass, about a third more time, for T / k states and the caches of k steps.
Their sum is least at k = sqrt(T). Nothing is truncated: the gradient of the state at | is what the
next segment's backward returned. Each segment is computed twice by the same operations on the same
numbers, so the result equals, to the bit, that of keeping every segment. It differs from one pass
over all of T only in the order in which a weight's gradient is summed over time.

References
----------
Griewank 1992, Achieving logarithmic growth of temporal and spatial complexity in reverse automatic
differentiation; Chen et al. 2016, Training deep nets with sublinear memory cost; Gruslys et al.
2016, Memory-efficient backpropagation through time.
"""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from math import ceil, sqrt
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_count
from scratchnet.errors import InvalidValueError
from scratchnet.layers import BatchNorm1d, Layer, MaskedLSTM, VariationalDropout
from scratchnet.losses import measured
from scratchnet.training.bptt import require_same_steps, require_streamable

# While training these need all steps at once: batch statistics, one dropout mask for a sequence.
WHOLE_SEQUENCE = (BatchNorm1d, VariationalDropout, MaskedLSTM)


class Chunk(NamedTuple):
    """The output of some steps, and the state after them."""

    y: Array
    state: Any


@checked
def forward_chunks(model: Layer, chunks: Iterable[Array], state: Any = None) -> Iterator[Chunk]:
    """Run a model over a sequence of any length in the memory of one chunk; nothing is kept.

    Parameters
    ----------
    chunks : (steps, N, D) arrays, the sequence in pieces: from a file, a sensor, or slices of an
        array. Their lengths may differ.
    state : continues an earlier sequence, from its last ``Chunk.state``.

    Raises
    ------
    ValueError : see ``bptt.stream``.

    Examples
    --------
    >>> from scratchnet.layers import LSTM
    >>> layer = LSTM(1, 2, rng=np.random.default_rng(0))
    >>> x = np.ones((5, 1, 1))
    >>> parts = [chunk.y for chunk in forward_chunks(layer, [x[:2], x[2:]])]
    >>> bool(np.allclose(np.concatenate(parts), layer.forward(x)[0]))
    True
    """
    require_streamable(model)
    return _forward_chunks(model, chunks, state)


def _forward_chunks(model: Any, chunks: Iterable[Array], state: Any) -> Iterator[Chunk]:
    for x in chunks:
        y, cache = model.forward(x, state=state)
        state = cache.state_last
        del cache  # before the caller goes on: the next chunk takes its memory
        yield Chunk(y, state)


@checked
def full_recomputed(
    model: Layer,
    x: Array,
    target: Array,
    loss: Callable[..., tuple[float, Array]],
    every: int | None = None,
    state: Any = None,
    training: bool = True,
) -> float:
    """Full BPTT with the caches of ``every`` steps in memory instead of all T; returns the loss.

    Gradients are added to ``model.grads``, as ``bptt.full`` does.

    Parameters
    ----------
    x, target : (T, N, D) and (T, N, ...), time first.
    loss : ``loss(y, target) -> (number, dy)``, of all outputs at once; y and dy are kept whole.
    every : k, the steps between two states that are kept; sqrt(T) by default.
    state : initial state; zeros if None.
    training : False switches dropout off. While training, a layer that draws random numbers draws
        the same ones again.

    Raises
    ------
    ValueError : where lengths differ or the model cannot be cut in time, see ``bptt.stream``; while
        training also for a layer of ``WHOLE_SEQUENCE``.
    """
    require_streamable(model)
    T = require_same_steps(x, target)
    k = ceil(sqrt(T)) if every is None else require_count("every", every)
    layers = getattr(model, "leaves", dict)() or {"the layer": model}
    for name, layer in layers.items():
        if training and isinstance(layer, WHOLE_SEQUENCE):
            raise InvalidValueError(
                f"{name} is a {type(layer).__name__}, whose statistics or masks are those of all"
                f" {T} steps together: they cannot be had in segments"
            )
    drawing = [layer for layer in layers.values() if hasattr(layer, "rng")]
    return _full_recomputed(model, x, target, loss, k, state, training, drawing)


def _full_recomputed(
    model: Any,
    x: Array,
    target: Array,
    loss: Any,
    k: int,
    state: Any,
    training: bool,
    drawing: list[Any],
) -> float:
    kept, outputs = [], []
    for start in range(0, len(x), k):
        kept.append((state, [deepcopy(layer.rng.bit_generator.state) for layer in drawing]))
        y, cache = model.forward(x[start : start + k], training=training, state=state)
        outputs.append(y.copy())  # y may be a view of the cache, which is dropped here
        state = cache.state_last
    after = [deepcopy(layer.rng.bit_generator.state) for layer in drawing]
    value, dy = measured(loss, np.concatenate(outputs), target)
    del outputs, y, cache
    dstate = None  # the loss reads no final state
    for start in reversed(range(0, len(x), k)):
        state, draws = kept.pop()
        _restore(drawing, draws)
        _, cache = model.forward(x[start : start + k], training=training, state=state)
        _, dstate = model.backward_state(dy[start : start + k], cache, dstate)
        del cache
    _restore(drawing, after)
    return float(value)


def _restore(drawing: list[Any], states: list[Any]) -> None:
    for layer, state in zip(drawing, states):
        layer.rng.bit_generator.state = state
