"""Losses: PyTorch's numbers, gradients against central differences, masks that keep padding out, and refusals."""

import numpy as np
import pytest
from scratchnet.losses import LOSSES, binary_cross_entropy, huber, mae, measured, mse, quantile, softmax_cross_entropy

T, N, K = 5, 4, 3
ELEMENTWISE = ["mse", "mae", "huber", "binary_cross_entropy"]
MASKS = ["none", "steps", "elements", "zero-one"]


def case(name, dtype=np.float64, seed=0):
    """y (T, N, K) and a target that fits the loss."""
    rng = np.random.default_rng(seed)
    y = (2 * rng.standard_normal((T, N, K))).astype(dtype)
    if name == "softmax_cross_entropy":
        return y, rng.integers(0, K, (T, N))
    if name == "binary_cross_entropy":
        return y, rng.uniform(0, 1, y.shape).astype(dtype)
    return y, rng.standard_normal(y.shape).astype(dtype)


def mask_of(kind, target):
    """A mask of the kind, with at least one element on either side."""
    rng = np.random.default_rng(1)
    if kind == "none":
        return None
    steps = np.arange(T)[:, None] < np.array([5, 3, 1, 4])  # (T, N): sequences of different length
    if kind == "steps":
        return steps
    if kind == "zero-one":
        return steps.astype(np.float32)
    return rng.uniform(size=target.shape) < 0.6


def torch_loss(name, y, target, mask):
    """Loss and gradient by PyTorch, of the kept elements alone."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    loss = {
        "mse": F.mse_loss,
        "mae": F.l1_loss,
        "huber": F.huber_loss,
        "binary_cross_entropy": F.binary_cross_entropy_with_logits,
        "softmax_cross_entropy": F.cross_entropy,
    }[name]
    y_t = torch.tensor(y, requires_grad=True)
    a, t = y_t, torch.tensor(target)
    if mask is None:
        a, t = (a.reshape(-1, K), t.reshape(-1)) if name == "softmax_cross_entropy" else (a, t)
    else:
        keep = torch.tensor(mask.astype(bool))
        a, t = a[keep], t[keep]
    out = loss(a, t)
    out.backward()
    return out.item(), y_t.grad.numpy()


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize(("dtype", "tol"), [(np.float64, 1e-10), (np.float32, 1e-5)])
@pytest.mark.parametrize("name", LOSSES)
def test_equals_torch(name, dtype, tol, kind):
    y, target = case(name, dtype)
    mask = mask_of(kind, target)
    loss, dy = LOSSES[name](y, target, mask)
    loss_t, dy_t = torch_loss(name, y, target, mask)
    assert type(loss) is float
    assert dy.dtype == dtype
    np.testing.assert_allclose(loss, loss_t, rtol=tol)
    np.testing.assert_allclose(dy, dy_t, rtol=tol, atol=tol * 1e-2)


@pytest.mark.parametrize("delta", [0.3, 2.5, np.float64(0.3)])
def test_huber_delta_equals_torch(delta):
    torch = pytest.importorskip("torch")
    y, target = case("huber", np.float32)
    y_t = torch.tensor(y, requires_grad=True)
    out = torch.nn.functional.huber_loss(y_t, torch.tensor(target), delta=float(delta))
    out.backward()
    loss, dy = huber(y, target, delta=delta)
    assert dy.dtype == np.float32
    np.testing.assert_allclose(loss, out.item(), rtol=1e-5)
    np.testing.assert_allclose(dy, y_t.grad.numpy(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_the_central_difference(name, kind):
    y, target = case(name)
    mask = mask_of(kind, target)
    if name in ("mae", "huber"):  # no residual may step over a kink
        r = np.abs(y - target)
        assert min(r.min(), np.abs(r - 1).min()) > 1e-4
    _, dy = LOSSES[name](y, target, mask)
    numeric = np.empty_like(y)
    h = 1e-5
    for at in np.ndindex(y.shape):
        up, down = y.copy(), y.copy()
        up[at] += h
        down[at] -= h
        numeric[at] = (LOSSES[name](up, target, mask)[0] - LOSSES[name](down, target, mask)[0]) / (2 * h)
    assert np.abs(dy).max() > 1e-3
    np.testing.assert_allclose(dy, numeric, rtol=1e-6, atol=1e-10)


def torch_each(name, y, target):
    """PyTorch's loss of each element (of each target, for classes), before any mean, and its y."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    y_t = torch.tensor(y, requires_grad=True)
    if name == "softmax_cross_entropy":
        each = F.cross_entropy(y_t.reshape(-1, K), torch.tensor(target).reshape(-1), reduction="none")
        return each.reshape(target.shape), y_t
    loss = {
        "mse": F.mse_loss,
        "mae": F.l1_loss,
        "huber": F.huber_loss,
        "binary_cross_entropy": F.binary_cross_entropy_with_logits,
    }[name]
    return loss(y_t, torch.tensor(target), reduction="none"), y_t


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize(("dtype", "tol"), [(np.float64, 1e-10), (np.float32, 1e-5)])
@pytest.mark.parametrize("name", LOSSES)
def test_weighted_equals_torch(name, dtype, tol, kind, axes):
    """sum w l / sum w of PyTorch's reduction="none", over what the mask keeps."""
    torch = pytest.importorskip("torch")
    y, target = case(name, dtype)
    mask = mask_of(kind, target)
    weights = np.random.default_rng(2).uniform(0, 3, target.shape[:axes])
    loss, dy = LOSSES[name](y, target, mask, weights=weights)
    each, y_t = torch_each(name, y, target)
    w = torch.tensor(weights.reshape(weights.shape + (1,) * (target.ndim - weights.ndim))).expand(target.shape)
    if mask is not None:
        w = w * torch.tensor(mask.reshape(mask.shape + (1,) * (target.ndim - mask.ndim)).astype(float))
    out = (each * w).sum() / w.sum()
    out.backward()
    assert type(loss) is float
    assert dy.dtype == dtype
    np.testing.assert_allclose(loss, out.item(), rtol=tol)
    np.testing.assert_allclose(dy, y_t.grad.numpy(), rtol=tol, atol=tol * 1e-2)


