"""Nothing is silently wrong: arrays of another kind, caches that do not fit, inputs changed between forward and backward."""

import numpy as np
import pytest
from scratchnet import engines, losses
from scratchnet.cells import CELLS
from scratchnet.cells.checks import check_cache
from scratchnet.errors import InvalidTypeError, InvalidValueError, ScratchnetError
from scratchnet.fingerprint import LARGEST, detect_changes
from scratchnet.layers import LAYERS, LSTM, Linear
from scratchnet.layers.layer_norm import perturbed
from scratchnet.training.clip import clip_global_norm
from scratchnet.training.optim import SGD

from calls import pair

pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
KERNELS = engines.kernels()
ENGINES = [
    (engine, name)
    for engine in engines.ENGINES[1:]
    for name in CELLS
    if engine == "array" or (KERNELS and (engine, name) in KERNELS.KERNELS)
]
T, N, D, H = 3, 3, 3, 3  # all alike: only the kind of array, and no shape, can tell that one is wrong


def arguments_of(name, rng, sizes=(T, N, D, H)):
    """Random arguments of a cell's forward, by name."""
    cell, (T, N, D, H) = CELLS[name], sizes
    shapes = {"x": (T, N, D)} | {f"{s}0": (N, H) for s in cell.STATES} | cell.param_shapes(D, H)
    return {key: 0.5 * rng.standard_normal(shape) for key, shape in shapes.items()}


def pair_of(engine, name):
    return pair(name, np.empty((1, 1, 1)), 3, engine)


def refusal(what, call, *args, **options):
    """The library's own error that the call raises, as text."""
    try:
        call(*args, **options)
    except ScratchnetError as error:
        return str(error)
    raise AssertionError(f"{what} was accepted")


# ---- other kinds of arrays -----------------------------------------------------------------------------------------------


def strange(array):
    """The same numbers in each kind of array that computes by other rules, or in none that computes."""
    yield "masked", np.ma.masked_array(array, mask=array > 0)
    yield "object", array.astype(object)
    yield "string", array.astype(str)
    yield "complex", array.astype(complex)
    yield "half", array.astype(np.float16)
    yield "swapped bytes", array.astype(array.dtype.newbyteorder())
    yield "list", array.tolist()
    if array.ndim == 2:
        yield "matrix", np.matrix(array)
    yield "record", array.view(np.recarray)


@pytest.mark.parametrize(("engine", "name"), ENGINES)
def test_a_cell_takes_plain_arrays_only(engine, name, rng):
    forward, backward = pair_of(engine, name)
    arguments = arguments_of(name, rng)
    y, cache = forward(**arguments)
    for key, array in arguments.items():
        for kind, other in strange(array):
            assert key in refusal(f"{key}: {kind}", forward, **arguments | {key: other})
    for kind, other in strange(np.ones(y.shape)):
        assert "dy" in refusal(kind, backward, other, cache)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_takes_plain_arrays_only(name, rng):
    for example in LAYERS[name].examples(rng):
        inputs = example.x if isinstance(example.x, tuple) else (example.x,)
        for number, array in enumerate(inputs):
            for kind, other in strange(array):
                if array.dtype.kind == "i" and kind == "swapped bytes":
                    continue
                changed = (*inputs[:number], other, *inputs[number + 1 :])
                x = changed if isinstance(example.x, tuple) else other
                assert refusal(f"{example.label}: {kind}", example.layer.forward, x, **example.arguments)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_loss_takes_plain_arrays_only(name, rng):
    loss, y = losses.LOSSES[name], rng.standard_normal((3, 3))
    target = rng.integers(0, 3, 3) if name.startswith("softmax") else rng.random((3, 3))
    for _, other in strange(y):
        with pytest.raises(InvalidTypeError, match="y"):
            loss(other, target)
    for kind, other in strange(target):
        if kind == "swapped bytes" and target.dtype.kind == "i":
            continue
        with pytest.raises(InvalidTypeError, match="target"):
            loss(y, other)
    for argument in ("mask", "weights"):
        for kind, other in strange(np.ones(target.shape)):
            if kind in ("masked", "matrix", "record", "object", "string", "complex"):
                with pytest.raises(InvalidTypeError, match=argument):
                    loss(y, target, **{argument: other})


def test_a_memory_map_is_an_array(rng, tmp_path):
    arguments = arguments_of("lstm", rng)
    x = np.memmap(tmp_path / "x", dtype=float, mode="w+", shape=(T, N, D))
    x[...] = arguments["x"]
    for engine in set(engines.ENGINES[1:]) - set(engines.ON_GPU_ONLY):
        forward, backward = pair_of(engine, "lstm")
        expected, cache = forward(**arguments)
        y, mapped = forward(**arguments | {"x": x})
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(backward(y, mapped).dW_x, backward(y, cache).dW_x)


