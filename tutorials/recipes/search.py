"""A search for the network itself: TPE beside random search with the same trials and epochs, El
Nino a month ahead.

Which cell, how many layers and units, one direction or two, how much dropout, which learning rate:
chosen by the validation years, judged by the test years, which no trial has seen. Beside them a
small LSTM that nobody searched for, which has the same few epochs. In six dimensions random search
is a strong baseline: look at the thin lines before you believe the thick ones.
"""

import numpy as np
from matplotlib.figure import Figure
from recipe import Outcome, recipe

from scratchnet.data import Standardizer, datasets, sliding_windows, split_at
from scratchnet.forecasting import baselines
from scratchnet.plots.style import axes, model_colour, new_figure
from scratchnet.search import Architecture, Training, best_so_far, compare_samplers
from scratchnet.training.loop import predict

WIDTH = 12
PLAIN = {
    "cell": "lstm",
    "num_layers": 1,
    "units": 16,
    "bidirectional": False,
    "dropout": 0.0,
    "lr": 0.005,
}
NAMES = {"random": "random search", "tpe": "TPE"}
# (sampler, seed) -> best so far: the picture shows all seeds
CURVES: dict[tuple[str, int], list[float]] = {}


def run(seed: int, toy: bool) -> Outcome:
    """One search of each kind, the best network of each trained again, and what needs no
    training."""
    series = datasets.load("elnino")
    past, held_back, test = split_at(series.times, "1984-12", "1996-12")
    scaler = Standardizer().fit(series.values[past])
    z = scaler.transform(series.values).astype(np.float32)
    train, validation, testing = (
        sliding_windows(z, WIDTH, part=part) for part in (past, held_back, test)
    )
    raw = sliding_windows(series.values, WIDTH, part=test)
    forecasts = {
        "last value": baselines.last_value(raw.x),
        "last year": baselines.seasonal_last_value(raw.x, 1, 12),
        "AR(12)": baselines.Autoregression(12).fit(series.values[: held_back.stop]).predict(raw.x),
    }
    plain = ("last value", "last year", "AR(12)")
    objective = Training(
        Architecture(1, 1), train[:2], validation[:2], epochs=2 if toy else 12, batch_size=64
    )
    trials = 3 if toy else 32
    found = compare_samplers(objective, Architecture.space(), trials=trials, seeds=[seed])
    reached = {}
    for sampler, name in NAMES.items():
        (study,) = found.studies[sampler]
        CURVES[sampler, seed] = best_so_far(study)
        model, reached[name] = objective.run(
            study.best_params, np.random.default_rng([seed, study.best_trial.number])
        )
        forecasts[name] = scaler.inverse_transform(predict(model, testing.x).astype(np.float64))
    model, reached["LSTM, not searched"] = objective.run(PLAIN, np.random.default_rng(seed))
    forecasts["LSTM, not searched"] = scaler.inverse_transform(
        predict(model, testing.x).astype(np.float64)
    )
    errors = {
        name: float(np.sqrt(baselines.mean_squared_error(y.reshape(raw.y.shape), raw.y)))
        for name, y in forecasts.items()
    }
    chosen = "\n".join(
        f"{NAMES[sampler]}, seed {seed}: {found.studies[sampler][0].best_params}"
        for sampler in NAMES
    )
    scores = {"validation MSE": reached, "test RMSE, degrees C": errors}
    return Outcome(
        scores,
        (*plain, "LSTM, not searched"),
        picture(trials, reached["LSTM, not searched"]),
        chosen,
    )


def picture(trials: int, unsearched: float) -> Figure:
    """The best so far after each trial, a thin line for each seed; the thick ones are the
    medians."""
    FIGURE.clear()
    ax = axes(FIGURE.add_subplot())
    for sampler, name in NAMES.items():
        curves = [
            curve for (kind, _), curve in CURVES.items() if kind == sampler and len(curve) == trials
        ]
        look = {
            "color": model_colour("lstm" if sampler == "tpe" else "random"),
            "drawstyle": "steps-post",
        }
        look["ls"] = "-" if sampler == "tpe" else "--"
        for curve in curves:
            ax.plot(range(1, trials + 1), curve, lw=0.8, alpha=0.6, **look)
        ax.plot(range(1, trials + 1), np.median(curves, axis=0), lw=2.4, label=name, **look)
    ax.axhline(unsearched, color="black", lw=0.9, ls=":", label="LSTM, not searched")
    ends = [curve[-1] for curve in CURVES.values()]
    ax.set_ylim(0.95 * min(ends), 1.2 * max(*ends, unsearched))  # the first trials are far above
    ax.set(xlabel="trials", ylabel="best validation MSE so far", title="The same budget for both")
    ax.legend(frameon=False)
    return FIGURE


FIGURE = new_figure()

if __name__ == "__main__":
    recipe(__doc__, run)
