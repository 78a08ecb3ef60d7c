"""Saving and loading what a model has learned: one .npz file with an array for each parameter, nothing else in it."""

from pathlib import Path

import numpy as np

from scratchnet.arrays import require_shape
from scratchnet.layers import Layer


def save(model: Layer, path: str | Path) -> None:
    """Write every parameter under its name to ``path`` (.npz)."""
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path is {path}: expected a name that ends in .npz")
    host = {name: p.get() if hasattr(p, "get") else p for name, p in model.params.items()}
    # By way of a file beside it, so that an interrupted save leaves the old checkpoint whole.
    unfinished = path.with_suffix(".unfinished.npz")
    np.savez(unfinished, **host)
    unfinished.replace(path)


def load(model: Layer, path: str | Path) -> None:
    """Read the parameters of ``path`` into the model's own arrays, in the model's floating type.

    Raises ValueError, before anything is changed, where names or shapes are not the model's.
    """
    with np.load(path, allow_pickle=False) as file:
        saved = dict(file)
    missing, unknown = [*(model.params.keys() - saved.keys())], [*(saved.keys() - model.params.keys())]
    if missing or unknown:
        raise ValueError(f"{path} does not fit the model: missing {sorted(missing)}, not in the model {sorted(unknown)}")
    for name, p in model.params.items():
        require_shape(f"{name} in {path}", saved[name], p.shape, f"the model's {name} is {tuple(p.shape)}")
    for name, p in model.params.items():
        p[...] = np.asarray(saved[name], dtype=p.dtype, like=p)
