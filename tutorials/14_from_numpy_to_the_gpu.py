# %% [markdown]
# # 14  From NumPy to the GPU
#
# **Goal.** You can say where the time of a recurrent step goes, count its bytes and operations, hold the count against what a
# clock says, and write kernels whose threads work alone and together, with or without a GPU.
#
# You need: 06 for the LSTM step. Nothing has to be installed: where Numba or CuPy is missing, the lesson says what it leaves
# out.

# %%
# %matplotlib inline
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from scratchnet import plots
from scratchnet.cells import lstm, rnn
from scratchnet_course import check
from scratchnet.engines import explain
from scratchnet.layers import LSTM
from scratchnet.plots.style import heatmap

rng = np.random.default_rng(14)
HAVE_NUMBA, HAVE_CUPY = find_spec("numba") is not None, find_spec("cupy") is not None
print("Numba", "is here" if HAVE_NUMBA else "is missing: kernels run as plain Python", end=";  ")
print("CuPy", "is here" if HAVE_CUPY else "is missing: nothing runs on a GPU")

# %% [markdown]
# ## The same lines, another array
#
# A cell's file says `np.tanh(a)`, and never asks where a lives. NumPy hands the call on to the array's own function: a CuPy
# array computes on the GPU with the same lines of Python. Here is an array of our own that does what NumPy does and keeps a
# ledger: each operation is a pass over memory, that reads its arguments and writes its result.


# %%
class Ledger(np.ndarray):
    """An array that counts its passes over memory, and the bytes they move."""

    passes, moved = 0, 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [np.asarray(v) if isinstance(v, np.ndarray) else v for v in inputs]
        result = getattr(ufunc, method)(*plain, **options)
        Ledger.passes += 1
        Ledger.moved += result.nbytes + sum(v.nbytes for v in plain if isinstance(v, np.ndarray))
        return result.view(Ledger)


def counted(function, *arguments):
    """The passes and bytes of a call."""
    Ledger.passes = Ledger.moved = 0
    function(*(v.view(Ledger) for v in arguments))
    return Ledger.passes, Ledger.moved


N, H = 64, 256
a, c_prev = rng.standard_normal((N, 4 * H)), rng.standard_normal((N, H))
blocks = [block.copy() for block in np.split(a, 4, axis=-1)]
passes, moved = counted(lstm.gates_forward, *blocks, c_prev)
one = N * H * 8  # bytes of one (N, H) array of float64
print(f"gates_forward: {passes} passes over memory, {moved / one:.0f} times an (N, H) array")
assert passes == 18

# %% [markdown]
# On a GPU each of these passes is a *kernel launch*: Python asks, the GPU works for a few microseconds, and waits to be asked
# again. With CuPy that is all one has to do, and all one gets:

# %%
if HAVE_CUPY:
    import cupy

    try:
        on_gpu = lstm.gates_forward(*map(cupy.asarray, (*blocks, c_prev)))
        np.testing.assert_allclose(
            on_gpu[-1].get(), lstm.gates_forward(*blocks, c_prev)[-1], rtol=1e-12
        )
        print("on the GPU, by the same function: the same numbers")
    except cupy.cuda.runtime.CUDARuntimeError as error:
        print("left out: CuPy finds no GPU:", error)
else:
    print("left out: CuPy is not installed")

# %% [markdown]
# ## Fused: each number is touched once
#
# Least possible: read a (four blocks) and c', write the four gates, c and h. That is 5 + 6 = 11 arrays in place of what was
# counted above. A *fused* kernel does that: one loop, all arithmetic of a unit while its numbers are in registers.

# %%
least = 11 * one
print(
    f"18 passes move {moved / 1e6:.1f} MB, one pass {least / 1e6:.1f} MB: {moved / least:.1f} times less"
)
assert moved == 43 * one

if HAVE_NUMBA:
    from numba import njit
else:

    def njit(function):
        return function  # the same code, run by Python