@pytest.mark.parametrize("name", [*LOSSES, "quantile"])
def test_weighted_gradient_is_the_central_difference(name):
    loss_of = quantile([0.1, 0.8]) if name == "quantile" else LOSSES[name]
    y, target = case("mse" if name == "quantile" else name)
    if name == "quantile":
        y = np.random.default_rng(3).standard_normal((T, N, 2 * K))
    mask, weights = mask_of("steps", target), np.random.default_rng(2).uniform(0, 3, (T, N))
    _, dy = loss_of(y, target, mask, weights=weights)
    numeric, h = np.empty_like(y), 1e-5
    for at in np.ndindex(y.shape):
        up, down = y.copy(), y.copy()
        up[at] += h
        down[at] -= h
        numeric[at] = (
            loss_of(up, target, mask, weights=weights)[0] - loss_of(down, target, mask, weights=weights)[0]
        ) / (2 * h)
    np.testing.assert_allclose(dy, numeric, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_equal_weights_change_nothing_and_wrong_ones_are_refused(name):
    y, target = case(name)
    for mask in (None, mask_of("steps", target)):
        plain, weighted = LOSSES[name](y, target, mask), LOSSES[name](y, target, mask, weights=np.full(T, 2.5))
        np.testing.assert_allclose(weighted[0], plain[0], rtol=1e-12)
        np.testing.assert_allclose(weighted[1], plain[1], rtol=1e-12)
    for weights, says in (
        (np.ones(N), r"weights is \(4,\) but target is \(5, 4"),
        (np.zeros(T), "weights range from 0.0 to 0.0: expected finite numbers from 0 up, not all of them 0"),
        (np.array([1, 1, 1, 1, -1.0]), "weights range from -1.0 to 1.0"),
        (np.array([1, 1, 1, 1, np.nan]), "weights range from nan to nan"),
        (np.array([1, 1, 1, 1, np.inf]), "weights range from 1.0 to inf"),
    ):
        with pytest.raises(ValueError, match=says):
            LOSSES[name](y, target, weights=weights)


def test_by_hand():
    y, target = np.array([1.0, -2.0, 5.0]), np.array([0.0, -2.0, 3.0])  # residuals 1, 0, 2
    assert mse(y, target)[0] == pytest.approx(5 / 3)
    assert mae(y, target)[0] == pytest.approx(1.0)
    assert huber(y, target)[0] == pytest.approx((0.5 + 0 + 1.5) / 3)
    np.testing.assert_allclose(mse(y, target)[1], [2 / 3, 0, 4 / 3])
    np.testing.assert_allclose(mae(y, target)[1], [1 / 3, 0, 1 / 3])
    np.testing.assert_allclose(huber(y, target)[1], [1 / 3, 0, 1 / 3])
    zeros = np.zeros((2, 7))
    assert softmax_cross_entropy(zeros, np.array([0, 6]))[0] == pytest.approx(np.log(7))
    assert binary_cross_entropy(zeros, zeros)[0] == pytest.approx(np.log(2))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("kind", ["steps", "elements"])
@pytest.mark.parametrize("name", LOSSES)
def test_padding_is_not_read(name, kind, bad):
    y, target = case(name)
    mask = mask_of(kind, target)
    loss, dy = LOSSES[name](y, target, mask)
    y_bad, target_bad = y.copy(), target.copy()
    y_bad[~mask] = bad
    target_bad[~mask] = -100 if name == "softmax_cross_entropy" else bad
    loss_bad, dy_bad = LOSSES[name](y_bad, target_bad, mask)
    assert loss_bad == loss
    np.testing.assert_array_equal(dy_bad, dy)
    assert np.all(dy[~mask] == 0)
    assert np.all(dy[mask].any(axis=-1)) if kind == "steps" else dy[mask].any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_kept_nan_is_not_hidden(name):
    y, target = case(name)
    y[0, 0, 0] = np.nan
    loss, dy = LOSSES[name](y, target, mask_of("steps", target))
    assert np.isnan(loss)
    assert np.isnan(dy[0, 0, 0])


@pytest.mark.parametrize("name", LOSSES)
def test_arguments_are_left_alone(name):
    y, target = case(name)
    mask = mask_of("steps", target)
    before = y.copy(), target.copy(), mask.copy()
    for given in (None, mask):
        _, dy = LOSSES[name](y, target, given)
        assert not np.shares_memory(dy, y)
        for now, then in zip((y, target, mask), before, strict=True):
            np.testing.assert_array_equal(now, then)


@pytest.mark.underflows
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits(dtype):
    y = np.array([[1000.0, -1000.0, 0.0], [-1000.0, -1000.0, -1000.0]], dtype)
    loss, dy = softmax_cross_entropy(y, np.array([1, 2]))
    assert loss == pytest.approx((2000 + np.log(3)) / 2, rel=1e-6)
    np.testing.assert_allclose(dy, np.array([[1, -1, 0], [1 / 3, 1 / 3, -2 / 3]]) / 2, rtol=1e-6)
    y, target = np.array([1000.0, -1000.0, 1000.0, -1000.0], dtype), np.array([0.0, 1.0, 1.0, 0.0], dtype)
    loss, dy = binary_cross_entropy(y, target)
    assert loss == 500.0
    np.testing.assert_array_equal(dy, np.array([1, -1, 0, 0]) / 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_confident_and_right_keeps_its_digits(dtype):
    y = np.array([12.0], dtype)
    assert binary_cross_entropy(y, np.ones_like(y))[0] == pytest.approx(np.log1p(np.exp(-12.0)), rel=1e-6)


def test_float32_sum_is_done_in_float64():
    # Beside 1e8 a float32 has no room for the 1e-4 of the others.
    r = np.full(100_001, 1e-2, np.float32)
    r[0] = 1e4
    exact = np.mean(r.astype(np.float64) ** 2)
    assert mse(r, np.zeros_like(r))[0] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_no_broadcasting(name):
    y = np.full((N, 1), 0.5)
    with pytest.raises(ValueError, match=r"target is \(4,\).*y is \(4, 1\)"):
        LOSSES[name](y, np.full(N, 0.5))
    with pytest.raises(ValueError, match=r"target is \(1, 1\).*y is \(4, 1\)"):
        LOSSES[name](y, np.full((1, 1), 0.5))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_types_must_agree(name):
    y = np.full(N, 0.5, np.float32)
    with pytest.raises(TypeError, match="target is float64 but y is float32"):
        LOSSES[name](y, np.full(N, 0.5))
    with pytest.raises(TypeError, match="target is int64"):
        LOSSES[name](y, np.ones(N, np.int64))
    with pytest.raises(TypeError, match=r"y is a builtins\.list"):
        LOSSES[name]([0.5], np.full(1, 0.5))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(N, T), (T, N, K, 1), (T, 1), (N,), ()])
