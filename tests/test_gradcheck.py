"""The gradient check, checked: every planted mistake is caught with its fingerprint, and a right gradient passes."""

import numpy as np
import pytest
from scratchnet.cells import CELLS, gru, lstm, normalise, rnn
from scratchnet.gradcheck import (
    GradientError,
    check_cell,
    check_directional,
    check_gradient,
    check_layer,
    numeric_gradient,
    relative_error,
)
from scratchnet.gradcheck.layer import _generators
from scratchnet.gradcheck.numeric import STEPS, Slope, _direction, _noise, compare, compare_along, line, measure, number
from scratchnet.gradcheck.report import Report, Row
from scratchnet.layers import LAYERS, LSTM, BatchNorm1d, Dropout, Layer, Linear, Sequential
from scratchnet.layers.dropout import keep_mask
from scratchnet_instructor import mistakes

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


# ---- the check as an instrument -----------------------------------------------------------------------------------------


def spoiled(cell, change):
    """The cell's backward, whose gradients ``change(grads, dy, cache)`` replaces."""

    def backward(dy, cache, *d_last):
        grads = cell.backward(dy, cache, *d_last)
        return grads._replace(**change(grads, dy, cache))

    return backward


def dW_h_of_last(k):
    def change(grads, dy, cache):
        h, da = cache.h[:-1][-k:], grads.da[-k:]
        return {"dW_h": np.einsum("tnh,tng->hg", h, da)}

    return change


@pytest.mark.parametrize("k", range(1, 16))
def test_a_weight_gradient_of_the_last_steps_only_is_caught(k):
    with pytest.raises(GradientError, match="dW_h is wrong"):
        check_cell(lstm, backward=spoiled(lstm, dW_h_of_last(k)))


@pytest.mark.parametrize("cell", [rnn, lstm, gru])
@pytest.mark.parametrize("N", [1, 2, 3, 4, 5])
def test_a_factor_of_the_batch_size_is_caught(cell, N):
    """A gradient that is right for one batch size, and wrong for every other."""
    wrong = spoiled(cell, lambda grads, dy, cache: {"dW_x": grads.dW_x * dy.shape[1] / N})
    with pytest.raises(GradientError, match="dW_x is wrong"):
        check_cell(cell, backward=wrong)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 8, 15])
def test_a_gradient_right_for_short_sequences_only_is_caught(most):
    wrong = spoiled(gru, lambda grads, dy, cache: {"dh0": grads.dh0 * (1 if len(dy) <= most else 1.001)})
    with pytest.raises(GradientError, match="dh0 is wrong"):
        check_cell(gru, backward=wrong)


@pytest.mark.parametrize("cell", [lstm, gru])
@pytest.mark.parametrize("limit", [1, 5, 100, 1e4])
def test_clipping_inside_is_caught(cell, limit):
    def backward(dy, cache, *d_last):
        return cell.backward(np.clip(dy, -limit, limit), cache, *d_last)

    with pytest.raises(GradientError, match=r"clipped, cut off or added|is wrong"):
        check_cell(cell, backward=backward)


def test_a_threshold_for_small_gradients_is_caught():
    def backward(dy, cache, *d_last):
        return lstm.backward(np.where(np.abs(dy) < 1e-5, 0, dy), cache, *d_last)

    with pytest.raises(GradientError, match="clipped, cut off or added"):
        check_cell(lstm, backward=backward)


@pytest.mark.parametrize("cell", [rnn, lstm, gru])
def test_a_backward_pass_that_forgets_the_padding_is_caught(cell):
    """It is right where all sequences are equally long, which the first case's are."""

    def backward(dy, cache, *d_last):
        return cell.backward(dy, cache._replace(lengths=None), *d_last)

    with pytest.raises(GradientError, match=r"in the case T=16, N=4, .*lengths"):
        check_cell(cell, backward=backward)
    assert check_cell(cell, backward=backward, longer=False).ok


def test_a_forward_pass_that_reads_the_padding_is_caught():
    """0 times NaN is NaN: a padded x must be replaced, not multiplied by a mask."""

    def forward(x, h0, *params, lengths=None):
        y, cache = rnn.forward(x, h0, *params, lengths=lengths)
        return y, cache._replace(x=x, fingerprints=None)

    with pytest.raises(GradientError, match="dW_x is wrong: relative error inf"):
        check_cell(rnn, forward=forward)


