"""What a model is built of, one kind of layer a file.

``LAYERS`` is the table that everything else walks: ``scratchnet gradcheck``, the gradient tests and
the tests of float32, copies and checkpoints run each layer on its own ``examples``. A new layer is
one file of the same shape and one line here.
"""

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
]
