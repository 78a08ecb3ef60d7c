"""Calls: of an engine with one layer direction, of code in a new Python, and counted."""

import os
import subprocess
import sys
from pathlib import Path

from scratchnet import engines
from scratchnet.cells import CELLS

ROOT = Path(__file__).parent.parent


def pair(cell_name, x, H, engine, threads=None):
    """Forward and backward of an engine with the cell's own signatures, for one layer direction."""
    chosen = engines.choose(cell_name, x, H, engine, threads)

    cell = CELLS[cell_name]
    arrays = ["x", *(f"{state}0" for state in cell.STATES), *cell.param_shapes(1, 1)]

    def forward(*args, **named):
        call = [*args, *(named.pop(name) for name in arrays[len(args) :] if name in named)]
        return chosen.forward([call], **named)[0]

    def backward(dy, cache, *d_last, **named):
        return chosen.backward([(dy, cache, *d_last, *named.values())])[0]

    return forward, backward


def count_calls(function):
    """How many Python functions are called, resumed generators among them, while function() runs; calls into C count nothing."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count - 1  # function itself


def python(code, **environment):
    """Run ``code`` in a new Python; returns what it printed."""
    env = (
        os.environ
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels"), str(ROOT / "tests")])}
        | environment
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
