"""A peer of the CPU benchmark, in its own process: requests are lines of JSON, as are answers.

    python benchmarks/cpu_worker.py sequence 2      an engine of scratchnet, on at most two threads
    python benchmarks/cpu_worker.py torch 2

``cpu.py`` starts these, so that each has its own thread pools, and asks one at a time. Data and
weights come in .npz files, ours on both sides: (D, G*H) matrices and one bias. Results go back in
our layout too.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from scratchnet import engines
from scratchnet.arrays import Array
from scratchnet.cells import CELLS
from scratchnet.data import minibatches
from scratchnet.files.machine import blas_in_words
from scratchnet.layers import LSTM, Linear, Sequential
from scratchnet.losses import mse
from scratchnet.training.clip import clip_global_norm
from scratchnet.training.optim import Adam

Named = dict[str, Array]
WARM = 0.01
BATCH, LEARNING_RATE, CLIP = 16, 0.005, 1.0  # the demo's, of its sunspots


class Ours:
    """An engine of scratchnet."""

    def __init__(self, engine: str, threads: int) -> None:
        self.engine, self.threads = engine, threads

    def versions(self) -> dict[str, str]:
        """What its times depend on."""
        return {
            "numpy": np.__version__,
            "blas": blas_in_words(),
            "scratchnet": version_of("scratchnet"),
            "numba": version_of("numba"),
        }

    def load(self, cell_name: str, data: Named) -> dict[str, Callable[[], Any]]:
        """Forward alone, and a training step: what to call for each."""
        cell, x, dy = CELLS[cell_name], data["x"], data["dy"]
        H = dy.shape[2]
        params = {name: data[name] for name in cell.param_shapes(x.shape[2], H)}
        states = [np.zeros_like(dy[0]) for _ in cell.STATES]
        chosen = engines.choose(cell_name, x, H, self.engine, self.threads)

        def forward() -> Named:
            [(y, _)] = chosen.forward([(x, *states, *params.values())])
            return {"y": y}

        def training() -> Named:
            [(y, cache)] = chosen.forward([(x, *states, *params.values())])
            [found] = chosen.backward([(dy, cache)])
            grads = {f"d{name}": getattr(found, f"d{name}") for name in params}
            return {"y": y, "dx": found.dx} | grads

        return {"forward": forward, "training": training}

    def load_epoch(self, data: Named, seed: int) -> dict[str, Callable[[], Any]]:
        """The demo's LSTM on its sunspots: one epoch of Adam, each call the next one."""
        options: Any = {"rng": np.random.default_rng(0), "dtype": np.float32}
        engine: Any = {"engine": self.engine, "threads": self.threads, **options}
        units = data["rec.W_h_l0"].shape[0]
        rec = LSTM(1, units, batch_first=True, return_sequences=False, **engine)
        model = Sequential(rec=rec, head=Linear(units, 1, **options))
        for name, value in model.params.items():
            value[...] = data[name]
        updates = "array" if self.engine == "array" else "step"
        optimizer, rng = Adam(LEARNING_RATE, engine=updates), np.random.default_rng(seed)

        def epoch() -> Named:
            losses = []
            for rows in minibatches(len(data["x"]), BATCH, rng):
                model.zero_grad()
                y, cache = model.forward(data["x"][rows], training=True)
                loss, dy = mse(y, data["y"][rows])
                model.backward(dy, cache)
                clip_global_norm(model.grads, CLIP, engine=updates)
                optimizer.step(model.params, model.grads)
                losses.append(loss)
            return {"losses": np.asarray(losses)} | dict(model.params)

        return {"epoch": epoch}

    def product(self, n: int) -> Callable[[], Any]:
        """A call that multiplies two float32 matrices (n, n)."""
        a, b, out = (np.ones((n, n), np.float32) for _ in range(3))
        return lambda: np.matmul(a, b, out=out)


