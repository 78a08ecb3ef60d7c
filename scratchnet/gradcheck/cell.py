"""The gradient check of a recurrent cell, with the design that catches most bugs.

With one step and zero states most wrong terms are multiplied by zero: such a check, of weight
gradients only, misses half of the LSTM's mistakes in the course's ``mistakes.toml`` (a test counts
them). So: four steps, random states, a random weight on every h and on every final state, and the
gradients of x, of every initial state and of every parameter. Then each term of BPTT matters.

Four steps cannot show what is wrong from the fifth on, nor a batch without padding what is wrong in
the padding. So two longer cases follow, T + 12 steps of one sequence and of four ragged ones, whose
padding holds NaN. There one random direction of each tensor is compared: four forward passes for
each, whatever its size, and to more digits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from math import prod
from typing import Any

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, as_lengths, is_array, require_count
from scratchnet.cells import Cell
from scratchnet.cells.sequences import zero_padding
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.gradcheck.again import differing, nonlinear, of_other_types
from scratchnet.gradcheck.numeric import (
    EPS,
    TOLERANCE,
    Loss,
    Tensors,
    compare,
    compare_along,
    raise_if_wrong,
)
from scratchnet.gradcheck.report import Report

LONGER = 12  # steps more than in the first case


MOST = 10**6  # numbers times steps: minutes


@checked
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
    longer: bool = True,
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
    eps, tolerance : of the comparison of single elements
    longer : also run the two longer cases, the ragged one if the forward takes ``lengths``. Options
        that are arrays, such as masks, fit one size only: then neither is run
    options : of the forward, such as ``nonlinearity="relu"``

    Raises
    ------
    GradientError
        Names the tensor, the gate, the worst element with both numbers, and the time step where,
        going backwards, the error begins. Also where forward or backward changes its arguments,
        backward returns other numbers when it is called again, or is not linear in dy.

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
    sizes = T, N, D, H
    for axis, count in zip("TNDH", sizes):
        require_count(axis, count)
    require_count("seed", seed, 0)
    numbers = T * N * D + sum(map(prod, like.param_shapes(D, H).values()))
    if T * numbers > MOST:
        raise InvalidValueError(
            f"T is {T} and there are {numbers:.2g} inputs and parameters, each measured by passes"
            f" over all steps: expected at most {MOST:.0e} of their product"
        )
    case = _Case(like, forward, backward, sizes, lengths, seed, options)
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
    raise_if_wrong(report)
    if longer:
        for size, padding in _longer(sizes, options, forward or like.forward):
            case = _Case(like, forward, backward, size, padding, seed, options)
            found = raise_if_wrong(case.compare_along(seed))
            report = report._replace(cases=report.cases + found.cases)
    return report


def _longer(
    sizes: tuple[int, int, int, int], options: Mapping[str, Any], forward: Callable[..., Any]
) -> Iterator[tuple[tuple[int, int, int, int], list[int] | None]]:
    """Sizes and lengths of the longer cases."""
    T, _, D, H = sizes
    T += LONGER
    if any(is_array(value) for value in options.values()):
        return
    yield (T, 1, D, H), None
    if "lengths" in signature(forward).parameters:
        yield (T, 4, D, H), [T - 1, 1, T, T // 2]


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
        loss, inputs, grads, notes = self._problem(k, final_states)
        letters = self.cell.GATES if len(self.cell.GATES) > 1 else ""
        gates = {
            name: letters for name, p in self.params.items() if p.shape[-1] == len(letters) * self.H
        }
        report = compare(loss, inputs, grads, eps, tolerance, gates)
        return report._replace(
            notes=(*notes, *report.notes),
            steps=k,
            final_states=final_states,
            cases=(f"{self._sizes(k)}: every element",),
        )

    def compare_along(self, seed: int) -> Report:
        """The report along random directions; what is in the padding must not matter."""
        if self.lengths is not None:
            padding = np.arange(self.T)[:, None] >= self.lengths
            self.x[padding] = np.nan
        loss, inputs, grads, notes = self._problem(self.T, True)
        report = compare_along(loss, inputs, grads, seed)
        label = f"{self._sizes(self.T)}: a random direction of each tensor"
        return report._replace(notes=tuple(notes), cases=(label,))

    def _sizes(self, k: int) -> str:
        _, N, D = self.x.shape
        ragged = "" if self.lengths is None else f", lengths {self.lengths.tolist()}"
        return f"T={k}, N={N}, D={D}, H={self.H}{ragged}"

    def _problem(
        self, k: int, final_states: bool
    ) -> tuple[Loss, dict[str, Array], dict[str, Array], list[str]]:
        """The loss over the last k steps, its inputs, backward's gradients, and notes on them."""
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
        return loss, inputs, {name.removeprefix("d"): grad for name, grad in grads.items()}, notes

    def _run(
        self, inputs: Tensors, upstream: Tensors, options: Mapping[str, Any]
    ) -> tuple[list[str], dict[str, Array]]:
        """Gradients by name, "dx" for example, and notes on what backward does wrong again."""
        given = {**inputs, **upstream}
        before = {name: array.copy() for name, array in given.items()}
        y, cache = self.forward(*inputs.values(), **options)
        expected = (len(inputs["x"]), *self.states["h0"].shape)
        if tuple(np.shape(y)) != expected:
            raise InvalidValueError(
                f"forward returned y of shape {np.shape(y)} but x is {inputs['x'].shape}: expected"
                f" {expected}"
            )

        def restore() -> list[str]:
            changed = [
                name
                for name, array in given.items()
                if not np.array_equal(array, before[name], equal_nan=True)
            ]
            for name in changed:
                given[name][...] = before[name]
            return changed

        def run(factor: float = 1.0) -> dict[str, Array]:
            scaled = (array if factor == 1 else factor * array for array in upstream.values())
            dy, *d_last = scaled
            found = _by_input(self.backward(dy, cache, *d_last), inputs)
            return {f"d{name}": np.array(grad) for name, grad in found.items()}

        grads = run()
        notes = [f"{n} was changed in place, but it belongs to the caller" for n in restore()]
        notes += of_other_types(grads)
        different = differing(grads, run())
        restore()
        if different:
            notes.append(
                f"called again with the same cache, backward gives another {different}: it changes"
                " the cache"
            )
            return notes, grads
        other = {name: -0.5 * array for name, array in inputs.items()}
        self.forward(*other.values(), **options)
        different = differing(grads, run())
        restore()
        if different:
            notes.append(
                f"after another forward pass, backward gives another {different} from the same"
                " cache: it reads something outside the cache"
            )
            return notes, grads
        notes += nonlinear(grads, run)
        restore()
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
