"""A character model: predict the next character, and generate text one character at a time.

    vocabulary = Vocabulary.of(text)
    model = character_model(len(vocabulary), units=128, rng=rng)
    fit_stream(model, (tokens[:-1], tokens[1:]), ..., loss=softmax_cross_entropy)    # (T, N)
    print(sample(model, vocabulary, "The ", 200, rng=rng, temperature=0.8, top_k=20))

Source: Graves 2013; Karpathy 2015, The unreasonable effectiveness of recurrent neural networks.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, as_numbers, require_count, require_rng, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.layers import Embedding, Linear, Recurrent, Sequential


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a model knows, each with its number.

    >>> vocabulary = Vocabulary.of("hello")
    >>> vocabulary.encode("hole").tolist(), vocabulary.decode([1, 0])
    ([1, 3, 2, 0], 'he')
    """

    characters: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Vocabulary":
        """The characters of a text, sorted.  ValueError for an empty one."""
        if not text:
            raise InvalidValueError("the text is empty: a vocabulary needs at least one character")
        return cls(tuple(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> Array:
        """A text to its numbers (T,); ValueError names the first unknown character."""
        number = {c: k for k, c in enumerate(self.characters)}
        for position, c in enumerate(text):
            if c not in number:
                raise InvalidValueError(
                    f"character {c!r} at position {position} is not in the vocabulary of"
                    f" {len(self)} characters"
                )
        return np.array([number[c] for c in text], dtype=np.int64)

    def decode(self, tokens: Iterable[int] | Array) -> str:
        """Numbers (T,) to their text."""
        return "".join(self.characters[int(k)] for k in to_host(tokens))


@checked
def streams(tokens: Array, count: int) -> tuple[Array, Array]:
    """Cut a text (T,) into ``count`` parallel streams: inputs and targets, (T', count) each.

    The target is one step ahead. Each stream is continuous from one training window to the next, as
    stateful training needs. The rest of the text is dropped. Raises ValueError where a stream would
    have no step.

    >>> x, target = streams(np.arange(7), 2)
    >>> x.T.tolist(), target.T.tolist()
    ([[0, 1, 2], [3, 4, 5]], [[1, 2, 3], [4, 5, 6]])
    """
    steps = (len(tokens) - 1) // count if count >= 1 else 0
    if steps < 1:
        raise InvalidValueError(
            f"{len(tokens)} characters make no {count} streams: expected at least {count + 1}"
        )
    used = steps * count
    x, target = tokens[:used], tokens[1 : used + 1]
    return x.reshape(count, steps).T.copy(), target.reshape(count, steps).T.copy()


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
    """Embedding, recurrent layers, and a head with an output for each character; time first.

    ``vocabulary`` is the number of characters, ``features`` the width of the embedding; other
    arguments: ``Recurrent``.
    """
    rec = Recurrent(
        cell, features, units, num_layers=num_layers, dropout=dropout, rng=rng, engine=engine
    )
    embed = Embedding(vocabulary, features, rng=rng)
    return Sequential(embed=embed, rec=rec, head=Linear(units, vocabulary, rng=rng))


@checked
def probabilities(logits: Array, temperature: float = 1.0, top_k: int | None = None) -> Array:
    """softmax(logits / temperature) (..., K) over the ``top_k`` largest, zero for all others.

    A temperature below 1 sharpens, above 1 flattens; at 0 only the largest is left.
    Raises ValueError for a negative temperature, a top_k below 1, and logits that are NaN.

    >>> probabilities(np.log([1.0, 2.0, 5.0]), top_k=2).round(3).tolist()
    [0.0, 0.286, 0.714]
    """
    if not 0 <= temperature < float("inf"):
        raise InvalidValueError(f"temperature is {temperature}: expected 0 or a positive number")
    if top_k is not None:
        require_count("top_k", top_k)
    if temperature == 0:
        top_k, temperature = 1, 1.0
    z = as_numbers("logits", logits, "an array of numbers").astype(np.float64)
    if not z.ndim or not z.size:
        raise InvalidValueError(f"logits is {z.shape}: expected (..., K) for K choices")
    if not np.isfinite(z.max(axis=-1)).all():  # the maximum of NaN is NaN
        raise InvalidValueError("logits hold NaN or infinity: expected a finite largest one")
    z = (z - z.max(axis=-1, keepdims=True)) / temperature
    if top_k is not None and top_k < z.shape[-1]:
        order = np.argsort(-z, axis=-1, kind="stable")[..., top_k:]
        np.put_along_axis(z, order, -np.inf, axis=-1)
    p = np.exp(z)
    return p / p.sum(axis=-1, keepdims=True)


@checked
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
    """Generate ``length`` characters that continue the prompt; the prompt is not part of them.

    ``temperature`` and ``top_k``: see ``probabilities``. Raises ValueError where the prompt is
    empty or has a character outside the vocabulary.
    """
    require_rng(rng)
    if not prompt:
        raise InvalidValueError(
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
