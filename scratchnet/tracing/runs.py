"""The runs of a pass: each recurrent layer direction with its cache and its gradients.

Nothing is hooked and nothing is computed in a second way: the layers' caches hold the forward pass,
and ``Recurrent.backward_directions`` returns each layer direction's upstream gradient and what its
cell computed from it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from scratchnet.arrays import Array
from scratchnet.cells.engine import CellEngine
from scratchnet.cells.sequences import zero_padding
from scratchnet.errors import InvalidTypeError
from scratchnet.layers import Layer, Recurrent, Sequential
from scratchnet.layers.recurrent import DirectionBackward
from scratchnet.tracing.run import Backward, RunTrace, custom_run, run_custom, upstream_gradients
from scratchnet.tracing.terms import CellCache
from scratchnet.tracing.trace import Data


class LayerPass(NamedTuple):
    """A recurrent layer of a model in one pass."""

    prefix: str  # of the names of its runs: "encoder.lstm."
    layer: Recurrent
    cache: Any
    dy: Array | None  # upstream gradient of its output
    dstate_last: Sequence[Array] | None = None  # and of its final states


def runs_of(passes: Sequence[LayerPass], backward: Backward | None = None) -> dict[str, RunTrace]:
    """The runs of these layers by name; ``backward`` replaces the cells' own."""
    runs = {}
    for one in passes:
        layer, cache = one.layer, one.cache
        seen: dict[int, dict[str, Array]] = {}  # by the cache that backward was called with
        if backward is not None:
            own = partial(_run_foreign, backward, layer, seen)
            custom = CellEngine("custom", "custom backward", layer.cell.forward, own)
            cache = cache._replace(engines=[custom] * layer.num_layers)
        results: Sequence[DirectionBackward | None] = [None] * len(layer.layer_directions)
        if one.dy is not None:
            results = layer.backward_directions(one.dy, cache, one.dstate_last)
        for (depth, direction), cell_cache, result in zip(
            layer.layer_directions, cache.cell_caches, results
        ):
            name = f"{one.prefix}l{depth}{direction}"
            params = layer.direction_params(depth, direction)
            observed = seen.get(id(cell_cache))
            runs[name] = _record(name, layer, params, cell_cache, result, observed)
    return runs


def walk(
    model: Layer, cache: Any, dy: Array | None, prefix: str = ""
) -> tuple[list[LayerPass], Array | None]:
    """Every recurrent layer in order, with its cache and the upstream gradient of its output."""
    if isinstance(model, Recurrent):
        return [LayerPass(prefix, model, cache, dy)], dy
    if not isinstance(model, Sequential):
        return [], dy
    found: list[LayerPass] = []
    with _grads_untouched(model):
        for (name, layer), layer_cache in zip(
            reversed(model.layers.items()), reversed(cache.caches)
        ):
            parts, _ = walk(layer, layer_cache, dy, f"{prefix}{name}.")
            found = parts + found
            dy = None if dy is None else layer.backward(dy, layer_cache)
    return found, dy


@contextmanager
def _grads_untouched(model: Layer) -> Iterator[None]:
    """On exit, restore the model's gradients, to which backward passes add."""
    before = {name: grad.copy() for name, grad in model.grads.items()}
    try:
        yield
    finally:
        for name, grad in model.grads.items():
            grad[...] = before[name]


def _run_foreign(
    backward: Backward,
    layer: Recurrent,
    seen: dict[int, dict[str, Array]],
    dy: Array,
    cache: CellCache,
    *d_last: Array,
) -> Any:
    """The custom backward of one layer direction as its cell's Grads, and what was seen of it."""
    cell = layer.cell
    grads, seen[id(cache)] = run_custom(backward, dy, cache, *d_last, cell=cell)
    return cell.Grads(**{name: grads.get(name) for name in cell.Grads._fields})


def _record(
    name: str,
    layer: Recurrent,
    params: dict[str, Array],
    cache: CellCache,
    result: DirectionBackward | None,
    observed: dict[str, Array] | None = None,
) -> RunTrace:
    cell, params = layer.cell, {key: p.copy() for key, p in params.items()}
    # Copies: the trace must not change when training goes on and the weights are stepped in place.
    held = params | {"fingerprints": None}
    cache = cache._replace(**{key: held[key] for key in held if key in cache._fields})
    if result is None:
        return RunTrace(name, layer.cell_name, params, cache)
    dy = zero_padding(result.dy, cache.lengths)  # the padding's dy is ignored
    d_last = {f"d{state}_last": d for state, d in zip(cell.STATES, result.d_last)}
    grads = {key: grad for key, grad in result.grads._asdict().items() if grad is not None}
    own: Data = {"dy": dy, "d_last": d_last, "grads": grads}
    if observed is None:
        own["d_next"], own["step_norms"] = upstream_gradients(cell, cache, dy, d_last, grads)
        return RunTrace(name, layer.cell_name, params, cache, **own)
    return custom_run(name, layer.cell_name, params, cache, observed, **own)


def title_of(found: Sequence[LayerPass]) -> str:
    """The recurrent layers in words: "LSTM(3, 4) x 2"."""
    parts = []
    for layer in (one.layer for one in found):
        deep = f" x {layer.num_layers}" if layer.num_layers > 1 else ""
        parts.append(f"{layer.cell_name.upper()}({layer.input_size}, {layer.hidden_size}){deep}")
    return ", ".join(parts)


def as_data(model: Layer, prefix: str = "") -> Iterator[Data]:
    """The model's layers as plain data, in order, for a page that computes them again.

    TypeError for what is not a layer.
    """
    if not isinstance(model, Layer):
        raise InvalidTypeError(
            f"the model is a {type(model).__module__}.{type(model).__name__}: expected a layer of"
            " scratchnet"
        )
    if isinstance(model, Sequential):
        for name, layer in model.layers.items():
            yield from as_data(layer, f"{prefix}{name}.")
        return
    facts: Data = {"name": prefix.rstrip("."), "kind": type(model).__name__.lower()}
    if isinstance(model, Recurrent):
        facts |= {
            "kind": "recurrent",
            "cell": model.cell_name,
            "options": model.options,
            "runs": [list(run) for run in model.layer_directions],
            "batch_first": model.batch_first,
            "return_sequences": model.return_sequences,
        }
    yield {**facts, "params": {name: p.copy() for name, p in model.params.items()}}
