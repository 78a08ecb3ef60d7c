"""Initial weights: variance and range, orthogonality, gate by gate, reproducible."""

import re
from functools import partial

import numpy as np
import pytest
from scratchnet.data import minibatches
from scratchnet.data.tasks import adding
from scratchnet.init import INITIALIZERS, orthogonal, per_gate, set_forget_bias, xavier_uniform
from scratchnet.layers import LeakyReLU

FAN_IN, FAN_OUT = 300, 500  # different, so that an exchange of the two would show
VARIANCE = {"xavier": 2 / (FAN_IN + FAN_OUT), "he": 2 / FAN_IN, "lecun": 1 / FAN_IN}


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if name != "orthogonal"])
def test_mean_and_variance(name):
    W = INITIALIZERS[name](np.random.default_rng(0), (FAN_IN, FAN_OUT))
    variance = VARIANCE[name.split("_")[0]]
    assert W.shape == (FAN_IN, FAN_OUT)
    # 150 000 numbers: the standard error of the mean is 0.0026 sigma, of the variance at most 0.0037 of it
    assert abs(W.mean()) < 0.012 * np.sqrt(variance)
    assert W.var() == pytest.approx(variance, rel=0.018)


@pytest.mark.parametrize("family", VARIANCE)
def test_uniform_fills_its_range_and_no_more(family):
    W = INITIALIZERS[family + "_uniform"](np.random.default_rng(0), (FAN_IN, FAN_OUT))
    limit = np.sqrt(3 * VARIANCE[family])
    assert np.abs(W).max() <= limit
    assert W.max() > 0.999 * limit
    assert W.min() < -0.999 * limit


@pytest.mark.parametrize("family", VARIANCE)
def test_normal_has_its_tails(family):
    W = INITIALIZERS[family + "_normal"](np.random.default_rng(0), (FAN_IN, FAN_OUT)) / np.sqrt(VARIANCE[family])
    # share beyond 2 standard deviations: 0.0455 for a normal, 0 for a truncated one or a uniform
    assert np.mean(np.abs(W) > 2) == pytest.approx(0.0455, abs=0.003)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_reproducible_and_float32(name):
    W = INITIALIZERS[name](np.random.default_rng(7), (20, 30))
    again = INITIALIZERS[name](np.random.default_rng(7), (20, 30))
    other = INITIALIZERS[name](np.random.default_rng(8), (20, 30))
    single = INITIALIZERS[name](np.random.default_rng(7), (20, 30), np.float32)
    np.testing.assert_array_equal(W, again)
    assert not np.isin(W, other).any()
    assert (W.dtype, single.dtype) == (np.float64, np.float32)
    np.testing.assert_array_equal(single, W.astype(np.float32))
    assert single.flags.c_contiguous


@pytest.mark.parametrize("name", INITIALIZERS)
def test_draws_from_the_generator_alone(name):
    rng = np.random.default_rng(0)
    first, second = INITIALIZERS[name](rng, (4, 5)), INITIALIZERS[name](rng, (4, 5))
    assert not np.isin(first, second).any()


@pytest.mark.parametrize("shape", [(40, 40), (60, 25), (25, 60), (1, 6), (6, 1), (1, 1)])
@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_orthogonal(shape, gain):
    W = orthogonal(np.random.default_rng(0), shape, gain=gain)
    assert W.shape == shape
    small = W.T @ W if shape[0] >= shape[1] else W @ W.T
    np.testing.assert_allclose(small, gain**2 * np.eye(min(shape)), rtol=0, atol=1e-12)


def test_orthogonal_keeps_lengths_over_many_steps():
    rng = np.random.default_rng(0)
    W, h = orthogonal(rng, (50, 50)), rng.standard_normal(50)
    before = np.linalg.norm(h)
    for _ in range(100):
        h = h @ W
    assert np.linalg.norm(h) == pytest.approx(before, rel=1e-12)


def test_orthogonal_is_uniform_over_all_orthogonal_matrices():
    # Without the sign rule LAPACK's QR fixes the sign of the diagonal, and the mean below is far from 0 (or W always -1).
    rng = np.random.default_rng(0)
    draws = np.array([orthogonal(rng, (2, 2)) for _ in range(2000)])
    assert np.all(np.abs(draws.mean(axis=0)) < 0.08)
    assert {float(orthogonal(rng, (1, 1))[0, 0]) for _ in range(30)} == {-1.0, 1.0}
    assert np.mean(np.linalg.det(draws) > 0) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (), (0, 3), (3, -1)])