def test_float32_inside_backward_is_caught():
    def rounded(grads, dy, cache):
        return {name: getattr(grads, name).astype(np.float32).astype(np.float64) for name in ("dx", "dW_h")}

    assert check_cell(lstm, backward=spoiled(lstm, rounded), longer=False).error < 1e-6  # too little for one element
    with pytest.raises(GradientError, match="is wrong"):
        check_cell(lstm, backward=spoiled(lstm, rounded))


def test_float32_inside_forward_is_caught():
    """The loss then has 7 digits: no step measures its slope, and the noise itself is the finding."""

    def forward(x, h0, *params, **options):
        return rnn.forward(x.astype(np.float32).astype(np.float64), h0, *params, **options)

    with pytest.raises(GradientError, match=r"the loss has noise of .* look for float32 inside forward|is wrong"):
        check_cell(rnn, forward=forward)
    w = np.linspace(0.3, 1.2, 5)
    with pytest.raises(GradientError, match="look for float32 inside forward"):
        check_gradient(lambda: float(np.sum(np.sin(w).astype(np.float32))), {"w": w}, {"w": np.cos(w)})


def test_gradients_of_another_type_are_named():
    def as_float32(grads, dy, cache):
        return {"db": grads.db.astype(np.float32)}

    with pytest.raises(GradientError, match="db is float32, but everything else is float64"):
        check_cell(lstm, backward=spoiled(lstm, as_float32))


def test_a_backward_pass_that_reads_a_global_is_caught():
    last = []

    def forward(*arguments, **options):
        y, cache = gru.forward(*arguments, **options)
        last[:] = [cache]
        return y, cache

    with pytest.raises(GradientError, match="it reads something outside the cache"):
        check_cell(gru, forward, lambda dy, cache, *d_last: gru.backward(dy, last[0], *d_last))


class Scaled(Linear):
    """A right layer to spoil: y = x W + b."""

    @classmethod
    def of(cls, rng):
        return cls(3, 2, rng=rng), rng.standard_normal((4, 3))


class Assigns(Scaled):
    def backward(self, dy, cache):
        before = self.grads["b"].copy()
        dx = super().backward(dy, cache)
        self.grads["b"] -= before
        return dx


class Clips(Scaled):
    def backward(self, dy, cache):
        return np.clip(super().backward(dy, cache), -100, 100)


class ChangesDy(Scaled):
    def backward(self, dy, cache):
        dx = super().backward(dy, cache)
        dy *= 2
        return dx


class ReadsAGlobal(Scaled):
    def forward(self, x, training=False):
        y, self.last = super().forward(x)
        return y, self.last

    def backward(self, dy, cache):
        return super().backward(dy, self.last)


class Counts(Scaled):
    calls = 0

    def backward(self, dy, cache):
        self.calls += 1
        return super().backward(dy, cache) * (1 if self.calls == 1 else 2)


class InFloat32(Scaled):
    def backward(self, dy, cache):
        return super().backward(dy, cache).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Assigns, "backward does not double b: it assigns the gradient instead of adding it"),
        (Clips, "does not give that multiple of x: something inside backward is clipped"),
        (ChangesDy, "dy was changed in place"),
        (ReadsAGlobal, "another W from the same cache: it reads something outside the cache"),
        (Counts, "called again with the same cache, backward gives another dx"),
        (InFloat32, "x is float32, but everything else is float64"),
    ],
)
def test_what_a_layer_does_wrong_when_it_is_called_again(kind, says, rng):
    with pytest.raises(GradientError) as caught:
        check_layer(*kind.of(rng))
    assert says in str(caught.value)
    assert check_layer(*Scaled.of(rng)).ok


def test_another_dropout_mask_in_backward_is_caught(rng):
    class TwoMasks(Dropout):
        def backward(self, dy, cache):
            return dy * keep_mask(self.rng, self.p, dy)

    with pytest.raises(GradientError, match="dx is wrong"):
        check_layer(TwoMasks(0.4, rng=rng), rng.standard_normal((4, 3)), training=True)


def bits(layer):
    arrays = [*layer.params.values(), *layer.buffers.values()]
    states = [str(g.bit_generator.state) for g in _generators(layer)]
    return [a.tobytes() for a in arrays], states


