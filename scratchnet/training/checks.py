"""What training is guarded against: data that does not fit the model, and numbers that are no
longer finite.

A network that has turned into NaN goes on "training" for hours, and one that learns from padding
gets better at nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, as_lengths, is_array, require_floating
from scratchnet.layers import Layer, Recurrent

# ---- data ----------------------------------------------------------------------------------------------------------------


# an array, or a tuple of arrays for a model with several inputs, all with the samples first
Inputs = Any


class Samples(NamedTuple):
    """Inputs, targets and lengths, samples first, that were checked against each other and the
    model."""

    x: Inputs  # (samples, ...), or a tuple of such for a model with several inputs
    y: Array  # (samples, ...)
    lengths: Any  # (samples,) on the host, or None
    mask: Any  # (samples, T) on the host: True where a target counts; None where all do

    @property
    def counts(self) -> Any:
        """(samples,) how many targets of each sample the loss is the mean of, up to a common
        factor."""
        return np.ones(count(self.x)) if self.mask is None else self.mask.sum(axis=1)

    def batch(self, chosen: Any) -> "Samples":
        """Some of the samples, by their indices."""
        lengths, mask = (
            None if array is None else array[chosen] for array in (self.lengths, self.mask)
        )
        return Samples(rows(self.x, chosen), rows(self.y, chosen), lengths, mask)

    def trimmed(self) -> "Samples":
        """Cut to the longest sequence there is, in x and, where the model answers at each step, in
        y."""
        T = int(self.lengths.max())
        x = (
            (parts(self.x)[0][:, :T], *parts(self.x)[1:])
            if isinstance(self.x, tuple)
            else self.x[:, :T]
        )
        if self.mask is None:
            return self._replace(x=x)
        return self._replace(x=x, y=self.y[:, :T], mask=self.mask[:, :T])

    def augmented(self, augment: Any, rng: np.random.Generator) -> "Samples":
        """With ``augment(x, rng, lengths)`` in place of x, or of the first of several inputs."""
        first, *others = parts(self.x)
        changed = augment(first, rng, self.lengths)
        if tuple(changed.shape) != tuple(first.shape) or changed.dtype != first.dtype:
            given = f"{changed.dtype} of shape {tuple(changed.shape)}"
            raise ValueError(
                f"augment made {given} of x, {first.dtype} of shape {tuple(first.shape)}: expected"
                " the same"
            )
        return self._replace(x=(changed, *others) if isinstance(self.x, tuple) else changed)


def check_samples(
    model: Layer, x: Inputs, y: Array, lengths: Any = None, what: str = ""
) -> Samples:
    """x, y and lengths as ``fit`` takes them; ``what`` stands before their names in messages.

    Where the model answers at every step, targets behind a sequence's length are padding: they get
    a mask, and may be NaN.

    Raises TypeError or ValueError where they do not fit each other or the model, or hold what is
    not finite.
    """
    check_inputs(model, x, what)
    require_array(f"{what}y", y)
    samples = count(x)
    if samples == 0:
        raise ValueError(f"{what}x has no samples: expected at least one")
    if samples != len(y):
        raise ValueError(
            f"{what}x has {samples} samples but {what}y has {len(y)}: expected as many, samples"
            " first"
        )
    require_samples_first(model, "fit")
    for part in parts(x):
        require_finite(f"{what}x", part)
    lengths, mask = check_lengths(model, x, lengths), None
    if lengths is not None and _answers_each_step(model, x, lengths):
        shape = tuple(parts(x)[0].shape)
        mask = np.arange(shape[1]) < lengths[:, None]
        if tuple(y.shape[:2]) != shape[:2]:
            because = f"{what}x is {shape} and the model answers at each step"
            raise ValueError(
                f"{what}y is {tuple(y.shape)} but {because}: expected {shape[:2]} and what a"
                " step has"
            )
    require_finite(f"{what}y", y if mask is None else y[np.asarray(mask, like=y)])
    return Samples(x, y, lengths, mask)


def check_validation(model: Layer, validation: tuple[Any, ...], ragged: bool) -> Samples:
    """The validation set (x, y) or (x, y, lengths); with lengths where the training set is
    ``ragged``.

    Without them the best epoch would be chosen by the padding.
    """
    if len(validation) not in (2, 3) or (ragged and len(validation) == 2):
        expected = (
            "(x, y, lengths), because the training set has lengths"
            if ragged
            else "(x, y) or (x, y, lengths)"
        )
        raise ValueError(f"validation has {len(validation)} parts: expected {expected}")
    x, y, *lengths = validation
    return check_samples(model, x, y, lengths[0] if lengths else None, "validation ")


def check_inputs(model: Layer, x: Inputs, what: str = "") -> None:
    """TypeError unless x is of a floating type, or of whole numbers where the model reads tokens;
    ValueError where the parts of a tuple have different numbers of samples.
    """
    for number, part in enumerate(parts(x)):
        name = f"{what}x[{number}]" if isinstance(x, tuple) else f"{what}x"
        if not model.tokens:
            require_floating(name, part)
        else:
            require_array(name, part)
            if not np.issubdtype(part.dtype, np.integer):
                raise TypeError(
                    f"{name} is {part.dtype} but the model reads tokens: expected whole numbers,"
                    " such as int64"
                )
        if len(part) != count(x):
            raise ValueError(
                f"{name} has {len(part)} samples but {what}x[0] has {count(x)}: expected as many,"
                " samples first"
            )


def check_lengths(model: Layer, x: Inputs, lengths: Any) -> Any:
    """One length from 1 to T for each sample of x (samples, T, ...), as NumPy integers; None stays
    None."""
    if lengths is None:
        return None
    if not model.ragged:
        raise ValueError(
            "lengths were given but no layer of the model looks along time: none is ragged"
        )
    x = parts(x)[0]
    if x.ndim < 2:
        raise ValueError(
            f"x is {tuple(x.shape)}: expected (samples, T, ...), because lengths count its steps"
        )
    return as_lengths(lengths, x.shape[1], len(x), like=np.empty(0))


def _answers_each_step(model: Any, x: Inputs, lengths: Any) -> bool:
    """Whether the model's output keeps the time axis, tried out on one sample."""
    y, _ = model.forward(rows(x, [0]), lengths=lengths[:1])
    return bool(y.ndim > 2 and y.shape[1] == parts(x)[0].shape[1])


