"""Layers and models: gradients of every kind of layer and option, names, states, and answers to bad input."""

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scratchnet.cells import gru_reset_before
from scratchnet.gradcheck import check_layer
from scratchnet.layers import (
    ACTIVATIONS,
    GRU,
    LSTM,
    RNN,
    Dropout,
    Layer,
    Linear,
    Recurrent,
    ReLU,
    Sequential,
    Tanh,
    VariationalDropout,
)
from scratchnet.layers.dropout import keep_mask

from conftest import RECURRENT


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_gradients(name, rng):
    assert check_layer(ACTIVATIONS[name](), rng.standard_normal((4, 3, 2)) * 3).error <= 1e-6


@pytest.mark.underflows
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_stay_finite_and_keep_float32(name):
    x = np.array([-1e30, -50.0, 0.0, 50.0, 1e30], np.float32)
    if name == "gelu":
        x = x[1:-1]  # its cubic overflows float32 at 1e30, as PyTorch's does
    layer = ACTIVATIONS[name]()
    y, cache = layer.forward(x)
    dx = layer.backward(np.ones_like(y), cache)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    assert y.dtype == dx.dtype == np.float32


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (4,)])
def test_linear_gradients(shape, rng):
    layer = Linear(4, 3, rng=rng)
    assert check_layer(layer, rng.standard_normal(shape)).error <= 1e-6


@pytest.mark.parametrize("kind", RECURRENT)
@given(data=st.data())
def test_recurrent_gradients(kind, data):
    """Layers x directions x dropout x lengths x batch_first x initial state x return_sequences, over shapes down to 1."""
    draw, small, flag = data.draw, st.integers(1, 3), st.booleans()
    T, N, D, H, depth = (draw(small) for _ in range(5))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    batch_first = draw(flag)
    layer = RECURRENT[kind](
        D,
        H,
        rng=rng,
        num_layers=depth,
        bidirectional=draw(flag),
        dropout=draw(st.sampled_from([0.0, 0.5])),
        batch_first=batch_first,
        return_sequences=draw(flag),
    )
    x = rng.standard_normal((N, T, D) if batch_first else (T, N, D))
    # relu and zero biases: a state at exactly zero would sit on the kink
    for p in layer.params.values():
        p += 0.1 * rng.standard_normal(p.shape)
    arguments = {}
    if draw(flag):
        arguments["state"] = tuple(rng.standard_normal(s.shape) for s in layer.initial_state(x))
    if draw(flag):
        arguments["lengths"] = draw(st.lists(st.integers(1, T), min_size=N, max_size=N))
    assert check_layer(layer, x, training=True, **arguments).error <= 1e-6


def test_model_gradients(rng):
    """A whole model, dropout and all, through the public check."""
    model = Sequential(
        lstm=LSTM(2, 4, num_layers=2, bidirectional=True, dropout=0.3, rng=rng),
        drop=Dropout(0.2, rng=rng),
        gru=GRU(8, 3, return_sequences=False, rng=rng),
        act=Tanh(),
        head=Linear(3, 2, rng=rng),
    )
    report = check_layer(model, rng.standard_normal((5, 3, 2)), training=True, lengths=[5, 2, 3])
    assert report.error <= 1e-6
    assert "dlstm.W_h_l1_reverse" in {row.tensor for row in report.rows}


@pytest.mark.parametrize("kind", RECURRENT)
def test_padding_is_zero_and_changes_nothing(kind, rng):
    """In both directions and through two layers: what stands in the padding shows nowhere."""
    layer = RECURRENT[kind](2, 3, rng=rng, num_layers=2, bidirectional=True)
    x, dy = rng.standard_normal((6, 3, 2)), rng.standard_normal((6, 3, 6))
    lengths = np.array([6, 1, 4])
    results = []
    for filler in (0.0, 7.0, np.nan):
        for n, length in enumerate(lengths):
            x[length:, n] = filler
            dy[length:, n] = filler
        layer.zero_grad()
        y, cache = layer.forward(x, lengths=lengths)
        dx = layer.backward(dy, cache)
        results.append([y, dx, *cache.state_last, *(g.copy() for g in layer.grads.values())])
    for n, length in enumerate(lengths):
        assert not results[0][0][length:, n].any()
        assert not results[0][1][length:, n].any()
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


