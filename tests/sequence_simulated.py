"""Run by test_cuda.py in a process of its own, with NUMBA_ENABLE_CUDASIM=1: every persistent kernel against the array engine.

Two runs with weights of their own go in one launch, as the directions of a layer do.  Prints one line for each cell, option,
size and tensor: its largest relative error, and how many launches it took.
"""

import sys

import numpy as np
from scratchnet.cells import variants
from scratchnet_kernels.launch import Persistent
from scratchnet_kernels.sequence_cuda import engine
from scratchnet_kernels.sequence_cuda.engine import CudaSequence
from scratchnet_kernels.sequence_cuda.resources import Resources, resources

# (T, N, D, H), rows of a block, weights in registers: all in registers; some in shared memory; a block that is not full;
# one of everything; the rule's own choice
SIZES = (
    ((3, 2, 2, 5), 1, 5),
    ((3, 3, 2, 4), 2, 2),
    ((5, 3, 1, 6), 2, 1),
    ((1, 1, 1, 1), 1, 1),
    ((2, 2, 3, 7), None, None),
)
launches = []


def counted(launch):
    def launch_and_count(self, *arguments):
        launches.append(self)
        return launch(self, *arguments)

    return launch_and_count


def fixed(rows, in_registers):
    """A rule that answers with these numbers, but for one row where there are no more threads than units."""

    def rule(gates, H, N, device):
        found = resources(gates, H, N, device)
        if rows is None:
            return found
        few, threads = min(rows, gates), gates * H
        return Resources(threads, few, in_registers, 4 * (2 * few * threads + (H - in_registers) * threads))

    return rule


def relative(ours, oracle):
    return float(np.max(np.abs(ours - oracle)) / max(1.0, float(np.max(np.abs(oracle)))))


def main():
    Persistent.launch = counted(Persistent.launch)
    for label, cell, options in variants():
        if label not in ("rnn tanh", "rnn relu", "lstm", "gru"):
            continue
        for (T, N, D, H), rows, in_registers in SIZES:
            engine.resources = fixed(rows, in_registers)
            for lengths in (None, np.random.default_rng(1).integers(1, T + 1, N)):
                rng = np.random.default_rng(0)

                def draw(*shape, rng=rng):
                    return rng.uniform(-1, 1, shape).astype(np.float32)

                states = len(cell.STATES)
                calls = [
                    (
                        draw(T, N, D),
                        *(draw(N, H) for _ in range(states)),
                        *(draw(*s) for s in cell.param_shapes(D, H).values()),
                    )
                    for _ in range(2)
                ]
                # dy has strides
                arriving = [(draw(T, N, 2 * H)[:, :, H:], *(draw(N, H) for _ in range(states))) for _ in range(2)]
                launches.clear()
                ours = CudaSequence(label.split()[0], "")
                made = ours.forward(calls, **options, lengths=lengths)
                grads = ours.backward([(dy, cache, *d) for (_, cache), (dy, *d) in zip(made, arriving)])
                count = len(launches)
                for call, (y, cache), found, (dy, *d_last) in zip(calls, made, grads, arriving):
                    want_y, want_cache = cell.forward(*call, **options, lengths=lengths)
                    want = cell.backward(dy, want_cache, *d_last)
                    named = {"y": (y, want_y)}
                    named |= {
                        f"cache {name}": (getattr(cache, name), value) for name, value in want_cache._asdict().items()
                    }
                    named |= {name: (getattr(found, name), value) for name, value in want._asdict().items()}
                    for name, (found_here, oracle) in named.items():
                        if isinstance(oracle, np.ndarray) and oracle.dtype == np.float32:
                            assert found_here.dtype == np.float32, name
                            print(
                                label,
                                (T, N, D, H),
                                lengths is not None,
                                name,
                                relative(found_here, oracle),
                                count,
                                sep="|",
                            )


if __name__ == "__main__":
    sys.exit(main())
