"""The library on CuPy arrays, where a GPU is there: the same numbers as on the host, from cells to a training loop and a trace."""

import importlib
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import scratchnet
from scratchnet import losses
from scratchnet.cells import CELLS
from scratchnet.layers import LAYERS, LSTM, Linear, Sequential
from scratchnet.models import EncoderDecoder, Hybrid
from scratchnet.training import Batches, Clip, HalfTrainer, Trainer, fit, predict
from scratchnet.training.optim import OPTIMIZERS

from conftest import RECURRENT, VARIANTS

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cupy():
    """CuPy; conftest.py has skipped the test where it finds no GPU."""
    return importlib.import_module("cupy")


def close(device, host, tolerance=1e-10):
    assert type(device).__module__.startswith("cupy")
    scale = max(1.0, float(np.max(np.abs(host))))
    np.testing.assert_allclose(device.get(), host, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("lengths", [None, [5, 1, 3]], ids=["full", "ragged"])
@pytest.mark.parametrize(("cell", "options"), VARIANTS)
def test_cells(cupy, cell, options, lengths, rng):
    shapes = [(5, 3, 2)] + [(3, 4)] * len(cell.STATES) + list(cell.param_shapes(2, 4).values())
    call = [rng.standard_normal(s) for s in shapes]
    dy, last = rng.standard_normal((5, 3, 4)), [rng.standard_normal((3, 4)) for _ in cell.STATES]
    y, cache = cell.forward(*call, lengths=lengths, **options)
    device_y, device_cache = cell.forward(*map(cupy.asarray, call), lengths=lengths, **options)
    close(device_y, y)
    grads = cell.backward(dy, cache, *last)
    for device, host in zip(cell.backward(cupy.asarray(dy), device_cache, *map(cupy.asarray, last)), grads):
        close(device, host)


@pytest.mark.parametrize("engine", ["array", "step", "sequence"])
@pytest.mark.parametrize("kind", RECURRENT)
def test_layers_and_engines(cupy, kind, engine, rng):
    dtype, tolerance = (np.float32, 1e-5) if engine == "sequence" else (np.float64, 1e-10)
    x, results = rng.standard_normal((6, 3, 2)).astype(dtype), []
    for device in (False, True):
        seeded = np.random.default_rng(0)
        layer = RECURRENT[kind](
            2, 4, num_layers=2, bidirectional=True, rng=seeded, engine=engine if device else "array", dtype=dtype
        )
        layer.to("cupy" if device else "numpy")
        y, cache = layer.forward(cupy.asarray(x) if device else x, lengths=[6, 2, 4])
        dx, dstate = layer.backward_state(y, cache, cache.state_last)
        results.append([y, dx, *dstate, *layer.grads.values()])
    for host, device in zip(*results):
        close(device, host, tolerance)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses(cupy, name, rng):
    y = rng.standard_normal((4, 3, 5))
    target = rng.integers(0, 5, (4, 3)) if name == "softmax_cross_entropy" else rng.random((4, 3, 5))
    value, dy = losses.LOSSES[name](y, target)
    device_value, device_dy = losses.LOSSES[name](cupy.asarray(y), cupy.asarray(target))
    assert device_value == pytest.approx(value, rel=1e-12)
    close(device_dy, dy)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_loop(cupy, name, rng):
    x, y, runs = rng.standard_normal((40, 6, 1)), rng.standard_normal((40, 1)), []
    for where in ("numpy", "cupy"):
        seeded = np.random.default_rng(0)
        model = Sequential(
            rec=LSTM(1, 4, num_layers=2, dropout=0.2, batch_first=True, return_sequences=False, rng=seeded),
            head=Linear(4, 1, rng=seeded),
        ).to(where)
        place = np.asarray if where == "numpy" else cupy.asarray
        history = fit(
            model,
            Batches(place(x), place(y), batch_size=8),
            OPTIMIZERS[name](lr=0.01),
            epochs=3,
            rng=seeded,
            callbacks=[Clip(0.5)],
            progress=False,
        )
        runs.append((history.column("loss"), predict(model, place(x))))
    np.testing.assert_allclose(runs[1][0], runs[0][0], rtol=1e-8)
    close(runs[1][1], runs[0][1], 1e-8)


def test_a_trace(cupy, rng):
    x, target = rng.standard_normal((5, 2, 2)), rng.standard_normal((5, 2, 1))
    model = Sequential(rec=LSTM(2, 3, bidirectional=True, rng=rng), head=Linear(6, 1, rng=rng))
    plain = scratchnet.trace(model, x, target, lengths=[5, 3])
    device = scratchnet.trace(model.to("cupy"), cupy.asarray(x), cupy.asarray(target), lengths=[5, 3])
    for name, run in plain.runs.items():
        for array in run:
            close(device[name][array], run[array])


def placed(cupy, value):
    """Arrays of a floating or whole type on the GPU, also in tuples; anything else as it is."""
    if isinstance(value, (tuple, list)):
        return type(value)(placed(cupy, v) for v in value)
    return cupy.asarray(value) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in ("recurrent", "masked_lstm")])
