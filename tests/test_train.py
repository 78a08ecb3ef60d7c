"""The training loop: it learns, records, stops, restores, and says where a NaN began."""

import csv
import re

import numpy as np
import pytest
import tqdm.auto
import tqdm.notebook
from scratchnet.layers import GRU, LSTM, RNN, Dropout, Linear, Sequential, Tanh
from scratchnet.losses import mse, softmax_cross_entropy
from scratchnet.training import (
    SGD,
    Adam,
    Batches,
    Clip,
    EarlyStopping,
    Trainer,
    TrainingDiverged,
    bptt,
    checkpoint,
    fit,
    fit_stream,
    predict,
)
from scratchnet.training.clip import global_norm


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
    history = fit(model, (x, y), Adam(0.02), epochs=30, rng=rng, callbacks=[Clip(1.0)], progress=False)
    assert len(history.epochs) == 30
    assert len(history.steps) == 30 * 3
    assert history.epochs[-1]["train_loss"] < 0.01
    assert mse(predict(model, x), y)[0] < 0.01


def test_same_seed_same_history():
    runs = []
    for _ in range(2):
        rng = np.random.default_rng(7)
        x, y = sine(40)
        runs.append(fit(small_model(rng), (x, y), Adam(0.02), epochs=3, rng=rng, progress=False).steps)
    assert runs[0] == runs[1]


def test_history_is_data(rng, tmp_path):
    x, y = sine(40)
    history = fit(
        small_model(rng), (x, y), SGD(0.5), epochs=3, rng=rng, validation=(x, y), callbacks=[Clip(0.1)], progress=False
    )
    assert len(history.column("grad_norm")) == 6
    assert len(history.column("val_loss")) == 3
    factors, norms = history.column("clip_factor"), history.column("grad_norm")
    for factor, norm in zip(factors, norms):
        assert factor == pytest.approx(min(1, 0.1 / norm), rel=1e-4)
    assert min(factors) < 1
    with pytest.raises(
        KeyError, match="the history has no 'accuracy': it has loss, grad_norm, clip_factor, lr, train_loss"
    ):
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
    history = fit(model, (x, y), SGD(1e-300), epochs=1, rng=rng, progress=False)
    assert history.epochs[0]["train_loss"] == pytest.approx(before, rel=1e-12)


def test_early_stopping_restores_the_best_weights(rng):
    """Validation targets that training leads away from: the first epochs are the best."""
    x, y = sine(40)
    model = small_model(rng)
    history = fit(
        model, (x, y), Adam(0.05), epochs=50, rng=rng, validation=(x, -y), callbacks=[EarlyStopping(4)], progress=False
    )
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
        fit(model, (x, y), Adam(0.05), epochs=50, rng=rng, loss=interrupted, validation=(x, -y), progress=False)
    validated = [value for value, dy in seen if dy.shape == y.shape]
    assert mse(predict(model, x), -y)[0] == pytest.approx(min(validated), rel=1e-12)


def test_nan_says_when_and_where(rng):
    """relu, orthogonal W_h times 30, no clipping, a large step: the classic explosion."""
    x, y = sine(40, T=30)
    model = Sequential(
        rec=RNN(1, 8, nonlinearity="relu", batch_first=True, return_sequences=False, rng=rng),
        head=Linear(8, 1, rng=rng),
    )
    model.params["rec.W_h_l0"][...] *= 30
    with pytest.raises(TrainingDiverged) as caught:
        fit(model, (x, y), SGD(1.0), epochs=5, rng=rng, progress=False)
    message = str(caught.value)
    assert f"at step {caught.value.step}:" in message
    assert caught.value.parameter in model.params
    assert caught.value.parameter in message
    assert "gradient norm was" in message
    assert "one step before" in message
    assert "Clip" in message


