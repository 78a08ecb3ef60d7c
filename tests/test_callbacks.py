"""Callbacks: when each is told, in which order, and what those of the library do."""

import builtins
import csv

import numpy as np
import pytest
from scratchnet.layers import GRU, Linear, Sequential
from scratchnet.losses import mse
from scratchnet.training import (
    L2,
    SGD,
    Adam,
    Batches,
    Callback,
    Clip,
    CSVLogger,
    EarlyStopping,
    ModelCheckpoint,
    TensorBoardLogger,
    Trainer,
    checkpoint,
    fit,
    fit_stream,
    predict,
)
from scratchnet.training.trainer import EVENTS


def task(rng, n=16):
    x = rng.standard_normal((n, 2))
    return x, x[:, :1] - 2 * x[:, 1:]


def model_of(rng):
    return Sequential(head=Linear(2, 1, rng=rng))


def listening():
    """A callback with a list of what it was told, each time with how many steps and epochs there were."""
    told = []

    def method(event):
        return lambda self, trainer: told.append((event, len(trainer.history.steps), len(trainer.history.epochs)))

    callback = type("Told", (Callback,), {event: method(event) for event in EVENTS})()
    callback.told = told
    return callback


def test_what_is_told_and_when(rng):
    x, y = task(rng)
    told = listening()
    fit(
        model_of(rng),
        Batches(x, y, batch_size=8),
        SGD(0.1),
        epochs=2,
        rng=rng,
        validation=(x, y),
        callbacks=[told],
        progress=False,
    )
    names = [name for name, *_ in told.told]
    step = ["on_batch", "on_gradients", "on_clipped", "on_step"]
    epoch = ["on_epoch_begin", *step, *step, "on_validation", "on_epoch_end"]
    assert names == ["on_train_begin", *epoch, *epoch, "on_train_end"]
    assert told.told[4:6] == [("on_clipped", 0, 0), ("on_step", 1, 0)]
    assert told.told[10:12] == [("on_validation", 2, 1), ("on_epoch_end", 2, 1)]
    told = listening()
    wave = rng.standard_normal((6, 1, 2))
    fit_stream(GRU(2, 2, rng=rng), (wave, wave), SGD(0.1), epochs=1, k1=3, callbacks=[told], progress=False)
    step.remove("on_batch")
    names = [name for name, *_ in told.told]
    assert names == ["on_train_begin", "on_epoch_begin", *step, *step, "on_epoch_end", "on_train_end"]


def test_the_order_of_the_list_does_not_matter_for_penalties_and_clipping(rng):
    """The penalty's gradient is clipped, too, and the monitor sees it before."""
    x, y = task(rng)

    class Look(Callback):
        def on_gradients(self, trainer):
            self.norm = float(np.sqrt(sum(np.sum(g**2) for g in trainer.grads.values())))

    rows = []
    for place in (0, 1, 2):
        look = Look()
        callbacks = [L2(10.0), Clip(0.1)]
        callbacks.insert(place, look)
        history = fit(
            model_of(np.random.default_rng(0)), (x, y), SGD(0.1), epochs=1, rng=rng, callbacks=callbacks, progress=False
        )
        rows.append({**history.steps[0], "seen": look.norm})
    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["seen"] == pytest.approx(rows[0]["grad_norm"])
    assert rows[0]["clip_factor"] * rows[0]["grad_norm"] == pytest.approx(0.1, rel=1e-4)


def test_the_end_is_told_whatever_ended_the_training(rng):
    x, y = task(rng)

    class Broken(Callback):
        def on_step(self, trainer):
            raise KeyboardInterrupt

        def on_train_end(self, trainer):
            raise RuntimeError("this one fails at the end, too")

    told = listening()
    with pytest.raises(RuntimeError, match="fails at the end"):
        fit(model_of(rng), (x, y), SGD(0.1), epochs=3, rng=rng, callbacks=[told, Broken()], progress=False)
    assert [name for name, *_ in told.told][-2:] == ["on_step", "on_train_end"]

    class Refuses(Callback):
        def on_train_begin(self, trainer):
            raise ValueError("not with me")

    told, late = listening(), listening()
    with pytest.raises(ValueError, match="not with me"):
        fit(model_of(rng), (x, y), SGD(0.1), epochs=3, rng=rng, callbacks=[told, Refuses(), late], progress=False)
    assert [name for name, *_ in told.told] == ["on_train_begin", "on_train_end"]
    assert late.told == []


def test_a_batch_may_be_replaced(rng):
    x, y = task(rng)

    class Nothing(Callback):
        def on_batch(self, trainer):
            trainer.batch = trainer.batch._replace(x=0 * trainer.batch.x)

    model = model_of(rng)
    model.params["head.W"][...] = 1
    trainer = Trainer(model, SGD(0.0), [Nothing()])
    assert trainer.step((x, y), mse) == pytest.approx(float(np.mean(y**2)))
    assert not trainer.batch.x.any()


def test_checkpoints_of_the_best_and_of_every_epoch(rng, tmp_path):
    x, y = task(rng)
    model = model_of(rng)
    best, every = tmp_path / "best.npz", tmp_path / "epoch-{epoch}.npz"
    history = fit(
        model,
        (x, y),
        Adam(0.3),
        epochs=12,
        rng=rng,
        validation=(x, -y),
        callbacks=[ModelCheckpoint(best), ModelCheckpoint(every, every=True)],
        progress=False,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["best.npz", *(f"epoch-{k}.npz" for k in range(12))]
    )
    other = model_of(rng)
    for path in (best, tmp_path / f"epoch-{history.best_epoch}.npz"):
        checkpoint.load(other, path)
        np.testing.assert_array_equal(predict(other, x), predict(model, x))
    with pytest.raises(ValueError, match=r"path is best\.bin: expected a name that ends in \.npz"):
        ModelCheckpoint("best.bin")


