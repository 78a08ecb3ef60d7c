"""The layers of which models are built, one kind a file.

``LAYERS`` is the table that everything else walks: ``scratchnet gradcheck``, the gradient tests and
the tests of float32, copies and checkpoints run each layer on its own ``examples``. A new layer is
one file of the same shape and one line here; a file outside the library calls ``register_layer``.
"""

import inspect

from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.layers.activation import ACTIVATIONS, GELU, LeakyReLU, ReLU, Sigmoid, Softplus, Tanh
from scratchnet.layers.attention import SelfAttention
from scratchnet.layers.attention_pooling import AttentionPooling
from scratchnet.layers.batch_norm import BatchNorm1d
from scratchnet.layers.composite import Composite
from scratchnet.layers.conv import Conv1d
from scratchnet.layers.dropout import Dropout
from scratchnet.layers.embedding import Embedding
from scratchnet.layers.flatten import Flatten
from scratchnet.layers.global_pooling import GlobalAveragePool, GlobalMaxPool
from scratchnet.layers.layer import Example, Layer
from scratchnet.layers.layer_norm import LayerNorm
from scratchnet.layers.linear import Linear
from scratchnet.layers.masked_lstm import MaskedLSTM
from scratchnet.layers.pooling import AveragePool1d, MaxPool1d
from scratchnet.layers.recurrent import GRU, LSTM, RNN, Recurrent
from scratchnet.layers.sequential import Sequential
from scratchnet.layers.variational_dropout import VariationalDropout

LAYERS: dict[str, type[Layer]] = {
    "linear": Linear,
    **ACTIVATIONS,
    "dropout": Dropout,
    "variational_dropout": VariationalDropout,
    "layer_norm": LayerNorm,
    "batch_norm": BatchNorm1d,
    "embedding": Embedding,
    "conv": Conv1d,
    "max_pool": MaxPool1d,
    "average_pool": AveragePool1d,
    "global_max_pool": GlobalMaxPool,
    "global_average_pool": GlobalAveragePool,
    "flatten": Flatten,
    "attention": SelfAttention,
    "attention_pooling": AttentionPooling,
    "recurrent": Recurrent,
    "masked_lstm": MaskedLSTM,
}


def register_layer(name: str, layer: type[Layer]) -> None:
    """Add a layer of your own to ``LAYERS``: gradient checks and tests then walk it too.

    Parameters
    ----------
    name : how ``scratchnet gradcheck`` refers to it
    layer : a subclass of ``Layer`` with ``forward``, ``backward`` and ``examples``

    Raises
    ------
    TypeError
        Where ``layer`` is not such a class.
    ValueError
        Where the name is taken by another layer.

    Examples
    --------
    >>> class Twice(Layer):
    ...     def forward(self, x, training=False):
    ...         return 2 * x, x
    ...     def backward(self, dy, cache):
    ...         return 2 * dy
    >>> register_layer("twice", Twice)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    scratchnet.errors.InvalidTypeError: layer 'twice' lacks examples: ...
    """
    if not (isinstance(layer, type) and issubclass(layer, Layer)):
        raise InvalidTypeError(f"layer {name!r} is {layer!r}: expected a subclass of Layer")
    needs = ("forward", "backward", "examples")
    found = inspect.getattr_static  # without binding, so that methods compare by identity
    missing = [part for part in needs if found(layer, part) is found(Layer, part)]
    if missing:
        raise InvalidTypeError(
            f"layer {name!r} lacks {', '.join(missing)}: expected all three of {', '.join(needs)}"
        )
    if LAYERS.setdefault(name, layer) is not layer:
        raise InvalidValueError(f"there is a layer {name!r} already: choose another name")


__all__ = [
    "ACTIVATIONS",
    "GELU",
    "GRU",
    "LAYERS",
    "LSTM",
    "RNN",
    "AttentionPooling",
    "AveragePool1d",
    "BatchNorm1d",
    "Composite",
    "Conv1d",
    "Dropout",
    "Embedding",
    "Example",
    "Flatten",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaskedLSTM",
    "MaxPool1d",
    "ReLU",
    "Recurrent",
    "SelfAttention",
    "Sequential",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "VariationalDropout",
    "register_layer",
]
