"""Where ``gpu.py`` and ``ladder.py`` run, on a GPU or on the CPU, and what they run."""

import faulthandler
import gc
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gpu_report import POLICIES, Row, Size

from scratchnet import engines
from scratchnet.arrays import Array, is_array
from scratchnet.cells import CELLS
from scratchnet.files.machine import why_no_gpu

ENGINES = ("sequence", "step", "array")
ON_TENSOR_CORES = "sequence_tf32"
SMALLEST_TF32 = 256  # units for which that engine is
LONGEST_LOOP = 200  # steps; beyond, PyTorch's eager loop takes long and teaches nothing new
NO_GPU = 3  # exit code of a program that found nothing to measure on
LONGEST_HOLD_MS = 10.0  # how long the GPU is kept waiting for the host, at most


class NoGpuError(RuntimeError):
    """There is nothing to measure on."""


class DoesNotFitError(RuntimeError):
    """An engine that does not take this cell or size."""


# ---- where it runs -----------------------------------------------------------------------------


class Host:
    """The CPU, for a rehearsal: the calls of ``Cuda``, with NumPy for CuPy and clock for events."""

    name = "cpu"

    def __init__(self) -> None:
        try:
            import torch
        except ImportError as error:
            raise NoGpuError(f"PyTorch is not there ({first_line(error)})") from None
        self.torch, self.xp = torch, np
        if self.name == "cpu":
            torch.set_num_threads(1)  # two pools of threads in one process fight

    def place(self, host: Array) -> Array:
        """An array of ``xp`` with these numbers."""
        return self.xp.array(host)

    def tensor(self, host: Array) -> Any:
        """A new tensor of PyTorch with these numbers."""
        return self.torch.tensor(host, device=self.name)

    def synchronize(self) -> None:
        """Wait until all work is done."""

    def gpu_times(self, call: Callable[[], Any], repetitions: int, hold_ms: float) -> list[float]:
        """Milliseconds of each of so many runs."""
        times = []
        for _ in range(repetitions):
            started = time.perf_counter()
            call()
            times.append(1000 * (time.perf_counter() - started))
        return times

    def free(self) -> None:
        """Give memory back."""
        gc.collect()

    def about(self) -> Row:
        """What the times depend on, besides packages."""
        return {"name": f"{platform.processor() or platform.machine()} (CPU)"}


class Cuda(Host):
    """One NVIDIA GPU, with CuPy and PyTorch on its default stream; NoGpuError without one.

    ``with_torch``: False where nothing is compared with PyTorch, which then need not be there.
    """

    name = "cuda"

    def __init__(self, with_torch: bool = True) -> None:
        if reason := why_no_gpu():
            raise NoGpuError(reason)
        import cupy

        if with_torch:
            super().__init__()
            self._require_torch(cupy)
        self.xp = cupy
        self.clock_khz = self._attribute("ClockRate") or 1_980_000
        self.wait = cupy.RawKernel(
            'extern "C" __global__ void wait(long long clocks) {'
            " long long start = clock64(); while (clock64() - start < clocks) { } }",
            "wait",
        )

    def _require_torch(self, cupy: Any) -> None:
        if not self.torch.cuda.is_available():
            raise NoGpuError(
                f"CuPy finds a GPU but PyTorch {self.torch.__version__} finds none; it may be the"
                " build for CPUs"
            )
        streams = cupy.cuda.get_current_stream().ptr, self.torch.cuda.current_stream().cuda_stream
        if streams[0] != streams[1]:
            raise NoGpuError(
                f"CuPy's stream is {streams[0]} and PyTorch's {streams[1]}: they must be one and"
                " the same"
            )

    def _attribute(self, name: str) -> Any:
        return attempt(lambda: self.xp.cuda.Device().attributes[name])

    def synchronize(self) -> None:
        self.xp.cuda.runtime.deviceSynchronize()

    def hold(self, ms: float) -> None:
        """Make the GPU wait for about ``ms``, at most LONGEST_HOLD_MS: the host gets ahead."""
        clocks = int(min(ms, LONGEST_HOLD_MS) * self.clock_khz)
        self.wait((1,), (1,), (np.int64(clocks),))

    def gpu_times(self, call: Callable[[], Any], repetitions: int, hold_ms: float) -> list[float]:
        events = [(self.xp.cuda.Event(), self.xp.cuda.Event()) for _ in range(repetitions)]
        self.synchronize()
        for start, end in events:
            if hold_ms:
                self.hold(hold_ms)
            start.record()
            call()
            end.record()
        self.synchronize()
        return [float(self.xp.cuda.get_elapsed_time(start, end)) for start, end in events]

    def free(self) -> None:
        gc.collect()
        self.xp.get_default_memory_pool().free_all_blocks()
        self.torch.cuda.empty_cache()

    def about(self) -> Row:
        runtime, torch = self.xp.cuda.runtime, self.torch
        properties = attempt(lambda: torch.cuda.get_device_properties(0))
        query = "--query-gpu=driver_version,clocks.max.sm", "--format=csv,noheader"
        smi = attempt(lambda: output("nvidia-smi", *query))
        shared = attempt(lambda: self._attribute("MaxSharedMemoryPerBlockOptin") / 1024)
        return {
            "name": attempt(lambda: str(torch.cuda.get_device_name(0))),
            "compute_capability": attempt(lambda: f"{properties.major}.{properties.minor}"),
            "multiprocessors": attempt(lambda: int(properties.multi_processor_count)),
            "memory_gib": attempt(lambda: round(properties.total_memory / 2**30, 1)),
            "shared_kb_per_block": shared,
            "clock_ghz": self.clock_khz / 1e6,
            "nvidia_smi": smi.splitlines()[0] if smi else None,  # driver, highest clock
            "driver_cuda": attempt(runtime.driverGetVersion),
            "cupy_cuda_runtime": attempt(runtime.runtimeGetVersion),
            "torch_cuda": torch.version.cuda,
            "cudnn": attempt(torch.backends.cudnn.version),
        }


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """End the program if the body takes longer: a kernel that never returns would hang it."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def attempt(read: Callable[[], Any]) -> Any:
    """The result of ``read``, or None where it fails: a missing detail must not stop a run."""
    try:
        return read()
    except Exception:
        return None


def output(*command: str) -> str:
    """What a short command prints; raises where it fails or takes longer than ten seconds."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=10, cwd=Path(__file__).parent
    )
    return done.stdout.strip()


