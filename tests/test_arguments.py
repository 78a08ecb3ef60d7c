"""Small wrong arguments end in the library's own sentence, never in Python's or NumPy's words, and never in silence."""

import numpy as np
import pytest
import scratchnet
from scratchnet.arrays import is_array
from scratchnet.cells import CELLS
from scratchnet.data import sliding_windows, split_at, tasks
from scratchnet.data.series import load_csv
from scratchnet.errors import FileError, InvalidTypeError, InvalidValueError, MissingFileError, ScratchnetError
from scratchnet.files import make_folder, require_folder, start_lines, write_text
from scratchnet.forecasting import Direct, ForecastConfig, backtest, coverage, load_forecaster, pinball
from scratchnet.gradcheck import check_cell, check_directional, check_gradient, check_layer, numeric_gradient
from scratchnet.layers import (
    GRU,
    LAYERS,
    LSTM,
    AttentionPooling,
    AveragePool1d,
    BatchNorm1d,
    Conv1d,
    Dropout,
    Embedding,
    GlobalAveragePool,
    LayerNorm,
    Linear,
    MaxPool1d,
    Sequential,
    VariationalDropout,
)
from scratchnet.layers.attend import attend, attend_backward
from scratchnet.losses import LOSSES, mse
from scratchnet.models import probabilities
from scratchnet.tracing import load, per_loss_gradients
from scratchnet.training import (
    SGD,
    Batches,
    CSVLogger,
    ModelCheckpoint,
    TrainingCheckpoint,
    bptt,
    checkpoint,
    fit,
    fit_stream,
    predict,
)
from scratchnet.training.long import forward_chunks, full_recomputed

from test_trust import refusal

RAGGED = [[1.0, 2.0], [3.0]]


# ---- the gradient check --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [0, 0.0, -1, -1e-5, np.nan, np.inf, 1e300, 1e-320, 2])
def test_a_step_that_cannot_be_taken_is_refused(eps, rng):
    w, layer = np.ones(3), Linear(2, 1, rng=rng)
    for check in (
        lambda: numeric_gradient(lambda: float(w @ w), w, eps),
        lambda: check_gradient(lambda: float(w @ w), {"w": w}, {"w": 2 * w}, eps=eps),
        lambda: check_directional(lambda: float(w @ w), {"w": w}, {"w": 2 * w}, rng=rng, eps=eps),
        lambda: check_layer(layer, np.ones((2, 2)), eps=eps),
        lambda: check_cell(CELLS["rnn"], T=1, N=1, D=1, H=1, eps=eps),
    ):
        with pytest.raises(InvalidValueError, match=r"eps is .*: expected a step from"):
            check()
    assert (w == 1).all()


@pytest.mark.parametrize("tolerance", [0, -1e-6, np.nan, np.inf, 2])
def test_a_tolerance_that_lets_everything_pass_is_refused(tolerance, rng):
    w = np.ones(3)
    for check in (
        lambda: check_gradient(lambda: float(w @ w), {"w": w}, {"w": 5 * w}, tolerance=tolerance),
        lambda: check_directional(lambda: float(w @ w), {"w": w}, {"w": 5 * w}, rng=rng, tolerance=tolerance),
        lambda: check_layer(Linear(2, 1, rng=rng), np.ones((2, 2)), tolerance=tolerance),
    ):
        with pytest.raises(InvalidValueError, match=r"tolerance is .*: expected a relative error"):
            check()


def test_other_arguments_of_a_gradient_check(rng):
    w = np.array([1e6, 1.0])
    with pytest.raises(InvalidValueError, match=r"holds 1000000.0 at \(0,\), which a step of 1e-12 does not change"):
        numeric_gradient(lambda: float(w @ w), w, 1e-12)
    for returned in (None, "1", [1.0], np.ones(2), object()):
        with pytest.raises(InvalidTypeError, match=r"the loss returned .*: expected a number"):
            numeric_gradient(lambda returned=returned: returned, w)
    with pytest.raises(InvalidValueError, match="seed is -1: expected at least 0"):
        check_layer(Linear(2, 1, rng=rng), np.ones((2, 2)), seed=-1)
    with pytest.raises(InvalidValueError, match="there is nothing to check"):
        check_gradient(lambda: 0.0, {"w": np.empty(0)}, {"w": np.empty(0)})
    with pytest.raises(InvalidTypeError, match="dw is object: expected an array of numbers"):
        check_gradient(lambda: 0.0, {"w": w}, {"w": w.astype(object)})


