"""The adding problem: what is in it, and what one scores who has learned nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scratchnet.data.tasks import ADDING_BASELINE_MSE, adding


@settings(deadline=None)
@given(
    n=st.integers(1, 20), T=st.integers(2, 31), seed=st.integers(0, 99), dtype=st.sampled_from([np.float32, np.float64])
)
def test_adding_is_the_sum_of_one_marked_number_in_each_half(n, T, seed, dtype):
    x, y = adding(np.random.default_rng(seed), n, T, dtype)
    assert x.shape == (T, n, 2)
    assert y.shape == (n, 1)
    assert x.dtype == y.dtype == dtype
    number, mark = x[..., 0], x[..., 1]
    assert set(np.unique(mark)) <= {0, 1}
    assert (mark[: T // 2].sum(axis=0) == 1).all()
    assert (mark[T // 2 :].sum(axis=0) == 1).all()
    assert number.min() >= 0
    assert number.max() <= 1
    np.testing.assert_array_equal((number * mark).sum(axis=0), y[:, 0])


def test_adding_marks_every_step_and_draws_uniform_numbers():
    x, _ = adding(np.random.default_rng(0), 40_000, 7)
    share = x[..., 1].mean(axis=1)  # 1/3 in each of the first three steps, 1/4 in each of the other four
    np.testing.assert_allclose(share, [1 / 3] * 3 + [1 / 4] * 4, atol=0.01)
    assert x[..., 0].mean() == pytest.approx(1 / 2, abs=0.003)
    assert x[..., 0].var() == pytest.approx(1 / 12, abs=0.001)


def test_adding_baseline_is_what_the_mean_scores():
    _, y = adding(np.random.default_rng(0), 200_000, 2)
    assert np.mean((y - 1) ** 2) == pytest.approx(ADDING_BASELINE_MSE, rel=0.01)
    assert pytest.approx(0.1667, abs=5e-5) == ADDING_BASELINE_MSE


def test_adding_comes_from_the_generator_alone():
    a, b = adding(np.random.default_rng(3), 5, 9), adding(np.random.default_rng(3), 5, 9)
    np.testing.assert_array_equal(a[0], b[0])
    rng = np.random.default_rng(3)
    assert not np.array_equal(adding(rng, 5, 9)[0], adding(rng, 5, 9)[0])


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"T": 1}, ValueError, "T is 1: expected at least 2 steps, one for each of the two marks"),
        ({"n": 0}, ValueError, "n is 0: expected at least 1 sequence"),
        ({"dtype": np.int32}, TypeError, "dtype is int32: expected float32 or float64"),
        ({"rng": 0}, TypeError, "rng is a int: expected a numpy.random.Generator"),
        ({"rng": np.random}, TypeError, "rng is a module: expected a numpy.random.Generator"),
    ],
)
def test_adding_bad_input(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        adding(**{"rng": np.random.default_rng(0), "n": 2, "T": 4, **arguments})
