"""What every recipe shares: seeds, the table it prints, the picture and the results file it leaves.

def run(seed, toy):     # one run; toy is a size for tests, whose numbers mean nothing
    ...
    return Outcome({"RMSE": {"LSTM": 1.2, "last value": 3.4}}, ("last value",), figure)

if __name__ == "__main__":
    recipe(__doc__, run)

python tutorials/recipes/sunspots.py --seeds 0 1 2 --out out/recipes
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scratchnet.files.machine import describe

HIGHER_IS_BETTER = ("accuracy", "F1", "AUC", "R2", "coverage")


class Outcome(NamedTuple):
    """What one run found: metric -> name -> value, a picture, and lines to read."""

    scores: Mapping[str, Mapping[str, float]]
    baselines: Sequence[str]  # which of the names are no networks
    figure: Any  # a matplotlib Figure; that of the first seed is saved
    note: str = ""  # what to say below the table


def recipe(
    about: str | None,
    run: Callable[..., Outcome],
    arguments: Sequence[str] | None = None,
    option: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Run for each seed, print the table, write NAME.png and NAME.json into the folder; returns
    what was written.

    ``option``: one more option of this recipe, ("--data", its help); what is given with it, or
    None, is run's third argument.
    """
    script = Path(sys.modules[run.__module__].__file__ or "recipe.py")
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0, 1, 2],
        help="of weights and made-up data (0 1 2)",
    )
    parser.add_argument(
        "--toy", action="store_true", help="tiny and quick, for tests: the numbers mean nothing"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out", "recipes"),
        help="folder to write into (default: out/recipes)",
    )
    if option is not None:
        parser.add_argument(option[0], dest="option", metavar="PATH", help=option[1])
    chosen = parser.parse_args(arguments)
    given = () if option is None else (chosen.option,)
    chosen.out.mkdir(parents=True, exist_ok=True)
    title = (about or script.stem).strip().splitlines()[0]
    print(title, end="\n\n", flush=True)
    started, outcomes = time.perf_counter(), []
    for seed in chosen.seeds:
        outcomes.append(run(seed, chosen.toy, *given))
    seconds = time.perf_counter() - started
    first = outcomes[0]
    scores = {
        m: {n: [o.scores[m][n] for o in outcomes] for n in names}
        for m, names in first.scores.items()
    }
    result = {
        "recipe": script.stem,
        "title": title,
        "seeds": chosen.seeds,
        "toy": chosen.toy,
        "machine": describe(),
        "seconds": round(seconds, 1),
        "baselines": list(first.baselines),
        "scores": scores,
    }
    print(table(result))
    if first.note:
        print(f"\n{first.note}")
    picture = chosen.out / f"{script.stem}.png"
    first.figure.savefig(picture)
    (chosen.out / f"{script.stem}.json").write_text(
        json.dumps(result, indent=1) + "\n", encoding="utf-8"
    )
    print(f"\n{seconds:.0f} s for {len(chosen.seeds)} seeds; {picture}")
    return result


def table(result: Mapping[str, Any]) -> str:
    """Each metric's names, best first: the median over the seeds, the smallest and the largest; *
    marks a baseline."""
    lines = []
    for metric, names in result["scores"].items():
        sign = -1 if metric.startswith(HIGHER_IS_BETTER) else 1
        width = max(22, *(len(name) for name in names)) + 3
        lines.append(f"{metric:<{width}}{'median':>10}{'smallest':>10}{'largest':>10}")
        for name in sorted(names, key=lambda n: sign * statistics.median(names[n])):
            label = f"{name} *" if name in result["baselines"] else name
            numbers = "".join(f"{f(names[name]):>10.4g}" for f in (statistics.median, min, max))
            lines.append(f"{label:<{width}}{numbers}")
        lines.append("")
    return "\n".join([*lines, "* a baseline"])
