"""The gradient check of a layer or of a whole model."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_count
from scratchnet.errors import InvalidTypeError
from scratchnet.gradcheck.again import differing, nonlinear, of_other_types
from scratchnet.gradcheck.numeric import (
    EPS,
    TOLERANCE,
    compare,
    compare_along,
    raise_if_wrong,
    require_float64,
)
from scratchnet.gradcheck.report import Report
from scratchnet.layers import Layer


@checked
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

    The loss is a random weight on every output, and on the final state of a layer that has one. A
    layer that draws random numbers (``training=True``) gets the same ones at every call. Afterwards
    its gradients are those of this one pass, and its buffers and generators are as they were.

    The layer runs at the size of x only, and with padding only if ``lengths`` are given: a mistake
    that needs more steps, or a ragged batch, does not show without.

    Parameters
    ----------
    layer : in float64
    x : an array, or a tuple of arrays ("x.0", "x.1") for a model with several inputs; whole numbers
        have no gradient
    seed : of the loss's weights
    arguments : of ``layer.forward``, such as lengths. Without ``state``, a layer that takes one
        runs once more from a random state, compared along a random direction of each tensor

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
    require_count("seed", seed, 0)
    kept = _Kept(layer)
    case = _Case(layer, kept, x, {**arguments, "training": training}, seed)
    try:
        report = case.compare(eps, tolerance)
        if layer.recurrent and arguments.get("state") is None:
            state = _random_like(case.cache.state_last, np.random.default_rng(seed))
            with_state = {**arguments, "training": training, "state": state}
            found = _Case(layer, kept, x, with_state, seed).compare_along(seed)
            report = report._replace(cases=report.cases + found.cases)
    finally:
        kept.restore()
        for name, grad in layer.grads.items():
            grad[...] = case.grads[name]
    return report


class _Kept:
    """What a forward pass of a layer changes: its generators and its buffers."""

    def __init__(self, layer: Layer) -> None:
        self.generators = [(rng, rng.bit_generator.state) for rng in _generators(layer)]
        self.buffers = [(buffer, buffer.copy()) for buffer in layer.buffers.values()]

    def restore(self) -> None:
        for generator, state in self.generators:
            generator.bit_generator.state = state
        for buffer, before in self.buffers:
            buffer[...] = before


class _Case:
    """A layer at one input, with a random weight on every output: its loss and its gradients."""

    def __init__(
        self,
        layer: Layer,
        kept: _Kept,
        x: Array | tuple[Array, ...],
        arguments: Mapping[str, Any],
        seed: int,
    ) -> None:
        self.layer, self.kept, self.x, self.arguments = layer, kept, x, arguments
        inputs = {
            name: part for name, part in _flat(x, "x") if not np.issubdtype(part.dtype, np.integer)
        }
        state = arguments.get("state")
        if state is not None and not hasattr(layer, "backward_state"):
            raise InvalidTypeError(
                f"{type(layer).__name__} takes a state but has no backward_state(dy, cache,"
                " dstate_last), which returns the state's gradient"
            )
        self.tensors = {**inputs, **layer.params}
        if state is not None:
            self.tensors |= dict(_flat(state))
        for name, tensor in self.tensors.items():
            require_float64(name, tensor)
        rng = np.random.default_rng(seed)
        y, self.cache = self.run()
        self.w = np.asarray(rng.standard_normal(y.shape), like=y)
        self.w_last = None if state is None else _random_like(self.cache.state_last, rng)
        self.notes, self.grads = self._gradients(inputs)

    def run(self) -> tuple[Array, Any]:
        """Forward, with the same random numbers and buffers every time."""
        self.kept.restore()
        return self.layer.forward(self.x, **self.arguments)

    def loss(self) -> float:
        y, cache = self.run()
        loss = float(np.sum(y * self.w))
        if self.w_last is not None:
            pairs = zip(_flat(cache.state_last), _flat(self.w_last))
            loss += sum(float(np.sum(s * w)) for (_, s), (_, w) in pairs)
        return loss

    def compare(self, eps: float, tolerance: float) -> Report:
        """The report of every element."""
        report = compare(self.loss, self.tensors, self.grads, eps, tolerance, {})
        return self._finished(report, "every element")

    def compare_along(self, seed: int) -> Report:
        """The report along random directions, from a random state."""
        report = compare_along(self.loss, self.tensors, self.grads, seed)
        return self._finished(report, "a random state, a random direction of each tensor")

    def _finished(self, report: Report, how: str) -> Report:
        lengths = self.arguments.get("lengths")
        sizes = [f"{name} {tuple(part.shape)}" for name, part in _flat(self.x, "x")]
        if lengths is not None:
            sizes.append(f"lengths {np.asarray(lengths).tolist()}")
        elif self.layer.ragged:
            sizes.append("no padding")
        case = f"{', '.join(sizes)}: {how}"
        notes = (*self.notes, *report.notes)
        return raise_if_wrong(report._replace(notes=notes, cases=(case,)))

    def _gradients(self, inputs: Mapping[str, Array]) -> tuple[list[str], dict[str, Array]]:
        """Gradients by name, and notes on what is wrong when backward is called again."""
        layer, upstream = self.layer, [self.w, *(a for _, a in _flat(self.w_last))]
        given = [*self.tensors.items(), *(("dy", array) for array in upstream)]
        before = [array.copy() for _, array in given]

        def run(factor: float = 1.0) -> dict[str, Array]:
            dy = self.w if factor == 1 else factor * self.w
            grads: dict[str, Array] = {}
            if self.w_last is None:
                dx = layer.backward(dy, self.cache)
            else:
                dlast = self.w_last if factor == 1 else _times(self.w_last, factor)
                dx, dstate = layer.backward_state(dy, self.cache, dlast)  # type: ignore[attr-defined]
                grads |= dict(_flat(dstate))
            grads |= {name: part for name, part in _flat(dx, "x") if name in inputs}
            return {name: grad.copy() for name, grad in (grads | layer.grads).items()}

        def changed() -> list[str]:
            found = []
            for (name, array), old in zip(given, before):
                if not np.array_equal(array, old, equal_nan=True):
                    array[...] = old
                    found.append(name)
            return found

        def fresh(factor: float = 1.0) -> dict[str, Array]:
            layer.zero_grad()
            return run(factor)

        grads = fresh()
        notes = [f"{name} was changed in place, but it belongs to the caller" for name in changed()]
        notes += of_other_types(grads)
        own = {name: grads[name] for name in layer.grads}
        twice = run()
        changed()
        different = differing({name: g for name, g in grads.items() if name not in own}, twice)
        if different:
            notes.append(f"called again with the same cache, backward gives another d{different}")
        if assigned := differing(own, twice, 2.0):
            notes.append(
                f"called again without zero_grad, backward does not double {assigned}: it assigns"
                " the gradient instead of adding it, or changes the cache"
            )
        if not notes:
            other = self.x if not inputs else _times(self.x, -0.5)
            layer.forward(other, **self.arguments)
            if different := differing(grads, fresh()):
                notes.append(
                    f"after another forward pass, backward gives another {different} from the same"
                    " cache: it reads something outside the cache"
                )
            notes += nonlinear(grads, fresh)
            changed()
        return notes, grads


def _times(state: Any, factor: float) -> Any:
    """Every array of a state times a factor; whole numbers stay."""
    if isinstance(state, (tuple, list)):
        return type(state)(_times(s, factor) for s in state)
    return state if np.issubdtype(state.dtype, np.integer) else factor * state


def _random_like(state: Any, rng: np.random.Generator) -> Any:
    """Random numbers in the shape of a state: an array, or a tuple or list of such."""
    if isinstance(state, (tuple, list)):
        return type(state)(_random_like(s, rng) for s in state)
    return np.asarray(rng.standard_normal(state.shape), like=state)


def _flat(state: Any, name: str = "state") -> Iterator[tuple[str, Array]]:
    """The arrays of a state by name: "state.0", "state.1" of a layer, "state.0.1" of a model."""
    if state is None:
        return
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