def test_a_gradient_that_overflows_is_named_where_it_began(rng):
    """The loss is finite; the head's gradient is, too; the recurrent one overflows on its way back."""
    x, y = sine(8, T=400)
    model = Sequential(
        rec=RNN(1, 4, nonlinearity="relu", batch_first=True, rng=rng), last=LastStep(), head=Linear(4, 1, rng=rng)
    )
    model.params["rec.W_h_l0"][...] = 10 * np.eye(4)
    model.params["rec.W_x_l0"][...] = 0
    model.params["rec.b_l0"][...] = 1e-300  # h stays small, dh does not
    with pytest.raises(TrainingDiverged, match=r"a gradient is not finite at step 0: it began in rec\.") as caught:
        fit(model, (x, 1e10 * y + 1e10), SGD(1e-3), epochs=1, rng=rng, progress=False)
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
    with pytest.raises(
        TrainingDiverged, match=r"the loss is inf at step 0: it began in head.b, where 1 of 1 values are not finite"
    ):
        fit(model, (x, y), SGD(0.1), epochs=1, rng=rng, progress=False)


def test_the_last_step_is_looked_at_too(rng):
    """It leaves infinite weights, and no loss comes after it."""
    x, y = sine(8)
    model = small_model(rng).astype(np.float32)
    with pytest.raises(
        TrainingDiverged, match=r"a parameter is not finite at step 1: it began in rec\.W_x_l0, where"
    ) as caught:
        fit(model, (x.astype(np.float32), 1000 * y.astype(np.float32)), SGD(3e38), epochs=1, rng=rng, progress=False)
    assert "one step before. a smaller" in str(caught.value)
    stream = Sequential(rec=GRU(1, 4, rng=rng), head=Linear(4, 1, rng=rng)).astype(np.float32)
    x = rng.standard_normal((4, 2, 1)).astype(np.float32)
    with pytest.raises(TrainingDiverged, match="a parameter is not finite at step 1"):
        fit_stream(stream, (x, 1000 * x), SGD(3e38), epochs=1, k1=4, progress=False)


def test_a_validation_loss_that_is_not_finite_ends_the_training(rng):
    """The best weights so far come back all the same."""
    x, y = sine(8)
    model, before = small_model(rng), []
    values = iter([1.0, np.inf])

    def loss(prediction, target):
        value, dy = mse(prediction, target)
        if np.all(target == 0):
            before.append({name: p.copy() for name, p in model.params.items()})
            return next(values), dy
        return value, dy

    with pytest.raises(
        TrainingDiverged, match="the validation loss is inf at step 2: all values are still finite; the largest is"
    ):
        fit(model, (x, y), Adam(0.1), epochs=5, rng=rng, loss=loss, validation=(x, 0 * y), progress=False)
    for name, p in model.params.items():
        np.testing.assert_array_equal(p, before[0][name])
    assert not np.array_equal(before[0]["head.W"], before[1]["head.W"])


def test_the_message_counts_and_looks_back(rng):
    """Where it began is the last parameter, nearest the loss; how many; the norm one step and eleven steps before."""
    x, y = sine(8)
    model = small_model(rng)
    trainer = Trainer(model, SGD(0.1))
    for _ in range(12):
        trainer.step((x, y), mse)
    norms = trainer.history.column("grad_norm")
    assert len({f"{norm:.3g}" for norm in norms}) == 12
    model.zero_grad()
    model.grads["rec.W_h_l0"][...] = np.nan
    model.grads["head.W"][:3] = np.inf
    with pytest.raises(TrainingDiverged) as caught:
        trainer.update(1.0)
    assert str(caught.value) == (
        "a gradient is not finite at step 12: it began in head.W, where 3 of 8 gradients are not finite; the gradient norm was "
        f"{norms[11]:.3g} one step before and {norms[1]:.3g} ten steps earlier. "
        "a smaller learning rate or Clip (gradient clipping) are the usual remedies"
    )
    assert (caught.value.step, caught.value.parameter) == (12, "head.W")
    assert len(trainer.history.steps) == 12


