"""Run every recipe, one after the other, each in a separate process; write one file of results and
the table in README.md.

    make recipes                                  or: python tutorials/recipes/all.py
    python tutorials/recipes/all.py sine price    these alone; the newest file keeps the others
    python tutorials/recipes/all.py --toy         whether they run; writes no results

The results go into benchmarks/results/recipes_<date>.json, with machine, versions, and the scores
of every seed, on which the guide's claims depend; the table between the marks in README.md is
written from that file. Last, the claims of README's guide are compared with the numbers.
"""

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recipe import HIGHER_IS_BETTER

HERE = Path(__file__).resolve().parent
BENCHMARKS = HERE.parents[1] / "benchmarks"
README, RESULTS = HERE / "README.md", BENCHMARKS / "results"
sys.path.append(str(BENCHMARKS))

import compact  # noqa: E402

from scratchnet.files.machine import describe, installed  # noqa: E402

NO_RECIPE = {"all", "pictures", "recipe"}  # what else is in this folder
NAME = r"([^<>()]+(?:\([^()]*\)[^<>()]*)?)"  # with one pair of brackets at most, as in AR(9)
CLAIM = re.compile(rf"\((\w+), ([^:()]+): {NAME} (<<|>>|<|>) {NAME}\)")


def names() -> list[str]:
    """The recipes, in alphabetical order."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NO_RECIPE)


def newest() -> Path | None:
    """The results file of the last day there is one of."""
    return max(RESULTS.glob("recipes_*.json"), default=None)


def better_first(metric: str, scores: Mapping[str, Sequence[float]]) -> list[str]:
    """The names of one metric, the best median first."""
    sign = -1 if metric.startswith(HIGHER_IS_BETTER) else 1
    return sorted(scores, key=lambda name: sign * statistics.median(scores[name]))


def table(report: Mapping[str, Any]) -> str:
    """A row for each recipe: of its first metric the best network, median [smallest, largest], the
    best baseline, seconds."""
    lines = [
        "| recipe | metric | best network | | best baseline | | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, result in sorted(report["recipes"].items()):
        metric, scores = next(iter(result["scores"].items()))
        order = better_first(metric, scores)
        cells = []
        for plain in (False, True):
            best = next((one for one in order if (one in result["baselines"]) == plain), None)
            cells += [best, spread(scores[best])] if best is not None else ["", ""]
        lines.append(
            f"| [{name}]({name}.py) | {metric} | {' | '.join(cells)} | {result['seconds']:.0f} |"
        )
    seeds = sorted({tuple(result["seeds"]) for result in report["recipes"].values()})
    of = " or ".join(" ".join(map(str, each)) for each in seeds)
    about = f"Median [smallest, largest] over the seeds {of}; seconds of all seeds together."
    machine = (
        f"{report['machine']['processor']}, {report['machine']['cores']} cores, {report['date']}."
    )
    return "\n".join([*lines, "", f"{about}  {machine}"])


def spread(values: Sequence[float]) -> str:
    """Median [smallest, largest], four digits."""
    return f"{statistics.median(values):.4g} [{min(values):.4g}, {max(values):.4g}]"


def claims(text: str) -> list[tuple[str, ...]]:
    """(recipe, metric, left, sign, right) of each claim in a text: (compare, error, adding: LSTM <<
    RNN)."""
    return [match.groups() for match in CLAIM.finditer(re.sub(r"\s+", " ", text))]


def holds(claim: tuple[str, ...], report: Mapping[str, Any]) -> bool:
    """Whether the medians are as the claim says; with << and >> each seed by itself (made-up data
    differ from seed to seed).

    Raises KeyError where there is no such recipe, metric or name.
    """
    recipe, metric, left, sign, right = claim
    scores = report["recipes"][recipe]["scores"][metric]
    low, high = (scores[left], scores[right]) if sign[0] == "<" else (scores[right], scores[left])
    if len(sign) == 2:
        return all(a < b for a, b in zip(low, high, strict=True))
    return statistics.median(low) < statistics.median(high)


def between(text: str, mark: str, new: str) -> str:
    """The text with what stands between <!-- mark --> and <!-- /mark --> replaced. ValueError where
    the marks are missing."""
    parts = re.split(rf"(<!-- /?{mark} -->)", text)
    if len(parts) != 5:
        raise ValueError(f"README.md needs <!-- {mark} --> and <!-- /{mark} -->, once each")
    return "".join([*parts[:2], f"\n{new}\n", *parts[3:]])


def about() -> dict[str, Any]:
    """The day, the machine and the versions."""
    packages = ("numpy", "numba", "scikit-learn", "statsmodels", "matplotlib")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe(),
        "versions": (
            {"python": platform.python_version()} | {name: installed(name) for name in packages}
        ),
    }


def main() -> None:
    """Run, write, check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "recipes", nargs="*", metavar="NAME", help=f"these alone, of {', '.join(names())}"
    )
    parser.add_argument("--toy", action="store_true", help="tiny and quick, writes no results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out", "recipes"),
        help="folder for the pictures (out/recipes)",
    )
    chosen = parser.parse_args()
    unknown = set(chosen.recipes) - set(names())
    if unknown:
        parser.error(
            f"there is no recipe {', '.join(sorted(unknown))}: expected some of"
            f" {', '.join(names())}"
        )
    found, failed = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if chosen.toy else chosen.out
        for name in chosen.recipes or names():
            command = [
                sys.executable,
                str(HERE / f"{name}.py"),
                "--out",
                str(out),
                "--seeds",
                *map(str, chosen.seeds),
            ]
            started = time.perf_counter()
            print(f"\n---- {name} ----", flush=True)
            if subprocess.run(
                [*command, *(["--toy"] if chosen.toy else [])], check=False
            ).returncode:
                failed.append(name)
                continue
            found[name] = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
            # with the start of Python, as a user waits
            found[name]["seconds"] = round(time.perf_counter() - started, 1)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    if not chosen.toy:
        write(found, keep=bool(chosen.recipes))


def write(found: Mapping[str, Any], keep: bool) -> None:
    """The results file, README's table, and what the numbers say of the guide's claims."""
    last = newest()
    before = (
        json.loads(last.read_text(encoding="utf-8"))["recipes"] if keep and last is not None else {}
    )
    report = about() | {"recipes": before | dict(found)}
    path = RESULTS / f"recipes_{report['date']}.json"
    compact.write(path, report, levels=4)
    text = between(README.read_text(encoding="utf-8"), "recipes", table(report))
    README.write_text(text, encoding="utf-8")
    print(f"\n{path}\n{README}")
    wrong = [
        claim
        for claim in claims(text)
        if claim[0] in report["recipes"] and not holds(claim, report)
    ]
    for recipe, metric, left, sign, right in wrong:
        print(f"README's guide says what is not so: ({recipe}, {metric}: {left} {sign} {right})")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