@pytest.mark.parametrize("name", LAYERS)
def test_the_check_leaves_no_trace(name):
    """Parameters, running statistics, random generators and inputs are the same bits afterwards."""
    for _, layer, x, arguments in LAYERS[name].examples(np.random.default_rng(0)):
        before, inputs = bits(layer), [part.tobytes() for part in (x if isinstance(x, tuple) else (x,))]
        check_layer(layer, x, **arguments)
        assert bits(layer) == before
        assert [part.tobytes() for part in (x if isinstance(x, tuple) else (x,))] == inputs


def test_the_check_leaves_no_trace_where_it_fails(rng):
    class Wrong(BatchNorm1d):
        def backward(self, dy, cache):
            return 2 * super().backward(dy, cache)

    wrong = Wrong(2)
    before = bits(wrong)
    with pytest.raises(GradientError):
        check_layer(wrong, rng.standard_normal((5, 2)), training=True)
    assert bits(wrong) == before


class Outer(Layer):
    """A layer with a state that is neither Recurrent nor Sequential."""

    factor = 1.0

    def __init__(self, rng):
        super().__init__()
        self.inner = LSTM(2, 3, rng=rng)

    recurrent = True
    params = property(lambda self: self.inner.params)
    grads = property(lambda self: self.inner.grads)

    def forward(self, x, training=False, state=None, lengths=None):
        return self.inner.forward(x, training, state, lengths)

    def backward(self, dy, cache):
        return self.backward_state(dy, cache)[0]

    def backward_state(self, dy, cache, dstate_last=None):
        dx, (dh, dc) = self.inner.backward_state(dy, cache, dstate_last)
        return dx, (dh, dc * self.factor)


@pytest.mark.parametrize("given", [True, False])
def test_the_gradient_of_any_state_is_compared(given, rng):
    """Also where no state is given: the layer is then run from a random one."""
    x = rng.standard_normal((4, 2, 2))
    state = {"state": tuple(rng.standard_normal((1, 2, 3)) for _ in "hc")} if given else {}
    layer = Outer(rng)
    report = check_layer(layer, x, **state)
    assert report.ok
    assert any("a random state" in case for case in report.cases) is not given
    layer.factor = 1.5
    with pytest.raises(GradientError, match=r"dstate\.1 is wrong"):
        check_layer(layer, x, **state)
    model = Sequential(outer=layer, head=Linear(3, 1, rng=rng))
    with pytest.raises(GradientError, match=r"dstate\.0\.1 is wrong"):
        check_layer(model, x, **({"state": [state["state"]]} if given else {}))


def test_a_layer_that_takes_a_state_must_return_its_gradient(rng):
    class Half(Linear):
        def forward(self, x, training=False, state=None):
            return super().forward(x)

    with pytest.raises(TypeError, match="Half takes a state but has no backward_state"):
        check_layer(Half(2, 1, rng=rng), rng.standard_normal((3, 2)), state=(np.ones(1),))


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_that_looks_along_time_has_a_ragged_example(name):
    """A layer is checked at the size it is given, so its examples must have what a mistake needs."""
    examples = list(LAYERS[name].examples(np.random.default_rng(0)))
    if any(layer.ragged for _, layer, _, _ in examples):
        assert any(len(set(arguments.get("lengths", ()))) > 1 for *_, arguments in examples)


# ---- differences: steps, curvature, kinks -------------------------------------------------------------------------------


def test_a_sharp_bend_is_measured_with_smaller_steps():
    """Layer normalisation of nearly equal numbers: n bends within sqrt(eps) = 3e-3, and eps = 1e-5 is no small step there."""
    x = np.array([1.0, 1.0 + 1e-4, 1.0 - 2e-4])
    w = np.array([1.0, -2.0, 0.5])
    n, scale = normalise.forward(x)
    right = normalise.backward(w, n, scale)
    truncated = np.max(np.abs(numeric_gradient(lambda: float(normalise.forward(x)[0] @ w), x, 1e-4) / right - 1))
    assert truncated > 1e-4  # a hundred times the tolerance, by the step alone
    assert check_gradient(lambda: float(normalise.forward(x)[0] @ w), {"x": x}, {"x": right}, eps=1e-4).ok
    with pytest.raises(GradientError):
        check_gradient(lambda: float(normalise.forward(x)[0] @ w), {"x": x}, {"x": right * (1 + 1e-5)}, eps=1e-4)