def test_batches_are_shuffled(rng):
    """Every sample once in an epoch, in another order in the next."""
    x = np.arange(10.0)[:, None]
    seen = []

    def loss(prediction, target):
        seen.extend(target[:, 0])
        return mse(prediction, target)

    fit(
        Linear(1, 1, rng=rng), Batches(x / 10, x, batch_size=4), SGD(1e-3), epochs=2, rng=rng, loss=loss, progress=False
    )
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert list(range(10)) != seen[:10] != seen[10:]


def test_of_equal_epochs_the_first_is_the_best(rng):
    """So that waiting without a gain is waiting; with weights that do not move all are equal."""
    x, y = sine(8)
    history = fit(
        small_model(rng),
        (x, y),
        SGD(1e-300),
        epochs=9,
        rng=rng,
        validation=(x, y),
        callbacks=[EarlyStopping(2)],
        progress=False,
    )
    assert history.best_epoch == 0
    assert len(history.epochs) == 3


def test_the_bar_shows_loss_and_gradient(rng, monkeypatch, capsys):
    """Where standard error is a terminal, and nowhere else."""
    x, y = sine(8)
    stream = Sequential(rec=GRU(1, 4, rng=rng), head=Linear(4, 1, rng=rng))
    real = tqdm.auto.tqdm
    for terminal in (True, False):
        kinds = []

        class Bar(real):
            def __init__(self, disable, terminal=terminal, kinds=kinds, **options):
                kinds.append(disable)
                super().__init__(disable=False if terminal and disable is None else disable, mininterval=0, **options)

        monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
        fit(small_model(rng), (x, y), SGD(1e-3), epochs=2, rng=rng)
        fit_stream(stream, (x[:, :2], x[:, :2]), SGD(1e-3), epochs=2, k1=4)
        fit(small_model(rng), (x, y), SGD(1e-3), epochs=1, rng=rng, progress=False)
        assert kinds == [None, None]
        text = capsys.readouterr().err
        if terminal:
            assert re.search(r"2/2 .*step.*grad=\d\S*, loss=\d", text)
            assert re.search(r"4/4 .*window.*grad=\d\S*, loss=\d", text)
        else:
            assert text == ""


def test_a_notebook_has_a_bar_too(rng, monkeypatch):
    """There standard error is not a terminal."""
    shown = []

    class Bar(tqdm.notebook.tqdm_notebook):
        def __init__(self, disable, total, **options):
            self.disable, self.total = disable, total

        def set_postfix(self, **numbers):
            shown.append((self.disable, self.total))

        def update(self, n=1):
            """Nothing is drawn."""

        def close(self):
            shown.append("closed")

        __del__ = update

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    fit(small_model(rng), sine(40), SGD(1e-3), epochs=2, rng=rng)
    assert shown == [(False, 4)] * 4 + ["closed"]


def test_clipping_by_each_kind(rng):
    x, y = sine(16)
    for kind in ("global", "each", "value"):
        model = small_model(rng)
        trainer = Trainer(model, SGD(0.0001), callbacks=[Clip(1e-3, by=kind)])
        trainer.step((x, 10 * y), mse)
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
        histories.append(
            fit(small_model(seeded), (x, y, lengths), Adam(0.01), epochs=2, rng=seeded, progress=False).steps
        )
    assert histories[0] == histories[1]


def tagger(rng, outputs=1):
    return Sequential(rec=GRU(1, 4, batch_first=True, rng=rng), head=Linear(4, outputs, rng=rng))


def padded(rng, n=20, T=7, filler=0.0):
    """Sequences of different length with a target for every step; ``filler`` stands where they have ended."""
    lengths, x, y = rng.integers(1, T + 1, n), rng.standard_normal((n, T, 1)), rng.standard_normal((n, T, 1))
    y[np.arange(T) >= lengths[:, None]] = filler
    return x, y, lengths


