"""Common models, each a short function that puts layers in a row.

All take samples first, x (N, T, D), or (N, D) for the MLP, and return (N, outputs), a number for
each quantity or class, before any softmax or sigmoid. Their backward pass is that of their layers,
one after the other. Arguments that several of them share:

    inputs, outputs     D, and the numbers to predict
    rng                 draws weights and dropout masks
    cell, units         a name in CELLS, and the width of a recurrent layer
    bidirectional       also run the recurrent layer backwards in time
    dropout             probability, while training
    attention           width of the attention layer
    engine              see ``scratchnet.engines``
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from scratchnet import init
from scratchnet.arguments import checked
from scratchnet.arrays import require_one_of
from scratchnet.errors import InvalidValueError
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
    ReLU,
    SelfAttention,
    Sequential,
)

Rng = np.random.Generator

_recurrent = partial(Recurrent, batch_first=True, return_sequences=False)
_each_step = partial(Recurrent, batch_first=True)


@checked
def mlp(
    inputs: int,
    outputs: int,
    *,
    rng: Rng,
    units: Sequence[int] = (64, 32),
    activation: str = "relu",
    dropout: float = 0.0,
) -> Sequential:
    """Linear layers, each but the last followed by an activation and optional dropout.

    Parameters
    ----------
    units : width of each hidden layer
    activation : a name in ACTIVATIONS

    Raises
    ------
    ValueError
        For an unknown activation.

    Examples
    --------
    >>> list(mlp(3, 1, rng=np.random.default_rng(0), units=[8]).layers)
    ['hidden0', 'relu0', 'head']
    """
    require_one_of("activation", activation, ACTIVATIONS)
    start = init.he_normal if activation in ("relu", "leaky_relu") else init.xavier_uniform
    layers: dict[str, Layer] = {}
    for number, width in enumerate(units):
        layers[f"hidden{number}"] = Linear(inputs, width, rng=rng, weight_init=start)
        layers[f"{activation}{number}"] = ACTIVATIONS[activation]()
        if dropout:
            layers[f"dropout{number}"] = Dropout(dropout, rng=rng)
        inputs = width
    return Sequential(**layers, head=Linear(inputs, outputs, rng=rng))


@checked
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
    """A recurrent layer, and a Linear head on its final state, or with ``each_step`` on every one.

    ``num_layers`` cells are stacked, with dropout between them.
    """
    rec = _recurrent(
        cell,
        inputs,
        units,
        rng=rng,
        num_layers=num_layers,
        bidirectional=bidirectional,
        dropout=dropout,
        return_sequences=each_step,
        engine=engine,
    )
    return Sequential(rec=rec, head=Linear(rec.output_size, outputs, rng=rng))


@checked
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
    """Recurrent layers of decreasing width, each followed by dropout, then a dense layer.

    By default 64, dropout, 32, dropout, 16, outputs. Raises ValueError where there are no units.
    """
    if not len(units):
        raise InvalidValueError(
            "units is empty: expected a width for each recurrent layer, such as (64, 32)"
        )
    layers: dict[str, Layer] = {}
    for number, width in enumerate(units):
        last = number == len(units) - 1
        layers[f"rec{number}"] = _recurrent(
            cell, inputs, width, rng=rng, return_sequences=not last, engine=engine
        )
        layers[f"dropout{number}"] = Dropout(dropout, rng=rng)
        inputs = width
    layers["dense"] = Linear(inputs, dense, rng=rng, weight_init=init.he_normal)
    layers["relu"] = ReLU()
    return Sequential(**layers, head=Linear(dense, outputs, rng=rng))


@checked
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
    """A convolution of ``kernel`` steps, pooling over ``pool`` steps, and a recurrent layer."""
    rec = _recurrent(cell, channels, units, rng=rng, bidirectional=bidirectional, engine=engine)
    return Sequential(
        conv=Conv1d(inputs, channels, kernel, padding="same", batch_first=True, rng=rng),
        relu=ReLU(),
        pool=MaxPool1d(pool, batch_first=True),
        rec=rec,
        head=Linear(rec.output_size, outputs, rng=rng),
    )


@checked
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
    """A BiLSTM whose outputs are averaged with learned weights; the weights show what matters."""
    rec = _each_step(cell, inputs, units, rng=rng, bidirectional=bidirectional, engine=engine)
    pool = AttentionPooling(rec.output_size, attention, batch_first=True, rng=rng)
    return Sequential(rec=rec, pool=pool, head=Linear(rec.output_size, outputs, rng=rng))


@checked
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
    rec = _each_step(cell, inputs, units, rng=rng, bidirectional=bidirectional, engine=engine)
    look = SelfAttention(rec.output_size, attention, score=score, batch_first=True, rng=rng)
    mean = GlobalAveragePool(batch_first=True)
    return Sequential(rec=rec, attention=look, mean=mean, head=Linear(attention, outputs, rng=rng))


@checked
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
    """``attention_pooled`` on tokens x (N, T), whole numbers below ``inputs``.

    ``inputs`` is the vocabulary's size, ``features`` the width of the embedding.
    """
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


# By name; each takes (inputs, outputs, *, rng, ...) and its options as keywords.
BUILDERS: dict[str, Callable[..., Sequential]] = {
    "mlp": mlp,
    "recurrent": recurrent,
    "stacked": stacked,
    "cnn_recurrent": cnn_recurrent,
    "attention_pooled": attention_pooled,
    "self_attentive": self_attentive,
    "text_classifier": text_classifier,
}
