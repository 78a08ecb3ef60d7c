"""The gradient check of a layer or of a whole model."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.gradcheck.numeric import EPS, TOLERANCE, check
from scratchnet.gradcheck.report import Report
from scratchnet.layers import Layer, Recurrent


def check_layer(
    layer: Layer, x: Array, *, seed: int = 0, training: bool = False, eps: float = EPS, tolerance: float = TOLERANCE,
    **arguments: Any,
) -> Report:  # fmt: skip
    """Check a layer or a model at input x: the gradients of x and of every parameter, and of a recurrent layer's state.

    The loss is a random weight on every output.  ``arguments`` go to ``layer.forward`` (``lengths=``, ``state=``); where a
    ``state`` is given to a recurrent layer, its gradient is compared too, and the loss also weighs the final state.
    A layer that draws random numbers (``training=True``) is given the same ones at every call.
    Raises as ``check`` does.  Leaves the layer's gradients as this one pass made them.
    """
    rng = np.random.default_rng(seed)
    drawn_from = [(generator, generator.bit_generator.state) for generator in _generators(layer)]

    def run() -> tuple[Array, Any]:
        for generator, state in drawn_from:
            generator.bit_generator.state = state
        return layer.forward(x, training=training, **arguments)

    y, cache = run()
    w = np.asarray(rng.standard_normal(y.shape), like=y)
    layer.zero_grad()
    tensors = {"x": x, **layer.params}
    if isinstance(layer, Recurrent) and arguments.get("state") is not None:
        w_last = [np.asarray(rng.standard_normal(s.shape), like=s) for s in cache.state_last]
        dx, dstate = layer.backward_state(w, cache, w_last)
        names = [f"{name}0" for name in layer.cell.STATES]
        tensors |= dict(zip(names, arguments["state"]))
        grads = dict(zip(names, dstate))
    else:
        dx, w_last, grads = layer.backward(w, cache), [], {}

    def loss() -> float:
        y, cache = run()
        return float(np.sum(y * w)) + sum(float(np.sum(s * v)) for s, v in zip(cache.state_last if w_last else (), w_last))

    return check(loss, tensors, {**grads, "x": dx, **layer.grads}, eps=eps, tolerance=tolerance)


def _generators(layer: Layer) -> Iterator[np.random.Generator]:
    rng = getattr(layer, "rng", None)
    if isinstance(rng, np.random.Generator):
        yield rng
    for part in getattr(layer, "layers", {}).values():
        yield from _generators(part)
