"""The training loop: mini-batches, forward, loss, backward, callbacks, step.

It stops at the first number that is not finite and says where that began: a network that has turned
into NaN goes on "training" for hours otherwise.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_array, require_count, require_rng
from scratchnet.data import minibatches
from scratchnet.errors import InvalidTypeError
from scratchnet.layers import Layer
from scratchnet.losses import measured, mse
from scratchnet.training import checks
from scratchnet.training.bptt import Streamed, stream
from scratchnet.training.callbacks import BestWeights
from scratchnet.training.loggers import ProgressBar
from scratchnet.training.samples import (
    Batches,
    Data,
    Inputs,
    Samples,
    check_inputs,
    check_lengths,
    count,
    rows,
)
from scratchnet.training.trainer import Callback, History, Loss, Trainer, loss_options

# A larger number is mistyped: on all but the smallest data it would run for days.
MOST_EPOCHS = 10**5


@checked
def fit(
    model: Layer,
    data: Data,
    optimizer: Any,
    *,
    epochs: int,
    rng: np.random.Generator,
    loss: Loss = mse,
    validation: Data | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    trainer: Callable[..., Trainer] = Trainer,
) -> History:
    """Train a model in mini-batches.

    Parameters
    ----------
    model : its parameters and buffers are changed in place.
    data : (x, y) or (x, y, lengths), samples first, in shuffled mini-batches of 32; ``Batches``
        says more: other sizes, sample weights, buckets, augmentation.
    optimizer : of ``training.optim``, or anything with ``step(params, grads)``.
    epochs : how often to go through the data, at most (the bound is 100,000).
    rng : draws the order of the samples, and augmentation.
    loss : of ``losses``, or any ``loss(y, target) -> (value, dy)``.
    validation : as ``data``. Its loss is measured after each epoch, and the weights of the best
        epoch are put back at the end, also where training is interrupted.
    callbacks : ``Clip``, ``EarlyStopping``, schedules, penalties, loggers and others; see
        ``training.callbacks``.
    progress : show a bar with loss, gradient norm and the time left, in a terminal or a notebook.
    trainer : makes the Trainer: ``mixed.HalfTrainer`` computes in float16.

    Returns
    -------
    The history: loss, gradient norm, clipping factor and learning rate of each step, losses and
    seconds of each epoch. train_loss is the mean over all targets that count.

    Raises
    ------
    ValueError, TypeError : where the data do not fit each other or the model.
    TrainingDiverged : at the first loss, gradient or, at the end of an epoch, parameter that is not
        finite.
    KeyboardInterrupt, SystemExit : for SIGINT (Ctrl-C) and SIGTERM, in the main thread. The step is
        finished and the callbacks do what they do at the end: the best weights are put back, and a
        ``TrainingCheckpoint`` has saved all that is needed to go on. A second signal ends it at
        once.

    Examples
    --------
    >>> from scratchnet.layers import Linear
    >>> from scratchnet.training import SGD, EarlyStopping
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((100, 2))
    >>> y = x @ [[1.0], [2.0]]
    >>> model = Linear(2, 1, rng=rng)
    >>> history = fit(model, (x, y), SGD(0.1), epochs=20, rng=rng, progress=False)
    >>> model.params["W"].round(2)
    array([[1.],
           [2.]])
    """
    checks.require_parts(model, optimizer, loss)
    require_count("epochs", epochs, most=MOST_EPOCHS)
    require_rng(rng)
    batches = Batches.of(data)
    samples = batches.samples(model)
    held_out = None
    if validation is not None:
        held = Batches.of(validation, "validation", ragged=batches.lengths is not None)
        held_out = held.samples(model, "validation ")
    run = trainer(model, optimizer, _with_defaults(callbacks, validation is not None, progress))
    run.rng, run.each = rng, -(-count(samples.x) // batches.batch_size)
    with run.training(epochs * run.each, held_out is not None):
        first = run.place.epoch  # not 0 where a callback has resumed
        for run.epoch in range(first, epochs):
            if run.is_over():  # it was over when it was saved
                break
            started, place = time.perf_counter(), run.place
            run.tell("on_epoch_begin")
            now = rng.bit_generator.state
            if place.batch:
                rng.bit_generator.state = place.drawn
            else:
                place.drawn = now
            for batch in batches.draw(rng, samples, place.batch, now):
                value, part = run.step(batch, loss), batch.weight
                place.loss, place.weight = place.loss + value * part, place.weight + part
                place.batch += 1
                if run.is_over():
                    break
            if run.interrupted is None or place.batch == run.each:
                run.require_finite_params()
                val_loss = None if held_out is None else _validate(run, held_out, loss)
                run.end_epoch(place.loss / place.weight, started, val_loss)
            if run.interrupted is not None:
                run.tell("on_interrupt")
            if run.is_over():
                break
    return run.history


def _validate(run: Trainer, held_out: Samples, loss: Loss) -> float:
    """The loss on the validation set, which must be finite too."""
    x, y, lengths, weights, mask, _ = held_out
    with np.errstate(over="ignore", invalid="ignore"):
        prediction = predict(run.model, x, lengths=lengths)
        value, _ = measured(loss, prediction, y, **loss_options(weights, mask))
    run.require_finite_loss(value, "validation loss")
    return value


def _with_defaults(
    callbacks: Sequence[Callback], validates: bool, progress: bool, unit: str = "step"
) -> list[Callback]:
    """With the best weights kept where there is a validation set, and with a progress bar."""
    found = [*callbacks]
    if validates and not any(isinstance(callback, BestWeights) for callback in found):
        found.append(BestWeights())
    return [*found, ProgressBar(unit)] if progress else found


@checked
def fit_stream(
    model: Layer,
    data: Any,
    optimizer: Any,
    *,
    epochs: int,
    k1: int,
    k2: int | None = None,
    loss: Loss = mse,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> History:
    """Stateful training on a long sequence by truncated BPTT(k1, k2).

    The state is carried through the whole sequence and starts at zero in each epoch; the weights
    are stepped after each window.

    Parameters
    ----------
    data : (x, target), time first: x (T, N, D), or tokens (T, N), and target (T, N, ...).
    k1, k2 : steps from window to window, and steps that each window goes back (default: k1).
    model, optimizer, epochs, loss, callbacks, progress, and Returns, Raises : see ``fit`` and
        ``bptt.stream``.
    """
    checks.require_parts(model, optimizer, loss)
    require_count("epochs", epochs, most=MOST_EPOCHS)
    require_count("k1", k1)
    if not isinstance(data, tuple) or len(data) != 2:
        raise InvalidTypeError(
            "data is not (x, target): expected a tuple of two arrays, time first"
        )
    x, target = data
    check_inputs(model, x)
    checks.require_finite("x", x)
    require_array("target", target)
    checks.require_finite("target", target)
    run = Trainer(model, optimizer, _with_defaults(callbacks, False, progress, "window"))

    def finite(y: Array, t: Array) -> tuple[float, Array]:
        value, dy = measured(loss, y, t)
        run.require_finite_loss(value)
        return value, dy

    run.each = -(-len(x) // k1)
    with run.training(epochs * run.each):
        first = run.place.epoch
        for run.epoch in range(first, epochs):
            if run.is_over():
                break
            started, total_loss, steps = time.perf_counter(), 0.0, 0
            run.tell("on_epoch_begin")
            for part in _quiet(stream(model, x, target, finite, k1, k2)):
                run.update(part.loss)
                total_loss += part.loss * (part.window.stop - part.window.new)
                steps = part.window.stop
                if run.is_over():
                    break
            if run.interrupted is None or steps == len(x):
                run.require_finite_params()
                run.end_epoch(total_loss / steps, started)
            if run.is_over():
                break
    return run.history


@checked
def predict(model: Layer, x: Inputs, batch_size: int = 256, lengths: Any = None) -> Array:
    """The model's output, computed in batches, dropout off.

    Parameters
    ----------
    x : (n, ...) samples first, or a tuple of arrays for a model with several inputs.
    batch_size : samples that are computed at once.
    lengths : (n,) steps of each sequence.

    Returns
    -------
    (n, ...) the outputs.

    Raises
    ------
    ValueError, TypeError : where x or lengths do not fit the model.
    """
    check_inputs(model, x)
    checks.require_samples_first(model, "predict")
    lengths = check_lengths(model, x, lengths)
    outputs = []
    for batch in minibatches(count(x), batch_size):
        ragged: dict[str, Any] = {} if lengths is None else {"lengths": lengths[batch]}
        outputs.append(model.forward(rows(x, batch), **ragged)[0])
    return np.concatenate(outputs)


def _quiet(windows: Iterator[Streamed]) -> Iterator[Streamed]:
    """The same iterator with NumPy's overflow warnings off while it computes."""
    while True:
        with np.errstate(over="ignore", invalid="ignore"):
            part = next(windows, None)
        if part is None:
            return
        yield part
