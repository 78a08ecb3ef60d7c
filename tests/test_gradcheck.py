"""The gradient check, checked: every planted mistake is caught with its fingerprint, and a right gradient passes."""

import numpy as np
import pytest
from scratchnet.cells import CELLS, gru, lstm, rnn
from scratchnet.gradcheck import (
    GradientError,
    check_cell,
    check_directional,
    check_gradient,
    check_layer,
    numeric_gradient,
    relative_error,
)
from scratchnet.layers import LAYERS, LSTM, Linear, Sequential
from scratchnet_course import mistakes

from conftest import VARIANTS

MISTAKES = [pytest.param(m, id=m.id) for m in mistakes.load() if m.cell]
LAYER_MISTAKES = [pytest.param(m, id=m.id) for m in mistakes.load() if m.layer]


def fingerprint(report):
    """The wrong gradients where the error begins, as mistakes.toml writes them."""
    if report.origin is None:
        return ()
    wrong = dict.fromkeys(row.tensor for row in report.origin.rows if row in report.origin.wrong)
    gates = {tensor: report.origin.gates_of(tensor).replace(", ", "") for tensor in wrong}
    return tuple(f"{tensor}:{gates[tensor]}" if gates[tensor] else tensor for tensor in wrong)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_planted_mistake_is_caught(mistake):
    planted = mistakes.plant(mistake)
    with pytest.raises(GradientError) as caught:
        check_cell(CELLS[mistake.cell], planted.forward, planted.backward, **mistake.options)
    report = caught.value.report
    assert report.begins == mistake.begins
    assert fingerprint(report) == mistake.first_wrong
    assert bool(report.origin and report.origin.final_states) == mistake.at_final
    if not mistake.first_wrong:  # right numbers, but something that belongs to others was changed
        assert "in place" in str(caught.value) or "changes the cache" in str(caught.value)


@pytest.mark.parametrize("mistake", LAYER_MISTAKES)
def test_planted_mistake_in_a_layer_is_caught(mistake):
    """On the layer's own examples; the right layer passes on the same ones, and stays right."""
    wrong = []
    planted = mistakes.plant_layer(mistake)
    assert planted is not LAYERS[mistake.layer]
    for label, layer, x, arguments in planted.examples(np.random.default_rng(0)):
        if mistake.example in ("", label):
            try:
                check_layer(layer, x, **arguments)
            except GradientError as error:
                wrong += [row.tensor for row in error.report.rows if row in error.report.wrong]
    assert tuple(dict.fromkeys(wrong)) == mistake.first_wrong != ()
    for label, layer, x, arguments in LAYERS[mistake.layer].examples(np.random.default_rng(0)):
        if mistake.example in ("", label):
            assert check_layer(layer, x, **arguments).ok


def test_layers_have_their_mistakes():
    """Three at least of each layer that has any; and those with a backward pass of their own have some."""
    counts = {name: sum(m.layer == name for m in mistakes.load()) for name in LAYERS}
    assert all(count >= 3 for count in counts.values() if count)
    norms = {"layer_norm", "batch_norm", "attention", "attention_pooling", "conv", "embedding", "flatten", "max_pool"}
    assert norms <= {name for name, count in counts.items() if count}


def test_the_table_is_a_table():
    table = mistakes.load()
    assert len(table) >= 30
    assert len({m.id for m in table}) == len(table)
    assert {m.cell for m in table} >= {"rnn", "lstm", "gru"}
    for m in table:
        assert bool(m.cell) != bool(m.layer)
        assert m.id.startswith(f"{m.cell or m.layer}-")
        assert m.name
        assert m.why.endswith(".")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("cell", "options"), VARIANTS)
def test_clean_run_passes(cell, options, seed):
    report = check_cell(cell, seed=seed, **options)
    assert report.ok
    assert report.error <= 1e-6
    inputs = [f"d{s}0" for s in cell.STATES] + [f"d{p}" for p in cell.param_shapes(1, 1)]
    assert list(dict.fromkeys(row.tensor for row in report.rows)) == ["dx", *inputs]


