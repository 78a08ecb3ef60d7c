"""What is learned from: samples, checked against the model, and how an epoch cuts them into
mini-batches.

``fit`` takes (x, y), (x, y, lengths), or where more is to be said

    Batches(x, y, lengths=lengths, batch_size=16, bucket=True, augment=time_warp(0.2))
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from scratchnet.arrays import (
    Array,
    as_lengths,
    as_numbers,
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
from scratchnet.training.padding import both_masks, output_lengths, steps_inside

# An array, or a tuple of arrays for a model with several inputs, all with the samples first.
Inputs: TypeAlias = Any
Data: TypeAlias = Any  # (x, y), (x, y, lengths) or Batches, as ``Batches.of`` checks


class Samples(NamedTuple):
    """Inputs and targets, samples first, that fit each other and the model: all, or a
    mini-batch."""

    x: Inputs  # (n, ...), or a tuple of such for a model with several inputs
    y: Array  # (n, ...)
    lengths: Array | None = None  # (n,) on the host
    weights: Array | None = None  # (n,) on the host, positive; None: all weigh the same
    # (n, ...) on the host, leading axes of y: True where a target counts; None where all do
    mask: Array | None = None
    ends: Array | None = None  # (n,) on the host: steps of each output that are not padding

    @property
    def weight(self) -> float:
        """The weight of this batch's loss in the mean over an epoch, up to a common factor."""
        if self.mask is None and self.weights is None:
            return float(count(self.x))
        n = count(self.x)
        counts = np.ones(n) if self.mask is None else self.mask.reshape(n, -1).sum(axis=1)
        return float((counts if self.weights is None else counts * self.weights).sum())

    def batch(self, chosen: Array) -> "Samples":
        """Some of the samples, by their indices (n,)."""
        x, y, *rest = self
        own = (None if each is None else each[chosen] for each in rest)
        return Samples(rows(x, chosen), rows(y, chosen), *own)

    def trimmed(self) -> "Samples":
        """Cut to the longest sequence, in x and, where the model answers at each step, in y."""
        if self.lengths is None:
            return self
        T = int(self.lengths.max())
        first, *others = parts(self.x)
        x = (first[:, :T], *others) if isinstance(self.x, tuple) else first[:, :T]
        if self.ends is None or self.mask is None:
            return self._replace(x=x)
        steps = int(self.ends.max())
        return self._replace(x=x, y=self.y[:, :steps], mask=self.mask[:, :steps])

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
        answers at every step, y (n, T', ...), later targets are padding: they are masked out of the
        loss and may be NaN. T' is less than T where a layer shortens time; ``lengths_after`` says
        how long each output is.
    mask : (n, ...) True where a target counts, in the shape of y or of its leading axes. What does
        not count is not read, and a sample of which nothing counts is left out.
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
    mask: Array | None = None

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
        samples = check_samples(model, self.x, self.y, self.lengths, what, self.mask)
        n = count(self.x)
        counts: Array = np.ones(n, dtype=bool)
        if self.weights is not None:
            weights = check_weights(self.weights, n, what)
            samples, counts = samples._replace(weights=weights), weights > 0
        if samples.mask is not None:
            counts &= samples.mask.reshape(n, -1).any(axis=1)
        if not counts.any():
            raise InvalidValueError(f"{what}mask and weights leave no target of the {n} samples")
        return samples if counts.all() else samples.batch(np.flatnonzero(counts))

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
            lengths, weights, mask = (
                None if given is None else np.asarray(to_host(given))
                for given in (self.lengths, self.weights, self.mask)
            )
            samples = Samples(self.x, self.y, lengths, weights, mask)
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
    model: Layer,
    x: Inputs,
    y: Array,
    lengths: Any = None,
    what: str = "",
    mask: Array | None = None,
) -> Samples:
    """x, y and lengths, with a mask of the targets that count: those of ``mask`` that are not
    padding. Raises as ``Batches.samples``."""
    check_inputs(model, x, what)
    require_array(f"{what}y", y)
    if not y.ndim:
        raise InvalidValueError(f"{what}y is one number: expected (n, ...), samples first")
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
    lengths = check_lengths(model, x, lengths)
    mask, ends = None if mask is None else check_mask(mask, y, what), None
    if lengths is not None:
        shape = tuple(parts(x)[0].shape)
        # of the shortest sequence, so that one too short for a layer is told before the training
        shortest = [int(np.argmin(lengths))]
        ragged: Any = model
        answer, _ = ragged.forward(rows(x, shortest), lengths=lengths[shortest])
        ends = output_lengths(model, lengths, shape[1], answer)
        if ends is not None:
            steps = answer.shape[1]
            if tuple(y.shape[:2]) != (n, steps):
                because = f"{what}x is {shape} and the model answers at each of {steps} steps"
                raise InvalidValueError(
                    f"{what}y is {tuple(y.shape)} but {because}: expected {(n, steps)} and what a"
                    " step has"
                )
            mask = both_masks(steps_inside(ends, steps), mask)
    # what the decoder reads must be finite also where it does not count
    read = y if mask is None or model.reads_target else y[np.asarray(mask, like=y)]
    require_finite(f"{what}y", read)
    return Samples(x, y, lengths, None, mask, ends)


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
        if not part.ndim:
            raise InvalidValueError(f"{name} is one number: expected (n, ...), samples first")
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
    expected = "a number for each sample"
    weights = as_numbers(f"{what}weights", weights, expected).astype(np.float64)
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


def check_mask(mask: Array, y: Array, what: str = "") -> Array:
    """A mask of the targets as booleans on the host; ValueError unless it is True or False, 1 or 0,
    in the shape of y or of its leading axes."""
    mask = as_numbers(f"{what}mask", mask, "True or False for each target")
    if not mask.ndim or mask.shape != tuple(y.shape[: mask.ndim]):
        raise InvalidValueError(
            f"{what}mask is {mask.shape} but {what}y is {tuple(y.shape)}: expected its leading axes"
        )
    if not ((mask == 0) | (mask == 1)).all():
        raise InvalidValueError(f"{what}mask has other values than True and False, or 1 and 0")
    return mask.astype(bool)


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
