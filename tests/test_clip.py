"""Clipping: PyTorch's numbers, what keeps which direction, norms whose squares overflow, and NaN."""

import math

import numpy as np
import pytest
from scratchnet.training.clip import CLIPS, clip_each_norm, clip_global_norm, clip_value, global_norm, norms_of

from device_array import TRANSFERS, on_device

SHAPES = {"W_x": (3, 8), "W_h": (2, 8), "b": (8,)}


def gradients(dtype=np.float64, size=1.0):
    rng = np.random.default_rng(0)
    return {
        name: (size * k * rng.standard_normal(shape)).astype(dtype) for k, (name, shape) in enumerate(SHAPES.items(), 1)
    }


def copies(grads):
    return {name: g.copy() for name, g in grads.items()}


def flat(grads):
    return np.concatenate([g.ravel() for g in grads.values()])


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def as_torch(grads):
    torch = pytest.importorskip("torch")
    params = {name: torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.tensor(g).dtype)) for name, g in grads.items()}
    for name, p in params.items():
        p.grad = torch.tensor(grads[name])
    return torch, params


def assert_same(grads, params, tol):
    for name, g in grads.items():
        np.testing.assert_allclose(g, params[name].grad.numpy(), rtol=tol, atol=0)


@pytest.mark.parametrize("limit", [1e-3, 0.7, 1.0, 1e4])
@pytest.mark.parametrize(("dtype", "tol"), [(np.float64, 1e-10), (np.float32, 1e-5)])
def test_equals_torch(limit, dtype, tol):
    grads = gradients(dtype)
    torch, params = as_torch(grads)
    norm = clip_global_norm(grads, limit)
    assert type(norm) is float
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(params.values(), limit).item(), rel=tol)
    assert_same(grads, params, tol)

    grads = gradients(dtype)
    _, params = as_torch(grads)
    norms = clip_each_norm(grads, limit)
    assert list(norms) == list(SHAPES)
    for name, p in params.items():
        assert norms[name] == pytest.approx(torch.nn.utils.clip_grad_norm_([p], limit).item(), rel=tol)
    assert_same(grads, params, tol)

    grads = gradients(dtype)
    _, params = as_torch(grads)
    norm = global_norm(grads)
    torch.nn.utils.clip_grad_value_(params.values(), limit)
    assert clip_value(grads, limit) == norm
    assert_same(grads, params, 0)
    assert all(g.dtype == dtype for g in grads.values())


