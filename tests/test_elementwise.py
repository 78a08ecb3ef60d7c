"""The elementwise math alone: as exact far out as near zero, on arrays and compiled, in both floating types."""

import numpy as np
import pytest
from scratchnet import elementwise
from scratchnet.elementwise import sigmoid

numba = pytest.importorskip("numba")
pytest.importorskip("scratchnet_kernels.sequence_cpu.vector_math")
from scratchnet_kernels.sequence_cpu.vector import load, store  # noqa: E402


@numba.njit(error_model="numpy")
def vector_loop(a, out):
    rows, into = a.reshape(1, -1), out.reshape(1, -1)
    for i in range(0, len(a), 4):
        store(into, 0, i, min(4, len(a) - i), sigmoid(load(rows, 0, i, min(4, len(a) - i))))


@numba.njit(error_model="numpy")
def loop(a, out):
    for i in range(len(a)):
        out[i] = sigmoid(a[i])


def filled(compiled):
    def run(a):
        out = np.empty_like(a)
        compiled(a, out)
        return out

    return run


FORMS = {"array": sigmoid, "vector loop": filled(vector_loop), "loop": filled(loop)}
wide = pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="no wider type to compare with")


def numbers(dtype, rng):
    """Where the sigmoid is a normal number, and close to 0."""
    least = np.log(np.finfo(dtype).tiny)
    parts = rng.uniform(least, 60, 50_000), rng.uniform(-20, 20, 50_000), 10 ** rng.uniform(-30, 1, 10_000)
    a = np.concatenate([*parts, -parts[2], [0.0, -0.0, 39.9, 40.0, 40.1, 88.0, 89.0, 710.0]])
    return a.astype(dtype)[a.astype(dtype) > least]


@wide
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
def test_the_sigmoid_has_all_its_digits_over_the_whole_range(form, dtype, rng):
    """Written with tanh, the float32 sigmoid(-17) was 0 or 2.98e-8; it is 4.14e-8.

    Half an eps each for the sum and the quotient, and the error of exp: one eps, or 2.5 in NumPy's float32.
    """
    a = numbers(dtype, rng)
    exact = 1 / (1 + np.exp(-a.astype(np.longdouble)))
    with np.errstate(all="raise"):
        y = FORMS[form](a)
    assert y.dtype == dtype
    error = np.abs(y - exact) / exact
    assert error.max() <= (3.5 if form == "array" else 2) * np.finfo(dtype).eps
    assert FORMS[form](np.array([-17], dtype))[0] == pytest.approx(4.1399376e-8, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
def test_the_sigmoid_of_what_is_special(form, dtype):
    largest = np.finfo(dtype).max
    a = np.array([np.nan, np.inf, -np.inf, largest, -largest, 0.0, -0.0], dtype)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(FORMS[form](a), np.array([np.nan, 1, 0, 1, 0, 0.5, 0.5], dtype))


@pytest.mark.underflows
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
def test_the_sigmoid_below_the_smallest_normal_number(form, dtype):
    """There it has few digits or none, and stays between 0 and what it should be: it does not rise again."""
    tiny = np.finfo(dtype).tiny
    a = np.linspace(3 * np.log(tiny), np.log(tiny), 10_000).astype(dtype)
    with np.errstate(under="ignore"):
        y, exact = FORMS[form](a), np.exp(a)
    assert (y >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert (y <= exact * (1 + 1e-5) + np.finfo(dtype).smallest_subnormal).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_function_is_marked_and_keeps_the_type(dtype):
    """An array in the caller's type, for derivatives that are 0 or 1 too."""
    own = [
        f for f in vars(elementwise).values() if getattr(f, "__module__", "") == elementwise.__name__ and callable(f)
    ]
    own.remove(elementwise.elementwise)
    assert sigmoid in own
    assert set(own) <= set(elementwise.ELEMENTWISE)
    a = np.array([-1, 0, 0.5], dtype)
    for function in own:
        found = function(a)
        assert (found.dtype.kind, (found * a).dtype) == ("f", dtype), function.__name__
    assert elementwise.d_relu(np.array([0, 0.5], dtype)).tolist() == [0, 1]
