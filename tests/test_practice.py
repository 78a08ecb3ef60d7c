"""Training practice: penalties, freezing, transfer, buckets, augmentation, the gradient monitor, distillation, float16."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from scratchnet.data import buckets
from scratchnet.gradcheck import check_gradient
from scratchnet.layers import GRU, LSTM, Dropout, Linear, ReLU, Sequential, Tanh
from scratchnet.losses import mse, softmax_cross_entropy
from scratchnet.training import (
    L1,
    L2,
    SGD,
    Adam,
    Batches,
    Callback,
    Clip,
    EarlyStopping,
    Freeze,
    GradientMonitor,
    HalfTrainer,
    Trainer,
    checkpoint,
    fit,
    predict,
)
from scratchnet.training.augment import both, gaussian_noise, time_warp
from scratchnet.training.distil import Distillation, distillation_target, soft_cross_entropy
from scratchnet.training.mixed import half


def small_model(rng, dtype=np.float64, **options):
    options = {"batch_first": True, "return_sequences": False, **options}
    return Sequential(rec=LSTM(2, 4, rng=rng, **options), head=Linear(4, 1, rng=rng)).astype(dtype)


def task(rng, n=24, T=6, dtype=np.float64):
    x = rng.standard_normal((n, T, 2)).astype(dtype)
    return x, x[:, -3:, :1].sum(axis=1)


# ---- penalties ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [L1(0.3), L2(0.3), L2(0.1, only="*.W_x_*"), L1(0.2, only=["rec.b*", "head.b"])])
def test_penalty_gradients(penalty, rng):
    model = small_model(rng)
    for p in model.params.values():
        p += 0.1 * rng.standard_normal(p.shape)
    model.zero_grad()
    grads, params = model.grads, model.params
    value = penalty(params, grads)
    assert value > 0

    def price():
        return penalty(params, {name: np.zeros_like(p) for name, p in params.items()})

    assert check_gradient(price, dict(params), dict(grads)).error <= 1e-6
    biases = [name for name, p in params.items() if p.ndim == 1]
    if penalty.only is None:
        assert not any(grads[name].any() for name in biases)


def test_l2_through_sgd_is_weight_decay(rng):
    x, y = task(rng)
    start = small_model(rng)
    priced, decayed = copy.deepcopy(start), copy.deepcopy(start)
    fit(
        priced, (x, y), SGD(0.05), epochs=2, rng=np.random.default_rng(1), callbacks=[L2(0.1, only="*")], progress=False
    )
    fit(decayed, (x, y), SGD(0.05, weight_decay=0.1), epochs=2, rng=np.random.default_rng(1), progress=False)
    for name, p in priced.params.items():
        np.testing.assert_allclose(p, decayed.params[name], rtol=1e-12, atol=1e-15)


def test_l1_makes_weights_small_and_the_price_is_recorded(rng):
    x = rng.standard_normal((200, 6))
    y = x[:, :1] - 2 * x[:, 1:2]  # four inputs mean nothing

    def weights(*penalties):
        model = Linear(6, 1, rng=np.random.default_rng(0))
        history = fit(
            model, (x, y), SGD(0.05), epochs=30, rng=np.random.default_rng(0), callbacks=penalties, progress=False
        )
        return np.abs(model.params["W"][:, 0]), history

    (free, _), (priced, history) = weights(), weights(L1(0.1))
    assert priced[2:].max() < 0.02
    assert priced[:2].min() > 0.8
    assert free[:2] == pytest.approx([1, 2], abs=1e-6)
    assert history.column("penalty")[-1] == pytest.approx(0.1 * priced.sum(), rel=0.02)


# ---- freezing and transfer ---------------------------------------------------------------------------------------------


def test_frozen_parameters_stay_and_take_no_part_in_clipping(rng):
    x, y = task(rng)
    model = small_model(rng)
    before = {name: p.copy() for name, p in model.params.items()}
    history = fit(
        model, (x, y), Adam(0.01), epochs=2, rng=rng, callbacks=[Clip(1e-3), L2(0.1), Freeze("rec.*")], progress=False
    )
    for name, p in model.params.items():
        assert np.array_equal(p, before[name]) == name.startswith("rec."), name
    heads = [name for name in model.params if name.startswith("head")]
    trainer = Trainer(model, SGD(0.0), callbacks=[Freeze("rec.*")])
    trainer.step((x, y), mse)
    norm = np.sqrt(sum(float(np.sum(model.grads[name] ** 2)) for name in heads))
    assert trainer.history.steps[0]["grad_norm"] == pytest.approx(norm)
    assert all(0 < factor < 1 for factor in history.column("clip_factor"))


def test_transfer_loads_the_body_and_trains_the_head(rng, tmp_path):
    x, y = task(rng)
    first = small_model(rng)
    fit(first, (x, y), Adam(0.01), epochs=3, rng=rng, progress=False)
    checkpoint.save(first, tmp_path / "body.npz")
    second = Sequential(
        rec=LSTM(2, 4, rng=rng, batch_first=True, return_sequences=False), classes=Linear(4, 3, rng=rng)
    )
    with pytest.raises(ValueError, match="does not fit the model"):
        checkpoint.load(second, tmp_path / "body.npz")
    checkpoint.load(second, tmp_path / "body.npz", only="rec.*")
    np.testing.assert_array_equal(second.params["rec.W_h_l0"], first.params["rec.W_h_l0"])
    labels = (y[:, 0] > 0).astype(np.int64)
    fit(
        second,
        (x, labels),
        Adam(0.01),
        epochs=3,
        rng=rng,
        loss=softmax_cross_entropy,
        callbacks=[Freeze("rec.*")],
        progress=False,
    )
    np.testing.assert_array_equal(second.params["rec.W_h_l0"], first.params["rec.W_h_l0"])


# ---- buckets -----------------------------------------------------------------------------------------------------------


def test_without_a_generator_lengths_rise_within_each_pool(rng):
    """The short ones first, as the docstring says; where a pool ends, they begin again."""
    lengths = rng.permutation(60)
    batches = list(buckets(lengths, 5, pool=4))
    for start in range(0, 12, 4):
        pool = np.concatenate(batches[start : start + 4])
        assert {*pool} == {*range(start * 5, start * 5 + 20)}
        assert (np.diff(lengths[pool]) > 0).all()


def test_buckets_hold_every_sequence_once_and_save_padding(rng):
    lengths = rng.integers(1, 50, size=203)
    batches = list(buckets(lengths, 16, rng))
    assert sorted(np.concatenate(batches)) == list(range(203))
    assert sorted(map(len, batches)) == sorted([16] * 12 + [11])

    def steps(parts):
        return sum(len(part) * int(lengths[part].max()) for part in parts)

    plain = np.array_split(rng.permutation(203), 13)
    assert steps(batches) < 1.15 * lengths.sum() < 0.8 * steps(plain)
    again = list(buckets(lengths, 16, rng))
    assert any(set(a) != set(b) for a, b in zip(batches, again))  # not the same batches in every epoch


def test_a_bucket_trains_as_the_padded_batch_does(rng):
    """One batch, all sequences short: cutting the padding off changes no number."""
    x = rng.standard_normal((6, 9, 2))
    lengths = np.array([3, 1, 4, 2, 4, 3])
    for sequences in (False, True):
        y = rng.standard_normal((6, 9, 1)) if sequences else rng.standard_normal((6, 1))
        start = small_model(rng, return_sequences=sequences)
        cut, padded = copy.deepcopy(start), copy.deepcopy(start)
        for model, bucket in ((cut, True), (padded, False)):
            fit(
                model,
                Batches(x, y, lengths=lengths, bucket=bucket),
                SGD(0.1),
                epochs=2,
                rng=np.random.default_rng(0),
                progress=False,
            )
        for name, p in cut.params.items():
            np.testing.assert_allclose(p, padded.params[name], rtol=1e-12, atol=1e-15)


# ---- augmentation ------------------------------------------------------------------------------------------------------


def test_noise_has_the_size_it_says_and_keeps_the_type(rng):
    x = np.zeros((50, 40, 3), np.float32)
    y = gaussian_noise(0.2)(x, rng, None)
    assert y.dtype == np.float32
    assert np.std(y) == pytest.approx(0.2, rel=0.02)
    assert not x.any()


def test_a_warp_moves_in_time_only(rng):
    T = 60
    x = np.stack([np.linspace(0, 1, T), np.sin(np.linspace(0, 9, T))], axis=1)[None].repeat(8, axis=0)
    y = time_warp(0.4)(x, rng, None)
    np.testing.assert_allclose(y[:, [0, -1]], x[:, [0, -1]], atol=1e-12)  # from the first step to the last
    assert (np.diff(y[:, :, 0], axis=1) > 0).all()  # time never runs backwards
    assert np.abs(y[:, :, 0] - x[:, :, 0]).max(axis=1).min() > 0.01  # and every sequence is warped
    np.testing.assert_allclose(y[:, :, 1], np.sin(9 * y[:, :, 0]), atol=0.01)  # both features alike
    assert (time_warp(0.4)(x.astype(np.float32), rng, None)).dtype == np.float32


def test_a_warp_stays_within_the_length(rng):
    x = rng.standard_normal((4, 10, 2))
    lengths = np.array([10, 1, 2, 5])
    y = both(time_warp(0.5), time_warp(0.5))(x, rng, lengths)
    for n, length in enumerate(lengths):
        np.testing.assert_array_equal(y[n, length:], x[n, length:])
        np.testing.assert_allclose(y[n, [0, length - 1]], x[n, [0, length - 1]], atol=1e-12)
        assert y[n, :length].max() <= x[n, :length].max() + 1e-12


def test_what_stands_in_the_padding_is_not_warped_in(rng):
    x = rng.standard_normal((2, 5, 1))
    x[0, 1:] = np.nan
    y = time_warp(0.3)(x, rng, [1, 5])
    assert y[0, 0, 0] == x[0, 0, 0]
    assert np.isfinite(y[1]).all()


def test_fit_augments_batches_and_not_the_validation_set(rng):
    x, y = task(rng)
    seen = []

    def spy(batch, generator, lengths):
        seen.append(batch.shape[0])
        return batch * 0

    model = small_model(rng)
    history = fit(
        model, Batches(x, y, batch_size=8, augment=spy), SGD(0.0), epochs=1, rng=rng, validation=(x, y), progress=False
    )
    assert seen == [8, 8, 8]
    assert history.column("val_loss")[0] == pytest.approx(mse(predict(model, x), y)[0])
    assert history.column("train_loss")[0] != pytest.approx(history.column("val_loss")[0])
    with pytest.raises(
        ValueError, match=r"augment made float64 of shape \(8, 5, 2\) of x, float64 of shape \(8, 6, 2\)"
    ):
        fit(
            model,
            Batches(x, y, batch_size=8, augment=lambda b, r, n: b[:, 1:]),
            SGD(0.0),
            epochs=1,
            rng=rng,
            progress=False,
        )


def test_batches_come_in_order_where_asked(rng):
    x = np.arange(20.0).reshape(10, 2)
    seen = []
    fit(
        Linear(2, 1, rng=rng),
        Batches(
            x, x[:, :1], batch_size=4, shuffle=False, augment=lambda batch, r, n: seen.append(batch.copy()) or batch
        ),
        SGD(0.0),
        epochs=2,
        rng=rng,
        progress=False,
    )
    np.testing.assert_array_equal(np.concatenate(seen), np.concatenate([x, x]))


# ---- stopping and watching ---------------------------------------------------------------------------------------------


class StopAfter(Callback):
    """Stops at the end of the second epoch, or in its first step."""

    def __init__(self, event):
        self.event = event

    def on_step(self, trainer):
        if self.event == "step" and trainer.epoch == 1:
            trainer.stop("enough steps")

    def on_epoch_end(self, trainer):
        if self.event == "epoch" and trainer.epoch == 1:
            trainer.stop("enough epochs")


def test_min_delta_and_a_callback_end_the_training(rng):
    x, y = task(rng)
    for callback, epochs, steps, reason in (
        (EarlyStopping(3, min_delta=1e9), 4, 12, "the validation loss has not improved for 3 epochs"),
        (StopAfter("epoch"), 2, 6, "enough epochs"),
        (StopAfter("step"), 2, 4, "enough steps"),
    ):
        data = Batches(x, y, batch_size=8)
        history = fit(
            small_model(rng),
            data,
            Adam(1e-3),
            epochs=9,
            rng=rng,
            validation=(x, y),
            callbacks=[callback],
            progress=False,
        )
        assert (len(history.epochs), len(history.steps), history.stopped) == (epochs, steps, reason)
        assert len(history.column("val_loss")) == epochs
    history = fit(small_model(rng), (x, y), Adam(1e-3), epochs=1, rng=rng, progress=False)
    assert history.stopped is None


def test_the_monitor_names_what_vanished_and_what_exploded(rng):
    x, y = task(rng)
    monitor = GradientMonitor()
    model = small_model(rng)
    model.layers["head"].params["W"][...] = 1e-12  # nothing gets through the head
    fit(model, Batches(x, y, batch_size=8), SGD(1e-9), epochs=2, rng=rng, callbacks=[monitor], progress=False)
    assert "rec.W_h_l0" in monitor.vanished()
    assert "head.b" not in monitor.vanished()
    assert not monitor.exploded()
    monitor.norms["head.b"][3] *= 1e6
    assert monitor.exploded() == [("head.b", 3)]
    assert "exploded 1 times" in monitor.report()
    assert monitor.report().count("vanished") == len(monitor.vanished()) > 0
    with pytest.raises(ValueError, match="has seen no step"):
        GradientMonitor().report()


# ---- distillation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 3)])
@pytest.mark.parametrize("hard", [0.0, 0.3, 1.0])
def test_distillation_gradient_and_torch(shape, hard, rng):
    y, teacher = rng.standard_normal(shape), 2 * rng.standard_normal(shape)
    labels = rng.integers(0, shape[-1], shape[:-1])
    loss, target = Distillation(3.0, hard), distillation_target(labels, teacher)
    value, dy = loss(y, target)
    assert check_gradient(lambda: loss(y, target)[0], {"y": y}, {"y": dy}).error <= 1e-6
    student = torch.tensor(y.reshape(-1, shape[-1]), requires_grad=True)
    soft = torch.nn.functional.kl_div(
        torch.log_softmax(student / 3, -1),
        torch.softmax(torch.tensor(teacher.reshape(-1, shape[-1])) / 3, -1),
        reduction="batchmean",
    )
    total = hard * torch.nn.functional.cross_entropy(student, torch.tensor(labels.ravel())) + (1 - hard) * 9 * soft
    total.backward()
    assert value == pytest.approx(float(total.detach()), rel=1e-12)
    np.testing.assert_allclose(dy.reshape(-1, shape[-1]), student.grad.numpy(), rtol=0, atol=1e-14)
    if len(shape) == 3:
        mask = np.array([[True, False]] * 3 + [[False, False]])
        masked, dy = loss(y, target, mask=mask)
        alone, d_alone = loss(y[:3, :1], target[:3, :1])
        assert masked == pytest.approx(alone, rel=1e-12)
        weights = np.array([1.0, 2.0, 0.5, 3.0])
        weighted, d_weighted = loss(y, target, weights=weights)
        each = np.array([loss(y[n], target[n])[0] for n in range(4)])
        assert weighted == pytest.approx(float(np.average(each, weights=weights)), rel=1e-12)
        assert check_gradient(lambda: loss(y, target, weights=weights)[0], {"y": y}, {"y": d_weighted}).error <= 1e-6
        np.testing.assert_allclose(dy[:3, :1], d_alone, rtol=1e-12)
        assert not dy[~mask].any()


@pytest.mark.parametrize("hard", [0.0, 0.3, 1.0])
def test_distillation_reads_nothing_that_its_mask_leaves_out(hard, rng):
    """NaN, infinities and labels that are none: value and gradient are those of what is kept, alone."""
    y, teacher, labels = rng.standard_normal((6, 4)), rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
    target, mask = distillation_target(labels, teacher), np.array([1, 0, 1, 0, 1, 0], dtype=bool)
    loss = Distillation(2.0, hard)
    value, dy = loss(y[mask], target[mask])
    target[1], target[3], target[5] = np.nan, np.inf, 1e300
    with np.errstate(all="raise"):
        masked, masked_dy = loss(y, target, mask)
    assert masked == value
    np.testing.assert_array_equal(masked_dy[mask], dy)
    np.testing.assert_array_equal(masked_dy[~mask], 0)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_class_that_the_teacher_excludes_costs_nothing(temperature, rng):
    """A logit of -inf: torch's kl_div has 0 there, and so has ours; the gradient is finite."""
    y, teacher = rng.standard_normal((5, 4)), rng.standard_normal((5, 4))
    teacher[0, 1] = teacher[1, :3] = teacher[4, 0] = -np.inf
    value, dy = soft_cross_entropy(y, teacher, temperature)
    own = torch.tensor(y, requires_grad=True)
    log_q = torch.log_softmax(own / temperature, dim=-1)
    p = torch.softmax(torch.tensor(teacher) / temperature, dim=-1)
    loss = torch.nn.functional.kl_div(log_q, p, reduction="batchmean")
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(dy, own.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_distillation_answers_bad_input(rng):
    y = rng.standard_normal((4, 3))
    cases = {
        "temperature is 0": lambda: Distillation(0),
        "temperature is -1": lambda: soft_cross_entropy(y, y, -1),
        "temperature is 0.0: expected a positive": lambda: soft_cross_entropy(y, y, 0.0),
        "teacher has NaN or": lambda: soft_cross_entropy(y, np.where(y == y[0, 0], np.nan, y)),
        "teacher has NaN or .inf": lambda: soft_cross_entropy(y, y + np.inf),
        "a label, the last number of a target": lambda: Distillation()(y, np.full((4, 4), 0.5)),
        "hard is 1.5: expected a share": lambda: Distillation(1, 1.5),
        r"labels is \(3,\) but teacher is \(4, 3\)": lambda: distillation_target(np.zeros(3, int), y),
        "labels go from 0 to 3 but the teacher knows 3 classes": lambda: distillation_target(np.array([0, 1, 2, 3]), y),
        r"target is \(4, 3\) but y is \(4, 3\)": lambda: Distillation()(y, y),
        r"mask \(4,\) keeps nothing": lambda: soft_cross_entropy(y, y, mask=np.zeros(4, bool)),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="labels are float64: expected whole numbers"):
        distillation_target(np.zeros(4), y)


# ---- mixed precision ---------------------------------------------------------------------------------------------------


def half_models():
    def rec(kind, rng):
        return Sequential(
            rec=kind(2, 8, rng=rng, batch_first=True, num_layers=2),
            inner=Sequential(a=Tanh(), b=Linear(8, 4, rng=rng), c=ReLU()),
            head=Linear(4, 1, rng=rng),
        )

    return {"lstm": lambda rng: rec(LSTM, rng), "gru": lambda rng: rec(GRU, rng)}


@pytest.mark.underflows
@pytest.mark.parametrize("kind", half_models())
def test_the_float16_pass_is_the_float32_pass_to_float16(kind, rng):
    model = half_models()[kind](rng).astype(np.float32)
    twin = half(model)
    x = rng.standard_normal((5, 7, 2)).astype(np.float32)
    y, cache = model.forward(x, lengths=[7, 2, 3, 7, 1])
    y16, cache16 = twin.forward(x, lengths=[7, 2, 3, 7, 1])
    assert y16.dtype == np.float32
    assert cache16.caches[0].cell_caches[0].h.dtype == np.float16  # what is kept of the pass is half as large
    np.testing.assert_allclose(y16, y, atol=5e-3)
    dy = np.ones_like(y)
    model.zero_grad(), twin.zero_grad()
    dx, dx16 = model.backward(dy, cache), twin.backward(dy, cache16)
    assert dx16.dtype == np.float32
    np.testing.assert_allclose(dx16, dx, atol=1e-2 * np.abs(dx).max())
    for name, grad in model.grads.items():
        assert twin.grads[name].dtype == np.float16
        np.testing.assert_allclose(twin.grads[name], grad, atol=2e-2 * np.abs(grad).max(), err_msg=name)


def test_outside_float16_is_refused_as_ever(rng):
    layer = Linear(2, 1, rng=rng).astype(np.float16)
    with pytest.raises(TypeError, match="W is float16, but a network computes in float32 or float64"):
        layer.forward(np.ones((3, 2), np.float16))


@pytest.mark.underflows
def test_mixed_precision_learns_what_float32_learns(rng):
    x, y = task(rng, n=64, dtype=np.float32)
    start = small_model(rng, np.float32)
    losses = {}
    halved = partial(HalfTrainer, scale=2.0**8)  # small enough for no step to be skipped: the same steps are compared
    for trainer in (Trainer, halved):
        model = copy.deepcopy(start)
        history = fit(
            model,
            Batches(x, y, batch_size=8),
            Adam(0.01),
            epochs=40,
            rng=np.random.default_rng(0),
            trainer=trainer,
            progress=False,
        )
        losses[trainer] = history.column("train_loss")
        assert all(p.dtype == np.float32 for p in model.params.values())
    assert losses[halved][-1] < 0.3 * losses[halved][0]
    assert losses[halved][-1] == pytest.approx(losses[Trainer][-1], rel=0.02)


@pytest.mark.underflows
def test_master_weights_keep_what_float16_would_lose(rng):
    """An update of 1e-5 a step beside a weight of 1: float16 has no number between 1 and 1.001."""
    model = Linear(1, 1, rng=rng).astype(np.float32)
    model.params["W"][...] = 1
    x = np.ones((4, 1), np.float32)
    trainer = HalfTrainer(model, SGD(1e-5), scale=2.0**10)
    for _ in range(10):
        trainer.step((x, x * 0), lambda y, t: (float(np.mean(y)), np.full_like(y, 1 / y.size)))
    assert model.params["W"][0, 0] == pytest.approx(1 - 1e-4, rel=1e-6)


@pytest.mark.underflows
def test_the_loss_scale_saves_small_gradients(rng):
    """A gradient of 1e-8 is zero in float16, and is there with a scale."""
    x = np.ones((1, 1), np.float32)

    def tiny(y, t):
        return float(y[0, 0]) * 1e-8, np.full_like(y, 1e-8)

    found = {}
    for scale in (1.0, 2.0**16):
        trainer = HalfTrainer(Linear(1, 1, rng=rng).astype(np.float32), SGD(0.0), scale=scale)
        trainer.step((x, x), tiny)
        found[scale] = float(trainer.model.grads["W"][0, 0])
    assert found[1.0] == 0
    assert found[2.0**16] == pytest.approx(1e-8, rel=1e-3)


@pytest.mark.underflows
def test_a_step_that_overflows_is_skipped_counted_and_halves_the_scale(rng):
    x, y = task(rng, dtype=np.float32)
    model = small_model(rng, np.float32)
    before = {name: p.copy() for name, p in model.params.items()}
    trainer = HalfTrainer(model, SGD(0.01), scale=2.0**24, patience=3)
    trainer.step((x * 50, y * 50), mse)
    assert trainer.skipped == 1
    assert trainer.scale == 2.0**23
    for name, p in model.params.items():
        np.testing.assert_array_equal(p, before[name])
    row = trainer.history.steps[0]
    assert (row["skipped"], row["scale"], row["clip_factor"]) == (1.0, 2.0**24, 0.0)
    while trainer.history.steps[-1]["skipped"]:
        trainer.step((x * 50, y * 50), mse)
    fits = trainer.scale
    for _ in range(2):
        trainer.step((x * 50, y * 50), mse)
    assert trainer.scale == 2 * fits  # three good steps: tried again
    assert trainer.history.column("skipped").count(1.0) == trainer.skipped
    assert len(trainer.history.steps) == trainer.skipped + 3
    assert trainer.optimizer.t == 3


def test_mixed_precision_answers_bad_input(rng):
    with pytest.raises(TypeError, match=r"rec\.W_x_l0 is float64 but master weights are float32"):
        HalfTrainer(small_model(rng), SGD(0.1))
    with pytest.raises(
        TypeError, match="Sequential has nothing that computes in float16: expected a layer of Linear, Recurrent"
    ):
        half(Sequential(Tanh(), Dropout(0.1, rng=rng)))
    with pytest.raises(ValueError, match="scale is 0"):
        HalfTrainer(small_model(rng, np.float32), SGD(0.1), scale=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x, y, m, r: fit(m, (x, y), SGD(0.1), epochs=1, rng=r, callbacks=[Freeze("lsmt.*")]),
            r"'lsmt.\*' fits no parameter: there are rec.W_x_l0",
        ),
        (
            lambda x, y, m, r: fit(m, (x, y), SGD(0.1), epochs=1, rng=r, callbacks=[Freeze("*")]),
            r"Freeze\('\*'\) fits every parameter of the model",
        ),
        (
            lambda x, y, m, r: fit(m, Batches(x, y, bucket=True), SGD(0.1), epochs=1, rng=r),
            "bucket is True but there are no lengths",
        ),
        (
            lambda x, y, m, r: fit(m, (x, y), SGD(0.1), epochs=1, rng=r, callbacks=[L1(0.1, only="nothing")]),
            "'nothing' fits no parameter",
        ),
        (lambda x, y, m, r: L2(-1), "strength is -1: expected 0 or a positive number"),
        (lambda x, y, m, r: gaussian_noise(0), "sigma is 0: expected a positive number"),
        (lambda x, y, m, r: time_warp(0.1, 1), "knots is 1: expected at least 2"),
        (lambda x, y, m, r: time_warp(0.1)(y, r, None), r"x is \(24, 1\): expected \(N, T, D\)"),
        (lambda x, y, m, r: buckets([3, 2], 0), "batch_size"),
    ],
)
def test_bad_input(call, message, rng):
    x, y = task(rng)
    with pytest.raises(ValueError, match=message):
        call(x, y, small_model(rng), rng)
