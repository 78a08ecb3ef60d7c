"""Gradient clipping: what is done about gradients that explode on their way back through time.

Three ways, and what each keeps:

    clip_global_norm    one factor for all tensors together    the direction of the whole gradient
    clip_each_norm      one factor for each tensor             the direction of each tensor
    clip_value          every element cut off at +-limit       no direction at all

``grads`` is a dict from name to array and is changed in place. Each function returns the norm
*before* clipping: the number to plot. Norms are Euclidean. One that is NaN or infinite raises
FloatingPointError with the name of the first tensor where it is, and no gradient is touched: NaN
times a factor is still NaN, and infinity would become NaN.

``engine="step"`` measures the norms with a fused kernel, one pass over each tensor, on a GPU one
launch for all of them, "array" with array operations; "auto" takes "step" on a CPU after about a
second of work, where Numba is installed. In ``fit``, the callback ``Clip`` does the clipping.

References
----------
Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks,
algorithm 1 (the global norm); by value: Mikolov 2012.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from scratchnet.arrays import (
    FLOATING,
    Array,
    array_backend,
    require_floating,
    require_named,
    to_host,
)
from scratchnet.engines import updates
from scratchnet.errors import InvalidTypeError, InvalidValueError, NotFiniteError

Name = TypeVar("Name")

# PyTorch's: what was clipped ends a little under max_norm, and the numbers are the same as there
EPS = 1e-6
# a float64 sum of squares below it may have lost some that vanished, one above it none that counts
TINY = 1e-290


def global_norm(grads: Mapping[str, Array], engine: str = "auto") -> float:
    """Norm of all gradients together, sqrt(sum of all squares); changes nothing. 0.0 for an empty
    dict.

    Raises FloatingPointError, naming the tensor, where it is NaN or infinite.
    """
    return together(each_norm(grads, engine))


def clip_global_norm(grads: Mapping[str, Array], max_norm: float, engine: str = "auto") -> float:
    """Scale all gradients by one factor, min(1, max_norm / norm of all together).

    Keeps the direction of the whole gradient: a shorter step the same way.
    ``torch.nn.utils.clip_grad_norm_``.

    Parameters
    ----------
    grads : name -> array, changed in place.
    max_norm : above 0.

    Returns
    -------
    The norm of all together before.

    Raises
    ------
    ValueError : unless max_norm > 0.
    FloatingPointError : where the norm is NaN or infinite.

    Examples
    --------
    >>> grads = {"W": np.array([3.0, 0.0]), "b": np.array([4.0])}
    >>> clip_global_norm(grads, 1.0)
    5.0
    >>> grads["W"].round(3)
    array([0.6, 0. ])
    """
    require_limit("max_norm", max_norm)
    norm = global_norm(grads, engine)
    require_writeable(grads)
    for g in grads.values():
        scale(g, norm, max_norm)
    return norm


def clip_each_norm(
    grads: Mapping[str, Array], max_norm: float, engine: str = "auto"
) -> dict[str, float]:
    """Scale each gradient by min(1, max_norm / its norm); returns the norm of each before.

    Keeps the direction of each tensor, but shortens some and not others, so the whole gradient
    turns. Parameters, Raises: see ``clip_global_norm``.
    """
    require_limit("max_norm", max_norm)
    norms = each_norm(grads, engine)
    require_writeable(grads)
    for name, g in grads.items():
        scale(g, norms[name], max_norm)
    return norms


def clip_value(grads: Mapping[str, Array], limit: float, engine: str = "auto") -> float:
    """Cut every element off at -limit and +limit; returns the norm of all together before.

    Keeps no direction: the large elements shrink, the small ones stay.
    ``torch.nn.utils.clip_grad_value_``. Parameters, Raises: see ``clip_global_norm``.
    """
    require_limit("limit", limit)
    norm = global_norm(grads, engine)
    require_writeable(grads)
    for g in grads.values():
        np.clip(g, -float(limit), float(limit), out=g)
    return norm


CLIPS: dict[str, Callable[..., Any]] = {
    "global": clip_global_norm,
    "each": clip_each_norm,
    "value": clip_value,
}


def each_norm(grads: Mapping[str, Array], engine: str = "auto") -> dict[str, float]:
    """Norm of each gradient; FloatingPointError for the first one that is NaN or infinite."""
    if type(grads) is not dict:
        require_named("grads", grads)
    for g in grads.values():
        if type(g) is not np.ndarray or g.dtype not in FLOATING:
            _check_arrays(grads)
            break
    norms = norms_of(grads, engine)
    for name, norm in norms.items():
        if not math.isfinite(norm):
            g = grads[name]
            bad = int(np.sum(~np.isfinite(g)))
            why = (
                f"{bad} of its {g.size} elements are not finite"
                if bad
                else "its elements are finite, but too large"
            )
            raise NotFiniteError(
                f"the gradient of {name} has norm {norm}: {why}; no gradient was changed"
            )
    return norms


def _check_arrays(grads: Mapping[str, Array]) -> None:
    """TypeError unless all are floating arrays of one library."""
    first = next(iter(grads))
    for name, g in grads.items():
        require_floating(f"the gradient of {name}", g)
        if array_backend(g) != array_backend(grads[first]):
            ours, other = array_backend(g), array_backend(grads[first])
            raise InvalidTypeError(
                f"the gradient of {name} is an array of {ours} but that of {first} is one of"
                f" {other}"
            )


def require_writeable(grads: Mapping[str, Array]) -> None:
    """ValueError, before anything is changed, for a gradient that cannot be changed in place."""
    for name, g in grads.items():
        if isinstance(g, np.ndarray) and not g.flags.writeable:
            raise InvalidValueError(
                f"the gradient of {name} is read-only, and clipping changes it: copy it first"
            )


def norms_of(arrays: Mapping[Name, Array], engine: str = "auto") -> dict[Name, float]:
    """Norm of each array, NaN and infinity among them.

    On a device all are computed first and come to the host together, in one transfer (float64 whose
    squares overflow or vanish: in three): a float() for each would wait for the device as often.
    """
    kernels = updates(arrays, engine, passes=2)
    # what is not finite is told by each_norm, in a sentence
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        squares = kernels.squares(arrays) if kernels else array_squares(arrays)
        norms = {name: math.sqrt(s) for name, s in squares.items()}
        # Squares of float32 neither overflow nor vanish in float64; those of float64 may.
        again = {
            name: arrays[name]
            for name, s in squares.items()
            if arrays[name].dtype == np.float64 and arrays[name].size and not TINY <= s < math.inf
        }
        return norms | _scaled_norms(again) if again else norms


def array_squares(arrays: Mapping[Name, Array]) -> dict[Name, float]:
    """Sum of the squares of each array, in float64: ``squares`` in array operations."""
    # the ufunc's own reduction: np.sum is the same in several Python calls
    sums = {n: np.add.reduce(np.square(a, dtype=np.float64), axis=None) for n, a in arrays.items()}
    return _on_host(sums)


def _scaled_norms(arrays: Mapping[Name, Array]) -> dict[Name, float]:
    """Norms of arrays that are not empty, each divided by its largest element first."""
    peaks = _on_host({name: np.max(np.abs(a)) for name, a in arrays.items()})
    scaled = {n: arrays[n] / peak for n, peak in peaks.items() if 0 < peak < math.inf}
    return peaks | {n: peaks[n] * math.sqrt(s) for n, s in array_squares(scaled).items()}


def _on_host(scalars: Mapping[Name, Any]) -> dict[Name, float]:
    """As Python's floats, in one transfer for all that are on a device."""
    device = {n: s for n, s in scalars.items() if not isinstance(s, np.floating)}
    moved = to_host(np.stack(list(device.values()))).tolist() if device else ()
    return {n: float(s) for n, s in scalars.items() if n not in device} | dict(zip(device, moved))


