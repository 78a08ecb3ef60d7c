"""``scratchnet demo``, under a minute on two cores: gradient checks, forecasts of a real series,
the adding problem over 100 steps, figures.

What is printed and drawn here is computed here; nothing is read from a file of results.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import variants
from scratchnet.commands.options import Commands
from scratchnet.data import Standardizer, datasets, sliding_windows, split_at
from scratchnet.data.tasks import ADDING_BASELINE_MSE, adding
from scratchnet.files import make_folder, save_figure
from scratchnet.forecasting import baselines
from scratchnet.gradcheck import check_cell
from scratchnet.layers import GRU, LSTM, RNN, Linear, Recurrent, Sequential, Tanh
from scratchnet.losses import mse
from scratchnet.tracing import Trace, trace
from scratchnet.training import Adam, AdamW, Batches, Clip, EarlyStopping, fit, predict
from scratchnet.training.clip import clip_global_norm
from scratchnet.view import to_html

SEEDS = 5
WIDTH, UNITS = 9, 16  # the networks see the same nine years as the autoregression of order 9
STEPS_BACK = 100
FEW = 64  # sequences that are looked into
SOLVED = 0.01  # mean squared error; predicting the mean gives 1/6
RECURRENT: dict[str, Callable[..., Recurrent]] = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "demo",
        help="gradient checks, forecasts, the adding problem, figures: a minute on two cores",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="folder for the pictures (default: out)"
    )
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Run the demo."""
    show(chosen.out)
    return 0


class Forecasts(NamedTuple):
    """The sunspot experiment: one-step forecasts of the test years, in sunspots."""

    years: list[int]
    truth: Array  # (n, 1)
    networks: dict[str, Array]  # name -> (SEEDS, n, 1)
    baselines: dict[str, Array]  # name -> (n, 1)
    scale: Array  # the values whose variance a relative variance is over


class Memory(NamedTuple):
    """One network on the adding problem: its errors, and traces before and after training."""

    name: str
    losses: list[float]  # of each training step, before it
    test_mse: float  # on 1000 fresh sequences
    seconds: float
    before: Trace  # of FEW fresh sequences, before the first step
    after: Trace  # of the same, trained
    one: Trace  # of the first of them alone, trained: for the stepper


# ---- 1  gradients ----


def check_gradients() -> dict[str, float]:
    """The largest relative error of each cell's gradients, with full and with ragged sequences."""
    errors = {}
    for label, cell, options in variants():
        reports = [check_cell(cell, lengths=lengths, **options) for lengths in (None, (4, 1, 3))]
        errors[label] = max(report.error for report in reports)
    return errors


# ---- 2  sunspots ----


def forecast_sunspots() -> Forecasts:
    """MLP, RNN, LSTM and GRU against last value and autoregression, fitted on 1700-1920, tested on
    1921-1955.

    The networks keep 1891-1920 back to know when to stop; the autoregression has nothing to stop
    and fits all of it.
    """
    series = datasets.load("sunspots")
    train, validation, test, _ = split_at(series.times, 1890, 1920, 1955)
    past = slice(0, validation.stop)
    scaler = Standardizer().fit(series.values[train])
    z = scaler.transform(series.values).astype(np.float32)
    parts = {
        "train": sliding_windows(z, WIDTH, part=slice(WIDTH, train.stop)),
        "validation": sliding_windows(z, WIDTH, part=validation),
        "test": sliding_windows(z, WIDTH, part=test),
    }
    networks = {
        name: np.stack([_sunspot_network(name, parts, seed) for seed in range(SEEDS)])
        for name in ("MLP", *RECURRENT)
    }
    raw = sliding_windows(series.values, WIDTH, part=test)
    simple = {
        "last value": baselines.last_value(raw.x),
        "AR(9)": baselines.Autoregression(9).fit(series.values[past]).predict(raw.x),
    }
    years = [int(t) for t in series.times[raw.at]]
    in_sunspots = {
        name: scaler.inverse_transform(y.astype(np.float64)) for name, y in networks.items()
    }
    return Forecasts(
        years, raw.y, in_sunspots, simple, series.values[: split_at(series.times, 1979)[0].stop]
    )


def _sunspot_model(name: str, rng: np.random.Generator) -> Sequential:
    head = Linear(UNITS, 1, rng=rng)
    if name == "MLP":
        return Sequential(hidden=Linear(WIDTH, UNITS, rng=rng), tanh=Tanh(), head=head).astype(
            np.float32
        )
    cell = RECURRENT[name](1, UNITS, batch_first=True, return_sequences=False, rng=rng)
    return Sequential(rec=cell, head=head).astype(np.float32)