@pytest.mark.parametrize("distance", [0.0, 1e-9, 1e-7, 1e-6, 3e-6, 9e-6])
@pytest.mark.parametrize("side", [1, -1])
def test_a_kink_is_no_mistake(distance, side):
    """relu, with the kink nearer than eps: the slope of the point's own side is right, and 1.1 or -0.1 is not."""
    w = np.array([side * distance])

    def loss():
        return float(np.maximum(w[0], 0) + np.sin(w[0]))

    own = float(w[0] > 0) + np.cos(w[0])
    report = check_gradient(loss, {"w": w}, {"w": np.array([own])})
    assert report.ok
    if distance < 1e-5:
        assert report.doubts <= 1
        assert ("1 elements are at a kink" in str(report)) == bool(report.doubts)
    for wrong in (2.1, 0.9):
        with pytest.raises(GradientError):
            check_gradient(loss, {"w": w}, {"w": np.array([wrong])})


def test_the_uncertainty_is_honest():
    """Over functions of many curvatures the true slope is within it, and it is small where the function is tame."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        k, phase = 10 ** rng.uniform(-2, 3), rng.uniform(0, 6)
        slope = measure(lambda s, k=k, phase=phase: float(np.sin(k * s + phase)))
        true = k * np.cos(phase)
        assert abs(slope.value - true) <= 3 * slope.uncertainty
        assert slope.uncertainty <= 1e-9 * max(1, k)


def test_a_tensor_is_restored_where_the_loss_raises():
    w = np.array([1.0, 2.0])

    def fails():
        raise ZeroDivisionError

    for check in (lambda: numeric_gradient(fails, w), lambda: measure(line(fails, w, np.ones(2)))):
        with pytest.raises(ZeroDivisionError):
            check()
        assert w.tolist() == [1.0, 2.0]


def test_a_right_gradient_costs_four_evaluations_a_tensor():
    """Two steps, extrapolated; the ladder is for what disagrees."""
    tensors, calls = {"w": np.linspace(0.2, 0.9, 6), "v": np.linspace(-1, 1, 4)}, []

    def loss():
        calls.append(1)
        return float(np.sum(np.sin(tensors["w"])) + np.sum(np.exp(tensors["v"])))

    report = compare_along(loss, tensors, {"w": np.cos(tensors["w"]), "v": np.exp(tensors["v"])}, 0)
    assert report.ok
    assert len(calls) == 4 * len(tensors)


def test_the_report_says_what_was_run():
    report = check_cell(lstm)
    assert report.cases == (
        "T=4, N=3, D=2, H=5: every element",
        "T=16, N=1, D=2, H=5: a random direction of each tensor",
        "T=16, N=4, D=2, H=5, lengths [15, 1, 16, 8]: a random direction of each tensor",
    )
    assert all(case in str(report) for case in report.cases)
    rng = np.random.default_rng(0)
    assert check_layer(LSTM(2, 3, rng=rng), rng.standard_normal((4, 2, 2))).cases[0] == (
        "x (4, 2, 2), no padding: every element"
    )


# ---- the instrument's parts ----------------------------------------------------------------------------------------------


def test_a_distance_is_what_the_uncertainty_does_not_cover():
    steady = Slope(2.0, 0.1, 2.0, 2.0)
    assert [round(steady.distance(ours, 1e-3), 12) for ours in (2.05, 2.3, 1.5)] == [0, 0.2, 0.4]
    kink = Slope(0.5, 0.1, 1.0, -1.0)  # between the two slopes everything is a subgradient
    assert [round(kink.distance(ours, 1e-3), 12) for ours in (-1.0, 0.3, 1.05, 1.5, -2.0)] == [0, 0, 0, 0.4, 0.9]
    assert kink.distance(0.9, 2.0) == pytest.approx(0.3)  # as far apart as the bound: no kink
    shallow = Slope(-3.0, 0.1, -3.0, -2.5)
    assert shallow.distance(-2.6, 0.2) == 0
    assert shallow.distance(-3.5, 0.6) == pytest.approx(0.4)


def test_the_slopes_of_both_sides_are_measured():
    """A kink between curves: one-sided differences are extrapolated twice, so that curvature leaves nothing of itself."""
    slope = measure(lambda s: 3 * abs(s) + 2 * s + 5 * s**2 + 7 * s**3 + 11)
    assert slope.left == pytest.approx(-1, abs=1e-9)
    assert slope.right == pytest.approx(5, abs=1e-9)
    assert slope.value == pytest.approx(2, abs=1e-9)
    assert slope.uncertainty < 1e-8


def test_the_uncertainty_counts_the_losses_own_rounding():
    """A loss of 10^6 has a last digit of 10^-10: over a step of 10^-3, that is 10^-7 of a slope near 1."""
    for size in (1e6, 1e9):
        slope = measure(lambda s, size=size: size + np.sin(s))
        assert abs(slope.value - 1) <= slope.uncertainty
        assert np.finfo(float).eps * size / STEPS[0] <= slope.uncertainty


def test_a_direction_has_length_one(rng):
    for shape in ((3,), (4, 5), (1, 1)):
        assert np.linalg.norm(_direction(np.empty(shape), rng)) == pytest.approx(1)


def test_each_gate_has_its_own_worst_element():
    """No two elements are wrong by the same share: the report has the largest error of each gate, and where it is."""
    w = np.arange(1.0, 13).reshape(2, 6)
    share = np.array([[1, 5, 2, 3, 1, 4], [2, 3, 9, 1, 6, 1]]) * 1e-3
    report = compare(lambda: float(np.sum(w**2) / 2), {"w": w}, {"w": w * (1 - share)}, 1e-5, 1e-6, {"w": "abc"})
    found = [(row.gate, row.worst, round(row.error, 6)) for row in report.rows]
    assert found == [("a", (0, 1), 0.005), ("b", (1, 2), 0.009), ("c", (1, 4), 0.006)]
    whole = compare(lambda: float(np.sum(w**2) / 2), {"w": w}, {"w": w * (1 - share)}, 1e-5, 1e-6, {})
    assert [(row.gate, row.worst) for row in whole.rows] == [("", (1, 2))]
    right = compare(lambda: float(np.sum(w**2) / 2), {"w": w}, {"w": w.copy()}, 1e-5, 1e-6, {"w": "abc"})
    assert all(0 <= row.error <= 1e-8 for row in right.rows)


def test_what_is_too_small_to_measure_is_measured_against_the_largest():
    """Beside a gradient of 1e6 one of 1e-6 has no digit: below 1e-11 / tolerance of the largest, errors are shares of that."""
    w = np.array([1.0, 1.0])

    def check(small):
        grads = {"w": np.array([1e6, small])}
        return compare(lambda: float(1e6 * w[0] + 1e-3 * w[1]), {"w": w}, grads, 1e-5, 1e-6, {})

    assert check(1e-3).ok
    assert check(1e-3 + 1e-7).ok  # 1e-7 of a floor of 10
    assert not check(1e-3 + 1e-4).ok
    w[...] = 1.0
    tiny = compare(lambda: float(1e-6 * w[0] + 1e-9 * w[1]), {"w": w}, {"w": np.array([1e-6, 2e-9])}, 1e-5, 1e-6, {})
    assert [round(row.error, 3) for row in tiny.rows] == [0.5]


def test_a_direction_small_by_chance_is_measured_against_the_typical_one(rng):
    """An error of one part in 10^4 of a typical slope is found whatever the tensor's size, and the report has its numbers."""
    for size in (4, 400):
        w = np.zeros(size)
        grad = rng.standard_normal(size)

        def loss(w=w, grad=grad):
            return float(w @ grad)

        assert check_directional(loss, {"w": w}, {"w": grad}, rng=rng).error <= 1e-9
        with pytest.raises(GradientError) as caught:
            check_directional(loss, {"w": w}, {"w": grad * (1 + 1e-4)}, rng=rng)
        (row,) = caught.value.report.rows
        assert (row.tensor, row.worst) == ("dw", ())
        assert row.error <= 1e-4 * (1 + 1e-6)  # a share of the slope, or of the typical one where that is larger
        assert row.ours == pytest.approx(row.numeric * (1 + 1e-4), rel=1e-6)
        # an error that is the same everywhere is a share of the typical slope, not of one that is zero by chance
        wrong = grad + 1e-3 * np.abs(grad).mean() * rng.standard_normal(size)
        report = compare_along(loss, {"w": w}, {"w": wrong}, 0)
        assert 1e-5 < report.rows[0].error < 1e-2