def test_every_layer_on_its_examples(cupy, name):
    examples = [list(LAYERS[name].examples(np.random.default_rng(0))) for _ in range(2)]
    for (_, plain, x, arguments), (_, device, _, _) in zip(*examples):
        results = []
        for layer, given in ((plain, x), (device.to("cupy"), placed(cupy, x))):
            if hasattr(layer, "rng"):
                layer.rng = np.random.default_rng(1)
            y, cache = layer.forward(given, **arguments)
            dx = layer.backward(y, cache)
            results.append([y, *([] if dx is None else [dx]), *layer.grads.values()])
        for host, there in zip(*results):
            close(there, host)


@pytest.mark.parametrize("kind", [Hybrid, EncoderDecoder])
def test_models_of_several_branches(cupy, kind):
    examples = [list(kind.examples(np.random.default_rng(0))) for _ in range(2)]
    for (_, plain, x, arguments), (_, device, _, _) in zip(*examples):
        results = []
        for model, on_gpu in ((plain, False), (device.to("cupy"), True)):
            model.rng = np.random.default_rng(1)
            given = placed(cupy, x) if on_gpu else x
            more = {key: placed(cupy, v) if on_gpu and key == "target" else v for key, v in arguments.items()}
            y, cache = model.forward(given, **more)
            dx = model.backward(y, cache)
            results.append([y, *(dx if isinstance(dx, tuple) else [dx]), *model.grads.values()])
        for host, there in zip(*results):
            close(there, host)


def test_mixed_precision(cupy, rng):
    """float16 products with float32 master weights: learns as float32 does, and skips what overflows."""
    x = rng.standard_normal((64, 12, 4)).astype(np.float32)
    y = x[:, -3:, :1].sum(axis=1)
    losses_of = {}
    for trainer in (Trainer, partial(HalfTrainer, scale=2.0**8)):
        seeded = np.random.default_rng(0)
        model = Sequential(
            rec=LSTM(4, 32, batch_first=True, return_sequences=False, rng=seeded), head=Linear(32, 1, rng=seeded)
        )
        model.astype(np.float32).to("cupy")
        history = fit(
            model,
            (cupy.asarray(x), cupy.asarray(y)),
            OPTIMIZERS["adam"](lr=0.01),
            epochs=20,
            rng=seeded,
            trainer=trainer,
            progress=False,
        )
        losses_of[trainer] = history.column("train_loss")
    plain, half = losses_of.values()
    assert half[-1] < 0.5 * half[0]
    assert half[-1] == pytest.approx(plain[-1], rel=0.1)


@pytest.fixture
def poisoned(cupy, monkeypatch):
    """New arrays are full of NaN until a kernel fills them."""

    def full_of_nan(make, *arguments, **options):
        array = make(*arguments, **options)
        if array.dtype == np.float32:
            array.fill(np.nan)
        return array

    for name in ("empty", "empty_like"):
        monkeypatch.setattr(cupy, name, partial(full_of_nan, getattr(cupy, name)))