@njit
def fused_step(a, c_prev, gates, c, h):
    """a, gates (N, 4H); c_prev, c, h (N, H)."""
    N, H = h.shape
    for n in range(N):
        for j in range(H):
            i = 0.5 * np.tanh(0.5 * a[n, j]) + 0.5
            f = 0.5 * np.tanh(0.5 * a[n, H + j]) + 0.5
            g = np.tanh(a[n, 2 * H + j])
            o = 0.5 * np.tanh(0.5 * a[n, 3 * H + j]) + 0.5
            new = f * c_prev[n, j] + i * g
            gates[n, j], gates[n, H + j], gates[n, 2 * H + j], gates[n, 3 * H + j] = i, f, g, o
            c[n, j], h[n, j] = new, o * np.tanh(new)


gates, c, h = np.empty((N, 4 * H)), np.empty((N, H)), np.empty((N, H))
fused_step(a, c_prev, gates, c, h)
expected = lstm.gates_forward(*blocks, c_prev)
np.testing.assert_allclose(
    np.concatenate([*np.split(gates, 4, axis=-1), c, h]),
    np.concatenate(expected),
    rtol=1e-12,
    atol=1e-14,
)
print("the fused loop gives the numbers of the cell's file")

# %% [markdown]
# Is it faster? Count first, then measure: take the best of several runs, and look at what the work is made of. In
# c = f c' + i g there is hardly any arithmetic, and the passes decide. In the whole step there are five tanh for each unit,
# and NumPy's tanh works on several numbers at once where Numba's takes one: on a processor the fused loop may well lose.


# %%
def seconds(function, *arguments):
    """The shortest of many runs: whatever else the machine does can only make it longer."""
    function(*arguments)
    best, until = np.inf, time.perf_counter() + 0.3
    while time.perf_counter() < until:
        started = time.perf_counter()
        function(*arguments)
        best = min(best, time.perf_counter() - started)
    return best


@njit
def fused_c(f, c_prev, i, g, c):
    """All (n,)."""
    for k in range(len(c)):
        c[k] = f[k] * c_prev[k] + i[k] * g[k]


if HAVE_NUMBA:
    n = 4_000_000
    parts = [rng.random(n) for _ in range(4)]
    out = np.empty(n)
    arrays, loop = (
        seconds(lambda f, c_prev, i, g: f * c_prev + i * g, *parts),
        seconds(fused_c, *parts, out),
    )
    np.testing.assert_allclose(out, parts[0] * parts[1] + parts[2] * parts[3], rtol=1e-12)
    print(
        f"c = f c' + i g, {n} numbers: arrays {1e3 * arrays:.1f} ms, one loop {1e3 * loop:.1f} ms"
    )
    arrays, loop = (
        seconds(lstm.gates_forward, *blocks, c_prev),
        seconds(fused_step, a, c_prev, gates, c, h),
    )
    print(
        f"the whole step, N={N}, H={H}: arrays {1e3 * arrays:.2f} ms, one loop {1e3 * loop:.2f} ms"
    )
else:
    print("left out: without Numba there is nothing to measure")
print(explain(LSTM(8, H, rng=rng), rng.standard_normal((4, N, 8))))

# %% [markdown]
# ## Bytes and operations
#
# The other part of a step is the product h W_h, (N, H) by (H, 4H). It has 2 N H 4H operations, and must at least read h and
# W_h and write a. Operations per byte are its *arithmetic intensity*:
#
#     I = 8 N H^2 / (N H + 4 H^2 + 4 N H) / itemsize
#
# For a large H that is near 2 N / itemsize: with one sequence each weight is read for two operations, with 64 for 128. And W_h
# is read again at every step.

# %%
H = 1024


def intensity(N, H, itemsize=4):
    """Operations per byte of h W_h."""
    return 2 * N * H * 4 * H / ((N * H + 4 * H * H + 4 * N * H) * itemsize)


for N in (1, 8, 64, 512):
    print(f"N = {N:>3}: {intensity(N, H):6.1f} operations a byte")
assert abs(intensity(1, H) - 0.5) < 0.01
pointwise = 30 / (
    11 * 4
)  # about thirty operations a unit (a tanh counted as one), eleven numbers of four bytes
print(f"the pointwise step, fused: {pointwise:.1f}, whatever N is")

# %% [markdown]
# ## The roofline
#
# A machine has two limits: so many bytes a second from memory, and so many operations a second. Whichever comes first:
#
#     operations a second  <=  min(peak, bandwidth * I)
#
# We measure both, roughly: the bandwidth by copying something large, the peak by a large product. Then the products of a step,
# for several N. On one core, so that a second one that others use does not spoil it; the library under NumPy must be told so
# before it is loaded, hence in a process of its own.