def test_noise_is_measured_and_named():
    """Relative to the loss: 1e-7 of it is what float32 leaves; float64's own rounding is not noise."""
    w, draws = np.array([0.3, -0.2]), np.random.default_rng(5)
    assert _noise(lambda: 1e3 * float(np.sum(np.sin(w))), {"w": w}) == ()
    shares = []
    for _ in range(50):  # the quieter of two places, of five differences each: it scatters
        (note,) = _noise(lambda: 1e3 * (2 + float(np.sum(np.sin(w)))) * (1 + 1e-7 * draws.standard_normal()), {"w": w})
        shares.append(float(note.partition("noise of ")[2].partition(" ")[0]))
    assert 5e-8 < np.median(shares) < 1.1e-7
    assert w.tolist() == [0.3, -0.2]
    assert _noise(lambda: abs(float(w[0]) - 0.3) * 1e3 + 1, {"w": w}) == ()  # a kink at one of two places


def test_a_loss_is_one_number():
    assert number(np.array(2.5)) == 2.5
    assert number(np.float32(0.5)) == 0.5
    for wrong in (np.ones(1), "1", np.array("1"), None, 1j, [1.0]):
        with pytest.raises(TypeError, match="expected a number"):
            number(wrong)


def row(tensor, gate, error):
    return Row(tensor, gate, error, (0, 1), 1.0, 2.0)


