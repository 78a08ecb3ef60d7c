"""Transfer: a network that has read many heartbeats of two kinds learns two other kinds from a
handful of samples.

Its recurrent layer is loaded into a new network with a new head (``load`` with ``only``), which
learns from 4 to 64 samples: from nothing, the head alone (``freeze``), or all of it. Two jobs, and
what to learn from them: where the first taught what the second needs, a new head is enough, and
most is gained where there is least to learn from. Where it did not (a second bump behind the R is
all that tells a blocked beat from a normal one), the frozen body is a cage.
"""

import tempfile
from pathlib import Path

import numpy as np
from heartbeat import cut
from recipe import Outcome, recipe
from sklearn.linear_model import LogisticRegression

from scratchnet import plots
from scratchnet.arrays import Array
from scratchnet.data.datasets import ecg
from scratchnet.layers import Sequential
from scratchnet.losses import softmax_cross_entropy
from scratchnet.models import recurrent
from scratchnet.plots.style import new_figure
from scratchnet.training import AdamW, Clip, Freeze, checkpoint, fit, predict

SIZES = (4, 16, 64)
# the kinds known, the new ones
JOBS = {"ischaemic or blocked": ((0, 1), (2, 3)), "blocked or normal": ((1, 3), (0, 2))}
DRAWS = 3  # of the few samples: which they are matters


def train(
    model: Sequential, x: Array, y: Array, updates: int, seed: int, freeze: tuple[str, ...] = ()
) -> Sequential:
    """So many updates, however few samples there are."""
    fit(
        model,
        (x, y),
        AdamW(0.005, weight_decay=0.01),
        epochs=max(1, updates // -(-len(x) // 32)),
        rng=np.random.default_rng(seed),
        loss=softmax_cross_entropy,
        callbacks=[Clip(1.0), Freeze(freeze)],
        progress=False,
    )
    return model


def run(seed: int, toy: bool) -> Outcome:
    """The mean accuracy over three draws of the few samples, on 800 beats of the two new kinds."""
    rng = np.random.default_rng(seed)
    beats = ecg.beats(rng, 240 if toy else 2400, T=128, noise=0.25)
    x = cut(beats.x[:, ::2], 8, rng).astype(np.float32)
    sizes = SIZES[:1] if toy else SIZES
    found = {job: learn(x, beats.kind, *kinds, sizes, seed, toy) for job, kinds in JOBS.items()}
    figure = new_figure(10, 6.4)
    for ax, (job, (known, _)) in zip(figure.subplots(2, 1, sharex=True), JOBS.items()):
        title = f"{job}, having learned {of(known)}"
        plots.errors_ahead(found[job], ylabel="accuracy", title=title, ax=ax)
        ax.set(xlabel="samples of the new kinds", ylim=(0.4, 1))
        ax.set_xticks(range(1, len(sizes) + 1), list(map(str, sizes)))
    scores = {
        f"accuracy, {job}, {size} samples": {
            way: float(values[row]) for way, values in ways.items()
        }
        for job, ways in found.items()
        for row, size in enumerate(sizes)
    }
    return Outcome(scores, ("logistic regression",), figure)


def of(kinds: tuple[int, ...]) -> str:
    """Their names."""
    return " or ".join(ecg.KINDS[kind] for kind in kinds)


def learn(
    x: Array,
    kind: Array,
    known: tuple[int, int],
    new: tuple[int, int],
    sizes: tuple[int, ...],
    seed: int,
    toy: bool,
) -> dict[str, Array]:
    """Accuracies, way -> one for each size."""
    label = np.isin(kind, (known[1], new[1])).astype(np.int64)
    first, second = (np.flatnonzero(np.isin(kind, kinds)) for kinds in (known, new))
    few, test = second[: len(second) // 3], second[len(second) // 3 :]

    def fresh() -> Sequential:
        return recurrent(
            1, 2, rng=np.random.default_rng(seed), cell="gru", units=24, bidirectional=True
        ).astype(np.float32)

    body = train(fresh(), x[first], label[first], 8 if toy else 400, seed)
    freeze: dict[str, tuple[str, ...]] = {
        "GRU from nothing": (),
        "GRU head alone": ("rec.*",),
        "GRU all of it": (),
    }
    right = {way: np.zeros((len(sizes), DRAWS)) for way in (*freeze, "logistic regression")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "body.npz")
        checkpoint.save(body, path)
        for row, draw in np.ndindex(len(sizes), DRAWS):
            half = sizes[row] // 2
            rows = np.concatenate(
                [few[label[few] == k][draw * half : (draw + 1) * half] for k in (0, 1)]
            )
            for way, frozen in freeze.items():
                model = fresh()
                if way != "GRU from nothing":
                    checkpoint.load(model, path, only="rec.*")
                train(model, x[rows], label[rows], 4 if toy else 120, seed, frozen)
                right[way][row, draw] = np.mean(
                    predict(model, x[test]).argmax(axis=1) == label[test]
                )
            plain = LogisticRegression(C=0.1, max_iter=1000).fit(x[rows, :, 0], label[rows])
            right["logistic regression"][row, draw] = plain.score(x[test, :, 0], label[test])
    return {way: values.mean(axis=1) for way, values in right.items()}


if __name__ == "__main__":
    recipe(__doc__, run)
