"""The page of a network without recurrence, an MLP: each layer, the loss and the update, as steps.

The page computes the network itself, from the parameters that it is given, and shows the library's
line beneath each number.
"""

from pathlib import Path
from typing import Any

import numpy as np

from scratchnet.arrays import Array, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.files import require_path, write_text
from scratchnet.losses import LOSSES
from scratchnet.tracing.runs import as_data
from scratchnet.view.around import quoted
from scratchnet.view.data import LAYERS, pack
from scratchnet.view.data import LOSSES as COMPUTED
from scratchnet.view.page import MOST_BYTES, assemble
from scratchnet.view.walk import PALETTE

SCRIPTS = (
    *("tools", "step", "model", "formula", "optimiser", "around", "micro", "edit"),
    *("units", "layers"),
)
KINDS = tuple(kind for kind in LAYERS if kind not in ("recurrent", "embedding"))


def layers_to_html(model: Any, x: Array, target: Array, path: str | Path, **options: Any) -> Path:
    """Write the page to ``path`` and return it; arguments as in ``layers_page``."""
    path = require_path(path)
    write_text(path, layers_page(model, x, target, **options))
    return path


def layers_page(
    model: Any,
    x: Array,
    target: Array,
    loss: str | None = None,
    *,
    title: str = "MLP",
    sample: int = 0,
) -> str:
    """The page of an MLP, as text: forwards, backwards, clipping and the optimiser's step.

    Parameters
    ----------
    model : a Sequential of linear layers, activations and dropout, which is off
    x, target : (N, D), and (N, K) or whole numbers (N,)
    loss : a name of ``losses.LOSSES``; None: the mean squared error, or softmax cross-entropy where
        the target is whole numbers
    title : for the page
    sample : the row that the page opens with

    Raises
    ------
    TypeError
        Where the model is not a layer of this library.
    ValueError
        Where the page cannot compute a layer or the loss, shapes do not fit, a number is not
        finite, or the page would be larger than two megabytes.

    Examples
    --------
    >>> from scratchnet.models import mlp
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(-1, 1, (8, 1))
    >>> page = layers_page(mlp(1, 1, units=[4], rng=rng), x, np.sin(x))
    >>> page.startswith("<!DOCTYPE html>")
    True
    """
    modules = list(as_data(model))
    for m in modules:
        if m["kind"] not in KINDS:
            raise InvalidValueError(
                f"the layer {m['name']} is of the kind {m['kind']}: the page of an MLP computes"
                f" {', '.join(KINDS)}; a model with a recurrent layer has a page by trace"
            )
    x, target = to_host(x), to_host(target)
    if x.ndim != 2 or not 0 < len(x) == len(target):
        raise InvalidValueError(
            f"x is {x.shape} and the target {target.shape}: expected rows (N, D) and one target for"
            " each"
        )
    if not 0 <= sample < len(x):
        raise InvalidValueError(f"sample is {sample}: expected 0 to {len(x) - 1}")
    whole = np.issubdtype(target.dtype, np.integer)
    name = loss or ("softmax_cross_entropy" if whole else "mse")
    if name not in COMPUTED:
        raise InvalidValueError(
            f"the page does not know the loss {name!r}: expected one of {', '.join(COMPUTED)}"
        )
    y, _ = model.forward(x)
    value, _ = LOSSES[name](y, target)  # and checks that the target fits
    if not np.isfinite(value):
        raise InvalidValueError(f"the loss is {value}: expected finite parameters and numbers")
    engine = {
        "modules": [
            {
                **m,
                "name": m["name"] or m["kind"],
                "params": {n: pack(p) for n, p in m["params"].items()},
            }
            for m in modules
        ],
        "T": 1,
        "D": x.shape[1],
        "lengths": [1] * len(x),
        "xs": [pack(row) for row in x],
        "targets": [[int(t)] if whole else pack(t) for t in target],
        "loss": name,
        "shares": [pack(np.full(1 if whole else t.size, 1 / target.size)) for t in target],
    }
    data = {
        "engine": engine,
        "loss": value,
        "title": title,
        "sample": sample,
        "lines": quoted(),
        "palette": {part: PALETTE[part] for part in ("quantities", "page", "maps")},
    }
    text = assemble(title, data, "layers.html", ("stepper.css", "layers.css"), SCRIPTS)
    if len(text) > MOST_BYTES:
        raise InvalidValueError(
            f"the page would have {len(text) / 1e6:.1f} MB: show fewer than {len(x)} rows, or a"
            " smaller network"
        )
    return text
