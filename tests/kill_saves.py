"""Kill a process that saves, at random moments, and look at what is left.

python tests/kill_saves.py KIND KILLS SEED    in an empty folder; prints "KIND: KILLS kills, LOST lost"

A child process saves two versions of a thing in turns, as fast as it can, and is killed with SIGKILL. Lost is every
time in which the file is then neither the one nor the other version, byte for byte, or cannot be loaded. "in place"
is a writer as there are many, open(path, "w"), to show that the experiment finds losses where there are some.
"""

import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import numpy as np
import optuna
import scratchnet
from matplotlib.figure import Figure
from scratchnet import files
from scratchnet.forecasting import Direct, load_forecaster
from scratchnet.forecasting.network import ForecastConfig
from scratchnet.layers import LSTM, Linear, Sequential
from scratchnet.search import search
from scratchnet.training import Adam, History, Trainer, TrainingCheckpoint, checkpoint

FILE = Path("saved.npz")


def model(seed):
    rng = np.random.default_rng(seed)
    return Sequential(rec=LSTM(3, 40, rng=rng, batch_first=True, return_sequences=False), head=Linear(40, 1, rng=rng))


def a_trace(seed):
    layer, x = LSTM(2, 16, rng=np.random.default_rng(seed)), np.random.default_rng(seed).standard_normal((20, 3, 2))
    return scratchnet.trace(layer, x, dy=np.ones((20, 3, 16)))


def forecaster(seed):
    """Another unit in each version: weights of one with the scale of the other forecast nonsense."""
    values = np.random.default_rng(seed).standard_normal((60, 1)) * 1000.0**seed
    made = Direct(ForecastConfig(epochs=1, window=5, units=24, seed=seed), 2)
    return made.fit(values)


def history(seed):
    rng = np.random.default_rng(seed)
    return History(epochs=[{"train_loss": float(rng.random()), "seconds": float(rng.random())} for _ in range(400)])


def training(seed):
    trainer = Trainer(model(seed), Adam(0.01))
    trainer.begin()
    x = np.random.default_rng(seed).standard_normal((8, 5, 3))
    for _ in range(20):
        trainer.step((x, x[:, 0, :1]), scratchnet.losses.mse)
    return trainer


def figure(seed):
    drawn = Figure(figsize=(2, 2), dpi=40)
    drawn.add_subplot().plot(np.random.default_rng(seed).random(30))
    return drawn


def in_place(text):
    with open(FILE, "w") as file:
        for start in range(0, len(text), 500):
            file.write(text[start : start + 500])
            file.flush()


# kind -> what is saved, how, and how it is loaded
KINDS = {
    "trace": (a_trace, lambda t: t.save(FILE), lambda: scratchnet.load_trace(FILE)),
    "checkpoint": (model, lambda m: checkpoint.save(m, FILE), lambda: checkpoint.load(model(9), FILE)),
    "forecaster": (forecaster, lambda f: f.save("."), lambda: load_forecaster(".").predict(np.ones((9, 1)))),
    "training": (
        training,
        lambda t: TrainingCheckpoint(FILE).save(t),
        lambda: TrainingCheckpoint(FILE, resume=True).on_train_begin(training(9)),
    ),
    "history": (history, lambda h: h.to_csv(FILE), FILE.read_text),
    "page": (a_trace, lambda t: scratchnet.to_html(t, FILE), FILE.read_text),
    "figure": (figure, lambda f: files.save_figure(f, "saved.png"), lambda: None),
    "in place": (lambda seed: f"{seed}" * 5000, in_place, FILE.read_text),
}
NAMES = {"forecaster": "model.npz", "figure": "saved.png"}


def killed(work, wait):
    """Run ``work()`` in a child process and kill it after so many seconds."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the child ended by itself"


def count_losses(kind, kills, rng):
    make, save, load = KINDS[kind]
    path = Path(NAMES.get(kind, FILE))
    versions, whole, took = [make(1), make(2)], [], []
    for version in versions:
        started = time.perf_counter()
        save(version)
        took.append(time.perf_counter() - started)
        whole.append(path.read_bytes())
    assert whole[0] != whole[1]

    def work():
        while True:
            for version in versions:
                save(version)

    lost, seen = 0, set()
    for _ in range(kills):
        killed(work, rng.uniform(0, 4 * min(took) + 0.005))
        content = path.read_bytes()
        try:
            load()
            seen.add(whole.index(content))
        except Exception as error:
            lost += 1
            print(f"{kind}: {type(error).__name__}: {error}", file=sys.stderr)
            save(versions[0])
    return lost, seen


def count_lost_trials(kills, rng):
    """A trial that was told to the journal, and acknowledged, is there afterwards; all others end as failed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, lost = {"a": optuna.distributions.FloatDistribution(0, 1)}, 0
    for kill in range(kills):
        path, told = Path(f"study{kill}.log"), Path(f"told{kill}")

        def work(path=path, told=told):
            def objective(params, trial):
                with told.open("a") as file:  # the trials before this one are over
                    file.write(f"{trial.number}\n")
                return params["a"]

            search(objective, space, trials=10**6, storage=path, sampler="random")

        killed(work, rng.uniform(0.005, 0.08))
        begun = [int(line) for line in told.read_text().splitlines()] if told.exists() else []
        try:
            warnings.simplefilter("ignore")  # a line that was cut short
            study = search(lambda params, trial: params["a"], space, trials=1, storage=path)
            over = {t.number for t in study.trials if t.state.name == "COMPLETE"}
            lost += not {*begun[:-1]} <= over
        except Exception as error:
            lost += 1
            print(f"journal: {type(error).__name__}: {error}", file=sys.stderr)
    return lost, {0, 1}


def count_failed_loads(loads):
    """Two processes save to one path while this one loads."""
    versions = [model(1), model(2)]
    checkpoint.save(versions[0], FILE)
    writers = []
    for version in versions:
        child = os.fork()
        if child == 0:
            while True:
                checkpoint.save(version, FILE)
        writers.append(child)
    failed, target, seen = 0, model(9), set()
    for _ in range(loads):
        try:
            checkpoint.load(target, FILE)
            same = [np.array_equal(target.params["rec.W_h_l0"], v.params["rec.W_h_l0"]) for v in versions]
            seen.add(same.index(True))
        except Exception as error:
            failed += 1
            print(f"load: {type(error).__name__}: {error}", file=sys.stderr)
    for child in writers:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return failed, seen


def main(kind, count, seed):
    rng = random.Random(int(seed))
    if kind == "two writers":
        lost, seen = count_failed_loads(int(count))
        print(f"two writers: {count} loads, {lost} failed, {len(seen)} versions seen")
    else:
        lost, seen = count_lost_trials(int(count), rng) if kind == "journal" else count_losses(kind, int(count), rng)
        print(f"{kind}: {count} kills, {lost} lost, {len(seen)} versions seen")


if __name__ == "__main__":
    main(*sys.argv[1:])
