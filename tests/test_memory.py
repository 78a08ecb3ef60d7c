"""The formula for the memory of a pass, against what was allocated, to 10%."""

import json
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from scratchnet.cells import CELLS
from scratchnet.fingerprint import detect_changes
from scratchnet.layers import Recurrent
from scratchnet.layers.memory import pass_memory


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


# Many inputs to few units, and the reverse: where each term of the formula counts.
SIZES = [(150, 60, 80, 8), (150, 60, 8, 50)]
BUFFER = 8192 * 8  # bytes that NumPy takes to cast or reduce: it counts where a pass is small
OPTIONS = [
    {
        "num_layers": layers,
        "dropout": dropout,
        "bidirectional": both,
        "batch_first": batch_first,
        "return_sequences": sequences,
    }
    for layers, dropout in ((1, 0.0), (3, 0.0), (2, 0.5))
    for both in (False, True)
    for batch_first in (False, True)
    for sequences in (True, False)
]


def described(options):
    return " ".join(name if value is True else f"{name}={value}" for name, value in options.items() if value) or "plain"


@pytest.mark.parametrize("options", OPTIONS, ids=described)
@pytest.mark.parametrize("cell", CELLS)
def test_the_formula_is_right_to_a_tenth(cell, options):
    """To 6% here; a tenth is what is promised."""
    for T, N, D, H in SIZES:
        layer = Recurrent(cell, D, H, rng=np.random.default_rng(0), engine="array", **options)
        np.testing.assert_allclose(pass_memory(layer, T, N), measured(layer, T, N), rtol=0.06, atol=BUFFER)


RESIDENT = """
import json, sys
from pathlib import Path
import numpy as np
from scratchnet.layers import Recurrent

cell, engine, (T, N, D, H), options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
layer = Recurrent(cell, D, H, rng=np.random.default_rng(0), engine=engine, **options)

def call(steps):
    lead = (N, steps) if layer.batch_first else (steps, N)
    return np.ones((*lead, D)), np.ones((*(lead if layer.return_sequences else [N]), layer.output_size))

x, _ = call(2)
y, cache = layer.forward(x, training=True)
layer.backward(np.ones_like(y), cache)
x, dy = call(T)
del y, cache
if engine == "sequence":  # two steps are one thread's work: what waits for a second thread is loaded here
    from scratchnet_kernels.sequence_cpu import threads
    threads.run(2, lambda k, count: None, list)
peak = lambda: int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
before = peak()
y, cache = layer.forward(x, training=True)
forward = peak() - before
layer.backward(dy, cache)
print(forward, peak() - before)
"""
WIDE, NARROW = (800, 32, 256, 32), (800, 32, 16, 128)
BOTH = {"bidirectional": True}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts resident memory as Linux does")
@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, WIDE),
        ({}, NARROW),
        (BOTH | {"num_layers": 2}, NARROW),
        (BOTH | {"return_sequences": False}, WIDE),
        (BOTH | {"return_sequences": False}, NARROW),
        (BOTH | {"num_layers": 2, "dropout": 0.5, "batch_first": True}, WIDE),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("cell", "engine"), [("rnn", "sequence"), ("lstm", "sequence"), ("gru", "sequence"), ("lstm", "step")]
)
def test_the_processes_own_memory(cell, engine, options, sizes):
    """Of the compiled engines, whose memory NumPy does not see: resident memory of a separate process."""
    pytest.importorskip("numba")
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT, cell, engine, json.dumps(sizes), json.dumps(options)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # with more threads BLAS copies x, which is not counted
    )
    T, N, D, H = sizes
    expected = pass_memory(Recurrent(cell, D, H, rng=np.random.default_rng(0), **options), T, N, engine)
    np.testing.assert_allclose([expected.forward, expected.backward], [*map(int, done.stdout.split())], rtol=0.1)
