"""A character model of Python's own language reference: which character comes next, and text that
it writes.

The text is shipped with Python (``pydoc_data.topics``), so numbers differ a little between versions
of Python. Training is stateful: the text streams by in parallel streams, the state is carried from
window to window, gradients are not. What to learn: bits per character on text that was held back,
beside counts of short contexts; a trigram is no rival, but a smoothed 5-gram of the same text
nearly is. Compressors, which learn while they read, stand there as a reference; lzma finds whole
paragraphs again, since the reference says some things twice.
"""

import lzma
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from recipe import Outcome, recipe

from scratchnet import plots
from scratchnet.arrays import Array
from scratchnet.losses import softmax_cross_entropy
from scratchnet.models import Vocabulary, character_model, sample, streams
from scratchnet.training import AdamW, Clip, Cosine, fit_stream

# characters: to learn from, to be asked about, to warm up the state
LENGTH, HELD, BEFORE = 160_000, 16_000, 200
SHOWN = 1100


def reference() -> str:
    """The first characters of the language reference, in ASCII."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore").decode()
    return text[: LENGTH + HELD]


def ngram(past: str, order: int, K: int, trust: float = 3.0) -> Callable[[str], float]:
    """Bits per character by counts of ``order`` characters, each mixed with those of one less, as
    if seen ``trust`` times."""
    tables: list[Any] = [defaultdict(Counter) for _ in range(order)]
    for n, table in enumerate(tables):
        for t in range(n, len(past)):
            table[past[t - n : t]][past[t]] += 1

    def bits(text: str) -> float:
        total = 0.0
        for t in range(order, len(text)):
            p = 1 / K
            for n, table in enumerate(tables):
                seen = table.get(text[t - n : t])
                p = (seen[text[t]] + trust * p) / (seen.total() + trust) if seen else p
            total -= np.log2(p)
        return total / (len(text) - order)

    return bits


def follows(c: Array, read: str) -> tuple[str, int, float]:
    """What can be read off a unit: a property of the text, the unit of c (steps, units) that goes
    with it most closely, r."""
    at = range(BEFORE, BEFORE + len(c))
    start = [read.rfind("\n", 0, t + 1) + 1 for t in at]  # of the line
    found = {
        "the place in the line": [t - s for t, s in zip(at, start)],
        "inside quotation marks": [read.count('"', s, t + 1) % 2 for t, s in zip(at, start)],
        "an indented line": [read[s : s + 1] == " " for s in start],
    }
    z = (c - c.mean(axis=0)) / np.maximum(c.std(axis=0), 1e-6)
    best = ("", 0, 0.0)
    for what, values in found.items():
        v = np.array(values, dtype=np.float64)
        r = (v - v.mean()) @ z / len(v) / max(v.std(), 1e-6)
        unit = int(np.argmax(np.abs(r)))
        best = max(best, (what, unit, float(r[unit])), key=lambda entry: abs(entry[2]))
    return best


def run(seed: int, toy: bool) -> Outcome:
    """One LSTM of 128 units, 32 streams, windows of 50 steps."""
    rng = np.random.default_rng(seed)
    text = reference()
    past, held = (text[:6000], text[6000:7000]) if toy else (text[:LENGTH], text[LENGTH:])
    vocabulary = Vocabulary.of(past + held)
    model = character_model(len(vocabulary), 24 if toy else 128, rng=rng).astype(np.float32)
    epochs = 2 if toy else 14
    optimizer = AdamW(0.006, weight_decay=0.01)
    fit_stream(
        model,
        streams(vocabulary.encode(past), 32),
        optimizer,
        epochs=epochs,
        k1=50,
        loss=softmax_cross_entropy,
        callbacks=[Clip(1.0), Cosine(optimizer, epochs)],
        progress=False,
    )
    tokens = vocabulary.encode(past[-BEFORE:] + held)
    y, cache = model.forward(tokens[:-1, None])
    scores = {"LSTM": softmax_cross_entropy(y[BEFORE - 1 :], tokens[BEFORE:, None])[0] / np.log(2)}
    for name, order in (("unigram", 1), ("bigram", 2), ("trigram", 3), ("5-gram", 5)):
        scores[name] = float(ngram(past, order, len(vocabulary))(past[-order:] + held))
    for name, size in (
        ("zlib", lambda t: len(zlib.compress(t, 9))),
        ("lzma", lambda t: len(lzma.compress(t, preset=9))),
    ):
        scores[name] = 8 * (size((past + held).encode()) - size(past.encode())) / len(held)
    written = {
        heat: sample(model, vocabulary, "The ", 300, rng=rng, temperature=heat, top_k=10)
        for heat in (0.5, 1.0)
    }
    note = "\n\n".join(
        f"temperature {heat}, the 10 most likely:\nThe {text}" for heat, text in written.items()
    )
    read = past[-BEFORE:] + held
    # (steps, units), after each character
    c = np.tanh(cache.caches[1].cell_caches[0].c[BEFORE + 1 :, 0])
    what, unit, r = follows(c, read)
    title = f"tanh(c) of unit {unit}: {what} (correlation {r:.2f}, the closest of all units)"
    lines = [t for t in range(max(1, len(c) - SHOWN)) if t == 0 or read[BEFORE + t - 1] == "\n"]
    # where there is much to see
    t = max(lines, key=lambda t: read.count('"', BEFORE + t, BEFORE + t + SHOWN))
    figure = plots.text(
        c[t : t + SHOWN, unit], read[BEFORE + t :][: len(c[t : t + SHOWN])], columns=84, title=title
    )
    return Outcome(
        {"bits per character": scores},
        tuple(name for name in scores if name != "LSTM"),
        figure,
        note,
    )


if __name__ == "__main__":
    recipe(__doc__, run)
