"""The library's lines around a cell: other layers, losses, clipping, the optimiser's step.

The page shows each beneath the numbers that it computes, as it does with the lines of a cell. They
are read from the files: a page needs no layer and no optimiser to quote them.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from scratchnet.view.walk import LIBRARY, place_of

# What is computed: the file, the function in it, and how its lines begin.
Quoted = tuple[str, str, tuple[str, ...]]
QUOTED: dict[str, Quoted] = {
    "linear forward": ("layers/linear.py", "Linear.forward", ("y =",)),
    "linear backward": (
        "layers/linear.py",
        "Linear.backward",
        ('self.grads["W"]', 'self.grads["b"]', "return dy"),
    ),
    "embedding forward": ("layers/embedding.py", "Embedding.forward", ("y =",)),
    "embedding backward": ("layers/embedding.py", "Embedding.backward", ("each = np",)),
    "dropout forward": ("layers/dropout.py", "Dropout.forward", ("y =",)),
    "dropout backward": ("layers/dropout.py", "Dropout.backward", ("return dy",)),
    "mse forward": ("losses.py", "mse", ("r =", "return mean")),
    "mse backward": ("losses.py", "mse", ("d =",)),
    "mae forward": ("losses.py", "mae", ("r =", "return mean")),
    "mae backward": ("losses.py", "mae", ("d =",)),
    "huber forward": ("losses.py", "huber", ("r =", "near =", "far =", "return mean")),
    "huber backward": ("losses.py", "huber", ("d =",)),
    "binary_cross_entropy forward": ("losses.py", "binary_cross_entropy", ("losses =",)),
    "binary_cross_entropy backward": ("losses.py", "binary_cross_entropy", ("d =",)),
    "softmax_cross_entropy forward": (
        "losses.py",
        "softmax_cross_entropy",
        ("log_p =", "losses ="),
    ),
    "softmax_cross_entropy backward": (
        "losses.py",
        "softmax_cross_entropy",
        ("d = np", "d[right]"),
    ),
    "clip": ("training/clip.py", "scale", ("factor =",)),
    "SGD": ("training/optim.py", "SGD.update", ("p -=",)),
    "Adam": ("adam.py", "adam_rule", ("m =", "v =", "return p")),
}
for _name in ("Tanh", "Sigmoid", "ReLU", "Softplus"):
    for _way, _start in (("forward", "y ="), ("backward", "return dy")):
        _where = "layers/activation.py", f"{_name}.{_way}", (_start,)
        QUOTED[f"{_name.lower()} {_way}"] = _where


@cache
def quoted() -> dict[str, list[list[str]]]:
    """The lines of each part, as file and number, code, and comment."""
    return {part: list(_lines(*where)) for part, where in QUOTED.items()}


def _lines(file: str, function: str, starts: tuple[str, ...]) -> Iterator[list[str]]:
    path = LIBRARY / file
    code, node = _parsed(path)
    for name in function.split("."):
        node = next(k for k in node.body if getattr(k, "name", None) == name)
    for start in starts:
        numbers = range(node.lineno, node.end_lineno + 1)
        line = next(k for k in numbers if code[k - 1].strip().startswith(start))
        yield place_of((str(path), line))


@cache
def _parsed(path: Path) -> tuple[list[str], Any]:
    code = path.read_text(encoding="utf-8")
    return code.splitlines(), ast.parse(code)
