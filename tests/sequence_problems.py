"""Problems for the ``sequence`` engine on the CPU: what its test files share."""

import os
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numba
import numpy as np
import pytest
from scratchnet.cells import CELLS, variants
from scratchnet.layers import GRU, LSTM, RNN
from scratchnet_kernels import KERNELS
from scratchnet_kernels.sequence_cpu import threads, work

ROOT = Path(__file__).parents[1]
NAMES = {id(cell): name for name, cell in CELLS.items()}
CASES = [
    pytest.param(NAMES[id(cell)], options, id=label)
    for label, cell, options in variants()
    if ("sequence", NAMES[id(cell)]) in KERNELS
]
LAYERS = {
    "rnn tanh": RNN,
    "rnn relu": partial(RNN, nonlinearity="relu"),
    "lstm": LSTM,
    "gru": GRU,
    "gru_reset_before": partial(GRU, reset_after=False),
}
cells = pytest.mark.parametrize(("name", "options"), CASES)
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
needs_compiler = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="NUMBA_DISABLE_JIT is set: nothing is compiled"
)


@contextmanager
def any_work_is_worth_a_thread(by_units=None):
    """However small, and however busy this machine is; shared by rows or by units, or as it would be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "WORTH_A_THREAD", 1)
        patch.setattr(threads, "STOLEN", float("inf"))
        patch.setattr(threads, "crew", threads.Crew())
        if by_units is not None:
            patch.setattr(work, "by_units", lambda *_: by_units)
        yield


def problem(name, dtype, T, N, D, H, ragged=False, seed=0):
    """(forward arguments, what arrives at backward, lengths): weights of a size at which nothing saturates or explodes."""
    cell, rng = CELLS[name], np.random.default_rng(seed)

    def uniform(*shape, size=1.0):
        return (size * rng.uniform(-1, 1, shape)).astype(dtype)

    states = [uniform(N, H) for _ in cell.STATES]
    params = [uniform(*s, size=s[0] ** -0.5) for s in cell.param_shapes(D, H).values()]
    arriving = [uniform(T, N, H), *(uniform(N, H) for _ in states)]
    return [uniform(T, N, D), *states, *params], arriving, rng.integers(1, T + 1, N) if ragged else None


def run(forward, backward, call, arriving, lengths, options):
    y, cache = forward(*call, **options, lengths=lengths)
    grads = backward(arriving[0], cache, *arriving[1:])
    named = {"y": y, **{f"cache.{k}": v for k, v in cache._asdict().items()}, **grads._asdict()}
    return {key: value for key, value in named.items() if isinstance(value, np.ndarray)}


def assert_close(got, want, tolerance, dtype=None):
    """Relative to the largest of each array: where large terms cancel, what is left has their rounding error."""
    assert got.keys() == want.keys()
    for key in want:
        expected = dtype if dtype and want[key].dtype.kind == "f" else want[key].dtype
        assert (got[key].dtype, got[key].shape) == (expected, want[key].shape), key
        assert type(got[key]) is np.ndarray, key
        np.testing.assert_allclose(
            got[key], want[key], rtol=0, atol=tolerance * max(1.0, np.abs(want[key]).max()), err_msg=key
        )


def assert_identical(got, want):
    for key in want:
        np.testing.assert_array_equal(got[key], want[key], err_msg=key)


def python(code, tree=ROOT, **environment):
    """Run ``code`` in a new Python; returns what it printed, and what it wrote to stderr."""
    path = [str(tree), str(tree / "kernels"), str(ROOT / "tests")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path)} | environment
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=env, capture_output=True, text=True, timeout=200, cwd=tree
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


# Every cell in both types, against its own file.
EVERY_CELL = """
import numpy as np
from scratchnet.cells import CELLS
from sequence_problems import CASES
from calls import pair
rng = np.random.default_rng(0)
for dtype in (np.float32, np.float64):
    for name, options in (case.values for case in CASES):
        cell = CELLS[name]
        shapes = [(3, 18, 2), *[(18, 20)] * len(cell.STATES), *cell.param_shapes(2, 20).values()]
        call = [rng.uniform(-1, 1, s).astype(dtype) for s in shapes]
        results = []
        for forward, backward in (pair(name, call[0], 20, "sequence"), (cell.forward, cell.backward)):
            y, cache = forward(*call, **options, lengths=[3, 2, 1] * 6)
            results.append([y, *backward(y, cache)])
        for got, want in zip(*results):
            assert got.dtype == want.dtype == dtype
            np.testing.assert_allclose(got, want, rtol=0, atol=np.abs(want).max() * (2e-6 if dtype == np.float32 else 1e-12))
print("equal")
"""