def test_state_continues_a_sequence(rng):
    """Two halves, the state handed over, are the whole."""
    for kind, make in RECURRENT.items():
        layer = make(2, 3, rng=rng, num_layers=2)
        x = rng.standard_normal((6, 2, 2))
        whole, cache = layer.forward(x)
        first, half = layer.forward(x[:4])
        second, _ = layer.forward(x[4:], state=half.state_last)
        np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-12, err_msg=kind)
        for a, b in zip(layer.state_at(cache, 4), half.state_last):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_gradients_add_up_over_passes(rng):
    layer = LSTM(2, 3, rng=rng)
    a, b = rng.standard_normal((4, 2, 2)), rng.standard_normal((3, 1, 2))
    separate = []
    for x in (a, b):
        layer.zero_grad()
        y, cache = layer.forward(x)
        layer.backward(np.ones_like(y), cache)
        separate.append({name: g.copy() for name, g in layer.grads.items()})
    layer.zero_grad()
    passes = [layer.forward(x) for x in (a, b)]
    for y, cache in reversed(passes):
        layer.backward(np.ones_like(y), cache)
    for name, g in layer.grads.items():
        np.testing.assert_allclose(g, separate[0][name] + separate[1][name], rtol=1e-12)


def test_initial_values(rng):
    """Gate by gate: orthogonal W_h, Xavier range of W_x, forget bias 1 and no other bias."""
    layer = LSTM(5, 7, rng=rng, num_layers=2, forget_bias=1.5)
    for block in np.split(layer.params["W_h_l1"], 4, axis=1):
        np.testing.assert_allclose(block.T @ block, np.eye(7), atol=1e-12)
    assert np.max(np.abs(layer.params["W_x_l0"])) <= np.sqrt(6 / (5 + 7))
    i, f, g, o = np.split(layer.params["b_l0"], 4)
    assert not i.any()
    assert not g.any()
    assert not o.any()
    np.testing.assert_array_equal(f, 1.5)


def test_dropout(rng):
    layer = Dropout(0.25, rng=rng)
    x = np.ones((200, 200), np.float32)
    y, cache = layer.forward(x, training=True)
    assert np.mean(y == 0) == pytest.approx(0.25, abs=0.01)
    assert np.mean(y) == pytest.approx(1, abs=0.01)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(layer.backward(x, cache), y)
    y, (_, mask) = layer.forward(x)
    assert y is x
    assert mask is None


def test_sequential_names_and_shares_its_arrays(rng):
    named = Sequential(lstm=LSTM(2, 3, rng=rng), head=Linear(3, 1, rng=rng))
    assert list(named.params) == ["lstm.W_x_l0", "lstm.W_h_l0", "lstm.b_l0", "head.W", "head.b"]
    assert list(named.grads) == list(named.params)
    assert named.params["head.W"] is named.layers["head"].params["W"]
    assert named.size == 2 * 12 + 3 * 12 + 12 + 3 + 1
    assert list(Sequential(ReLU(), Linear(2, 1, rng=rng)).params) == ["1.W", "1.b"]
    assert named.astype(np.float32).params["lstm.b_l0"].dtype == np.float32


def test_nested_models_carry_state(rng):
    inner = Sequential(gru=GRU(2, 3, rng=rng), drop=Dropout(0.5, rng=rng))
    model = Sequential(inner=inner, head=Linear(3, 1, rng=rng))
    x = rng.standard_normal((5, 2, 2))
    whole, _ = model.forward(x)
    _, half = model.forward(x[:3])
    rest, _ = model.forward(x[3:], state=half.state_last)
    np.testing.assert_allclose(rest, whole[3:], rtol=1e-12)
    assert check_layer(model, x, training=True).ok


def test_the_options_of_the_classes_reach_the_cells(rng):
    """reset_after=False really is the other cell, and nonlinearity the other function."""
    x = rng.standard_normal((4, 2, 2))
    gru, rnn = GRU(2, 3, reset_after=False, rng=rng), RNN(2, 3, nonlinearity="relu", rng=rng)
    params = {name.removesuffix("_l0"): p for name, p in gru.params.items()}
    np.testing.assert_allclose(
        gru.forward(x)[0], gru_reset_before.forward(x, np.zeros((2, 3)), **params)[0], rtol=0, atol=1e-15
    )
    assert (rnn.forward(x)[0] >= 0).all()


def test_dropout_between_layers_acts_in_training_only(rng):
    layer = LSTM(2, 3, num_layers=2, dropout=0.5, rng=rng)
    x = rng.standard_normal((4, 2, 2))
    assert layer.forward(x)[1].masks == [None, None]
    assert layer.forward(x, training=True)[1].masks[0] is not None
    model = Sequential(lstm=layer, drop=Dropout(0.5, rng=rng))
    assert model.forward(x)[1].caches[0].masks == [None, None]
    _, cache = model.forward(x, training=True)
    assert cache.caches[0].masks[0] is not None
    assert cache.caches[1][1] is not None


