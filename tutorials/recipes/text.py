"""Which package of the standard library does a sentence of its documentation come from?

The sentences are the docstrings of eight packages, read from the .py files that Python came with;
nothing is imported. What to learn: with two thousand short sentences, which words there are says
nearly all, and a bag of words with a logistic regression is hard to beat. A network learns such
sentences by heart; with words dropped at random it cannot, and then its attention goes to words
that say something (see the picture).
"""

import ast
import re
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
from pictures import coloured_words
from recipe import Outcome, recipe
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from scratchnet.arrays import Array
from scratchnet.losses import softmax_cross_entropy
from scratchnet.models import text_classifier
from scratchnet.training import AdamW, Batches, Clip, EarlyStopping, fit, predict

PACKAGES = ("asyncio", "email", "http", "importlib", "logging", "tkinter", "unittest", "xml")
EACH, MOST = 380, 30  # sentences of a package at most, words of a sentence
UNKNOWN = 0


def sentences(package: str) -> list[list[str]]:
    """The sentences of all docstrings of a package, as words; those that come twice, and its own
    name, are left out."""
    found: dict[tuple[str, ...], None] = {}
    for path in sorted(Path(sysconfig.get_paths()["stdlib"], package).rglob("*.py")):
        if "test" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", ast.get_docstring(node) or ""):
                    words = [
                        word for word in re.findall(r"[a-z]+", sentence.lower()) if word != package
                    ]
                    if 4 <= len(words) <= MOST:
                        found[tuple(words)] = None
    return [list(words) for words in found]


def run(seed: int, toy: bool) -> Outcome:
    """60% to learn from, 15% to stop by, 25% to be told apart."""
    rng = np.random.default_rng(seed)
    pairs: list[tuple[list[str], int]] = []
    for number, package in enumerate(PACKAGES):
        own = sentences(package)  # none where Python came without it, as tkinter may be
        pairs += [(own[k], number) for k in rng.permutation(len(own))[: 40 if toy else EACH]]
    pairs = [pairs[k] for k in rng.permutation(len(pairs))]
    a, b = round(0.6 * len(pairs)), round(0.75 * len(pairs))
    counts: dict[str, int] = {}
    for words, _ in pairs[:a]:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    number_of = {
        word: k
        for k, word in enumerate((w for w, count in counts.items() if count > 1), start=UNKNOWN + 1)
    }
    y = np.array([number for _, number in pairs])
    lengths = np.array([len(words) for words, _ in pairs])
    x = np.zeros((len(pairs), MOST), np.int64)
    for row, (words, _) in enumerate(pairs):
        x[row, : len(words)] = [number_of.get(word, UNKNOWN) for word in words]
    guesses = {"most frequent class": np.full(len(y) - b, np.bincount(y[:a]).argmax())}
    for name, dropped in (("BiLSTM with attention", 0.0), ("BiLSTM, words dropped", 0.4)):
        model = text_classifier(
            len(number_of) + 1, len(PACKAGES), rng=rng, features=64, units=16
        ).astype(np.float32)
        # a standard-normal start drowns what two thousand sentences can teach
        model.params["embed.W"][...] *= 0.3
        fit(
            model,
            Batches(
                x[:a],
                y[:a],
                lengths=lengths[:a],
                bucket=True,
                augment=lambda x, rng, _, p=dropped: np.where(rng.random(x.shape) < p, UNKNOWN, x),
            ),
            AdamW(0.005, weight_decay=0.1),
            epochs=1 if toy else 40,
            rng=rng,
            loss=softmax_cross_entropy,
            validation=(x[a:b], y[a:b], lengths[a:b]),
            callbacks=[Clip(1.0), EarlyStopping(6)],
            progress=False,
        )
        guesses[name] = predict(model, x[b:], lengths=lengths[b:]).argmax(axis=1)
    texts = [" ".join(words) for words, _ in pairs]
    bag = TfidfVectorizer(token_pattern=r"[a-z]+", sublinear_tf=True).fit(texts[:a])
    logistic = LogisticRegression(C=10, max_iter=2000).fit(bag.transform(texts[:a]), y[:a])
    guesses["logistic, bag of words"] = logistic.predict(bag.transform(texts[b:]))
    scores = {
        "accuracy": {name: float(np.mean(guess == y[b:])) for name, guess in guesses.items()},
        "F1, mean of the classes": {
            name: float(f1_score(y[b:], guess, average="macro", zero_division=0))
            for name, guess in guesses.items()
        },
    }
    figure = picture(
        model, [words for words, _ in pairs[b:]], x[b:], y[b:], guesses["BiLSTM, words dropped"]
    )
    return Outcome(scores, ("most frequent class", "logistic, bag of words"), figure)


def picture(model: Any, words: list[list[str]], x: Array, y: Array, guess: Array) -> Any:
    """A sentence of seven packages, and two that were mistaken: the darker a word, the more it
    counted."""
    short = np.array([len(sentence) <= 13 for sentence in words])
    right = [np.flatnonzero((y == k) & (guess == k) & short)[:1] for k in range(len(PACKAGES))][:7]
    rows = []
    for k in np.concatenate([*right, np.flatnonzero((y != guess) & short)[:2]]):
        _, cache = model.forward(x[k : k + 1, : len(words[k])])
        mark = "" if y[k] == guess[k] else f", taken for {PACKAGES[guess[k]]}"
        rows.append((f"{PACKAGES[y[k]]}{mark}", words[k], cache.caches[2].weights[:, 0]))
    return coloured_words(rows, title="Words by the weight that attention gave them")


if __name__ == "__main__":
    recipe(__doc__, run)
