"""A search for the network itself: which cell, how many layers and units, one direction or two, how
much dropout.

``compare`` shows what the search is worth: TPE beside random search with the same number of trials,
of the same epochs, over several seeds. Random search is a strong baseline in few dimensions
(Bergstra and Bengio 2012); where the curves lie on each other, the answer is that the search did
not matter.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from scratchnet.arrays import Array
from scratchnet.layers import Layer
from scratchnet.models import recurrent
from scratchnet.search.result import Result
from scratchnet.search.space import Choice, Parameter, Real, Space, Whole
from scratchnet.search.study import Objective, search


@dataclass(frozen=True)
class Architecture:
    """``build`` for ``Training``: a recurrent network for so many inputs and outputs; ``SPACE`` is
    what is searched.

    ``engine``: small networks are quickest with "array", which has nothing to compile in each
    process.
    """

    SPACE: ClassVar[dict[str, Parameter]] = {
        "cell": Choice("rnn", "lstm", "gru"),
        "num_layers": Whole(1, 3),
        "units": Whole(4, 64, log=True),
        "bidirectional": Choice(False, True),
        "dropout": Real(0.0, 0.5),
        "lr": Real(1e-3, 3e-2, log=True),
    }

    inputs: int
    outputs: int
    engine: str = "auto"

    def __call__(self, params: dict[str, Any], rng: np.random.Generator) -> Layer:
        """A model with these parameters; "lr" is for the optimiser."""
        chosen = {
            name: value for name, value in params.items() if name in self.SPACE and name != "lr"
        }
        return recurrent(self.inputs, self.outputs, rng=rng, engine=self.engine, **chosen)


@dataclass(frozen=True)
class Comparison:
    """Sampler -> its results, one for each seed."""

    results: dict[str, list[Result]]
    seeds: tuple[int, ...]

    def curves(self, sampler: str) -> Array:
        """(seeds, trials) the best value so far."""
        return np.array([result.best_so_far for result in self.results[sampler]])

    def table(self) -> str:
        """The best value at a quarter, half and all of the budget: median over the seeds, smallest
        and largest."""
        budget = self.curves(next(iter(self.results))).shape[1]
        lines = [
            f"{'best so far':<14}{'after trials':>14}{'median':>10}{'smallest':>10}{'largest':>10}"
        ]
        for at in sorted({max(1, budget // 4), max(1, budget // 2), budget}):
            for sampler in self.results:
                values = self.curves(sampler)[:, at - 1].tolist()
                numbers = "".join(f"{f(values):>10.4g}" for f in (statistics.median, min, max))
                lines.append(f"{sampler:<14}{at:>14}{numbers}")
        return "\n".join(lines)


def compare(
    objective: Objective,
    space: Space,
    *,
    trials: int,
    seeds: Sequence[int],
    samplers: Sequence[str] = ("random", "tpe"),
    processes: int = 1,
    startup: int = 10,
    direction: str = "minimize",
) -> Comparison:
    """Each sampler with each seed and the same budget: so many trials, none of them pruned. Raises
    as ``search``."""
    same: dict[str, Any] = {
        "trials": trials,
        "processes": processes,
        "startup": startup,
        "direction": direction,
    }
    results = {
        sampler: [
            search(objective, space, seed=seed, sampler=sampler, pruner="none", **same)
            for seed in seeds
        ]
        for sampler in samplers
    }
    return Comparison(results, tuple(seeds))
