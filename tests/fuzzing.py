"""A fuzzer: the public calls of the library, each with one or two arguments replaced by something nobody should pass.

Run by test_fuzz.py, a bounded number of cases; by hand as many as wanted, each kind of raw error with its first case:

    python tests/fuzzing.py --cases 100000 --seed 1
"""

import argparse
import collections
import json
import multiprocessing
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scratchnet import engines, init, losses, models, tracing
from scratchnet.cells import CELLS
from scratchnet.data import (
    MinMaxScaler,
    Standardizer,
    buckets,
    chronological_split,
    minibatches,
    sliding_windows,
    split_at,
    tasks,
)
from scratchnet.errors import ScratchnetError
from scratchnet.forecasting import (
    AutoregressionForecaster,
    Direct,
    Ensemble,
    ForecastConfig,
    LastValue,
    Recursive,
    SeasonalLastValue,
    Smoothing,
    backtest,
    coverage,
    pinball,
)
from scratchnet.gradcheck import GradientError, check_cell, check_gradient, check_layer, numeric_gradient
from scratchnet.layers import (
    GRU,
    LAYERS,
    LSTM,
    RNN,
    AttentionPooling,
    AveragePool1d,
    BatchNorm1d,
    Conv1d,
    Dropout,
    Embedding,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaskedLSTM,
    MaxPool1d,
    SelfAttention,
    Sequential,
    VariationalDropout,
)
from scratchnet.layers.memory import pass_memory
from scratchnet.training import (
    augment,
    bptt,
    callbacks,
    checkpoint,
    clip,
    distil,
    fit,
    long,
    optim,
    penalty,
    predict,
    schedule,
)

SECONDS = 120.0  # of one case, at most: more is a hang; a large gradient check takes half a minute
MEMORY = 6 << 30  # bytes of the whole process: a larger allocation raises MemoryError, which counts as raw

Case = tuple[str, Callable[..., Any], dict[str, Any]]


def of_one(function: Any, **arguments: Any) -> Any:
    """An engine's function of several calls, of one call whose arguments have names."""
    options = {name: arguments.pop(name) for name in ("lengths",) if name in arguments}
    return function([tuple(arguments.values())], **options)


