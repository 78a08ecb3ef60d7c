"""Hyperparameters by search, with Optuna: TPE or at random, hopeless trials ended early, resumable,
in several processes.

    space = {"units": Whole(4, 64, log=True), "cell": Choice("lstm", "gru"), "lr": Real(1e-3, 3e-2, log=True)}
    objective = Training(build, (x, y), (x_validation, y_validation), epochs=30)       build(params, rng) makes a model
    result = search(objective, space, trials=40, storage="study.log", processes=2)
    print(result.table()); result.best

    space.py          what may be chosen: Real, Whole, Choice
    study.py          search, and what an objective sees of its trial
    result.py         what was found
    training.py       the usual objective: train a model, its best validation loss
    architecture.py   cell, layers, units, directions, dropout: a search for the network itself, TPE beside random search

Can be imported without Optuna, which is looked for when a search starts: pip install optuna.
"""

from scratchnet.search.architecture import Architecture, Comparison, compare
from scratchnet.search.result import Result
from scratchnet.search.space import Choice, Real, Space, Whole
from scratchnet.search.study import PRUNERS, SAMPLERS, Trial, search
from scratchnet.search.training import Training

__all__ = [
    "PRUNERS",
    "SAMPLERS",
    "Architecture",
    "Choice",
    "Comparison",
    "Real",
    "Result",
    "Space",
    "Training",
    "Trial",
    "Whole",
    "compare",
    "search",
]
