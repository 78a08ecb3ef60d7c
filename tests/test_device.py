"""Nothing leaves the device: every part of the library on an array that refuses to become a NumPy array, or to meet one."""

from functools import partial

import numpy as np
import pytest
import scratchnet
from scratchnet import engines, losses
from scratchnet.gradcheck import check_layer
from scratchnet.layers import GRU, LAYERS, LSTM, Linear, Sequential
from scratchnet.layers.attend import attend, attend_backward
from scratchnet.models import EncoderDecoder, Hybrid, Vocabulary, character_model, sample, streams
from scratchnet.tracing import jacobians, per_loss_gradients
from scratchnet.training import (
    L1,
    Adam,
    Batches,
    Clip,
    Cosine,
    EarlyStopping,
    Freeze,
    GradientMonitor,
    HalfTrainer,
    bptt,
    checkpoint,
    clip,
    fit,
    fit_stream,
    predict,
)
from scratchnet.training.augment import both, gaussian_noise, time_warp
from scratchnet.training.distil import Distillation, distillation_target
from scratchnet.training.optim import OPTIMIZERS

from conftest import RECURRENT, VARIANTS
from device_array import TRANSFERS, DeviceArray, ImplicitTransfer, on_device


@pytest.fixture(autouse=True)
def only_arrays(monkeypatch):
    """The engine of the plain arrays too is ``array``: both sides must agree to the last bit."""
    monkeypatch.setattr(engines, "kernels", lambda: None)


@pytest.fixture(autouse=True)
def transfers():
    """The crossings recorded during one test."""
    TRANSFERS.clear()
    return TRANSFERS


def to_device(model):
    """Every parameter and gradient of a model, on the device."""
    for part in getattr(model, "layers", {"": model}).values():
        if part is not model and hasattr(part, "layers"):
            to_device(part)
            continue
        for table in (part._params, part._grads, part._buffers):
            for name in table:
                table[name] = on_device(table[name])
    return model


def host(value):
    return value._host if isinstance(value, DeviceArray) else value


def assert_same(device, plain, what=""):
    assert isinstance(device, DeviceArray), what
    np.testing.assert_array_equal(device._host, plain, err_msg=what)


def test_the_wall_is_a_wall():
    """The array itself refuses what CuPy refuses."""
    d = on_device(np.ones(3))
    for wrong in (
        lambda: np.asarray(d),
        lambda: d + np.ones(3),
        lambda: np.stack([d, np.ones(3)]),
        lambda: np.ones(3)[d],
        lambda: np.where(np.ones(3) > 0, d, d),
        lambda: np.linalg.norm(d - np.ones(3)),
        lambda: d.__setitem__(0, np.ones(1)),
    ):
        with pytest.raises(TypeError):
            wrong()
    assert isinstance(d + 1, DeviceArray)
    assert isinstance(np.tanh(d), DeviceArray)
    assert isinstance(d.sum(), DeviceArray)
    with pytest.raises(ImplicitTransfer):
        np.asarray(d)


@pytest.mark.parametrize("lengths", [None, [5, 1, 3]], ids=["full", "ragged"])
@pytest.mark.parametrize(("cell", "options"), VARIANTS)
def test_cells(cell, options, lengths, rng, transfers):
    """Forward and backward: the same numbers, and no transfer but that of the lengths; nothing waits inside the time loop."""
    shapes = [(3, 4)] * len(cell.STATES) + list(cell.param_shapes(2, 4).values())
    call = [rng.standard_normal((5, 3, 2)), *(rng.standard_normal(s) for s in shapes)]
    dy, last = rng.standard_normal((5, 3, 4)), [rng.standard_normal((3, 4)) for _ in cell.STATES]
    y, cache = cell.forward(*call, lengths=lengths, **options)
    grads = cell.backward(dy, cache, *last)
    device_y, device_cache = cell.forward(*map(on_device, call), lengths=lengths, **options)
    device_grads = cell.backward(on_device(dy), device_cache, *map(on_device, last))
    assert_same(device_y, y)
    for name, device, plain in zip(grads._fields, device_grads, grads):
        assert_same(device, plain, name)
    assert transfers == ([] if lengths is None else ["to device"])


