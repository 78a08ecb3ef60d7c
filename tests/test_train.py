"""The training loop: it learns, records, stops, restores, and says where a NaN began."""

import csv

import numpy as np
import pytest

from scratchnet import checkpoint
from scratchnet.clip import global_norm
from scratchnet.layers import GRU, LSTM, RNN, Linear, Sequential, Tanh
from scratchnet.losses import mse
from scratchnet.optim import SGD, Adam
from scratchnet.train import Trainer, TrainingDiverged, fit, fit_stream, predict


def sine(n=80, T=12):
    t = np.arange(n + T) * 0.4
    x = np.stack([np.sin(t[i : i + T]) for i in range(n)])[:, :, None]
    return x, np.sin(t[T:])[:, None]


def small_model(rng, cell=LSTM):
    return Sequential(rec=cell(1, 8, batch_first=True, return_sequences=False, rng=rng), head=Linear(8, 1, rng=rng))


@pytest.mark.parametrize("cell", [RNN, LSTM, GRU])
def test_it_learns(cell, rng):
    x, y = sine()
    model = small_model(rng, cell)
    history = fit(model, x, y, Adam(0.02), epochs=30, rng=rng, clip=1.0, progress=False)
    assert len(history.epochs) == 30
    assert len(history.steps) == 30 * 3
    assert history.epochs[-1]["train_loss"] < 0.01
    assert mse(predict(model, x), y)[0] < 0.01


def test_same_seed_same_history():
    runs = []
    for _ in range(2):
        rng = np.random.default_rng(7)
        x, y = sine(40)
        runs.append(fit(small_model(rng), x, y, Adam(0.02), epochs=3, rng=rng, progress=False).steps)
    assert runs[0] == runs[1]


def test_history_is_data(rng, tmp_path):
    x, y = sine(40)
    history = fit(small_model(rng), x, y, SGD(0.5), epochs=3, rng=rng, clip=0.1, validation=(x, y), progress=False)
    assert len(history.column("grad_norm")) == 6
    assert len(history.column("val_loss")) == 3
    factors, norms = history.column("clip_factor"), history.column("grad_norm")
    for factor, norm in zip(factors, norms):
        assert factor == pytest.approx(min(1, 0.1 / norm), rel=1e-4)
    assert min(factors) < 1
    with pytest.raises(KeyError, match="the history has no 'accuracy': it has loss, grad_norm, clip_factor, train_loss"):
        history.column("accuracy")
    history.to_csv(tmp_path / "history.csv")
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert float(rows[2]["val_loss"]) == history.epochs[2]["val_loss"]


def test_train_loss_is_the_mean_over_samples_not_batches(rng):
    """With a last batch of one sample, and weights that do not move."""
    x, y = sine(33)
    y[0] += 100
    model = small_model(rng)
    before = mse(predict(model, x), y)[0]
    history = fit(model, x, y, SGD(1e-300), epochs=1, rng=rng, progress=False)
    assert history.epochs[0]["train_loss"] == pytest.approx(before, rel=1e-12)


def test_early_stopping_restores_the_best_weights(rng):
    """Validation targets that training leads away from: the first epochs are the best."""
    x, y = sine(40)
    model = small_model(rng)
    history = fit(model, x, y, Adam(0.05), epochs=50, rng=rng, validation=(x, -y), patience=4, progress=False)
    losses = history.column("val_loss")
    assert len(losses) < 50
    assert history.best_epoch == int(np.argmin(losses))
    assert len(losses) == history.best_epoch + 1 + 4
    assert mse(predict(model, x), -y)[0] == pytest.approx(min(losses), rel=1e-12)


def test_best_weights_also_after_an_interruption(rng):
    x, y = sine(40)
    model, seen = small_model(rng), []

    def interrupted(prediction, target):
        seen.append(mse(prediction, target))
        if len(seen) == 8:
            raise KeyboardInterrupt
        return seen[-1]

    with pytest.raises(KeyboardInterrupt):
        fit(model, x, y, Adam(0.05), epochs=50, rng=rng, loss=interrupted, validation=(x, -y), progress=False)
    validated = [value for value, dy in seen if dy.shape == y.shape]
    assert mse(predict(model, x), -y)[0] == pytest.approx(min(validated), rel=1e-12)


def test_nan_says_when_and_where(rng):
    """relu, orthogonal W_h times 30, no clipping, a large step: the classic explosion."""
    x, y = sine(40, T=30)
    model = Sequential(
        rec=RNN(1, 8, nonlinearity="relu", batch_first=True, return_sequences=False, rng=rng), head=Linear(8, 1, rng=rng)
    )
    model.params["rec.W_h_l0"][...] *= 30
    with pytest.raises(TrainingDiverged) as caught:
        fit(model, x, y, SGD(1.0), epochs=5, rng=rng, progress=False)
    message = str(caught.value)
    assert f"at step {caught.value.step}:" in message
    assert caught.value.parameter in model.params
    assert caught.value.parameter in message
    assert "gradient norm was" in message
    assert "one step before" in message
    assert "clip=" in message


