"""Count false alarms of the gradient check: every cell, every layer's examples and every model, over many seeds.

    PYTHONPATH=.:kernels python tests/false_alarms.py --first 0 --seeds 100 --minutes 10

All of these gradients are right, so every alarm is false. The examples take turns, so that a run that is cut short has as
many seeds of each. Seeds below 1 000 000 may be used to choose constants; those from there on are kept for the final count.
"""

import argparse
import json
import math
import sys
import time
from collections import Counter

import numpy as np
from scratchnet.cells import variants
from scratchnet.gradcheck import GradientError, check_cell, check_layer
from scratchnet.layers import LAYERS
from scratchnet.models import EncoderDecoder, Hybrid


def checks(seed, only=""):
    """(label, check) of everything that is checked for one seed, of labels that begin with ``only``."""
    for label, check in every(seed, only.partition(" ")[0]):
        if label.startswith(only):
            yield label, check


def every(seed, word):
    """As ``checks``; layers are made only where their name begins with a word."""
    for label, cell, options in variants():
        yield f"cell {label}", lambda cell=cell, options=options: check_cell(cell, seed=seed, **options)
    for name, kind in {**LAYERS, "hybrid": Hybrid, "encoder decoder": EncoderDecoder}.items():
        if not name.startswith(word):
            continue
        for label, layer, x, arguments in kind.examples(np.random.default_rng(seed)):
            yield (
                f"{name} {label}",
                lambda layer=layer, x=x, arguments=arguments: check_layer(layer, x, seed=seed, **arguments),
            )


def count(first, seeds, minutes=math.inf, only=""):
    """How often each example was checked and raised an alarm, and the seeds that were used, in so many minutes."""
    run, alarms, used = Counter(), Counter(), 0
    end = time.monotonic() + 60 * minutes
    for seed in range(first, first + seeds):
        if time.monotonic() > end:
            break
        used += 1
        for label, check in checks(seed, only):
            run[label] += 1
            try:
                check()
            except GradientError as error:
                alarms[label] += 1
                print(f"seed {seed}, {label}: {error}", flush=True)
    return run, alarms, used


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds")
    parser.add_argument("--minutes", type=float, default=60, help="stop after this long")
    parser.add_argument("--only", default="", help="labels that begin with this")
    chosen = parser.parse_args()
    run, alarms, _ = count(chosen.first, chosen.seeds, chosen.minutes, chosen.only)
    print(json.dumps({"run": run, "alarms": alarms}, indent=1))
    print(f"{run.total()} checks of {len(run)} examples, {alarms.total()} false alarms")
    return bool(alarms)


if __name__ == "__main__":
    sys.exit(main())