@pytest.mark.parametrize(
    "options", [{}, {"lengths": [5, 2, 4]}, {"training": True}], ids=["plain", "ragged", "dropout"]
)
@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_layers(kind, options, rng, transfers):
    x, results = rng.standard_normal((5, 3, 2)), []
    for device in (False, True):
        seeded = np.random.default_rng(0)
        layer = RECURRENT[kind](2, 4, num_layers=2, bidirectional=True, dropout=0.5, rng=seeded)
        place = on_device if device else np.array
        if device:
            to_device(layer)
        y, cache = layer.forward(place(x), **options)
        dx, dstate = layer.backward_state(y, cache, cache.state_last)
        results.append([y, dx, *dstate, *layer.grads.values()])
    for plain, device in zip(*results):
        assert_same(device, plain)
    assert "to host" not in transfers
    assert "scalar" not in transfers


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in ("recurrent", "masked_lstm")])
def test_other_layers(name, transfers):
    """Each on all of its examples: the same numbers, also in its buffers, and nothing comes to the host."""
    examples = [list(LAYERS[name].examples(np.random.default_rng(0))) for _ in range(2)]
    for (label, plain, x, arguments), (_, device, _, _) in zip(*examples):
        to_device(device)
        transfers.clear()
        results = []
        for layer, place in ((plain, np.array), (device, on_device)):
            if hasattr(layer, "rng"):
                layer.rng = np.random.default_rng(1)
            y, cache = layer.forward(place(x), **arguments)
            dx = layer.backward(y, cache)
            results.append([y, *([] if dx is None else [dx]), *layer.grads.values(), *layer.buffers.values()])
        for ours, theirs in zip(*results):
            assert_same(theirs, ours, label)
        # the smallest and the largest token are looked at
        allowed = {"to device", "scalar"} if plain.tokens else {"to device"}
        assert set(transfers) <= allowed, label


@pytest.mark.parametrize("score", ["scaled", "dot", "additive"])
def test_attend(score, rng, transfers):
    """A static query over a sequence, with a mask and with more keys than queries."""
    q, k, v = (rng.standard_normal(shape) for shape in ((2, 1, 3), (2, 4, 3), (2, 4, 5)))
    mask, v_a = np.arange(4) < np.array([[[4]], [[2]]]), rng.standard_normal(3) if score == "additive" else None
    y, cache = attend(q, k, v, score, mask, v_a)
    grads = attend_backward(y, cache)
    given = [None if a is None else on_device(a) for a in (mask, v_a)]
    device_y, device_cache = attend(*map(on_device, (q, k, v)), score, *given)
    assert_same(device_y, y)
    for device, plain in zip(attend_backward(device_y, device_cache), grads):
        assert device is plain is None or assert_same(device, plain) is None
    assert transfers == []


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses(name, masked, rng):
    y = rng.standard_normal((4, 3, 5))
    target = rng.integers(0, 5, (4, 3)) if name == "softmax_cross_entropy" else rng.random((4, 3, 5))
    mask = rng.random((4, 3)) < 0.7 if masked else None
    value, dy = losses.LOSSES[name](y, target, mask)
    device_value, device_dy = losses.LOSSES[name](
        on_device(y), on_device(target), None if mask is None else on_device(mask)
    )
    assert device_value == value
    assert isinstance(device_value, float)
    assert_same(device_dy, dy)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers(name, rng, transfers):
    params, grads = ({"W": rng.standard_normal((3, 2)), "b": rng.standard_normal(2)} for _ in range(2))
    device_params, device_grads = ({k: on_device(v) for k, v in d.items()} for d in (params, grads))
    plain, device = (OPTIMIZERS[name](lr=0.1) for _ in range(2))
    for _ in range(3):
        plain.step(params, grads)
        device.step(device_params, device_grads)
    for key, p in params.items():
        assert_same(device_params[key], p)
    assert transfers == []


@pytest.mark.parametrize("name", clip.CLIPS)
def test_clipping(name, rng, transfers):
    grads = {"W": rng.standard_normal((3, 2)), "b": rng.standard_normal(2)}
    device = {k: on_device(v) for k, v in grads.items()}
    assert clip.CLIPS[name](device, 0.1) == clip.CLIPS[name](grads, 0.1)
    for key, g in grads.items():
        assert_same(device[key], g)
    assert len(transfers) == 1  # the norms of all tensors, once


def model_of(rng, **options):
    return Sequential(rec=LSTM(1, 4, num_layers=2, dropout=0.2, rng=rng, **options), head=Linear(4, 1, rng=rng))


def test_the_training_loop(rng):
    """fit, with clipping, validation, early stopping and lengths; the same history as on the host."""
    x, y = rng.standard_normal((20, 6, 1)), rng.standard_normal((20, 1))
    lengths = rng.integers(1, 7, 20)
    histories = []
    for device in (False, True):
        seeded = np.random.default_rng(0)
        model = model_of(seeded, batch_first=True, return_sequences=False)
        place = on_device if device else np.array
        if device:
            to_device(model)
        history = fit(
            model,
            Batches(place(x), place(y), lengths=place(lengths), batch_size=8),
            Adam(0.01),
            epochs=3,
            rng=seeded,
            validation=(place(x), place(y), place(lengths)),
            callbacks=[Clip(0.1), EarlyStopping(2)],
            progress=False,
        )
        histories.append((history.steps, history.column("val_loss"), host(predict(model, place(x)))))
    assert histories[0][0] == histories[1][0]
    assert histories[0][1] == histories[1][1]
    np.testing.assert_array_equal(histories[0][2], histories[1][2])


