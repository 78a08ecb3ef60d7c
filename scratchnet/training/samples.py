"""What is learned from: samples, checked against the model, and how an epoch cuts them into
mini-batches.

``fit`` takes (x, y), (x, y, lengths), or where more is to be said

    Batches(x, y, lengths=lengths, batch_size=16, bucket=True, augment=time_warp(0.2))
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, Union

import numpy as np

from scratchnet.arrays import (
    Array,
    as_lengths,
    require_array,
    require_count,
    require_floating,
    to_host,
)
from scratchnet.data import buckets, minibatches
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.layers import Layer
from scratchnet.training.augment import Augmentation
from scratchnet.training.checks import require_finite, require_samples_first

# An array, or a tuple of arrays for a model with several inputs, all with the samples first.
Inputs: TypeAlias = Any
Data: TypeAlias = Union[tuple[Any, ...], "Batches"]


class Samples(NamedTuple):
    """Inputs and targets, samples first, that fit each other and the model: all, or a
    mini-batch."""

    x: Inputs  # (n, ...), or a tuple of such for a model with several inputs
    y: Array  # (n, ...)
    lengths: Array | None = None  # (n,) on the host
    weights: Array | None = None  # (n,) on the host, positive; None: all weigh the same
    mask: Array | None = None  # (n, T) on the host: True where a target counts; None where all do

    @property
    def weight(self) -> float:
        """The weight of this batch's loss in the mean over an epoch, up to a common factor."""
        if self.mask is None and self.weights is None:
            return float(count(self.x))
        counts: Array = np.ones(count(self.x)) if self.mask is None else self.mask.sum(axis=1)
        return float((counts if self.weights is None else counts * self.weights).sum())

    def batch(self, chosen: Array) -> "Samples":
        """Some of the samples, by their indices (n,)."""
        _, _, lengths, weights, mask = self
        return Samples(
            rows(self.x, chosen),
            rows(self.y, chosen),
            None if lengths is None else lengths[chosen],
            None if weights is None else weights[chosen],
            None if mask is None else mask[chosen],
        )

    def trimmed(self) -> "Samples":
        """Cut to the longest sequence, in x and, where the model answers at each step, in y."""
        if self.lengths is None:
            return self
        T = int(self.lengths.max())
        first, *others = parts(self.x)
        x = (first[:, :T], *others) if isinstance(self.x, tuple) else first[:, :T]
        if self.mask is None:
            return self._replace(x=x)
        return self._replace(x=x, y=self.y[:, :T], mask=self.mask[:, :T])

    def augmented(self, augment: Augmentation, rng: np.random.Generator) -> "Samples":
        """With ``augment(x, rng, lengths)`` in place of x, or of the first of several inputs."""
        first, *others = parts(self.x)
        changed = augment(first, rng, self.lengths)
        if tuple(changed.shape) != tuple(first.shape) or changed.dtype != first.dtype:
            given = f"{changed.dtype} of shape {tuple(changed.shape)}"
            raise InvalidValueError(
                f"augment made {given} of x, {first.dtype} of shape {tuple(first.shape)}: expected"
                " the same"
            )
        return self._replace(x=(changed, *others) if isinstance(self.x, tuple) else changed)


@dataclass(eq=False)
class Batches:
    """Samples, and how each epoch cuts them into mini-batches.

    Parameters
    ----------
    x : (n, ...) samples first; a tuple of arrays where the model has several inputs; whole numbers
        where it reads tokens.
    y : (n, ...) targets, as the loss takes them.
    lengths : (n,) steps of each sequence, for the layers that look along time. Where the model
        answers at every step, y (n, T, ...), later targets are padding: they are masked out of the
        loss and may be NaN.
    weights : (n,) the weight of each sample in the loss; a sample of weight 0 is left out.
    batch_size : samples in a mini-batch; the last one of an epoch may be smaller.
    shuffle : in another order in each epoch; False: always in the order of the samples.
    bucket : batches of similar length, each cut to its longest, which saves the steps of the
        padding. It needs ``lengths``.
    augment : ``augment(x, rng, lengths)`` changes each batch before it is used (augment.py).

    Examples
    --------
    >>> data = Batches(np.zeros((10, 5, 1)), np.zeros((10, 1)), batch_size=4)
    >>> [len(batch.y) for batch in data.draw(np.random.default_rng(0))]
    [4, 4, 2]
    """

    x: Inputs
    y: Array
    lengths: Array | Sequence[int] | None = None
    weights: Array | Sequence[float] | None = None
    batch_size: int = 32
    shuffle: bool = True
    bucket: bool = False
    augment: Augmentation | None = None

    @classmethod
    def of(cls, data: Data, what: str = "data", ragged: bool = False) -> "Batches":
        """The data itself, or Batches of a tuple (x, y) or (x, y, lengths).

        ``ragged``: lengths are required, because the training set has them. Without them the best
        epoch would be chosen by the padding.
        """
        given, expected = 3, "(x, y) or (x, y, lengths)"
        if isinstance(data, Batches):
            given = 2 if data.lengths is None else 3
        elif isinstance(data, tuple):
            given = len(data)
        else:
            raise InvalidTypeError(
                f"{what} is a {type(data).__name__}: expected {expected}, or Batches"
            )
        if given not in (2, 3) or (ragged and given == 2):
            if ragged:
                expected = "(x, y, lengths), because the training set has lengths"
            raise InvalidValueError(f"{what} has {given} parts: expected {expected}")
        return data if isinstance(data, Batches) else cls(*data)

    def samples(self, model: Layer, what: str = "") -> Samples:
        """All samples, checked; ``what`` comes before their names in messages.

        Raises TypeError or ValueError where they do not fit each other or the model, or hold what
        is not finite.
        """
        require_count("batch_size", self.batch_size)
        if self.bucket and self.lengths is None:
            raise InvalidValueError(
                "bucket is True but there are no lengths: nothing says which sequences are short"
            )
        samples = check_samples(model, self.x, self.y, self.lengths, what)
        if self.weights is None:
            return samples
        weights = check_weights(self.weights, count(self.x), what)
        samples = samples._replace(weights=weights)
        return samples if weights.all() else samples.batch(np.flatnonzero(weights))

    def draw(
        self,
        rng: np.random.Generator,
        samples: Samples | None = None,
        skip: int = 0,
        then: Any = None,
    ) -> Iterator[Samples]:
        """One epoch of mini-batches, of checked samples (default: of what is here, unchecked).

        To go on within an epoch, the first ``skip`` mini-batches are left out, and rng, from which
        their order was drawn, gets the state ``then``.
        """
        if samples is None:
            lengths, weights = (
                None if given is None else np.asarray(to_host(given))
                for given in (self.lengths, self.weights)
            )
            samples = Samples(self.x, self.y, lengths, weights)
        order = rng if self.shuffle else None
        if self.bucket and samples.lengths is not None:
            chosen = buckets(samples.lengths, self.batch_size, order)
        else:
            chosen = minibatches(count(samples.x), self.batch_size, order)
        if skip:
            chosen = islice(chosen, skip, None)
            rng.bit_generator.state = then
        for rows_of in chosen:
            batch = samples.batch(rows_of)
            if self.bucket and samples.lengths is not None:
                batch = batch.trimmed()
            yield batch if self.augment is None else batch.augmented(self.augment, rng)


