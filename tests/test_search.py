"""The search for hyperparameters: it optimises, prunes, goes on, is shared by processes, and says what is wrong."""

import csv
import fcntl
import json
import math
import os
import platform
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scratchnet import search as search_module
from scratchnet.losses import mse
from scratchnet.models import mlp
from scratchnet.search import (
    THREADS,
    Architecture,
    Training,
    best_so_far,
    compare_samplers,
    counts,
    one_thread_each,
    sampler_seed,
    search,
    table,
    write_csv,
)
from scratchnet.training import History, TrainingDiverged

ROOT = Path(__file__).parent.parent
COMPLETE = optuna.trial.TrialState.COMPLETE
BOWL = {"a": FloatDistribution(-2, 2), "n": IntDistribution(0, 6), "kind": CategoricalDistribution(["good", "bad"])}


def bowl(params, trial):
    """Smallest, 0, at a = 0.5, n = 4, kind = good."""
    return (params["a"] - 0.5) ** 2 + 0.1 * (params["n"] - 4) ** 2 + (params["kind"] == "bad")


def hill(params, trial):
    return -bowl(params, trial)


def threads_of(params, trial):
    """What a trial in a process may use: 1 everywhere, or the value is another."""
    return float(trial.threads == 1 and all(os.environ[name] == "1" for name in THREADS))


def slow_or_broken(params, trial):
    if params["a"] > 1.5:
        raise ArithmeticError("too large")
    return bowl(params, trial)


def line(n=60, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, 3)).astype(np.float32)
    return x, x @ np.array([[1.0], [-2.0], [0.5]], np.float32)


def build_mlp(params, rng):
    return mlp(3, 1, rng=rng, units=[int(units) for units in params["units"].split()])


MLP = {"units": CategoricalDistribution(["4", "16", "8 8"]), "lr": FloatDistribution(1e-5, 0.1, log=True)}
TRAINING = Training(build_mlp, line(), line(30, 1), epochs=6)


# ---- it optimises --------------------------------------------------------------------------------------------------------


def facts(study):
    """What can be repeated of each trial: its number, state, value and parameters."""
    return [(trial.number, trial.state, trial.value, trial.params) for trial in study.trials]


@pytest.mark.underflows
def test_a_bowl_is_found_and_tpe_beats_random_at_it():
    study = search(bowl, BOWL, trials=60, seed=1)
    assert study.best_params["kind"] == "good"
    assert abs(study.best_params["n"] - 4) <= 1
    assert abs(study.best_params["a"] - 0.5) < 0.3
    assert study.best_value < 0.15
    assert counts(study) == {"complete": 60}
    assert study.best_value == bowl(study.best_params, None) == best_so_far(study)[-1]
    medians = {
        sampler: np.median([search(bowl, BOWL, trials=40, seed=seed, sampler=sampler).best_value for seed in range(5)])
        for sampler in ("random", "tpe")
    }
    assert medians["tpe"] < medians["random"]


def test_the_same_seed_is_the_same_search_and_another_is_another():
    first, again, other = (search(bowl, BOWL, trials=15, seed=seed) for seed in (3, 3, 4))
    assert facts(first) == facts(again)
    assert best_so_far(first) != best_so_far(other)


def test_maximize_is_the_same_turned_around():
    down, up = search(bowl, BOWL, trials=15), search(hill, BOWL, trials=15, direction="maximize")
    assert up.best_params == down.best_params
    assert best_so_far(up) == [-value for value in best_so_far(down)]


def test_values_stay_in_their_ranges_and_choices_keep_their_type():
    space = {
        "a": FloatDistribution(1e-4, 1, log=True),
        "n": IntDistribution(2, 64, log=True),
        "units": CategoricalDistribution(["64 32", 5, None, True]),
    }
    study = search(lambda params, trial: params["a"], space, trials=40, sampler="random")
    a, n = ([trial.params[name] for trial in study.trials] for name in "an")
    assert 1e-4 <= min(a) < max(a) <= 1
    assert 0.2 < np.mean(np.array(a) < 1e-2) < 0.8  # half of them, on a log scale
    assert 2 <= min(n) < max(n) <= 64
    assert {type(v) for v in n} == {int}
    assert {repr(trial.params["units"]) for trial in study.trials} == {"'64 32'", "5", "None", "True"}


def test_trials_have_random_numbers_of_their_own():
    def drawn(params, trial):
        return trial.rng.random()

    values = [trial.value for trial in search(drawn, BOWL, trials=5, seed=2).trials]
    assert values == [float(np.random.default_rng([2, number]).random()) for number in range(5)]