def test_by_hand():
    grads = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    assert global_norm(grads) == 5.0
    assert clip_each_norm(copies(grads), 1.0) == {"a": 3.0, "b": 4.0}
    assert clip_global_norm(grads, 1.0) == 5.0
    np.testing.assert_allclose(grads["a"], [0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(grads["b"], [[0.8]], rtol=1e-6)
    assert 1 - 1e-6 < global_norm(grads) < 1  # EPS leaves it a little under


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_short_gradients_are_left_alone_and_arrays_stay_the_same_objects(clip):
    grads = gradients()
    arrays, before = dict(grads), copies(grads)
    clip(grads, 1e3)
    for name, g in grads.items():
        assert g is arrays[name]
        np.testing.assert_array_equal(g, before[name])
    clip(grads, 1e-3)
    for name, g in grads.items():
        assert g is arrays[name]
        assert np.abs(g).max() <= 1e-3


def test_global_norm_only_measures():
    grads = gradients()
    before = copies(grads)
    assert global_norm(grads) == pytest.approx(np.linalg.norm(flat(before)), rel=1e-14)
    for name, g in grads.items():
        np.testing.assert_array_equal(g, before[name])


def test_which_direction_is_kept():
    before, whole, each, value = (gradients() for _ in range(4))
    clip_global_norm(whole, 0.5)
    clip_each_norm(each, 0.5)
    clip_value(value, 0.5)
    assert cosine(flat(before), flat(whole)) == pytest.approx(1, abs=1e-12)
    assert cosine(flat(before), flat(each)) < 0.95
    assert cosine(flat(before), flat(value)) < 0.95
    for name, g in before.items():
        assert cosine(g.ravel(), each[name].ravel()) == pytest.approx(1, abs=1e-12)
        assert cosine(g.ravel(), value[name].ravel()) < 0.99


@pytest.mark.parametrize(
    ("dtype", "size"), [(np.float64, 1e200), (np.float64, 1e-200), (np.float32, 1e30), (np.float32, 1e-30)]
)
def test_squares_that_overflow_or_vanish(dtype, size):
    grads, ones = gradients(dtype, size), gradients(np.float64)
    assert global_norm(grads) == pytest.approx(size * global_norm(ones), rel=1e-6)
    before = copies(grads)
    norm = clip_global_norm(grads, 1.0)
    if size > 1:
        assert global_norm(grads) == pytest.approx(1.0, rel=1e-6)
        for name, g in grads.items():
            np.testing.assert_allclose(g, before[name] / dtype(norm), rtol=1e-5)
    else:
        for name, g in grads.items():
            np.testing.assert_array_equal(g, before[name])


def test_a_float32_norm_beyond_float32():
    g = np.full(10_000, 3e38, np.float32)
    assert clip_global_norm({"g": g}, 1e-3) == pytest.approx(3e40, rel=1e-6)
    np.testing.assert_allclose(g, 1e-5, rtol=1e-6)


@pytest.mark.parametrize("measure", [global_norm, *(lambda g, c=clip: c(g, 1.0) for clip in CLIPS.values())])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_names_the_first_tensor_and_touches_nothing(measure, bad):
    grads = gradients(size=100)
    grads["W_h"][1, 3] = bad
    grads["b"][0] = np.nan
    before = copies(grads)
    with pytest.raises(
        FloatingPointError, match=r"the gradient of W_h has norm (nan|inf): 1 of its 16 elements are not finite"
    ):
        measure(grads)
    for name, g in grads.items():
        np.testing.assert_array_equal(g, before[name])


def test_a_norm_beyond_float64_is_not_finite_either():
    grads = {"small": np.ones(2), "large": np.full(4, 1.5e308)}
    before = copies(grads)
    with pytest.raises(
        FloatingPointError, match="the gradient of large has norm inf: its elements are finite, but too large"
    ):
        clip_global_norm(grads, 1.0)
    grads["large"][1:] = 0
    grads["larger"] = np.array([1.6e308])
    with pytest.raises(FloatingPointError, match=r"together have norm inf.*most of all larger with 1\.6e\+308"):
        clip_global_norm(grads, 1.0)
    np.testing.assert_array_equal(grads["small"], before["small"])
    assert math.isclose(clip_each_norm(grads, 1.0)["larger"], 1.6e308)  # one by one they are all finite


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
@pytest.mark.parametrize("limit", [0.0, -1.0, np.nan])
def test_limit_must_be_positive(clip, limit):
    grads = gradients()
    before = copies(grads)
    with pytest.raises(ValueError, match=f"(max_norm|limit) is {limit}: expected a positive number"):
        clip(grads, limit)
    for name, g in grads.items():
        np.testing.assert_array_equal(g, before[name])


def test_zero_and_empty():
    grads = {"zero": np.zeros(3), "empty": np.zeros((0, 4))}
    assert clip_each_norm(grads, 1.0) == {"zero": 0.0, "empty": 0.0}
    assert clip_global_norm(grads, 1.0) == 0.0
    assert global_norm({}) == 0.0
    np.testing.assert_array_equal(grads["zero"], 0)


def test_refuses_what_is_not_a_floating_array():
    with pytest.raises(TypeError, match="the gradient of b is int64"):
        global_norm({"b": np.ones(3, np.int64)})
    with pytest.raises(TypeError, match=r"the gradient of b is a builtins\.list"):
        clip_value({"b": [1.0]}, 1.0)


def test_a_float32_norm_is_summed_in_more_than_float32():
    """In float32 4096^2 + 1 is 4096^2."""
    assert global_norm({"g": np.array([4096, 1], np.float32)}) == pytest.approx((4096**2 + 1) ** 0.5, rel=1e-12)


@pytest.mark.parametrize("measure", [global_norm, *(lambda g, c=clip: c(g, 0.5) for clip in CLIPS.values())])
def test_a_device_is_waited_for_once_a_call(measure):
    """However many tensors there are, their norms come to the host in one transfer; a second one would be a second wait."""
    plain = gradients() | {"empty": np.zeros((0, 4)), "zero": np.zeros(3, np.float32)}
    device = {name: on_device(g) for name, g in plain.items()}
    TRANSFERS.clear()
    assert measure(device) == measure(plain)
    assert TRANSFERS == ["to host"]
    for name, g in device.items():
        np.testing.assert_array_equal(g.get(), plain[name])


def test_not_finite_on_a_device_is_named_as_well():
    device = {"W": on_device(np.ones(3)), "b": on_device(np.array([1.0, np.inf]))}
    with pytest.raises(FloatingPointError, match="the gradient of b has norm inf: 1 of its 2 elements are not finite"):
        clip_global_norm(device, 1.0)


def test_gradients_on_both_sides_are_refused():
    with pytest.raises(TypeError, match="the gradient of b is an array of device_array but that of W is one of numpy"):
        global_norm({"W": np.ones(3), "b": on_device(np.ones(3))})


def test_norms_of_measures_what_is_not_finite_too():
    norms = norms_of({1: np.array([3.0, 4.0]), 2: np.array([1.0, np.nan]), 3: np.array([np.inf]), 4: np.zeros(0)})
    assert list(norms) == [1, 2, 3, 4]
    assert (norms[1], norms[3], norms[4]) == (5.0, math.inf, 0.0)
    assert math.isnan(norms[2])
    assert all(type(norm) is float for norm in norms.values())


@pytest.mark.parametrize("how", CLIPS)
def test_a_read_only_gradient_is_refused_before_any_is_changed(how):
    grads = gradients()
    before = copies(grads)
    grads["b"].flags.writeable = False
    with pytest.raises(ValueError, match="the gradient of b is read-only, and clipping changes it: copy it first"):
        CLIPS[how](grads, 1e-3)
    for name, g in grads.items():
        np.testing.assert_array_equal(g, before[name])


@pytest.mark.underflows
@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-200, 1e-30, 0.3, 1.0, 7.0, 1e30, 1e200, 1e307])
def test_a_norm_whose_squares_vanish_or_overflow(size):
    """hypot(3, 4) = 5 at every size; below the normal range a float64 itself has few digits, so a unit in the last place."""
    g = np.array([3 * size, -4 * size])
    true = math.hypot(*g)
    for array in (g, on_device(g)):
        assert abs(norms_of({"g": array})["g"] - true) <= 4 * np.spacing(true)
    pytest.importorskip("numba")
    assert abs(norms_of({"g": g}, "step")["g"] - true) <= 4 * np.spacing(true)


@pytest.mark.parametrize("how", ["global", "each"])
def test_what_is_short_enough_is_not_made_longer(how):
    """A limit a little above the norm: the factor would be between 1 and 2."""
    grads = {"W": np.array([3.0, 4.0])}
    CLIPS[how](grads, 5.5)
    assert grads["W"].tolist() == [3.0, 4.0]


@pytest.mark.parametrize("clip", CLIPS.values())
@pytest.mark.parametrize("limit", [True, np.True_, "1", None, [1.0]])
def test_a_limit_is_a_number(clip, limit):
    grads = gradients()
    with pytest.raises(TypeError, match=r"is .*: expected a positive number"):
        clip(grads, limit)


@pytest.mark.parametrize("clip", CLIPS.values())
def test_gradients_come_by_name(clip):
    with pytest.raises(TypeError, match=r"grads is a list: expected a dict, name -> array"):
        clip([np.ones(3)], 1.0)