# ---- training ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"callbacks": 1}, "callbacks is 1: expected a sequence"),
        (
            {"callbacks": [1]},
            r"callbacks is \[1\]: expected a sequence, each a scratchnet\.training\.trainer\.Callback",
        ),
        ({"callbacks": None}, "callbacks is None: expected a sequence"),
        ({"progress": np.ones(2)}, "progress is an array .*: expected True or False"),
        ({"progress": np.empty(0)}, "progress is an array .*: expected True or False"),
        ({"loss": lambda y, t: None}, "the loss returned a NoneType: a loss returns the number and dy"),
        ({"loss": lambda y, t: 1.0}, "the loss returned a float: a loss returns the number and dy"),
    ],
)
def test_fit_says_what_it_expects(wrong, message, rng):
    x, y = rng.standard_normal((6, 2)), rng.standard_normal((6, 1))
    right = {"epochs": 1, "rng": rng, "progress": False}
    with pytest.raises(InvalidTypeError, match=message):
        fit(Linear(2, 1, rng=rng), (x, y), SGD(0.1), **right | wrong)
    model = Sequential(rec=LSTM(1, 2, rng=rng), head=Linear(2, 1, rng=rng))
    x, y = rng.standard_normal((6, 2, 1)), rng.standard_normal((6, 2, 1))
    with pytest.raises(InvalidTypeError, match=message):
        fit_stream(model, (x, y), SGD(0.1), **{"epochs": 1, "k1": 3, "progress": False} | wrong)


def test_an_array_of_one_number_has_no_steps_and_no_samples(rng):
    model, x, one = LSTM(1, 2, rng=rng), np.ones((3, 1, 1)), np.array(1.0)
    for x_or, target, name in ((one, x, "x"), (x, one, "target")):
        for call in (
            lambda x=x_or, target=target: list(bptt.stream(model, x, target, mse, 1)),
            lambda x=x_or, target=target: full_recomputed(model, x, target, mse),
        ):
            with pytest.raises(InvalidValueError, match=f"{name} is one number"):
                call()
    with pytest.raises(InvalidTypeError, match=r"chunks is .*: expected a sequence"):
        forward_chunks(model, one)
    with pytest.raises(InvalidTypeError, match=r"times is .*: expected a sequence"):
        split_at(one, "1920")
    linear, right = Linear(2, 1, rng=rng), (np.ones((3, 2)), np.ones((3, 1)))
    with pytest.raises(InvalidValueError, match="x is one number"):
        predict(linear, one)
    for data, name in (((one, right[1]), "x"), ((right[0], one), "y")):
        with pytest.raises(InvalidValueError, match=f"{name} is one number"):
            fit(linear, data, SGD(0.1), epochs=1, rng=rng, progress=False)


def test_lists_of_different_length_are_refused(rng):
    x, y = rng.standard_normal((2, 2)), rng.standard_normal((2, 2))
    for name, loss in LOSSES.items():
        target = np.array([0, 1]) if name.startswith("softmax") else np.full((2, 2), 0.5)
        for argument in ("mask", "weights"):
            with pytest.raises(InvalidTypeError, match=rf"{argument} is \[\[1.0, 2.0\], \[3.0\]\]: expected"):
                loss(y, target, **{argument: RAGGED})
    for argument in ("mask", "weights", "lengths"):
        data = {"x": np.ones((2, 2, 1)), "y": np.ones((2, 2, 1))} if argument == "lengths" else {"x": x, "y": y}
        model = LSTM(1, 1, rng=rng, batch_first=True) if argument == "lengths" else Linear(2, 2, rng=rng)
        with pytest.raises(InvalidTypeError, match=rf"{argument} is \[\[1.0, 2.0\], \[3.0\]\]: expected"):
            fit(model, Batches(**data, **{argument: RAGGED}), SGD(0.1), epochs=1, rng=rng, progress=False)


