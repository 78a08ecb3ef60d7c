"""Equipment failure within the next 30 cycles, read off noisy sensors by a BiLSTM that says which
cycles it looked at.

The machines come from a simulator of wear (``data.tasks.turbofans``); NASA's turbofan engines
can be given as a file. What to learn: split by machine, never by window; compare with the age of
the machine and with means and slopes, which are what an engineer would try first and what this
simulator, whose sensors bend little, is best read with; and look at the attention before believing
a word about it.
"""

from typing import Any

import numpy as np
from recipe import Outcome, recipe
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scratchnet import plots
from scratchnet.arrays import Array
from scratchnet.data.tasks import turbofans
from scratchnet.elementwise import sigmoid
from scratchnet.losses import binary_cross_entropy
from scratchnet.models import attention_pooled
from scratchnet.plots.style import new_figure
from scratchnet.training import AdamW, Batches, Clip, Cosine, EarlyStopping, fit, predict

WIDTH, WITHIN = 30, 30  # cycles


def run(seed: int, toy: bool, data: str | None = None) -> Outcome:
    """60% of the machines to learn from, 15% to stop by, 25% to be asked about."""
    rng = np.random.default_rng(seed)
    if data:
        from scratchnet.data.datasets.files import load_turbofans

        machines = load_turbofans(data)
    else:
        machines = turbofans(rng, 12 if toy else 100)
    x, y, of = machines.windows(WIDTH, WITHIN)
    age = WIDTH + np.arange(len(of)) - np.searchsorted(of, of)  # cycles at each window's end
    rank = np.argsort(rng.permutation(len(machines.sensors)))[of] / len(machines.sensors)
    train, held = np.flatnonzero(rank < 0.6)[::2], np.flatnonzero((rank >= 0.6) & (rank < 0.75))
    test = np.flatnonzero(rank >= 0.75)
    x = ((x - x[train].mean(axis=(0, 1))) / x[train].std(axis=(0, 1))).astype(np.float32)
    model = attention_pooled(x.shape[2], 1, rng=rng, units=24).astype(np.float32)
    epochs = 1 if toy else 25
    optimizer = AdamW(0.01, weight_decay=0.05)
    target = y[:, None].astype(np.float32)
    fit(
        model,
        Batches(x[train], target[train], batch_size=64),
        optimizer,
        epochs=epochs,
        rng=rng,
        loss=binary_cross_entropy,
        validation=(x[held], target[held]),
        callbacks=[Clip(1.0), Cosine(optimizer, epochs), EarlyStopping(8)],
        progress=False,
    )
    t = (np.arange(WIDTH) - (WIDTH - 1) / 2).astype(np.float32)
    # of a straight line through each sensor's window
    slopes = np.tensordot(t, x, (0, 1)) / np.sum(t * t)
    both = np.concatenate([x.mean(axis=1), slopes], axis=1)
    features = {"age": age[:, None], "last row": x[:, -1], "means and slopes": both}
    chances = {"BiLSTM with attention": sigmoid(predict(model, x[test]).astype(np.float64))[:, 0]}
    for name, found in features.items():
        plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
            found[train], y[train]
        )
        chances[f"logistic, {name}"] = plain.predict_proba(found[test])[:, 1]
    scores = {
        "AUC": {name: float(roc_auc_score(y[test], p)) for name, p in chances.items()},
        "F1": {name: float(f1_score(y[test], p > 0.5)) for name, p in chances.items()},
    }
    return Outcome(
        scores,
        tuple(name for name in chances if "LSTM" not in name),
        picture(model, x, age, of, test, chances),
    )


def picture(
    model: Any, x: Array, age: Array, of: Array, test: Array, chances: dict[str, Array]
) -> Any:
    """One machine of the test: how likely it is to fail, cycle by cycle, and where attention
    lay."""
    tested = np.unique(of[test])
    one = sorted(tested, key=lambda m: np.sum(of == m))[len(tested) // 2]  # of middling life
    rows = np.flatnonzero(of == one)
    weights = model.forward(x[rows])[1].caches[1].weights  # (WIDTH, windows)
    figure = new_figure(9, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    end = age[rows][-1]
    for (name, p), style in zip(chances.items(), ("-", ":", "-.", "--")):
        tint = plots.model_colour(name.removeprefix("Bi"))
        upper.plot(age[rows], p[of[test] == one], style, lw=1.8, color=tint, label=name)
    upper.axvspan(
        end - WITHIN + 1,
        end,
        color=plots.colour("rnn"),
        alpha=0.12,
        lw=0,
        label=f"its last {WITHIN} cycles",
    )
    upper.set(
        ylabel=f"P(fails within {WITHIN})",
        ylim=(0, 1),
        title="One machine of the test, to its failure",
    )
    upper.legend(frameon=False, fontsize=9, loc="upper left")
    extent = (age[rows][0] - 0.5, end + 0.5, WIDTH - 0.5, -0.5)
    image = lower.imshow(weights[::-1], aspect="auto", cmap="magma", vmin=0, extent=extent)
    lower.set(
        xlabel="age of the machine [cycles]",
        ylabel="cycles back in the window",
        title="Attention within each window",
    )
    figure.colorbar(image, ax=lower, fraction=0.03, pad=0.01, label="weight")
    plots.axes(upper)
    return figure


if __name__ == "__main__":
    recipe(
        __doc__,
        run,
        option=("--data", "a file of NASA's turbofan engines, such as train_FD001.txt"),
    )
