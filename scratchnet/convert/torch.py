"""torch.nn.RNN, LSTM and GRU as layers of this library, with the same weights and numbers.

What differs: PyTorch keeps W as (G*H, D), ours is (D, G*H). PyTorch adds two biases where one is
enough; ours is their sum, except in the GRU's n block, whose second bias is multiplied by the reset
gate and is ``b_hn`` here.
"""

from typing import Any

import numpy as np

from scratchnet.arrays import FLOATING, Array
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.layers import (
    GRU,
    LSTM,
    RNN,
    Embedding,
    Layer,
    LayerNorm,
    Linear,
    Recurrent,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)

# the modules that have a counterpart here; a cell is a layer of one step
KINDS: dict[str, Any] = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
KINDS |= {f"{name}Cell": layer for name, layer in KINDS.items()}


def is_torch(thing: object) -> bool:
    """True for a module or tensor of PyTorch, which is not imported to find out."""
    return any(base.__module__.split(".")[0] == "torch" for base in type(thing).__mro__)


def to_numpy(tensor: Any) -> Any:
    """A tensor on any device as a NumPy array; an object that is not a tensor is returned as is.

    Raises TypeError for a tensor of a type that NumPy lacks, or that is packed or has no numbers.
    """
    if not is_torch(tensor):
        return tensor
    try:
        return tensor.detach().cpu().numpy()
    except (AttributeError, TypeError, NotImplementedError) as error:
        what = f"torch's {type(tensor).__name__} {getattr(tensor, 'dtype', '')}".strip()
        raise InvalidTypeError(
            f"{what} cannot be converted ({error}): give a padded tensor of float32 or float64"
        ) from None


def kind_of(module: Any) -> str:
    """ "LSTM", "GRUCell", ... for a recurrent module of PyTorch or a subclass of one; else ""."""
    for base in type(module).__mro__:
        if base.__module__ == "torch.nn.modules.rnn" and base.__name__ in KINDS:
            return base.__name__
    return ""


def torch_weights(module: Any) -> dict[str, Any]:
    """The weights of a recurrent module of PyTorch by their names there: "weight_ih_l0", ..."""
    sides = ("", "_reverse") if getattr(module, "bidirectional", False) else ("",)
    layers = [f"_l{k}{side}" for k in range(getattr(module, "num_layers", 1)) for side in sides]
    ends = [""] if kind_of(module).endswith("Cell") else layers
    kinds = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if module.bias else ()))
    return {f"{kind}{end}": getattr(module, f"{kind}{end}") for end in ends for kind in kinds}


def from_torch(module: Any) -> Recurrent:
    """Convert a ``torch.nn.RNN``, ``LSTM`` or ``GRU``, or the cell of one, to the layer with the
    same weights.

    Parameters
    ----------
    module : stacked, bidirectional, batch_first, in float32 or float64; dropout between layers is
        kept. The weights are copied, so training one does not change the other

    Raises
    ------
    TypeError
        For another module, or another precision.
    ValueError
        For an LSTM with projections.

    Examples
    --------
    >>> import torch
    >>> module = torch.nn.LSTM(3, 5, num_layers=2)
    >>> layer = from_torch(module)
    >>> x = np.ones((4, 2, 3), np.float32)
    >>> ours, theirs = layer.forward(x)[0], module(torch.from_numpy(x))[0].detach().numpy()
    >>> bool(np.allclose(ours, theirs, atol=1e-6))
    True
    """
    kind = kind_of(module)
    if not kind:
        what = f"{type(module).__module__}.{type(module).__name__}"
        raise InvalidTypeError(f"{what} cannot be converted: expected torch.nn.RNN, LSTM or GRU")
    if getattr(module, "proj_size", 0):
        raise InvalidValueError(
            f"the LSTM has proj_size={module.proj_size}: a projected state has no counterpart here"
        )
    weights = {name: to_numpy(p) for name, p in torch_weights(module).items()}
    if kind.endswith("Cell"):
        weights = {f"{name}_l0": p for name, p in weights.items()}
        kind, options = kind.removesuffix("Cell"), {}
    else:
        names = ("num_layers", "bidirectional", "batch_first", "dropout")
        options = {name: getattr(module, name) for name in names}
    dtype = weights["weight_ih_l0"].dtype
    if dtype not in FLOATING:
        raise InvalidTypeError(
            f"the module is {dtype}, but a trace computes in float32 or float64: module.double()"
        )
    extra = {"nonlinearity": module.nonlinearity} if kind == "RNN" else {}
    H = module.hidden_size
    layer: Recurrent = KINDS[kind](
        module.input_size, H, dtype=dtype, rng=np.random.default_rng(0), **options, **extra
    )
    for depth, direction in layer.layer_directions:
        end = f"l{depth}{direction}"
        layer.params[f"W_x_{end}"][...] = weights[f"weight_ih_{end}"].T
        layer.params[f"W_h_{end}"][...] = weights[f"weight_hh_{end}"].T
        b_x, b_h = (weights.get(f"bias_{of}_{end}", 0) for of in ("ih", "hh"))  # 0: bias=False
        layer.params[f"b_{end}"][...] = b_x + b_h
        if kind == "GRU" and module.bias:
            layer.params[f"b_{end}"][2 * H :] = b_x[2 * H :]
            layer.params[f"b_hn_{end}"][...] = b_h[2 * H :]
    return layer


