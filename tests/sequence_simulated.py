"""Run by test_cuda.py in a process of its own, with NUMBA_ENABLE_CUDASIM=1: every persistent kernel against the array engine.

    python tests/sequence_simulated.py blocks     a block on its own
    python tests/sequence_simulated.py clusters   clusters of 2, 4, 8 and 16 blocks

Two runs with weights of their own go in one launch, as the directions of a layer do.  Prints one line for each cell, option,
size, cluster and tensor: its largest relative error, and how many launches it took.  Outputs are NaN before a kernel fills them.
"""

import sys
from functools import partial

import numpy as np
from scratchnet.cells import variants
from scratchnet_kernels.launch import Persistent
from scratchnet_kernels.sequence_cuda import engine
from scratchnet_kernels.sequence_cuda.engine import CudaSequence
from scratchnet_kernels.sequence_cuda.resources import divide, resources

# (T, N, D, H); blocks of a cluster; rows (no more than a block has threads for); the most weights of a thread in registers;
# threads of a block, where it does not have one for each column
SIZES = {
    "blocks": (
        ((3, 2, 2, 5), 1, 1, 255, None),  # all weights in registers
        ((3, 3, 2, 4), 1, 2, 2, None),  # some in shared memory, and a block that is not full
        ((5, 3, 1, 6), 1, 2, 1, None),
        ((1, 1, 1, 1), 1, 1, 255, None),  # one of everything
        ((3, 5, 1, 6), 1, 4, 255, 40),  # sums in several parts
        ((2, 2, 3, 7), None, None, None, None),  # the rule's own choice
    ),
    "clusters": (
        ((3, 3, 2, 5), 2, 2, 255, 40),  # the last block has one unit
        ((3, 2, 2, 7), 2, 1, 2, 16),
        ((2, 3, 1, 6), 4, 2, 4, 30),  # two blocks without a unit
        ((3, 2, 1, 8), 4, 1, 255, 20),
        ((1, 3, 1, 5), 2, 4, 255, 48),  # one step
        ((2, 2, 1, 9), 8, 2, 255, 33),
        ((2, 1, 1, 5), 16, 1, 255, 1),
    ),
}
LABELS = {"blocks": ("rnn tanh", "rnn relu", "lstm", "gru"), "clusters": ("rnn tanh", "lstm", "gru")}
launches = []


def counted(launch):
    def launch_and_count(self, *arguments):
        launches.append(self)
        return launch(self, *arguments)

    return launch_and_count


def fixed(blocks, rows, most, threads, gates, H, N, device):
    """The rule, answering with these numbers: as many of the rows as there are threads for."""
    if blocks is None:
        return resources(gates, H, N, device)
    while any(use.rows * use.units > use.threads for use in divide(gates, H, blocks, rows, most, threads)):
        rows //= 2
    return divide(gates, H, blocks, rows, most, threads)


def poisoned(make):
    def full_of_nan(*arguments, **named):
        array = make(*arguments, **named)
        if array.dtype == np.float32:
            array.fill(np.nan)
        return array

    return full_of_nan


def relative(ours, oracle):
    error = np.max(np.abs(ours - oracle)) / max(1.0, float(np.max(np.abs(oracle))))
    return float(error) if np.isfinite(error) else float("inf")


def main():
    Persistent.launch = counted(Persistent.launch)
    np.empty, np.empty_like = poisoned(np.empty), poisoned(np.empty_like)
    for label, cell, options in variants():
        if label not in LABELS[sys.argv[1]]:
            continue
        for (T, N, D, H), blocks, *how in SIZES[sys.argv[1]]:
            engine.resources = partial(fixed, blocks, *how)
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
                            where = (T, N, D, H), launches[0].use.blocks, launches[0].use.rows, lengths is not None
                            print(label, *where, name, relative(found_here, oracle), count, sep="|")


if __name__ == "__main__":
    sys.exit(main())
