"""Handwritten digits read row by row: eight steps of eight numbers, a sequence only because we say
so.

What to learn: where the order of the steps carries little, a recurrent network is a detour. Nearest
neighbours on the 64 numbers, which have no idea of rows, are better on these 1797 pictures; the
networks are about as good as a logistic regression. What the network does show is how its answer
grows, row by row (see the picture).
"""

from typing import Any

import numpy as np
from pictures import confusion
from recipe import Outcome, recipe
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from scratchnet.arrays import Array
from scratchnet.losses import softmax_cross_entropy
from scratchnet.models import recurrent, self_attentive
from scratchnet.plots.style import MAPS, new_figure
from scratchnet.training import AdamW, Clip, Cosine, fit, predict


def run(seed: int, toy: bool) -> Outcome:
    """Half of the pictures to learn from, a tenth to stop by, the rest to be read; another division
    for each seed."""
    rng = np.random.default_rng(seed)
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    x, y = (digits.images[order] / 16).astype(np.float32), digits.target[order]
    a, b = (150, 200) if toy else (900, 1080)
    models = {
        "LSTM": recurrent(8, 10, rng=rng, units=48),
        "GRU": recurrent(8, 10, rng=rng, cell="gru", units=48),
        "LSTM with self-attention": self_attentive(
            8, 10, rng=rng, units=48, attention=48, bidirectional=True
        ),
    }
    plain = {
        "logistic regression": LogisticRegression(C=1.0, max_iter=2000),
        "nearest neighbours": KNeighborsClassifier(3),
    }
    flat = x[b:].reshape(len(x) - b, -1)
    guesses = {
        name: rule.fit(x[:a].reshape(a, -1), y[:a]).predict(flat) for name, rule in plain.items()
    }
    epochs = 2 if toy else 40
    for name, model in models.items():
        optimizer = AdamW(0.005, weight_decay=0.01)
        fit(
            model.astype(np.float32),
            (x[:a], y[:a]),
            optimizer,
            epochs=epochs,
            rng=rng,
            loss=softmax_cross_entropy,
            validation=(x[a:b], y[a:b]),
            callbacks=[Clip(1.0), Cosine(optimizer, epochs)],
            progress=False,
        )
        guesses[name] = predict(model, x[b:]).argmax(axis=1)
    scores = {"accuracy": {name: float(np.mean(guess == y[b:])) for name, guess in guesses.items()}}
    return Outcome(scores, tuple(plain), picture(models["LSTM"], x[b:], y[b:], guesses["LSTM"]))


def picture(model: Any, x: Array, y: Array, guess: Array) -> Any:
    """What the LSTM would say after each row, for one digit that it gets right and one that it does
    not; all confusions."""
    figure = new_figure(10, 4.6)
    grid = figure.add_gridspec(2, 3, width_ratios=[0.7, 1.6, 1.7])
    wrong = np.flatnonzero(guess != y)
    for row, (at, said) in enumerate(
        ((np.flatnonzero(guess == y)[0], "right"), (wrong[0] if len(wrong) else 0, "wrong"))
    ):
        image, then = figure.add_subplot(grid[row, 0]), figure.add_subplot(grid[row, 1])
        image.imshow(x[at], cmap="Greys")
        image.set(xticks=[], yticks=range(8), ylabel="step", title=f"a {y[at]}, read {said}")
        answers = np.stack([model.forward(x[at : at + 1, : t + 1])[0][0] for t in range(8)])
        p = np.exp(answers - answers.max(axis=1, keepdims=True))
        then.imshow(
            p / p.sum(axis=1, keepdims=True), cmap=MAPS["gate"], vmin=0, vmax=1, aspect="auto"
        )
        then.set(xticks=range(10), yticks=range(8), title="P(digit) if it ended after this row")
    then.set_xlabel("digit")
    confusion(figure.add_subplot(grid[:, 2]), y, guess, list(map(str, range(10))), "LSTM")
    return figure


if __name__ == "__main__":
    recipe(__doc__, run)