def small(rng: np.random.Generator) -> Iterator[Case]:
    """Every call with arguments that are right: (name, function, arguments)."""
    x, y = rng.standard_normal((4, 3, 2)), rng.standard_normal((4, 3, 5))

    def layer(make: Any, **options: Any) -> Any:
        return make(**options, rng=np.random.default_rng(0))

    for name, cell in CELLS.items():
        shapes = {"x": (4, 3, 2)} | {f"{s}0": (3, 5) for s in cell.STATES} | cell.param_shapes(2, 5)
        arguments = {key: rng.standard_normal(shape) for key, shape in shapes.items()}
        yield f"cells.{name}.forward", cell.forward, {**arguments, "lengths": [4, 1, 2]}
        _, cache = cell.forward(**arguments)
        yield f"cells.{name}.backward", cell.backward, {"dy": y, "cache": cache, "dh_last": rng.standard_normal((3, 5))}
        yield f"check_cell({name})", check_cell, {"like": cell, "T": 2, "N": 2, "D": 1, "H": 2, "seed": 0}
        for engine in engines.ENGINES[1:]:
            if engine == "array" or (engine, name) in engines.kernels().KERNELS:
                chosen = engines.choose(name, x, 5, engine)
                forward, backward = (partial(of_one, f) for f in (chosen.forward, chosen.backward))
                yield f"{engine} {name}.forward", forward, {**arguments, "lengths": [4, 1, 2]}
                yield f"{engine} {name}.backward", backward, {"dy": y, "cache": cache}
    recurrent = {"input_size": 2, "hidden_size": 5, "rng": rng, "num_layers": 1, "bidirectional": False, "dropout": 0.0}
    recurrent |= {
        "batch_first": False,
        "return_sequences": True,
        "forget_bias": 1.0,
        "dtype": np.float64,
        "engine": "array",
    }
    for make in (RNN, LSTM, GRU, MaskedLSTM):
        more = {"nonlinearity": "tanh"} if make is RNN else {"reset_after": True} if make is GRU else {}
        yield make.__name__, make, {**recurrent, "threads": None, **more}
    plain = {"rng": rng, "dtype": np.float64}
    yield "Linear", Linear, {"inputs": 2, "outputs": 3, "weight_init": init.he_normal, **plain}
    convolution = {
        "inputs": 2,
        "outputs": 3,
        "kernel": 3,
        "stride": 1,
        "dilation": 1,
        "padding": "same",
        "batch_first": False,
    }
    yield "Conv1d", Conv1d, {**convolution, **plain}
    yield "MaxPool1d", MaxPool1d, {"kernel": 2, "stride": 1, "batch_first": False}
    yield "AveragePool1d", AveragePool1d, {"kernel": 2, "stride": 1}
    yield (
        "BatchNorm1d",
        BatchNorm1d,
        {"features": 2, "momentum": 0.1, "eps": 1e-5, "batch_first": False, "dtype": np.float64},
    )
    yield "LayerNorm", LayerNorm, {"features": 2, "eps": 1e-5, "dtype": np.float64}
    yield "Embedding", Embedding, {"vocabulary": 5, "features": 2, "padding": 0, **plain}
    yield (
        "SelfAttention",
        SelfAttention,
        {"inputs": 2, "units": 4, "score": "scaled", "causal": False, "heads": 2, **plain},
    )
    yield "AttentionPooling", AttentionPooling, {"inputs": 2, "units": 4, "batch_first": False, **plain}
    yield "Dropout", Dropout, {"p": 0.5, "rng": rng}
    yield "VariationalDropout", VariationalDropout, {"p": 0.5, "rng": rng, "batch_first": False}
    yield "LeakyReLU", LeakyReLU, {"slope": 0.01}
    for name, kind in LAYERS.items():
        for number, example in enumerate(kind.examples(np.random.default_rng(0))):
            if number > 2:
                break
            options = {"x": example.x, "training": True, **example.arguments}
            yield f"{name}.forward", example.layer.forward, options
            out, cache = example.layer.forward(example.x, **example.arguments)
            yield f"{name}.backward", example.layer.backward, {"dy": np.ones_like(out), "cache": cache}
    builder = {"inputs": 2, "outputs": 1, "rng": rng}
    yield "mlp", models.mlp, {**builder, "units": (4, 3), "activation": "relu", "dropout": 0.0}
    yield "stacked", models.stacked, {**builder, "cell": "gru", "units": (4, 3), "dense": 2, "dropout": 0.1}
    yield "recurrent", models.recurrent, {**builder, "cell": "gru", "units": 3, "num_layers": 1, "each_step": True}
    yield "cnn_recurrent", models.cnn_recurrent, {**builder, "channels": 2, "kernel": 3, "pool": 2, "units": 3}
    yield "self_attentive", models.self_attentive, {**builder, "units": 3, "attention": 2, "score": "scaled"}
    yield "text_classifier", models.text_classifier, {**builder, "features": 3, "units": 2, "attention": 2}
    hybrid = {"static": 2, "units": 3, "static_units": 2, "join": "concat", "cell": "lstm", "dropout": 0.0}
    yield "Hybrid", models.Hybrid, {**builder, **hybrid}
    seq2seq = {"units": 3, "horizon": 2, "cell": "lstm", "num_layers": 1, "dropout": 0.0, "teacher": 1.0}
    yield "EncoderDecoder", models.EncoderDecoder, {**builder, **seq2seq}
    yield "probabilities", models.probabilities, {"logits": rng.standard_normal((3, 4)), "temperature": 1.0, "top_k": 2}
    target, classes = rng.random((4, 3, 5)), rng.integers(0, 5, (4, 3))
    for name, loss in losses.LOSSES.items():
        right = classes if name.startswith("softmax") else target
        yield f"losses.{name}", loss, {"y": y, "target": right, "mask": np.ones((4, 3), bool), "weights": np.ones(4)}
    yield "losses.huber", losses.huber, {"y": y, "target": target, "delta": 1.0}
    yield "losses.quantile", losses.quantile, {"levels": (0.1, 0.9)}
    for name in ("xavier_uniform", "xavier_normal", "he_uniform", "he_normal", "lecun_normal", "orthogonal"):
        yield f"init.{name}", getattr(init, name), {"rng": rng, "shape": (3, 4), "dtype": np.float64}
    yield "init.set_forget_bias", init.set_forget_bias, {"b": np.zeros(20), "gates": "ifgo", "value": 1.0}
    params, grads = {"W": rng.standard_normal((3, 2))}, {"W": rng.standard_normal((3, 2))}
    common = {"lr": 0.1, "weight_decay": 0.0, "decoupled": False}
    yield "SGD", optim.SGD, {**common, "momentum": 0.9, "nesterov": True}
    yield "RMSprop", optim.RMSprop, {**common, "alpha": 0.9, "eps": 1e-8, "momentum": 0.0}
    yield "Adam", optim.Adam, {**common, "betas": (0.9, 0.99), "eps": 1e-8, "engine": "auto"}
    yield "SGD.step", optim.SGD(0.1).step, {"params": params, "grads": grads}
    yield "Adam.step", optim.Adam(0.1).step, {"params": params, "grads": grads}
    done = optim.Adam(0.1)
    done.step({"W": np.ones(2)}, {"W": np.ones(2)})
    yield "Adam.load_state_dict", optim.Adam().load_state_dict, {"state": done.state_dict()}
    sgd = optim.SGD(0.1)
    yield "StepDecay", schedule.StepDecay, {"optimizer": sgd, "every": 2, "factor": 0.5, "each": "epoch"}
    yield "Exponential", schedule.Exponential, {"optimizer": sgd, "factor": 0.5, "each": "epoch"}
    yield "Cosine", schedule.Cosine, {"optimizer": sgd, "steps": 5, "least": 0.0, "each": "update"}
    yield "Warmup", schedule.Warmup, {"optimizer": sgd, "steps": 5}
    for name in ("clip_global_norm", "clip_each_norm"):
        yield name, getattr(clip, name), {"grads": grads, "max_norm": 1.0, "engine": "array"}
    yield "clip_value", clip.clip_value, {"grads": grads, "limit": 1.0}
    yield "L2", penalty.L2, {"strength": 0.1, "only": "W*"}
    yield "L1()", penalty.L1(0.1), {"params": params, "grads": grads}
    yield "gaussian_noise", augment.gaussian_noise, {"sigma": 0.1}
    yield "gaussian_noise()", augment.gaussian_noise(0.1), {"x": x, "rng": rng, "lengths": [2, 2, 2, 2]}
    yield "time_warp", augment.time_warp, {"strength": 0.1, "knots": 4}
    yield "time_warp()", augment.time_warp(0.1), {"x": x, "rng": rng, "lengths": [3, 2, 2, 3]}
    yield (
        "soft_cross_entropy",
        distil.soft_cross_entropy,
        {"y": y, "teacher": y, "temperature": 2.0, "mask": np.ones((4, 3))},
    )
    yield "Distillation", distil.Distillation, {"temperature": 2.0, "hard": 0.3}
    model = Sequential(rec=LSTM(2, 3, rng=np.random.default_rng(0)), head=Linear(3, 1, rng=np.random.default_rng(0)))
    wanted = rng.standard_normal((4, 3, 1))
    yield "bptt.windows", bptt.windows, {"T": 10, "k1": 2, "k2": 4}
    yield "bptt.full", bptt.full, {"model": model, "x": x, "target": wanted, "loss": losses.mse}
    run = {"model": model, "x": x, "target": wanted, "loss": losses.mse, "k1": 2, "k2": 3, "training": True}
    yield "bptt.stream", lambda **given: [*bptt.stream(**given)], run
    again = {"model": model, "x": x, "target": wanted, "loss": losses.mse, "every": 2}
    yield "full_recomputed", long.full_recomputed, again
    yield "forward_chunks", lambda **given: [*long.forward_chunks(**given)], {"model": model, "chunks": [x[:2], x[2:]]}
    yield "pass_memory", pass_memory, {"layer": model.layers["rec"], "T": 5, "N": 2, "engine": "array"}
    batch_first = layer(models.recurrent, inputs=2, outputs=1, units=3, each_step=True)
    data = rng.standard_normal((6, 4, 2)), rng.standard_normal((6, 4, 1))
    training = {"model": batch_first, "data": data, "optimizer": optim.SGD(0.01), "epochs": 1, "loss": losses.mse}
    training |= {"rng": rng, "validation": data, "callbacks": [], "progress": False}
    yield "fit", fit, training
    yield "fit with batches", fit, {**training, "callbacks": [callbacks.EarlyStopping(2)]}
    yield "EarlyStopping", callbacks.EarlyStopping, {"patience": 2, "min_delta": 0.0}
    yield "predict", predict, {"model": batch_first, "x": data[0], "batch_size": 2}
    yield "trace", tracing.trace, {"model": model, "x": x, "target": wanted, "loss": "mse"}
    seen = tracing.trace(model, x, wanted, "mse").run
    yield "jacobians", tracing.jacobians, {"run": seen, "sample": 0}
    yield "per_loss_gradients", tracing.per_loss_gradients, {"run": seen, "sample": 0, "most": 10}
    values = rng.standard_normal((40, 2))
    yield "minibatches", lambda **given: [*islice(minibatches(**given), 100)], {"n": 10, "batch_size": 3, "rng": rng}
    yield (
        "buckets",
        lambda **given: [*islice(buckets(**given), 100)],
        {"lengths": [3, 1, 2], "batch_size": 2, "rng": rng, "pool": 2},
    )
    yield "chronological_split", chronological_split, {"n": 20, "parts": (0.5, 0.5)}
    windows = {"values": values, "width": 4, "horizon": 2, "targets": [0], "stride": 1, "part": slice(0, 30)}
    yield "sliding_windows", sliding_windows, windows
    yield (
        "split_at",
        lambda **given: split_at(given["times"], given["boundary"]),
        {"times": ["1920", "1921", "1922"], "boundary": "1921"},
    )
    for scaler in (Standardizer(), MinMaxScaler()):
        yield f"{type(scaler).__name__}.fit", scaler.fit, {"values": values}
    yield "MinMaxScaler", MinMaxScaler, {"feature_range": (0.0, 1.0)}
    yield "Standardizer.transform", Standardizer().fit(values).transform, {"x": values}
    yield "tasks.adding", tasks.adding, {"rng": rng, "n": 3, "T": 5, "dtype": np.float64}
    yield "tasks.load_like", tasks.load_like, {"rng": rng, "days": 10, "start_weekday": 0}
    yield "tasks.price_like", tasks.price_like, {"rng": rng, "days": 60, "drift": 0.0}
    yield "tasks.turbofans", tasks.turbofans, {"rng": rng, "machines": 3}
    yield "LastValue", LastValue, {"horizon": 2, "targets": [0]}
    yield "LastValue.fit", LastValue(2).fit, {"values": values}
    yield "SeasonalLastValue", SeasonalLastValue, {"horizon": 2, "season": 3, "targets": [0]}
    yield "AutoregressionForecaster", AutoregressionForecaster, {"horizon": 2, "order": 2, "targets": [0], "season": 3}
    yield "Smoothing", Smoothing, {"horizon": 2, "season": 3, "trend": "add", "column": 0}
    config = {
        "epochs": 1,
        "batch_size": 8,
        "lr": 0.01,
        "clip": 1.0,
        "patience": 2,
        "window": 4,
        "units": 2,
        "layers": 1,
    }
    yield "ForecastConfig", ForecastConfig, {**config, "model": "gru", "dropout": 0.0}
    yield (
        "Direct",
        Direct,
        {"config": ForecastConfig(**config), "horizon": 2, "targets": [0], "levels": (0.1, 0.5, 0.9)},
    )
    yield "Recursive", Recursive, {"config": ForecastConfig(**config), "horizon": 2, "targets": None}
    yield "Ensemble", Ensemble, {"members": {"a": LastValue(2), "b": LastValue(2)}, "weights": {"a": 0.5, "b": 0.5}}
    yield (
        "backtest",
        backtest,
        {"makers": {"last": lambda: LastValue(2)}, "values": values, "first": 20, "step": 5, "refit": 2},
    )
    low = rng.random((5, 2, 1))
    yield "coverage", coverage, {"low": low, "high": low + 1, "truth": low + 0.5, "asked": 0.9}
    yield "pinball", pinball, {"forecast": low, "truth": low, "level": 0.5}
    yield "numeric_gradient", numeric_gradient, {"loss": lambda: 1.0, "array": np.ones(3), "eps": 1e-5}
    numbers = np.ones(3)
    checked = {
        "loss": lambda: float(numbers @ numbers),
        "tensors": {"w": numbers},
        "grads": {"w": 2 * numbers},
        "eps": 1e-5,
    }
    yield "check_gradient", check_gradient, {**checked, "tolerance": 1e-6}
    yield "check_layer", check_layer, {"layer": Linear(2, 1, rng=rng), "x": np.ones((2, 2)), "seed": 0, "eps": 1e-5}
    folder = Path(tempfile.gettempdir())
    yield "checkpoint.save", checkpoint.save, {"model": model, "path": folder / "fuzzed.npz"}
    checkpoint.save(model, folder / "fuzzed_right.npz")
    yield "checkpoint.load", checkpoint.load, {"model": model, "path": folder / "fuzzed_right.npz", "only": "rec.*"}


