"""The gradient check of a recurrent cell, with the design that catches most bugs.

With one step and zero states most wrong terms are multiplied by zero: such a check, of weight
gradients only, misses half of the LSTM's mistakes in the course's ``mistakes.toml`` (a test counts
them). So: four steps, random states, a random weight on every h and on every final state, and the
gradients of x, of every initial state and of every parameter. Then each term of BPTT matters.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from scratchnet.arrays import Array, as_lengths
from scratchnet.cells import Cell
from scratchnet.cells.sequences import zero_padding
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.gradcheck.numeric import EPS, TOLERANCE, Tensors, compare, raise_if_wrong
from scratchnet.gradcheck.report import Report


def check_cell(
    like: Cell,
    forward: Callable[..., Any] | None = None,
    backward: Callable[..., Any] | None = None,
    *,
    T: int = 4,
    N: int = 3,
    D: int = 2,
    H: int = 5,
    lengths: Sequence[int] | None = None,
    seed: int = 0,
    eps: float = EPS,
    tolerance: float = TOLERANCE,
    **options: Any,
) -> Report:
    """Check a recurrent cell: the library's (``check_cell(lstm)``), or yours with its signatures.

    Parameters
    ----------
    like : the cell module whose STATES, GATES and parameter shapes apply
    forward, backward : replace the cell's; ``backward`` may return a NamedTuple or dict with dx,
        dh0, ..., or a plain tuple in the order of the forward's arguments
    T, N, D, H : steps, sequences, inputs, units
    lengths : (N,), lengths of the sequences in a padded batch
    seed : of all numbers
    eps, tolerance : of the comparison
    options : of the forward, such as ``nonlinearity="relu"``

    Raises
    ------
    GradientError
        Names the tensor, the gate, the worst element with both numbers, and the time step where,
        going backwards, the error begins. Also where forward or backward changes its arguments, or
        backward returns other numbers when it is called again.

    Examples
    --------
    >>> from scratchnet.cells import lstm
    >>> check_cell(lstm).ok
    True
    >>> def forgets_dc_last(dy, cache, dh_last, dc_last):
    ...     return lstm.backward(dy, cache, dh_last)
    >>> check_cell(lstm, backward=forgets_dc_last)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    scratchnet.gradcheck.report.GradientError: dW_h is wrong in gate i, f, g: relative error ...
    """
    if not hasattr(like, "param_shapes"):
        raise InvalidTypeError(
            f"like is a {type(like).__name__}: expected a cell's module, such as"
            " scratchnet.cells.lstm"
        )
    case = _Case(like, forward, backward, (T, N, D, H), lengths, seed, options)
    report = case.compare(T, eps, tolerance)
    if report.wrong:
        # The last k steps alone are a smaller instance of the same problem. The smallest k that
        # fails shows where the error begins, before it has spread through the recurrence to every
        # gate and every earlier step. First with a loss on the outputs alone: what is right there
        # and wrong with the final states is wrong in how their gradient enters.
        windows = (
            case.compare(k, eps, tolerance, final)
            for final in (False, True)
            for k in range(1, T + 1)
        )
        report = report._replace(origin=next((window for window in windows if window.wrong), None))
    return raise_if_wrong(report)


class _Case:
    """A cell with random inputs, states, parameters and loss weights, run over its last k steps."""

    def __init__(
        self,
        cell: Cell,
        forward: Callable[..., Any] | None,
        backward: Callable[..., Any] | None,
        sizes: tuple[int, int, int, int],
        lengths: Sequence[int] | None,
        seed: int,
        options: Mapping[str, Any],
    ) -> None:
        rng, (T, N, D, H) = np.random.default_rng(seed), sizes
        self.cell, self.options = cell, options
        self.forward, self.backward = forward or cell.forward, backward or cell.backward
        self.x = rng.standard_normal((T, N, D))
        self.T, self.H, self.lengths = T, H, as_lengths(lengths, T, N, like=self.x)
        self.states = {f"{name}0": rng.standard_normal((N, H)) for name in cell.STATES}
        # Weights of size 1 / sqrt(H) keep the gates away from 0 and 1, where a forgotten factor
        # s (1 - s) would not show.
        self.params = {
            name: rng.standard_normal(s) / np.sqrt(H) for name, s in cell.param_shapes(D, H).items()
        }
        self.w_y = rng.standard_normal((T, N, H))
        self.w_last = {f"d{name}_last": rng.standard_normal((N, H)) for name in cell.STATES}

    def compare(self, k: int, eps: float, tolerance: float, final_states: bool = True) -> Report:
        """The report over the last k steps; the loss may leave the final states out."""
        start, options = self.T - k, dict(self.options)
        x, w_y = self.x[start:].copy(), self.w_y[start:].copy()
        if self.lengths is not None:
            options["lengths"] = np.maximum(self.lengths - start, 1)
            w_y = zero_padding(w_y, options["lengths"])  # the loss does not read y in the padding
        inputs = {"x": x, **self.states, **self.params}
        upstream = {name: w * final_states for name, w in self.w_last.items()}

        def loss() -> float:
            y, cache = self.forward(*inputs.values(), **options)
            last = (y[-1] if name == "h" else getattr(cache, name)[-1] for name in self.cell.STATES)
            on_states = (float(np.sum(s * w)) for s, w in zip(last, upstream.values()))
            return float(np.sum(y * w_y)) + sum(on_states)

        notes, grads = self._run(inputs, {"dy": w_y, **upstream}, options)
        letters = self.cell.GATES if len(self.cell.GATES) > 1 else ""
        gates = {
            name: letters for name, p in self.params.items() if p.shape[-1] == len(letters) * self.H
        }
        report = compare(loss, inputs, grads, eps, tolerance, gates)
        return report._replace(notes=tuple(notes), steps=k, final_states=final_states)

    def _run(
        self, inputs: Tensors, upstream: Tensors, options: Mapping[str, Any]
    ) -> tuple[list[str], dict[str, Array]]:
        """Forward once and backward twice: the gradients, and notes on arguments that changed."""
        given = {**inputs, **upstream}
        before = {name: array.copy() for name, array in given.items()}
        y, cache = self.forward(*inputs.values(), **options)
        expected = (len(inputs["x"]), *self.states["h0"].shape)
        if tuple(np.shape(y)) != expected:
            raise InvalidValueError(
                f"forward returned y of shape {np.shape(y)} but x is {inputs['x'].shape}: expected"
                f" {expected}"
            )
        dy, *d_last = upstream.values()
        found = _by_input(self.backward(dy, cache, *d_last), inputs)
        grads = {name: np.array(grad) for name, grad in found.items()}
        changed = [name for name, array in given.items() if not np.array_equal(array, before[name])]
        notes = [f"{name} was changed in place, but it belongs to the caller" for name in changed]
        for name in changed:
            given[name][...] = before[name]
        again = _by_input(self.backward(dy, cache, *d_last), inputs)
        for name in changed:
            given[name][...] = before[name]
        different = [
            f"d{name}"
            for name, grad in grads.items()
            if not np.array_equal(grad, again[name], equal_nan=True)
        ]
        if different:
            notes.append(
                f"called again with the same cache, backward gives another {', '.join(different)}:"
                " it changes the cache"
            )
        return notes, grads


def _by_input(grads: Any, inputs: Tensors) -> dict[str, Any]:
    """What backward returned, by the name of the input whose gradient it is."""
    if hasattr(grads, "_asdict"):
        grads = grads._asdict()
    if isinstance(grads, Mapping):
        named = {name: grads.get(f"d{name}") for name in inputs}
    else:
        named = dict(zip(inputs, grads)) if isinstance(grads, (tuple, list)) else {}
    missing = [f"d{name}" for name in inputs if named.get(name) is None]
    if missing:
        names = ", ".join(f"d{name}" for name in inputs)
        raise InvalidValueError(
            f"backward returned no {', '.join(missing)}: expected gradients of every input, {names}"
        )
    return named
