"""The main job, under a minute on two cores: check the gradients, forecast a real series, remember over 100 steps, draw it.

What is printed and drawn here is computed here; nothing is read from a file of results.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scratchnet import baselines, datasets
from scratchnet.arrays import Array
from scratchnet.cells import variants
from scratchnet.clip import clip_global_norm
from scratchnet.data import Standardizer, split_at, windows
from scratchnet.gradcheck import check_cell
from scratchnet.layers import GRU, LSTM, RNN, Linear, Recurrent, Sequential, Tanh
from scratchnet.losses import mse
from scratchnet.optim import Adam, AdamW
from scratchnet.tasks import ADDING_BASELINE_MSE, adding
from scratchnet.train import fit, predict

SEEDS = 5
WIDTH, UNITS = 9, 16  # the networks see the same nine years as the autoregression of order 9
STEPS_BACK = 100
SOLVED = 0.01  # mean squared error; predicting the mean gives 1/6
RECURRENT: dict[str, Callable[..., Recurrent]] = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}


class Forecasts(NamedTuple):
    """The sunspot experiment: one-step forecasts of the test years, in sunspots."""

    years: list[int]
    truth: Array  # (n, 1)
    networks: dict[str, Array]  # name -> (SEEDS, n, 1)
    baselines: dict[str, Array]  # name -> (n, 1)
    scale: Array  # the values whose variance a relative variance is over


class Memory(NamedTuple):
    """One network on the adding problem: what it reached, and how far its gradient travels."""

    name: str
    losses: list[float]  # of each training step, before it
    test_mse: float  # on 1000 fresh sequences
    gradient_norms: Array  # (T,) mean over sequences of |dL/dh_t|, the loss read at the last step
    before_training: Array  # (T,) the same, before the first step
    seconds: float
    gates: Array  # (T, N, G*H) on a few fresh sequences; the RNN has its h there
    x: Array  # (T, N, 2) those sequences
    cells: Array | None = None  # (T+1, N, H) the cell state on them, where the network has one


# ---- 1  gradients --------------------------------------------------------------------------------------------------------


def check_gradients() -> dict[str, float]:
    """The largest relative error of each cell's gradients, with full and with ragged sequences."""
    errors = {}
    for label, cell, options in variants():
        reports = [check_cell(cell, lengths=lengths, **options) for lengths in (None, (4, 1, 3))]
        errors[label] = max(report.error for report in reports)
    return errors


# ---- 2  sunspots ---------------------------------------------------------------------------------------------------------


def forecast_sunspots() -> Forecasts:
    """MLP, RNN, LSTM and GRU against last value and autoregression, fitted on 1700-1920, tested on 1921-1955.

    The networks keep 1891-1920 back to know when to stop; the autoregression has nothing to stop and fits all of it.
    """
    series = datasets.load("sunspots")
    train, held_back, test, _ = split_at(series.times, 1890, 1920, 1955)
    past = slice(0, held_back.stop)
    scaler = Standardizer().fit(series.values[train])
    z = scaler.transform(series.values).astype(np.float32)
    parts = {
        "train": windows(z, WIDTH, part=slice(WIDTH, train.stop)),
        "held_back": windows(z, WIDTH, part=held_back),
        "test": windows(z, WIDTH, part=test),
    }
    networks = {name: np.stack([_sunspot_network(name, parts, seed) for seed in range(SEEDS)]) for name in ("MLP", *RECURRENT)}
    raw = windows(series.values, WIDTH, part=test)
    simple = {
        "last value": baselines.last_value(raw.x),
        "AR(9)": baselines.Autoregression(9).fit(series.values[past]).predict(raw.x),
    }
    years = [int(t) for t in series.times[raw.at]]
    in_sunspots = {name: scaler.inverse_transform(y.astype(np.float64)) for name, y in networks.items()}
    return Forecasts(years, raw.y, in_sunspots, simple, series.values[: split_at(series.times, 1979)[0].stop])


def _sunspot_model(name: str, rng: np.random.Generator) -> Sequential:
    head = Linear(UNITS, 1, rng=rng)
    if name == "MLP":
        return Sequential(hidden=Linear(WIDTH, UNITS, rng=rng), tanh=Tanh(), head=head).astype(np.float32)
    cell = RECURRENT[name](1, UNITS, batch_first=True, return_sequences=False, rng=rng)
    return Sequential(rec=cell, head=head).astype(np.float32)


def _sunspot_network(name: str, parts: dict[str, Any], seed: int) -> Array:
    rng = np.random.default_rng(seed)
    model = _sunspot_model(name, rng)
    x = {part: w.x[:, :, 0] if name == "MLP" else w.x for part, w in parts.items()}
    fit(
        model, x["train"], parts["train"].y, AdamW(0.005, weight_decay=0.01), epochs=300, batch_size=16, clip=1.0, rng=rng,
        validation=(x["held_back"], parts["held_back"].y), patience=40, progress=False,
    )  # fmt: skip
    return predict(model, x["test"])


