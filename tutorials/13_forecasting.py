# %% [markdown]
# # 13  Forecasting honestly
#
# **Goal.** You can say how good a forecast really is: against baselines, from many origins, with an interval whose coverage
# you have counted.
#
# You need: 05 or 07 for the networks. Nothing here depends on which cell it is.

# %%
# %matplotlib inline
import numpy as np

from scratchnet import plots
from scratchnet.data import datasets
from scratchnet_course import check
from scratchnet.data import Standardizer, chronological_split, sliding_windows
from scratchnet.data.tasks import price_like
from scratchnet.forecasting import (
    Direct,
    EncodeDecode,
    LastValue,
    AutoregressionForecaster,
    Recursive,
    SeasonalLastValue,
    ForecastConfig,
    backtest,
    coverage,
    dropout_interval,
)

series = datasets.load("elnino")
values = series.values
print(
    f"{series.name}: {len(values)} months of {series.columns[0]}, {series.times[0]} to {series.times[-1]}"
)

# %% [markdown]
# ## The picture that proves nothing
#
# Here is a series whose changes cannot be forecast by anybody: a made-up price. The "forecast" is yesterday's price. Drawn
# over the truth it looks splendid, and it knows nothing: its error is the size of a day's change.

# %%
price = price_like(np.random.default_rng(0)).values[-120:, :1]
yesterday = price[:-1]
print(f"correlation {np.corrcoef(yesterday[:, 0], price[1:, 0])[0, 1]:.3f}, and nothing is known")
assert np.corrcoef(yesterday[:, 0], price[1:, 0])[0, 1] > 0.9
shown = {"last value": yesterday[:, 0]}
plots.forecast(
    np.arange(119), price[1:, 0], shown, xlabel="day", ylabel="price", title="A forecast?"
)

# %% [markdown]
# So a forecast is worth what it adds to a baseline. Three are free: the last value, last season's value, and an
# autoregression, a line of arithmetic fitted by least squares.
#
# ## What may be looked at
#
# Rows are cut by time: first to learn from, then to stop by, then to test. What is learned from the data, the mean and the
# scale too, is learned from the first part alone. A window may look back into an earlier part: that was known by then.

# %%
past, held_back, test = chronological_split(len(values))
scaler = Standardizer().fit(values[past])
whole = Standardizer().fit(values)
print(
    f"mean of the past {scaler.offset[0]:.3f}, of everything {whole.offset[0]:.3f}: the difference is of the future"
)
assert scaler.offset[0] != whole.offset[0]
x, y, at = sliding_windows(values, 12, part=test)
assert at[0] == test.start  # the first test month is forecast from the last months before the test
np.testing.assert_array_equal(x[0], values[test.start - 12 : test.start])

# %% [markdown]
# ## Many origins
#
# One split is one throw of the dice. A backtest forecasts from an origin, moves on, and forecasts again; each forecast sees
# what was known at its origin, no row more. Three ways for a network to forecast twelve months, beside three baselines:
#
#     direct            all twelve at once
#     recursive         one month, fed back as if it had been measured
#     encoder-decoder   one network reads the past, another writes the future

# %%
config = ForecastConfig(
    model="gru", window=24, units=16, epochs=30, patience=6, dropout=0.1, seed=0
)
makers = {
    "last value": lambda: LastValue(12),
    "last season": lambda: SeasonalLastValue(12, 12),
    "AR(24)": lambda: AutoregressionForecaster(12, 24),
    "direct": lambda: Direct(config, 12),
    "recursive": lambda: Recursive(config, 12),
    "encoder-decoder": lambda: EncodeDecode(config, 12),
}
tested = backtest(makers, values, first=600, step=3)
print(tested.table(series.unit))
best = min(("direct", "recursive", "encoder-decoder"), key=tested.total)
ratio = tested.total(best) / tested.total("AR(24)")
print(f"\nthe best network, {best}, has {ratio:.2f} times the autoregression's error")
assert tested.total(best) < tested.total("last season") < tested.total("last value")
assert 0.7 < ratio < 1.5  # near each other: say so, whichever way it falls
plots.errors_ahead(
    {name: tested.rmse(name) for name in makers if name != "last value"}, ylabel="RMSE [degrees]"
)

# %% [markdown]
# ## Intervals, and how often they hold
#
# A 90% interval is right if nine in ten of what comes lies inside. The quantile loss learns its ends: for a level q an answer
# too low costs q, one too high 1 - q.
#
#     L = q r  where r = truth - y > 0,  else  (q - 1) r
#
# Dropout that stays on while forecasting is the other way: many networks in one. By itself it knows only what the network does
# not know, and is far too narrow.
#
# Both fit the training rows better than any others, and so are too narrow elsewhere. Conformal calibration moves their ends
# by what the validation rows, which were not trained on, lie outside: by the smallest amount that holds the share asked of them.
# `Direct` and `dropout_interval` do it. How much is held in the future is still to be measured.