ANYTHING: tuple[Callable[[np.random.Generator], Any], ...] = tuple(
    partial(lambda value, rng: value, value)
    for value in (
        *(
            None,
            True,
            False,
            0,
            1,
            -1,
            2,
            3,
            7,
            1000,
            10**6,
            10**9,
            10**15,
            10**30,
            -(10**9),
            0.5,
            -0.5,
            0.0,
            1.5,
            1e30,
            1e308,
        ),
        *(float("nan"), float("inf"), -float("inf"), 1e-320, 1j, "", "x", "auto", "mse", "\x00", "é" * 300, b"x", "1"),
        *((), [], {}, [1], (1, 2), [1, 2, 3], [[1.0, 2.0], [3.0]], [None], ["a"], {"a": 1}, {"W": 1.0}, {1: 2}, set()),
        *(object(), object, print, len, lambda *a, **k: None, range(3), slice(None), Ellipsis, NotImplemented),
        *(
            np.float32(1),
            np.float64("nan"),
            np.int64(3),
            np.bool_(True),
            np.datetime64("2020-01-01"),
            np.dtype(float),
            float,
        ),
        *(np.random.default_rng(0), np.random.RandomState(0), Path("/nowhere/x.npz"), Path()),
    )
)
ARRAYS: tuple[Callable[[np.random.Generator], Any], ...] = (
    lambda rng: np.array(1.0),
    lambda rng: np.empty((0,)),
    lambda rng: np.empty((0, 3, 2)),
    lambda rng: np.empty((3, 0, 2)),
    lambda rng: rng.standard_normal(rng.integers(1, 6, rng.integers(0, 5))),
    lambda rng: rng.standard_normal(rng.integers(1, 6, 3)).astype(np.float32),
    lambda rng: rng.integers(-5, 5, rng.integers(1, 6, rng.integers(1, 4))),
    lambda rng: np.array([["a", "b"]]),
    lambda rng: np.array([1, "a", None], object),
    lambda rng: np.ma.masked_array(rng.standard_normal((4, 3, 2)), mask=True),
    lambda rng: np.ones((1,) * 20),
)


