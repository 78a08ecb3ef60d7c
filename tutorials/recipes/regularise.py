"""Against overfitting: nine ways to keep an LSTM with 120 noisy samples from learning the noise,
each measured alone.

Heartbeats with a lot of noise, cut off their place; nine thousand weights, 120 samples. What to
learn: most ways differ by no more than seeds do, so one run says nothing; not all that is
recommended helps; and a smaller distance between what it learned from and the test is not yet a
better test.
"""

from typing import Any

import numpy as np
from heartbeat import cut
from pictures import bars
from recipe import Outcome, recipe
from sklearn.linear_model import LogisticRegression

from scratchnet.data.datasets import ecg
from scratchnet.layers import Dropout, Linear, MaskedLSTM, Sequential
from scratchnet.losses import softmax_cross_entropy
from scratchnet.training import L1, L2, Adam, Batches, Clip, EarlyStopping, fit, predict
from scratchnet.training.augment import gaussian_noise, time_warp

FEW, TEST = 120, 800


def run(seed: int, toy: bool) -> Outcome:
    """The same start, updates and learning rate for all; early stopping takes its validation set
    out of the few samples."""
    rng = np.random.default_rng(seed)
    beats = ecg.beats(rng, 160 if toy else FEW + TEST, T=128, noise=0.35)
    x, y = cut(beats.x[:, ::2], 8, rng).astype(np.float32), beats.kind
    few, test = slice(0, FEW), slice(FEW, None)
    # of the layer, plain dropout, of the training
    ways: dict[str, tuple[dict[str, float], float, dict[str, Any]]] = {
        "LSTM, nothing": ({}, 0.0, {}),
        "LSTM, dropout": ({}, 0.5, {}),
        "LSTM, variational dropout": ({"recurrent_dropout": 0.4}, 0.0, {}),
        "LSTM, zoneout": ({"zoneout_h": 0.15, "zoneout_c": 0.3}, 0.0, {}),
        "LSTM, L1": ({}, 0.0, {"callbacks": [L1(0.001)]}),
        "LSTM, L2": ({}, 0.0, {"callbacks": [L2(0.01)]}),
        "LSTM, added noise": ({}, 0.0, {"augment": gaussian_noise(0.5)}),
        "LSTM, time warp": ({}, 0.0, {"augment": time_warp(0.4)}),
        "LSTM, early stopping": ({}, 0.0, {"callbacks": [EarlyStopping(15)]}),
    }
    right, learned = {}, {}
    for name, (noise, p, options) in ways.items():
        own = np.random.default_rng(seed)
        rec = MaskedLSTM(
            1, 32, rng=own, bidirectional=True, batch_first=True, return_sequences=False, **noise
        )
        model = Sequential(
            rec=rec, dropout=Dropout(p, rng=own), head=Linear(64, 4, rng=own)
        ).astype(np.float32)
        stopping = "stopping" in name
        n = 96 if stopping else FEW
        fit(
            model,
            Batches(x[:n], y[:n], batch_size=24, augment=options.get("augment")),
            Adam(0.003),
            epochs=1 if toy else 60,
            rng=own,
            loss=softmax_cross_entropy,
            validation=(x[96:FEW], y[96:FEW]) if stopping else None,
            callbacks=[Clip(1.0), *options.get("callbacks", [])],
            progress=False,
        )
        right[name] = float(np.mean(predict(model, x[test]).argmax(axis=1) == y[test]))
        learned[name] = float(np.mean(predict(model, x[:n]).argmax(axis=1) == y[:n]))
    flat = x.reshape(len(x), -1)
    plain = LogisticRegression(C=0.01, max_iter=2000).fit(flat[few], y[few])
    right["logistic regression"] = float(plain.score(flat[test], y[test]))
    learned["logistic regression"] = float(plain.score(flat[few], y[few]))
    order = sorted(right, key=right.__getitem__, reverse=True)
    figure = bars(
        {name: right[name] for name in order},
        ("logistic regression",),
        xlabel="accuracy on the test beats",
    )
    ax = figure.axes[0]
    ax.plot(
        [learned[name] for name in order],
        range(len(order)),
        "k|",
        ms=12,
        mew=2,
        label="on the samples it learned from",
    )
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    return Outcome(
        {"accuracy": right, "accuracy on what it learned from": learned},
        ("logistic regression",),
        figure,
    )


if __name__ == "__main__":
    recipe(__doc__, run)