# ---- counts, and other numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("huge", [10**30, 2**63, 1e30])
def test_a_count_beyond_every_index_is_refused(huge, rng):
    values = rng.standard_normal((40, 2))
    for call in (
        lambda: sliding_windows(values, 4, stride=huge),
        lambda: sliding_windows(values, huge),
        lambda: Direct(ForecastConfig(window=4), horizon=huge),
        lambda: Direct(ForecastConfig(window=huge), horizon=1).fit(values),
        lambda: backtest({"a": lambda: None}, values, 20, step=huge),
        lambda: tasks.load_like(rng, 10, start_weekday=huge),
    ):
        with pytest.raises(ScratchnetError):
            call()


def test_logits_that_give_no_probabilities():
    for logits, message in (
        (np.empty(0), "expected"),
        (np.empty((2, 0)), "expected"),
        (np.array(1.0), "expected"),
        (np.array([1.0, np.nan]), "finite"),
        (np.array([np.inf, 1.0]), "finite"),
        (np.array([-np.inf, -np.inf]), "finite"),
    ):
        with pytest.raises(InvalidValueError, match=f"logits .*{message}"):
            probabilities(logits)
    assert probabilities(np.array([-np.inf, 1.0])).tolist() == [0.0, 1.0]
    with pytest.raises(InvalidTypeError, match="logits is object"):
        probabilities(np.array([1, None], object))


def test_what_a_callers_own_function_returns_is_checked(rng):
    for returned, error in ((None, "not a NumPy"), (np.ones(2), "expected"), (np.ones((2, 1), np.float32), "float32")):
        with pytest.raises(ScratchnetError, match=error):
            Linear(2, 1, rng=rng, weight_init=lambda *a, returned=returned, **k: returned)
        with pytest.raises(ScratchnetError):
            Conv1d(2, 1, 1, rng=rng, weight_init=lambda *a, returned=returned, **k: returned)
    with pytest.raises(InvalidTypeError, match=r"makers\['a'\] made a object: expected a Forecaster"):
        backtest({"a": object}, rng.standard_normal((40, 2)), 20)
    run = scratchnet.trace(LSTM(1, 2, rng=rng), np.ones((3, 1, 1)), np.ones((3, 1, 2))).run
    with pytest.raises(InvalidValueError, match="most is -1"):
        per_loss_gradients(run, most=-1)


def test_intervals_are_of_numbers():
    low = np.zeros((5, 2, 1))
    with pytest.raises(InvalidTypeError, match="truth is object"):
        coverage(low, low, low.astype(object), 0.9)
    with pytest.raises(InvalidTypeError, match="truth is object"):
        pinball(low, low.astype(object), 0.5)


# ---- names of files ------------------------------------------------------------------------------------------------------


def uses_of_a_path(rng):
    """(what, call of a path) of everything that saves or loads."""
    layer = Linear(2, 1, rng=rng)
    trace = scratchnet.trace(LSTM(1, 2, rng=rng), np.ones((3, 1, 1)))
    data = np.ones((4, 2)), np.ones((4, 1))

    def training(callback):
        fit(layer, data, SGD(0.1), epochs=1, rng=rng, progress=False, callbacks=[callback])

    yield "checkpoint.save", lambda path: checkpoint.save(layer, path)
    yield "checkpoint.load", lambda path: checkpoint.load(layer, path)
    yield "trace.save", trace.save
    yield "load", load
    yield "to_html", lambda path: scratchnet.to_html(trace, path)
    yield "load_csv", load_csv
    yield "load_forecaster", load_forecaster
    yield "ModelCheckpoint", lambda path: training(ModelCheckpoint(path))
    yield "TrainingCheckpoint", lambda path: training(TrainingCheckpoint(path))
    yield "CSVLogger", lambda path: training(CSVLogger(path))
    yield "write_text", lambda path: write_text(path, "")
    yield "start_lines", start_lines
    yield "make_folder", make_folder
    yield "require_folder", require_folder


@pytest.mark.parametrize("name", ["a\0b.npz", "\0", "a\0/b.npz", "\ud800.npz", None, 1, b"a.npz", []])
def test_a_name_that_no_file_can_have_is_refused(name, rng):
    for what, use in uses_of_a_path(rng):
        with pytest.raises(ScratchnetError) as caught:
            use(name)
        assert "path" in str(caught.value), what


