"""Compile the kernels of one job, so that another process finds their machine code on disk.

    python -m scratchnet_kernels.warm lstm float32 MARKER

A job is a cell, or "updates" for an optimiser's rule and norms. MARKER is a file that is made when
all is done. ``scratchnet.files.machine_code`` begins this in the background.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from scratchnet.cells import CELLS
from scratchnet.errors import UnavailableError
from scratchnet_kernels import build, update_cpu
from scratchnet_kernels.sequence_cpu import threads


def warm(job: str, dtype: str) -> None:
    """Run every loop of the job once, on the smallest arrays."""
    one = np.ones(1, dtype)
    if job == "updates":
        p, g, m, v = ({"p": one.copy()} for _ in range(4))
        options: dict[str, Any] = dict.fromkeys(
            ("lr", "beta1", "beta2", "eps", "weight_decay"), 0.5
        )
        update_cpu.adam(p, g, m, v, {"p": 1}, decoupled=True, **options)
        update_cpu.squares(g)
        return
    cell = CELLS[job]
    x = np.ones((2, 1, 1), dtype)
    states = [np.ones((1, 1), dtype) for _ in cell.STATES]
    params = [np.ones(shape, dtype) for shape in cell.param_shapes(1, 1).values()]
    engine = build("sequence", job, "numpy", dtype, 0, 1, 1)
    [(y, cache)] = engine.forward([(x, *states, *params)])
    engine.backward([(np.ones_like(y), cache)])
    threads.looks()


def main(job: str, dtype: str, marker: str) -> None:
    """Compile, beside everything else that this machine does, and say so."""
    with suppress(OSError, AttributeError):  # Windows has no nice
        os.nice(10)
    with suppress(UnavailableError, KeyError):  # no kernel, or a cell of the user's own
        warm(job, dtype)
    Path(marker).touch()
    Path(marker).with_suffix(".begun").unlink(missing_ok=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
