"""torch.nn.RNN, LSTM and GRU as the layers of this library, with the same weights and the same numbers.

What differs: PyTorch keeps W as (G*H, D), ours is (D, G*H).  PyTorch adds two biases where one is enough; ours is their sum,
except in the GRU's n block, whose second bias stands behind the reset gate and is ``b_hn`` here.
"""

from typing import Any

import numpy as np

from scratchnet.layers import GRU, LSTM, RNN, Recurrent


def is_torch(thing: object) -> bool:
    """True for a module or tensor of PyTorch, found out without importing it."""
    return any(base.__module__.split(".")[0] == "torch" for base in type(thing).__mro__)


def to_numpy(tensor: Any) -> Any:
    """A tensor's numbers as a NumPy array, wherever they are; what is no tensor comes back as it is."""
    return tensor.detach().cpu().numpy() if is_torch(tensor) else tensor


def from_torch(module: Any) -> Recurrent:
    """A ``torch.nn.RNN``, ``LSTM`` or ``GRU`` (stacked, bidirectional, batch_first, either precision) as our layer.

    The weights are copied, so training one does not change the other.  Dropout between layers is taken along.
    Raises TypeError for another module, ValueError for an LSTM with projections.
    """
    kind = type(module).__name__
    layers: dict[str, Any] = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
    if not is_torch(module) or kind not in layers:
        raise TypeError(f"{type(module).__module__}.{kind} cannot be converted: expected torch.nn.RNN, LSTM or GRU")
    if getattr(module, "proj_size", 0):
        raise ValueError(f"the LSTM has proj_size={module.proj_size}: a projected state has no counterpart here")
    weights = {name: to_numpy(p) for name, p in module.named_parameters()}
    dtype = weights["weight_ih_l0"].dtype
    extra = {"nonlinearity": module.nonlinearity} if kind == "RNN" else {}
    layer: Recurrent = layers[kind](
        module.input_size, module.hidden_size, num_layers=module.num_layers, bidirectional=module.bidirectional,
        batch_first=module.batch_first, dropout=module.dropout, dtype=dtype, rng=np.random.default_rng(0), **extra,
    )  # fmt: skip
    H = module.hidden_size
    for depth, direction in layer.runs:
        end = f"l{depth}{direction}"
        layer.params[f"W_x_{end}"][...] = weights[f"weight_ih_{end}"].T
        layer.params[f"W_h_{end}"][...] = weights[f"weight_hh_{end}"].T
        b_x, b_h = (weights.get(f"bias_{which}_{end}", 0) for which in ("ih", "hh"))  # 0: made with bias=False
        layer.params[f"b_{end}"][...] = b_x + b_h
        if kind == "GRU" and module.bias:
            layer.params[f"b_{end}"][2 * H :] = b_x[2 * H :]
            layer.params[f"b_hn_{end}"][...] = b_h[2 * H :]
    return layer