def test_a_weaker_design_would_miss_half():
    """Why the design is what it is: one step from zero states, weight gradients only, lets half of the LSTM's mistakes pass."""
    table = [m for m in mistakes.load() if m.cell == "lstm"]
    passed = 0
    for planted in map(mistakes.plant, table):
        rng = np.random.default_rng(0)
        params = {name: rng.standard_normal(s) / 2 for name, s in lstm.param_shapes(2, 5).items()}
        x, w, zeros = rng.standard_normal((1, 3, 2)), rng.standard_normal((1, 3, 5)), np.zeros((3, 5))

        def loss(planted=planted, x=x, w=w, zeros=zeros, params=params):
            return float(np.sum(planted.forward(x, zeros, zeros, *params.values())[0] * w))

        _, cache = planted.forward(x, zeros, zeros, *params.values())
        grads = planted.backward(w.copy(), cache)
        errors = [np.max(np.abs(getattr(grads, f"d{name}") - numeric_gradient(loss, p))) for name, p in params.items()]
        passed += max(errors) < 1e-7
    assert passed >= len(table) // 2


def test_message_names_everything():
    """Tensor, gate, time step, worst element with both numbers, and what is right."""
    forgotten = next(m for m in mistakes.load() if m.id == "gru-r-forgotten-in-dW_h")
    planted = mistakes.plant(forgotten)
    with pytest.raises(GradientError) as caught:
        check_cell(gru, planted.forward, planted.backward)
    message = str(caught.value)
    assert "dW_h is wrong in gate n: relative error" in message
    assert "worst element dW_h[" in message
    assert "yours " in message
    assert "numeric " in message
    assert "begins at t=3, the last step of 4" in message
    assert "wrong: dW_h (n); right: dx, dh0, dW_x, db, db_hn" in message
    row = caught.value.report.origin.wrong[0]
    assert f"[{', '.join(map(str, row.worst))}]" in message
    assert row.worst[1] >= 10  # the n block of (5, 15)


def test_float32_is_refused_with_the_reason(rng):
    x = rng.standard_normal((3, 2)).astype(np.float32)
    with pytest.raises(
        TypeError, match="w is float32, but a gradient check needs float64: float32 keeps about 7 digits"
    ):
        check_gradient(lambda: float(x.sum()), {"w": x}, {"w": np.ones_like(x)})
    with pytest.raises(TypeError, match="needs float64"):
        check_directional(lambda: float(x.sum()), {"w": x}, {"w": np.ones_like(x)}, rng=rng)
    layer = Linear(2, 3, rng=rng, dtype=np.float32)
    with pytest.raises(TypeError, match="needs float64"):
        check_layer(layer, x)


def test_missing_misshapen_and_nan_gradients(rng):
    w = rng.standard_normal((3, 2))
    with pytest.raises(ValueError, match=r"there is no gradient dw, but w \(3, 2\) is an input"):
        check_gradient(lambda: float(w.sum()), {"w": w}, {})
    with pytest.raises(ValueError, match=r"dw is \(2, 3\) but w is \(3, 2\)"):
        check_gradient(lambda: float(w.sum()), {"w": w}, {"w": np.ones((2, 3))})
    grad = np.ones((3, 2))
    grad[1, 1] = np.nan
    with pytest.raises(GradientError, match=r"dw is wrong: relative error inf.*\n.*dw\[1, 1\]: yours nan, numeric 1"):
        check_gradient(lambda: float(w.sum()), {"w": w}, {"w": grad})


def test_a_student_may_return_a_dict_or_a_tuple():
    def as_dict(*arguments):
        return lstm.backward(*arguments)._asdict()

    def as_tuple(*arguments):
        return tuple(lstm.backward(*arguments))[:6]

    assert check_cell(lstm, backward=as_dict).ok
    assert check_cell(lstm, backward=as_tuple).ok
    with pytest.raises(ValueError, match="backward returned no dc0: expected gradients of every input, dx, dh0, dc0"):
        check_cell(lstm, backward=lambda *a: {k: v for k, v in as_dict(*a).items() if k != "dc0"})
    with pytest.raises(ValueError, match="backward returned no dx, dh0, dc0, dW_x, dW_h, db"):
        check_cell(lstm, backward=lambda *a: None)


