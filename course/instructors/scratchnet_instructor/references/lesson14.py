"""Lesson 14, from NumPy to the GPU: bytes, the roofline, grid-stride loops, fused passes."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_instructor.reference import Arguments, Reference


def moved_cases(rng: np.random.Generator) -> list[Arguments]:
    """One number, then batches."""
    return [
        {"N": N, "H": H, "itemsize": size}
        for N, H, size in ((2, 3, 8), (int(rng.integers(2, 9)), 16, 4), (64, 100, 8))
    ]


def moved(N: int, H: int, itemsize: int) -> tuple[int, int]:
    """Arrays of (N, H), counted."""
    one = N * H * itemsize
    read = 2 + 4 + 2
    written = 4 + 1
    passes = 3 * (2 + 1)
    fused = 4 + 1
    return (read + written) * one, (passes - fused) * one


def roof_cases(rng: np.random.Generator) -> list[Arguments]:
    """Under the slope, and under the flat part."""
    machine = {
        "peak": float(rng.uniform(0.8, 1.2) * 1e12),
        "bandwidth": float(rng.uniform(0.8, 1.2) * 1e10),
    }
    return [
        {"N": N, "D": D, "K": K, "itemsize": s, **machine}
        for N, D, K, s in ((1, 32, 64, 8), (16, 128, 512, 4), (2048, 1024, 4096, 4))
    ]


def roof(
    N: int, D: int, K: int, itemsize: int, peak: float, bandwidth: float
) -> tuple[float, float]:
    """Operations over bytes, and the lower of two limits."""
    operations = 2 * N * D * K
    numbers = N * D + D * K + N * K
    intensity = operations / (numbers * itemsize)
    return intensity, min(peak, bandwidth * intensity)


def mine_cases(rng: np.random.Generator) -> list[Arguments]:
    """One block, then grids that go over the elements more than once."""
    found = [{"n": 10, "blocks": 1, "width": 4, "block": 0, "thread": 1}]
    for n, blocks, width in ((53, 3, 4), (101, 4, 5)):
        found.append(
            {
                "n": n,
                "blocks": blocks,
                "width": width,
                "block": blocks - 1,
                "thread": int(rng.integers(1, width - 1)),
            }
        )
    last = found[-1] | {"n": found[-1]["block"] * 5 + found[-1]["thread"] + 4 * 5 * 2}
    return [*found, last]  # the next element would be n itself


def mine(n: int, blocks: int, width: int, block: int, thread: int) -> Array:
    """From the thread's place in the grid, in strides of the grid."""
    first = block * width + thread
    stride = blocks * width
    return np.arange(first, n, stride)


def times_cases(rng: np.random.Generator) -> list[Arguments]:
    """One operation, then chains; launches that count for little and for much."""
    found = []
    for K, n, launch in ((2, 1000, 1e-6), (6, 10**6, 5e-6), (18, 10**4, 1e-5)):
        reads = rng.integers(1, 3, K)
        reads[0] = 2
        found.append(
            {
                "reads": reads,
                "inputs": 5,
                "outputs": 6,
                "n": n,
                "itemsize": 4,
                "launch": launch,
                "bandwidth": 1e11,
            }
        )
    return found


def times(
    reads: Array, inputs: int, outputs: int, n: int, itemsize: int, launch: float, bandwidth: float
) -> tuple[float, float]:
    """Launches and bytes."""
    K = len(reads)
    arrays = reads.sum() + K
    unfused = K * launch + arrays * n * itemsize / bandwidth
    fused = launch + (inputs + outputs) * n * itemsize / bandwidth
    return float(unfused), fused


EXERCISES = [
    Reference("14/ex1", moved, moved_cases, ("backward", "additional")),
    Reference("14/ex2", roof, roof_cases, ("intensity", "rate")),
    Reference("14/ex3", mine, mine_cases, ("elements",)),
    Reference("14/ex4", times, times_cases, ("unfused", "fused")),
]