def test_optimiser_and_clipping_take_plain_arrays_only(rng):
    plain = rng.standard_normal((3, 3))
    for kind, other in strange(plain):
        assert refusal(kind, SGD(0.1).step, {"w": other}, {"w": other})
        assert refusal(kind, clip_global_norm, {"w": other}, 1.0)


# ---- a cache that is not this pass's -------------------------------------------------------------------------------------


def damaged(cache, rng):
    """The cache with one array of another shape, memory or type: (what, cache)."""
    for name, array in cache._asdict().items():
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            continue
        for axis in range(array.ndim):
            shorter = array.take(range(array.shape[axis] - 1), axis)
            longer = np.concatenate([array, array.take([0], axis)], axis)
            yield f"{name} shorter", cache._replace(**{name: shorter})
            yield f"{name} longer", cache._replace(**{name: longer})
            if array.shape[axis] > 1:  # would broadcast
                yield f"{name} one", cache._replace(**{name: array.take([0], axis)})
        yield f"{name} float32", cache._replace(**{name: array.astype(np.float32)})
        yield f"{name} flat", cache._replace(**{name: array.reshape(-1)[: array.size // 2]})
        yield f"{name} list", cache._replace(**{name: array.tolist()})
        if name not in ("drop", "keep_h", "keep_c"):
            yield f"{name} missing", cache._replace(**{name: None})


@pytest.mark.parametrize(("engine", "name"), ENGINES)
def test_a_cache_that_does_not_fit_is_refused(engine, name, rng):
    forward, backward = pair_of(engine, name)
    for sizes in ((4, 3, 2, 5), (1, 1, 1, 1), (2, 2, 2, 2)):
        arguments = arguments_of(name, rng, sizes)
        y, cache = forward(**arguments)
        count = 0
        for what, other in damaged(cache, rng):
            assert refusal(what, backward, np.ones_like(y), other)
            count += 1
        assert count >= 20
    for other in (None, "cache", (), tuple(cache), list(cache), y):
        with pytest.raises(ScratchnetError):
            backward(np.ones_like(y), other)


@pytest.mark.parametrize(("engine", "name"), [pair for pair in ENGINES if pair[0] != "array"])
def test_a_kernel_takes_its_own_cells_cache_only(engine, name, rng):
    _, backward = pair_of(engine, name)
    for other in CELLS:
        if other == name:
            continue
        y, cache = CELLS[other].forward(**arguments_of(other, rng))
        with pytest.raises(InvalidTypeError, match="expected what forward returned"):
            backward(np.ones_like(y), cache)


# ---- an input that is changed between forward and backward ---------------------------------------------------------------


@pytest.mark.parametrize(("engine", "name"), ENGINES)
def test_an_input_changed_in_place_is_found(engine, name, rng):
    forward, backward = pair_of(engine, name)
    for dtype in (np.float64, np.float32):
        arguments = {key: a.astype(dtype) for key, a in arguments_of(name, rng).items()}
        with detect_changes():
            y, cache = forward(**arguments)
        dy, read_again = np.ones_like(y), set(cache._fields) & set(arguments)
        assert {"x", "W_x"} <= read_again
        expected = backward(dy, cache)
        for key in read_again:
            before = arguments[key].copy()
            for change in (
                lambda a: a * 2,
                lambda a: a[::-1].copy(),
                lambda a: a + (np.arange(a.size) == 3).reshape(a.shape),
            ):
                arguments[key][...] = change(before)
                if (arguments[key] == before).all():  # a bias of zeros, reversed
                    continue
                with pytest.raises(InvalidValueError, match=f"{key} was changed in place"):
                    backward(dy, cache)
                arguments[key][...] = before
        again = backward(dy, cache)  # put back, it is the same computation
        for one, other in zip(expected, again):
            np.testing.assert_array_equal(one, other)


def test_float32_looks_for_changes_only_when_asked(rng):
    arguments = {key: a.astype(np.float32) for key, a in arguments_of("lstm", rng).items()}
    _, cache = CELLS["lstm"].forward(**arguments)
    assert cache.fingerprints is None
    with detect_changes(False):
        _, cache = CELLS["lstm"].forward(**arguments_of("lstm", rng))
    assert cache.fingerprints is None


@pytest.mark.parametrize("shape", [(LARGEST // 8 - 1,), (LARGEST // 2,), (700, 999), (3, 400, 500)])
def test_a_large_array_is_sampled(shape, rng):
    """One element of a small array; of a large one, anything that changes a thousandth of it."""
    layer, x = Linear(shape[-1], 1, rng=rng), rng.standard_normal(shape)
    y, cache = layer.forward(x)
    layer.backward(np.ones_like(y), cache)
    if x.nbytes <= LARGEST:
        x.reshape(-1)[rng.integers(x.size)] += 1e-9
    else:
        x.reshape(-1)[rng.permutation(x.size)[: x.size // 1000]] += 1e-9
    with pytest.raises(InvalidValueError, match="x was changed"):
        layer.backward(np.ones_like(y), cache)


def test_views_are_fingerprinted(rng):
    layer, whole = Linear(4, 2, rng=rng), rng.standard_normal((10, 8))
    y, cache = layer.forward(whole[::2, ::2])
    whole[:, 1::2] = 0  # between the elements of the view
    layer.backward(np.ones_like(y), cache)
    whole[0, 0] += 1
    with pytest.raises(InvalidValueError, match="x was changed"):
        layer.backward(np.ones_like(y), cache)


@pytest.mark.parametrize("name", LAYERS)
def test_no_layer_gives_another_gradient_after_a_change(name, rng):
    """Either the change is found, or the gradient is still that of the forward pass."""
    for example in LAYERS[name].examples(rng):
        layer = perturbed(example.layer, rng)
        inputs = example.x if isinstance(example.x, tuple) else (example.x,)
        state = layer.rng.bit_generator.state if hasattr(layer, "rng") else None
        y, cache = layer.forward(example.x, **example.arguments)
        dy = rng.standard_normal(y.shape)
        layer.zero_grad()
        dx = layer.backward(dy, cache)
        grads = {key: g.copy() for key, g in layer.grads.items()}
        del state
        for array in [*inputs, *layer.params.values()]:
            before = array.copy()
            array[...] = 1 if array.dtype.kind == "i" else array * 1.5 + 0.1
            layer.zero_grad()
            try:
                found = layer.backward(dy, cache)
            except InvalidValueError:
                assert "changed in place" in refusal("a change", layer.backward, dy, cache)
            else:
                for one, other in zip(_arrays(found), _arrays(dx), strict=True):
                    np.testing.assert_array_equal(one, other, err_msg=example.label)
                for key, grad in grads.items():
                    np.testing.assert_array_equal(layer.grads[key], grad, err_msg=f"{example.label} {key}")
            finally:
                array[...] = before


def _arrays(value):
    return [v for v in (value if isinstance(value, tuple) else (value,)) if v is not None]


def test_a_layers_cache_is_checked_through_every_engine(rng):
    for engine in set(engines.ENGINES[1:]) - set(engines.ON_GPU_ONLY):
        layer = LSTM(3, 4, num_layers=2, bidirectional=True, rng=rng, engine=engine)
        x = rng.standard_normal((5, 2, 3))
        y, cache = layer.forward(x)
        layer.params["W_h_l1"] *= 1.01
        with pytest.raises(InvalidValueError, match="W_h was changed in place"):
            layer.backward(np.ones_like(y), cache)


def test_what_is_no_cache_is_named(rng):
    """With what was given and, where it is known, whose cache was expected."""
    with pytest.raises(InvalidTypeError, match=r"cache is a tuple: expected what forward returned$"):
        check_cache(())
    y, cache = CELLS["gru"].forward(**arguments_of("gru", rng))
    said = r"cache is a scratchnet\.cells\.gru\.Cache: expected .* returned, a scratchnet\.cells\.rnn\.Cache$"
    with pytest.raises(InvalidTypeError, match=said):
        CELLS["rnn"].backward(np.ones_like(y), cache)


def test_the_lengths_in_a_cache_are_checked(rng):
    y, cache = CELLS["rnn"].forward(**arguments_of("rnn", rng), lengths=[3, 2, 1])
    for lengths, says in (
        ([3, 2, 1], "the cache's lengths is a builtins.list, not a NumPy"),
        (np.array([3, 2]), r"the cache's lengths is \(2,\) .*: expected \(3,\)"),
        (np.array([3.0, 2, 1]), "the cache's lengths are float64: expected whole numbers"),
    ):
        with pytest.raises(ScratchnetError, match=says):
            CELLS["rnn"].backward(np.ones_like(y), cache._replace(lengths=lengths))


def test_states_are_of_one_batch_and_one_width(rng):
    arguments = arguments_of("lstm", rng)
    for wrong in (arguments["c0"][:2], arguments["c0"][:, :1]):
        with pytest.raises(InvalidValueError, match="c0 is "):
            CELLS["lstm"].forward(**arguments | {"c0": wrong})


def test_an_option_in_a_cache_is_checked(rng):
    values = arguments_of("rnn", rng)
    forward, backward = CELLS["rnn"].forward, CELLS["rnn"].backward
    y, cache = forward(**values)
    with pytest.raises(InvalidValueError, match=r"the cache's nonlinearity is 'cos': expected one of"):
        backward(np.ones_like(y), cache._replace(nonlinearity="cos"))