def test_targets_of_every_step_without_the_padding():
    """Whatever stands in it, NaN too, nothing of it is learned or measured."""
    results = []
    for filler in (0.0, 100.0, np.nan):
        rng = np.random.default_rng(0)
        x, y, lengths = padded(rng, filler=filler)
        model = tagger(rng)
        history = fit(
            model,
            Batches(x, y, lengths=lengths, batch_size=8),
            Adam(0.01),
            epochs=2,
            rng=rng,
            validation=(x, y, lengths),
            progress=False,
        )
        results.append(
            (
                history.steps,
                history.column("train_loss"),
                history.column("val_loss"),
                predict(model, x, lengths=lengths),
            )
        )
    for other in results[1:]:
        assert other[:3] == results[0][:3]
        np.testing.assert_array_equal(other[3], results[0][3])


def test_train_and_validation_loss_are_means_over_the_steps_that_count(rng):
    """Not over batches, whose sequences differ in length; with weights that do not move."""
    x, y, lengths = padded(rng, n=21, filler=np.nan)
    model = tagger(rng)
    kept = np.arange(7) < lengths[:, None]
    prediction = predict(model, x, lengths=lengths)
    expected = float(np.mean((prediction[kept] - y[kept]) ** 2))
    history = fit(
        model,
        Batches(x, y, lengths=lengths, batch_size=4),
        SGD(1e-300),
        epochs=1,
        rng=rng,
        validation=(x, y, lengths),
        progress=False,
    )
    assert history.epochs[0]["train_loss"] == pytest.approx(expected, rel=1e-12)
    assert history.epochs[0]["val_loss"] == pytest.approx(expected, rel=1e-12)


def test_classes_of_every_step_may_be_minus_one_in_the_padding(rng):
    x, y, lengths = padded(rng)
    classes = np.where(np.arange(7) < lengths[:, None], (y[:, :, 0] > 0).astype(int), -1)
    history = fit(
        tagger(rng, 2),
        (x, classes, lengths),
        Adam(0.02),
        epochs=30,
        rng=rng,
        loss=softmax_cross_entropy,
        progress=False,
    )
    assert history.epochs[-1]["train_loss"] < history.epochs[0]["train_loss"] < 1


def test_as_many_outputs_as_steps_are_no_steps(rng):
    """Seven numbers at the end of seven steps: the lengths are no mask of them."""
    x, y, lengths = padded(rng)
    model = Sequential(rec=GRU(1, 4, batch_first=True, return_sequences=False, rng=rng), head=Linear(4, 7, rng=rng))
    before = mse(predict(model, x, lengths=lengths), y[:, :, 0])[0]
    history = fit(model, (x, y[:, :, 0], lengths), SGD(1e-300), epochs=1, rng=rng, progress=False)
    assert history.epochs[0]["train_loss"] == pytest.approx(before, rel=1e-12)


def test_validation_looks_at_the_lengths(rng):
    """One number at the end, padding full of noise: the best epoch does not depend on it."""
    x, _, lengths = padded(rng)
    y, histories = rng.standard_normal((20, 1)), []
    for noise in (0.0, 50.0):
        seeded, held_back = np.random.default_rng(1), x.copy()
        held_back[np.arange(7) >= lengths[:, None]] = noise
        model = small_model(seeded)
        histories.append(
            fit(
                model,
                (x, y, lengths),
                Adam(0.01),
                epochs=3,
                rng=seeded,
                validation=(held_back, y, lengths),
                progress=False,
            )
        )
    assert histories[0].column("val_loss") == histories[1].column("val_loss")
    assert histories[0].column("val_loss")[-1] != mse(predict(model, x), y)[0]  # they do matter here


