"""A price-like series: why the last value is hard to beat, shown on a series whose changes really
cannot be forecast.

The series is made up (a random walk with quiet and wild times), so the truth is known: the best
forecast of the next price is the last one. A network on prices looks splendid in a picture and is
worse than doing nothing. What can be forecast a little is how *large* the next change will be.
"""

import numpy as np
from recipe import Outcome, recipe

from scratchnet import plots
from scratchnet.arrays import Array
from scratchnet.data import Standardizer, chronological_split, sliding_windows
from scratchnet.data.tasks import price_like
from scratchnet.forecasting import baselines
from scratchnet.models import recurrent
from scratchnet.training import AdamW, Clip, EarlyStopping, fit, predict

WIDTH = 20


def learn(values: Array, target: Array, seed: int, toy: bool) -> tuple[Array, Array]:
    """An LSTM from the last WIDTH rows to ``target`` one row on; its answers on the test part, and
    what came, in its unit."""
    both = np.concatenate([values, target[:, None]], axis=1)
    past, held_back, test = chronological_split(len(both))
    scaler, own = Standardizer().fit(both[past]), Standardizer().fit(target[past][:, None])
    z = scaler.transform(both).astype(np.float32)
    parts = [
        sliding_windows(z, WIDTH, targets=[both.shape[1] - 1], part=part)
        for part in (past, held_back, test)
    ]
    rng = np.random.default_rng(seed)
    model = recurrent(both.shape[1], 1, rng=rng, units=16).astype(np.float32)
    fit(
        model,
        (parts[0].x, parts[0].y),
        AdamW(0.003),
        epochs=2 if toy else 60,
        rng=rng,
        validation=(parts[1].x, parts[1].y),
        callbacks=[Clip(1.0), EarlyStopping(10)],
        progress=False,
    )
    answer = own.inverse_transform(predict(model, parts[2].x).astype(np.float64))
    return answer[:, 0], target[parts[2].at]


def run(seed: int, toy: bool) -> Outcome:
    """The price, the change and the size of the change, each with its honest baseline."""
    series = price_like(np.random.default_rng(100 + seed))
    price = series.values[:, 0]
    change = np.diff(np.log(price), prepend=np.log(price[0]))
    rows = np.stack([change, np.abs(change)], axis=1) * 100
    by_price, truth = learn(np.log(series.values), price, seed, toy)
    test = len(price) - len(truth)
    by_change, _ = learn(rows, rows[:, 0], seed, toy)
    last = price[test - 1 : -1]
    forecasts = {
        "last value": last,
        "LSTM on prices": by_price,
        "LSTM on changes": last * np.exp(by_change / 100),
    }
    up = change[test:] > 0
    right = {
        "always up": float(np.mean(up)),
        "LSTM on changes": float(np.mean((by_change > 0) == up)),
    }
    size, came = learn(rows, rows[:, 1], seed, toy)
    sizes = {
        "mean so far": baselines.mean_absolute_error(
            np.full_like(came, rows[:test, 1].mean()), came
        ),
        "last size": baselines.mean_absolute_error(rows[test - 1 : -1, 1], came),
        "LSTM": baselines.mean_absolute_error(size, came),
    }
    figure = plots.forecast(
        np.arange(80),
        truth[:80],
        {name: y[:80] for name, y in forecasts.items()},
        xlabel="day of the test part",
        ylabel="price",
        title="The forecast that looks right is yesterday's price",
    )
    errors = {name: baselines.mean_squared_error(y, truth) ** 0.5 for name, y in forecasts.items()}
    scores = {
        "RMSE of the price": errors,
        "accuracy of the direction": right,
        "MAE of the size of a change, %": sizes,
    }
    return Outcome(scores, ("last value", "always up", "mean so far", "last size"), figure)


if __name__ == "__main__":
    recipe(__doc__, run)