class Torch:
    """torch.nn, its gradients by torch.autograd."""

    def __init__(self, threads: int) -> None:
        import torch

        self.torch = torch
        torch.set_num_threads(threads)

    def versions(self) -> dict[str, str]:
        """What its times depend on."""
        wanted = ("Intel(R) MKL", "Intel(R) oneAPI", "oneMKL", "Intel(R) MKL-DNN", "OpenMP")
        lines = [line.strip(" -") for line in self.torch.__config__.show().splitlines()]
        libraries = [line for line in lines if line.startswith(wanted)]
        return {"torch": self.torch.__version__, "torch_libraries": "; ".join(libraries)}

    def load(self, cell_name: str, data: Named) -> dict[str, Callable[[], Any]]:
        """As ``Ours.load``; forward alone is ``inference_mode``, without data for backward."""
        torch = self.torch
        x, dy = (torch.from_numpy(data[name]) for name in ("x", "dy"))
        x.requires_grad_()
        H = dy.shape[2]
        module = getattr(torch.nn, cell_name.upper())(x.shape[2], H)
        weights = self.put(module, "_l0", data)
        module = self.made(module)

        def forward() -> Named:
            with torch.inference_mode():
                y, _ = module(x)
            return {"y": y.numpy()}

        def training() -> Named:
            y, _ = module(x)
            dx, dW_x, dW_h, db_x, db_h = torch.autograd.grad(y, (x, *weights), dy)
            found = {"y": y.detach(), "dx": dx, "dW_x": dW_x.T, "dW_h": dW_h.T, "db": db_x}
            found |= {"db_hn": db_h[2 * H :]} if cell_name == "gru" else {}
            return {name: value.numpy() for name, value in found.items()}

        return {"forward": forward, "training": training}

    def made(self, module: Any) -> Any:
        """The module as it is run; another contender compiles it."""
        return module

    def put(self, module: Any, end: str, data: Named, before: str = "") -> list[Any]:
        """Copy our weights into a recurrent module; return the module's weights.

        The opposite of ``scratchnet/convert/torch.py``.
        """
        torch = self.torch
        names = "weight_ih", "weight_hh", "bias_ih", "bias_hh"
        weights = [getattr(module, f"{name}{end}") for name in names]
        after = end if before else ""
        W_x, W_h, b = (data[f"{before}{name}{after}"] for name in ("W_x", "W_h", "b"))
        second = np.zeros_like(b)
        if "b_hn" in data:
            second[-len(data["b_hn"]) :] = data["b_hn"]
        with torch.no_grad():
            for weight, ours in zip(weights, (W_x.T, W_h.T, b, second)):
                weight.copy_(torch.from_numpy(np.ascontiguousarray(ours)))
        return weights

    def load_epoch(self, data: Named, seed: int) -> dict[str, Callable[[], Any]]:
        """As ``Ours.load_epoch``: "epoch" has the default Adam, "epoch_fused" the fused one."""
        return {"epoch": self.epoch(data, seed), "epoch_fused": self.epoch(data, seed, fused=True)}

    def epoch(self, data: Named, seed: int, **options: Any) -> Callable[[], Named]:
        """The loop of ``Ours.load_epoch`` in PyTorch."""
        torch = self.torch
        nn = torch.nn
        units = data["rec.W_h_l0"].shape[0]
        rec, head = nn.LSTM(1, units, batch_first=True), nn.Linear(units, 1)
        self.put(rec, "_l0", data, "rec.")
        # one bias, as ours: with two that move alike it would be another model
        rec.bias_hh_l0.requires_grad_(False)
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(data["head.W"].T.copy()))
            head.bias.copy_(torch.from_numpy(data["head.b"]))
        weights = [p for p in (*rec.parameters(), *head.parameters()) if p.requires_grad]
        optimizer = torch.optim.Adam(weights, LEARNING_RATE, **options)
        rng = np.random.default_rng(seed)
        x, target, loss_of = torch.from_numpy(data["x"]), torch.from_numpy(data["y"]), nn.MSELoss()

        def epoch() -> Named:
            losses = []
            for rows in minibatches(len(x), BATCH, rng):
                batch = torch.from_numpy(rows)
                optimizer.zero_grad()
                y = head(rec(x[batch])[0][:, -1])
                loss = loss_of(y, target[batch])
                loss.backward()
                nn.utils.clip_grad_norm_(weights, CLIP)
                optimizer.step()
                losses.append(loss.item())
            found = {"rec.W_x_l0": rec.weight_ih_l0.T, "rec.W_h_l0": rec.weight_hh_l0.T}
            found |= {"rec.b_l0": rec.bias_ih_l0, "head.W": head.weight.T, "head.b": head.bias}
            params = {name: value.detach().numpy() for name, value in found.items()}
            return {"losses": np.asarray(losses)} | params

        return epoch

    def product(self, n: int) -> Callable[[], Any]:
        """As ``Ours.product``."""
        a, b, out = (self.torch.ones(n, n) for _ in range(3))
        return lambda: self.torch.mm(a, b, out=out)


