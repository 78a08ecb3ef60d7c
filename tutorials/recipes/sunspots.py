"""Sunspots one year ahead: a hundred years of history for a network, and a line of arithmetic from
1927 that it must beat.

Trained to 1920 (the last 15 years of it decide when to stop), tested on 1921 to 1955. The measure
is the one of the classical experiments: the mean squared error over the variance of the years 1700
to 1979.
"""

import numpy as np
from recipe import Outcome, recipe

from scratchnet import plots
from scratchnet.data import Standardizer, datasets, sliding_windows, split_at
from scratchnet.forecasting import baselines
from scratchnet.models import mlp, recurrent
from scratchnet.training import AdamW, Clip, EarlyStopping, fit, predict

WIDTH = 9


def run(seed: int, toy: bool) -> Outcome:
    """One MLP, one LSTM, one GRU, the autoregression of Yule's order 9 and the last value."""
    series = datasets.load("sunspots")
    values = series.values
    past, held_back, test, _ = split_at(series.times, "1905", "1920", "1955")
    scaler = Standardizer().fit(values[past])
    z = scaler.transform(values).astype(np.float32)
    train, validation, testing = (
        sliding_windows(z, WIDTH, part=part) for part in (past, held_back, test)
    )
    raw = sliding_windows(values, WIDTH, part=test)
    forecasts = {
        "last value": baselines.last_value(raw.x),
        "AR(9)": baselines.Autoregression(9).fit(values[: held_back.stop]).predict(raw.x),
    }
    rng = np.random.default_rng(seed)
    models = {
        "MLP": mlp(WIDTH, 1, rng=rng, units=(8,), activation="tanh"),
        "LSTM": recurrent(1, 1, rng=rng, units=8),
        "GRU": recurrent(1, 1, rng=rng, cell="gru", units=8),
    }
    for name, model in models.items():
        flat = name == "MLP"
        x = [part.x[:, :, 0] if flat else part.x for part in (train, validation, testing)]
        fit(
            model.astype(np.float32),
            (x[0], train.y),
            AdamW(0.005),
            epochs=3 if toy else 300,
            rng=rng,
            validation=(x[1], validation.y),
            callbacks=[Clip(1.0), EarlyStopping(40)],
            progress=False,
        )
        forecasts[name] = scaler.inverse_transform(predict(model, x[2]).astype(np.float64))
    of = values[:280]  # 1700 to 1979
    errors = {name: baselines.relative_variance(y, raw.y, of) for name, y in forecasts.items()}
    times = [int(t) for t in series.times[raw.at]]
    figure = plots.forecast(
        times,
        raw.y[:, 0],
        {name: forecasts[name][:, 0] for name in ("AR(9)", "LSTM", "MLP")},
        xlabel="year",
        ylabel="sunspot number",
        title="Sunspots one year ahead",
    )
    return Outcome({"relative variance": errors}, ("last value", "AR(9)"), figure)


if __name__ == "__main__":
    recipe(__doc__, run)
