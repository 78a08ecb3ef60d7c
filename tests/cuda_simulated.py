"""Run by test_cuda.py in a process of its own, with NUMBA_ENABLE_CUDASIM=1: every CUDA kernel against the array engine.

Prints one line for each cell, option, type and tensor: its largest relative error.
"""

import sys

import numpy as np
from scratchnet.cells import variants
from scratchnet_kernels import cuda_kernels, step_engine


def relative(ours, oracle):
    return float(np.max(np.abs(ours - oracle)) / max(1.0, float(np.max(np.abs(oracle)))))


def main():
    kernels = cuda_kernels()
    for label, cell, options in variants():
        if ("step", label.split()[0]) not in kernels:
            continue
        step = step_engine(cell, kernels["step", label.split()[0]], "")
        forward, backward = step.forward_one, step.backward_one
        for dtype in (np.float32, np.float64):
            # the last fills neither its blocks nor its warps
            for T, N, D, H in ((3, 2, 2, 5), (1, 1, 1, 1), (2, 9, 1, 33)):
                rng = np.random.default_rng(0)
                shapes = [(T, N, D)] + [(N, H)] * len(cell.STATES) + list(cell.param_shapes(D, H).values())
                call = [rng.standard_normal(s).astype(dtype) for s in shapes]
                lengths = rng.integers(1, T + 1, N)
                dy = rng.standard_normal((T, N, H)).astype(dtype)
                d_last = [rng.standard_normal((N, H)).astype(dtype) for _ in cell.STATES]
                results = []
                for f, b in ((cell.forward, cell.backward), (forward, backward)):
                    y, cache = f(*call, lengths=lengths, **options)
                    results.append({"y": y, **b(dy, cache, *d_last)._asdict()})
                for name in results[0]:
                    assert results[1][name].dtype == dtype, name
                    print(label, np.dtype(dtype).name, name, relative(results[1][name], results[0][name]), sep="|")


if __name__ == "__main__":
    sys.exit(main())