def first_line(error: BaseException) -> str:
    """An error's type and first line, without the folders of this machine."""
    text = (str(error).splitlines() or [""])[0]
    return re.sub(r"(/[\w.+-]+)+/", "", f"{type(error).__name__}: {text}")[:300]


# ---- what runs ---------------------------------------------------------------------------------


class Data(NamedTuple):
    """The numbers that all contenders get, float32, on the host."""

    x: Array  # (T, B, I)
    dy: Array  # (T, B, H), the loss's gradient of every output
    states: dict[str, Array]  # h0, c0: (B, H)
    params: dict[str, Array]  # as param_shapes names them


class Contender(NamedTuple):
    """Something to be timed."""

    prepare: Callable[[], None]  # before each group of runs: the policy
    forward: Callable[[], Any]
    training: Callable[[], Any]
    named: Callable[[Any], dict[str, Array]]  # training's result by the cell's gradient names
    written: Callable[[Any], list[Array]]  # all buffers that it wrote: they may be poisoned


def make_data(cell_name: str, size: Size, seed: int) -> Data:
    """Standard normal input, states and gradient; weights uniform in +-1/sqrt(H), as PyTorch's."""
    T, B, I, H = size
    cell, rng = CELLS[cell_name], np.random.default_rng((seed, *size))

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    bound = H**-0.5
    x, dy, states = normal(T, B, I), normal(T, B, H), {f"{s}0": normal(B, H) for s in cell.STATES}
    shapes = cell.param_shapes(I, H).items()
    params = {n: rng.uniform(-bound, bound, shape).astype(np.float32) for n, shape in shapes}
    return Data(x, dy, states, params)


def reference(device: Host, cell_name: str, data: Data) -> dict[str, Array]:
    """Output and gradients of the array engine in float64."""
    cell = CELLS[cell_name]
    host = (data.x, data.dy, *data.states.values(), *data.params.values())
    x, dy, *rest = (device.place(a.astype(np.float64)) for a in host)
    y, cache = cell.forward(x, *rest)
    return without_da(y, cell.backward(dy, cache))


def without_da(y: Array, grads: Any) -> dict[str, Array]:
    """y and the gradients by name; PyTorch has no da, and all others follow from it."""
    return {"y": y, **{name: grad for name, grad in grads._asdict().items() if name != "da"}}


def scratchnet(device: Host, cell_name: str, data: Data, engine: str) -> Contender:
    """An engine of this library; DoesNotFitError, with its message, where it does not run.

    The library may run another engine instead of one that does not fit: that would be a row with a
    wrong name.
    """
    try:
        chosen = engines.choose(cell_name, device.place(data.x), data.dy.shape[2], engine)
    except RuntimeError as error:
        raise DoesNotFitError(str(error)) from None
    if chosen.name != engine:
        raise DoesNotFitError(chosen.why)
    return of_pair(device, data, *pair_of(chosen))


def pair_of(engine: engines.Engine) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Forward and backward of an engine with the cell's own signatures, for one layer direction."""
    return (
        lambda *call, **options: engine.forward([call], **options)[0],
        lambda *call: engine.backward([call])[0],
    )


