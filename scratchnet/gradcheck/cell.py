"""The gradient check of a recurrent cell, with the design that catches most bugs.

With one step and zero states most wrong terms are multiplied by zero: such a check, of weight
gradients only, lets half of the LSTM's mistakes in ``course/mistakes.toml`` pass (a test counts
them). So: four steps, random states, a random weight on every h and on every final state, and the
gradients of x, of every initial state and of every parameter. Then each term of BPTT carries
weight.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from scratchnet.arrays import Array, as_lengths
from scratchnet.cells import Cell
from scratchnet.gradcheck.numeric import EPS, TOLERANCE, compare
from scratchnet.gradcheck.report import GradientError, Report


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
    """Check a recurrent cell: the library's own (``check_cell(lstm)``) or one of yours with the
    same signatures.

    ``like``: the cell module whose STATES, GATES and parameter shapes apply; ``forward`` and
    ``backward`` replace its own. ``backward`` may return a NamedTuple or dict with dx, dh0, ..., or
    a plain tuple in the order of the forward's arguments. ``T`` steps, ``N`` sequences, ``D``
    inputs, ``H`` units; ``lengths`` (N,) for a ragged batch; ``seed`` of all numbers; ``eps`` and
    ``tolerance`` of the comparison. ``options`` go to the forward (``nonlinearity="relu"``).

    Raises GradientError; its message names the tensor, the gate, the worst element with both
    numbers, and the time step where, going backwards, the error begins. Also where forward or
    backward changes what it was given, or backward answers differently when it is called again.
    """
    if not hasattr(like, "param_shapes"):
        raise TypeError(
            f"like is a {type(like).__name__}: expected a cell's module, such as"
            " scratchnet.cells.lstm"
        )
    case = _Case(
        like, forward or like.forward, backward or like.backward, T, N, D, H, lengths, seed, options
    )
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
    if not report.ok:
        raise GradientError(report)
    return report


class _Case:
    """One cell with random inputs, states, parameters and loss weights, which can be run over its
    last k steps."""

    def __init__(
        self,
        cell: Cell,
        forward: Any,
        backward: Any,
        T: int,
        N: int,
        D: int,
        H: int,
        lengths: Any,
        seed: int,
        options: Any,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.cell, self.forward, self.backward, self.options = cell, forward, backward, options
        self.x = rng.standard_normal((T, N, D))
        self.T, self.H, self.lengths = T, H, as_lengths(lengths, T, N, like=self.x)
        self.states = {f"{name}0": rng.standard_normal((N, H)) for name in cell.STATES}
        # Weights of size 1 / sqrt(H) keep the gates away from 0 and 1, where a forgotten factor s
        # (1 - s) would hide.
        self.params = {
            name: rng.standard_normal(s) / np.sqrt(H) for name, s in cell.param_shapes(D, H).items()
        }
        self.w_y = rng.standard_normal((T, N, H))
        self.w_last = {f"d{name}_last": rng.standard_normal((N, H)) for name in cell.STATES}

    def compare(self, k: int, eps: float, tolerance: float, final_states: bool = True) -> Report:
        """The comparison over the last k steps alone, from the same random states; the loss may
        leave the final states out."""
        x, w_y, options = (
            self.x[self.T - k :].copy(),
            self.w_y[self.T - k :].copy(),
            dict(self.options),
        )
        if self.lengths is not None:
            options["lengths"] = np.maximum(self.lengths - (self.T - k), 1)
            # Past its end a sequence is held, and y there is no output: the loss does not look at
            # it.
            w_y *= np.arange(k)[:, None, None] < options["lengths"][:, None]
        inputs = {"x": x, **self.states, **self.params}
        arriving = {name: w * final_states for name, w in self.w_last.items()}

        def loss() -> float:
            y, cache = self.forward(*inputs.values(), **options)
            last = (y[-1] if name == "h" else getattr(cache, name)[-1] for name in self.cell.STATES)
            return float(np.sum(y * w_y)) + sum(
                float(np.sum(s * w)) for s, w in zip(last, arriving.values())
            )

        notes, grads = self._run(inputs, {"dy": w_y, **arriving}, options)
        letters = self.cell.GATES if len(self.cell.GATES) > 1 else ""
        gates = {
            name: letters for name, p in self.params.items() if p.shape[-1] == len(letters) * self.H
        }
        report = compare(loss, inputs, grads, eps, tolerance, gates)
        return report._replace(notes=tuple(notes), steps=k, final_states=final_states)

    def _run(
        self, inputs: Mapping[str, Array], arriving: Mapping[str, Array], options: Mapping[str, Any]
    ) -> tuple[list[str], dict[str, Any]]:
        """Forward once and backward twice: the gradients, and notes on what was done to arguments
        that belong to others."""
        given = {**inputs, **arriving}
        before = {name: array.copy() for name, array in given.items()}
        y, cache = self.forward(*inputs.values(), **options)
        expected = (len(inputs["x"]), *self.states["h0"].shape)
        if tuple(np.shape(y)) != expected:
            raise ValueError(
                f"forward returned y of shape {np.shape(y)} but x is {inputs['x'].shape}: expected"
                f" {expected}"
            )
        dy, *d_last = arriving.values()
        grads = {
            name: np.array(grad)
            for name, grad in self._named(self.backward(dy, cache, *d_last), inputs).items()
        }
        changed = [name for name, array in given.items() if not np.array_equal(array, before[name])]
        notes = [f"{name} was changed in place, but it belongs to the caller" for name in changed]
        for name in changed:
            given[name][...] = before[name]
        again = self._named(self.backward(dy, cache, *d_last), inputs)
        for name in changed:
            given[name][...] = before[name]
        different = ", ".join(
            f"d{name}"
            for name in grads
            if not np.array_equal(grads[name], again[name], equal_nan=True)
        )
        if different:
            notes.append(
                f"called again with the same cache, backward gives another {different}: it changes"
                " the cache"
            )
        return notes, grads

    @staticmethod
    def _named(grads: Any, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """What backward returned, by the name of the input it is the gradient of."""
        if hasattr(grads, "_asdict"):
            grads = grads._asdict()
        if isinstance(grads, Mapping):
            named = {name: grads.get(f"d{name}") for name in inputs}
        else:
            named = dict(zip(inputs, grads)) if isinstance(grads, (tuple, list)) else {}
        missing = [f"d{name}" for name in inputs if named.get(name) is None]
        if missing:
            names = ", ".join(f"d{name}" for name in inputs)
            raise ValueError(
                f"backward returned no {', '.join(missing)}: expected gradients of every input,"
                f" {names}"
            )
        return named
