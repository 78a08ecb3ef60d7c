"""What a training step costs besides its kernels: the library's own Python, without a GPU.

    PYTHONPATH=.:kernels python benchmarks/host_time.py

Runs the forward and backward pass of one layer on engine "sequence" with kernels that do nothing,
on NumPy arrays in place of CuPy's, so small that their products take no time. What remains is
checks, plans, allocation, and the list of addresses for each launch; "of_these_engine_us" is
without the layer around the engine. Not measured: what CuPy and the driver take for a product or a
launch.
"""

import argparse
import json
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
from scratchnet_kernels import launch
from scratchnet_kernels.sequence_cuda.engine import CudaSequence
from scratchnet_kernels.sequence_cuda.resources import Device

from scratchnet import layers
from scratchnet.layers import recurrent


def without_a_gpu() -> list[tuple[Any, ...]]:
    """Replace what needs a GPU by what takes no time.

    Returns a list that fills with the arguments of each launch.
    """
    launches: list[tuple[Any, ...]] = []
    launch.array_backend = lambda array: "cupy"
    launch.device = lambda: Device(132, 227 * 1024, cluster=16)
    launch._stream = lambda: 0
    launch._core_stream = lambda handle: handle
    launch._address = id
    launch.Persistent.compiled = None
    launch.core.LaunchConfig = SimpleNamespace
    launch.core.launch = lambda *arguments: launches.append(arguments)
    recurrent.choose = lambda cell_name, x, H, engine, *_: CudaSequence(cell_name, "", engine)
    return launches


def microseconds(step: Any, repeats: int, rounds: int = 20) -> tuple[float, float]:
    """Of one call, of the processor: the median and the smallest of some rounds."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(repeats):
            step()
        times.append(1e6 * (time.process_time() - started) / repeats)
    return float(np.median(times)), min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=200, help="steps a round")
    options = parser.parse_args()
    launches = without_a_gpu()
    np.seterr(all="ignore")  # nothing fills the outputs
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 2, 2)).astype(np.float32)
    for name in ("RNN", "LSTM", "GRU"):
        for bidirectional in (False, True):
            layer = getattr(layers, name)(
                2, 4, rng=rng, engine="sequence", dtype=np.float32, bidirectional=bidirectional
            )

            def step(layer: Any = layer) -> None:
                y, cache = layer.forward(x)
                layer.backward(y, cache)

            launches.clear()
            step()
            count = len(launches)
            engine_only = _engine_step(layer, x)
            median, smallest = microseconds(step, options.repeats)
            row = {
                "layer": name,
                "bidirectional": bidirectional,
                "launches": count,
                "step_us": round(median),
                "least_us": round(smallest),
            }
            row["of_these_engine_us"] = round(microseconds(engine_only, options.repeats)[0])
            launches.clear()
            print(json.dumps(row), flush=True)


def _engine_step(layer: Any, x: Any) -> Any:
    """The engine's part of a step, without the layer around it."""
    from scratchnet.arrays import Checked

    engine = CudaSequence(layer.cell_name, "")
    states = [s[0] for s in layer.initial_state(x)]
    calls = [
        [x, *states, *layer.direction_params(0, direction).values()]
        for direction in layer.directions
    ]
    options = {**layer.options, "lengths": Checked(None)}
    H = layer.hidden_size

    def step() -> None:
        made = engine.forward(calls, **options)
        engine.backward([(y[:, :, :H], cache) for y, cache in made])

    return step


if __name__ == "__main__":
    main()