def test_a_gradient_that_overflows_is_named_where_it_began(rng):
    """The loss is finite; the head's gradient is, too; the recurrent one overflows on its way back."""
    x, y = sine(8, T=400)
    model = Sequential(rec=RNN(1, 4, nonlinearity="relu", batch_first=True, rng=rng), last=LastStep(), head=Linear(4, 1, rng=rng))
    model.params["rec.W_h_l0"][...] = 10 * np.eye(4)
    model.params["rec.W_x_l0"][...] = 0
    model.params["rec.b_l0"][...] = 1e-300  # h stays small, dh does not
    with pytest.raises(TrainingDiverged, match=r"a gradient is not finite at step 0: it began in rec\.") as caught:
        fit(model, x, 1e10 * y + 1e10, SGD(1e-3), epochs=1, rng=rng, progress=False)
    assert "there was no step before" in str(caught.value)


class LastStep(Tanh):
    """y = x[:, -1], for the test above."""

    def forward(self, x, training=False):
        return x[:, -1], x.shape

    def backward(self, dy, cache):
        dx = np.zeros(cache)
        dx[:, -1] = dy
        return dx


def test_an_infinite_loss_stops_at_once(rng):
    x, y = sine(8)
    model = small_model(rng)
    model.params["head.b"][...] = np.inf
    with pytest.raises(TrainingDiverged, match=r"the loss is inf at step 0: it began in head.b, where 1 of 1 values are not finite"):
        fit(model, x, y, SGD(0.1), epochs=1, rng=rng, progress=False)


def test_clipping_by_each_kind(rng):
    x, y = sine(16)
    for kind in ("global", "each", "value"):
        model = small_model(rng)
        trainer = Trainer(model, SGD(0.0001), clip=1e-3, clip_by=kind)
        trainer.step(x, 10 * y, mse)
        row = trainer.history.steps[0]
        assert row["clip_factor"] < 0.5
        assert global_norm(model.grads) == pytest.approx(row["clip_factor"] * row["grad_norm"])


def test_ragged_batches(rng):
    """lengths travel with their samples through the shuffle: padding full of noise, and the fit is the same."""
    lengths = rng.integers(2, 13, 60)
    x = rng.standard_normal((60, 12, 1))
    y = np.array([[np.mean(x[n, :length])] for n, length in enumerate(lengths)])
    histories = []
    for filler in (0.0, 1e6):
        for n, length in enumerate(lengths):
            x[n, length:] = filler
        seeded = np.random.default_rng(1)
        histories.append(fit(small_model(seeded), x, y, Adam(0.01), epochs=2, rng=seeded, lengths=lengths, progress=False).steps)
    assert histories[0] == histories[1]


def test_stateful_training_on_a_long_sequence(rng):
    """The target lies 6 steps back: windows of 3 steps alone cannot carry a gradient there, windows of 12 can."""
    x = np.sign(rng.standard_normal((600, 4, 1)))
    target = np.zeros_like(x)
    target[6:] = x[:-6]
    losses = {}
    for k2 in (3, 12):
        seeded = np.random.default_rng(0)
        model = Sequential(rec=GRU(1, 16, rng=seeded), head=Linear(16, 1, rng=seeded))
        history = fit_stream(model, x, target, Adam(0.01), epochs=4, k1=3, k2=k2, clip=1.0, progress=False)
        assert len(history.steps) == 4 * 200
        losses[k2] = history.epochs[-1]["train_loss"]
    assert losses[12] < 0.3 < losses[3]


def test_checkpoint(rng, tmp_path):
    model, other = small_model(rng), small_model(rng)
    x, _ = sine(8)
    checkpoint.save(model, tmp_path / "model.npz")
    checkpoint.load(other, tmp_path / "model.npz")
    np.testing.assert_array_equal(predict(model, x), predict(other, x))
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]
    with pytest.raises(ValueError, match=r"missing \['0.W', '0.b'\], not in the model \['head.W'"):
        checkpoint.load(Sequential(Linear(8, 1, rng=rng)), tmp_path / "model.npz")
    wider = Sequential(rec=LSTM(1, 9, rng=rng), head=Linear(9, 1, rng=rng))
    with pytest.raises(ValueError, match=r"rec.W_x_l0 in .* is \(1, 32\) but the model's rec.W_x_l0 is \(1, 36\)"):
        checkpoint.load(wider, tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"expected a name that ends in .npz"):
        checkpoint.save(model, tmp_path / "model.bin")


def test_bad_input(rng):
    x, y = sine(8)
    model, optimizer = small_model(rng), SGD(0.1)
    cases = {
        "x has 8 samples but y has 7": lambda: fit(model, x, y[:7], optimizer, epochs=1, rng=rng),
        "x has no samples": lambda: fit(model, x[:0], y[:0], optimizer, epochs=1, rng=rng),
        "y holds 8 values that are NaN or infinite, of 8": lambda: fit(model, x, y * np.nan, optimizer, epochs=1, rng=rng),
        "patience needs a validation set": lambda: fit(model, x, y, optimizer, epochs=1, rng=rng, patience=2),
        "epochs is 0": lambda: fit(model, x, y, optimizer, epochs=0, rng=rng),
        "clip_by is 'tensor': expected one of": lambda: fit(model, x, y, optimizer, epochs=1, rng=rng, clip=1.0, clip_by="tensor"),
        "rec takes time first, but fit gives samples first": lambda: fit(
            Sequential(rec=LSTM(1, 2, rng=rng)), x, y, optimizer, epochs=1, rng=rng
        ),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=message):
            call()
