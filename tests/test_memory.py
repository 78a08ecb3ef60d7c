"""The formula for the memory of a pass, against what was allocated, to 10%."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from scratchnet.cells import CELLS
from scratchnet.fingerprint import detect_changes
from scratchnet.layers import Recurrent
from scratchnet.layers.memory import pass_memory

SIZES = [(300, 16, 24, 32), (1000, 3, 1, 20), (150, 40, 60, 10)]


def measured(layer, T, N):
    """Bytes that NumPy allocated: kept after forward, at the peak of forward, at the peak of backward."""
    x = np.ones((N, T, layer.input_size) if layer.batch_first else (T, N, layer.input_size))
    y, cache = layer.forward(x[:2, :2], training=True)
    layer.backward(np.ones_like(y), cache)
    dy = np.ones(((N, T) if layer.batch_first else (T, N)) + (layer.output_size,))
    if not layer.return_sequences:
        dy = np.ones((N, layer.output_size))
    del y, cache
    tracemalloc.start()
    try:
        with detect_changes(False):
            before = tracemalloc.get_traced_memory()[0]
            _, cache = passed = layer.forward(x, training=True)
            kept, forward = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            layer.backward(dy, cache)
            backward = tracemalloc.get_traced_memory()[1]
        del passed
        return np.array([kept, forward, backward]) - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 3}, {"bidirectional": True}, {"num_layers": 2, "bidirectional": True}]
)
@pytest.mark.parametrize("cell", CELLS)
def test_the_formula_is_right_to_a_tenth(cell, options):
    for T, N, D, H in SIZES:
        layer = Recurrent(cell, D, H, rng=np.random.default_rng(0), engine="array", **options)
        np.testing.assert_allclose(pass_memory(layer, T, N), measured(layer, T, N), rtol=0.1)


@pytest.mark.parametrize(
    "options", [{"batch_first": True}, {"return_sequences": False}, {"dropout": 0.5, "num_layers": 3}]
)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_with_other_options(cell, options):
    for T, N, D, H in SIZES:
        layer = Recurrent(cell, D, H, rng=np.random.default_rng(0), engine="array", **options)
        np.testing.assert_allclose(pass_memory(layer, T, N), measured(layer, T, N), rtol=0.1)


RESIDENT = """
import sys
from pathlib import Path
import numpy as np
from scratchnet.layers import Recurrent

cell, engine, layers, both = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "True"
T, N, D, H = 600, 32, 64, 128
layer = Recurrent(cell, D, H, num_layers=layers, bidirectional=both, rng=np.random.default_rng(0), engine=engine)
y, cache = layer.forward(np.ones((2, N, D)))
layer.backward(np.ones_like(y), cache)
x, dy = np.ones((T, N, D)), np.ones((T, N, layer.output_size))
del y, cache
peak = lambda: int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
before = peak()
y, cache = layer.forward(x)
forward = peak() - before
layer.backward(dy, cache)
print(forward, peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts resident memory as Linux does")
@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, True)])
@pytest.mark.parametrize(
    ("cell", "engine"), [("rnn", "sequence"), ("lstm", "sequence"), ("gru", "sequence"), ("lstm", "step")]
)
def test_the_processes_own_memory(cell, engine, layers, both):
    """Of the compiled engines, whose memory NumPy does not see: resident memory of a separate process."""
    pytest.importorskip("numba")
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT, cell, engine, str(layers), str(both)],
        capture_output=True,
        text=True,
        check=True,
    )
    forward, backward = map(int, done.stdout.split())
    layer = Recurrent(cell, 64, 128, num_layers=layers, bidirectional=both, rng=np.random.default_rng(0))
    expected = pass_memory(layer, 600, 32, engine)
    np.testing.assert_allclose([expected.forward, expected.backward], [forward, backward], rtol=0.1)