def recurrent_layers(model: Layer, name: str = "the layer") -> Iterator[tuple[str, Recurrent]]:
    """Every recurrent layer with its name, also those inside a Sequential inside a Sequential."""
    if isinstance(model, Recurrent):
        yield name, model
    for part, layer in getattr(model, "layers", {}).items():
        yield from recurrent_layers(layer, part if name == "the layer" else f"{name}.{part}")


def require_samples_first(model: Layer, caller: str) -> None:
    """ValueError where a recurrent layer would take the samples for time."""
    for name, layer in recurrent_layers(model):
        if not layer.batch_first:
            raise ValueError(
                f"{name} takes time first, but {caller} gives samples first: make it with"
                " batch_first=True"
            )


def require_array(name: str, y: Array) -> None:
    """TypeError unless y is an array, of any type: targets may be classes."""
    if not is_array(y):
        raise TypeError(
            f"{name} is a {type(y).__module__}.{type(y).__name__}, not a NumPy or CuPy array"
        )


def require_finite(name: str, array: Array) -> None:
    """ValueError where an array holds NaN or infinity; says how many."""
    bad = int(np.sum(~np.isfinite(array)))
    if bad:
        raise ValueError(
            f"{name} holds {bad} values that are NaN or infinite, of {array.size}: clean the data"
            " first"
        )


def require_count(name: str, value: int) -> None:
    """TypeError unless the value is a whole number, ValueError unless it is at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}: expected a whole number")
    if value < 1:
        raise ValueError(f"{name} is {value}: expected at least 1")


def parts(x: Inputs) -> tuple[Array, ...]:
    """The arrays of an input, one or several."""
    return x if isinstance(x, tuple) else (x,)


def count(x: Inputs) -> int:
    """How many samples there are."""
    return len(parts(x)[0])


def rows(x: Inputs, batch: Any) -> Inputs:
    """Some samples of an array, or of each array of a tuple; the indices are moved to where it
    is."""
    if isinstance(x, tuple):
        return tuple(rows(part, batch) for part in x)
    return x[np.asarray(batch, like=x)]


# ---- divergence ----------------------------------------------------------------------------------------------------------


class TrainingDiverged(FloatingPointError):
    """A loss, gradient or parameter was not finite; the message says at which step, and where it
    began."""

    def __init__(self, message: str, step: int, parameter: str | None) -> None:
        super().__init__(message)
        self.step, self.parameter = step, parameter


def not_finite(arrays: Mapping[str, Array]) -> str | None:
    """The first name whose array holds a NaN or an infinity."""
    return next((name for name, array in arrays.items() if not np.isfinite(array).all()), None)


def largest(arrays: Mapping[str, Array]) -> str:
    """The name of the array with the largest element, NaN and infinity above all numbers."""
    bad = not_finite(arrays)
    return bad or max(arrays, key=lambda name: float(np.max(np.abs(arrays[name]))))


def diverged(
    what: str, name: str, array: Array, kind: str, step: int, norms: list[float]
) -> TrainingDiverged:
    """The exception, in words: ``array`` is the ``kind`` of the parameter ``name``, ``norms`` those
    of the steps before."""
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
    advice = "a smaller learning rate or clip= (gradient clipping) are the usual remedies"
    return TrainingDiverged(f"{what} at step {step}: {where}; {before}. {advice}", step, name)