# %%
MEASURE = """import json
import time

import numpy as np

H, sizes = 1024, (1, 2, 4, 8, 16, 32, 64, 128, 256)


def seconds(function, *arguments):
    function(*arguments)
    best, until = np.inf, time.perf_counter() + 0.3
    while time.perf_counter() < until:
        started = time.perf_counter()
        function(*arguments)
        best = min(best, time.perf_counter() - started)
    return best


large = np.ones(16_000_000, np.float32)
copy = np.empty_like(large)
bandwidth = 2 * large.nbytes / seconds(np.copyto, copy, large)
squares = [np.ones((size, size), np.float32) for size in (256, 512, 1024)]
peak = max(2 * len(a) ** 3 / seconds(np.matmul, a, a) for a in squares)
W_h = np.ones((H, 4 * H), np.float32)
took = [seconds(np.matmul, np.ones((N, H), np.float32), W_h) for N in sizes]
print(json.dumps({"bandwidth": bandwidth, "peak": peak, "sizes": sizes, "took": took}))
"""
Path("measure.py").write_text(MEASURE, encoding="utf-8")
names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
done = subprocess.run(
    [sys.executable, "measure.py"],
    env=os.environ | dict.fromkeys(names, "1"),
    capture_output=True,
    text=True,
    check=True,
)
found = json.loads(done.stdout)
bandwidth, peak, sizes, took = (found[name] for name in ("bandwidth", "peak", "sizes", "took"))
meet = peak / bandwidth
print(
    f"one core: {bandwidth / 1e9:.0f} GB/s, {peak / 1e9:.0f} GFLOP/s in float32; they meet at {meet:.1f} operations a byte"
)
rates = [8 * N * H * H / t for N, t in zip(sizes, took)]
for N, t, rate in zip(sizes, took, rates):
    print(
        f"N = {N:>3}: {1e3 * t:7.2f} ms a step, {1e3 * t / N:6.3f} ms a sequence, {rate / 1e9:6.1f} GFLOP/s"
    )
assert max(rates) > 1.2 * rates[0]  # a batch makes better use of the weights that were read
x = np.logspace(-1, 3, 50)
ax = plots.axes(None, 8, 4)
ax.loglog(
    x, np.minimum(peak, bandwidth * x) / 1e9, color="#333333", lw=1.8, label="roofline of one core"
)
ax.loglog(
    [intensity(N, H) for N in sizes],
    np.array(rates) / 1e9,
    "o",
    color=plots.colour("h"),
    label="h W_h, measured",
)
for N, rate in list(zip(sizes, rates))[::2]:
    ax.annotate(
        f"N={N}", (intensity(N, H), rate / 1e9), (4, -12), textcoords="offset points", fontsize=9
    )
ax.axvline(
    pointwise, color=plots.colour("c"), ls="--", lw=1.4, label="intensity of the pointwise step"
)
ax.set(xlabel="operations per byte", ylabel="GFLOP/s", title=f"One LSTM step, H = {H}, float32")
ax.legend(frameon=False, loc="lower right")
ax.figure

# %% [markdown]
# Points above the sloping line are no miracle: the weights then came from the cache and not from memory. And on a machine that
# does other things at the same time, measurements scatter. Two sequences may take longer than one: some libraries first bring
# the weights into another order for a product of two matrices, and not for one with a vector.
#
# What follows: one sequence at a time is bound by reading W_h, so batch; the pointwise step has a low intensity (and on a GPU
# many launches), so fuse; and with W_h kept where it is used, not even the product reads memory at each step.
#
# ## A kernel, thread by thread
#
# On a GPU the loops disappear: there are thousands of threads, each asks which it is, and does its share. There need not be as
# many threads as elements: each goes on in strides of the whole grid.
#
#     for k in range(block * width + thread, n, blocks * width): ...
#
# Neighbouring threads do neighbouring elements, which the memory delivers together.

# %%
blocks, width, n = 3, 4, 29
owner = np.full(36, np.nan)
for block in range(blocks):
    for thread in range(width):
        mine = range(block * width + thread, n, blocks * width)
        assert np.isnan(owner[list(mine)]).all()  # nobody else does them
        owner[list(mine)] = block