def test_targets_of_every_step_with_padding(rng):
    """The mask follows the targets to where they are."""
    x, y, lengths = rng.standard_normal((9, 5, 1)), rng.standard_normal((9, 5, 1)), rng.integers(1, 6, 9)
    y[np.arange(5) >= lengths[:, None]] = np.nan
    histories = []
    for device in (False, True):
        seeded = np.random.default_rng(0)
        model, place = model_of(seeded, batch_first=True), on_device if device else np.array
        if device:
            to_device(model)
        data = place(x), place(y), place(lengths)
        history = fit(
            model, Batches(*data, batch_size=4), Adam(0.01), epochs=2, rng=seeded, validation=data, progress=False
        )
        histories.append((history.steps, history.column("train_loss"), history.column("val_loss")))
    assert histories[0] == histories[1]


def test_truncated_and_stateful_training(rng):
    x, target = rng.standard_normal((12, 2, 1)), rng.standard_normal((12, 2, 1))
    steps = []
    for device in (False, True):
        model = Sequential(rec=GRU(1, 4, rng=np.random.default_rng(0)), head=Linear(4, 1, rng=np.random.default_rng(0)))
        place = on_device if device else np.array
        if device:
            to_device(model)
        steps.append(
            fit_stream(
                model,
                (place(x), place(target)),
                Adam(0.01),
                epochs=2,
                k1=3,
                k2=5,
                callbacks=[Clip(1.0)],
                progress=False,
            ).steps
        )
    assert steps[0] == steps[1]
    layer = to_device(LSTM(1, 3, rng=rng))
    y, cache = layer.forward(on_device(x))
    assert isinstance(bptt.truncated(layer.cell, y, cache.cell_caches[0], 2, 4).dW_h, DeviceArray)


@pytest.mark.parametrize("kind", RECURRENT)
def test_traces(kind, rng, transfers):
    """Every array of a trace is on the device; saving is where it comes to the host, by name."""
    x, target = rng.standard_normal((5, 2, 2)), rng.standard_normal((5, 2, 1))
    traces = []
    for device in (False, True):
        seeded = np.random.default_rng(0)
        model = Sequential(rec=RECURRENT[kind](2, 3, bidirectional=True, rng=seeded), head=Linear(6, 1, rng=seeded))
        place = on_device if device else np.array
        if device:
            to_device(model)
        traces.append(scratchnet.trace(model, place(x), place(target), lengths=[5, 3]))
    assert "to host" not in transfers
    plain, device = traces
    for name, run in plain.runs.items():
        for array in run:
            assert_same(device[name][array], run[array], array)
        np.testing.assert_array_equal(host(jacobians(device[name], 1)), jacobians(run, 1))
        np.testing.assert_array_equal(host(per_loss_gradients(device[name], 0).size), per_loss_gradients(run, 0).size)
    assert str(device) == str(plain)


def test_a_trace_from_the_device_is_saved_viewed_and_drawn(rng, tmp_path):
    from scratchnet import plots

    model = to_device(Sequential(rec=LSTM(2, 3, rng=rng), head=Linear(3, 1, rng=rng)))
    trace = scratchnet.trace(
        model, on_device(rng.standard_normal((5, 1, 2))), on_device(rng.standard_normal((5, 1, 1)))
    )
    trace.save(tmp_path / "t.npz")
    assert scratchnet.load_trace(tmp_path / "t.npz").loss == trace.loss
    scratchnet.to_html(trace, tmp_path / "t.html")
    plots.gates(trace)
    plots.gradient_norms({"LSTM": trace})
    checkpoint.save(model, tmp_path / "m.npz")
    checkpoint.load(model, tmp_path / "m.npz")


def test_the_gradient_check(rng):
    layer = to_device(GRU(2, 3, rng=rng))
    assert check_layer(layer, on_device(rng.standard_normal((4, 2, 2)))).ok


def test_mixing_kinds_is_refused_with_a_sentence(rng):
    layer = LSTM(2, 3, rng=rng)
    with pytest.raises(TypeError, match="x is an array of device_array but W_x_l0 is one of numpy: move one of them"):
        layer.forward(on_device(rng.standard_normal((4, 1, 2))))


# ---- practice and whole models -----------------------------------------------------------------------------------------


