"""Which targets of a padded batch count, in fit, in validation and in a trace: those of each sequence alone."""

from functools import partial

import numpy as np
import pytest
from scratchnet import losses
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.layers import (
    GRU,
    LAYERS,
    LSTM,
    AveragePool1d,
    BatchNorm1d,
    Composite,
    Conv1d,
    GlobalMaxPool,
    LayerNorm,
    Linear,
    MaxPool1d,
    Sequential,
)
from scratchnet.models import EncoderDecoder, Hybrid
from scratchnet.tracing import trace
from scratchnet.training import SGD, Batches, HalfTrainer, fit, predict
from scratchnet.training.padding import output_lengths
from scratchnet.training.samples import check_samples

from rounding import tolerance

T, D = 13, 2
LENGTHS = np.array([13, 5, 9, 7, 6])


def shortened(rng, first):
    """Every layer that shortens time, alone, on top of each other and inside a Sequential in a Sequential."""
    conv = partial(Conv1d, D, D, rng=rng, batch_first=first)
    pool = {"batch_first": first}
    return {
        "valid convolution": [conv(3, padding="valid")],
        "strided convolution": [conv(3, stride=2)],
        "causal, strided": [conv(2, stride=3, padding="causal")],
        "valid, strided, dilated": [conv(2, stride=2, dilation=2, padding="valid")],
        "maximum": [MaxPool1d(2, **pool)],
        "average, overlapping": [AveragePool1d(3, 2, **pool)],
        "two of them": [conv(3, stride=2), MaxPool1d(2, **pool)],
        "nested": [Sequential(conv(2, padding="valid"), Sequential(AveragePool1d(2, **pool)))],
        "none": [],
    }


KINDS = [*shortened(np.random.default_rng(0), True)]


def model_of(kind, rng, outputs=2, first=True):
    layers = shortened(rng, first)[kind]
    return Sequential(*layers, GRU(D, 3, rng=rng, batch_first=first), Linear(3, outputs, rng=rng))


def batch_of(model, rng, garbage, outputs=2, classes=False):
    """x (N, T, D) and y (N, T', outputs) with garbage in the padding of both, and each sequence's own pair."""
    x = np.full((len(LENGTHS), T, D), garbage)
    steps = predict(model, np.zeros((1, T, D))).shape[1]
    y = np.full((len(LENGTHS), steps), -1) if classes else np.full((len(LENGTHS), steps, outputs), garbage)
    alone = []
    for n, length in enumerate(LENGTHS):
        own_x = rng.standard_normal((length, D))
        own_steps = predict(model, own_x[None]).shape[1]
        own_y = rng.integers(0, outputs, own_steps) if classes else rng.random((own_steps, outputs))
        x[n, :length], y[n, :own_steps] = own_x, own_y
        alone.append((own_x[None], own_y[None]))
    return x, y, alone


LOSSES = {**losses.LOSSES, "quantile": losses.quantile([0.1, 0.9])}


