"""``trace``: one forward and, with a target, one backward pass, recorded.

Nothing is hooked and nothing is computed in a second way: the layers' caches hold the forward pass,
and ``Recurrent.backward_directions`` returns each layer direction's upstream gradient and what its
cell computed from it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, as_lengths, is_array, require_shape
from scratchnet.cells.engine import CellEngine
from scratchnet.cells.sequences import zero_padding
from scratchnet.convert.torch import from_torch, is_torch, to_numpy
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.layers import Composite, Layer, Recurrent, Sequential
from scratchnet.layers.recurrent import DirectionBackward
from scratchnet.losses import LOSSES, measured
from scratchnet.tracing.run import Backward, RunTrace, custom_run, run_custom, upstream_gradients
from scratchnet.tracing.terms import CellCache
from scratchnet.tracing.trace import Data, Trace
from scratchnet.training.padding import both_masks, output_lengths, steps_inside
from scratchnet.training.samples import check_mask
from scratchnet.training.trainer import loss_options

Loss = Callable[..., tuple[float, Array]]
Tensor: TypeAlias = Any  # a NumPy or CuPy array, or a torch tensor
# each recurrent layer: the prefix of its name, the layer, its cache, the gradient of its output
Found = list[tuple[str, Recurrent, Any, Array | None]]


@checked
def trace(
    model: Any,
    x: Tensor,
    target: Tensor | None = None,
    loss: Loss | str | None = None,
    *,
    dy: Tensor | None = None,
    state: Tensor | tuple[Tensor, ...] | None = None,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    backward: Backward | None = None,
    labels: str | Sequence[Any] = (),
    title: str = "",
) -> Trace:
    """Record one pass of ``model`` at x: gates, states and, with a target, every gradient term.

    The model's own gradients are left as they were. Dropout is off.

    Parameters
    ----------
    model : a recurrent layer, a Sequential with one in it, or a ``torch.nn.RNN``, LSTM or GRU
    x : input, as the model's forward takes it
    target : what the loss compares the output with. Without target and dy the trace has the forward
        side only
    loss : ``loss(y, target) -> (number, dy)``, or a name of ``losses.LOSSES``; by default the mean
        squared error, or softmax cross-entropy where the target is whole numbers
    dy : upstream gradient of the output, in place of target and loss
    state, lengths : as in the model's forward. With ``lengths`` the padding of the target has no
        part in the loss, as in ``training.fit``
    mask, weights : which targets count and how much, of the target's shape or its leading axes;
        weights (N,) are those of the sequences
    backward : replaces the cell's own, with its signature: a student's, or one with a custom bug.
        It is called once for each layer direction, and its local variables dh, dc_next, ... are
        seen while it runs. ``first_difference(trace.run)`` says where it leaves the right one
    labels : a text for each step, for figures
    title : for figures

    Raises
    ------
    TypeError
        Where there is no recurrent layer.
    ValueError
        Where shapes do not fit.
    ArithmeticError
        Where the steps' weight gradients do not add up to the whole.
    """
    model = from_torch(model) if is_torch(model) else model
    if not isinstance(model, Layer) or not model.recurrent:
        what = f"{type(model).__module__}.{type(model).__name__}"
        expected = "a recurrent layer, a Sequential with one in it, or a torch.nn.RNN, LSTM or GRU"
        layers = getattr(model, "layers", {}).items()
        inside = ", ".join(f"layers[{name!r}]" for name, layer in layers if layer.recurrent)
        hint = f"; it has {inside}" if inside else ""
        raise InvalidTypeError(f"{what} is not recurrent: expected {expected}{hint}")
    # Copies: the trace must still be that of this pass when the caller's buffers hold the next.
    given = {"x": x, "target": target, "dy": dy, "mask": mask, "weights": weights}
    x, target, dy, mask, weights = (_kept(name, value) for name, value in given.items())
    state, lengths = to_numpy(state), to_numpy(lengths)
    if isinstance(state, (tuple, list)):
        state = type(state)(to_numpy(s) for s in state)
    elif state is not None and isinstance(model, Recurrent) and len(model.cell.STATES) == 1:
        state = (state,)  # as torch hands a GRU its state
    if target is not None and dy is not None:
        raise InvalidValueError(
            "both a target and dy were given: dy is the gradient of a loss and its target"
        )
    if target is None and any(part is not None for part in (loss, mask, weights)):
        raise InvalidValueError("a loss, mask or weights were given but no target")
    if backward is not None and target is None and dy is None:
        raise InvalidValueError(
            "a backward was given but no target: without one there is no backward pass"
        )
    recurrent: Any = model
    y, cache = recurrent.forward(x, state=state, lengths=lengths)
    value, loss_name = None, None
    if target is not None:
        measure, loss_name = _loss(loss, target)
        mask, weights = _counts(model, x, y, target, lengths, mask, weights)
        value, dy = measured(measure, y, target, loss_name, **loss_options(weights, mask))
    found, _ = _walk(model, cache, dy, "")
    runs = {}
    for prefix, layer, layer_cache, layer_dy in found:
        seen: dict[int, dict[str, Array]] = {}  # by the cache that backward was called with
        if backward is not None:
            own = partial(_run_foreign, backward, layer, seen)
            custom = CellEngine("custom", "custom backward", layer.cell.forward, own)
            layer_cache = layer_cache._replace(engines=[custom] * layer.num_layers)
        results: Sequence[DirectionBackward | None] = [None] * len(layer.layer_directions)
        if layer_dy is not None:
            results = layer.backward_directions(layer_dy, layer_cache)
        places = zip(layer.layer_directions, layer_cache.cell_caches, results)
        for (depth, direction), run_cache, result in places:
            name = f"{prefix}l{depth}{direction}"
            params = layer.direction_params(depth, direction)
            observed = seen.get(id(run_cache))
            runs[name] = _record(name, layer, params, run_cache, result, observed)
    labels, T = tuple(map(str, labels)), next(iter(runs.values())).T
    if labels and len(labels) != T:
        raise InvalidValueError(
            f"there are {len(labels)} labels but x has {T} steps: expected one each"
        )
    modules = tuple(_as_data(model))
    title = title or _title(found)
    return Trace(runs, x, y, target, value, loss_name, labels, modules, title, mask, weights)


def _counts(
    model: Layer,
    x: Array,
    y: Array,
    target: Array,
    lengths: Any,
    mask: Array | None,
    weights: Array | None,
) -> tuple[Array | None, Array | None]:
    """The mask and the weights of the loss, of the target's leading axes: padding does not count,
    and a weight of each sequence is that of all its steps."""
    leaves = model.leaves() if isinstance(model, Composite) else {"": model}
    batch_first = any(getattr(layer, "batch_first", False) for layer in leaves.values())
    batch, time = (0, 1) if batch_first else (1, 0)
    mask = None if mask is None else check_mask(mask, target)
    if lengths is not None:
        lengths = as_lengths(lengths, x.shape[time], x.shape[batch], like=np.empty(0))
        ends = output_lengths(model, lengths, x.shape[time], y, batch_first=batch_first)
        if ends is not None:
            require_shape("target", target, (*y.shape[:2], *target.shape[2:]), f"y is {y.shape}")
            inside = steps_inside(ends, y.shape[time], batch_first=batch_first)
            mask = both_masks(inside, mask)
    sequences = x.shape[batch]
    answers_each_step = not batch_first and model.lengths_after([1] * sequences) is not None
    if weights is not None and weights.shape == (sequences,) and answers_each_step:
        weights = np.tile(weights, (y.shape[time], 1))  # (T', N)
    return mask, weights


def _loss(loss: Loss | str | None, target: Array) -> tuple[Loss, str]:
    if loss is None:
        loss = "softmax_cross_entropy" if np.issubdtype(target.dtype, np.integer) else "mse"
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise InvalidValueError(
                f"there is no loss {loss!r}: expected one of {', '.join(LOSSES)}"
            )
        return LOSSES[loss], loss
    if is_torch(loss):
        raise InvalidTypeError(
            f"the loss is torch's {type(loss).__name__}: give a name of losses.LOSSES, such as"
            " 'mse'"
        )
    return loss, getattr(loss, "__name__", type(loss).__name__)


def _kept(name: str, value: Tensor | None) -> Array | None:
    """A copy of an array or tensor; None stays None.  TypeError for anything else."""
    value = to_numpy(value)
    if value is None:
        return None
    if not is_array(value):
        raise InvalidTypeError(
            f"{name} is a {type(value).__module__}.{type(value).__name__}, not an array or a"
            " torch tensor"
        )
    return value.copy()


def _walk(model: Layer, cache: Any, dy: Array | None, prefix: str) -> tuple[Found, Array | None]:
    """Every recurrent layer in order, with its cache and the upstream gradient of its output."""
    if isinstance(model, Recurrent):
        return [(prefix, model, cache, dy)], dy
    if not isinstance(model, Sequential):
        return [], dy
    found: Found = []
    with _grads_untouched(model):
        for (name, layer), layer_cache in zip(
            reversed(model.layers.items()), reversed(cache.caches)
        ):
            parts, _ = _walk(layer, layer_cache, dy, f"{prefix}{name}.")
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


def _title(found: Found) -> str:
    parts = []
    for _, layer, _, _ in found:
        deep = f" x {layer.num_layers}" if layer.num_layers > 1 else ""
        parts.append(f"{layer.cell_name.upper()}({layer.input_size}, {layer.hidden_size}){deep}")
    return ", ".join(parts)


def _as_data(model: Layer, prefix: str = "") -> Iterator[Data]:
    """The model's layers as plain data, in order, for a page that computes them again."""
    if isinstance(model, Sequential):
        for name, layer in model.layers.items():
            yield from _as_data(layer, f"{prefix}{name}.")
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