def gradients_for_torch(layer: Recurrent) -> dict[str, Array]:
    """The gradients of a converted layer by PyTorch's names and in its layout, of a cell's too."""
    found: dict[str, Array] = {}
    for depth, direction in layer.layer_directions:
        end = f"l{depth}{direction}"
        b = layer.grads[f"b_{end}"]
        b_n = layer.grads.get(f"b_hn_{end}", b[len(b) :])
        made = {
            "weight_ih": layer.grads[f"W_x_{end}"].T,
            "weight_hh": layer.grads[f"W_h_{end}"].T,
            "bias_ih": b,
            "bias_hh": np.concatenate([b[: len(b) - len(b_n)], b_n]),
        }
        found |= {f"{name}_{end}": grad for name, grad in made.items()}
        if end == "l0":
            found |= made
    return found


def chain_from_torch(module: Any, x: Array, y: Array) -> Sequential | None:
    """A model of this library's layers that gives the same output, or None.

    The module's own parts, one after the other: embedding, recurrent, normalisation, activation,
    linear. Whether it is such a chain, and whether the last state or all are read, is found out by
    comparing outputs at x.
    """
    parts = [(name, part) for name, part in module.named_modules() if not [*part.children()]]
    tolerance = float(np.finfo(y.dtype).eps) ** 0.75  # of two ways to add the same products
    for return_sequences in (True, False):
        layers: dict[str, Layer] = {}
        for name, part in parts:
            layer = _layer_from_torch(part)
            if layer is None:
                return None
            own = name.rpartition(".")[2]
            own = own if own.isidentifier() else f"{type(part).__name__.lower()}{own}"
            if own in layers:
                return None
            if not isinstance(layer, Identity):
                layers[own] = layer
        recurrent = [layer for layer in layers.values() if isinstance(layer, Recurrent)]
        if not recurrent:
            return None
        recurrent[-1].return_sequences = return_sequences
        model = Sequential(**layers)
        try:
            ours, _ = model.forward(x)
        except (TypeError, ValueError, IndexError):
            continue
        size = float(np.abs(y).max(initial=0))
        if ours.shape == y.shape and np.abs(ours - y).max(initial=0) <= tolerance * size:
            return model
    return None


class Identity:
    """A part that changes nothing in evaluation mode."""


def _layer_from_torch(part: Any) -> Any:
    """The layer with the weights of a part, or None where there is none."""
    kind = kind_of(part)
    if kind:
        return None if kind.endswith("Cell") else from_torch(part)
    name = type(part).__name__ if type(part).__module__.startswith("torch.nn") else ""
    weights = {key: to_numpy(p) for key, p in part.named_parameters()}
    rng = np.random.default_rng(0)
    if name in ("Dropout", "Identity"):
        return Identity()
    if name in ("Tanh", "ReLU", "Sigmoid"):
        return {"Tanh": Tanh, "ReLU": ReLU, "Sigmoid": Sigmoid}[name]()
    if name == "Embedding" and part.max_norm is None:
        W = weights["weight"]
        layer: Layer = Embedding(*W.shape, rng=rng, dtype=W.dtype)
        layer.params["W"][...] = W
        return layer
    if name == "Linear":
        W = weights["weight"].T
        layer = Linear(*W.shape, rng=rng, dtype=W.dtype)
        layer.params["W"][...], layer.params["b"][...] = W, weights.get("bias", 0)
        return layer
    if name == "LayerNorm" and len(part.normalized_shape) == 1 and part.elementwise_affine:
        gain = weights["weight"]
        layer = LayerNorm(len(gain), eps=part.eps, dtype=gain.dtype)
        layer.params["gain"][...], layer.params["b"][...] = gain, weights.get("bias", 0)
        return layer
    return None
