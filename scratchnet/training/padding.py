"""Which targets of a padded batch count: the lengths of the inputs, followed through the model.

Strided convolution and pooling shorten time, a final state ends it. So the padding of the targets
is not that of the inputs: ``layer.lengths_after(lengths)`` says for each layer how long its outputs
are, and here is the one place that makes a mask of it, for training, validation and traces.
"""

import numpy as np

from scratchnet.arrays import Array, as_lengths
from scratchnet.cells.sequences import sequence_mask
from scratchnet.errors import InvalidValueError
from scratchnet.layers import Layer


def output_lengths(
    model: Layer, lengths: Array | None, T: int, y: Array, *, batch_first: bool = True
) -> Array | None:
    """Steps of each sequence in the model's output (N,), on the host.

    Parameters
    ----------
    model : whose ``lengths_after`` is asked.
    lengths : (N,) steps of each sequence in x, whole numbers from 1 to T, on the host.
    T : the steps of x.
    y : the model's output for x, or for some of its sequences.
    batch_first : whether samples are the first axis of x and y; otherwise time is.

    Returns
    -------
    (N,) whole numbers; None without lengths, and where y has no time axis.

    Raises
    ------
    ValueError
        Where y has another number of steps than ``lengths_after`` says: the model does not declare
        how it changes time, so nobody can tell which targets are padding.
    """
    if lengths is None:
        return None
    after = model.lengths_after(lengths)
    if after is None:
        return None
    name = type(model).__name__
    (steps,) = (int(n) for n in np.asarray(model.lengths_after(np.array([T]))))
    axis = 1 if batch_first else 0
    if y.ndim < 2 or y.shape[axis] != steps:
        raise InvalidValueError(
            f"the output of {name} is {tuple(y.shape)}, but by its lengths_after {T} steps become"
            f" {steps}: which targets are padding is not known. Define lengths_after in the layer"
            " that changes time (None: its output has no time axis)"
        )
    return as_lengths(after, steps, len(lengths), like=np.empty(0))


def steps_inside(ends: Array | None, steps: int, *, batch_first: bool = True) -> Array | None:
    """True where a step lies inside its sequence: (N, steps), or (steps, N) with time first; None
    stays None."""
    inside = sequence_mask(steps, ends)
    return None if inside is None else inside.T if batch_first else inside


def both_masks(first: Array | None, second: Array | None) -> Array | None:
    """What both keep, of masks (N, ...) of which one may have more axes; None keeps all."""
    if first is None or second is None:
        return second if first is None else first
    few, many = sorted((first, second), key=lambda mask: mask.ndim)
    kept: Array = few.reshape(few.shape + (1,) * (many.ndim - few.ndim)) & many
    return kept
