"""What a model is built of, one kind of layer a file."""

from scratchnet.layers.activation import ACTIVATIONS, GELU, LeakyReLU, ReLU, Sigmoid, Softplus, Tanh
from scratchnet.layers.dropout import Dropout
from scratchnet.layers.layer import Layer
from scratchnet.layers.linear import Linear
from scratchnet.layers.recurrent import GRU, LSTM, RNN, Recurrent
from scratchnet.layers.sequential import Sequential

__all__ = [
    "ACTIVATIONS", "GELU", "GRU", "LSTM", "RNN", "Dropout", "Layer", "LeakyReLU", "Linear", "ReLU", "Recurrent",
    "Sequential", "Sigmoid", "Softplus", "Tanh",
]  # fmt: skip