def changed(value: Any, rng: np.random.Generator) -> Any:
    """Something near the right value: of another shape, type, memory order or size; or something else altogether."""
    if isinstance(value, np.ndarray) and rng.random() < 0.5:
        kinds = (
            lambda a: a.astype(np.float32),
            lambda a: a.astype(np.float16),
            lambda a: a.astype(object),
            lambda a: a.astype(int),
            lambda a: a.tolist(),
            lambda a: a[:-1],
            lambda a: a[None],
            lambda a: a.T,
            lambda a: a[..., :0],
            lambda a: np.concatenate([a, a]),
            lambda a: a * np.nan,
            lambda a: np.where(rng.random(a.shape) < 0.1, np.inf, a),
            lambda a: a * 1e300,
            lambda a: a.reshape(-1),
            lambda a: a[::-1],
            lambda a: np.asfortranarray(a),
            lambda a: a.view(np.recarray),
        )
        return kinds[rng.integers(len(kinds))](value)
    if hasattr(value, "fingerprints") and hasattr(value, "h") and rng.random() < 0.7:  # a cell's cache
        field = value._fields[rng.integers(len(value._fields) - 1)]
        return value._replace(**{field: changed(getattr(value, field), rng)})
    if isinstance(value, dict) and value and rng.random() < 0.6:
        key = [*value][rng.integers(len(value))]
        return {**value, key: changed(value[key], rng)}
    if type(value) in (tuple, list) and value and rng.random() < 0.5:
        place = rng.integers(len(value))
        return type(value)([*value[:place], changed(value[place], rng), *value[place + 1 :]])
    pool = ARRAYS if rng.random() < 0.25 else ANYTHING
    return pool[rng.integers(len(pool))](rng)


