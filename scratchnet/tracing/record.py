"""``trace``: one forward and, with a target, one backward pass, recorded."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, as_lengths, is_array, require_shape
from scratchnet.convert import torch_pass
from scratchnet.convert.torch import chain_from_torch, from_torch, is_torch, kind_of, to_numpy
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.layers import Composite, Layer, Recurrent
from scratchnet.losses import LOSSES, measured
from scratchnet.tracing.run import Backward, RunTrace
from scratchnet.tracing.runs import LayerPass, as_data, runs_of, title_of, walk
from scratchnet.tracing.trace import FROM_TORCH, Trace
from scratchnet.training.padding import both_masks, output_lengths, steps_inside
from scratchnet.training.samples import check_mask
from scratchnet.training.trainer import loss_options

Loss = Callable[..., tuple[float, Array]]
Tensor: TypeAlias = Any  # a NumPy or CuPy array, or a torch tensor


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
    model : a recurrent layer, a Sequential with one in it, or any ``torch.nn.Module`` that calls a
        ``torch.nn.RNN``, LSTM, GRU or a cell of one. The module runs once in PyTorch, in evaluation
        mode; each recurrent part is then computed here, and its numbers are checked against
        PyTorch's. It is left as it was
    x : input, as the model's forward takes it; of a torch module also packed, or a tuple of all
        arguments
    target : what the loss compares the output with. Without target and dy the trace has the forward
        side only
    loss : ``loss(y, target) -> (number, dy)``, or a name of ``losses.LOSSES``; by default the mean
        squared error, or softmax cross-entropy where the target is whole numbers. With a torch
        module also ``loss(y, target) -> tensor``, such as ``torch.nn.functional.mse_loss``
    dy : upstream gradient of the output, in place of target and loss
    state, lengths : as in the forward of a model of this library, or of a bare torch.nn.RNN, LSTM
        or GRU. With ``lengths`` the padding of the target has no part in the loss, as in
        ``training.fit``
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
    if is_torch(model) and not _runs_here(model, x, loss):
        if state is not None or lengths is not None:
            raise InvalidValueError(
                "state and lengths were given, but this module takes its own: expected them in x,"
                " a tuple of all arguments of its forward"
            )
        own = target, loss, dy, mask, weights, backward, labels, title
        return _trace_module(model, x, *own)
    model = from_torch(model) if is_torch(model) else model
    if not isinstance(model, Layer) or not model.recurrent:
        what = f"{type(model).__module__}.{type(model).__name__}"
        expected = "a recurrent layer, a Sequential with one in it, or a torch.nn.RNN, LSTM or GRU"
        layers = getattr(model, "layers", {}).items()
        inside = ", ".join(f"layers[{name!r}]" for name, layer in layers if layer.recurrent)
        hint = f"; it has {inside}" if inside else ""
        if isinstance(model, Layer) and not inside:
            hint = "; scratchnet.layers_to_html(model, x, target, path) shows a model without one"
        raise InvalidTypeError(f"{what} is not recurrent: expected {expected}{hint}")
    # Copies: the trace must still be that of this pass when the caller's buffers hold the next.
    given = {"x": x, "target": target, "dy": dy, "mask": mask, "weights": weights}
    x, target, dy, mask, weights = (_kept(name, value) for name, value in given.items())
    state, lengths = to_numpy(state), to_numpy(lengths)
    if isinstance(state, (tuple, list)):
        state = type(state)(to_numpy(s) for s in state)
    elif state is not None and isinstance(model, Recurrent) and len(model.cell.STATES) == 1:
        state = (state,)  # as torch hands a GRU its state
    recurrent: Any = model
    y, cache = recurrent.forward(x, state=state, lengths=lengths)
    value, loss_name = None, None
    if target is not None:
        measure, loss_name = _loss(loss, target)
        mask, weights = _counts(model, x, y, target, lengths, mask, weights)
        value, dy = measured(measure, y, target, loss_name, **loss_options(weights, mask))
    found, _ = walk(model, cache, dy)
    runs = runs_of(found, backward)
    modules = tuple(as_data(model))
    whole = {"x": x, "y": y, "target": target, "loss": value, "loss_name": loss_name}
    title = title or title_of(found)
    return Trace(
        runs,
        **whole,
        labels=_labels(labels, runs),
        modules=modules,
        title=title,
        mask=mask,
        weights=weights,
    )


def _trace_module(
    module: Any,
    x: Any,
    target: Tensor | None,
    loss: Any,
    dy: Tensor | None,
    mask: Array | None,
    weights: Array | None,
    backward: Backward | None,
    labels: Sequence[Any],
    title: str,
) -> Trace:
    """The trace of a torch module: PyTorch runs it once, and its recurrent parts run here."""
    mask, weights = _kept("mask", mask), _kept("weights", weights)
    for_numpy: torch_pass.Measure | None = None
    name = None
    in_torch = loss if _is_torch_loss(loss) else None
    if in_torch is not None:
        name = getattr(loss, "__name__", type(loss).__name__)
        ready = torch_pass.for_torch(target)
        passed = torch_pass.record_pass(module, x, loss=lambda y: loss(y, ready))
    else:
        if target is not None:
            own: Any = _kept("target", target)
            function, name = _loss(loss, own)
            options = loss_options(weights, mask)
            for_numpy = partial(_measured, function, own, name, options)
        elif dy is not None:
            given: Any = _kept("dy", dy)
            for_numpy = partial(_given, given)
        passed = torch_pass.record_pass(module, x, for_numpy)
    chain = chain_from_torch(module, passed.x, passed.y)
    if chain is not None:
        y, of_chain = chain.forward(passed.x)
        found, _ = walk(chain, of_chain, passed.dy)
        modules = tuple(as_data(chain))
    else:
        y, found = passed.y, []
        for part in passed.parts:
            _, cache = part.layer.forward(part.x, state=part.state, lengths=part.lengths)
            prefix = f"{part.name}." if part.name else ""
            found.append(LayerPass(prefix, part.layer, cache, part.dy, part.dstate_last))
        first = any(one.layer.batch_first for one in found)
        # no layers: the page says that it cannot compute this kind
        kind = f"{FROM_TORCH}{type(module).__name__}"
        modules = ({"name": "", "kind": kind, "batch_first": first, "params": {}},)
    runs = runs_of(found, backward)
    return Trace(
        runs,
        x=passed.x,
        y=y,
        target=_kept("target", target),
        loss=passed.loss,
        loss_name=name,
        labels=_labels(labels, runs),
        modules=modules,
        title=title or title_of(found),
        mask=mask,
        weights=weights,
    )


def _given(dy: Array, y: Array) -> tuple[None, Array]:
    """No loss, and the upstream gradient that the caller gave."""
    return None, dy


def _measured(
    function: Loss, target: Array, name: str, options: dict[str, Any], y: Array
) -> tuple[float, Array]:
    return measured(function, y, target, name, **options)


def _is_torch_loss(loss: Any) -> bool:
    """True for a function of torch tensors; False for a name, or a loss of this library."""
    return callable(loss) and loss not in LOSSES.values()


def _runs_here(module: Any, x: Any, loss: Any) -> bool:
    """True where the layer with the module's weights takes the arguments as the module does."""
    kind = kind_of(module)
    in_torch = is_torch(loss) or getattr(loss, "__module__", "").split(".")[0] == "torch"
    whole = not isinstance(x, tuple) and getattr(x, "ndim", 3) == 3  # a packed x is a tuple
    return bool(kind) and not kind.endswith("Cell") and whole and not in_torch


def _labels(labels: Sequence[Any], runs: dict[str, RunTrace]) -> tuple[str, ...]:
    texts, T = tuple(map(str, labels)), next(iter(runs.values())).T
    if texts and len(texts) != T:
        raise InvalidValueError(
            f"there are {len(texts)} labels but x has {T} steps: expected one each"
        )
    return texts


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
