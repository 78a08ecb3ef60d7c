"""The search itself: an Optuna study, in this process or several, in memory or in a file that can
be gone on with."""

import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from scratchnet.arrays import require_count
from scratchnet.errors import InvalidValueError, MissingPackageError
from scratchnet.search.result import Result
from scratchnet.search.space import Space, check_space
from scratchnet.training import Callback

SAMPLERS = ("tpe", "random")
PRUNERS = ("none", "median", "hyperband")
DIRECTIONS = ("minimize", "maximize")
THREADS = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass
class Trial(Callback):
    """One trial, as an objective sees it: its number, its random numbers, and where it reports
    intermediate values; as a callback of ``fit`` it reports the validation loss of each epoch."""

    number: int
    seed: int  # of the search
    threads: int | None  # that the trial may use: 1 where several processes share the machine
    of: Any  # Optuna's own trial

    @property
    def rng(self) -> np.random.Generator:
        """The same for the same seed and number, whichever process it runs in."""
        return np.random.default_rng([self.seed, self.number])

    def report(self, value: float, step: int) -> None:
        """An intermediate value; raises optuna.TrialPruned where the trial is not worth going on
        with."""
        self.of.report(value, step)
        if self.of.should_prune():
            self.give_up()

    def on_epoch_end(self, trainer: Any) -> None:
        """Report the validation loss; ValueError where there is none."""
        epochs = trainer.history.epochs
        if "val_loss" not in epochs[-1]:
            raise InvalidValueError(
                "the history has no val_loss: trials are compared by it, give fit a validation set"
            )
        self.report(epochs[-1]["val_loss"], len(epochs) - 1)

    def give_up(self) -> None:
        """Raises optuna.TrialPruned: counted as pruned, and the search goes on."""
        raise load_optuna().TrialPruned


Objective = Callable[[dict[str, Any], Trial], float]


@dataclass(frozen=True)
class Job:
    """What a process needs to take part: all of it can be pickled if the objective can."""

    objective: Objective
    space: Space
    seed: int
    sampler: str
    pruner: str
    direction: str
    startup: int
    name: str
    path: str | None
    threads: int | None

    def study(self) -> Any:
        """The study, made or opened."""
        optuna = load_optuna()
        pruners = {
            "none": optuna.pruners.NopPruner,
            "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
            "hyperband": optuna.pruners.HyperbandPruner,
        }
        return optuna.create_study(
            storage=None if self.path is None else _storage(self.path),
            study_name=self.name,
            load_if_exists=True,
            pruner=pruners[self.pruner](),
            direction=self.direction,
        )

    def new_sampler(self, seed: int) -> Any:
        """What chooses the parameters of the next trial."""
        samplers = load_optuna().samplers
        if self.sampler == "random":
            return samplers.RandomSampler(seed=seed)
        return samplers.TPESampler(seed=seed, n_startup_trials=self.startup)

    def run(
        self, trials: int, done: int, worker: int, timeout: float | None, study: Any = None
    ) -> None:
        """So many trials, behind the ``done`` that were there when the search began."""
        with quiet():
            study = self.study() if study is None else study
        study.sampler = self.new_sampler(sampler_seed(self.seed, done, worker))

        def one(trial: Any) -> float:
            trial.set_user_attr("process", os.getpid())
            params = {
                name: parameter.suggest(name, trial) for name, parameter in self.space.items()
            }
            seen = Trial(trial.number, self.seed, self.threads, trial)
            value = float(self.objective(params, seen))
            if not np.isfinite(value):
                seen.give_up()
            return value

        with quiet():
            study.optimize(one, n_trials=trials, timeout=timeout)


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
) -> Result:
    """The best parameters of ``space`` for ``objective(params, trial)``, a number that is to be
    small (or large).

    ``sampler``: "tpe" (Bergstra et al. 2011: the first ``startup`` trials at random, then where
    good ones were dense and bad ones not) or "random". ``pruner`` ends trials whose reports
    (``callbacks=[trial]``) are worse than the "median" of those before at the same step, or by
    "hyperband" (Li et al. 2018), or "none".

    ``storage``: a file. ``trials`` is how many the study is to have in all, so the same call goes
    on after an interruption, and with a larger number adds to it; ``name`` tells studies in one
    file apart. ``processes`` share them out, each with one thread a trial; then the objective must
    stand in a module, a program needs ``if __name__ == "__main__":``, and results can no longer be
    repeated to the last digit, since a trial knows those that happened to be over. ``timeout``:
    seconds, after which no trial begins.

    Raises ValueError or TypeError for bad arguments, a study that was made with another space, or
    an objective that cannot be sent to a process; ImportError without Optuna; and what the
    objective raises, except TrialPruned.
    """
    check_space(space)
    require_count("trials", trials)
    require_count("processes", processes)
    for what, value, known in (
        ("sampler", sampler, SAMPLERS),
        ("pruner", pruner, PRUNERS),
        ("direction", direction, DIRECTIONS),
    ):
        if value not in known:
            raise InvalidValueError(f"{what} is {value!r}: expected one of {', '.join(known)}")
    if processes > 1:
        _check_pickles(objective)
    load_optuna()
    shared = storage is None and processes > 1
    with tempfile.TemporaryDirectory() if shared else nullcontext(None) as folder:
        path = (
            str(Path(folder, "study.log")) if folder else None if storage is None else str(storage)
        )
        threads = 1 if processes > 1 else None
        job = Job(
            objective, dict(space), seed, sampler, pruner, direction, startup, name, path, threads
        )
        with quiet():
            study = job.study()
            _check_same(study, job)
        done = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
        left = max(0, trials - done)
        if processes == 1 and left:
            job.run(left, done, 0, timeout, study)
        elif left:
            _run_processes(job, left, done, min(processes, left), timeout)
        return Result.of(study, space)


def sampler_seed(seed: int, done: int, worker: int) -> int:
    """Another one for each process, and for each time that a study is gone on with: else the same
    would be drawn again."""
    return int(np.random.SeedSequence([seed, done, worker]).generate_state(1)[0])


def _run_processes(job: Job, left: int, done: int, processes: int, timeout: float | None) -> None:
    shares = [left // processes + (k < left % processes) for k in range(processes)]
    with one_thread_each(), ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = [
            pool.submit(job.run, share, done, worker, timeout)
            for worker, share in enumerate(shares)
        ]
        for future in running:
            future.result()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """While inside, processes that are started find in their environment that BLAS and Numba are to
    use one thread."""
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


@contextmanager
def quiet() -> Iterator[None]:
    """While inside, Optuna logs warnings only: the result says how each trial ended."""
    logging = load_optuna().logging
    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def load_optuna() -> Any:
    """The package; ImportError, with the command that installs it, where it is missing."""
    try:
        import optuna
    except ImportError:
        raise MissingPackageError("Optuna is not installed: pip install optuna") from None
    return optuna


def _storage(path: str) -> Any:
    """A journal: a file that only grows, a line for each event, which several processes may write
    to."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    # the other kind needs rights on Windows that few have
    lock = JournalFileOpenLock(path) if os.name == "nt" else None
    return JournalStorage(JournalFileBackend(path, lock_obj=lock))


def _check_same(study: Any, job: Job) -> None:
    """ValueError where the study in the file has another space or direction: their trials would not
    compare."""
    now = {
        "space": {name: repr(parameter) for name, parameter in job.space.items()},
        "direction": job.direction,
    }
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
