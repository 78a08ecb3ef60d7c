"""torch.nn.RNN, LSTM and GRU as the layers of this library, with the same weights and the same
numbers.

What differs: PyTorch keeps W as (G*H, D), ours is (D, G*H). PyTorch adds two biases where one is
enough; ours is their sum, except in the GRU's n block, whose second bias stands behind the reset
gate and is ``b_hn`` here.
"""

from typing import Any

import numpy as np

from scratchnet.arrays import FLOATING
from scratchnet.layers import GRU, LSTM, RNN, Recurrent


def is_torch(thing: object) -> bool:
    """True for a module or tensor of PyTorch, found out without importing it."""
    return any(base.__module__.split(".")[0] == "torch" for base in type(thing).__mro__)


def to_numpy(tensor: Any) -> Any:
    """A tensor's numbers as a NumPy array, wherever they are; what is no tensor comes back as it
    is.

    Raises TypeError for a tensor that NumPy has no type for, or that is packed or has no numbers.
    """
    if not is_torch(tensor):
        return tensor
    try:
        return tensor.detach().cpu().numpy()
    except (AttributeError, TypeError, NotImplementedError) as error:
        what = f"torch's {type(tensor).__name__} {getattr(tensor, 'dtype', '')}".strip()
        raise TypeError(
            f"{what} cannot be taken over ({error}): give a padded tensor of float32 or float64"
        ) from None


def from_torch(module: Any) -> Recurrent:
    """A ``torch.nn.RNN``, ``LSTM`` or ``GRU`` (stacked, bidirectional, batch_first, either
    precision) as our layer.

    The weights are copied, so training one does not change the other. Dropout between layers is
    taken along. Raises TypeError for another module, ValueError for an LSTM with projections.
    """
    layers: dict[str, Any] = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
    bases = [
        base
        for base in type(module).__mro__
        if base.__module__ == "torch.nn.modules.rnn" and base.__name__ in layers
    ]
    if not bases:  # a class of the user's own, made from one of the three, is one of the three
        what = f"{type(module).__module__}.{type(module).__name__}"
        raise TypeError(f"{what} cannot be converted: expected torch.nn.RNN, LSTM or GRU")
    kind = bases[0].__name__
    if getattr(module, "proj_size", 0):
        raise ValueError(
            f"the LSTM has proj_size={module.proj_size}: a projected state has no counterpart here"
        )
    weights = {name: to_numpy(p) for name, p in module.named_parameters()}
    dtype = weights["weight_ih_l0"].dtype
    if dtype not in FLOATING:
        raise TypeError(
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
        # 0: made with bias=False
        b_x, b_h = (weights.get(f"bias_{which}_{end}", 0) for which in ("ih", "hh"))
        layer.params[f"b_{end}"][...] = b_x + b_h
        if kind == "GRU" and module.bias:
            layer.params[f"b_{end}"][2 * H :] = b_x[2 * H :]
            layer.params[f"b_hn_{end}"][...] = b_h[2 * H :]
    return layer