# %%
origins, truth = tested.at, tested.truth
q = Direct(config, 12, levels=(0.05, 0.5, 0.95)).fit(values[:600]).predict(values, origins)
by_quantiles = coverage(q[..., 0], q[..., 2], truth, 0.9)
network = Direct(config, 12).fit(values[:600])
narrow = dropout_interval(network, values, origins, noise=False)
wide = dropout_interval(network, values, origins)
print("quantile loss:            ", by_quantiles)
print("dropout alone:            ", coverage(narrow[0], narrow[2], truth, 0.9))
print("dropout, calibrated:      ", coverage(wide[0], wide[2], truth, 0.9))
assert coverage(narrow[0], narrow[2], truth, 0.9).inside < 0.7 < by_quantiles.inside
last = len(origins) - 1
plots.fan(
    values[origins[last] - 36 : origins[last], 0],
    q[last, :, 0, 1],
    q[last, :, 0, 0],
    q[last, :, 0, 2],
    truth=truth[last, :, 0],
    label="quantile, median",
    ylabel="degrees",
    title="Twelve months ahead, and what came",
)

# %% [markdown]
# ## What goes wrong in practice
#
# - The scaler is fitted to the whole series, the test part among it.
# - A gap is filled on a line to the value after it: the windows before the gap's end see the future. And what was filled is
#   scored as if it had been measured.
# - Windows are shuffled before they are split: nearly the same window is in both parts.
# - The test part chooses the model, and is then reported as if it had not.
# - One-step errors are reported for a model that is used many steps ahead.
# - A percentage error of values near zero.
# - An interval without its coverage, or a coverage without its width: an interval as wide as the world covers everything.

# %% [markdown]
# ## Exercise 13/ex1: Seasonal last value
#
# Return the forecast of `horizon` steps from the last rows: each step is as it was one season before, and beyond one season
# the last one is repeated.

# %%
# exercise 13/ex1
import numpy as np


def seasonal(past, horizon, season):
    """past (m,) with m >= season, to the forecast (horizon,)."""
    # BEGIN SOLUTION
    extended = list(past)
    for _ in range(horizon):
        extended.append(extended[-season])
    return np.array(extended[len(past) :])
    # END SOLUTION


# %%
print(check("13/ex1", seasonal))

# %% [markdown]
# ## Exercise 13/ex2: Windows without a look into the future
#
# Return the inputs (n, width) and targets (n,) of all one-step windows of values (T,) whose *target* lies at row `start` or
# later. An input may reach back before `start`.

# %%
# exercise 13/ex2
import numpy as np


def test_windows(values, width, start):
    """values (T,) to x (n, width), y (n,): every row t >= start with width rows before it."""
    # BEGIN SOLUTION
    rows = [t for t in range(len(values)) if t >= start and t >= width]
    return np.stack([values[t - width : t] for t in rows]), np.array([values[t] for t in rows])
    # END SOLUTION


# %%
print(check("13/ex2", test_windows))

# %% [markdown]
# ## Exercise 13/ex3: The quantile loss
#
# y and truth are (n,), q is a level. Return the mean quantile loss and its gradient with respect to y. (At r = 0 the gradient
# is that of the other side, 1 - q.)

# %%
# exercise 13/ex3
import numpy as np


def quantile_loss(y, truth, q):
    """y, truth (n,) and 0 < q < 1 to the loss, a number, and dy (n,)."""
    # BEGIN SOLUTION
    short = truth > y
    weight = np.where(short, q, 1 - q)
    return float(np.mean(weight * np.abs(truth - y))), np.where(short, -weight, weight) / len(y)
    # END SOLUTION


# %%
print(check("13/ex3", quantile_loss))

# %% [markdown]
# ## Exercise 13/ex4: Coverage and width
#
# Return the share of truth that lies in [low, high], the ends included, and the mean width. All are (n, horizon).

# %%
# exercise 13/ex4
import numpy as np


def covered(low, high, truth):
    """low, high, truth (n, horizon) to two numbers: the share inside, and the mean width."""
    # BEGIN SOLUTION
    outside = np.logical_or(truth < low, truth > high)
    return 1 - outside.mean(), np.subtract(high, low).mean()
    # END SOLUTION


# %%
print(check("13/ex4", covered))

# %% [markdown]
# ## Sources
#
# Hyndman and Athanasopoulos, Forecasting: principles and practice. Hyndman and Koehler 2006 on measures of accuracy. Koenker
# and Bassett 1978 on quantiles. Gal and Ghahramani 2016 on dropout while forecasting.