def sunspot_table(result: Forecasts) -> str:
    """Relative variance and mean absolute error of each forecast, baselines first."""
    lines = [f"{'':<12}{'relative variance':>22}{'mean abs. error':>18}{'parameters':>12}"]
    for name, prediction in result.baselines.items():
        variance = baselines.relative_variance(prediction, result.truth, of=result.scale)
        count = 10 if name.startswith("AR") else 0
        lines.append(f"{name:<12}{variance:>14.3f}{'':>8}{baselines.mae(prediction, result.truth):>18.1f}{count:>12}")
    for name, runs in result.networks.items():
        variances = [baselines.relative_variance(run, result.truth, of=result.scale) for run in runs]
        error = np.mean([baselines.mae(run, result.truth) for run in runs])
        spread = f" +- {np.std(variances, ddof=1):.3f}"
        size = _sunspot_model(name, np.random.default_rng(0)).size
        lines.append(f"{name:<12}{np.mean(variances):>14.3f}{spread:<8}{error:>18.1f}{size:>12}")
    return "\n".join(lines)


# ---- 3  the adding problem -----------------------------------------------------------------------------------------------


def adding_problem(name: str, max_steps: int = 2500, units: int = 32, batch: int = 32, seed: int = 0) -> Memory:
    """Train one network on fresh batches until the mean loss of the last 50 is below SOLVED / 2, or for ``max_steps``."""
    rng = np.random.default_rng(seed)
    extra = {"forget_bias": 2.0} if name == "LSTM" else {}
    rec = RECURRENT[name](2, units, return_sequences=False, rng=rng, dtype=np.float32, **extra)
    model = Sequential(rec=rec, head=Linear(units, 1, rng=rng, dtype=np.float32))
    optimizer = Adam(0.01)
    fresh = adding(np.random.default_rng(seed + 1000), 1000, STEPS_BACK, np.float32)
    before = gradient_by_step(model, *fresh)
    losses: list[float] = []
    started = time.perf_counter()
    while len(losses) < max_steps and not (len(losses) > 50 and np.mean(losses[-50:]) < SOLVED / 2):
        x, y = adding(rng, batch, STEPS_BACK, np.float32)
        model.zero_grad()
        prediction, cache = model.forward(x, training=True)
        loss, dy = mse(prediction, y)
        model.backward(dy, cache)
        clip_global_norm(model.grads, 1.0)
        optimizer.step(model.params, model.grads)
        losses.append(loss)
    seconds = time.perf_counter() - started
    few = fresh[0][:, :8]
    run = rec.forward(few)[1].runs[0]
    test = mse(model.forward(fresh[0])[0], fresh[1])[0]
    gates = getattr(run, "gates", run.h[1:])
    return Memory(name, losses, test, gradient_by_step(model, *fresh), before, seconds, gates, few, getattr(run, "c", None))


def gradient_by_step(model: Sequential, x: Array, y: Array) -> Array:
    """|dL/dh_t| for each step t (T,), the mean over the sequences, of a model rec -> head with the loss at the last step.

    The gradient of the initial state of a run that starts at step t *is* dL/dh at step t: a window of the cache for each t,
    and no second way to compute a gradient.
    """
    rec, head = model.layers["rec"], model.layers["head"]
    if not isinstance(rec, Recurrent):
        raise TypeError(f"layer 'rec' is a {type(rec).__name__}, not a recurrent layer")
    hidden, cache = rec.forward(x)
    prediction, head_cache = head.forward(hidden)
    _, dprediction = mse(prediction, y)
    dh_last = head.backward(dprediction * len(y), head_cache)  # of each sequence's own loss, not of the mean
    run, cell = cache.runs[0], rec.cell
    nothing = np.zeros_like(run.h[1:])
    others = [np.zeros_like(dh_last) for _ in cell.STATES[1:]]
    T = len(x)
    norms = np.empty(T)
    dh, d_others = dh_last, others
    for t in reversed(range(T)):
        norms[t] = np.mean(np.sqrt(np.sum(dh * dh, axis=1)))
        grads = cell.backward(nothing[t : t + 1], run.window(t, t + 1), dh, *d_others)
        dh, d_others = grads.dh0, [getattr(grads, f"d{name}0") for name in cell.STATES[1:]]
    model.zero_grad()
    return norms


# ---- all of it -----------------------------------------------------------------------------------------------------------