class Hang(BaseException):
    """A case that took more than its seconds."""


def _stop(signum: int, frame: Any) -> None:
    raise Hang


def outcome(function: Callable[..., Any], arguments: dict[str, Any]) -> tuple[str, str]:
    """("fine" | "refused" | "raw" | "hang", what was said)."""
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(**arguments)
    except ScratchnetError as error:
        return "refused", str(error)
    except GradientError as error:  # what a gradient check is for
        return "fine", str(error)
    except Hang:
        return "hang", ""
    except Exception as error:
        place = [f for f in traceback.extract_tb(error.__traceback__) if "scratchnet" in f.filename][-1:]
        where = f"{Path(place[0].filename).name}:{place[0].lineno}" if place else "?"
        return "raw", f"{type(error).__name__} at {where}: {str(error)[:100]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "fine", ""


def brief(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"array{value.shape} {value.dtype}"
    return repr(value)[:80]


def run(seed: int, cases: int, out: Any) -> None:
    """So many cases; writes a line of JSON for each that is not fine or refused, and one of counts."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    counts: collections.Counter[str] = collections.Counter()
    rng = np.random.default_rng(seed)
    table: list[Case] = []
    for number in range(cases):
        if number % 400 == 0:  # cases change what they are given: begin again with arguments that are right
            table = [*small(np.random.default_rng(rng.integers(2**32)))]
        name, function, right = table[rng.integers(len(table))]
        wrong = dict(right)
        for key in rng.choice([*right], size=min(len(right), 1 + (rng.random() < 0.2)), replace=False):
            whole = key == "cache" and not hasattr(right["cache"], "h")  # cells check what a cache holds
            wrong[str(key)] = changed(None if whole else right[str(key)], rng)
        changes = {key: brief(wrong[key]) for key in wrong if wrong[key] is not right[key]}
        out.write(json.dumps({"begun": f"{name} {changes}"}) + "\n")
        out.flush()
        kind, said = outcome(function, wrong)
        counts[kind] += 1
        if kind in ("raw", "hang"):
            out.write(json.dumps({"kind": kind, "call": name, "changes": changes, "said": said}) + "\n")
    out.write(json.dumps({"counts": counts}) + "\n")


def _worker(seed: int, cases: int, path: str) -> None:
    with open(path, "w", encoding="utf-8") as out:
        run(seed, cases, out)


def fuzz(cases: int, seed: int, processes: int = 1) -> tuple[collections.Counter[str], list[dict[str, Any]]]:
    """Counts by outcome, and the cases that ended in none of the library's words; a crash ends only its process's share."""
    counts: collections.Counter[str] = collections.Counter()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        workers = []
        for number in range(processes):
            path = str(Path(folder, f"{number}.jsonl"))
            arguments = (seed * 1000 + number, cases // processes, path)
            worker = multiprocessing.get_context("spawn").Process(target=_worker, args=arguments)
            worker.start()
            workers.append((worker, path))
        for worker, path in workers:
            worker.join()
            lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
            if worker.exitcode:
                counts["crash"] += 1
                found.append(
                    {"kind": "crash", "call": lines[-1].get("begun"), "changes": {}, "said": f"exit {worker.exitcode}"}
                )
            for line in lines:
                counts.update(line.get("counts", {}))
                found += [line] if "kind" in line else []
    return counts, found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    counts, found = fuzz(given.cases, given.seed, given.processes)
    kinds: dict[str, list[dict[str, Any]]] = {}
    for case in found:
        kinds.setdefault(
            f"{case['kind']} {case['said']}" if case["kind"] != "hang" else f"hang {case['call']}", []
        ).append(case)
    for what, cases in sorted(kinds.items(), key=lambda item: -len(item[1])):
        print(len(cases), what, "|", cases[0]["call"], cases[0]["changes"])
    print(dict(counts))
    sys.exit(bool(counts["crash"] or counts["hang"]))


if __name__ == "__main__":
    main()
