"""Checks that training shares: arguments in range, and numbers that are no longer finite.

A network that has turned into NaN goes on "training" for hours.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from scratchnet.arrays import Array
from scratchnet.errors import InvalidTypeError, InvalidValueError, NotFiniteError
from scratchnet.layers import BatchNorm1d, Composite, Layer, Recurrent


def require_positive(name: str, value: float) -> float:
    """The value; ValueError unless it is a positive number and finite."""
    if not 0 < value < float("inf"):
        raise InvalidValueError(f"{name} is {value}: expected a positive number")
    return value


def require_share(name: str, value: float) -> float:
    """The value; ValueError unless it is more than 0 and at most 1."""
    if not 0 < value <= 1:
        raise InvalidValueError(f"{name} is {value}: expected more than 0 and at most 1")
    return value


def require_parts(model: object, optimizer: object, loss: object) -> None:
    """TypeError unless these are a layer, something with a ``step``, and a function."""
    if not isinstance(model, Layer):
        raise InvalidTypeError(f"model is a {type(model).__name__}: expected a layer or a model")
    if not callable(getattr(optimizer, "step", None)):
        kind = type(optimizer).__name__
        raise InvalidTypeError(f"optimizer is a {kind}: expected one with step(params, grads)")
    if not callable(loss):
        raise InvalidTypeError(
            f"loss is a {type(loss).__name__}: expected a function of y and target"
        )


def require_finite(name: str, array: Array) -> None:
    """ValueError where an array holds NaN or infinity, says how many; TypeError unless it holds
    numbers."""
    if array.dtype.kind not in "biuf":
        raise InvalidTypeError(f"{name} is {array.dtype}: expected an array of numbers")
    bad = int(np.sum(~np.isfinite(array)))
    if bad:
        raise InvalidValueError(
            f"{name} holds {bad} values that are NaN or infinite, of {array.size}: clean the data"
            " first"
        )


def require_samples_first(model: Layer, caller: str) -> None:
    """ValueError where a layer that looks along time would take the samples for time."""
    leaves = model.leaves() if isinstance(model, Composite) else {"the layer": model}
    for name, layer in leaves.items():
        # batch normalisation of rows (N, F) has no time
        if not getattr(layer, "batch_first", True) and not isinstance(layer, BatchNorm1d):
            raise InvalidValueError(
                f"{name} takes time first, but {caller} gives samples first: make it with"
                " batch_first=True"
            )


def recurrent_layers(model: Layer, name: str = "the layer") -> Iterator[tuple[str, Recurrent]]:
    """Every recurrent layer with its name, also those inside a Sequential inside a Sequential."""
    if isinstance(model, Recurrent):
        yield name, model
    for part, layer in getattr(model, "layers", {}).items():
        yield from recurrent_layers(layer, part if name == "the layer" else f"{name}.{part}")


class TrainingDiverged(NotFiniteError):
    """A loss, gradient or parameter was not finite; the message says at which step, and where it
    began.

    Attributes
    ----------
    step : the step, counted from 0.
    parameter : the name of the parameter where it began.
    """

    def __init__(self, message: str, step: int, parameter: str | None) -> None:
        super().__init__(message)
        self.step, self.parameter = step, parameter


def not_finite(arrays: Mapping[str, Array]) -> str | None:
    """The first name whose array holds a NaN or an infinity."""
    for name, array in arrays.items():
        finite = np.isfinite(array)
        # in every step: the ufunc's own reduction is the method's without its Python calls
        here = type(finite) is np.ndarray
        if not (np.logical_and.reduce(finite, axis=None) if here else finite.all()):
            return name
    return None


def largest(arrays: Mapping[str, Array]) -> str:
    """The name of the array with the largest element, NaN and infinity above all numbers."""
    bad = not_finite(arrays)
    return bad or max(arrays, key=lambda name: float(np.max(np.abs(arrays[name]))))


def diverged(
    what: str, name: str, array: Array, kind: str, step: int, norms: list[float]
) -> TrainingDiverged:
    """The exception, in words: ``array`` is the ``kind`` ("value", "gradient") of the parameter
    ``name``, ``norms`` are those of the steps before."""
    count = int(np.sum(~np.isfinite(array)))
    if count:
        where = f"it began in {name}, where {count} of {array.size} {kind}s are not finite"
    else:
        where = (
            f"all {kind}s are still finite; the largest is {float(np.max(np.abs(array))):.3g}, in"
            f" {name}"
        )
    before = "there was no step before"
    if norms:
        before = f"the gradient norm was {norms[-1]:.3g} one step before"
        if len(norms) > 10:
            before += f" and {norms[-11]:.3g} ten steps earlier"
    advice = "a smaller learning rate or Clip (gradient clipping) are the usual remedies"
    return TrainingDiverged(f"{what} at step {step}: {where}; {before}. {advice}", step, name)