def of_pair(
    device: Host, data: Data, cell_forward: Callable[..., Any], cell_backward: Callable[..., Any]
) -> Contender:
    """A forward and a backward with a cell's signatures."""
    inputs = [device.place(a) for a in (data.x, *data.states.values(), *data.params.values())]
    dy = device.place(data.dy)
    given = {address(a) for a in inputs}

    def forward() -> Any:
        return cell_forward(*inputs)

    def training() -> Any:
        y, cache = forward()
        return y, cache, cell_backward(dy, cache)

    def written(result: Any) -> list[Array]:
        _, cache, grads = result
        return [a for a in (*cache, *grads) if is_array(a) and a.size and address(a) not in given]

    def named(result: Any) -> dict[str, Array]:
        y, _, grads = result
        return without_da(y, grads)

    return Contender(lambda: None, forward, training, named, written)


def address(array: Array) -> int:
    """Where an array's first number lies."""
    return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)


def torch_contender(device: Host, cell_name: str, data: Data, policy: str, loop: bool) -> Contender:
    """PyTorch's layer (cuDNN on a GPU), or a beginner's loop over its cell; equal numbers."""
    torch, H = device.torch, data.dy.shape[2]
    kind = cell_name.upper()
    module = getattr(torch.nn, f"{kind}Cell" if loop else kind)(data.x.shape[2], H).to(device.name)
    weights = load(torch, module, device, data, "" if loop else "_l0")
    x, dy = device.tensor(data.x).requires_grad_(True), device.tensor(data.dy)
    initial = [s if loop else s[None] for s in data.states.values()]
    states = [device.tensor(s).requires_grad_(True) for s in initial]

    def prepare() -> None:
        torch.backends.cuda.matmul.allow_tf32 = policy == "tf32"
        torch.backends.cudnn.allow_tf32 = policy == "tf32"

    def forward() -> Any:
        if not loop:
            return module(x, tuple(states) if len(states) == 2 else states[0])[0]
        outputs, state = [], tuple(states) if len(states) == 2 else states[0]
        for x_t in x.unbind(0):
            state = module(x_t, state)
            outputs.append(state[0] if len(states) == 2 else state)
        return torch.stack(outputs)

    def training() -> Any:
        y = forward()
        return (y, *torch.autograd.grad(y, (x, *states, *weights), dy))

    def written(result: Any) -> list[Array]:
        # the same memory, not a copy
        return [device.xp.asarray(tensor.detach()) for tensor in result]

    def named(result: Any) -> dict[str, Array]:
        y, dx, *rest = written(result)
        d_states, (dW_x, dW_h, db, db_h) = rest[: len(states)], rest[len(states) :]
        found = {f"d{name}": d.reshape(-1, H) for name, d in zip(data.states, d_states)}
        found |= {"y": y, "dx": dx}
        found |= {"dW_x": dW_x.T, "dW_h": dW_h.T, "db": db}
        return found | ({"db_hn": db_h[2 * H :]} if "b_hn" in data.params else {})

    return Contender(prepare, forward, training, named, written)


def load(torch: Any, module: Any, device: Host, data: Data, end: str) -> list[Any]:
    """Our weights into a torch module: transposed, and one bias for two.

    As ``scratchnet/convert/torch.py`` describes.
    """
    params, H = {name: device.tensor(a) for name, a in data.params.items()}, data.dy.shape[2]
    names = "weight_ih", "weight_hh", "bias_ih", "bias_hh"
    weights = [getattr(module, f"{name}{end}") for name in names]
    with torch.no_grad():
        for weight, value in zip(weights, (params["W_x"].T, params["W_h"].T, params["b"])):
            weight.copy_(value)
        weights[3].zero_()
        if "b_hn" in params:
            weights[3][2 * H :] = params["b_hn"]
    return weights


def contenders(T: int, H: int) -> list[tuple[str, str]]:
    """(contender, policy) of every row for a sequence of T steps and H units."""
    ours = [(engine, "fp32") for engine in ENGINES]
    ours += [(ON_TENSOR_CORES, "tf32")] if H >= SMALLEST_TF32 else []
    theirs = ("torch.nn", "torch loop") if T <= LONGEST_LOOP else ("torch.nn",)
    return ours + [(name, policy) for name in theirs for policy in POLICIES]


def build(device: Host, cell_name: str, data: Data, name: str, policy: str) -> Contender:
    """The contender of that name; DoesNotFitError where it does not take this cell or size."""
    if name in (*ENGINES, ON_TENSOR_CORES):
        return scratchnet(device, cell_name, data, name)
    return torch_contender(device, cell_name, data, policy, loop=name == "torch loop")