def _sunspot_network(name: str, parts: dict[str, Any], seed: int) -> Array:
    rng = np.random.default_rng(seed)
    model = _sunspot_model(name, rng)
    x = {part: w.x[:, :, 0] if name == "MLP" else w.x for part, w in parts.items()}
    fit(
        model,
        Batches(x["train"], parts["train"].y, batch_size=16),
        AdamW(0.005, weight_decay=0.01),
        epochs=300,
        rng=rng,
        validation=(x["validation"], parts["validation"].y),
        callbacks=[Clip(1.0), EarlyStopping(40)],
        progress=False,
    )
    return predict(model, x["test"])


def sunspot_table(result: Forecasts) -> str:
    """Relative variance and mean absolute error of each forecast, baselines first."""
    lines = [f"{'':<12}{'relative variance':>22}{'mean abs. error':>18}{'parameters':>12}"]
    variances = relative_variances(result)
    for name, prediction in result.baselines.items():
        count = 10 if name.startswith("AR") else 0
        error = baselines.mean_absolute_error(prediction, result.truth)
        lines.append(f"{name:<12}{variances[name][0]:>14.3f}{'':>8}{error:>18.1f}{count:>12}")
    for name, runs in result.networks.items():
        error = float(np.mean([baselines.mean_absolute_error(run, result.truth) for run in runs]))
        spread = f" +- {np.std(variances[name], ddof=1):.3f}"
        size = _sunspot_model(name, np.random.default_rng(0)).size
        lines.append(
            f"{name:<12}{np.mean(variances[name]):>14.3f}{spread:<8}{error:>18.1f}{size:>12}"
        )
    return "\n".join(lines)


def relative_variances(result: Forecasts) -> dict[str, list[float]]:
    """Of each forecast: one number for a baseline, one for each seed of a network."""
    runs = {name: [f] for name, f in result.baselines.items()} | {
        name: list(f) for name, f in result.networks.items()
    }
    return {
        name: [
            baselines.relative_variance(forecast, result.truth, of=result.scale)
            for forecast in forecasts
        ]
        for name, forecasts in runs.items()
    }


def sunspot_verdict(result: Forecasts) -> str:
    """The best network's distance from the autoregression, and its spread over the seeds."""
    variances = relative_variances(result)
    best = min(result.networks, key=lambda name: float(np.mean(variances[name])))
    line, mean, spread = (
        variances["AR(9)"][0],
        float(np.mean(variances[best])),
        float(np.std(variances[best], ddof=1)),
    )
    side = "above" if mean > line else "below"
    return (
        f"The best network, the {best}, is {abs(mean - line):.3f} {side} the autoregression; its"
        f" seeds spread by {spread:.3f} (standard deviation),\nand {len(result.truth)} years are"
        " few.  What a network must beat is the autoregression."
    )


# ---- 3  the adding problem ----


def adding_problem(
    name: str, max_steps: int = 2500, units: int = 32, batch: int = 32, seed: int = 0
) -> Memory:
    """Train one network on fresh batches until the mean loss of the last 50 is below SOLVED / 2, or
    for ``max_steps``."""
    rng = np.random.default_rng(seed)
    extra = {"forget_bias": 2.0} if name == "LSTM" else {}
    rec = RECURRENT[name](2, units, return_sequences=False, rng=rng, dtype=np.float32, **extra)
    model = Sequential(rec=rec, head=Linear(units, 1, rng=rng, dtype=np.float32))
    optimizer = Adam(0.01)
    x_test, y_test = adding(np.random.default_rng(seed + 1000), 1000, STEPS_BACK, np.float32)
    before = trace(model, x_test[:, :FEW], y_test[:FEW])
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
    test = mse(model.forward(x_test)[0], y_test)[0]
    after = trace(model, x_test[:, :FEW], y_test[:FEW])
    one = trace(
        model.astype(np.float64), x_test[:, :1].astype(np.float64), y_test[:1].astype(np.float64)
    )
    return Memory(name, losses, test, seconds, before, after, one)


def share_by_step(of: Trace, gradient: str = "dh") -> Array:
    """|dh|, or |dc|, at each step over that at the last one, (T,): mean over sequences, the loss
    read at the last step."""
    sizes = np.linalg.norm(of.run[gradient], axis=2).mean(axis=1)
    share: Array = sizes / sizes[-1]
    return share


# ---- all of it ----