def test_predict_takes_lengths(rng):
    """Batch after batch, each with its own."""
    x, _, lengths = padded(rng)
    model = small_model(rng)
    one_by_one = [predict(model, x[n : n + 1, :length]) for n, length in enumerate(lengths)]
    np.testing.assert_allclose(
        predict(model, x, batch_size=3, lengths=list(lengths)), np.concatenate(one_by_one), rtol=1e-12
    )


def test_stateful_training_on_a_long_sequence(rng):
    """The target lies 6 steps back: windows of 3 steps alone cannot carry a gradient there, windows of 12 can."""
    x = np.sign(rng.standard_normal((600, 4, 1)))
    target = np.zeros_like(x)
    target[6:] = x[:-6]
    losses = {}
    for k2 in (3, 12):
        seeded = np.random.default_rng(0)
        model = Sequential(rec=GRU(1, 16, rng=seeded), head=Linear(16, 1, rng=seeded))
        history = fit_stream(
            model, (x, target), Adam(0.01), epochs=4, k1=3, k2=k2, callbacks=[Clip(1.0)], progress=False
        )
        assert len(history.steps) == 4 * 200
        losses[k2] = history.epochs[-1]["train_loss"]
    assert losses[12] < 0.3 < losses[3]


def test_stream_records_as_fit_does(rng):
    """The last window is shorter, and counts for less; every window is clipped; the loss is the mean over all steps."""
    x = rng.standard_normal((11, 2, 1))
    target = x + 10 * (np.arange(11) >= 8)[:, None, None]
    model = Sequential(rec=GRU(1, 4, rng=rng), head=Linear(4, 1, rng=rng))
    before = mse(model.forward(x)[0], target)[0]
    history = fit_stream(model, (x, target), SGD(1e-300), epochs=1, k1=4, callbacks=[Clip(0.01)], progress=False)
    assert len(history.steps) == 3
    assert history.epochs[0]["train_loss"] == pytest.approx(before, rel=1e-12)
    for row in history.steps:
        assert row["grad_norm"] > 0.01
        assert row["grad_norm"] * row["clip_factor"] == pytest.approx(0.01, rel=1e-3)
    assert global_norm(model.grads) == pytest.approx(0.01, rel=1e-3)


def test_a_stream_that_diverges_says_so(rng):
    x = rng.standard_normal((40, 2, 1))
    model = Sequential(rec=GRU(1, 4, rng=rng), head=Linear(4, 1, rng=rng))
    with pytest.raises(TrainingDiverged, match=r"the loss is (inf|nan) at step [1-9]"):
        fit_stream(model, (x, x), SGD(1e200), epochs=2, k1=4, progress=False)


class Flags(Tanh):
    """tanh, and a list of what it was told about training."""

    def __init__(self):
        super().__init__()
        self.told = []

    def forward(self, x, training=False):
        self.told.append(training)
        return super().forward(x, training)


def test_who_says_that_it_is_training(rng):
    """Through two models in a row: every layer is told, in training and in no other case."""
    flags, x = Flags(), rng.standard_normal((6, 2, 1))
    model = Sequential(rec=RNN(1, 3, rng=rng), inner=Sequential(flags=flags))
    target = np.zeros((6, 2, 3))

    def told(call):
        flags.told.clear()
        call()
        return set(flags.told)

    assert told(lambda: Trainer(model, SGD(0.1)).step((x, target), mse)) == {True}
    assert told(lambda: bptt.full(model, x, target, mse)) == {True}
    assert told(lambda: list(bptt.stream(model, x, target, mse, k1=2))) == {True}
    assert told(lambda: list(bptt.stream(model, x, target, mse, k1=2, training=False))) == {False}
    assert told(lambda: fit_stream(model, (x, target), SGD(0.1), epochs=1, k1=2, progress=False)) == {True}
    assert told(lambda: predict(Sequential(flags), x)) == {False}
    assert told(lambda: model.forward(x)) == {False}


