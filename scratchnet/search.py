"""Hyperparameter search with Optuna: what Optuna leaves to its users.

    space = {"units": IntDistribution(4, 64, log=True), "lr": FloatDistribution(1e-3, 3e-2)}
    objective = Training(build, (x, y), (x_validation, y_validation), epochs=30)
    study = search(objective, space, trials=40, storage="study.log", processes=2)
    print(table(study)); study.best_params

Spaces are Optuna's distributions and a search returns Optuna's study. Added are an objective that
trains a model and is pruned by its validation loss, storage in a file that a search goes on from,
several processes on one study, random numbers that depend on the seed and the trial alone, and
``compare_samplers``: TPE beside random search. Optuna is imported when a search starts.
"""

import csv
import json
import math
import os
import pickle
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import KW_ONLY, dataclass, replace
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any

import numpy as np

from scratchnet import files
from scratchnet.arrays import Array, require_count
from scratchnet.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingPackageError,
    NotFiniteError,
    ScratchnetError,
    UnavailableError,
)
from scratchnet.layers import Layer
from scratchnet.losses import mse
from scratchnet.models import recurrent
from scratchnet.training import Callback, TrainConfig, TrainingDiverged, fit
from scratchnet.training.checks import recurrent_layers
from scratchnet.training.config import options
from scratchnet.training.samples import Inputs, parts
from scratchnet.training.trainer import Loss

if sys.platform != "win32":
    import fcntl

LINE = b'{"op_code":'  # how each line of a journal begins
SILENT = 60.0  # seconds after which a trial that no process has claimed is lost
CHOICES = {
    "sampler": ("tpe", "random"),
    "pruner": ("none", "median", "hyperband"),
    "direction": ("minimize", "maximize"),
}
THREADS = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
Space = Mapping[str, Any]  # name -> one of optuna.distributions
Study = Any  # optuna.Study


@dataclass
class Trial(Callback):
    """One trial, as an objective sees it; as a callback of ``fit`` it reports validation losses."""

    number: int
    seed: int  # of the search
    threads: int | None  # that the trial may use: 1 where several processes share the machine
    of: Any  # Optuna's trial

    @property
    def rng(self) -> np.random.Generator:
        """The same for the same seed and number, whichever process it runs in."""
        return np.random.default_rng([self.seed, self.number])

    def report(self, value: float, step: int) -> None:
        """An intermediate value; raises optuna.TrialPruned where the pruner ends the trial."""
        self.of.report(value, step)
        if self.of.should_prune():
            raise load_optuna().TrialPruned

    def on_epoch_end(self, trainer: Any) -> None:
        """Report the validation loss; ValueError where there is none."""
        epochs = trainer.history.epochs
        if "val_loss" not in epochs[-1]:
            raise InvalidValueError(
                "the history has no val_loss: trials are compared by it, give fit a validation set"
            )
        self.report(epochs[-1]["val_loss"], len(epochs) - 1)


Objective = Callable[[dict[str, Any], Trial], float]


