"""Mixed precision: float16 products with float32 master weights, and what happens to float16
without its loss scale.

To see how it works: on a CPU float16 is slower than float32. The loss is a millionth of the usual
one, as that of one step among many may be, so that a single small run shows what goes wrong. What
to learn: with a scale the error is about that of float32, and what is kept of a pass is half as
large; a few steps are skipped while the scale is being found; without a scale small gradients
become zero, and the network learns next to nothing.
"""

from typing import Any

import numpy as np
from recipe import Outcome, recipe

from scratchnet import plots
from scratchnet.arrays import Array
from scratchnet.data.tasks import ADDING_BASELINE_MSE, adding
from scratchnet.layers import Layer
from scratchnet.models import recurrent
from scratchnet.training import Adam, HalfTrainer, Trainer, fit, predict

# the loss is that small, as in a sum of many terms where one is of little weight
T, SMALL = 20, 1e-6


def tiny(y: Array, target: Array, mask: Array | None = None) -> tuple[float, Array]:
    """The mean squared error times SMALL. Adam does not care: it divides by the size of its
    gradients; float16 does."""
    r = y - target
    return SMALL * float(np.mean(r * r)), (2 * SMALL / r.size) * r


def kept(cache: Any) -> int:
    """Bytes of all arrays in a cache, each counted once."""
    seen: dict[int, int] = {}

    def walk(value: Any) -> None:
        if isinstance(value, np.ndarray):
            whole = value if value.base is None else value.base
            seen[id(whole)] = int(getattr(whole, "nbytes", 0))
        elif isinstance(value, (tuple, list)):
            for part in value:
                walk(part)

    walk(cache)
    return sum(seen.values())


def run(seed: int, toy: bool) -> Outcome:
    """The adding problem; float32, mixed precision with its scale, and float16 with a scale of 1
    that stays."""
    rng = np.random.default_rng(seed)
    (x, y), (xt, yt) = (
        adding(rng, 100 if toy else 2000, T, np.float32),
        adding(rng, 500, T, np.float32),
    )
    x, xt = x.swapaxes(0, 1).copy(), xt.swapaxes(0, 1).copy()
    runs: dict[str, Any] = {}

    def trainer(name: str, **options: Any) -> Any:
        def make(*arguments: Any, **named: Any) -> Trainer:
            runs[name] = (Trainer if name == "float32" else HalfTrainer)(
                *arguments, **named, **options
            )
            return runs[name]

        return make

    def train(make: Any) -> Layer:
        own = np.random.default_rng(seed)
        model = recurrent(2, 1, rng=own, cell="gru", units=24).astype(np.float32)
        fit(
            model,
            (x, y),
            Adam(0.01, eps=1e-14),
            epochs=1 if toy else 12,
            rng=own,
            loss=tiny,
            progress=False,
            trainer=make,
        )
        return model

    ways = {
        "GRU, float32": trainer("float32"),
        "GRU, mixed": trainer("mixed", scale=2.0**40, most=2.0**40, patience=200),
        "GRU, float16 without a scale": trainer("naive", scale=1.0, most=1.0),
    }
    errors = {
        name: float(np.mean((predict(train(make), xt) - yt) ** 2)) for name, make in ways.items()
    }
    errors["the mean"] = float(ADDING_BASELINE_MSE)
    batch = x[:32]
    full, twin = (runs[name] for name in ("float32", "mixed"))
    passes = {"GRU, float32": full.model, "GRU, mixed": twin.twin}
    memory = {
        name: kept(model.forward(batch, training=True)[1].caches[0].cell_caches) / 1e3
        for name, model in passes.items()
    }
    skipped = {
        name: float(getattr(runs[key], "skipped", 0))
        for name, key in zip(ways, ("float32", "mixed", "naive"))
    }
    curves = {
        name: [v / SMALL for v in run.history.column("loss")]
        for name, run in zip(ways, runs.values())
    }
    figure = plots.learning_curves(
        curves,
        smooth=20,
        lines={"having learned nothing": ADDING_BASELINE_MSE},
        title=f"The adding problem, T = {T}",
    )
    scores = {"error": errors, "kB kept of a pass": memory, "steps skipped": skipped}
    return Outcome(
        scores,
        ("the mean",),
        figure,
        f"the scale of the mixed run ended at 2^{np.log2(twin.scale):.0f}",
    )


if __name__ == "__main__":
    recipe(__doc__, run)