def test_dropout_acts_in_training_alone(rng):
    """Between layers and as a layer: with the flag zeros in the backward pass, without it the network without dropout."""
    x = rng.standard_normal((5, 3, 2))
    dropping, plain = (LSTM(2, 4, num_layers=2, dropout=p, rng=np.random.default_rng(0)) for p in (0.5, 0.0))
    np.testing.assert_array_equal(dropping.forward(x)[0], plain.forward(x)[0])
    assert not np.array_equal(dropping.forward(x, training=True)[0], plain.forward(x)[0])
    model = Sequential(drop=Dropout(0.5, rng=rng), head=Linear(2, 1, rng=rng))
    np.testing.assert_array_equal(model.forward(x)[0], model.layers["head"].forward(x)[0])
    y, cache = model.forward(x, training=True)
    assert 0 < np.mean(model.backward(np.ones_like(y), cache) == 0) < 1


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
    model, optimizer, wave = small_model(rng), SGD(0.1), rng.standard_normal((8, 2, 1))
    stream = Sequential(rec=GRU(1, 2, rng=rng), head=Linear(2, 1, rng=rng))
    time_first = Sequential(rec=LSTM(1, 2, rng=rng))
    nested = Sequential(outer=Sequential(inner=time_first))
    bad = wave.copy()
    bad[3] = np.nan

    def fitted(data=(x, y), model=model, **options):
        return fit(model, data, optimizer, **{"epochs": 1, "rng": rng, **options})

    def streamed(x=wave, target=wave, **options):
        return fit_stream(stream, (x, target), optimizer, **{"epochs": 1, "k1": 2, **options})

    cases = {
        "x has 8 samples but y has 7": lambda: fitted((x, y[:7])),
        "x has no samples": lambda: fitted((x[:0], y[:0])),
        "y holds 8 values that are NaN or infinite, of 8": lambda: fitted((x, y * np.nan)),
        "x holds 96 values that are NaN or infinite, of 96": lambda: fitted((x * np.nan, y)),
        "patience needs a validation set": lambda: fitted(callbacks=[EarlyStopping(2)]),
        "patience is 0: expected at least 1": lambda: EarlyStopping(0),
        "patience is -5: expected at least 1": lambda: EarlyStopping(-5),
        "epochs is 0: expected at least 1": lambda: fitted(epochs=0),
        "epochs is 1000000: expected at most 100000": lambda: fitted(epochs=10**6),
        "batch_size is 0: expected at least 1": lambda: fitted(Batches(x, y, batch_size=0)),
        "by is 'tensor': expected one of": lambda: Clip(1.0, by="tensor"),
        "limit is 0: expected a positive number": lambda: Clip(0),
        r"data has 1 parts: expected \(x, y\) or \(x, y, lengths\)": lambda: fitted((x,)),
        r"weights has shape \(7,\) but there are 8 samples": lambda: fitted(Batches(x, y, weights=np.ones(7))),
        r"weights range from -1.0 to 1.0: expected finite numbers": lambda: fitted(
            Batches(x, y, weights=np.linspace(-1, 1, 8))
        ),
        r"weights range from 0.0 to 0.0: expected": lambda: fitted(Batches(x, y, weights=np.zeros(8))),
        "rec takes time first, but fit gives samples first": lambda: fitted(model=time_first),
        "outer.inner.rec takes time first, but fit gives samples first": lambda: fitted(model=nested),
        "the layer takes time first, but predict gives": lambda: predict(LSTM(1, 2, rng=rng), np.ones((300, 1, 1))),
        "validation x has 8 samples but validation y has 7": lambda: fitted(validation=(x, y[:7])),
        "validation y holds 1 values that are NaN or infinite": lambda: fitted(
            validation=(x, np.where(y == y[2], np.nan, y))
        ),
        r"validation has 1 parts: expected \(x, y\)": lambda: fitted(validation=(x,)),
        r"validation has 2 parts: expected \(x, y, lengths\), because": lambda: fitted(
            (x, y, [12] * 8), validation=(x, y)
        ),
        r"lengths has shape \(9,\) but the batch has 8 sequences": lambda: fitted((x, y, [12] * 9)),
        r"lengths has shape \(7,\) but the batch has 8 sequences: ex": lambda: fitted((x, y, np.full(7, 12))),
        r"lengths\[0\] is 13 but the sequences have 12 steps": lambda: fitted((x, y, [13] * 8)),
        "lengths were given but no layer of the model looks along time": lambda: predict(
            Linear(1, 1, rng=rng), y, lengths=[1] * 8
        ),
        r"x is \(8,\): expected \(samples, T, ...\), because lengths": lambda: predict(model, y[:, 0], lengths=[1] * 8),
        r"y is \(8, 1\) but x is \(8, 12, 1\) and the model answers at each of 12 steps: expected \(8, 12\)": lambda: (
            fitted((x, y, [12] * 8), model=tagger(rng))
        ),
        "k1 is 0: expected at least 1": lambda: streamed(k1=0),
        "epochs is -1: expected at least 1": lambda: streamed(epochs=-1),
        "epochs is 100001: expected at most 100000": lambda: streamed(epochs=10**5 + 1),
        "target holds 2 values that are NaN or infinite, of 16: clean the data": lambda: streamed(target=bad),
        "x holds 2 values that are NaN": lambda: streamed(x=bad),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=f"^{message}"):
            call()
    kinds = {
        "x is a builtins.list, not a NumPy or CuPy array": lambda: fitted((x.tolist(), y)),
        "y is a builtins.list, not a NumPy or CuPy array": lambda: fitted((x, y.tolist())),
        "x is int64, but a network computes in": lambda: fitted((x.astype(int), y)),
        "validation y is a builtins.list, not a": lambda: fitted(validation=(x, y.tolist())),
        "target is a builtins.list, not a NumPy": lambda: streamed(target=wave.tolist()),
        "x is a builtins.list, not": lambda: predict(model, x.tolist()),
        "epochs is 2.5: expected a whole number": lambda: fitted(epochs=2.5),
        "batch_size is True: expected a whole number": lambda: fitted(Batches(x, y, batch_size=True)),
        "lengths is float64, but a length is a whole number": lambda: fitted((x, y, np.full(8, 2.5))),
        "rng is a int: expected a numpy.random.Generator": lambda: fitted(rng=0),
        "data is a ndarray: expected": lambda: fitted(x),
        r"callbacks is .*: expected a sequence, each a scratchnet.training.trainer.Callback": lambda: fitted(
            callbacks=[Clip(1.0), lambda trainer: None]
        ),
        r"data is not \(x, target\)": lambda: fit_stream(stream, wave, optimizer, epochs=1, k1=2),
    }
    for message, call in kinds.items():
        with pytest.raises(TypeError, match=f"^{message}"):
            call()


def test_fused_updates_train_the_same(rng):
    """An optimiser with engine="step" brings its kernels to the norms and the clipping, and changes no number that matters."""
    pytest.importorskip("numba")
    x, y, losses = rng.standard_normal((20, 5, 1)), rng.standard_normal((20, 1)), {}
    for engine in ("array", "step"):
        seeded = np.random.default_rng(0)
        model = Sequential(
            rec=LSTM(1, 4, batch_first=True, return_sequences=False, rng=seeded), head=Linear(4, 1, rng=seeded)
        )
        history = fit(
            model,
            Batches(x, y, batch_size=8),
            Adam(lr=0.01, engine=engine),
            epochs=3,
            rng=seeded,
            callbacks=[Clip(0.1)],
            progress=False,
        )
        losses[engine] = [*history.column("loss"), *(step["grad_norm"] for step in history.steps)]
    np.testing.assert_allclose(losses["step"], losses["array"], rtol=1e-12)
