"""A noisy sine, twenty steps ahead and on its own: an MLP and an LSTM, each fed its own answers.

One-step errors say little here: an answer that copies the last value looks good. So each network is
trained to say the next step, and then runs freely for twenty.
"""

import numpy as np
from recipe import Outcome, recipe

from scratchnet import plots
from scratchnet.data import sliding_windows
from scratchnet.forecasting import baselines
from scratchnet.models import mlp, recurrent
from scratchnet.training import Adam, Clip, fit, predict

WIDTH, AHEAD, TRAIN = 16, 20, 600


def run(seed: int, toy: bool) -> Outcome:
    """Trained on 600 points, run freely from fifty places of what follows."""
    rng = np.random.default_rng(seed)
    t = np.arange(800) * 0.25
    clean = np.sin(t)
    values = (clean + 0.05 * rng.standard_normal(len(t))).astype(np.float32)[:, None]
    past = sliding_windows(values[:TRAIN], WIDTH)
    models = {
        "MLP": mlp(WIDTH, 1, rng=rng, units=(16,), activation="tanh"),
        "LSTM": recurrent(1, 1, rng=rng, units=16),
    }
    at = np.arange(TRAIN + WIDTH, TRAIN + WIDTH + 50)
    start = values[at[:, None] + np.arange(-WIDTH, 0)]  # (50, WIDTH, 1)
    truth = clean[at[:, None] + np.arange(AHEAD)]  # without its noise, which nobody can foresee
    paths = {
        "last value": baselines.last_value(start, AHEAD),
        f"AR({WIDTH})": baselines.Autoregression(WIDTH).fit(values[:TRAIN]).predict(start, AHEAD),
    }
    for name, model in models.items():
        flat = name == "MLP"
        x = past.x[:, :, 0] if flat else past.x
        fit(
            model.astype(np.float32),
            (x, past.y),
            Adam(0.005),
            epochs=2 if toy else 60,
            rng=rng,
            callbacks=[Clip(1.0)],
            progress=False,
        )
        window, answers = start, []
        for _ in range(AHEAD):
            answers.append(predict(model, window[:, :, 0] if flat else window))
            # its own answer is its next input
            window = np.concatenate([window[:, 1:], answers[-1][:, :, None]], axis=1)
        paths[name] = np.concatenate(answers, axis=1)
    errors = {name: float(np.sqrt(np.mean((y - truth) ** 2))) for name, y in paths.items()}
    figure = plots.forecast(
        np.arange(AHEAD) + 1,
        truth[0],
        {name: y[0] for name, y in paths.items() if name != "last value"},
        xlabel="steps ahead",
        ylabel="sine",
        title="Twenty steps, each network fed its own answers",
    )
    return Outcome({"RMSE, 20 steps": errors}, ("last value", f"AR({WIDTH})"), figure)


if __name__ == "__main__":
    recipe(__doc__, run)