def check_sequence(cupy, name, T, N, H, lengths=None, runs=2, stream=None):
    """The sequence kernels, of some runs in one launch, against the cell's own file in float64; and twice the same bits."""
    from scratchnet_kernels.sequence_cuda.engine import CudaSequence

    cell, rng, D = CELLS[name], np.random.default_rng(0), 3
    shapes = [(T, N, D)] + [(N, H)] * len(cell.STATES) + list(cell.param_shapes(D, H).values())
    calls = [[rng.standard_normal(s).astype(np.float32) / H**0.5 for s in shapes] for _ in range(runs)]
    shapes = [(T, N, H)] + [(N, H)] * len(cell.STATES)
    upstream = [[rng.standard_normal(s).astype(np.float32) for s in shapes] for _ in range(runs)]
    engine, results = CudaSequence(name, ""), []
    device_calls = [list(map(cupy.asarray, call)) for call in calls]
    device_upstream = [list(map(cupy.asarray, arrays)) for arrays in upstream]
    cupy.cuda.runtime.deviceSynchronize()  # another stream does not wait for these copies
    for _ in range(2):
        with stream or nullcontext():
            made = engine.forward(device_calls, lengths=lengths)
            grads = engine.backward([(dy, cache, *last) for (dy, *last), (_, cache) in zip(device_upstream, made)])
        if stream:
            stream.synchronize()
        results.append([a.get() for (y, _), found in zip(made, grads) for a in (y, *found)])
    oracles = []
    for call, (dy, *last) in zip(calls, upstream):
        y, cache = cell.forward(*[a.astype(np.float64) for a in call], lengths=lengths)
        oracles += [y, *cell.backward(dy.astype(np.float64), cache, *[d.astype(np.float64) for d in last])]
    for ours, again, oracle in zip(*results, oracles, strict=True):
        np.testing.assert_array_equal(ours, again)
        scale = max(1.0, float(np.max(np.abs(oracle))))
        np.testing.assert_allclose(ours, oracle, rtol=0, atol=3e-5 * scale)


def plan_of(blocks, rows, monkeypatch):
    """Let the kernels take this many blocks and rows, whatever the rule says; skips where there are no such clusters."""
    from scratchnet_kernels import launch
    from scratchnet_kernels.sequence_cuda import engine
    from scratchnet_kernels.sequence_cuda.resources import divide

    if blocks > launch.device().cluster:
        pytest.skip(f"this GPU has no clusters of {blocks} blocks")
    monkeypatch.setattr(engine, "resources", lambda gates, H, N, device: divide(gates, H, blocks, rows))


@pytest.mark.parametrize("lengths", [None, [7, 1, 3, 6, 2]], ids=["full", "ragged"])
@pytest.mark.parametrize(("blocks", "rows"), [(1, 1), (1, 2), (2, 1), (2, 4), (4, 2), (8, 4), (16, 8)])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_sequence_kernels_of_every_cluster_and_row_count(cupy, poisoned, monkeypatch, name, blocks, rows, lengths):
    """H = 70: no multiple of the blocks, so that the last ones have fewer units than the others, or none."""
    if (name, blocks, rows) == ("rnn", 1, 2):
        pytest.skip("a block has a thread for each unit of one sequence")
    plan_of(blocks, rows, monkeypatch)
    check_sequence(cupy, name, 7, 5, 70, lengths)


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_sequence_kernels_of_one_step(cupy, poisoned, monkeypatch, name, blocks):
    plan_of(blocks, 1, monkeypatch)
    check_sequence(cupy, name, 1, 3, 33)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_sequence_kernels_at_their_largest_sizes(cupy, poisoned, name):
    """The largest H of one multiprocessor, the next one, and the largest of a cluster: all shared memory there is."""
    from scratchnet_kernels import launch
    from scratchnet_kernels.sequence_cuda.resources import largest

    gates, device = len(CELLS[name].GATES), launch.device()
    one = largest(gates, device._replace(cluster=1))
    for H in {one, min(one + 1, largest(gates, device)), largest(gates, device)}:
        for N in (3, 200):  # the fewest rows of a block, and the most
            check_sequence(cupy, name, 5, N, H)


@pytest.mark.parametrize("H", [32, 128, 256])
def test_both_directions_of_more_sequences_than_multiprocessors(cupy, poisoned, H):
    check_sequence(cupy, "lstm", 9, 401, H, np.random.default_rng(1).integers(1, 10, 401))


@pytest.mark.parametrize("H", [64, 256])
def test_sequence_kernels_on_a_stream(cupy, poisoned, H):
    """CuPy's current stream, which does not wait for the default one."""
    check_sequence(cupy, "lstm", 50, 40, H, stream=cupy.cuda.Stream(non_blocking=True))


def test_clusters_are_what_runs_a_large_matrix(cupy):
    """Engine "sequence" at H = 512: on a cluster where the GPU has them, else "step"."""
    from scratchnet import engines
    from scratchnet_kernels import launch

    chosen = engines.choose("lstm", cupy.zeros((3, 2, 2), np.float32), 512, "sequence")
    assert chosen.name == ("sequence" if launch.device().cluster >= 16 else "step"), chosen.why
