"""Heartbeats of four kinds, told apart by a two-layer bidirectional GRU.

The beats come from a published model of the electrocardiogram (``datasets.ecg``), with so much
noise that an eye has to look twice; records of the MIT-BIH database can be given instead. What to
learn: where every beat is cut around its R, a plain logistic regression on the samples is a serious
rival. Where the cut is up to an eighth of a second off, it has nothing to hold on to, and what
reads shapes wherever they stand is worth its price.
"""

from typing import Any

import numpy as np
from pictures import confusion
from recipe import Outcome, recipe
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.neighbors import NearestCentroid

from scratchnet import plots
from scratchnet.arrays import Array
from scratchnet.data.datasets import ecg
from scratchnet.losses import softmax_cross_entropy
from scratchnet.models import recurrent
from scratchnet.plots.style import new_figure
from scratchnet.training import AdamW, Clip, Cosine, EarlyStopping, fit, predict

NOISE = 0.25  # mV; an R wave has a little more than 1


def cut(x: Array, most: int, rng: np.random.Generator) -> Array:
    """Three quarters of each beat, from a place up to ``most`` samples off the middle, scaled
    anew."""
    width = 3 * x.shape[1] // 4
    start = (x.shape[1] - width) // 2 + rng.integers(-most, most + 1, len(x))
    x = np.take_along_axis(x, (start[:, None] + np.arange(width))[:, :, None], axis=1)
    return (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)


def run(seed: int, toy: bool, record: str | None = None) -> Outcome:
    """Trained on half of the beats, stopped by an eighth, tested on the rest; each beat is from a
    heart of its own."""
    rng = np.random.default_rng(seed)
    if record:
        from scratchnet.data.datasets.files import CLASSES, load_heartbeats

        # beats of one patient: what it says of another is another question
        found = load_heartbeats(record, T=240)
        order, names = rng.permutation(len(found.x)), CLASSES
        whole, kind = found.x[order, ::3], found.kind[order]
    else:
        whole, kind = ecg.beats(rng, 160 if toy else 1600, T=128, noise=NOISE)
        whole, names = whole[:, ::2], ecg.KINDS
    n, scores = len(kind), {}
    a, b = n // 2, 5 * n // 8
    for place, most in (("", 0), (", cut off its place", whole.shape[1] // 8)):
        x = cut(whole, most, rng).astype(np.float32)
        model = recurrent(
            x.shape[2],
            len(names),
            rng=rng,
            cell="gru",
            units=24,
            num_layers=2,
            bidirectional=True,
            dropout=0.2,
        )
        epochs, optimizer = 1 if toy else 30, AdamW(0.005, weight_decay=0.01)
        fit(
            model.astype(np.float32),
            (x[:a], kind[:a]),
            optimizer,
            epochs=epochs,
            rng=rng,
            loss=softmax_cross_entropy,
            validation=(x[a:b], kind[a:b]),
            callbacks=[Clip(1.0), Cosine(optimizer, epochs), EarlyStopping(8)],
            progress=False,
        )
        flat = x.reshape(n, -1)
        guesses = {
            name: rule.fit(flat[:a], kind[:a]).predict(flat[b:]) for name, rule in plain().items()
        }
        guesses["BiGRU, two layers"] = predict(model, x[b:]).argmax(axis=1)
        scores |= {
            f"accuracy{place}": {
                name: float(np.mean(kind[b:] == guess)) for name, guess in guesses.items()
            },
            f"F1, mean of the kinds{place}": {
                name: float(f1_score(kind[b:], guess, average="macro", zero_division=0))
                for name, guess in guesses.items()
            },
        }
    return Outcome(scores, tuple(plain()), picture(x[b:], kind[b:], guesses, names))


def plain() -> dict[str, Any]:
    """What has no idea of time."""
    return {
        "nearest mean": NearestCentroid(),
        "logistic regression": LogisticRegression(C=0.01, max_iter=2000),
    }


def picture(x: Array, kind: Array, guesses: dict[str, Array], names: Any) -> Any:
    """Three beats of each kind, cut off their place, as all see them; what two rules took them
    for."""
    figure = new_figure(11, 4.4)
    grid = figure.add_gridspec(2, 4, width_ratios=[1, 1, 1.1, 1.1])
    shown = [k for k in range(len(names)) if np.any(kind == k)][:4]
    for number, k in enumerate(shown):
        ax = plots.axes(figure.add_subplot(grid[number // 2, number % 2]))
        for row, beat in enumerate(x[kind == k][:3, :, 0]):
            ax.plot(beat - 6 * row, color=plots.colour("gru"), lw=1.1)
        ax.set(title=names[k], xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for column, name in enumerate(("logistic regression", "BiGRU, two layers")):
        confusion(figure.add_subplot(grid[:, 2 + column]), kind, guesses[name], names, name)
    figure.axes[-1].set(yticks=[], ylabel="")
    figure.suptitle("Beats cut up to an eighth of a second off their place")
    return figure


if __name__ == "__main__":
    recipe(
        __doc__,
        run,
        option=(
            "--record",
            "a record of the MIT-BIH arrhythmia database, such as mitdb/100 (needs wfdb)",
        ),
    )
