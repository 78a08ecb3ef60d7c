"""Every layer of the table, on each of its own examples: gradients, float32, copies, checkpoints, what belongs to the caller.

A layer that is added to ``LAYERS`` is tested here without another line.
"""

import copy
import importlib
import inspect
import pickle
import sys

import numpy as np
import pytest
from scratchnet.errors import InvalidTypeError
from scratchnet.gradcheck import check_layer
from scratchnet.layers import LAYERS, Layer, Linear, Sequential, register_layer
from scratchnet.training import checkpoint


def named_examples():
    return [
        pytest.param(name, number, id=f"{name} {example.label}".strip())
        for name, layer in LAYERS.items()
        for number, example in enumerate(layer.examples(np.random.default_rng(0)))
    ]


def example_of(name, number):
    return list(LAYERS[name].examples(np.random.default_rng(0)))[number]


def flat(value):
    return [part for v in value for part in flat(v)] if isinstance(value, (tuple, list)) else [value]


def floats(value, dtype):
    """Arrays of a floating type, in tuples and lists as they are, as dtype; all else untouched."""
    if isinstance(value, (tuple, list)):
        return type(value)(floats(v, dtype) for v in value)
    return value.astype(dtype) if getattr(value, "dtype", None) == np.float64 else value


def weights_like(y):
    return np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)


def run(layer, x, arguments):
    """One pass with the random numbers it would draw first: y, dx and a copy of the gradients."""
    layer = copy.deepcopy(layer)
    layer.zero_grad()
    y, cache = layer.forward(x, **arguments)
    dx = layer.backward(weights_like(y), cache)
    return y, dx, {name: g.copy() for name, g in layer.grads.items()}


@pytest.mark.parametrize(("name", "number"), named_examples())
def test_gradients(name, number):
    _, layer, x, arguments = example_of(name, number)
    assert check_layer(layer, x, **arguments).error <= 1e-6


@pytest.mark.parametrize(("name", "number"), named_examples())
def test_float32_stays_float32_and_is_the_same_function(name, number):
    _, layer, x, arguments = example_of(name, number)
    y, dx, grads = run(layer, x, arguments)
    narrow = {key: floats(value, np.float32) for key, value in arguments.items()}
    y32, dx32, grads32 = run(copy.deepcopy(layer).astype(np.float32), floats(x, np.float32), narrow)
    pairs = [(y, y32), *((d, d32) for d, d32 in zip(flat(dx), flat(dx32)) if d is not None)]
    for wide, thin in [*pairs, *((grads[key], grads32[key]) for key in grads)]:
        assert thin.dtype == np.float32
        np.testing.assert_allclose(thin, wide, rtol=0, atol=3e-5 * max(1.0, float(np.max(np.abs(wide)))))


@pytest.mark.parametrize(("name", "number"), named_examples())
def test_gradients_are_added_and_arguments_left_alone(name, number):
    """Two backward passes add up to twice the gradient, and neither x, dy nor a weight is written to."""
    _, layer, x, arguments = example_of(name, number)
    layer.zero_grad()
    y, cache = layer.forward(x, **arguments)
    dy = weights_like(y)
    given = [*(part for part in flat(x)), dy, *layer.params.values()]
    before = [array.copy() for array in given]
    layer.backward(dy, cache)
    once = {key: g.copy() for key, g in layer.grads.items()}
    layer.backward(dy, cache)
    for key, g in layer.grads.items():
        np.testing.assert_allclose(g, 2 * once[key], rtol=1e-12, atol=1e-14)
        assert np.any(g), f"no gradient arrives at {key}"
    for array, kept in zip(given, before):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize(("name", "number"), named_examples())
def test_copies_pickles_and_checkpoints(name, number, tmp_path):
    """A copy answers as the original does, and training it leaves the original alone."""
    _, layer, x, arguments = example_of(name, number)
    want, _, _ = run(layer, x, arguments)
    twin = pickle.loads(pickle.dumps(layer))
    np.testing.assert_array_equal(run(twin, x, arguments)[0], want)
    checkpoint.save(layer, tmp_path / "layer.npz")
    for array in (*twin.params.values(), *twin.buffers.values()):
        array += 1
    np.testing.assert_array_equal(run(layer, x, arguments)[0], want)
    checkpoint.load(twin, tmp_path / "layer.npz")
    np.testing.assert_array_equal(run(twin, x, arguments)[0], want)


@pytest.mark.parametrize(("name", "number"), named_examples())
def test_a_gradient_of_another_shape_is_refused(name, number):
    _, layer, x, arguments = example_of(name, number)
    y, cache = layer.forward(x, **arguments)
    with pytest.raises(ValueError, match="dy is"):
        layer.backward(np.ones((*y.shape, 1)), cache)
    with pytest.raises(TypeError, match="dy is float32"):
        layer.backward(np.ones(y.shape, np.float32), cache)


@pytest.mark.parametrize("name", LAYERS)
def test_padding_changes_nothing(name):
    """Of every layer that looks along time: what stands behind a sequence's end reaches no output and no gradient."""
    for label, layer, x, arguments in LAYERS[name].examples(np.random.default_rng(0)):
        if arguments.get("lengths") is None:
            continue
        lengths, batch_first = arguments["lengths"], getattr(layer, "batch_first", False)
        y, dx, grads = run(layer, x, arguments)
        other = x.copy()
        for n, length in enumerate(lengths):
            (other[n, length:] if batch_first else other[length:, n])[...] = 0 if x.dtype == np.int64 else 1e3
        y2, dx2, grads2 = run(layer, other, arguments)
        np.testing.assert_array_equal(y2, y, err_msg=label)
        if dx is not None:
            np.testing.assert_array_equal(dx2, dx, err_msg=label)
        for key, g in grads.items():
            np.testing.assert_array_equal(grads2[key], g, err_msg=f"{label} {key}")