def search(
    objective: Objective,
    space: Space,
    *,
    trials: int,
    seed: int = 0,
    sampler: str = "tpe",
    pruner: str = "median",
    direction: str = "minimize",
    startup: int = 10,
    storage: str | Path | None = None,
    name: str = "search",
    processes: int = 1,
    timeout: float | None = None,
) -> Study:
    """Search ``space`` for the parameters at which ``objective(params, trial)`` is best.

    Parameters
    ----------
    objective : returns a number; not finite counts as pruned, and a raised NotFiniteError, such as
        TrainingDiverged, as failed
    space : name -> Optuna distribution
    trials : how many the study is to have in all; the same call goes on after an interruption.
        Trials that a killed process was at are marked as failed, and count
    seed : of the sampler and of each trial's random numbers
    sampler : "tpe", whose first ``startup`` trials are random, or "random"
    pruner : "median" or "hyperband" end a trial by its reports (``callbacks=[trial]``), or "none"
    direction : "minimize" or "maximize"
    storage, name : file of the study, and the study's name in it (None: in memory)
    processes : share the trials, each with one thread; the objective must be defined in a module,
        and a program needs ``if __name__ == "__main__":``. The draws then depend on which trials
        were over, so the result cannot be repeated to the last digit.
    timeout : seconds after which no trial begins

    Returns
    -------
    optuna.Study

    Raises
    ------
    ValueError, TypeError
        For bad arguments, a damaged file, a study with another space, an objective that cannot be
        sent to a process; and what the objective raises, except TrialPruned and NotFiniteError.
    ImportError
        Where Optuna is not installed.

    References
    ----------
    Bergstra et al. 2011 (TPE); Li et al. 2018 (Hyperband).
    """
    check_space(space)
    require_count("trials", trials)
    require_count("processes", processes)
    given = {"sampler": sampler, "pruner": pruner, "direction": direction}
    for what, value in given.items():
        if value not in CHOICES[what]:
            known = ", ".join(CHOICES[what])
            raise InvalidValueError(f"{what} is {value!r}: expected one of {known}")
    if processes > 1:
        _check_pickles(objective)
    alone = storage is None and processes > 1
    with tempfile.TemporaryDirectory() if alone else nullcontext() as folder:
        file = Path(folder, "study.log") if folder else storage
        path = None if file is None else str(file)
        threads = 1 if processes > 1 else None
        job = Job(objective, dict(space), seed, startup, name, path, threads, **given)
        study = job.study()
        _check_same(study, job)
        _mark_lost(study)
        done = _finished(study)
        if processes == 1:
            job.run(max(0, trials - done), done, 0, timeout, study)
        else:
            _run_processes(job, study, trials, processes, timeout)
        if alone:  # the file is about to go
            trials_found = study.trials
            study = replace(job, path=None).study()
            study.add_trials(trials_found)
    return study


@dataclass(frozen=True)
class Job:
    """What a process needs to take part: all of it can be pickled if the objective can."""

    objective: Objective
    space: Space
    seed: int
    startup: int
    name: str
    path: str | None
    threads: int | None
    sampler: str
    pruner: str
    direction: str

    def study(self) -> Study:
        """The study, made or opened."""
        optuna = load_optuna()
        pruners = {
            "none": optuna.pruners.NopPruner,
            "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
            "hyperband": optuna.pruners.HyperbandPruner,
        }
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            return optuna.create_study(
                storage=None if self.path is None else _journal(self.path),
                study_name=self.name,
                load_if_exists=True,
                pruner=pruners[self.pruner](),
                direction=self.direction,
            )
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            if self.path is None or isinstance(error, ScratchnetError):
                raise
            raise InvalidValueError(
                f"{self.path} is damaged, or not the journal of a search ({error!r}): restore a"
                " copy, or take another storage="
            ) from error
        finally:
            optuna.logging.set_verbosity(verbosity)

    def run(
        self, trials: int, done: int, worker: int, timeout: float | None, study: Study = None
    ) -> None:
        """So many trials, after the ``done`` that were there when the search began."""
        study = self.study() if study is None else study
        samplers, seed = load_optuna().samplers, sampler_seed(self.seed, done, worker)
        study.sampler = (
            samplers.RandomSampler(seed=seed)
            if self.sampler == "random"
            else samplers.TPESampler(seed=seed, n_startup_trials=self.startup)
        )
        end = math.inf if timeout is None else time.monotonic() + timeout
        for _ in range(trials):
            if time.monotonic() >= end:
                return
            self._run_one(study)

    def _run_one(self, study: Study) -> None:
        optuna = load_optuna()
        states = optuna.trial.TrialState
        trial = study.ask(self.space)
        trial.set_user_attr("process", os.getpid())
        trial.set_user_attr("host", platform.node())
        try:
            seen = Trial(trial.number, self.seed, self.threads, trial)
            value = float(self.objective(trial.params, seen))
        except optuna.TrialPruned:
            study.tell(trial, state=states.PRUNED)
        except NotFiniteError:  # as bad as parameters can be, and no reason to stop
            study.tell(trial, state=states.FAIL)
        except BaseException:  # Ctrl-C too
            study.tell(trial, state=states.FAIL)
            raise
        else:
            if math.isfinite(value):
                study.tell(trial, value)
            else:
                study.tell(trial, state=states.PRUNED)


def sampler_seed(seed: int, done: int, worker: int) -> int:
    """Another one for each process, and for each time that a study is gone on with: else the same
    parameters would be drawn again."""
    return int(np.random.SeedSequence([seed, done, worker]).generate_state(1)[0])