def test_shape_must_be_two_positive_numbers(name, shape):
    with pytest.raises(ValueError, match=r"shape is \(.*expected \(fan_in, fan_out\)"):
        INITIALIZERS[name](np.random.default_rng(0), shape)
    with pytest.raises(TypeError, match="shape is 5: expected a sequence, each a whole number"):
        INITIALIZERS[name](np.random.default_rng(0), 5)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_refuses_other_generators_and_types(name):
    for rng in (0, None, np.random.RandomState(0)):
        with pytest.raises(TypeError, match=r"expected a numpy\.random\.Generator"):
            INITIALIZERS[name](rng, (2, 3))
    with pytest.raises(TypeError, match="dtype is int64"):
        INITIALIZERS[name](np.random.default_rng(0), (2, 3), np.int64)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: xavier_uniform(rng, (2, 3)),
        lambda rng: per_gate(orthogonal, rng, (2, 4), "ifgo"),
        lambda rng: minibatches(4, 2, rng),
        lambda rng: adding(rng, 2, 4),
    ],
)
@pytest.mark.parametrize(
    ("rng", "kind"), [(7, "int"), (np.random, "module"), (np.random.RandomState(0), "RandomState")]
)
def test_whoever_draws_says_the_same_of_what_is_no_generator(draw, rng, kind):
    sentence = f"rng is a {kind}: expected a numpy.random.Generator, numpy.random.default_rng(seed)"
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}$"):
        draw(rng)


@pytest.mark.parametrize("gates", ["ifgo", "rzn", "h"])
def test_per_gate_draws_each_block_for_itself(gates):
    D, H, G = 7, 5, len(gates)
    W = per_gate(xavier_uniform, np.random.default_rng(3), (D, G * H), gates, np.float32)
    rng = np.random.default_rng(3)
    blocks = [xavier_uniform(rng, (D, H), np.float32) for _ in gates]
    assert W.shape == (D, G * H)
    assert W.dtype == np.float32
    for k, block in enumerate(blocks):
        np.testing.assert_array_equal(W[:, k * H : (k + 1) * H], block)


def test_per_gate_fans_are_those_of_one_gate():
    D, H = 100, 100
    limit = np.sqrt(6 / (D + H))
    W = per_gate(xavier_uniform, np.random.default_rng(0), (D, 4 * H), "ifgo")
    whole = xavier_uniform(np.random.default_rng(0), (D, 4 * H))
    assert 0.999 * limit < np.abs(W).max() <= limit
    assert np.abs(whole).max() < 0.7 * limit  # what Keras, and torch.nn.init on the stacked weight, would do


def test_per_gate_makes_every_gate_orthogonal():
    H = 12
    W = per_gate(partial(orthogonal, gain=2.0), np.random.default_rng(0), (H, 4 * H), "ifgo")
    for k in range(4):
        block = W[:, k * H : (k + 1) * H]
        np.testing.assert_allclose(block @ block.T, 4 * np.eye(H), rtol=0, atol=1e-12)


def test_per_gate_refuses_what_does_not_divide():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"shape is \(3, 10\) but gates are 'ifgo'"):
        per_gate(xavier_uniform, rng, (3, 10), "ifgo")
    with pytest.raises(ValueError, match=r"shape is \(3, 10\) but gates are ''"):
        per_gate(xavier_uniform, rng, (3, 10), "")
    with pytest.raises(ValueError, match=r"shape is \(12,\)"):
        per_gate(xavier_uniform, rng, (12,), "ifgo")


@pytest.mark.parametrize(("gates", "block"), [("ifgo", 1), ("fiog", 0), ("igof", 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forget_bias(gates, block, dtype):
    H = 3
    b = np.arange(12, dtype=dtype)
    expected = b.copy()
    expected[block * H : (block + 1) * H] = 1.5
    assert set_forget_bias(b, gates, 1.5) is b
    np.testing.assert_array_equal(b, expected)
    assert b.dtype == dtype


def test_forget_bias_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="gates are 'rzn', none of them is the forget gate"):
        set_forget_bias(np.zeros(12), "rzn", 1.0)
    with pytest.raises(ValueError, match=r"b is \(3, 4\): expected \(G\*H,\)"):
        set_forget_bias(np.zeros((3, 4)), "ifgo", 1.0)
    with pytest.raises(ValueError, match=r"b is \(10,\) but gates are 'ifgo'"):
        set_forget_bias(np.zeros(10), "ifgo", 1.0)
    with pytest.raises(TypeError, match="b is int64"):
        set_forget_bias(np.zeros(12, np.int64), "ifgo", 1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_forget_bias_is_a_finite_number(value):
    b = np.zeros(8)
    with pytest.raises(ValueError, match=f"value is {value}: expected a finite number"):
        set_forget_bias(b, "ifgo", value)
    assert not b.any()


@pytest.mark.parametrize("slope", [float("nan"), float("-inf")])
def test_a_slope_is_a_finite_number(slope):
    with pytest.raises(ValueError, match=f"slope is {slope}: expected a finite number"):
        LeakyReLU(slope)