def test_mask_of_another_shape(name, shape):
    y, target = case(name)
    with pytest.raises(ValueError, match=r"mask is \(.*but target is \(5, 4"):
        LOSSES[name](y, target, np.ones(shape, bool))


@pytest.mark.parametrize("name", LOSSES)
def test_mask_that_keeps_nothing_or_is_no_mask(name):
    y, target = case(name)
    with pytest.raises(ValueError, match=r"mask \(5, 4\) keeps nothing of target \(5, 4"):
        LOSSES[name](y, target, np.zeros((T, N), bool))
    with pytest.raises(ValueError, match=r"mask ranges from 0\.0 to 2\.0"):
        LOSSES[name](y, target, np.linspace(0, 2, T))
    with pytest.raises(ValueError, match="nothing to take the mean over"):
        LOSSES[name](y[:0], target[:0])


@pytest.mark.parametrize("name", LOSSES)
def test_mask_over_time_alone(name):
    y, target = case(name)
    loss, dy = LOSSES[name](y, target, np.array([1, 1, 0, 0, 0]))
    loss_two, dy_two = LOSSES[name](y[:2], target[:2])
    assert loss == loss_two
    np.testing.assert_array_equal(dy, np.concatenate([dy_two, np.zeros_like(y[2:])]))


@pytest.mark.parametrize(("wrong", "says"), [(-1, "from -1 to 2"), (K, "from 0 to 3")])
def test_class_out_of_range(wrong, says):
    y, _ = case("softmax_cross_entropy")
    target = np.arange(T * N).reshape(T, N) % K
    target[2, 1] = wrong
    with pytest.raises(ValueError, match=says + r".*y has 3 classes: expected 0 to 2"):
        softmax_cross_entropy(y, target)
    assert softmax_cross_entropy(y, target, np.arange(T * N).reshape(T, N) != 2 * N + 1)[0] > 0