# ---- pruning -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_hopeless_trials_end_early_and_are_counted(pruner):
    steps = []

    def objective(params, trial):
        history = History()
        for epoch in range(9):
            history.epochs.append({"train_loss": 0.0, "val_loss": bowl(params, trial) + 1 / (epoch + 1)})
            steps.append(trial.number)
            trial.on_epoch_end(SimpleNamespace(history=history))
        return history.epochs[-1]["val_loss"]

    study = search(objective, BOWL, trials=30, pruner=pruner, sampler="random")
    assert counts(study)["pruned"] >= 5
    assert counts(study)["complete"] >= 5
    assert sum(counts(study).values()) == len(study.trials) == len(best_so_far(study)) == 30
    for trial in study.trials:
        assert len(trial.intermediate_values) == steps.count(trial.number)
        assert (len(trial.intermediate_values) == 9) == (trial.state == COMPLETE)
    steps.clear()
    assert counts(search(objective, BOWL, trials=10, pruner="none")) == {"complete": 10}
    assert len(steps) == 90


def test_training_is_pruned_by_its_validation_curve():
    study = search(TRAINING, MLP, trials=20, seed=0)
    assert counts(study)["pruned"] >= 3
    assert study.best_params["units"] in {"4", "16", "8 8"}
    model, value = TRAINING.run(study.best_params, np.random.default_rng([0, study.best_trial.number]))
    assert value == study.best_value
    x, y = TRAINING.validation
    assert mse(model.forward(x)[0], y)[0] == pytest.approx(value)
    assert model.layers["head"].params["W"].dtype == np.float32


def test_a_trial_that_diverges_is_pruned_and_the_search_goes_on():
    wild = {**MLP, "lr": FloatDistribution(1e18, 1e20)}
    study = search(TRAINING, {**wild, "clip": CategoricalDistribution([None])}, trials=3)
    assert counts(study) == {"pruned": 3}
    assert all(math.isnan(value) for value in best_so_far(study))
    with pytest.raises(ValueError, match="No trials are completed yet"):
        study.best_params  # noqa: B018
    assert table(study).splitlines() == ["trial  value", "3 pruned"]
    assert counts(search(lambda params, trial: math.nan, BOWL, trials=2)) == {"pruned": 2}


def test_a_history_without_validation_cannot_prune():
    trainer = SimpleNamespace(history=History(epochs=[{"train_loss": 1.0}]))
    with pytest.raises(ValueError, match="the history has no val_loss"):
        search(lambda params, trial: trial.on_epoch_end(trainer), BOWL, trials=1)


def test_no_trial_begins_when_the_time_is_over():
    def objective(params, trial):
        time.sleep(0.05)
        return 0.0

    assert 1 <= len(search(objective, BOWL, trials=100, timeout=0.2).trials) < 20


# ---- a file, and going on ------------------------------------------------------------------------------------------------


def test_goes_on_where_it_was(tmp_path):
    file = tmp_path / "study.log"
    first = search(bowl, BOWL, trials=8, storage=file).trials
    ran = []

    def counted(params, trial):
        ran.append(trial.number)
        return bowl(params, trial)

    second = search(counted, BOWL, trials=20, storage=file)
    assert ran == list(range(8, 20))
    assert second.trials[:8] == first
    assert len({trial.params["a"] for trial in second.trials}) == 20  # and not the same draws again
    assert search(counted, BOWL, trials=20, storage=file).trials == second.trials
    assert len(ran) == 12
    assert len(search(bowl, BOWL, trials=3, storage=file, name="another").trials) == 3


def test_goes_on_after_an_exception(tmp_path):
    file = tmp_path / "study.log"

    def objective(params, trial):
        if trial.number == 3:
            raise KeyboardInterrupt
        return bowl(params, trial)

    with pytest.raises(KeyboardInterrupt):
        search(objective, BOWL, trials=6, storage=file)
    assert counts(search(bowl, BOWL, trials=6, storage=file)) == {"complete": 5, "fail": 1}
    with pytest.raises(ArithmeticError, match="too large"):
        search(slow_or_broken, {**BOWL, "a": FloatDistribution(1.6, 2)}, trials=1)


def test_another_space_in_the_same_file_is_refused(tmp_path):
    file = tmp_path / "study.log"
    search(bowl, BOWL, trials=2, storage=file)
    with pytest.raises(
        ValueError, match=r"study 'search' in .* has .*low=-2.0.* and not .*low=-1.0.*: take another name"
    ):
        search(bowl, {**BOWL, "a": FloatDistribution(-1, 2)}, trials=4, storage=file)