def _run_processes(
    job: Job, study: Study, trials: int, processes: int, timeout: float | None
) -> None:
    """Run the trials that are missing. Where a process was killed, what it and the others were at
    is marked as failed, and new processes do the rest."""
    end = math.inf if timeout is None else time.monotonic() + timeout
    while (left := trials - (done := _finished(study))) > 0 and time.monotonic() < end:
        count = min(processes, left)
        shares = [left // count + (k < left % count) for k in range(count)]
        rest = None if timeout is None else end - time.monotonic()
        context = get_context("spawn")
        try:
            with one_thread_each(), ProcessPoolExecutor(count, mp_context=context) as pool:
                running = [
                    pool.submit(job.run, share, done, worker, rest)
                    for worker, share in enumerate(shares)
                ]
                # submit wakes the pool's watch before it starts a process, so the last one would
                # die unseen until another ends; this call starts none, and lets all be watched
                pool.submit(int)
                for future in running:
                    future.result()
            return
        except BrokenProcessPool:
            lost = _mark_lost(study)
            if not lost and _finished(study) == done:
                raise UnavailableError(
                    "a process of the search ended before its first trial: does the program that"
                    ' calls search have  if __name__ == "__main__":  ?'
                ) from None
            warnings.warn(
                f"a process of the search was killed: trials {lost} are marked as failed, and the"
                " search goes on",
                stacklevel=3,
            )


def _finished(study: Study) -> int:
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def _mark_lost(study: Study) -> list[int]:
    """Mark as failed the trials that are running in no process any more; returns their numbers.

    A trial of another machine is left alone: nothing here knows whether that one still runs.
    """
    states, lost = load_optuna().trial.TrialState, []
    for trial in study.get_trials(deepcopy=False, states=[states.RUNNING]):
        process, host = trial.user_attrs.get("process"), trial.user_attrs.get("host")
        # killed before it could say who it was, or begun by an older version
        unknown = process is None or host is None
        if (host == platform.node() and not _is_running(process)) or (unknown and _is_old(trial)):
            study.tell(trial.number, state=states.FAIL)
            lost.append(trial.number)
    return lost


def _is_running(process: int) -> bool:
    if sys.platform == "win32":  # there os.kill would end it
        return True
    if process == os.getpid():  # a search has no running trial when it begins
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's process
        return True
    return True


def _is_old(trial: Any) -> bool:
    begun = trial.datetime_start
    return begun is None or (datetime.now() - begun).total_seconds() > SILENT


@contextmanager
def one_thread_each() -> Iterator[None]:
    """While inside, processes that are started use one thread for BLAS and Numba."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def load_optuna() -> Any:
    """The package; ImportError, with the command that installs it, where it is missing."""
    try:
        import optuna
    except ImportError:
        raise MissingPackageError("Optuna is not installed: pip install optuna") from None
    return optuna


def _journal(path: str) -> Any:
    """A file that only grows, a line for each event, which several processes may write to.

    ValueError where it holds anything else; a last line that was cut short is dropped.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    files.require_folder(path)
    if sys.platform == "win32":  # Optuna's other lock needs rights on Windows that few have
        lock: Any = JournalFileOpenLock(path)
    else:
        lock = JournalLock(path)
    if os.path.exists(path):
        _check_journal(path)
    return JournalStorage(JournalFileBackend(path, lock_obj=lock))


def _check_journal(path: str) -> None:
    """ValueError unless each line of the file is one of a journal; the last may be cut short."""
    with open(path, "rb") as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_SH)  # nobody is just writing
        for number, line in enumerate(file, 1):
            try:
                known = "op_code" in json.loads(line)
            except (ValueError, TypeError, RecursionError):
                known = line[: len(LINE)] == LINE[: len(line)] and not line.endswith(b"\n")
            if not known:
                raise InvalidValueError(
                    f"{path} is damaged, or not the journal of a search: line {number} is"
                    f" {line[:40]!r}; restore a copy, or take another storage="
                )


