"""A character model: which character comes next, and text written by it, one character at a time.

    vocabulary = Vocabulary.of(text)
    model = character_model(len(vocabulary), units=128, rng=rng)
    fit_stream(model, (tokens[:-1], tokens[1:]), ..., loss=softmax_cross_entropy)    # (T, N)
    print(sample(model, vocabulary, "The ", 200, rng=rng, temperature=0.8, top_k=20))

Source: Graves 2013; Karpathy 2015, The unreasonable effectiveness of recurrent neural networks.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from scratchnet.arrays import Array, require_rng, to_host
from scratchnet.layers import Embedding, Linear, Recurrent, Sequential


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a model knows, each with its number."""

    characters: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Vocabulary":
        """The characters of a text, sorted.  ValueError for an empty one."""
        if not text:
            raise ValueError("the text is empty: a vocabulary needs at least one character")
        return cls(tuple(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> Array:
        """A text to its numbers (T,). ValueError names the first character that is unknown, and
        where it stands."""
        number = {c: k for k, c in enumerate(self.characters)}
        for position, c in enumerate(text):
            if c not in number:
                raise ValueError(
                    f"character {c!r} at position {position} is not in the vocabulary of"
                    f" {len(self)} characters"
                )
        return np.array([number[c] for c in text], dtype=np.int64)

    def decode(self, tokens: Any) -> str:
        """Numbers (T,) to their text."""
        return "".join(self.characters[int(k)] for k in to_host(tokens))


def streams(tokens: Array, count: int) -> tuple[Array, Array]:
    """A long text (T,) cut into ``count`` streams side by side: inputs and targets (T', count), the
    target one step ahead.

    Stream n goes on where its own last window ended, which is what stateful training needs. What is
    left over is dropped. Raises ValueError where a stream would have no step.
    """
    steps = (len(tokens) - 1) // count if count >= 1 else 0
    if steps < 1:
        raise ValueError(
            f"{len(tokens)} characters make no {count} streams: expected at least {count + 1}"
        )
    used = steps * count
    return (
        tokens[:used].reshape(count, steps).T.copy(),
        tokens[1 : used + 1].reshape(count, steps).T.copy(),
    )


def character_model(
    vocabulary: int,
    units: int,
    *,
    rng: np.random.Generator,
    features: int = 32,
    cell: str = "lstm",
    num_layers: int = 1,
    dropout: float = 0.0,
    engine: str = "auto",
) -> Sequential:
    """Embedding, recurrent layers, and a head with an output for each character; time first, so
    that text can stream by."""
    rec = Recurrent(
        cell, features, units, num_layers=num_layers, dropout=dropout, rng=rng, engine=engine
    )
    return Sequential(
        embed=Embedding(vocabulary, features, rng=rng),
        rec=rec,
        head=Linear(units, vocabulary, rng=rng),
    )


def probabilities(logits: Array, temperature: float = 1.0, top_k: int | None = None) -> Array:
    """softmax(logits / temperature) (..., K), all but the ``top_k`` largest set to zero before.

    A temperature below 1 sharpens, above 1 flattens; at 0 the largest alone is left.
    Raises ValueError for a negative temperature and a top_k below 1.
    """
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature is {temperature}: expected 0 or a positive number")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: expected at least 1")
    if temperature == 0:
        top_k, temperature = 1, 1.0
    z = logits.astype(np.float64)
    z = (z - z.max(axis=-1, keepdims=True)) / temperature
    if top_k is not None and top_k < z.shape[-1]:
        order = np.argsort(-z, axis=-1, kind="stable")[..., top_k:]
        np.put_along_axis(z, order, -np.inf, axis=-1)
    p = np.exp(z)
    return p / p.sum(axis=-1, keepdims=True)


def sample(
    model: Sequential,
    vocabulary: Vocabulary,
    prompt: str,
    length: int,
    *,
    rng: np.random.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> str:
    """``length`` characters written by the model behind the prompt, which is not repeated.

    Raises ValueError where the prompt is empty or holds a character that the vocabulary has not.
    """
    require_rng(rng)
    if not prompt:
        raise ValueError(
            "the prompt is empty: the model needs at least one character to begin from"
        )
    tokens, state, written = vocabulary.encode(prompt), None, []
    like = next(iter(model.params.values()))
    for _ in range(length):
        y, cache = model.forward(np.asarray(tokens[:, None], like=like), state=state)
        state = cache.state_last
        p = probabilities(to_host(y[-1, 0]), temperature, top_k)
        tokens = rng.choice(len(vocabulary), size=1, p=p)
        written.append(int(tokens[0]))
    return vocabulary.decode(np.array(written, dtype=np.int64))