def test_the_sampler_of_each_process_and_each_time_is_another():
    seeds = [sampler_seed(seed, done, worker) for seed in (0, 1) for done in (0, 5) for worker in (0, 1)]
    assert len(set(seeds)) == 8
    assert sampler_seed(1, 5, 0) == seeds[6]


def test_a_journal_that_was_cut_short_is_repaired(tmp_path, monkeypatch):
    """At every byte of its last events: a whole line fewer, or a line that is dropped with a warning."""
    monkeypatch.setattr(search_module, "SILENT", -1)  # a trial that was cut before it named its process is lost, too
    file = tmp_path / "study.log"
    first = [trial.params for trial in search(bowl, BOWL, trials=4, storage=file).trials[:3]]
    whole = file.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(ends[-4], len(whole)):
        file.write_bytes(whole[:size])
        if size in ends:
            study = search(bowl, BOWL, trials=5, storage=file)
        else:
            with pytest.warns(UserWarning, match=r"study\.log was cut short: its last line, of \d+ bytes, is dropped"):
                study = search(bowl, BOWL, trials=5, storage=file)
        found = counts(study)
        assert found.get("running", 0) == 0
        assert sum(found.values()) == 5
        assert found["complete"] >= 4
        assert [trial.params for trial in study.trials[:3]] == first
        for line in file.read_bytes().splitlines():
            json.loads(line)


@pytest.mark.parametrize(
    "text",
    [
        "a shopping list",
        "a shopping list\n",
        '{"op_code": 99}\n',
        '{"op_code": 4}\n',
        '{"op_code": null}\n',
        "[" * 100_000,
        "[1]\n",
        "1\n",
        "\n",
        "\0\0",
    ],
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(text, tmp_path):
    file = tmp_path / "study.log"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"study\.log is damaged, or not the journal of a search"):
        search(bowl, BOWL, trials=1, storage=file)
    assert file.read_text() == text


def test_a_journal_that_is_damaged_within_is_refused(tmp_path):
    file = tmp_path / "study.log"
    search(bowl, BOWL, trials=3, storage=file)
    whole = file.read_bytes()
    middle = whole.index(b"\n", len(whole) // 2)
    file.write_bytes(whole[: middle - 9] + whole[middle:])
    with pytest.raises(ValueError, match=r"study\.log is damaged, .*: line \d+ is b'.*; restore a copy"):
        search(bowl, BOWL, trials=4, storage=file)


DIES = """
import sys
from test_search import *
def dies(params, trial):
    if trial.number == 2:
        os.kill(os.getpid(), 9)
    return bowl(params, trial)
search(dies, BOWL, trials=6, storage=sys.argv[1])
"""


def test_a_search_that_was_killed_goes_on_at_once(tmp_path):
    """The trial that it was at is failed, and no lock is waited for."""
    file = tmp_path / "study.log"
    folders = [str(ROOT / "tests"), *map(str, sys.path)]
    killed = subprocess.run(
        [sys.executable, "-c", DIES, str(file)], env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)}, check=False
    )
    assert killed.returncode == -9
    started = time.monotonic()
    study = search(bowl, BOWL, trials=6, storage=file)
    assert time.monotonic() - started < 10  # Optuna's own lock would be waited for 30 seconds
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "FAIL", *["COMPLETE"] * 3]