assert not np.isnan(owner[:n]).any()  # and all are done
ax = plots.axes(None, 8, 2.2)
heatmap(ax, owner.reshape(3, 12), 0, 2, "gate").colorbar.set_label("block")
for k in range(n):
    word = {
        "ha": "center",
        "va": "center",
        "fontsize": 9,
        "color": "white" if owner[k] < 2 else "black",
    }
    ax.text(k % 12, k // 12, f"{k}\nthread {k % width}", **word)
ax.set(
    title="29 elements, 3 blocks of 4 threads: who does what; a row is one stride",
    xticks=[],
    yticks=range(3),
)
ax.set_ylabel("stride")
ax.figure

# %% [markdown]
# Numba has a simulator that runs such a kernel in Python, thread by thread, with no GPU. It must be asked for before Numba is
# loaded, so the kernel goes into a file of its own, and a process of its own.


# %%
def simulate(name, source):
    """Run a file in a process in which Numba simulates CUDA; what it printed, or None where the simulator does not run."""
    Path(name).write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, name],
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout
    print("left out: the simulator does not run here:", done.stderr.strip().splitlines()[-1])
    return None


KERNEL = """import numpy as np
from numba import cuda


@cuda.jit
def pointwise(a, c_prev, c, h, n, H):
    first, stride = cuda.grid(1), cuda.gridsize(1)
    for k in range(first, n * H, stride):
        row, j = k // H, k % H
        i = 0.5 * np.tanh(0.5 * a[row, j]) + 0.5
        f = 0.5 * np.tanh(0.5 * a[row, H + j]) + 0.5
        o = 0.5 * np.tanh(0.5 * a[row, 3 * H + j]) + 0.5
        new = f * c_prev[row, j] + i * np.tanh(a[row, 2 * H + j])
        c[row, j], h[row, j] = new, o * np.tanh(new)


a, c_prev = np.load("a.npy"), np.load("c_prev.npy")
n, H = c_prev.shape
c, h = np.empty((n, H)), np.empty((n, H))
pointwise[2, 4](a, c_prev, c, h, n, H)  # two blocks of four threads, for all n * H units
np.save("h.npy", h)
"""
N, H = 3, 5
a, c_prev = rng.standard_normal((N, 4 * H)), rng.standard_normal((N, H))
expected = lstm.gates_forward(*np.split(a, 4, axis=-1), c_prev)[-1]
if HAVE_NUMBA:
    np.save("a.npy", a)
    np.save("c_prev.npy", c_prev)
    if simulate("one_kernel.py", KERNEL) is not None:
        np.testing.assert_allclose(np.load("h.npy"), expected, rtol=1e-12)
        print(f"{N * H} units by 8 simulated threads: the numbers of the cell's file")
else:
    print("left out: the simulator is a part of Numba, which is not installed")

# %% [markdown]
# ## Threads that work together: shared memory and barriers
#
# The threads above never need each other. A sum does: each thread adds up some numbers, and then the partial sums have to be
# added. The threads of one *block* run on the same multiprocessor, and have two means for that:
#
# - *Shared memory*: a small, fast array that all threads of the block read and write.
# - A *barrier*, `cuda.syncthreads()`: no thread of the block goes on before all of them have arrived. What was written before
#   the barrier is seen by all after it.
#
# The partial sums are added in pairs: 8 of them become 4, then 2, then 1. Between two rounds there is a barrier, since a thread
# reads what another one wrote. The barrier is outside the `if`: every thread of the block must reach it, also the threads
# that have nothing to add; otherwise the others wait forever.