class JournalLock:
    """One process at a time appends to the journal: the system's lock on the file itself, which
    ends with the process that holds it.

    Optuna's own lock is a file that a killed process leaves, and others wait 30 seconds for.
    """

    def __init__(self, path: str) -> None:
        self.path, self.file = path, list[IO[bytes]]()

    def acquire(self) -> bool:
        """Wait for the lock, and drop what a process that was killed, or a full disk, has left of
        a line: the next one would be appended to it."""
        file = open(self.path, "r+b")  # noqa: SIM115  # open as long as the lock is held
        self.file.append(file)
        fcntl.flock(file, fcntl.LOCK_EX)
        size = whole = file.seek(0, os.SEEK_END)
        while whole > 0:
            file.seek(whole - 1)
            if file.read(1) == b"\n":
                break
            whole -= 1
        if whole < size:
            warnings.warn(
                f"{self.path} was cut short: its last line, of {size - whole} bytes, is dropped",
                stacklevel=4,
            )
            file.truncate(whole)
        return True

    def release(self) -> None:
        """Give the lock back."""
        self.file.pop().close()


def check_space(space: Space) -> None:
    """ValueError or TypeError unless it is a dict of distributions by name, and not empty."""
    if not isinstance(space, Mapping) or not space:
        raise InvalidValueError(
            f"space is {space!r}: expected a dict such as {{'lr': FloatDistribution(1e-3, 1e-1)}}"
        )
    for name, known in space.items():
        if not isinstance(known, load_optuna().distributions.BaseDistribution):
            raise InvalidTypeError(
                f"space[{name!r}] is {known!r}: expected one of optuna.distributions"
            )


def _check_same(study: Study, job: Job) -> None:
    """ValueError where the study in the file has another space or direction: their trials would not
    compare."""
    space = {name: repr(known) for name, known in job.space.items()}
    now = {"space": space, "direction": job.direction}
    before = study.user_attrs.get("search")
    if before is None:
        study.set_user_attr("search", now)
    elif before != now:
        raise InvalidValueError(
            f"study {job.name!r} in {job.path} has {before} and not {now}: take another name= or"
            " storage="
        )


def _check_pickles(objective: Objective) -> None:
    try:
        pickle.dumps(objective)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        reason = f"the objective cannot be sent to another process ({error})"
        raise InvalidValueError(
            f"{reason}: define it, and what it holds, at the top of a module; or processes=1"
        ) from None


def counts(study: Study) -> dict[str, int]:
    """State ("complete", "pruned", "fail", "running") -> how many trials."""
    return dict(Counter(trial.state.name.lower() for trial in study.get_trials(deepcopy=False)))


def best_so_far(study: Study) -> list[float]:
    """The best value after each finished trial; NaN until one was completed."""
    better = min if study.direction.name == "MINIMIZE" else max
    curve, best = [], math.nan
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name == "COMPLETE":
            best = trial.value if math.isnan(best) else better(best, trial.value)
        if trial.state.is_finished():
            curve.append(best)
    return curve


def table(study: Study, rows: int = 10) -> str:
    """The best completed trials, a line each, and how many there were of each state."""
    done = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    done.sort(key=lambda trial: trial.value, reverse=study.direction.name == "MAXIMIZE")
    shown = [["trial", "value", *(done[0].params if done else ())]]
    for trial in done[:rows]:
        values = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in trial.params.values())
        shown.append([str(trial.number), f"{trial.value:.4g}", *values])
    widths = [max(map(len, column)) for column in zip(*shown)]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(line, widths)) for line in shown]
    return "\n".join([*lines, ", ".join(f"{n} {state}" for state, n in counts(study).items())])


def write_csv(study: Study, path: str | Path) -> None:
    """Write all trials, a line each with a header (``study.trials_dataframe`` needs pandas)."""
    trials = study.get_trials(deepcopy=False)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    with files.replace(path, text=True) as file:
        writer = csv.writer(file)
        writer.writerow(["number", "state", "value", "steps", "seconds", "process", *names])
        for t in trials:
            facts = [t.number, t.state.name.lower(), t.value, len(t.intermediate_values)]
            facts += [t.duration and t.duration.total_seconds(), t.user_attrs.get("process")]
            writer.writerow([*facts, *(t.params.get(name) for name in names)])


