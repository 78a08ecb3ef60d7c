"""Saving and loading what a model has learned: one .npz file with an array for each parameter and
buffer, no more."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scratchnet.arrays import Array, is_array, require_shape, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.layers import Layer
from scratchnet.training.parameter_patterns import names_like


def save(model: Layer, path: str | Path) -> None:
    """Write every parameter and buffer under its name to ``path``. Raises ValueError unless that
    ends in .npz."""
    path = Path(path)
    if path.suffix != ".npz":
        raise InvalidValueError(f"path is {path}: expected a name that ends in .npz")
    # First to another file, so that an interrupted save leaves the old checkpoint whole.
    unfinished = path.with_suffix(".unfinished.npz")
    try:
        np.savez(
            unfinished,
            **{name: to_host(array) for name, array in (model.params | model.buffers).items()},
        )
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load(model: Layer, path: str | Path, only: str | Sequence[str] | None = None) -> None:
    """Read the parameters and buffers of ``path`` into the model's arrays, in the model's floating
    type.

    Parameters
    ----------
    model, path : what is changed, and the file that ``save`` wrote.
    only : patterns of names, "lstm.*"; the model's other parameters stay as they are, and the rest
        of the file is ignored. So a new head is put on a trained body: transfer learning.

    Raises
    ------
    ValueError : before anything is changed, where the file is not an .npz file, names or shapes
        differ from the model's, or a value is not a finite number of the model's type.
    """
    saved = read(path)
    own = model.params | model.buffers
    if only is not None:
        own = {name: own[name] for name in names_like(own, only)}
        saved = {name: array for name, array in saved.items() if name in own}
    missing, unknown = [*(own.keys() - saved.keys())], [*(saved.keys() - own.keys())]
    if missing or unknown:
        raise InvalidValueError(
            f"{path} does not fit the model: missing {sorted(missing)}, not in the model"
            f" {sorted(unknown)}"
        )
    values = {}
    for name, p in own.items():
        require_shape(
            f"{name} in {path}", saved[name], p.shape, f"the model's {name} is {tuple(p.shape)}"
        )
        values[name] = finite(f"{name} in {path}", saved[name], p.dtype)
    for name, p in own.items():
        p[...] = np.asarray(values[name], like=p)


def read(path: str | Path) -> dict[str, Array]:
    """The arrays of an .npz file by name. Raises ValueError where it holds anything else, OSError
    where there is none."""
    with Path(path).open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise InvalidValueError(f"{path} is not a checkpoint: expected a complete .npz file")
        file.seek(0)
        try:
            # No pickle: reading one may run any program.
            with np.load(file, allow_pickle=False) as archive:
                arrays = dict(archive)
        except (ValueError, zipfile.BadZipFile) as error:
            raise InvalidValueError(
                f"{path} is not a checkpoint: expected an .npz file of plain arrays, but {error}"
            ) from error
    for name, value in arrays.items():
        if not is_array(value):
            raise InvalidValueError(f"{path} is not a checkpoint: {name} in it is not an array")
    return arrays


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
