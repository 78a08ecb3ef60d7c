"""Saving and loading what a model has learned: one .npz file with an array for each parameter and
buffer, and the architecture that they belong to.

The architecture is in the file because equal shapes do not make equal networks: the weights of a
tanh network fit into one with relu, and there compute something else.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.files import archives
from scratchnet.files.archives import Archive
from scratchnet.layers import Layer
from scratchnet.training.parameter_patterns import names_like

FORMAT = 1  # goes up when an older library could not read the file
# Options of layers that do not change what a trained network computes
NOT_COMPUTED = {"engine", "threads", "p", "dropout", "input_dropout", "recurrent_dropout"}
NOT_COMPUTED |= {"momentum", "teacher"}
OWN = {"forward", "backward", "_run_layer"}  # the methods in which a layer says what it computes

Facts = dict[str, Any]  # names and plain values, as JSON has them


@checked
def save(model: Layer, path: str | Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write every parameter and buffer under its name to ``path``, as a whole; see
    ``files.replace``. ``facts`` are kept in the same file, for ``Archive.about``.

    Raises ValueError unless the path ends in .npz.
    """
    arrays = {name: to_host(array) for name, array in (model.params | model.buffers).items()}
    about = {"format": FORMAT, "architecture": architecture(model), **(facts or {})}
    archives.save(path, arrays, about)


@checked
def load(
    model: Layer,
    path: str | Path,
    only: str | Sequence[str] | None = None,
    *,
    any_architecture: bool = False,
) -> None:
    """Read the parameters and buffers of ``path`` into the model's arrays, in the model's floating
    type.

    Parameters
    ----------
    model, path : what is changed, and the file that ``save`` wrote.
    only : patterns of names, "lstm.*"; the model's other parameters stay as they are, and the rest
        of the file is ignored. So a new head is put on a trained body: transfer learning.
    any_architecture : load wherever names and shapes fit, also where the layers compute something
        else with these weights.

    Raises
    ------
    ValueError : before anything is changed, where the file is not an .npz file, names, shapes or
        the architecture differ from the model's, or a value is not a finite number of the model's
        type. A file of an older library has no architecture, and none is compared.
    """
    with archives.opened(path, "a checkpoint") as archive:
        fill(model, archive, only, any_architecture)


def fill(
    model: Layer,
    archive: Archive,
    only: str | Sequence[str] | None = None,
    any_architecture: bool = False,
) -> None:
    """``load`` from an open archive."""
    path, own, saved = archive.path, model.params | model.buffers, {*archive.shapes}
    if only is not None:
        own = {name: own[name] for name in names_like(own, only)}
        saved &= own.keys()
    missing, unknown = sorted(own.keys() - saved), sorted(saved - own.keys())
    if missing or unknown:
        raise InvalidValueError(
            f"{path} does not fit the model: missing {missing}, not in the model {unknown}"
        )
    for name, p in own.items():
        shape = archive.shapes[name]  # from the header: nothing is read yet
        if shape != tuple(p.shape):
            raise InvalidValueError(
                f"{name} in {path} is {shape} but the model's {name} is {tuple(p.shape)}: expected"
                f" {tuple(p.shape)}"
            )
    if not any_architecture:
        layers = {name.rpartition(".")[0] for name in own} if only is not None else None
        check_architecture(model, facts_of(archive), str(path), layers)
    values = {name: finite(f"{name} in {path}", archive[name], p.dtype) for name, p in own.items()}
    for name, p in own.items():
        p[...] = np.asarray(values[name], like=p)


def facts_of(archive: Archive) -> Facts:
    """What a checkpoint says of itself; of an older library's, nothing.  ValueError where it is
    damaged or of a newer library."""
    about = archive.about
    if about is None:
        return {}
    if not isinstance(about, dict) or not isinstance(about.get("format"), int):
        raise archive.refused("its 'about' is not one of a checkpoint")
    if about["format"] < 1:
        raise archive.refused(f"its format is {about['format']}")
    if about["format"] > FORMAT:
        raise archive.refused(
            f"it is of format {about['format']}, but this version reads up to {FORMAT}: update"
            " scratchnet"
        )
    return about


def architecture(model: Layer) -> list[tuple[str, Facts]]:
    """Name and facts of each layer in order, composites too: its kind, and the options that change
    what it computes."""
    found = [*_described(model, "")]
    return [(name, facts) for name, facts in json.loads(json.dumps(found))]


def _described(layer: Layer, name: str) -> Iterator[tuple[str, Facts]]:
    # A subclass that only builds its parent in another way, as LSTM builds Recurrent, computes the
    # same.
    kind = next(kind for kind in type(layer).__mro__ if OWN & vars(kind).keys())
    options = {
        option: value
        for option, value in vars(layer).items()
        if not option.startswith("_") and option not in NOT_COMPUTED and _is_plain(value)
    }
    yield name, {"kind": kind.__name__, **options}
    for part, inner in getattr(layer, "layers", {}).items():
        yield from _described(inner, f"{name}.{part}" if name else part)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(v) for key, v in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def check_architecture(model: Layer, about: Facts, path: str, layers: set[str] | None) -> None:
    """ValueError, naming the first difference, unless the file's architecture is the model's, or
    that of some of its layers."""
    if "architecture" not in about:
        return
    ours = architecture(model)
    try:
        theirs = [(str(name), dict(facts)) for name, facts in about["architecture"]]
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"{path} is damaged: its architecture is {error}") from None
    if layers is not None:
        ours, theirs = ([pair for pair in table if pair[0] in layers] for table in (ours, theirs))
    hint = "; any_architecture=True loads the weights all the same"
    if [name for name, _ in ours] != [name for name, _ in theirs]:
        there, here = (", ".join(name for name, _ in table if name) for table in (theirs, ours))
        raise InvalidValueError(
            f"{path} is of a model with the layers [{there}], but this one has [{here}]{hint}"
        )
    for (name, own), (_, saved) in zip(ours, theirs):
        for option in {**own, **saved}:
            if own.get(option) != saved.get(option):
                raise InvalidValueError(
                    f"{path} is of another architecture: {option} of {name or 'the model'} is"
                    f" {saved.get(option)!r} there but {own.get(option)!r} in the model{hint}"
                )


def finite(name: str, value: Array, dtype: np.dtype) -> Array:
    """value as dtype; ValueError where it is not of a floating type or not finite as dtype (1e39 is
    infinite as float32)."""
    if not np.issubdtype(value.dtype, np.floating):
        raise InvalidValueError(
            f"{name} is {value.dtype} but the model is {dtype}: expected a floating type"
        )
    with np.errstate(over="ignore"):
        converted = value.astype(dtype)
    bad = int(np.sum(~np.isfinite(converted)))
    if bad:
        raise InvalidValueError(
            f"{name} holds {bad} values that are NaN or infinite as {dtype}, of {value.size}"
        )
    return converted