def show(out: Path) -> list[Path]:
    """Do everything, print the tables, write pictures and page into ``out``, and return their
    paths."""
    started = time.perf_counter()
    make_folder(out)
    # The adding problem takes longest: it runs in other processes while the rest goes on here.
    with (
        _single_threaded_blas(),
        ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool,
    ):
        memory = [pool.submit(adding_problem, name) for name in ("LSTM", "RNN")]
        print(
            "1  Gradients against central differences, float64, four steps, random states: the"
            " largest relative error\n"
        )
        for label, error in check_gradients().items():
            print(f"   {label:<12} {error:.1e}")
        print("\n2  Yearly sunspots: learned from 1700-1920, one-step forecasts of 1921-1955")
        print(
            f"   networks: {UNITS} units, {WIDTH} years of input, mean +- standard deviation of"
            f" {SEEDS} seeds\n"
        )
        sunspots = forecast_sunspots()
        print("   " + sunspot_table(sunspots).replace("\n", "\n   "))
        print(
            "\n   relative variance: mean squared error over the variance of 1700-1979.  The"
            " networks learn from 1700-1890,"
        )
        print(
            "   and 1891-1920 say when to stop; the autoregression has nothing to stop and is"
            " fitted on all of 1700-1920."
        )
        print("   " + sunspot_verdict(sunspots).replace("\n", "\n   "))
        lstm, rnn = (job.result() for job in memory)
    print(
        f"\n3  The adding problem: add two of {STEPS_BACK} numbers.  Learned nothing:"
        f" {ADDING_BASELINE_MSE:.4f}\n"
    )
    for result in (rnn, lstm):
        verdict = "solved" if result.test_mse < SOLVED else "not solved"
        steps = len(result.losses)
        print(
            f"   {result.name:<6} {result.test_mse:.4f} after {steps} steps, {result.seconds:4.1f}"
            f" s   {verdict}"
        )
    print("\n   Gradient of h at an earlier step, over that at the last step, after training:\n")
    print(f"   {'step':<6}" + "".join(f"{t:>10}" for t in (90, 75, 50, 25, 0)))
    for result in (rnn, lstm):
        share = share_by_step(result.after)
        print(f"   {result.name:<6}" + "".join(f"{share[t]:>10.1e}" for t in (90, 75, 50, 25, 0)))
    paths = draw(sunspots, rnn, lstm, out)
    marks = [int(t) for t in np.flatnonzero(lstm.one.x[:, 0, 1])]  # the two numbers to be added
    page = out / "river.html"
    paths.append(to_html(rnn.one, page, compare=lstm.one, names=["RNN", "LSTM"], marks=marks))
    print(
        "\n4  Pictures, and a page that steps through the two trained networks: open river.html in"
        " a browser\n"
    )
    for path in paths:
        print(f"   {path}")
    print(f"\n   {time.perf_counter() - started:.0f} s in all")
    return paths


@contextmanager
def _single_threaded_blas() -> Iterator[None]:
    """Processes started inside use one thread each, to avoid oversubscription."""
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
    """Write the four pictures; returns their paths."""
    from scratchnet import plots

    truth = sunspots.truth
    forecasts = {"LSTM": sunspots.networks["LSTM"].mean(axis=0), **sunspots.baselines}
    variance = {
        name: baselines.relative_variance(f, truth, of=sunspots.scale)
        for name, f in forecasts.items()
    }
    run, x = lstm.after.run, lstm.after.x[:, 0]
    marks = [int(t) for t in np.flatnonzero(x[:, 1])]
    figures = {
        "forecast.png": plots.forecast(
            sunspots.years,
            truth[:, 0],
            {f"{name}, {variance[name]:.3f}": f[:, 0] for name, f in forecasts.items()},
            xlabel="year",
            ylabel="yearly sunspot number",
            title=(
                "Sunspots one year ahead, and relative variance (the LSTM: mean forecast of"
                f" {SEEDS} seeds)"
            ),
        ),
        "adding.png": plots.learning_curves(
            {"RNN": rnn.losses, "LSTM": lstm.losses},
            smooth=50,
            ylabel="mean squared error, mean of 50 steps",
            lines={"learned nothing: 1/6": ADDING_BASELINE_MSE, "solved": SOLVED},
            title=f"Adding two marked numbers out of {STEPS_BACK}",
        ),
        "gates.png": plots.gates(
            run,
            inputs=x[:, 0],
            marks=marks,
            title=(
                "An LSTM that has learned to add: its gates at the two marked numbers, and its"
                " memory"
            ),
        ),
        "gradients.png": plots.gradient_norms(
            {
                "LSTM trained, dL/dh": share_by_step(lstm.after),
                "LSTM trained, dL/dc": share_by_step(lstm.after, "dc"),
                "LSTM before training, dL/dh": share_by_step(lstm.before),
                "RNN before training, dL/dh": share_by_step(rnn.before),
                "RNN trained, dL/dh": share_by_step(rnn.after),
            },
            ylabel="gradient at step t over that at the last step",
            title="How far back the gradient of the last step's loss reaches",
        ),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(out / name)
        save_figure(figure, paths[-1])
    return paths
