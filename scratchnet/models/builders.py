"""The models that practice is made of, each a short function that puts layers in a row.

All take samples first, x (N, T, D), or (N, D) for the MLP, and answer before any softmax or
sigmoid: (N, outputs), a number for each quantity or class. Their backward is that of their layers,
one after the other.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scratchnet import init
from scratchnet.layers import (
    ACTIVATIONS,
    AttentionPooling,
    Conv1d,
    Dropout,
    Embedding,
    GlobalAveragePool,
    Layer,
    Linear,
    MaxPool1d,
    Recurrent,
    SelfAttention,
    Sequential,
)

Rng = np.random.Generator


def mlp(
    inputs: int,
    outputs: int,
    *,
    rng: Rng,
    units: Sequence[int] = (64, 32),
    activation: str = "relu",
    dropout: float = 0.0,
) -> Sequential:
    """Linear layers with an activation, and dropout if asked, behind each but the last: BP
    regression is this with one output.

    Raises ValueError for an unknown activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}: expected one of {', '.join(ACTIVATIONS)}")
    start = init.he_normal if activation in ("relu", "leaky_relu") else init.xavier_uniform
    layers: dict[str, Layer] = {}
    for number, width in enumerate(units):
        layers[f"hidden{number}"] = Linear(inputs, width, rng=rng, weight_init=start)
        layers[f"{activation}{number}"] = ACTIVATIONS[activation]()
        if dropout:
            layers[f"dropout{number}"] = Dropout(dropout, rng=rng)
        inputs = width
    return Sequential(**layers, head=Linear(inputs, outputs, rng=rng))


def recurrent(
    inputs: int,
    outputs: int,
    *,
    rng: Rng,
    cell: str = "lstm",
    units: int = 32,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    each_step: bool = False,
    engine: str = "auto",
) -> Sequential:
    """A cell, stacked and in both directions if asked, and a head on its final state, or with
    ``each_step`` on every one."""
    rec = _rec(cell, inputs, units, rng, num_layers, bidirectional, dropout, each_step, engine)
    return Sequential(rec=rec, head=Linear(rec.output_size, outputs, rng=rng))


def stacked(
    inputs: int,
    outputs: int,
    *,
    rng: Rng,
    cell: str = "lstm",
    units: Sequence[int] = (64, 32),
    dense: int = 16,
    dropout: float = 0.2,
    engine: str = "auto",
) -> Sequential:
    """Recurrent layers that narrow, each with dropout behind it, then a dense layer: 64, dropout,
    32, dropout, 16, outputs.

    Raises ValueError where there are no units.
    """
    if not units:
        raise ValueError(
            "units is empty: expected a width for each recurrent layer, such as (64, 32)"
        )
    layers: dict[str, Layer] = {}
    for number, width in enumerate(units):
        last = number == len(units) - 1
        layers[f"rec{number}"] = _rec(cell, inputs, width, rng, each_step=not last, engine=engine)
        layers[f"dropout{number}"] = Dropout(dropout, rng=rng)
        inputs = width
    hidden = Linear(inputs, dense, rng=rng, weight_init=init.he_normal)
    return Sequential(
        **layers, dense=hidden, relu=ACTIVATIONS["relu"](), head=Linear(dense, outputs, rng=rng)
    )


def cnn_recurrent(
    inputs: int,
    outputs: int,
    *,
    rng: Rng,
    cell: str = "lstm",
    channels: int = 32,
    kernel: int = 5,
    pool: int = 2,
    units: int = 32,
    bidirectional: bool = False,
    engine: str = "auto",
) -> Sequential:
    """A convolution finds short shapes, pooling halves the steps, a recurrent layer reads what is
    left."""
    rec = _rec(cell, channels, units, rng, bidirectional=bidirectional, engine=engine)
    return Sequential(
        conv=Conv1d(inputs, channels, kernel, padding="same", batch_first=True, rng=rng),
        relu=ACTIVATIONS["relu"](),
        pool=MaxPool1d(pool, batch_first=True),
        rec=rec,
        head=Linear(rec.output_size, outputs, rng=rng),
    )


def attention_pooled(
    inputs: int,
    outputs: int,
    *,
    rng: Rng,
    cell: str = "lstm",
    units: int = 32,
    bidirectional: bool = True,
    attention: int = 16,
    engine: str = "auto",
) -> Sequential:
    """A BiLSTM whose outputs are averaged with learned weights: the steps that matter are seen in
    the weights."""
    rec = _rec(cell, inputs, units, rng, bidirectional=bidirectional, each_step=True, engine=engine)
    pool = AttentionPooling(rec.output_size, attention, batch_first=True, rng=rng)
    return Sequential(rec=rec, pool=pool, head=Linear(rec.output_size, outputs, rng=rng))


def self_attentive(
    inputs: int,
    outputs: int,
    *,
    rng: Rng,
    cell: str = "lstm",
    units: int = 32,
    attention: int = 32,
    score: str = "scaled",
    bidirectional: bool = False,
    engine: str = "auto",
) -> Sequential:
    """A recurrent layer, self-attention over its outputs, and the mean over time."""
    rec = _rec(cell, inputs, units, rng, bidirectional=bidirectional, each_step=True, engine=engine)
    look = SelfAttention(rec.output_size, attention, score=score, batch_first=True, rng=rng)
    mean = GlobalAveragePool(batch_first=True)
    return Sequential(rec=rec, attention=look, mean=mean, head=Linear(attention, outputs, rng=rng))


def text_classifier(
    inputs: int,
    outputs: int,
    *,
    rng: Rng,
    cell: str = "lstm",
    features: int = 32,
    units: int = 32,
    bidirectional: bool = True,
    attention: int = 16,
    engine: str = "auto",
) -> Sequential:
    """Tokens x (N, T), whole numbers below ``inputs``, the vocabulary's size, to (N, outputs), a
    number for each class."""
    body = attention_pooled(
        features,
        outputs,
        rng=rng,
        cell=cell,
        units=units,
        bidirectional=bidirectional,
        attention=attention,
        engine=engine,
    )
    return Sequential(embed=Embedding(inputs, features, rng=rng), **body.layers)


def _rec(
    cell: str,
    inputs: int,
    units: int,
    rng: Rng,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    each_step: bool = False,
    engine: str = "auto",
) -> Recurrent:
    return Recurrent(
        cell,
        inputs,
        units,
        rng=rng,
        num_layers=num_layers,
        bidirectional=bidirectional,
        dropout=dropout,
        batch_first=True,
        return_sequences=each_step,
        engine=engine,
    )


# Every one takes (inputs, outputs, *, rng, ...) and can be asked for by name, with its options as
# keywords.
BUILDERS: dict[str, Callable[..., Any]] = {
    "mlp": mlp,
    "recurrent": recurrent,
    "stacked": stacked,
    "cnn_recurrent": cnn_recurrent,
    "attention_pooled": attention_pooled,
    "self_attentive": self_attentive,
    "text_classifier": text_classifier,
}