# %%
BLOCK_SUM = """import numpy as np
from numba import cuda, float64

WIDTH = 8  # threads of a block


@cuda.jit
def block_sum(x, sums):
    partial = cuda.shared.array(WIDTH, float64)  # each block has one of these
    thread = cuda.threadIdx.x
    total = 0.0
    for k in range(cuda.grid(1), x.size, cuda.gridsize(1)):  # in strides of the grid, as before
        total += x[k]
    partial[thread] = total
    width = WIDTH // 2
    while width:
        cuda.syncthreads()  # all partial sums are written before one is read
        if thread < width:
            partial[thread] += partial[thread + width]
        width //= 2
    if thread == 0:
        sums[cuda.blockIdx.x] = partial[0]


x = np.load("x.npy")
sums = np.empty(3)
block_sum[3, WIDTH](x, sums)
print(*sums)
"""
x = rng.integers(0, 10, 100).astype(float)
if HAVE_NUMBA:
    np.save("x.npy", x)
    if printed := simulate("block_sum.py", BLOCK_SUM):
        sums = [float(word) for word in printed.split()]
        print(f"three blocks: {sums}; together {sum(sums):g}, and NumPy says {x.sum():g}")
        assert sum(sums) == x.sum()
else:
    print("left out: the simulator is a part of Numba, which is not installed")

# %% [markdown]
# Blocks have no barrier between them: they may run one after the other. So each block leaves its sum in memory, and the host
# adds the three. The order of all additions follows from the sizes alone, so two runs give the same bits. The norm of a
# model's gradients is computed like this (`squares_kernel` in `scratchnet_kernels/update_cuda/norm.py`).
#
# ## All of time in one kernel
#
# Now a recurrent network. Step t needs all of h_{t-1}, so the threads of a sequence must wait for each other once a step:
# they form one block. Thread j has column j of W_h and computes unit j:
#
#     sum_j = sum over k of h[k] W_h[k, j]                  h in shared memory, column j in the registers of thread j
#     barrier                                               all sums are complete, and nobody reads the old h any more
#     h_j = tanh(a_x[t, j] + b_j + sum_j)
#     h[j] = h_j                                            in the second half of h's memory; in the next step, in the first
#     barrier                                               the new h is complete
#
# (With one thread for each sum, thread j could use its sum without the first barrier. Where a column is too long for one thread,
# several threads have a part of it each, and their parts must be complete before they are added.)
#
# The kernel stays on the multiprocessor for all T steps, hence *persistent*: it reads W_h once, and nothing is launched
# between two steps. Here is the library's kernel (`scratchnet_kernels/sequence_cuda/rnn.py`) in the simulator, one sequence,
# H = 4, three steps. In the simulator a kernel is Python, so the function that computes a unit can print.

# %%
WALK = """import numpy as np
from numba import cuda

from scratchnet.cells import rnn

tanh, d_tanh = rnn.UNIT["tanh"]


@cuda.jit(device=True)
def tanh_that_prints(a):
    h = tanh(a)
    print(f"  thread {cuda.threadIdx.x}: a = {a:+.3f}, h = {h:+.3f}\\n", end="")
    return h


rnn.UNIT["tanh"] = tanh_that_prints, d_tanh  # before the kernel is made of it
from scratchnet_kernels.sequence_cuda.engine import CudaSequence

T, N, D, H = 3, 1, 2, 4
call = [np.load(f"{name}.npy") for name in ("x", "h0", "W_x", "W_h", "b")]
[(y, cache)] = CudaSequence("rnn", "").forward([call])
np.save("y.npy", y)
"""
T, N, D, H = 3, 1, 2, 4
shapes = {"x": (T, N, D), "h0": (N, H), "W_x": (D, H), "W_h": (H, H), "b": (H,)}
call = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
if HAVE_NUMBA:
    for name, array in call.items():
        np.save(f"{name}.npy", array)
    if printed := simulate("walk.py", WALK):
        lines = printed.splitlines()
        for t in range(T):
            print(f"t = {t}", *lines[t * H : (t + 1) * H], sep="\n")
        assert len(lines) == T * H
        threads = [int(line.split()[1].rstrip(":")) for line in lines]
        for t in range(T):  # a barrier lies between the steps: no thread is ahead
            assert sorted(threads[t * H : (t + 1) * H]) == list(range(H))
        np.testing.assert_allclose(np.load("y.npy"), rnn.forward(**call)[0], rtol=1e-5, atol=1e-6)
else:
    print("left out: the simulator is a part of Numba, which is not installed")