def test_a_layer_from_outside_is_one_file(tmp_path, monkeypatch):
    """A file that is nowhere in the library registers a layer; the checks then walk it, and a checkpoint keeps it."""
    (tmp_path / "scaled.py").write_text(
        """
import numpy as np
from scratchnet.layers import Example, Layer, register_layer

class Scaled(Layer):
    def __init__(self):
        super().__init__()
        self.add_param("s", np.ones(1))

    @classmethod
    def examples(cls, rng):
        yield Example("", cls(), rng.standard_normal((3, 2)))

    def forward(self, x, training=False):
        self.check_input(x)
        return x * self.params["s"], (x, self.params["s"])

    def backward(self, dy, cache):
        x, s = cache
        self.check_upstream(dy, x)
        self.grads["s"] += (dy * x).sum()
        return dy * s

register_layer("scaled", Scaled)
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("scaled")
    try:
        for test in (test_gradients, test_a_gradient_of_another_shape_is_refused):
            test("scaled", 0)
        test_copies_pickles_and_checkpoints("scaled", 0, tmp_path)
        with pytest.raises(ValueError, match="there is a layer 'scaled' already"):
            register_layer("scaled", LAYERS["linear"])
    finally:
        del LAYERS["scaled"], sys.modules["scaled"]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (int, "layer 'mine' is <class 'int'>: expected a subclass of Layer"),
        (Linear(1, 1, rng=np.random.default_rng(0)), "expected a subclass of Layer"),
        (Layer, "layer 'mine' lacks forward, backward, examples"),
    ],
)
def test_what_is_not_a_layer_is_not_registered(layer, message):
    with pytest.raises(TypeError, match=message):
        register_layer("mine", layer)


@pytest.mark.parametrize("name", LAYERS)
def test_zero_grad_ends_a_nan(name):
    """0 times NaN is NaN: after a step that diverged, the next one must begin at zero."""
    for _, layer, _, _ in LAYERS[name].examples(np.random.default_rng(0)):
        for grad in layer.grads.values():
            grad[...] = np.nan
        layer.zero_grad()
        assert all(not grad.any() for grad in layer.grads.values())


def test_a_name_belongs_to_one_layer():
    class Mine(Linear):
        pass

    register_layer("linear", Linear)  # the same again, as when a notebook's cell is run twice
    with pytest.raises(ValueError, match="there is a layer 'linear' already: choose another name"):
        register_layer("linear", Mine)
    assert LAYERS["linear"] is Linear
    for wrong in (dict, Linear(1, 1, rng=np.random.default_rng(0))):
        with pytest.raises(TypeError, match="expected a subclass of Layer"):
            register_layer("nobody's", wrong)
    assert "nobody's" not in LAYERS


@pytest.mark.parametrize("name", LAYERS)
def test_a_pass_is_for_use_unless_training_is_asked_for(name):
    _, layer, x, arguments = example_of(name, 0)
    layer.forward(x, **(arguments | {"training": False}))
    for kind in (LAYERS[name], Sequential):
        assert inspect.signature(kind.forward).parameters["training"].default is False


def needed(name):
    """Arguments that the class cannot do without, but for the generator."""
    parameters = inspect.signature(LAYERS[name]).parameters.values()
    names = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD and p.name != "rng"]
    return {each: {"p": 0.5, "cell": "lstm"}.get(each, 2) for each in names}


@pytest.mark.parametrize(
    "name", [name for name, layer in LAYERS.items() if "rng" in inspect.signature(layer).parameters]
)
def test_what_draws_numbers_takes_a_generator(name):
    """A seed or nothing in its place is the library's error, before anything is drawn."""
    layer, arguments = LAYERS[name], needed(name)
    layer(**arguments, rng=np.random.default_rng(0))
    for wrong in (None, 7, np.random.RandomState(0)):
        with pytest.raises(InvalidTypeError, match=r"rng is .*: expected a numpy\.random\.Generator"):
            layer(**arguments, rng=wrong)


@pytest.mark.parametrize("name", [name for name in LAYERS if 2 in needed(name).values()])
def test_a_size_is_at_least_one(name):
    arguments = needed(name)
    draws = (
        {"rng": np.random.default_rng(0)}
        if {"rng", "kwargs"} & inspect.signature(LAYERS[name]).parameters.keys()
        else {}
    )
    for size in [each for each, value in arguments.items() if value == 2]:
        for wrong in (0, -1):
            with pytest.raises(ValueError, match=rf"{size} is {wrong}: expected"):
                LAYERS[name](**(arguments | {size: wrong}), **draws)


@pytest.mark.parametrize("name", LAYERS)
def test_time_comes_first_unless_the_batch_is_asked_for(name):
    parameters = inspect.signature(LAYERS[name]).parameters
    draws = {"rng": np.random.default_rng(0)} if {"rng", "kwargs"} & parameters.keys() else {}
    layer = LAYERS[name](**needed(name), **draws)
    assert getattr(layer, "batch_first", False) is False
