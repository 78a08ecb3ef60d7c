"""The values of a program's operations (program.py), for any number of steps at once."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from scratchnet import elementwise
from scratchnet.arrays import Array
from scratchnet.cells import normalise

Op: TypeAlias = tuple[Any, ...]

# kind -> what computes it, of arrays (..., H)
COMPUTE: dict[str, Callable[..., Array]] = {
    name: getattr(np, name)
    for name in ("add", "subtract", "multiply", "negative", "tanh", "exp", "log", "sqrt", "square")
}
COMPUTE |= {name: getattr(np, name) for name in ("maximum", "minimum", "greater", "absolute")}
COMPUTE |= {"divide": np.divide, "true_divide": np.divide}
COMPUTE |= {
    name: getattr(elementwise, name)
    for name in ("sigmoid", "d_sigmoid", "d_tanh", "relu", "d_relu")
}


def evaluate(
    ops: list[Op], wanted: int, known: dict[int, Array], given: Mapping[str, Any]
) -> Array:
    """The values of an operation, (..., H); ``known`` keeps every one that was computed.

    ``given``: "x", "state", "upstream", "parameter" and "extra"; all but x are by name.
    """
    if wanted in known:
        return known[wanted]
    kind, *args = ops[wanted]
    value: Any

    def of(*which: int) -> list[Array]:
        return [evaluate(ops, k, known, given) for k in which]

    if kind == "x":
        value = given["x"]
    elif kind == "constant":
        value = args[0]
    elif kind == "parameter":
        value = _block(given[kind][args[0]], args[1], given["H"])
    elif kind in ("state", "upstream", "extra"):
        value = given[kind][args[0]]
    elif kind == "dot":
        name, transposed, *rest = args
        value = 0
        for vector, block in zip(of(*rest[::2]), rest[1::2]):
            weight = _block(given["parameter"][name], block, given["H"])
            value = value + vector @ (weight.T if transposed else weight)
    elif kind == "normalise_forward":
        number, block, *rest = args
        value = normalise.forward(np.concatenate(of(*rest), axis=-1))[number]
        value = value if number else _block(value, block, given["H"])
    elif kind == "normalise_backward":
        block, *rest = args
        *vectors, scale = of(*rest)
        half = len(vectors) // 2
        dn, n = (np.concatenate(part, axis=-1) for part in (vectors[:half], vectors[half:]))
        value = _block(normalise.backward(dn, n, scale), block, given["H"])
    elif kind == "sum":
        value = sum(v.sum(axis=-1, keepdims=True) for v in of(*args))
    else:
        value = COMPUTE[kind](*of(*args))
    known[wanted] = value
    return known[wanted]


def _block(a: Array, block: int, H: int) -> Array:
    return a[..., block * H : (block + 1) * H]
