"""Each persistent kernel once, at a tiny size, for NVIDIA's compute-sanitizer.

    PYTHONPATH=.:kernels:benchmarks compute-sanitizer --tool racecheck python benchmarks/gpu_tiny.py

The tool watches every access to memory, and slows kernels down by orders of magnitude; hence these
sizes, and no other library than CuPy. Between them: all weights in registers, some in shared
memory, a block with two sequences, and one that is not full.
"""

import sys

import numpy as np
from gpu_contenders import NO_GPU, NoGpuError

from scratchnet import engines
from scratchnet.cells import CELLS
from scratchnet.errors import UnavailableError
from scratchnet.files.machine import why_no_gpu

# cell, T, N, H; the last runs only where a matrix of that size has a kernel
SIZES = (
    ("rnn", 3, 2, 8),
    ("lstm", 3, 2, 8),
    ("gru", 3, 2, 8),
    ("lstm", 2, 141, 128),
    ("gru", 2, 141, 128),
    ("lstm", 2, 2, 128),
    ("lstm", 2, 2, 256),
)


def main() -> None:
    """Forward and backward of each, ragged; prints sums, so that the results are used."""
    if reason := why_no_gpu():
        raise NoGpuError(reason)
    import cupy

    rng = np.random.default_rng(0)
    tf32 = [("sequence_tf32", "lstm", 2, 9, 256), ("sequence_tf32", "rnn", 2, 9, 300)]
    for engine, name, T, N, H in [*(("sequence", *size) for size in SIZES), *tf32]:
        cell, D = CELLS[name], 3
        shapes = [(T, N, D), *[(N, H)] * len(cell.STATES), *cell.param_shapes(D, H).values()]
        call = [cupy.asarray(rng.standard_normal(s).astype(np.float32)) for s in shapes]
        try:
            chosen = engines.choose(name, call[0], H, engine)
        except UnavailableError as error:
            print(name, T, N, H, f"left out: {error}", flush=True)
            continue
        if chosen.name != engine:
            print(name, T, N, H, f"left out: {chosen.why}", flush=True)
            continue
        [(y, cache)] = chosen.forward([call], lengths=rng.integers(1, T + 1, N))
        [grads] = chosen.backward([(cupy.ones_like(y), cache)])
        print(name, T, N, H, float(y.sum()), float(grads.dW_h.sum()), flush=True)


if __name__ == "__main__":
    try:
        main()
    except NoGpuError as error:
        print(f"benchmarks/gpu_tiny.py needs an NVIDIA GPU: {error}.", file=sys.stderr)
        sys.exit(NO_GPU)