def test_softmax_refuses_what_does_not_fit():
    y, target = case("softmax_cross_entropy")
    with pytest.raises(ValueError, match=r"target is \(5, 4, 3\).*y has logits \(5, 4, 3\).*expected \(5, 4\)"):
        softmax_cross_entropy(y, np.zeros((T, N, K), int))
    with pytest.raises(TypeError, match=r"target is float64.*integers"):
        softmax_cross_entropy(y, target.astype(float))
    with pytest.raises(TypeError, match=r"target is bool.*integers"):
        softmax_cross_entropy(y, target > 0)
    with pytest.raises(TypeError, match=r"target is a builtins.list"):
        softmax_cross_entropy(y, target.tolist())
    with pytest.raises(TypeError, match="y is int64"):
        softmax_cross_entropy(np.ones((T, N, K), np.int64), target)
    with pytest.raises(ValueError, match=r"y has shape \(\)"):
        softmax_cross_entropy(np.array(1.0), np.array(0))


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan])
def test_probability_out_of_range(wrong):
    y, target = case("binary_cross_entropy")
    target[0, 0, 0] = wrong
    with pytest.raises(ValueError, match=r"target ranges from .*between 0 and 1"):
        binary_cross_entropy(y, target)
    keep = np.ones(y.shape, bool)
    keep[0, 0, 0] = False
    assert binary_cross_entropy(y, target, keep)[0] > 0


@pytest.mark.parametrize("delta", [0.0, -1.0, np.nan, np.inf])
def test_huber_delta_must_be_positive(delta):
    with pytest.raises(ValueError, match="delta is"):
        huber(np.ones(2), np.zeros(2), delta=delta)


@pytest.mark.parametrize("delta", [True, "1", None, [1.0]])
def test_huber_delta_must_be_a_number(delta):
    with pytest.raises(TypeError, match=r"delta is .*: expected a positive number"):
        huber(np.ones(2), np.zeros(2), delta=delta)


@pytest.mark.parametrize("levels", [[0.0, 0.5], [0.5, 1.0], [0.5, 0.5], [0.9, 0.1], [np.nan], [], [[0.5]], 0.5])
def test_levels_ascend_between_0_and_1(levels):
    with pytest.raises((ValueError, TypeError), match=r"levels (are|is) .*: expected"):
        quantile(levels)


def test_a_pinball_loss_computes_in_one_type():
    with pytest.raises(TypeError, match="y is float32"):
        quantile([0.5])(np.ones((2, 1), np.float32), np.ones((2, 1)))


def test_a_weight_of_zero_leaves_its_element_out():
    y, target = np.array([1.0, 5.0]), np.zeros(2)
    assert mse(y, target, weights=np.array([1.0, 0.0]))[0] == 1


@pytest.mark.parametrize("found", [1.0, [1.0, np.ones(2)], (1.0,), (1.0, np.ones(2), None)])
def test_a_loss_returns_a_number_and_its_gradient(found):
    with pytest.raises(TypeError, match=r"the loss returned a .*: a loss returns the number and dy"):
        measured(lambda y, target: found, np.ones(2), np.zeros(2))


def test_descending_the_gradient_lowers_every_loss():
    for name, loss in LOSSES.items():
        y, target = case(name)
        before, dy = loss(y, target)
        assert loss(y - 0.1 * dy, target)[0] < before, name


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_only_the_proportions_of_weights_count(scale, rng):
    y, target, weights = rng.standard_normal((4, 3, 2)), rng.standard_normal((4, 3, 2)), rng.uniform(0.5, 2, (4, 3))
    value, dy = LOSSES["mse"](y, target, weights=scale * weights)
    want, want_dy = LOSSES["mse"](y, target, weights=weights)
    assert value == pytest.approx(want, rel=1e-12)
    np.testing.assert_allclose(dy, want_dy, rtol=1e-12)


def test_equal_weights_of_quantiles_are_none(rng):
    y, target = rng.standard_normal((5, 6)), rng.standard_normal((5, 2))
    loss = quantile((0.1, 0.5, 0.9))
    value, dy = loss(y, target, weights=np.full(5, 3.0))
    want, want_dy = loss(y, target)
    assert value == pytest.approx(want, rel=1e-12)
    np.testing.assert_allclose(dy, want_dy, rtol=1e-12)
