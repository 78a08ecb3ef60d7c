"""torch.nn.RNN, LSTM and GRU as layers of this library, with the same weights and numbers.

What differs: PyTorch keeps W as (G*H, D), ours is (D, G*H). PyTorch adds two biases where one is
enough; ours is their sum, except in the GRU's n block, whose second bias is multiplied by the reset
gate and is ``b_hn`` here.
"""

from typing import Any

import numpy as np

from scratchnet.arrays import FLOATING
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.layers import GRU, LSTM, RNN, Recurrent


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


def from_torch(module: Any) -> Recurrent:
    """Convert a ``torch.nn.RNN``, ``LSTM`` or ``GRU`` to the layer with the same weights.

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
    layers: dict[str, Any] = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
    bases = [
        base
        for base in type(module).__mro__
        if base.__module__ == "torch.nn.modules.rnn" and base.__name__ in layers
    ]
    if not bases:  # a subclass of one of the three has that one among its bases
        what = f"{type(module).__module__}.{type(module).__name__}"
        raise InvalidTypeError(f"{what} cannot be converted: expected torch.nn.RNN, LSTM or GRU")
    kind = bases[0].__name__
    if getattr(module, "proj_size", 0):
        raise InvalidValueError(
            f"the LSTM has proj_size={module.proj_size}: a projected state has no counterpart here"
        )
    weights = {name: to_numpy(p) for name, p in module.named_parameters()}
    dtype = weights["weight_ih_l0"].dtype
    if dtype not in FLOATING:
        raise InvalidTypeError(
            f"the module is {dtype}, but a trace computes in float32 or float64: module.double()"
        )
    extra = {"nonlinearity": module.nonlinearity} if kind == "RNN" else {}
    layer: Recurrent = layers[kind](
        module.input_size,
        module.hidden_size,
        num_layers=module.num_layers,
        bidirectional=module.bidirectional,
        batch_first=module.batch_first,
        dropout=module.dropout,
        dtype=dtype,
        rng=np.random.default_rng(0),
        **extra,
    )
    H = module.hidden_size
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