@dataclass(frozen=True)
class Training(TrainConfig):
    """The usual objective: train what ``build(params, rng)`` returns; its best validation loss.

    Parameters of the space that are named as a field of ``TrainConfig`` ("lr", "batch_size", ...)
    replace that field; ``build`` gets all parameters. A trial that diverges is counted as pruned.

    Parameters
    ----------
    build : parameters and a generator to a model
    train, validation : (x, y), samples first
    loss : as in ``fit``
    """

    build: Callable[[dict[str, Any], np.random.Generator], Layer]
    train: tuple[Inputs, Array]
    validation: tuple[Inputs, Array]
    _: KW_ONLY
    loss: Loss = mse
    epochs: int = 30

    def __call__(self, params: dict[str, Any], trial: Trial) -> float:
        """The best validation loss of a model with these parameters."""
        try:
            return self.run(params, trial.rng, trial.threads, trial)[1]
        except TrainingDiverged:
            return math.nan

    def run(
        self,
        params: dict[str, Any],
        rng: np.random.Generator,
        threads: int | None = None,
        trial: Trial | None = None,
    ) -> tuple[Layer, float]:
        """The trained model and its validation loss; also outside of a search."""
        model = self.build(params, rng).astype(parts(self.train[0])[0].dtype)
        for _, layer in recurrent_layers(model):
            layer.threads = threads
        config = self.replace(
            **{name: params[name] for name in options(Training) if name in params}
        )
        history = fit(
            model,
            config.batches(*self.train),
            config.optimizer(),
            epochs=config.epochs,
            rng=rng,
            loss=self.loss,
            validation=self.validation,
            callbacks=[*config.callbacks(), *([] if trial is None else [trial])],
            progress=False,
        )
        return model, min(history.column("val_loss"))


@dataclass(frozen=True)
class Architecture:
    """``build`` for ``Training``: a recurrent network; ``space()`` is what is searched.

    ``engine``: small networks are quickest with "array", which compiles nothing in each process.
    """

    inputs: int
    outputs: int
    engine: str = "auto"

    @staticmethod
    def space() -> Space:
        """Cell, layers, units, directions, dropout, learning rate."""
        kinds = load_optuna().distributions
        return {
            "cell": kinds.CategoricalDistribution(["rnn", "lstm", "gru"]),
            "num_layers": kinds.IntDistribution(1, 3),
            "units": kinds.IntDistribution(4, 64, log=True),
            "bidirectional": kinds.CategoricalDistribution([False, True]),
            "dropout": kinds.FloatDistribution(0.0, 0.5),
            "lr": kinds.FloatDistribution(1e-3, 3e-2, log=True),
        }

    def __call__(self, params: dict[str, Any], rng: np.random.Generator) -> Layer:
        """A model with these parameters; "lr" is for the optimiser."""
        own = {name: v for name, v in params.items() if name in self.space() and name != "lr"}
        return recurrent(self.inputs, self.outputs, rng=rng, engine=self.engine, **own)


@dataclass(frozen=True)
class Comparison:
    """Sampler -> its studies, one for each seed."""

    studies: dict[str, list[Study]]

    def curves(self, sampler: str) -> Array:
        """(seeds, trials) the best value so far."""
        return np.array([best_so_far(study) for study in self.studies[sampler]])

    def table(self) -> str:
        """The best value at a quarter, half and all of the trials: median over the seeds, smallest
        and largest."""
        trials = self.curves(next(iter(self.studies))).shape[1]
        lines = [
            f"{'best so far':<14}{'after trials':>14}{'median':>10}{'smallest':>10}{'largest':>10}"
        ]
        for at in sorted({max(1, trials // 4), max(1, trials // 2), trials}):
            for sampler in self.studies:
                values = self.curves(sampler)[:, at - 1].tolist()
                numbers = "".join(f"{f(values):>10.4g}" for f in (statistics.median, min, max))
                lines.append(f"{sampler:<14}{at:>14}{numbers}")
        return "\n".join(lines)


def compare_samplers(
    objective: Objective,
    space: Space,
    *,
    seeds: Sequence[int],
    samplers: Sequence[str] = ("random", "tpe"),
    **same: Any,
) -> Comparison:
    """Search with each sampler and each seed, the same number of trials, none of them pruned.

    Random search is a strong baseline in few dimensions (Bergstra and Bengio 2012); where the
    curves coincide, the sampler did not matter. ``same``: other arguments of ``search``.
    """

    def found(sampler: str, seed: int) -> Study:
        return search(objective, space, seed=seed, sampler=sampler, pruner="none", **same)

    return Comparison({each: [found(each, seed) for seed in seeds] for each in samplers})
