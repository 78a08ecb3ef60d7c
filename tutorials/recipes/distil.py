"""A large BiLSTM teaches a small GRU: what its answers say beyond the labels, on beats that have
few labels.

The teacher is trained on the same 80 labelled heartbeats; 1200 more have no label, and there the
teacher's answers are all we have. What to learn: compare students of the same size, alone, taught
on the labelled beats, taught on all of them; and see whether the gain comes from the softness of
the answers or from having more beats to learn from.
"""

import numpy as np
from heartbeat import cut
from pictures import bars
from recipe import Outcome, recipe
from sklearn.linear_model import LogisticRegression

from scratchnet.arrays import Array
from scratchnet.data.datasets import ecg
from scratchnet.layers import Layer
from scratchnet.losses import softmax_cross_entropy
from scratchnet.models import recurrent
from scratchnet.training import AdamW, Clip, Cosine, fit, predict
from scratchnet.training.distil import Distillation, distillation_target
from scratchnet.training.trainer import Loss

LABELLED, UNLABELLED, TEST = 80, 1200, 600


def train(
    model: Layer, x: Array, y: Array, loss: Loss, updates: int, rng: np.random.Generator
) -> None:
    """As many updates for all, so that more data does not mean more training."""
    optimizer = AdamW(0.01, weight_decay=0.01)
    epochs = max(1, round(updates / -(-len(x) // 32)))
    fit(
        model,
        (x, y),
        optimizer,
        epochs=epochs,
        rng=rng,
        loss=loss,
        callbacks=[Clip(1.0), Cosine(optimizer, epochs)],
        progress=False,
    )


def run(seed: int, toy: bool) -> Outcome:
    """All from the same beats; the last student alone is told all labels, to say what they would be
    worth."""
    rng = np.random.default_rng(seed)
    n = 160 if toy else LABELLED + UNLABELLED + TEST
    beats = ecg.beats(rng, n, T=128, noise=0.25)
    x = cut(beats.x[:, ::2], 8, rng).astype(np.float32)
    y, few, rest = beats.kind, slice(0, LABELLED), slice(n - (40 if toy else TEST), None)
    many, updates = slice(0, rest.start), 5 if toy else 3000

    def student() -> Layer:
        return recurrent(1, 4, rng=np.random.default_rng(seed), cell="gru", units=8).astype(
            np.float32
        )

    teacher = recurrent(
        1, 4, rng=rng, units=32, num_layers=2, bidirectional=True, dropout=0.3
    ).astype(np.float32)
    train(teacher, x[few], y[few], softmax_cross_entropy, updates // 4, rng)
    answers = predict(teacher, x[many])
    pupils = {
        name: student()
        for name in (
            "alone",
            "taught, labelled beats",
            "hard answers, all beats",
            "taught, all beats",
        )
    }
    soft = Distillation(temperature=3.0, hard=0.0)
    said = distillation_target(y[many], answers)
    train(pupils["alone"], x[few], y[few], softmax_cross_entropy, updates, rng)
    train(
        pupils["taught, labelled beats"],
        x[few],
        said[few],
        Distillation(3.0, hard=0.3),
        updates,
        rng,
    )
    train(
        pupils["hard answers, all beats"],
        x[many],
        answers.argmax(axis=1),
        softmax_cross_entropy,
        updates,
        rng,
    )
    train(pupils["taught, all beats"], x[many], said, soft, updates, rng)
    known = student()
    train(known, x[many], y[many], softmax_cross_entropy, updates, rng)
    models = {f"GRU {name}": model for name, model in pupils.items()}
    models |= {"BiLSTM, the teacher": teacher, "GRU, all labels": known}
    right = {
        name: float(np.mean(predict(model, x[rest]).argmax(axis=1) == y[rest]))
        for name, model in models.items()
    }
    known_all = {"GRU, all labels": right["GRU, all labels"]}
    flat = x.reshape(n, -1)
    plain = LogisticRegression(C=0.01, max_iter=2000).fit(flat[few], y[few])
    right["logistic regression"] = float(plain.score(flat[rest], y[rest]))
    size = {
        name: float(model.size)
        for name, model in models.items()
        if "alone" in name or "teacher" in name
    }
    title = (
        f"{LABELLED} labelled heartbeats: a teacher of {teacher.size} numbers, students of"
        f" {known.size}"
    )
    order = dict(sorted(right.items(), key=lambda pair: -pair[1]))
    figure = bars(order, ("logistic regression",), xlabel="accuracy", title=title)
    told = {name: value for name, value in right.items() if name not in known_all}
    scores = {
        "accuracy": told,
        "accuracy, had all labels been known": known_all,
        "parameters": size,
    }
    return Outcome(scores, ("logistic regression",), figure)


if __name__ == "__main__":
    recipe(__doc__, run)
