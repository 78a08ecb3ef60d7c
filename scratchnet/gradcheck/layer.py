"""The gradient check of a layer or of a whole model."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.gradcheck.numeric import EPS, TOLERANCE, check_gradient, require_float64
from scratchnet.gradcheck.report import Report
from scratchnet.layers import Layer, Recurrent, Sequential


def check_layer(
    layer: Layer,
    x: Array | tuple[Array, ...],
    *,
    seed: int = 0,
    training: bool = False,
    eps: float = EPS,
    tolerance: float = TOLERANCE,
    **arguments: Any,
) -> Report:
    """Check a layer or a model at input x: the gradients of x, of every parameter, of the state.

    The loss is a random weight on every output. A layer that draws random numbers
    (``training=True``) gets the same ones at every call. The layer's gradients are afterwards those
    of this one pass.

    Parameters
    ----------
    layer : in float64
    x : an array, or a tuple of arrays ("x.0", "x.1") for a model with several inputs; whole numbers
        have no gradient
    seed : of the loss's weights
    arguments : of ``layer.forward``, such as lengths; with ``state``, its gradient is compared too,
        and the loss also weighs the final state

    Raises
    ------
    GradientError, TypeError, ValueError
        See ``check_gradient``.

    Examples
    --------
    >>> from scratchnet.layers import Linear
    >>> rng = np.random.default_rng(0)
    >>> report = check_layer(Linear(3, 2, rng=rng), rng.standard_normal((4, 3)))
    >>> [row.tensor for row in report.rows], report.error < 1e-6
    (['dx', 'dW', 'db'], True)
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
        w_last = _random_like(cache.state_last, rng)
        dx, dstate = layer.backward_state(w, cache, w_last)
        weights = list(_flat(w_last))
        tensors |= dict(_flat(arguments["state"]))
        grads = dict(_flat(dstate))
    else:
        dx = layer.backward(w, cache)

    def loss() -> float:
        y, cache = run()
        last = _flat(cache.state_last) if weights else ()
        on_state = (float(np.sum(s * v)) for (_, s), (_, v) in zip(last, weights))
        return float(np.sum(y * w)) + sum(on_state)

    grads |= {name: part for name, part in _flat(dx, "x") if name in inputs} | layer.grads
    return check_gradient(loss, tensors, grads, eps=eps, tolerance=tolerance)


def _random_like(state: Any, rng: np.random.Generator) -> Any:
    """Random numbers in the shape of a state: an array, or a tuple or list of such."""
    if isinstance(state, (tuple, list)):
        return type(state)(_random_like(s, rng) for s in state)
    return np.asarray(rng.standard_normal(state.shape), like=state)


def _flat(state: Any, name: str = "state") -> Iterator[tuple[str, Array]]:
    """The arrays of a state by name: "state.0", "state.1" of a layer, "state.0.1" of a model."""
    if isinstance(state, (tuple, list)):
        for number, part in enumerate(state):
            yield from _flat(part, f"{name}.{number}")
    else:
        yield name, state


def _generators(layer: Layer) -> Iterator[np.random.Generator]:
    """The generators of a layer and of the layers inside it."""
    rng = getattr(layer, "rng", None)
    if isinstance(rng, np.random.Generator):
        yield rng
    for part in getattr(layer, "layers", {}).values():
        yield from _generators(part)