def both_sides(make, train):
    """What ``train(model, place)`` returns on the host and on the device, each with a model and random numbers of its own."""
    results = []
    for device in (False, True):
        seeded = np.random.default_rng(0)
        model = make(seeded)
        if device:
            to_device(model)
        results.append(train(model, on_device if device else np.array, seeded))
    return results


@pytest.mark.parametrize(
    "name", ["hybrid concat", "hybrid attention", "forecast", "teacher forcing", "scheduled sampling"]
)
def test_models_of_several_branches(name, rng):
    """Their examples, forward and backward, and the parameters' gradients."""
    kind, label = (Hybrid, name.split()[1]) if name.startswith("hybrid") else (EncoderDecoder, name)

    def run(model, place, seeded):
        (example,) = [e for e in kind.examples(np.random.default_rng(1)) if e.label == label]
        x = tuple(map(place, example.x)) if isinstance(example.x, tuple) else place(example.x)
        arguments = dict(example.arguments)
        if "target" in arguments:
            arguments["target"] = place(arguments["target"])
        y, cache = model.forward(x, **arguments)
        dx = model.backward(y, cache)
        return [y, *(dx if isinstance(dx, tuple) else [dx]), *model.grads.values()]

    def make(seeded):
        (example,) = [e for e in kind.examples(np.random.default_rng(1)) if e.label == label]
        example.layer.rng = seeded
        return example.layer

    plain, device = both_sides(make, run)
    for ours, theirs in zip(plain, device):
        assert_same(theirs, ours, name)


def test_practice_on_the_device(rng):
    """Penalties, frozen names, buckets, augmentation, schedules and the monitor: the same steps, to the last bit."""
    x, y, lengths = rng.standard_normal((20, 6, 1)), rng.standard_normal((20, 1)), rng.integers(2, 7, 20)

    def train(model, place, seeded):
        optimizer, monitor = Adam(0.01), GradientMonitor()
        history = fit(
            model,
            Batches(
                place(x),
                place(y),
                lengths=lengths,
                batch_size=8,
                bucket=True,
                augment=both(gaussian_noise(0.1), time_warp(0.2)),
            ),
            optimizer,
            epochs=2,
            rng=seeded,
            callbacks=[Cosine(optimizer, 5, each="update"), L1(1e-3), Freeze("head.b"), monitor],
            progress=False,
        )
        return history.steps, monitor.norms

    plain, device = both_sides(lambda r: model_of(r, batch_first=True, return_sequences=False), train)
    assert plain == device


def test_distillation_and_quantiles_on_the_device(rng):
    y, teacher, labels = rng.standard_normal((6, 3)), rng.standard_normal((6, 3)), rng.integers(0, 3, 6)
    value, dy = Distillation()(y, distillation_target(labels, teacher))
    target = distillation_target(on_device(labels), on_device(teacher))
    device_value, device_dy = Distillation()(on_device(y), target)
    assert device_value == value
    assert_same(device_dy, dy)
    value, dy = losses.quantile([0.1, 0.9])(y[:, :2], y[:, 2:])
    device_value, device_dy = losses.quantile([0.1, 0.9])(on_device(y[:, :2]), on_device(y[:, 2:]))
    assert device_value == value
    assert_same(device_dy, dy)


@pytest.mark.underflows
def test_mixed_precision_on_the_device(rng):
    x, y = rng.standard_normal((12, 6, 1)).astype(np.float32), rng.standard_normal((12, 1)).astype(np.float32)

    def train(model, place, seeded):
        history = fit(
            model,
            Batches(place(x), place(y), batch_size=4),
            Adam(0.01),
            epochs=2,
            rng=seeded,
            callbacks=[Clip(1.0)],
            progress=False,
            trainer=partial(HalfTrainer, scale=2.0**20),
        )
        return history.steps

    plain, device = both_sides(
        lambda r: model_of(r, batch_first=True, return_sequences=False).astype(np.float32), train
    )
    assert plain == device
    assert sum(step["skipped"] for step in plain) > 0


def test_a_character_model_writes_from_the_device(rng):
    vocabulary = Vocabulary.of("abcd ")
    tokens, target = streams(vocabulary.encode("abcd abdc " * 6), 3)

    def train(model, place, seeded):
        fit_stream(
            model,
            (place(tokens), place(target)),
            Adam(0.02),
            epochs=2,
            k1=5,
            loss=losses.softmax_cross_entropy,
            progress=False,
        )
        return sample(model, vocabulary, "ab", 12, rng=seeded, top_k=3)

    plain, device = both_sides(lambda r: character_model(5, 6, rng=r, features=4), train)
    assert plain == device
