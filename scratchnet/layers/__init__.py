"""What a model is built of, one kind of layer a file.

``LAYERS`` is the table that everything else walks: ``scratchnet gradcheck``, the gradient tests and the tests of float32,
copies and checkpoints run each layer on its own ``examples``.  A new layer is one file of the same shape and one line here.
"""

from scratchnet.layers.activation import ACTIVATIONS, GELU, LeakyReLU, ReLU, Sigmoid, Softplus, Tanh
from scratchnet.layers.composite import Composite
from scratchnet.layers.dropout import Dropout
from scratchnet.layers.layer import Example, Layer
from scratchnet.layers.linear import Linear
from scratchnet.layers.recurrent import GRU, LSTM, RNN, Recurrent
from scratchnet.layers.sequential import Sequential

LAYERS: dict[str, type[Layer]] = {
    "linear": Linear,
    **ACTIVATIONS,
    "dropout": Dropout,
    "recurrent": Recurrent,
}

__all__ = [
    "ACTIVATIONS", "GELU", "GRU", "LAYERS", "LSTM", "RNN", "Composite", "Dropout", "Example", "Layer", "LeakyReLU", "Linear",
    "ReLU", "Recurrent", "Sequential", "Sigmoid", "Softplus", "Tanh",
]  # fmt: skip