def check_samples(
    model: Layer, x: Inputs, y: Array, lengths: Any = None, what: str = ""
) -> Samples:
    """x, y and lengths, with a mask where the model answers at every step and lengths say that some
    targets are padding. Raises as ``Batches.samples``."""
    check_inputs(model, x, what)
    require_array(f"{what}y", y)
    n = count(x)
    if n == 0:
        raise InvalidValueError(f"{what}x has no samples: expected at least one")
    if n != len(y):
        raise InvalidValueError(
            f"{what}x has {n} samples but {what}y has {len(y)}: expected as many, samples first"
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
            raise InvalidValueError(
                f"{what}y is {tuple(y.shape)} but {because}: expected {shape[:2]} and what a"
                " step has"
            )
    require_finite(f"{what}y", y if mask is None else y[np.asarray(mask, like=y)])
    return Samples(x, y, lengths, None, mask)


def check_inputs(model: Layer, x: Inputs, what: str = "") -> None:
    """TypeError unless x is of a floating type, or of whole numbers where the model reads tokens;
    ValueError where the parts of a tuple have different numbers of samples."""
    for number, part in enumerate(parts(x)):
        name = f"{what}x[{number}]" if isinstance(x, tuple) else f"{what}x"
        if not model.tokens:
            require_floating(name, part)
        else:
            require_array(name, part)
            if not np.issubdtype(part.dtype, np.integer):
                raise InvalidTypeError(
                    f"{name} is {part.dtype} but the model reads tokens: expected whole numbers,"
                    " such as int64"
                )
        if len(part) != count(x):
            raise InvalidValueError(
                f"{name} has {len(part)} samples but {what}x[0] has {count(x)}: expected as many,"
                " samples first"
            )


def check_lengths(model: Layer, x: Inputs, lengths: Any) -> Array | None:
    """One length from 1 to T for each sample of x (n, T, ...), as NumPy integers; None stays
    None."""
    if lengths is None:
        return None
    if not model.ragged:
        raise InvalidValueError(
            "lengths were given but no layer of the model looks along time: none is ragged"
        )
    x = parts(x)[0]
    if x.ndim < 2:
        raise InvalidValueError(
            f"x is {tuple(x.shape)}: expected (samples, T, ...), because lengths count its steps"
        )
    return as_lengths(lengths, x.shape[1], len(x), like=np.empty(0))


def check_weights(weights: Any, n: int, what: str = "") -> Array:
    """Sample weights (n,) as float64 on the host; ValueError unless they are numbers from 0 up, and
    not all 0."""
    weights = np.asarray(to_host(weights), dtype=np.float64)
    if weights.shape != (n,):
        raise InvalidValueError(
            f"{what}weights has shape {weights.shape} but there are {n} samples: expected ({n},)"
        )
    if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise InvalidValueError(
            f"{what}weights range from {weights.min()} to {weights.max()}: expected finite numbers"
            " from 0 up, not all of them 0"
        )
    return weights


def _answers_each_step(model: Any, x: Inputs, lengths: Any) -> bool:
    """Whether the model's output keeps the time axis, tried out on one sample."""
    y, _ = model.forward(rows(x, [0]), lengths=lengths[:1])
    return bool(y.ndim > 2 and y.shape[1] == parts(x)[0].shape[1])


def parts(x: Inputs) -> tuple[Array, ...]:
    """The arrays of an input, one or several."""
    return x if isinstance(x, tuple) else (x,)


def count(x: Inputs) -> int:
    """How many samples there are."""
    return len(x[0] if isinstance(x, tuple) else x)


def rows(x: Inputs, batch: Array | list[int]) -> Inputs:
    """Some samples of an array, or of each array of a tuple; the indices are moved to where it
    is."""
    if isinstance(x, tuple):
        return tuple(rows(part, batch) for part in x)
    return x[batch if type(x) is np.ndarray else np.asarray(batch, like=x)]
