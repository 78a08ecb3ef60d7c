"""Lesson 14, from NumPy to the GPU: bytes, the roofline, indices of a grid-stride loop, fused and unfused passes."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_course.exercise import Arguments, Exercise, Wrong


def moved_cases(rng: np.random.Generator) -> list[Arguments]:
    """One number, then batches."""
    return [{"N": N, "H": H, "itemsize": size} for N, H, size in ((1, 1, 8), (int(rng.integers(2, 9)), 16, 4), (64, 100, 8))]


def moved(N: int, H: int, itemsize: int) -> tuple[int, int]:
    """Arrays of (N, H), counted."""
    one = N * H * itemsize
    read = 2 + 4 + 2
    written = 4 + 1
    passes = 3 * (2 + 1)
    fused = 4 + 1
    return (read + written) * one, (passes - fused) * one


MOVED = (
    Wrong("what is written is not counted", "Writing moves bytes, too: four da and dc_prev.", (("(read + written) * one", "read * one"),)),
    Wrong("four blocks are counted as one", "There are four gates to read, and four da to write.", (("read = 2 + 4 + 2", "read = 2 + 1 + 2"),)),
    Wrong("numbers in place of bytes", "Each number has itemsize bytes.", (("N * H * itemsize", "N * H"),)),
    Wrong("one array too few", "Read are dh, dc_next, four gates, c' and c; written are four da and dc_prev.", (("read = 2 + 4 + 2", "read = 1 + 4 + 2"),)),
    Wrong("all bytes of the three passes, not the additional ones", "Take off what the fused pass moves: four arrays read, one written.", (("(passes - fused) * one", "passes * one"),)),
    Wrong("products are written and not read again", "The sum reads both products: each of three passes reads two arrays and writes one.", (("passes = 3 * (2 + 1)", "passes = 2 * (2 + 1) + 1"),)),
)  # fmt: skip


def roof_cases(rng: np.random.Generator) -> list[Arguments]:
    """Under the slope, and under the flat part."""
    machine = {"peak": float(rng.uniform(0.8, 1.2) * 1e12), "bandwidth": float(rng.uniform(0.8, 1.2) * 1e10)}
    return [{"N": N, "D": D, "K": K, "itemsize": s, **machine} for N, D, K, s in ((1, 32, 64, 8), (16, 128, 512, 4), (2048, 1024, 4096, 4))]


def roof(N: int, D: int, K: int, itemsize: int, peak: float, bandwidth: float) -> tuple[float, float]:
    """Operations over bytes, and the lower of two limits."""
    operations = 2 * N * D * K
    numbers = N * D + D * K + N * K
    intensity = operations / (numbers * itemsize)
    return intensity, min(peak, bandwidth * intensity)


ROOF = (
    Wrong("a multiplication and an addition are counted as one", "Two operations for each term.", (("2 * N * D * K", "N * D * K"),), "Bytes and operations"),
    Wrong("the result is not counted", "N K numbers are written.", (("N * D + D * K + N * K", "N * D + D * K"),), "Bytes and operations"),
    Wrong("only the weights are counted", "Both factors are read, and the result is written.", (("N * D + D * K + N * K", "D * K"),), "Bytes and operations"),
    Wrong("operations per number, not per byte", "Each number has itemsize bytes.", (("(numbers * itemsize)", "numbers"),), "Bytes and operations"),
    Wrong("the higher of the two limits", "Whichever comes first: the lower.", (("min(peak, bandwidth * intensity)", "max(peak, bandwidth * intensity)"),)),
    Wrong("always the peak", "With a low intensity the memory is the limit.", (("min(peak, bandwidth * intensity)", "peak"),)),
    Wrong("always the memory's limit", "With a high intensity the arithmetic is the limit.", (("min(peak, bandwidth * intensity)", "bandwidth * intensity"),)),
    Wrong("divided by the intensity", "More operations for each byte: more operations a second.", (("bandwidth * intensity)", "bandwidth / intensity)"),)),
)  # fmt: skip


def mine_cases(rng: np.random.Generator) -> list[Arguments]:
    """One block, then grids that go over the elements more than once."""
    found = [{"n": 10, "blocks": 1, "width": 4, "block": 0, "thread": 1}]
    for n, blocks, width in ((50, 3, 4), (101, 2, 8)):
        found.append({"n": n, "blocks": blocks, "width": width, "block": 1, "thread": int(rng.integers(1, width - 1))})
    return found


def mine(n: int, blocks: int, width: int, block: int, thread: int) -> Array:
    """From the thread's place in the grid, in strides of the grid."""
    first = block * width + thread
    stride = blocks * width
    return np.arange(first, n, stride)