def test_a_name_that_is_too_long_is_refused(rng, tmp_path):
    for name in (tmp_path / f"{'x' * 300}.npz", tmp_path / ("x" * 300) / "a.npz"):
        for what, use in uses_of_a_path(rng):
            if what == "require_folder" and name.parent == tmp_path:
                continue
            try:
                use(name)
            except ScratchnetError as error:
                assert isinstance(error, OSError), what  # noqa: PT017  # the library's own, and the system's
            else:
                raise AssertionError(what)


def test_a_file_that_cannot_be_opened(rng, tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    checkpoint.save(Linear(2, 1, rng=rng), path)
    (tmp_path / "file").write_text("")
    with pytest.raises((FileError, MissingFileError), match=r"cannot be read: Not a directory|no such file"):
        checkpoint.load(Linear(2, 1, rng=rng), tmp_path / "file" / "a.npz")
    with pytest.raises(FileError, match="was not made: "):
        make_folder(tmp_path / "file" / "folder")


# ---- caches --------------------------------------------------------------------------------------------------------------


def test_every_layer_refuses_what_is_not_its_cache():
    """None, numbers, and tuples of any length; an array or a tuple of arrays may be the cache of another call."""
    for name, kind in LAYERS.items():
        for example in kind.examples(np.random.default_rng(0)):
            y, _ = example.layer.forward(example.x, **example.arguments)
            for junk in (None, 1, "x", (), (1,), (1, 2), (None,) * 3, [y], {}, object(), (y,) * 5, (y, 1)):
                refusal(f"{name}: {junk!r:.40}", example.layer.backward, np.ones_like(y), junk)


def test_every_field_of_a_cache_is_of_its_type():
    """A cache built by hand, as in a lesson, with a field that is something else."""
    for name, kind in LAYERS.items():
        for example in kind.examples(np.random.default_rng(0)):
            y, cache = example.layer.forward(example.x, **example.arguments)
            for field in (field for field, held in getattr(cache, "_asdict", dict)().items() if is_array(held)):
                other = cache._replace(**{field: object()})
                assert "cache" in refusal(f"{name}: {field}", example.layer.backward, np.ones_like(y), other)


def test_a_cache_of_another_layer_is_refused(rng):
    x = rng.standard_normal((4, 3, 2))
    for mine, other in (
        (Linear(2, 3, rng=rng), Linear(1, 3, rng=rng)),
        (LayerNorm(2), LayerNorm(1)),
        (BatchNorm1d(2), BatchNorm1d(1)),
        (Conv1d(2, 3, 1, rng=rng), Conv1d(1, 3, 1, rng=rng)),
        (LSTM(2, 3, rng=rng), LSTM(1, 3, rng=rng)),
        (LSTM(2, 3, rng=rng), GRU(2, 3, rng=rng)),
        (LSTM(2, 3, rng=rng), LSTM(2, 3, num_layers=2, rng=rng)),
    ):
        narrow = not isinstance(other, GRU) and getattr(other, "num_layers", 1) == 1
        y, cache = other.forward(x[..., :1].copy() if narrow else x)
        before = {name: grad.copy() for name, grad in mine.grads.items()}
        with pytest.raises(InvalidValueError, match=r"another layer's|not of this layer"):
            mine.backward(np.ones_like(y), cache)
        for grad_name, grad in before.items():
            np.testing.assert_array_equal(mine.grads[grad_name], grad)
    pools = [AttentionPooling(2, 3, rng=rng), AttentionPooling(2, 4, rng=rng)]
    y, cache = pools[1].forward(x)
    with pytest.raises(InvalidValueError, match="another layer's"):
        pools[0].backward(np.ones_like(y), cache)
    y, cache = AveragePool1d(2).forward(x)
    with pytest.raises(InvalidTypeError, match="winner is"):
        MaxPool1d(2).backward(np.ones_like(y), cache)


def test_the_parts_of_a_cache_fit_each_other(rng):
    """Caches put together by hand: another call's x or mask beside this one's y."""
    x, tokens = rng.standard_normal((4, 3, 2)), np.array([1, 2, 1])
    words, drop, steady, deep = (
        Embedding(4, 2, rng=rng),
        Dropout(0.5, rng=rng),
        VariationalDropout(0.5, rng=rng),
        LSTM(2, 3, num_layers=2, rng=rng),
    )
    y, (kept, _) = words.forward(tokens)
    for other, says in ((kept[:2], "the cache's x"), (kept.astype(float), "tokens: expected whole numbers")):
        with pytest.raises(ScratchnetError, match=says):
            words.backward(np.ones_like(y), (other, y))
    for layer in (drop, steady):
        y, (_, mask) = layer.forward(x, training=True)
        with pytest.raises(InvalidValueError, match="the cache's mask"):
            layer.backward(np.ones_like(y), (y, mask[..., :1]))
    y, (kept, *rest) = GlobalAveragePool().forward(x)
    with pytest.raises(InvalidValueError, match="the cache's x"):
        GlobalAveragePool().backward(np.ones_like(y), (kept[..., :1], *rest))
    y, cache = deep.forward(x)
    with pytest.raises(InvalidValueError, match="not of this layer"):
        deep.backward(np.ones_like(y), cache._replace(cell_caches=cache.cell_caches[:1]))


@pytest.mark.parametrize("training", [[4, 3], 1, "yes", None, np.ones(3)])
def test_training_is_yes_or_no(training, rng):
    """Lengths in its place would be true, and switch dropout on."""
    for layer in (Linear(2, 1, rng=rng), LSTM(2, 3, rng=rng), Sequential(Linear(2, 1, rng=rng))):
        with pytest.raises(InvalidTypeError, match=r"training is .*: expected True or False"):
            layer.forward(np.ones((4, 3, 2)), training)


def test_gradients_and_states_of_another_shape_or_type(rng):
    layer = LSTM(2, 3, bidirectional=True, rng=rng)
    _, cache = layer.forward(np.ones((4, 2, 2)))
    with pytest.raises(InvalidValueError, match=r"dy is \(4, 2, 7\).*: expected \(4, 2, 6\)"):
        layer.backward(np.ones((4, 2, 7)), cache)
    state = tuple(s.astype(np.float32) for s in cache.state_last)
    with pytest.raises(InvalidTypeError, match="state h is float32"):
        layer.forward(np.ones((4, 2, 2)), state=state)


def test_an_optimisers_state_is_numbers():
    state = SGD(0.1).state_dict()
    with pytest.raises(InvalidTypeError, match=r"lr is .*: expected a float"):
        SGD(0.1).load_state_dict(state | {"lr": "fast"})
    with pytest.raises(InvalidTypeError, match="lr"):
        SGD(lr="fast")


def test_a_cell_takes_its_own_cache_only(rng):
    """Also on the array engine; gradients through the cache of a relative would be those of another function."""
    caches = {}
    for name, cell in CELLS.items():
        shapes = {"x": (3, 2, 3)} | {f"{s}0": (2, 3) for s in cell.STATES} | cell.param_shapes(3, 3)
        caches[name] = cell.forward(**{key: rng.standard_normal(shape) for key, shape in shapes.items()})[1]
    for name, cell in CELLS.items():
        for other, cache in caches.items():
            if cache._fields == cell.Cache._fields:
                continue  # its own; relatives with the same fields are told apart by shapes alone
            said = refusal(f"{name}: the cache of {other}", cell.backward, np.ones((3, 2, 3)), cache)
            assert "expected what forward returned" in said


def test_attention_as_a_function_refuses_another_cache(rng):
    q = rng.standard_normal((2, 3))
    y, cache = attend(q, q, q)
    for junk in (None, (), tuple(cache), cache._replace(k=None), cache._replace(weights=1)):
        with pytest.raises(InvalidTypeError, match="cache"):
            attend_backward(np.ones_like(y), junk)


def test_attention_as_a_function_notices_a_change_in_place(rng):
    q = rng.standard_normal((2, 3))
    y, cache = attend(q, q.copy(), q.copy())
    q[0, 0] += 1
    with pytest.raises(InvalidValueError, match="changed"):
        attend_backward(np.ones_like(y), cache)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda rng: LayerNorm(0), "features is 0: expected at least 1"),
        (lambda rng: LayerNorm(2.5), r"features is 2\.5: expected a whole number"),
        (lambda rng: Embedding(10**7, 10**7, rng=rng), r"W \(10000000, 10000000\) takes 8e\+05 GB"),
    ],
)
def test_sizes_of_layers(wrong, message, rng):
    with pytest.raises(ScratchnetError, match=message):
        wrong(rng)