def norm_of(g: Array) -> float:
    """Norm of one array, NaN and infinity among them."""
    return norms_of({"g": g})["g"]


def together(norms: Mapping[str, float]) -> float:
    """The norm of the norms, which is that of all elements. ``math.hypot`` scales by the largest,
    too."""
    norm = math.hypot(*norms.values())
    if not math.isfinite(norm):
        largest = max(norms, key=lambda name: norms[name])
        raise NotFiniteError(
            f"the gradients together have norm {norm}: each is finite, but too large, most of all"
            f" {largest} with {norms[largest]:.3g}; no gradient was changed"
        )
    return norm


def scale(g: Array, norm: float, max_norm: float) -> None:
    """g times min(1, max_norm / norm), in place."""
    factor = float(max_norm) / (norm + EPS)
    if factor < 1:
        # In float64 whatever g is: with a norm of 1e38 the factor itself would lose its digits in
        # float32.
        np.multiply(g, factor, out=g, dtype=np.float64, casting="same_kind")


def require_limit(name: str, value: float) -> None:
    """ValueError unless the value is above 0; NaN is not, infinity only measures."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InvalidTypeError(f"{name} is {value!r:.80}: expected a positive number")
    if not value > 0:
        raise InvalidValueError(
            f"{name} is {value}: expected a positive number; a gradient clipped to 0 would teach"
            " nothing"
        )
