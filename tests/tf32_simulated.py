"""Run by test_tf32.py in a process of its own, with NUMBA_ENABLE_CUDASIM=1: the persistent kernels on emulated tensor cores.

Two runs with weights of their own go in one launch, as the directions of a layer do.  Prints a line of JSON for each cell, size
and array: how far it is off in each form of ``tf32_oracle.py``.  Outputs are NaN before a kernel fills them.
"""

import json
import sys
from functools import partial

import numpy as np
from scratchnet.cells import CELLS
from scratchnet_kernels.launch import Persistent
from scratchnet_kernels.sequence_cuda import engine
from scratchnet_kernels.sequence_cuda.engine import CudaSequence
from scratchnet_kernels.sequence_cuda.resources import divide
from scratchnet_kernels.sequence_cuda.resources_tf32 import divide_tf32

from sequence_simulated import counted, launches, poisoned
from tf32_oracle import ROUNDING, SMALLEST, offs

# (T, N, D, H); blocks of a cluster; the most weights of a thread in registers; warps that divide the product among them
SIZES = (
    ((3, 3, 2, 5), 1, 255, 1),  # several tiles of a warp, and warps that repeat the job of another
    ((2, 9, 1, 22), 2, 32, 1),  # a second cluster with one sequence; some weights in shared memory
    ((2, 2, 1, 5), 4, 255, 2),  # two blocks without a unit; columns of the GRU that are no multiple of 16
    ((1, 4, 2, 20), 1, 255, 8),  # one step; sums in several parts
)


def fixed(blocks, most, warps, gates, H, N, device):
    """The rule, answering with these numbers."""
    plan = divide_tf32(gates, H, blocks, most, warps)
    assert all(0 < use.in_registers <= use.weights for use in plan)
    return plan


def main():
    Persistent.launch = counted(Persistent.launch)
    np.empty, np.empty_like = poisoned(np.empty), poisoned(np.empty_like)
    engine.resources = lambda gates, H, N, device: divide(gates, H, 1, 1)
    for name in sys.argv[1:]:
        cell = CELLS[name]
        for (T, N, D, H), *how in SIZES:
            engine.resources_tf32 = partial(fixed, *how)
            rng = np.random.default_rng(0)

            def draw(*shape, size=1.0, rng=rng):
                return (size * rng.uniform(-1, 1, shape)).astype(np.float32)

            # ragged where there is more than a step, and once not
            for lengths in (
                (None,) if T == 1 else (rng.integers(1, T + 1, N),) if T == 2 else (None, np.array([1, 3, 2]))
            ):
                states = len(cell.STATES)
                calls = [
                    [
                        draw(T, N, D),
                        *(draw(N, H) for _ in range(states)),
                        *(draw(*s, size=s[0] ** -0.5) for s in cell.param_shapes(D, H).values()),
                    ]
                    for _ in range(2)
                ]
                upstream = [[draw(T, N, H), *(draw(N, H) for _ in range(states))] for _ in range(2)]
                for kind in ("sequence_tf32", "sequence")[: 2 if T == 3 else 1]:
                    launches.clear()
                    ours = CudaSequence(name, "", kind)
                    made = ours.forward(calls, lengths=lengths)
                    grads = ours.backward([(dy, cache, *last) for (dy, *last), (_, cache) in zip(upstream, made)])
                    uses = [kernel.use for kernel in launches]
                    for call, arriving, (y, cache), found in zip(calls, upstream, made, grads):
                        row = {
                            form: offs(form, name, call, arriving, lengths, y, cache, found)
                            for form in ("same", "exact", "float32")
                        }
                        # what is computed outside the kernels, from what is inside
                        if name != "gru":  # its dW_h is of dm, which is not returned
                            flat = [np.float64(a).reshape(T * N, -1) for a in (cache.h[:-1], found.da)]
                            bound = 1.01 * T * N * ROUNDING * (abs(flat[0]).T @ abs(flat[1])) + SMALLEST
                            row["dW_h"] = float(np.max(abs(found.dW_h - flat[0].T @ flat[1]) / bound))
                        row |= {
                            "engine": kind,
                            "cell": name,
                            "H": H,
                            "launches": len(uses),
                            "ragged": lengths is not None,
                        }
                        row |= {"tiles": [use.tiles for use in uses], "parts": [use.parts for use in uses]}
                        row["in_shared"] = any(use.in_registers < use.weights for use in uses)
                        row["repeated"] = any(use.tiles and repeats(use) for use in uses)
                        row["dtypes"] = sorted({str(a.dtype) for a in (y, *found)})
                        print(json.dumps(row), flush=True)


def repeats(use):
    return use.across // (16 * use.tiles) * use.parts < use.threads // 32


if __name__ == "__main__":
    sys.exit(main())