def test_a_wrong_forward_shape_is_named():
    with pytest.raises(
        ValueError, match=r"forward returned y of shape \(3, 3, 5\) but x is \(4, 3, 2\): expected \(4, 3, 5\)"
    ):
        check_cell(rnn, forward=lambda *a: (rnn.forward(*a)[0][1:], rnn.forward(*a)[1]))


def test_arrays_are_restored(rng):
    w = rng.standard_normal((3, 4))
    before = w.copy()
    numeric = numeric_gradient(lambda: float(np.sum(w**3)), w)
    np.testing.assert_array_equal(w, before)
    np.testing.assert_allclose(numeric, 3 * w**2, atol=1e-8)
    check_directional(lambda: float(np.sum(w**3)), {"w": w}, {"w": 3 * w**2}, rng=rng)
    np.testing.assert_array_equal(w, before)


def test_directional_check_of_a_large_tensor(rng):
    """One wrong row of 50 in a matrix of 10,000 elements shows, at the cost of 16 evaluations."""
    w, a = rng.standard_normal((50, 200)), rng.standard_normal((200, 3))
    calls = 0

    def loss():
        nonlocal calls
        calls += 1
        return float(np.sum(np.tanh(w @ a)))

    grad = (1 - np.tanh(w @ a) ** 2) @ a.T
    assert check_directional(loss, {"w": w}, {"w": grad}, rng=rng).error < 1e-6
    assert calls == 16
    wrong = grad.copy()
    wrong[7] *= -1
    with pytest.raises(GradientError, match="dw is wrong"):
        check_directional(loss, {"w": w}, {"w": wrong}, rng=rng)


def test_a_difference_that_is_not_exact_enough_is_taken_again():
    """sin(300 w) bends so fast that two points at eps=1e-5 miss its slope by 1.5e-6: four points do not, and an error is found."""
    w = np.array([0.3])
    good = 300 * np.cos(300 * w)
    with pytest.raises(GradientError):
        check_gradient(lambda: float(np.sin(300 * w[0])), {"w": w}, {"w": good * (1 + 1e-5)})
    assert abs(numeric_gradient(lambda: float(np.sin(300 * w[0])), w)[0] / good[0] - 1) > 1e-6
    slow = np.array([0.3])  # the refinement's own eps=1e-3 needs a function that bends less
    assert (
        check_gradient(lambda: float(np.sum(np.exp(8 * slow))), {"w": slow}, {"w": 8 * np.exp(8 * slow)}).error < 1e-8
    )


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"lengths\[0\] is 0 but the sequences have 4 steps: expected 1 to 4"):
        check_cell(lstm, lengths=[0, 1, 2])
    with pytest.raises(ValueError, match=r"lengths has shape \(2,\) but the batch has 3 sequences"):
        check_cell(lstm, lengths=[1, 2])
    with pytest.raises(TypeError, match="like is a str: expected a cell's module"):
        check_cell("lstm")
    with pytest.raises(ValueError, match="directions is 0: expected at least 1"):
        check_directional(lambda: 0.0, {}, {}, rng=np.random.default_rng(0), directions=0)


def test_relative_error_has_a_floor():
    assert relative_error(np.array(1e-12), np.array(0.0), floor=1e-3) == pytest.approx(1e-9)
    assert relative_error(np.array(2.0), np.array(1.0), floor=1e-3) == pytest.approx(0.5)


def test_the_layer_check_finds_a_planted_bug(rng):
    class Forgetful(Linear):
        def backward(self, dy, cache):
            dx = super().backward(dy, cache)
            self.grads["b"] *= 0.5
            return dx

    model = Sequential(lstm=LSTM(2, 3, rng=rng), head=Forgetful(3, 1, rng=rng))
    with pytest.raises(GradientError, match=r"dhead\.b is wrong") as caught:
        check_layer(model, rng.standard_normal((4, 2, 2)))
    assert {row.tensor for row in caught.value.report.wrong} == {"dhead.b"}