class Worker:
    """Requests by name: each takes the fields of the line besides "do", and returns JSON data."""

    def __init__(self, peer: Any) -> None:
        self.peer = peer
        self.jobs: dict[str, Callable[[], Any]] = {}

    def about(self) -> dict[str, str]:
        """Versions."""
        return dict(self.peer.versions())

    def load(self, data: str, cell: str | None = None, seed: int = 0) -> None:
        """Take a file's arrays: for ``cell``, or without one for the epoch."""
        self.jobs.clear()
        with np.load(data) as file:
            arrays = {name: file[name] for name in file.files}
        peer = self.peer
        self.jobs = peer.load_epoch(arrays, seed) if cell is None else peer.load(cell, arrays)

    def check(self, what: str, out: str) -> float:
        """Write a job's result to a file; return the seconds of a second run.

        The first run compiles.
        """
        np.savez(out, **self.jobs[what]())
        if what.startswith("epoch"):  # a second one begins elsewhere
            return 0.0
        return self.time(what, 1)[0]

    def time(self, what: str, runs: int, warm: float = 0.0) -> list[float]:
        """Seconds of each of ``runs`` runs, after untimed ones for ``warm`` seconds.

        At least one untimed run unless ``warm`` is 0.
        """
        job = self.jobs[what]
        end = time.perf_counter() + warm
        while time.perf_counter() < end:
            job()
        taken = []
        for _ in range(runs):
            started = time.perf_counter()
            job()
            taken.append(time.perf_counter() - started)
        return taken

    def memory(self, what: str, runs: int = 3) -> dict[str, Any]:
        """Peak bytes of ``runs`` runs, above those of the process before, and the method."""
        before, how = reset_peak()
        for _ in range(runs):
            self.jobs[what]()
        return {"bytes": peak() - before, "how": how}

    def copy(self, size: int, runs: int = 9) -> float:
        """The highest rate, in bytes a second, of reading ``size`` bytes and writing as many."""
        here, there = np.ones(size, np.uint8), np.empty(size, np.uint8)
        self.jobs = {"copy": lambda: np.copyto(there, here)}
        return 2 * size / min(self.time("copy", runs, warm=WARM))

    def gemm(self, n: int, runs: int = 6) -> float:
        """The highest rate, in floating-point operations a second, of a float32 matrix product."""
        self.jobs = {"product": self.peer.product(n)}
        return 2 * n**3 / min(self.time("product", runs, warm=WARM))


def reset_peak() -> tuple[int, str]:
    """Bytes of this process that are in memory now, from which ``peak`` counts on."""
    try:  # reset the peak to the current size
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # an earlier peak, which the runs may stay below: then the result is 0
        return peak(), "getrusage"
    return peak(), "VmHWM"


def peak() -> int:
    """The most bytes of this process that were in memory at one time."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def version_of(package: str) -> str:
    """A package's version, or that it is not installed."""
    if package == "scratchnet":
        from scratchnet import __version__

        return __version__
    try:
        return version(package)
    except ImportError:
        return "not installed"


def main(name: str, threads: str) -> None:
    """Answer requests, as one engine or PyTorch."""
    answer(lambda: Worker(Torch(int(threads)) if name == "torch" else Ours(name, int(threads))))


def answer(make: Callable[[], Worker]) -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not be read as an answer
    worker = make()
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(worker, request.pop("do"))(**request)), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