def test_a_lock_ends_with_its_holder_and_is_exclusive(tmp_path):
    file = tmp_path / "study.log"
    file.write_bytes(b"")
    program = (
        "import sys, time; from scratchnet.search import JournalLock\n"
        "lock = JournalLock(sys.argv[1]); lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as holder:
        holder.stdout.readline()
        with file.open("rb") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder.kill()
        holder.wait()
        lock = search_module.JournalLock(str(file))
        assert lock.acquire()
        lock.release()


def test_running_trials_of_others_are_left_alone(tmp_path):
    """Of another machine, of a process that lives, or just begun; not those that are lost."""
    file = tmp_path / "study.log"
    study = search(bowl, BOWL, trials=1, storage=file)
    here = platform.node()
    for process, host in ((os.getppid(), here), (1, "elsewhere"), (None, None), (os.getpid(), here), (2**22 + 9, here)):
        trial = study.ask(BOWL)
        if host is not None:
            trial.set_user_attr("process", process)
            trial.set_user_attr("host", host)
    states = [trial.state.name for trial in search(bowl, BOWL, trials=3, storage=file).trials]
    assert states == ["COMPLETE", "RUNNING", "RUNNING", "RUNNING", "FAIL", "FAIL"]


def test_a_trial_that_diverges_is_failed_and_the_search_goes_on():
    def diverges(params, trial):
        if trial.number == 1:
            raise TrainingDiverged("the loss is nan", 3, "head.b")
        return bowl(params, trial)

    assert [t.state.name for t in search(diverges, BOWL, trials=3).trials] == ["COMPLETE", "FAIL", "COMPLETE"]


# ---- several processes ---------------------------------------------------------------------------------------------------


def test_two_processes_share_a_study(tmp_path):
    file = tmp_path / "study.log"
    assert len(search(bowl, BOWL, trials=2, storage=file).trials) == 2
    study = search(bowl, BOWL, trials=9, storage=file, processes=2)
    assert [trial.number for trial in study.trials] == list(range(9))
    assert counts(study) == {"complete": 9}
    processes = [trial.user_attrs["process"] for trial in study.trials]
    assert processes[:2] == [os.getpid()] * 2
    assert len(set(processes[2:])) == 2
    assert os.getpid() not in processes[2:]
    assert sorted(processes.count(p) for p in set(processes[2:])) == [3, 4]
    assert len({trial.params["a"] for trial in study.trials}) == 9


def test_processes_have_one_thread_each_and_need_no_file():
    before = {name: os.environ.get(name) for name in THREADS}
    study = search(threads_of, {"a": FloatDistribution(0, 1)}, trials=2, processes=2)
    assert [trial.value for trial in study.trials] == [1.0, 1.0]
    assert study.best_value == 1.0
    assert {name: os.environ.get(name) for name in THREADS} == before
    with one_thread_each():
        assert {os.environ[name] for name in THREADS} == {"1"}
    assert {name: os.environ.get(name) for name in THREADS} == before


def killed_once(began, params, trial):
    """The fourth trial kills its process, as soon as the other one is at a long trial."""
    if trial.number == 3:
        until = time.monotonic() + 60
        while not began.exists() and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(os.getpid(), 9)
    if trial.number == 4:
        began.touch()
        time.sleep(60)
    return bowl(params, trial)


def test_a_worker_that_is_killed_costs_its_trial_and_the_others_and_no_more(tmp_path):
    file, began = tmp_path / "study.log", tmp_path / "began"
    with pytest.warns(UserWarning, match=r"a process of the search was killed: trials \[3, 4\] are marked as failed"):
        study = search(partial(killed_once, began), BOWL, trials=8, storage=file, processes=2)
    assert time.time() - began.stat().st_mtime < 45  # neither trial 4 nor its lock was waited for
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE"] * 3 + ["FAIL"] * 2 + ["COMPLETE"] * 3


def test_what_an_objective_raises_in_a_process_arrives():
    with pytest.raises(ArithmeticError, match="too large"):
        search(slow_or_broken, {**BOWL, "a": FloatDistribution(1.6, 2)}, trials=2, processes=2)


def test_an_objective_that_cannot_be_sent_is_refused():
    with pytest.raises(
        ValueError, match=r"the objective cannot be sent to another process .* at the top of a module; or processes=1"
    ):
        search(lambda params, trial: 0.0, BOWL, trials=2, processes=2)


# ---- the network itself --------------------------------------------------------------------------------------------------


def sequences(n, seed):
    x = np.random.default_rng(seed).standard_normal((n, 5, 1)).astype(np.float32)
    return x, x[:, -1] - x[:, 0]


def test_architecture_search_beside_random_search_with_the_same_budget(monkeypatch):
    epochs, reported = [], []
    objective = Training(Architecture(1, 1, engine="array"), sequences(40, 0), sequences(20, 1), epochs=4)
    run = Training.run
    monkeypatch.setattr(
        Training,
        "run",
        lambda self, params, *args: epochs.append(self.epochs) or reported.append(params) or run(self, params, *args),
    )
    found = compare_samplers(objective, Architecture.space(), trials=8, seeds=(0, 1), startup=2)
    assert epochs == [4] * 32  # two samplers, two seeds, eight trials of four epochs
    for sampler in ("random", "tpe"):
        curves = found.curves(sampler)
        assert curves.shape == (2, 8)
        assert (np.diff(curves, axis=1) <= 0).all()
        for study in found.studies[sampler]:
            assert counts(study) == {"complete": 8}  # and none was ended early
            assert {len(trial.intermediate_values) for trial in study.trials} == {4}
        assert curves[0].tolist() != curves[1].tolist()
        alone = search(objective, Architecture.space(), trials=8, seed=1, sampler=sampler, pruner="none", startup=2)
        assert best_so_far(alone) == curves[1].tolist()
    table = found.table().splitlines()
    assert [line.split()[:2] for line in table[1:]] == [[s, n] for n in "248" for s in ("random", "tpe")]
    assert float(table[-1].split()[2]) == pytest.approx(np.median(found.curves("tpe")[:, -1]), rel=1e-3)
    assert len({params["cell"] for params in reported}) >= 2


def test_the_architecture_is_the_one_asked_for(rng):
    params = {
        "cell": "gru",
        "num_layers": 2,
        "units": 7,
        "bidirectional": True,
        "dropout": 0.25,
        "lr": 0.1,
        "batch_size": 8,
    }
    rec = Architecture(3, 2)(params, rng).layers["rec"]
    assert (rec.cell_name, rec.num_layers, rec.hidden_size, rec.bidirectional, rec.dropout) == ("gru", 2, 7, True, 0.25)
    assert rec.input_size == 3


def test_the_threads_of_a_trial_reach_every_recurrent_layer():
    objective = Training(Architecture(1, 1, engine="array"), sequences(8, 0), sequences(8, 1), epochs=1)
    for threads in (1, None):
        model, _ = objective.run({"units": 4}, np.random.default_rng(0), threads)
        assert model.layers["rec"].threads == threads


def test_training_options_in_the_space_are_used(monkeypatch):
    seen = {}
    fit = search_module.fit

    def watched(model, data, optimizer, **options):
        seen.update(lr=optimizer.lr, weight_decay=optimizer.weight_decay, batch_size=data.batch_size)
        seen["clip"] = options["callbacks"][0].limit
        return fit(model, data, optimizer, **options)

    monkeypatch.setattr(search_module, "fit", watched)
    TRAINING.run({"units": "4"}, np.random.default_rng(0))
    assert (seen["lr"], seen["weight_decay"], seen["batch_size"], seen["clip"]) == (0.005, 0.01, 32, 1.0)
    TRAINING.run({"units": "4", "lr": 0.1, "weight_decay": 0.5, "batch_size": 7, "clip": 2.0}, np.random.default_rng(0))
    assert (seen["lr"], seen["weight_decay"], seen["batch_size"], seen["clip"]) == (0.1, 0.5, 7, 2.0)


# ---- the result, and what is wrong ---------------------------------------------------------------------------------------


def test_table_and_csv(tmp_path):
    study = search(bowl, BOWL, trials=12)
    lines = table(study, 3).splitlines()
    assert lines[0].split() == ["trial", "value", "a", "n", "kind"]
    assert lines[1].split()[0] == str(study.best_trial.number)
    assert len(lines) == 5
    assert lines[-1] == "12 complete"
    write_csv(study, tmp_path / "trials.csv")
    with open(tmp_path / "trials.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["value"]) for row in rows] == [trial.value for trial in study.trials]
    assert rows[0]["kind"] == study.trials[0].params["kind"]


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: search(bowl, {}, trials=1), ValueError, r"space is \{\}: expected a dict such as"),
        (
            lambda: search(bowl, {"a": (0, 1)}, trials=1),
            TypeError,
            r"space\['a'\] is \(0, 1\): expected one of optuna.distributions",
        ),
        (lambda: search(bowl, BOWL, trials=0), ValueError, "trials is 0"),
        (lambda: search(bowl, BOWL, trials=2, processes=0), ValueError, "processes is 0"),
        (
            lambda: search(bowl, BOWL, trials=2, sampler="grid"),
            ValueError,
            "sampler is 'grid': expected one of tpe, random",
        ),
        (
            lambda: search(bowl, BOWL, trials=2, pruner="mean"),
            ValueError,
            "pruner is 'mean': expected one of none, median, hyperband",
        ),
        (
            lambda: search(bowl, BOWL, trials=2, direction="up"),
            ValueError,
            "direction is 'up': expected one of minimize, maximize",
        ),
    ],
)
def test_bad_spaces_and_arguments_get_a_sentence(make, kind, words):
    with pytest.raises(kind, match=words):
        make()


def test_imports_without_optuna_and_says_what_to_install():
    program = (
        "import sys; sys.modules['optuna'] = None\nfrom scratchnet.search import search\n"
        "print('imported')\nsearch(lambda params, trial: 0.0, {'a': None}, trials=1)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout == "imported\n"
    assert "Optuna is not installed: pip install optuna" in done.stderr


def test_optunas_own_log_is_as_it_was_before(capfd):
    before = optuna.logging.get_verbosity()
    search(bowl, BOWL, trials=2)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr().err == ""
