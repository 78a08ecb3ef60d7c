"""Whole models: layers in a row, and models whose backward pass is written by hand."""

from scratchnet.models.builders import (
    BUILDERS,
    attention_pooled,
    cnn_recurrent,
    mlp,
    recurrent,
    self_attentive,
    stacked,
    text_classifier,
)
from scratchnet.models.hybrid import Hybrid
from scratchnet.models.language import Vocabulary, character_model, probabilities, sample, streams
from scratchnet.models.seq2seq import EncoderDecoder

__all__ = [
    "BUILDERS",
    "EncoderDecoder",
    "Hybrid",
    "Vocabulary",
    "attention_pooled",
    "character_model",
    "cnn_recurrent",
    "mlp",
    "probabilities",
    "recurrent",
    "sample",
    "self_attentive",
    "stacked",
    "streams",
    "text_classifier",
]
