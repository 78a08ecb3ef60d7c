"""MLP, RNN, LSTM, GRU, SRU and minGRU on the same two tasks: parameters, seconds, memory and error.

The first task needs no memory: a smooth function of four numbers, given one after the other. The
second needs it: the adding problem, two marked numbers among fifty. What to learn: where there is
nothing to remember, the MLP is best, and cheapest by far; where there is, gates decide, and the
simplest ones may do. All cells have 32 units, however many numbers that takes.
"""

import time
import tracemalloc

import numpy as np
from pictures import bars
from recipe import Outcome, recipe

from scratchnet.arrays import Array
from scratchnet.data.tasks import ADDING_BASELINE_MSE, adding
from scratchnet.layers import Sequential
from scratchnet.models import mlp, recurrent
from scratchnet.plots.style import new_figure
from scratchnet.training import Adam, Clip, Cosine, fit, predict

T = 50
CELLS, UNITS = ("RNN", "LSTM", "GRU", "SRU", "minGRU"), 32


def smooth(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """x (n, 4, 1) and a function of all four, with variance of about 1."""
    x = rng.uniform(-1, 1, (n, 4))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] * 1.5 + np.cos(3 * x[:, 3])
    return x[:, :, None].astype(np.float32), y[:, None].astype(np.float32)


def marked(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """The adding problem, samples first, its target scaled so that having learned nothing has an
    error of 1."""
    x, y = adding(rng, n, T, np.float32)
    return x.swapaxes(0, 1).copy(), (y - 1) / np.float32(ADDING_BASELINE_MSE**0.5)


def train(model: Sequential, x: Array, y: Array, epochs: int, rng: np.random.Generator) -> float:
    """Seconds it took."""
    optimizer, started = Adam(0.005), time.perf_counter()
    fit(
        model,
        (x, y),
        optimizer,
        epochs=epochs,
        rng=rng,
        callbacks=[Clip(1.0), Cosine(optimizer, epochs)],
        progress=False,
    )
    return time.perf_counter() - started


def run(seed: int, toy: bool) -> Outcome:
    """The same data, epochs and learning rate for all."""
    scores: dict[str, dict[str, float]] = {}

    def build(name: str, steps: int, D: int, engine: str = "auto") -> Sequential:
        rng = np.random.default_rng(seed)
        if name == "MLP":
            return mlp(steps * D, 1, rng=rng, units=(32, 32), activation="tanh").astype(np.float32)
        return recurrent(D, 1, rng=rng, cell=name.lower(), units=UNITS, engine=engine).astype(
            np.float32
        )

    for task, made, n, epochs in (
        ("four numbers", smooth, 1000, 40),
        (f"adding, T = {T}", marked, 4000, 14),
    ):
        rng = np.random.default_rng(seed)
        (x, y), (xt, yt) = made(rng, 200 if toy else n), made(rng, 1000)
        error, seconds, memory, size = (
            {"the mean": float(np.mean((yt - y.mean()) ** 2))},
            {},
            {},
            {},
        )
        for name in ("MLP", *CELLS):
            model = build(name, *x.shape[1:])
            a, b = (v.reshape(len(v), -1) if name == "MLP" else v for v in (x, xt))
            predict(model, b[:2])  # what is compiled is compiled before the clock runs
            seconds[name] = train(model, a, y, 1 if toy else epochs, rng)
            error[name] = float(np.mean((predict(model, b) - yt) ** 2))
            plain = build(name, *x.shape[1:], engine="array")  # the same kind of code for all
            tracemalloc.start()
            train(plain, a[:32], y[:32], 1, rng)
            memory[name], size[name] = tracemalloc.get_traced_memory()[1] / 1e6, float(model.size)
            tracemalloc.stop()
        scores |= {
            f"error, {task}": error,
            f"seconds, {task}": seconds,
            f"MB of a step, {task}": memory,
            f"parameters, {task}": size,
        }
    figure = new_figure(11, 5.2)
    shown = [metric for metric in scores if metric.startswith(("error", "seconds"))]
    for ax, metric in zip(figure.subplots(2, 2).ravel(), shown):
        bars(
            scores[metric],
            ("the mean",),
            title=metric,
            decimals=4 if "error" in metric else 1,
            log="error" in metric,
            ax=ax,
        )
    return Outcome(scores, ("the mean",), figure)


if __name__ == "__main__":
    recipe(__doc__, run)