def test_a_report_in_words():
    """What is wrong, where it is worst, when it begins, what is right; and over all steps, if that is something else."""
    one = Report([row("dW", "i", 0.5), row("dW", "f", 1e-9), row("dx", "", 0.7)], 1e-6, steps=2, final_states=True)
    whole = Report([row("dW", "i", 0.6), row("dW", "f", 0.3), row("dx", "", 0.7)], 1e-6, 5, True, one, (), ("T=5",))
    assert whole.explain().split("\n") == [
        "dW is wrong in gate i: relative error 5.0e-01, tolerance 1e-06",
        "  worst element dW[0, 1]: yours 1, numeric 2",
        "  begins at t=3 of 0 to 4, going backwards: the steps after it are right",
        "  and only where a gradient arrives at the final states: with a loss on y alone it is right",
        "  wrong: dW (i), dx; right: none",
        "  in the case T=5",
        "  over all 5 steps wrong: dW (i, f), dx; right: none",
    ]
    alone = Report([row("dW", "", 1e-6), row("db", "", np.nan)], 1e-6)
    assert [each.tensor for each in alone.wrong] == ["db"]  # the tolerance itself is right, a NaN is not
    assert alone.explain().split("\n") == [
        "db is wrong: relative error nan, tolerance 1e-06",
        "  worst element db[0, 1]: yours 1, numeric 2",
        "  wrong: db; right: dW",
    ]
    assert str(alone).split("\n") == [
        "gradient gate  relative error",
        "dW                    1.0e-06",
        "db                        nan   WRONG",
    ]
    assert (alone.final_states, alone.doubts) == (True, 0)


@pytest.mark.parametrize(
    ("steps", "first", "says"),
    [
        (1, 1, "begins at t=0, the last step of 1: wrong within a single step"),
        (4, 1, "begins at t=3, the last step of 4: wrong within a single step"),
        (4, 2, "begins at t=2 of 0 to 3, going backwards: the steps after it are right"),
        (2, 2, "begins at t=0 of 0 to 1, going backwards: the steps after it are right"),
    ],
)
def test_the_step_at_which_an_error_begins(steps, first, says):
    origin = Report([row("dx", "", 0.5)], 1e-6, steps=first, final_states=False)
    report = origin if steps == first else Report([row("dx", "", 0.5)], 1e-6, steps, origin=origin)
    report = report._replace(origin=origin)
    lines = report.explain().split("\n")
    assert f"  {says}" in lines
    assert not any("only where a gradient" in line for line in lines)
    assert any(line.startswith("  over all") for line in lines) == (steps != first)