# %% [markdown]
# Within a step the threads come in any order. Between two steps there is a barrier, and no thread is ahead of the others.
#
# The file has some names and tricks that only the compiler and the hardware explain:
#
# - `one` and `other` are the arrays of the two directions of a bidirectional layer. Both run in one launch: blocks with
#   `blockIdx.y = 1` take `other`. With one direction they are the same.
# - `cuda.threadIdx.x & 1023` is `cuda.threadIdx.x`: a block has at most 1024 threads. But now the compiler knows that the
#   number is not negative, and leaves out the code with which `array[-1]` would be the last element.
# - `a_next` is read a step before it is needed: a thread waits hundreds of clocks for memory, and meanwhile there is work.
# - `w` is an array that each thread has, and its elements are registers. A register has no address, so each loop over `w` must be
#   *unrolled*: written out, with a constant for each index. The compiler does that for about 128 multiplications at most, so
#   `product.py` cuts the loop into pieces of 16, each a function that calls the next. A column that is too long for the registers
#   goes on in shared memory.
# - `where`, `own`, `send`, `arrive` and `wait` are the five functions in which several multiprocessors differ from one. Here
#   `send` writes to the block's own shared memory, and `wait` is `cuda.syncthreads()`.
# - `half`: h is in shared memory twice. A step reads one half and writes the other.
#
# `lstm.py` and `gru.py` beside it are the same kernel with four and three threads for each unit.
#
# ## Clusters: more than one multiprocessor
#
# All of W_h must be in one multiprocessor, so H is limited: to 128 for an LSTM. GPUs since 2022 can run up to 8 or 16
# neighbouring multiprocessors as a *thread-block cluster*. The blocks of a cluster run at the same time, may read and write each
# other's shared memory (*distributed shared memory*), and have a barrier for all their threads. So each block keeps the columns of
# some units, and writes its part of h_t into the shared memory of all the others; one cluster barrier a step makes h_t complete
# everywhere. Here the second half of h's memory is needed: another block may still read the old h.
#
# Backward, block b has da for its own units only, and their columns of W_h. Its product is a part of the sum for dh_{t-1} of
# *all* units. Each block sends to every other block the part that belongs to its units, and each adds up what was sent: that is
# a *reduce-scatter*. `benchmarks/gpu_clusters.py` is the smallest program with such an exchange: a ring of blocks, in which
# each sends a number to its neighbour.

# %% [markdown]
# ## The ladder
#
# Four ways to run the same LSTM on a GPU, counted by `benchmarks/ladder.py` for forward and backward:
#
# | rung | what it is | launches a time step | of these by Numba |
# |---|---|---|---|
# | array | the cell's file on CuPy arrays | 26 + 29 | 0 + 0 |
# | naive | a kernel for each operation | 11 + 20 | 9 + 18 |
# | step | the product, an addition, and one fused kernel | 3 + 3 | 1 + 1 |
# | sequence | one persistent kernel for all of time | 0 + 0 | 0 + 0 |
#
# If a launch costs microseconds of Python's time, and a step's arithmetic less, the launches are the time. A launch by Numba
# costs more than one by CuPy, since Numba looks at the type of each argument in Python. A model of it in one line:
#
#     seconds = launches by CuPy * cost of one + launches by Numba * cost of one + bytes / bandwidth

# %%
# steps; seconds of a launch by CuPy and by Numba; bytes a second: estimates, not measured, to be replaced by your own
T, by_cupy, by_numba, fast = 100, 8e-6, 50e-6, 4.3e12
asking = {}
for rung, (launches, numba_launches) in {
    "array": (26 + 29, 0),
    "naive": (11 + 20, 9 + 18),
    "step": (3 + 3, 2),
}.items():
    asking[rung] = T * ((launches - numba_launches) * by_cupy + numba_launches * by_numba)
    print(f"{rung:<6} {T * launches:>5} launches, {1e3 * asking[rung]:6.1f} ms of asking")
weights = 2 * T * 4 * 128 * 128 * 4 / fast
print(f"reading W_h at every step, forward and backward, H = 128: {1e3 * weights:.2f} ms")
assert weights < min(asking.values()) / 10
assert max(asking, key=asking.get) == "naive"