def test_outputs_are_protected_until_backward(rng):
    """y is part of the cache: writing into it would silently give wrong gradients, so NumPy is told to refuse."""
    for layer in (LSTM(2, 3, rng=rng), Tanh(), ReLU(), ACTIVATIONS["sigmoid"]()):
        y, _ = layer.forward(rng.standard_normal((4, 2, 2)))
        with pytest.raises(ValueError, match="read-only"):
            y -= 1


def test_the_weights_of_a_linear_layer_are_those_of_its_forward(rng):
    """A step between forward and backward: dx goes through the W that made y, not through a copy made later."""
    layer = Linear(3, 2, rng=rng)
    x, dy = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    _, cache = layer.forward(x)
    np.testing.assert_allclose(layer.backward(dy, cache), dy @ layer.params["W"].T)


def test_in_place_operations_on_merged_parameters(rng):
    model = Sequential(head=Linear(3, 1, rng=rng))
    before = model.params["head.W"].copy()
    model.params["head.W"] *= 2
    np.testing.assert_array_equal(model.layers["head"].params["W"], 2 * before)


def test_moving_a_model(rng):
    model = Sequential(rec=LSTM(2, 3, rng=rng), head=Linear(3, 1, rng=rng))
    before = {name: p.copy() for name, p in model.params.items()}
    assert model.to("numpy") is model
    for name, p in model.params.items():
        np.testing.assert_array_equal(p, before[name])
    if find_spec("cupy") is None:
        with pytest.raises(ImportError, match=r"CuPy is not installed: pip install cupy-cuda12x"):
            model.to("cupy")


def test_the_state_of_a_model_has_a_gradient(rng):
    """Two recurrent layers, one of them nested; both states checked, and the gradients that arrive at the final ones."""
    model = Sequential(
        a=LSTM(2, 3, num_layers=2, rng=rng), inner=Sequential(b=GRU(3, 4, rng=rng)), head=Linear(4, 1, rng=rng)
    )
    x = rng.standard_normal((4, 2, 2))
    _, cache = model.forward(x)
    state = [
        tuple(rng.standard_normal(s.shape) for s in cache.state_last[0]),
        [tuple(rng.standard_normal(s.shape) for s in cache.state_last[1][0])],
    ]
    report = check_layer(model, x, state=state)
    assert report.error <= 1e-6
    assert {"dstate.0.0", "dstate.0.1", "dstate.1.0.0"} <= {row.tensor for row in report.rows}
    with pytest.raises(ValueError, match="dstate_last has 1 entries but the state has 2"):
        model.backward_state(np.ones((4, 2, 1)), cache, [None])