def run(out: Path) -> list[Path]:
    """Do everything, print the tables, write the pictures into ``out``, and return their paths."""
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    # The adding problem takes longest: it runs in processes of its own while the rest goes on here.
    with _single_threaded_blas(), ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        memory = [pool.submit(adding_problem, name) for name in ("LSTM", "RNN")]
        print("1  Gradients against central differences, float64, four steps, random states: the largest relative error\n")
        for label, error in check_gradients().items():
            print(f"   {label:<12} {error:.1e}")
        print("\n2  Yearly sunspots: fitted on 1700-1920, one-step forecasts of 1921-1955")
        print(f"   networks: {UNITS} units, {WIDTH} years of input, mean +- standard deviation of {SEEDS} seeds\n")
        sunspots = forecast_sunspots()
        print("   " + sunspot_table(sunspots).replace("\n", "\n   "))
        print("\n   relative variance: mean squared error over the variance of 1700-1979; 35 years are few, and a difference")
        print("   of 0.02 is less than what another seed makes.  What a network must beat is the autoregression.")
        lstm, rnn = (job.result() for job in memory)
    print(f"\n3  The adding problem: add two of {STEPS_BACK} numbers.  Learned nothing: {ADDING_BASELINE_MSE:.4f}\n")
    for result in (rnn, lstm):
        verdict = "solved" if result.test_mse < SOLVED else "not solved"
        steps = len(result.losses)
        print(f"   {result.name:<6} {result.test_mse:.4f} after {steps} steps, {result.seconds:4.1f} s   {verdict}")
    print("\n   Share of the gradient at the last step that arrives at an earlier one, after training:\n")
    print(f"   {'step':<6}" + "".join(f"{t:>10}" for t in (90, 75, 50, 25, 0)))
    for result in (rnn, lstm):
        share = result.gradient_norms / result.gradient_norms[-1]
        print(f"   {result.name:<6}" + "".join(f"{share[t]:>10.1e}" for t in (90, 75, 50, 25, 0)))
    paths = draw(sunspots, rnn, lstm, out)
    print("\n4  Pictures\n")
    for path in paths:
        print(f"   {path}")
    print(f"\n   {time.perf_counter() - started:.0f} s in all")
    return paths


@contextmanager
def _single_threaded_blas() -> Iterator[None]:
    """Processes started inside compute on one thread each: two that take a thread for every core would fight."""
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def draw(sunspots: Forecasts, rnn: Memory, lstm: Memory, out: Path) -> list[Path]:
    """Write the four pictures."""
    from scratchnet import plots

    truth = sunspots.truth
    forecasts = {"LSTM": sunspots.networks["LSTM"].mean(axis=0), **sunspots.baselines}
    variance = {name: baselines.relative_variance(f, truth, of=sunspots.scale) for name, f in forecasts.items()}
    values, marks = lstm.x[:, 0, 0], [int(t) for t in np.flatnonzero(lstm.x[:, 0, 1])]
    H = lstm.gates.shape[2] // 4
    # The units whose input gate answers most to the marks stand on top.
    order = np.argsort(-np.abs(lstm.gates[marks, 0, :H].mean(axis=0) - np.median(lstm.gates[:, 0, :H], axis=0)))
    states = {} if lstm.cells is None else {"c": lstm.cells}
    figures = {
        "forecast.png": plots.forecast(
            sunspots.years, truth[:, 0], {f"{name}, {variance[name]:.3f}": f[:, 0] for name, f in forecasts.items()},
            ylabel="yearly sunspot number",
            title=f"Sunspots one year ahead, and relative variance (the LSTM: mean forecast of {SEEDS} seeds)",
        ),
        "adding.png": plots.learning_curves(
            {"RNN": rnn.losses, "LSTM": lstm.losses}, smooth=50, ylabel="mean squared error, mean of 50 steps",
            lines={"learned nothing: 1/6": ADDING_BASELINE_MSE, "solved": SOLVED},
            title=f"Adding two marked numbers out of {STEPS_BACK}",
        ),
        "gates.png": plots.gates(
            lstm.gates, "ifgo", states=states, inputs=values, marks=marks, order=order,
            title="An LSTM that has learned to add: its gates at the two marked numbers, and its memory",
        ),
        "gradients.png": plots.gradient_norms(
            {label: norms / norms[-1] for label, norms in (
                ("LSTM trained", lstm.gradient_norms), ("LSTM before training", lstm.before_training),
                ("RNN trained", rnn.gradient_norms), ("RNN before training", rnn.before_training),
            )},
            ylabel="|dL/dh| at step t over that at the last step",
            title="How far back the gradient of the last step's loss reaches",
        ),
    }  # fmt: skip
    paths = []
    for name, figure in figures.items():
        paths.append(out / name)
        figure.savefig(paths[-1])
    return paths