def mean_of_each_alone(model, alone, loss, weights):
    """The loss and its gradients from sequences that have no padding, one after the other."""
    total, parts = 0.0, []
    for (x, y), weight in zip(alone, weights):
        out, cache = model.forward(x)
        value, dy = loss(out, y)
        parts.append((value, dy, cache, weight * y.size))
        total += weight * y.size
    model.zero_grad()
    for _, dy, cache, share in parts:
        model.backward(dy * share / total, cache)
    return sum(value * share for value, _, _, share in parts) / total, {k: g.copy() for k, g in model.grads.items()}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_padded_batch_is_that_of_its_sequences_alone(kind, name, rng):
    """In a step of fit, in validation and in a trace, with sample weights and without, both orders of the axes."""
    loss, classes = LOSSES[name], name == "softmax_cross_entropy"
    model = model_of(kind, rng, 4 if name == "quantile" else 2)
    x, y, alone = batch_of(model, rng, 7.0 if name == "binary_cross_entropy" else 1e3, classes=classes)
    for weights in (None, np.array([1.0, 2.0, 0.5, 1.0, 3.0])):
        expected, grads = mean_of_each_alone(model, alone, loss, np.ones(5) if weights is None else weights)
        close = partial(np.testing.assert_allclose, rtol=tolerance(float, y.size, T * D, 50), atol=1e-14)
        data = Batches(x, y, lengths=LENGTHS, weights=weights, batch_size=5)
        before = {key: p.copy() for key, p in model.params.items()}
        history = fit(model, data, SGD(1.0), epochs=1, rng=rng, loss=loss, validation=data, progress=False)
        close(history.steps[0]["loss"], expected)
        for key, p in model.params.items():
            close(before[key] - p, grads[key], atol=1e-12)
            p[...] = before[key]
        history = fit(model, data, SGD(1e-30), epochs=1, rng=rng, loss=loss, validation=data, progress=False)
        close(history.epochs[0]["val_loss"], expected)
        pictured = trace(model, x, y, loss, lengths=LENGTHS, weights=weights)
        close(pictured.loss, expected)
        close(pictured.run.grads["dW_h"], grads[next(key for key in grads if key.endswith("W_h_l0"))], atol=1e-12)
        first = model_of(kind, rng, 4 if name == "quantile" else 2, first=False)
        for p, q in zip(first.params.values(), model.params.values()):
            p[...] = q
        turned = trace(first, x.swapaxes(0, 1), y.swapaxes(0, 1), loss, lengths=LENGTHS, weights=weights)
        close(turned.loss, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_buckets_cut_targets_where_the_shortened_outputs_end(kind, rng):
    model = model_of(kind, rng)
    x, y, alone = batch_of(model, rng, np.nan)
    x = np.nan_to_num(x)
    expected, _ = mean_of_each_alone(model, alone, losses.mse, np.ones(5))
    data = Batches(x, y, lengths=LENGTHS, batch_size=2, bucket=True)
    history = fit(model, data, SGD(1e-30), epochs=1, rng=rng, progress=False)
    assert history.epochs[0]["train_loss"] == pytest.approx(expected, rel=1e-12)


def test_a_forecast_of_as_many_steps_as_the_window_has_no_padding(rng):
    """The horizon is not the time of x, also where both have as many steps; so are the outputs of a Hybrid."""
    x, y, lengths = rng.standard_normal((4, 3, 2)), rng.standard_normal((4, 3, 1)), [3, 1, 2, 3]
    model = EncoderDecoder(2, 1, 3, 3, rng=rng, teacher=0.0)
    assert check_samples(model, x, y, lengths).mask is None
    hybrid = Hybrid(2, 2, 3, rng=rng)
    assert check_samples(hybrid, (x, x[:, 0]), y[:, :, 0], lengths).mask is None


def test_every_layer_says_how_many_steps_it_leaves(rng):
    """lengths_after of T is the number of steps of y, for every example of every layer that takes lengths."""
    seen = set()
    for name, layer_class in LAYERS.items():
        for example in layer_class.examples(rng):
            layer, x = example.layer, example.x
            if not layer.ragged or x.ndim != 3:
                continue
            axis = 1 if layer.batch_first else 0
            y, _ = layer.forward(x)
            after = layer.lengths_after(np.array([x.shape[axis]]))
            assert after is None or after[0] == y.shape[axis], example.label
            assert (after is None) == (y.ndim < 3 or name == "flatten")
            seen.add(name)
    assert len(seen) >= 8


class Halved(LayerNorm):
    """A layer that shortens time and does not say so."""

    def forward(self, x, training=False):
        y, cache = super().forward(x[:, ::2])
        return y, (cache, x.shape)


class Silent(Composite):
    """A model over time without lengths_after."""

    def forward(self, x, training=False, lengths=None):
        return self.layers["rec"].forward(x, lengths=lengths)


def test_a_layer_that_does_not_say_how_it_changes_time_is_refused(rng):
    x, y = rng.standard_normal((3, 6, 2)), rng.standard_normal((3, 3, 2))
    model = Sequential(LSTM(2, 2, rng=rng, batch_first=True), Halved(2))
    with pytest.raises(InvalidValueError, match=r"by its lengths_after 6 steps become 6: which targets are padding"):
        check_samples(model, x, y, [6, 2, 4])
    with pytest.raises(InvalidTypeError, match="Silent has layers that look along time, but no lengths_after"):
        check_samples(Silent({"rec": LSTM(2, 2, rng=rng, batch_first=True)}), x, x, [6, 2, 4])
    assert output_lengths(model, None, 6, y) is None
    assert Silent({"rec": LSTM(2, 2, rng=rng)}).lengths_after(None) is None
    assert Silent({"head": Linear(2, 2, rng=rng)}).lengths_after([6, 2]) == [6, 2]


def test_a_sequence_too_short_for_a_layer_is_told_before_the_training(rng):
    model = Sequential(Conv1d(2, 2, 4, rng=rng, padding="valid", batch_first=True))
    with pytest.raises(InvalidValueError, match=r"is 2 but one window of the layer takes 4 steps"):
        check_samples(model, rng.standard_normal((3, 6, 2)), rng.standard_normal((3, 3, 2)), [6, 2, 4])


def test_layers_that_would_take_samples_for_time_are_refused(rng):
    x, y = rng.standard_normal((6, 6, 2)), rng.standard_normal((6, 2))
    with pytest.raises(InvalidValueError, match="0 takes time first, but fit gives samples first"):
        fit(Sequential(GlobalMaxPool()), (x, y), SGD(0.1), epochs=1, rng=rng, progress=False)
    rows = Sequential(Linear(2, 2, rng=rng), BatchNorm1d(2))
    fit(rows, (y, y), SGD(0.1), epochs=1, rng=rng, progress=False)


@pytest.mark.underflows
def test_float16_follows_the_lengths_too(rng):
    """The layers that compute in float16 answer as their own do."""
    model = Sequential(
        GRU(2, 3, rng=rng, batch_first=True, return_sequences=False), BatchNorm1d(3, batch_first=True)
    ).astype(np.float32)
    x, y = rng.standard_normal((5, T, 2)).astype(np.float32), rng.standard_normal((5, 3)).astype(np.float32)
    fit(model, (x, y, LENGTHS), SGD(0.01), epochs=1, rng=rng, trainer=HalfTrainer, progress=False)


def test_a_mask_of_targets(rng):
    """What it leaves out is not read; a sample of which nothing counts is left out; every mean is over what counts."""
    x, y = rng.standard_normal((9, 2)), rng.standard_normal((9, 3))
    mask = rng.random((9, 3)) < 0.5
    mask[4] = False
    model = Linear(2, 3, rng=rng)
    expected = np.mean((predict(model, x) - y)[mask] ** 2)
    y[~mask] = np.nan
    data = Batches(x, y, mask=mask, batch_size=2)
    history = fit(model, data, SGD(1e-30), epochs=1, rng=rng, validation=data, progress=False)
    assert history.epochs[0]["train_loss"] == pytest.approx(expected, rel=1e-12)
    assert history.epochs[0]["val_loss"] == pytest.approx(expected, rel=1e-12)
    for wrong, message in ((mask[:5], "mask is"), (mask * 2, "other values than"), (mask & False, "leave no target")):
        with pytest.raises(InvalidValueError, match=message):
            Batches(x, y, mask=wrong).samples(model)


def test_a_mask_and_lengths_leave_out_what_either_leaves_out(rng):
    model = model_of("strided convolution", rng)
    x, y, _ = batch_of(model, rng, 0.0)
    mask = rng.random(y.shape) < 0.7
    inside = np.arange(y.shape[1]) < ((LENGTHS - 1) // 2 + 1)[:, None]
    samples = Batches(x, y, lengths=LENGTHS, mask=mask).samples(model)
    np.testing.assert_array_equal(samples.mask, mask & inside[:, :, None])
    pictured = trace(model, x, y, "mse", lengths=LENGTHS, mask=mask)
    out = predict(model, x, lengths=LENGTHS)
    assert pictured.loss == pytest.approx(np.mean((out - y)[samples.mask] ** 2), rel=1e-12)
