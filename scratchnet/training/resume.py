"""Going on with a training that was ended: by Ctrl-C, by a crash, or to train longer.

    fit(model, data, optimizer, epochs=100, rng=rng,
        callbacks=[schedule, EarlyStopping(9), TrainingCheckpoint("training.npz", resume=True)])

The same call, after an interruption, goes on where the file left off. The result is that of a
training that was never interrupted, bit for bit on the same machine and engine.
"""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from scratchnet.arrays import Array, is_array, require_count, to_host
from scratchnet.engines import Patience
from scratchnet.errors import InvalidValueError, ScratchnetError
from scratchnet.files import archives, require_folder
from scratchnet.files.archives import Archive, require_npz
from scratchnet.layers import Layer
from scratchnet.training import checkpoint
from scratchnet.training.optim import same_keys
from scratchnet.training.schedule import require_size
from scratchnet.training.trainer import Callback, History, Place, Trainer

ARRAY = "<array>"  # in the facts: the name of an array, in its place


class TrainingCheckpoint(Callback):
    """Save all that training needs to go on: weights, optimiser, schedules and other callbacks,
    random numbers, history, and the place, to the mini-batch.

    It saves after epochs, and where a signal ends the training. What a loss or an augmentation of
    your own remembers is not in the file, nor are the data: give the same ones again. In
    ``fit_stream``, an epoch that was interrupted is begun again.

    Parameters
    ----------
    path : the file, a name that ends in .npz; it is replaced as a whole.
    resume : go on from the file, where there is one.
    seconds : save after an epoch only where so much time has passed since the last save.
    facts : plain values that are kept in the file, for the caller; see ``facts_in``.

    Attributes
    ----------
    interrupted : whether a signal has ended the training, and its state is in the file.

    Raises
    ------
    ValueError : when training begins, where the file is damaged, or the model, optimiser, callbacks
        or number of mini-batches are not those that were saved.
    """

    order: ClassVar[int] = 2  # after all others have done their part of the epoch

    def __init__(
        self,
        path: str | Path,
        resume: bool = False,
        seconds: float = 0.0,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.path, self.resume, self.seconds = require_npz(path), resume, seconds
        self.facts = dict(facts or {})
        self.saved = -float("inf")
        self.interrupted = False

    def on_train_begin(self, trainer: Trainer) -> None:
        if not hasattr(trainer.optimizer, "load_state_dict"):
            kind = type(trainer.optimizer).__name__
            raise InvalidValueError(
                f"{kind} cannot be saved: expected an optimizer with state_dict and load_state_dict"
            )
        require_folder(self.path)
        if self.resume and os.path.exists(self.path):
            with archives.opened(self.path, "a training checkpoint") as archive:
                restore(trainer, archive)
        self.saved = time.monotonic()

    def on_epoch_end(self, trainer: Trainer) -> None:
        if time.monotonic() - self.saved >= self.seconds:
            self.save(trainer)

    def on_interrupt(self, trainer: Trainer) -> None:
        self.save(trainer)
        self.interrupted = True

    def save(self, trainer: Trainer) -> None:
        """Write the state as it is now."""
        arrays: dict[str, Array] = {}
        about = _packed({**state_of(trainer), "facts": self.facts}, "", arrays)
        archives.save(self.path, arrays, about)
        self.saved = time.monotonic()


def facts_in(path: str | Path) -> dict[str, Any]:
    """The ``facts`` that a TrainingCheckpoint was given.  ValueError where the file is none."""
    with archives.opened(path, "a training checkpoint") as archive:
        facts = checkpoint.facts_of(archive).get("facts")
        if not isinstance(facts, dict):
            raise archive.refused("there are no facts in it")
        return facts


def state_of(trainer: Trainer) -> dict[str, Any]:
    """All that changes while training, as a tree of dicts with plain values and arrays."""
    model, history = trainer.model, trainer.history
    stopped = None if trainer.interrupted is not None else history.stopped
    return {
        "format": checkpoint.FORMAT,
        "architecture": checkpoint.architecture(model),
        "model": model.params | model.buffers,
        "teacher": getattr(model, "teacher", None),
        "kinds": _kinds(trainer),
        "optimizer": trainer.optimizer.state_dict(),
        "callbacks": [callback.state_dict() for callback in trainer.callbacks],
        "trainer": trainer.state_dict(),
        "random": [rng.bit_generator.state for rng in _generators(trainer)],
        "each": trainer.each,
        "place": asdict(trainer.place),
        "array_work": Patience.done,  # "auto" goes on with the engine that it had
        "steps": _columns(history.steps),
        "epochs": _columns(history.epochs),
        "best_epoch": history.best_epoch,
        "stopped": stopped,
    }


def restore(trainer: Trainer, archive: Archive) -> None:
    """Bring a trainer, whose training has just begun, into the state in the file.  ValueError where
    they do not fit."""
    about = checkpoint.facts_of(archive)
    model = trainer.model
    own = model.params | model.buffers
    try:
        for what, ours in (("kinds", _kinds(trainer)), ("each", trainer.each)):
            if about[what] != ours:
                raise archive.refused(
                    f"it is of another training: {what} were {about[what]} and are {ours}"
                )
        checkpoint.check_architecture(model, about, str(archive.path), None)
        state = _unpacked({k: v for k, v in about.items() if k != "architecture"}, archive, own)
        if {*state["model"]} != {*own}:
            raise archive.refused("its parameters are not the model's")
        same_keys("the place", state["place"], "Place", asdict(Place()))
        place = Place(**state["place"])
        work = require_size("array_work", state.get("array_work", Patience.done))
        require_count("epoch", place.epoch, 0)
        require_count("batch", place.batch, 0)
        history = History(_rows(state["steps"]), _rows(state["epochs"]))
        trainer.optimizer.load_state_dict(state["optimizer"])
        having_state: list[Any] = [trainer, *trainer.callbacks]
        for each, saved in zip(having_state, [state["trainer"], *state["callbacks"]], strict=True):
            same_keys("the state", dict(saved.items()), type(each).__name__, each.state_dict())
            each.load_state_dict(saved)
        for rng, drawn in zip(_generators(trainer), state["random"], strict=True):
            rng.bit_generator.state = drawn
    except ScratchnetError as error:
        if str(archive.path) in str(error):
            raise
        raise archive.refused(str(error)) from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise archive.refused(f"it is damaged or of another training ({error!r})") from error
    for name, array in state["model"].items():
        own[name][...] = array
    if state["teacher"] is not None:
        model.teacher = float(state["teacher"])  # type: ignore[attr-defined]
    Patience.done = work
    trainer.place = place
    trainer.history.steps[:], trainer.history.epochs[:] = history.steps, history.epochs
    trainer.history.best_epoch, trainer.history.stopped = state["best_epoch"], state["stopped"]


def _kinds(trainer: Trainer) -> list[str]:
    """What takes part: trainer, optimiser, callbacks."""
    taking_part = [trainer, trainer.optimizer, *trainer.callbacks]
    return [type(each).__name__ for each in taking_part]


def _generators(trainer: Trainer) -> Iterator[np.random.Generator]:
    """Every generator that draws while training; one that is shared comes several times."""
    if trainer.rng is not None:
        yield trainer.rng
    for value in vars(trainer).values():
        if isinstance(value, Layer):  # the model, and a copy in half precision
            yield from _generators_of(value)


def _generators_of(value: Any) -> Iterator[np.random.Generator]:
    if isinstance(value, np.random.Generator):
        yield value
    elif isinstance(value, Layer):
        for part in vars(value).values():
            yield from _generators_of(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _generators_of(part)


def _columns(rows: list[dict[str, float]]) -> Any:
    """Rows as arrays by name, which are shorter than JSON; as they are, where they differ in names
    or are not all floats."""
    names = list(rows[0]) if rows else []
    alike = all([*row] == names for row in rows)
    if not alike or not all(type(value) is float for row in rows for value in row.values()):
        return {"rows": rows}
    return {"columns": {name: np.array([row[name] for row in rows]) for name in names}}


def _rows(table: Mapping[str, Any]) -> list[dict[str, float]]:
    if "rows" in table:
        return [dict(row) for row in table["rows"]]
    columns = {name: column.tolist() for name, column in table["columns"].items()}
    return [dict(zip(columns, values)) for values in zip(*columns.values(), strict=True)]


def _packed(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    """The tree as JSON has it; its arrays are put into ``arrays``."""
    if isinstance(value, Mapping):
        prefix = f"{name}/" if name else ""
        return {str(k): _packed(v, f"{prefix}{k}", arrays) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_packed(v, f"{name}/{k}", arrays) for k, v in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    if is_array(value):
        while name in arrays:  # names with slashes may meet
            name += "/"
        arrays[name] = to_host(value)
        return {ARRAY: name}
    return value


def _unpacked(value: Any, archive: Archive, own: Mapping[str, Array], key: str = "") -> Any:
    """The tree again. An array under a parameter's name must have its shape and type, which is
    compared before the numbers are read, and goes to its device."""
    if isinstance(value, list):
        return [_unpacked(v, archive, own) for v in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != {ARRAY}:
        return {k: _unpacked(v, archive, own, k) for k, v in value.items()}
    name, p = value[ARRAY], own.get(key)
    if p is None:
        return archive[name]
    shape, dtype = archive.shapes.get(name), archive.dtypes.get(name)
    if (shape, dtype) != (tuple(p.shape), p.dtype):
        raise archive.refused(
            f"{name} in it is {dtype} of shape {shape}, but the model's {key} is {p.dtype} of shape"
            f" {tuple(p.shape)}"
        )
    return np.asarray(archive[name], like=p)
