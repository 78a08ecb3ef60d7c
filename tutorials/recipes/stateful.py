"""One long series with a slow rhythm: stateful truncated BPTT, and windows that forget, for the
same number of updates.

Each step has a quick swing to be read off, on a level that was announced long before by a single
mark and holds until the next one: who starts every window from nothing cannot know it. What to
learn: a state that is carried on remembers what the gradient no longer reaches, but to *learn* to
carry it, the gradient must reach some way back: see the errors of small k2.
"""

from typing import Any

import numpy as np
from pictures import bars
from recipe import Outcome, recipe

from scratchnet import plots
from scratchnet.arrays import Array
from scratchnet.layers import Linear, Recurrent, Sequential
from scratchnet.plots.style import new_figure
from scratchnet.training import Adam, Batches, Clip, fit, fit_stream, predict

STREAMS, STEPS = 8, 1600
HOLD = 80  # steps between two marks, in the mean


def series(rng: np.random.Generator, T: int, N: int) -> tuple[Array, Array]:
    """x (T, N, 2): a swing with noise, and a mark of -1 or 1 now and then; y (T, N, 1): the swing,
    lifted by the last mark."""
    phase = 2 * np.pi * rng.random(N) + np.cumsum(rng.uniform(0.5, 0.9, (T, N)), axis=0)
    quick = np.sin(phase)
    marks = np.where(rng.random((T, N)) < 1 / HOLD, rng.choice([-1.0, 1.0], (T, N)), 0.0)
    marks[0] = 1
    last = np.maximum.accumulate(np.where(marks != 0, np.arange(T)[:, None], 0), axis=0)
    level = np.take_along_axis(marks, last, axis=0)
    x = np.stack([quick + 0.1 * rng.standard_normal((T, N)), marks], axis=2)
    return x.astype(np.float32), (0.3 * quick + 0.7 * level)[:, :, None].astype(np.float32)


def windowed(x: Array, y: Array, width: int, stride: int) -> tuple[Array, Array]:
    """Windows (n, width, ...) of all streams, samples first."""
    ends = np.arange(width, len(x) + 1, stride)
    rows = ends[:, None] + np.arange(-width, 0)
    # stream by stream
    return tuple(
        v[rows].swapaxes(1, 2).swapaxes(0, 1).reshape(-1, width, v.shape[2]) for v in (x, y)
    )


def run(seed: int, toy: bool) -> Outcome:
    """A GRU of 16 units, the same number of updates for all, each from eight stretches; tested on
    four other series."""
    rng = np.random.default_rng(seed)
    (x, y), (xt, yt) = (
        series(rng, 200 if toy else STEPS, STREAMS),
        series(rng, 300 if toy else STEPS, 4),
    )
    updates = 20 if toy else 2400

    def fresh(**options: Any) -> Sequential:
        own = np.random.default_rng(seed)
        return Sequential(
            rec=Recurrent("gru", 2, 16, rng=own, **options), head=Linear(16, 1, rng=own)
        ).astype(np.float32)

    paths: dict[str, Array] = {}
    for k1, k2 in ((5, 5), (10, 10), (10, 20), (10, 40), (40, 40)):
        model = fresh()
        epochs = max(1, updates * k1 // len(x))
        options = {"epochs": epochs, "callbacks": [Clip(1.0)], "progress": False}
        fit_stream(model, (x, y), Adam(0.003), k1=k1, k2=k2, **options)
        paths[f"GRU, stream, k1 = {k1}, k2 = {k2}"] = model.forward(xt)[0]
    for width in (10, 40):
        model = fresh(batch_first=True)
        a, b = windowed(x, y, width, 5)
        epochs = max(1, updates * STREAMS // len(a))
        options = {"epochs": epochs, "callbacks": [Clip(1.0)], "progress": False}
        fit(model, Batches(a, b, batch_size=STREAMS), Adam(0.003), rng=rng, **options)
        # each from a window that starts from nothing
        answers = predict(model, windowed(xt, yt, width, 1)[0])[:, -1]
        paths[f"GRU, windows of {width}"] = answers.reshape(4, -1, 1).swapaxes(0, 1)
        if width == 40:
            paths["GRU, windows of 40, run as a stream"] = model.forward(xt.swapaxes(0, 1))[
                0
            ].swapaxes(0, 1)
    skip = 100  # where all have begun
    errors = {
        name: float(np.mean((path[skip - len(yt) :] - yt[skip:]) ** 2))
        for name, path in paths.items()
    }
    swing = 0.3 * xt[skip:, :, :1]
    errors["the swing alone"] = float(np.mean((swing + y.mean() - yt[skip:]) ** 2))
    return Outcome({"error": errors}, ("the swing alone",), picture(paths, yt, errors))


def picture(paths: dict[str, Array], yt: Array, errors: dict[str, float]) -> Any:
    """All errors, and a stretch of one series: what came, a stream, and windows."""
    figure = new_figure(10, 6.4)
    upper, lower = figure.subplots(2, 1)
    bars(
        dict(sorted(errors.items(), key=lambda pair: pair[1])),
        ("the swing alone",),
        decimals=4,
        log=True,
        ax=upper,
    )
    upper.set_title("mean squared error on four test series")
    level, T, long = np.sign(yt[:, 0, 0]), len(yt), 260
    start = max(
        range(100, T - long + 1, 10),
        key=lambda s: np.sum(np.diff(level[s : s + long]) != 0),
        default=0,
    )
    # from the end: windows have no answer for the first steps
    shown = slice(start - T, start + long - T or None)
    lower.plot(yt[shown, 0, 0], color=plots.colour("truth"), lw=1.2, label="truth")
    for name, style, tint in (
        ("GRU, stream, k1 = 10, k2 = 40", "--", "gru"),
        ("GRU, windows of 10", ":", "rnn"),
    ):
        lower.plot(paths[name][shown, 0, 0], style, color=plots.colour(tint), lw=1.6, label=name)
    lower.set(
        xlabel="step",
        title="One stretch: the level is announced by a single mark, and holds",
        ylim=(-1.3, 1.7),
    )
    lower.legend(frameon=False, ncols=3, loc="upper center")
    plots.axes(lower)
    return figure


if __name__ == "__main__":
    recipe(__doc__, run)