def bad_layers(rng):
    """What is called -> (the call, the error, its message)."""
    lstm, head = LSTM(2, 3, rng=rng), Linear(3, 1, rng=rng)
    x = rng.standard_normal((4, 2, 2))
    y, cache = lstm.forward(x)
    _, head_cache = head.forward(y)
    last = LSTM(2, 3, return_sequences=False, rng=rng)
    _, last_cache = last.forward(x)
    return {
        "rank": (
            lambda: lstm.forward(x[0]),
            ValueError,
            r"x has 2 dimensions, shape \(2, 2\): expected \(T, N, D\), time first",
        ),
        "features": (lambda: lstm.forward(x[:, :, :1]), ValueError, "input_size 2 but x has 1 features"),
        "dtype": (lambda: lstm.forward(x.astype(np.float32)), TypeError, "x is float32 but W_x_l0 is float64"),
        "ints": (
            lambda: lstm.forward(np.ones((4, 2, 2), int)),
            TypeError,
            "x is int64, but a network computes in float32 or float64",
        ),
        "empty": (
            lambda: lstm.forward(x[:, :0]),
            ValueError,
            r"x is \(4, 0, 2\): it needs at least one step and one sequence",
        ),
        "one state": (
            lambda: lstm.forward(x, state=(y[:1],)),
            ValueError,
            r"state is 1 arrays: expected a tuple \(h, c\)",
        ),
        "bare state": (
            lambda: lstm.forward(x, state=y[:1]),
            ValueError,
            r"state is ndarray: expected a tuple \(h, c\)",
        ),
        "state shape": (
            lambda: lstm.forward(x, state=(y[:2], y[:1])),
            ValueError,
            r"state h is \(2, 2, 3\) but .*\(1, 2, 3\)",
        ),
        "lengths": (
            lambda: lstm.forward(x, lengths=[4, 5]),
            ValueError,
            r"lengths\[1\] is 5 but the sequences have 4 steps",
        ),
        "dy": (lambda: lstm.backward(y[:3], cache), ValueError, r"dy is \(3, 2, 3\) but .*expected \(4, 2, 3\)"),
        "linear": (lambda: head.forward(x), ValueError, r"W is \(3, 1\) but x has 2 features"),
        "linear dy": (
            lambda: head.backward(x, head_cache),
            ValueError,
            r"dy is \(4, 2, 2\) but the output was \(4, 2, 1\)",
        ),
        "linear dy float32": (
            lambda: head.backward(y[..., :1].astype(np.float32), head_cache),
            TypeError,
            "dy is float32 but y is float64",
        ),
        "linear 0-d": (lambda: head.forward(np.array(1.0)), ValueError, r"W is \(3, 1\) but x has no features"),
        "a list as dy": (
            lambda: lstm.backward([[1.0]], cache),
            TypeError,
            "dy is a builtins.list, not a NumPy or CuPy array",
        ),
        "dy float32": (lambda: lstm.backward(y.astype(np.float32), cache), TypeError, "dy is float32 but y is float64"),
        "short activation dy": (
            lambda: Tanh().backward(np.ones(3), y),
            ValueError,
            r"dy is \(3,\) but the output was \(4, 2, 3\)",
        ),
        "short dropout dy": (
            lambda: Dropout(0.5, rng=rng).backward(np.ones(3), (y, y)),
            ValueError,
            r"dy is \(3,\) but the output was",
        ),
        "final dy": (
            lambda: last.backward(np.ones((1, 3)), last_cache),
            ValueError,
            r"dy is \(1, 3\) but .*expected \(2, 3\)",
        ),
        "bare dstate": (
            lambda: lstm.backward_state(y, cache, y[:1]),
            ValueError,
            r"dstate_last is ndarray: expected a tuple \(h, c\)",
        ),
        "dstate shape": (
            lambda: lstm.backward_state(y, cache, (y[:2], y[:1])),
            ValueError,
            r"dstate_last h is \(2, 2, 3\) but",
        ),
        "unknown cell": (
            lambda: Recurrent("lsmt", 2, 3, rng=rng),
            ValueError,
            "there is no cell 'lsmt': expected one of rnn, lstm",
        ),
        "unknown option": (
            lambda: Recurrent("gru", 2, 3, rng=rng, options={"a": "b"}),
            ValueError,
            "the gru cell has no option 'a': it has none",
        ),
        "no rng": (lambda: LSTM(2, 3, rng=None), TypeError, "rng is a NoneType: expected a numpy.random.Generator"),
        "seed as rng": (lambda: Linear(2, 3, rng=7), TypeError, "rng is a int: expected a numpy.random.Generator"),
        "dropout rng": (lambda: Dropout(0.5, rng=None), TypeError, "rng is a NoneType"),
        "lost assignment": (
            lambda: Sequential(head).params.__setitem__("0.W", x),
            TypeError,
            r"write into the array, params\['0.W'\]\[...\] = new",
        ),
        "where to": (lambda: head.to("tpu"), ValueError, "arrays can be moved to 'numpy' or 'cupy', not to 'tpu'"),
        "nested shared": (
            lambda: Sequential(a=head, b=Sequential(c=head)),
            ValueError,
            "layers 'a' and 'b.c' are one object",
        ),
        "mixed batch_first": (
            lambda: Sequential(a=LSTM(2, 3, batch_first=True, rng=rng), b=Sequential(c=GRU(3, 3, rng=rng))),
            ValueError,
            "'a' is batch_first and 'b.c' is not",
        ),
        "no units": (lambda: LSTM(2, 0, rng=rng), ValueError, "hidden_size is 0: expected at least 1"),
        "no inputs": (lambda: Linear(0, 1, rng=rng), ValueError, "inputs is 0: expected at least 1"),
        "dropout": (lambda: Dropout(1.0, rng=rng), ValueError, "dropout probability is 1.0: expected 0 <= p < 1"),
        "between": (lambda: LSTM(2, 3, dropout=-0.1, rng=rng), ValueError, "dropout probability is -0.1"),
        "engine": (
            lambda: LSTM(2, 3, engine="warp", rng=rng),
            ValueError,
            "engine is 'warp': expected one of auto, array",
        ),
        "option": (
            lambda: RNN(2, 3, nonlinearity="cos", rng=rng),
            ValueError,
            "nonlinearity is 'cos': expected one of 'tanh'",
        ),
        "both kinds": (lambda: Sequential(head, a=Tanh()), ValueError, "1 layers have no name and 1 have one"),
        "no layers": (lambda: Sequential(), ValueError, "has no layers"),
        "not a layer": (lambda: Sequential(head, 3), TypeError, "layer '1' is a int, not a scratchnet layer"),
        "shared": (lambda: Sequential(a=head, b=head), ValueError, "layers 'a' and 'b' are one object"),
        "model state": (
            lambda: Sequential(lstm).forward(x, state=[]),
            ValueError,
            "state has 0 entries but the model has 1",
        ),
        "lengths, no rnn": (
            lambda: Sequential(head).forward(y, lengths=[4, 4]),
            ValueError,
            "no layer of the model looks along time",
        ),
        "state_at": (
            lambda: LSTM(2, 3, bidirectional=True, rng=rng).state_at(cache, 1),
            ValueError,
            "a bidirectional layer has no state at",
        ),
    }