def test_early_stopping_can_be_used_twice(rng):
    x, y = task(rng)
    stop, lengths = EarlyStopping(2), []
    for _ in range(2):
        model = model_of(np.random.default_rng(0))
        history = fit(
            model, (x, y), Adam(0.3), epochs=30, rng=rng, validation=(x, -y), callbacks=[stop], progress=False
        )
        lengths.append(len(history.epochs))
        assert mse(predict(model, x), -y)[0] == pytest.approx(min(history.column("val_loss")))
        assert history.stopped == "the validation loss has not improved for 2 epochs"
    assert lengths[0] == lengths[1] < 30


def test_csv_has_each_row_as_soon_as_it_is_there(rng, tmp_path):
    x, y = task(rng)
    seen = []

    class Reads(Callback):
        order = 1

        def on_epoch_end(self, trainer):
            seen.append(len((tmp_path / "epochs.csv").read_text().splitlines()))

    loggers = [CSVLogger(tmp_path / "epochs.csv"), CSVLogger(tmp_path / "steps.csv", each="step"), Reads()]
    history = fit(
        model_of(rng),
        Batches(x, y, batch_size=8),
        SGD(0.1),
        epochs=3,
        rng=rng,
        validation=(x, y),
        callbacks=loggers,
        progress=False,
    )
    assert seen == [2, 3, 4]
    for name, rows in (("epoch", history.epochs), ("step", history.steps)):
        with open(tmp_path / f"{name}s.csv", newline="") as file:
            written = list(csv.DictReader(file))
        assert [row.pop(name) for row in written] == [str(k) for k in range(len(rows))]
        assert [{k: float(v) for k, v in row.items()} for row in written] == rows
    with pytest.raises(ValueError, match="each is 'day': expected one of 'epoch', 'step'"):
        CSVLogger("x.csv", each="day")


def test_tensorboard_gets_every_number(rng, tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    x, y = task(rng)
    history = fit(
        model_of(rng),
        (x, y),
        SGD(0.1),
        epochs=3,
        rng=rng,
        validation=(x, y),
        callbacks=[TensorBoardLogger(tmp_path)],
        progress=False,
    )
    (path,) = tmp_path.iterdir()
    raw, at, found = path.read_bytes(), 0, {}
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 8], "little")
        event = Event.FromString(raw[at + 12 : at + 12 + size])
        at += size + 16
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    for each, rows in (("step", history.steps), ("epoch", history.epochs)):
        for name in rows[0]:
            expected = [(k, pytest.approx(row[name], rel=1e-6)) for k, row in enumerate(rows)]
            assert found[f"{each}/{name}"] == expected, name


def test_tensorboard_says_what_to_install(rng, tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **options):
        if name.startswith("tensorboardX"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match="TensorBoardLogger needs tensorboardX: pip install tensorboardX"):
        fit(
            model_of(rng),
            task(rng),
            SGD(0.1),
            epochs=1,
            rng=rng,
            callbacks=[TensorBoardLogger(tmp_path)],
            progress=False,
        )


# ---- sample weights -----------------------------------------------------------------------------


def test_weights_are_those_of_repeated_samples(rng):
    """A sample of weight 2 counts as often as the same one twice, and one of weight 0 not at all, in losses and in training."""
    x, y = task(rng, 6)
    weights = np.array([1, 2, 0, 1, 3, 1])
    repeated = np.repeat(np.arange(6), weights)
    results = []
    for data in (Batches(x, y, weights=weights, batch_size=9), Batches(x[repeated], y[repeated], batch_size=9)):
        model = model_of(np.random.default_rng(0))
        history = fit(model, data, SGD(0.1), epochs=4, rng=np.random.default_rng(0), validation=data, progress=False)
        results.append([*history.column("loss"), *history.column("train_loss"), *history.column("val_loss")])
        results[-1] += [float(p.sum()) for p in model.params.values()]
    np.testing.assert_allclose(results[0], results[1], rtol=1e-12)


def test_the_training_loss_is_weighted_over_batches(rng):
    """With weights that do not move: the mean over all samples, not over batches."""
    x, y = task(rng, 10)
    weights = rng.uniform(0.1, 3, 10)
    model = model_of(rng)
    expected = mse(predict(model, x), y, weights=weights)[0]
    data = Batches(x, y, weights=weights, batch_size=3)
    history = fit(model, data, SGD(1e-300), epochs=1, rng=rng, validation=data, progress=False)
    assert history.epochs[0]["train_loss"] == pytest.approx(expected, rel=1e-12)
    assert history.epochs[0]["val_loss"] == pytest.approx(expected, rel=1e-12)


def test_weights_of_ragged_sequences(rng):
    """Each step of a sequence has the sequence's weight; padding has none."""
    model = Sequential(rec=GRU(1, 3, batch_first=True, rng=rng), head=Linear(3, 1, rng=rng))
    x, y, lengths = rng.standard_normal((5, 6, 1)), rng.standard_normal((5, 6, 1)), np.array([6, 1, 3, 2, 5])
    weights = rng.uniform(0.1, 3, 5)
    kept = np.arange(6) < lengths[:, None]
    squares = ((predict(model, x, lengths=lengths) - y) ** 2)[:, :, 0]
    share = np.where(kept, weights[:, None], 0)
    data = Batches(x, y, lengths=lengths, weights=weights, batch_size=2, bucket=True)
    history = fit(model, data, SGD(1e-300), epochs=1, rng=rng, progress=False)
    assert history.epochs[0]["train_loss"] == pytest.approx(float((squares * share).sum() / share.sum()), rel=1e-12)