MINE = (
    Wrong("the block is not counted", "block * width threads stand before this block.", (("block * width + thread", "thread"),)),
    Wrong("block and width are exchanged", "block * width + thread: width threads in each block before.", (("block * width + thread", "thread * blocks + block"),)),
    Wrong("the stride is one block", "All blocks go on together: the stride is blocks * width.", (("stride = blocks * width", "stride = width"),)),
    Wrong("the stride counts blocks only", "The stride is the number of threads of the whole grid.", (("stride = blocks * width", "stride = blocks"),)),
    Wrong("only the first element", "Each thread goes on in strides until n.", (("np.arange(first, n, stride)", "np.array([first])"),)),
    Wrong("it goes beyond the end", "Only elements below n.", (("np.arange(first, n, stride)", "np.arange(first, n + stride, stride)"),)),
    Wrong("the elements stand side by side", "A thread's elements are a grid apart; neighbours are done by neighbouring threads.", (("np.arange(first, n, stride)", "first * (n // stride) + np.arange(n // stride)"),)),
)  # fmt: skip


def times_cases(rng: np.random.Generator) -> list[Arguments]:
    """One operation, then chains; launches that count for little and for much."""
    found = []
    for K, n, launch in ((1, 1000, 1e-6), (6, 10**6, 5e-6), (18, 10**4, 1e-5)):
        reads = rng.integers(1, 3, K)
        reads[0] = 2
        found.append({"reads": reads, "inputs": 5, "outputs": 6, "n": n, "itemsize": 4, "launch": launch, "bandwidth": 1e11})
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


TIMES = (
    Wrong("one launch for all operations", "Each operation is a launch of its own.", (("K * launch", "launch"),)),
    Wrong("no launch for the fused kernel", "The fused kernel is launched, too: once.", (("fused = launch + (", "fused = ("),)),
    Wrong("what is written is not counted", "Each operation writes one array.", (("reads.sum() + K", "reads.sum()"),)),
    Wrong("the fused kernel's outputs are not counted", "What it writes moves, too.", (("(inputs + outputs)", "inputs"),)),
    Wrong("launches are free", "Seconds = launches and bytes.", (("K * launch + arrays", "arrays"), ("fused = launch + (", "fused = ("))),
    Wrong("numbers in place of bytes", "Each number has itemsize bytes.", (("arrays * n * itemsize / bandwidth", "arrays * n / bandwidth"), ("outputs) * n * itemsize / bandwidth", "outputs) * n / bandwidth"))),
    Wrong("each operation reads one array", "Operation k reads reads[k] arrays.", (("reads.sum() + K", "2 * K"),)),
)  # fmt: skip

EXERCISES = [
    Exercise(
        id="14/ex1", title="Bytes of the backward step", function="moved", outputs=("backward", "additional"), right=moved,
        cases=moved_cases, wrongs=MOVED, paragraph="Fused: each number is touched once",
        hints=("Eight arrays are read in the backward step, five written.", "A pass with two arguments moves three arrays; fused, c needs five."),
    ),
    Exercise(
        id="14/ex2", title="Under the roof", function="roof", outputs=("intensity", "rate"), right=roof, cases=roof_cases,
        wrongs=ROOF, paragraph="The roofline",
        hints=("2 N D K operations.", "N D + D K + N K numbers.", "The lower of peak and bandwidth times intensity."),
    ),
    Exercise(
        id="14/ex3", title="Which elements are mine", function="mine", outputs=("elements",), right=mine, cases=mine_cases,
        wrongs=MINE, paragraph="A kernel, thread by thread",
        hints=("How many threads stand before this one in the whole grid?", "From there in steps of all threads, while below n."),
    ),
    Exercise(
        id="14/ex4", title="Fused and unfused", function="times", outputs=("unfused", "fused"), right=times, cases=times_cases,
        wrongs=TIMES, paragraph="The ladder",
        hints=("Operation k moves reads[k] + 1 arrays.", "Bytes over bandwidth are seconds; a launch has its own."),
    ),
]  # fmt: skip