# %% [markdown]
# By this model `naive` is the slowest rung: it has fewer launches than `array`, but more expensive ones. Writing kernels is not
# yet writing fast ones. `step` launches a fifth as often, and `sequence` not at all between two steps.
#
# These are predictions. A prediction that was never held against a clock is a guess: on a machine with a GPU,
# `python benchmarks/ladder.py` measures each rung and prints both.
#
# ## What goes wrong in practice
#
# - A GPU is timed without waiting for it: a launch returns at once. Synchronise before the clock is read.
# - The first call is timed, and with it the compiler.
# - Small tensors: the GPU waits for Python, and a processor is faster.
# - Data goes to the GPU and back at every step.
# - A bare 1.0 in a kernel turns float32 into float64, which most GPUs compute many times slower.
# - No check at the end of the array: the last block has threads without an element.
# - A barrier too few: a thread reads what is not written yet, on some runs only. A barrier inside an `if`: a block that waits
#   forever.
# - The faster kernel computes something else: hold it against the array code, always.

# %% [markdown]
# ## Exercise 14/ex1: Bytes of the backward step
#
# The fused backward step reads dh, dc_next, the four gates, c' and c, and writes the four da and dc_prev, (N, H) each. Return
# the bytes it moves at least; and how many bytes more c = f c' + i g moves in three passes (two products and a sum, each of
# them written to memory) than in one.

# %%
# exercise 14/ex1
import numpy as np


def moved(N, H, itemsize):
    """Whole numbers: bytes of the fused backward step, and the additional bytes of c = f c' + i g in three passes."""
    # BEGIN SOLUTION
    array = np.prod([N, H, itemsize])
    arriving, leaving = 2 + 4 + 2, 4 + 1
    three_passes = (2 + 1) * 3
    return (arriving + leaving) * array, (three_passes - 5) * array
    # END SOLUTION


# %%
print(check("14/ex1", moved))

# %% [markdown]
# ## Exercise 14/ex2: Under the roof
#
# A product of (N, D) by (D, K). Return its arithmetic intensity (two operations for each multiplication and addition; both
# factors are read once, the result written once), and the operations a second that the roofline allows.

# %%
# exercise 14/ex2
import numpy as np


def roof(N, D, K, itemsize, peak, bandwidth):
    """Numbers to two numbers: operations per byte, operations per second."""
    # BEGIN SOLUTION
    traffic = itemsize * sum(np.prod(pair) for pair in ((N, D), (D, K), (N, K)))
    work = 2.0 * N * D * K
    fastest = max(work / peak, traffic / bandwidth)
    return work / traffic, work / fastest
    # END SOLUTION


# %%
print(check("14/ex2", roof))

# %% [markdown]
# ## Exercise 14/ex3: Which elements are mine
#
# A grid of `blocks` blocks of `width` threads goes over n elements in strides. Return the elements of thread `thread` of block
# `block`, in their order.

# %%
# exercise 14/ex3
import numpy as np


def mine(n, blocks, width, block, thread):
    """Whole numbers to the indices (some,) of this thread's elements; perhaps none."""
    # BEGIN SOLUTION
    everything = np.arange(n)
    in_grid = everything % (blocks * width)
    return everything[(in_grid // width == block) & (in_grid % width == thread)]
    # END SOLUTION


# %%
print(check("14/ex3", mine))

# %% [markdown]
# ## Exercise 14/ex4: Fused and unfused
#
# Operation k reads reads[k] arrays of n numbers and writes one. Each is a launch of its own, and costs `launch` seconds and
# the bytes it moves; fused into one kernel, only `inputs` arrays are read and `outputs` written. Return both times.

# %%
# exercise 14/ex4
import numpy as np


def times(reads, inputs, outputs, n, itemsize, launch, bandwidth):
    """reads (K,) whole numbers, the rest numbers, to the seconds of K launches and of the fused one."""
    # BEGIN SOLUTION
    per_array = n * itemsize / bandwidth
    apart = 0.0
    for count in reads:
        apart += launch + per_array * (count + 1)
    return apart, launch + per_array * (inputs + outputs)
    # END SOLUTION


# %%
print(check("14/ex4", times))

# %% [markdown]
# ## Sources
#
# Williams, Waterman and Patterson 2009, Roofline. Appleyard, Kocisky and Blunsom 2016, Optimizing performance of recurrent
# neural networks on GPUs. Diamos et al. 2016, Persistent RNNs. The documentation of NumPy on `__array_ufunc__`, and of Numba
# on CUDA and its simulator.
