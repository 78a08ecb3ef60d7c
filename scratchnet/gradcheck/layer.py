"""The gradient check of a layer or of a whole model."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.gradcheck.numeric import EPS, TOLERANCE, check, require_float64
from scratchnet.gradcheck.report import Report
from scratchnet.layers import Layer, Recurrent, Sequential


def check_layer(
    layer: Layer,
    x: Any,
    *,
    seed: int = 0,
    training: bool = False,
    eps: float = EPS,
    tolerance: float = TOLERANCE,
    **arguments: Any,
) -> Report:
    """Check a layer or a model at input x: the gradients of x, of every parameter, and of the
    state.

    The loss is a random weight on every output. ``arguments`` go to ``layer.forward``
    (``lengths=``, ``state=``); where a ``state`` is given its gradient is compared too, and the
    loss also weighs the final state. x may be a tuple of arrays ("x.0", "x.1"), for a model with
    several inputs; whole numbers in it have no gradient. A layer that draws random numbers
    (``training=True``) is given the same ones at every call. Raises as ``check`` does. Leaves the
    layer's gradients as this one pass made them.
    """
    inputs = {
        name: part for name, part in _flat(x, "x") if not np.issubdtype(part.dtype, np.integer)
    }
    for name, tensor in {**inputs, **layer.params}.items():
        require_float64(name, tensor)
    rng = np.random.default_rng(seed)
    drawn_from = [(generator, generator.bit_generator.state) for generator in _generators(layer)]

    def run() -> tuple[Array, Any]:
        for generator, state in drawn_from:
            generator.bit_generator.state = state
        return layer.forward(x, training=training, **arguments)

    y, cache = run()
    w = np.asarray(rng.standard_normal(y.shape), like=y)
    layer.zero_grad()
    tensors = {**inputs, **layer.params}
    weights: list[tuple[str, Array]] = []
    grads: dict[str, Array] = {}
    if isinstance(layer, (Recurrent, Sequential)) and arguments.get("state") is not None:
        w_last = _like(cache.state_last, rng)
        dx, dstate = layer.backward_state(w, cache, w_last)
        weights = list(_flat(w_last))
        tensors |= dict(_flat(arguments["state"]))
        grads = dict(_flat(dstate))
    else:
        dx = layer.backward(w, cache)

    def loss() -> float:
        y, cache = run()
        last = _flat(cache.state_last) if weights else ()
        return float(np.sum(y * w)) + sum(
            float(np.sum(s * v)) for (_, s), (_, v) in zip(last, weights)
        )

    found = {name: part for name, part in _flat(dx, "x") if name in inputs}
    return check(loss, tensors, {**grads, **found, **layer.grads}, eps=eps, tolerance=tolerance)


def _like(state: Any, rng: np.random.Generator) -> Any:
    """Random numbers in the shape of a state: an array, or a tuple or list of such."""
    if isinstance(state, (tuple, list)):
        return type(state)(_like(s, rng) for s in state)
    return np.asarray(rng.standard_normal(state.shape), like=state)


def _flat(state: Any, name: str = "state") -> Iterator[tuple[str, Array]]:
    """The arrays of a state by name: "state.0", "state.1" of a layer, "state.0.1" of a model."""
    if isinstance(state, (tuple, list)):
        for number, part in enumerate(state):
            yield from _flat(part, f"{name}.{number}")
    else:
        yield name, state


def _generators(layer: Layer) -> Iterator[np.random.Generator]:
    rng = getattr(layer, "rng", None)
    if isinstance(rng, np.random.Generator):
        yield rng
    for part in getattr(layer, "layers", {}).values():
        yield from _generators(part)