@pytest.mark.parametrize("case", list(bad_layers(np.random.default_rng(0))))
def test_bad_input_is_answered_with_both_sides(case, rng):
    call, error, message = bad_layers(rng)[case]
    with pytest.raises(error, match=message):
        call()


def test_the_bounds_of_dropouts_probability(rng):
    """random() is in [0, 1): at p = 0 everything is kept, a 0.0 too; p = 0 is allowed and p = 1 is not."""

    class Fixed(np.random.Generator):
        def random(self, shape):
            return np.array([0.0, 0.25, np.nextafter(0.25, 0), 0.75])

    fixed = Fixed(np.random.PCG64(0))
    assert keep_mask(fixed, 0.0, np.zeros(4)).tolist() == [1, 1, 1, 1]
    assert keep_mask(fixed, 0.25, np.zeros(4)).tolist() == [0, 4 / 3, 0, 4 / 3]
    x, drawn = rng.standard_normal((3, 2)), rng.bit_generator.state
    np.testing.assert_array_equal(Dropout(0.0, rng=rng).forward(x, training=True)[0], x)
    sequences = np.ones((3, 2, 2))
    np.testing.assert_array_equal(VariationalDropout(0.0, rng=rng).forward(sequences, training=True)[0], sequences)
    assert rng.bit_generator.state == drawn  # without dropout, none is drawn
    largest = np.nextafter(1.0, 0)
    assert Dropout(largest, rng=rng).p == largest
    for p in (1.0, -5e-324, np.nan):
        with pytest.raises(ValueError, match="dropout probability is"):
            Dropout(p, rng=rng)


def test_a_model_is_for_use_unless_training_is_asked_for(rng):
    x = np.ones((4, 3, 2))
    np.testing.assert_array_equal(Sequential(Dropout(0.5, rng=rng)).forward(x)[0], x)


def test_the_base_class_says_what_a_layer_lacks():
    class Bare(Layer):
        pass

    for call, lacks in (
        (lambda: Bare().forward(np.ones(1)), "Bare has no forward"),
        (lambda: Bare().backward(np.ones(1), None), "Bare has no backward"),
        (lambda: Bare().state_at(None, 0), "Bare carries no state"),
        (lambda: Bare.examples(np.random.default_rng(0)), "Bare has no examples"),
    ):
        with pytest.raises(NotImplementedError, match=lacks):
            call()


def test_threads_must_be_at_least_one(rng):
    with pytest.raises(ValueError, match="threads is 0: expected at least 1, or None for all"):
        LSTM(1, 1, threads=0, rng=rng)
    assert LSTM(1, 1, threads=1, rng=rng).threads == 1
    for layers in (0, 1001):
        with pytest.raises(ValueError, match=f"num_layers is {layers}: expected at (least 1|most 1000)"):
            LSTM(1, 1, num_layers=layers, rng=rng)


def test_a_parameter_of_another_shape_is_refused(rng):
    layer = LSTM(2, 3, rng=rng)
    layer.params["b_l0"] = np.zeros(13)
    with pytest.raises(ValueError, match=r"b_l0 is \(13,\).*the layer was built with that"):
        layer.forward(np.ones((2, 1, 2)))


@pytest.mark.parametrize(("shape", "features"), [((4, 6, 5), "5"), ((5,), "5"), ((), "no")])
def test_a_linear_layer_names_the_features_that_it_is_given(shape, features, rng):
    with pytest.raises(ValueError, match=rf"W is \(3, 2\) but x has {features} features, shape "):
        Linear(3, 2, rng=rng).forward(np.ones(shape))


def test_a_forget_gate_begins_open(rng):
    """Its bias is one by default, and every other bias zero (Gers et al. 2000; Jozefowicz et al. 2015)."""
    np.testing.assert_array_equal(LSTM(2, 3, rng=rng).params["b_l0"], np.repeat([0.0, 1.0, 0.0, 0.0], 3))
