"""One layer direction of a trace: every number of its forward and backward pass by name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from scratchnet.arrays import Array, to_host
from scratchnet.cells import CELLS, Cell
from scratchnet.cells.sequences import window, zero_padding
from scratchnet.errors import InvalidValueError, OutOfRangeError, UnknownNameError
from scratchnet.tracing import terms
from scratchnet.tracing.terms import CellCache

Backward = Callable[..., Any]  # with the signature of a cell's backward


@dataclass(frozen=True, eq=False)
class RunTrace:
    """A run is one cell applied once: one layer direction. ``run["f"]`` is an array.

    ``run.names`` are the names of all arrays. Shapes: per step (T, N, H); states h and c (T+1, N,
    H) with the initial state at 0; x and dx (T, N, D). A reverse direction has its own time: step 0
    is the sequence's last. Beyond a sequence's length states are carried and gradient terms are
    zero.

    The run keeps the cell's cache and the upstream gradients; the rest is computed from them on
    access.
    """

    name: str  # "lstm.l0", "l1_reverse"
    cell_name: str
    params: dict[str, Array]  # under the cell's own names
    cache: CellCache
    dy: Array | None = None  # (T, N, H) upstream gradient of the output
    # "dh_next" (T, N, H): the part of dh that comes from the future
    d_next: dict[str, Array] = field(default_factory=dict)
    # "dh_last" (N, H): upstream gradient of the final state
    d_last: dict[str, Array] = field(default_factory=dict)
    # "dx", "dh0", "dW_x", ..., "da": the cell's Grads
    grads: dict[str, Array] = field(default_factory=dict)
    # "dW_h" -> (T,): norm of each step's part of it
    step_norms: dict[str, Array] = field(default_factory=dict)
    # the backward that replaced the cell's and computed the gradients; a file keeps only the fact
    custom_backward: bool = False
    backward: Backward | None = None

    @property
    def cell(self) -> Cell:
        """The cell's module."""
        return CELLS[self.cell_name]

    @property
    def reversed(self) -> bool:
        """True for the reverse direction."""
        return self.name.endswith("_reverse")

    @property
    def T(self) -> int:
        """Number of steps."""
        return int(self.cache.x.shape[0])

    @property
    def N(self) -> int:
        """Number of sequences."""
        return int(self.cache.x.shape[1])

    @property
    def H(self) -> int:
        """Number of units."""
        return int(self.cache.h.shape[2])

    @property
    def lengths(self) -> Array:
        """(N,), sequence lengths; on the host, for loops and slices."""
        lengths = self.cache.lengths
        return np.full(self.N, self.T) if lengths is None else to_host(lengths)

    @property
    def has_backward(self) -> bool:
        """True if the trace was made with a target (or dy), so that there are gradients."""
        return self.dy is not None

    @cached_property
    def forward_terms(self) -> dict[str, Array]:
        """Pre-activations, gates and the parts of each sum, (T, N, H)."""
        return terms.forward_terms(self.cell, self.cache, self.params)

    @cached_property
    def backward_terms(self) -> dict[str, Array]:
        """dh, dc, every term of their sums, and da by gate, (T, N, H).

        Zero where a sequence has ended.
        """
        if self.dy is None:
            return {}
        upstream = {"dy": self.dy, **self.d_next}
        da = self.grads["da"]
        made = terms.backward_terms(self.cell, self.cache, self.params, upstream, da)
        if self.cache.lengths is None:
            return made
        return {name: zero_padding(term, self.cache.lengths) for name, term in made.items()}

    @cached_property
    def _arrays(self) -> dict[str, Array]:
        states = {name: getattr(self.cache, name) for name in self.cell.STATES}
        forward = {"x": self.cache.x, **states, **self.forward_terms}
        if self.dy is None:
            return forward
        backward = self.backward_terms | self.d_last | self.grads
        return {**forward, "dy": self.dy, **self.d_next, **backward}

    @property
    def names(self) -> list[str]:
        """The names of all arrays."""
        return list(self._arrays)

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def __getitem__(self, name: str) -> Array:
        """An array by name; KeyError says what is missing, and why."""
        if name in self._arrays:
            return self._arrays[name]
        if self.dy is None and name.startswith("d"):
            raise UnknownNameError(
                f"{self.name} has no {name!r}: the trace was made without a target, so there is no"
                " backward pass"
            )
        raise UnknownNameError(f"{self.name} has no {name!r}: it has {', '.join(self._arrays)}")

    def weight_gradients(self, t: int) -> dict[str, Array]:
        """The part of step t in the gradient of each weight, by "dW_x", ...

        PyTorch gives only the sum over t.
        """
        self._require_backward("weight gradients")
        if not 0 <= t < self.T:
            raise OutOfRangeError(
                f"t is {t} but the run has {self.T} steps: expected 0 to {self.T - 1}"
            )
        if self.custom_backward and self.backward is None:
            raise InvalidValueError(
                f"{self.name} was made with a custom backward, which is not saved with a trace"
            )
        upstream = [self.d_next[f"d{name}_next"][t] for name in self.cell.STATES]
        one_step = window(self.cell, self.cache, t, t + 1)
        grads = (self.backward or self.cell.backward)(self["dy"][t : t + 1], one_step, *upstream)
        return {f"d{name}": getattr(grads, f"d{name}") for name in self.params}

    def on_host(self) -> "RunTrace":
        """The same run with every array in NumPy, for files and figures."""
        here = {name: to_host(value) for name, value in self.cache._asdict().items()}
        tables = ("params", "d_next", "d_last", "grads", "step_norms")
        moved: dict[str, Any] = {
            name: {k: to_host(v) for k, v in getattr(self, name).items()} for name in tables
        }
        return replace(self, cache=type(self.cache)(**here), dy=to_host(self.dy), **moved)

    def require_sample(self, sample: int) -> None:
        """IndexError unless there is such a sequence in the batch."""
        if not 0 <= sample < self.N:
            raise OutOfRangeError(
                f"sample is {sample} but {self.name} has {self.N} sequences: expected 0 to"
                f" {self.N - 1}"
            )

    def _require_backward(self, what: str) -> None:
        if self.dy is None:
            raise InvalidValueError(
                f"{self.name} has no {what}: the trace was made without a target, so there is no"
                " backward pass"
            )


def upstream_gradients(
    cell: Cell,
    cache: CellCache,
    dy: Array,
    d_last: dict[str, Array],
    grads: dict[str, Array],
    backward: Backward | None = None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The gradient from the future at each step, and the size of weight gradients.

    Returns
    -------
    ``{"dh_next": (T, N, H), ...}`` and ``{"dW_h": (T,), ...}``, the norm of each step's weight
    gradients. The cell's backward runs one step at a time: the gradient that it returns for a
    step's initial state is upstream of the step before. ``backward`` replaces the cell's.

    Raises
    ------
    ArithmeticError
        Unless the steps' weight gradients add up to those in ``grads``; not checked for a
        ``backward`` that is given.
    """
    T = len(dy)
    names = [f"d{name}" for name in cell.param_shapes(1, 1)]
    d_next = {f"d{name}_next": np.empty_like(dy) for name in cell.STATES}
    norms = {name: np.empty_like(dy, shape=T) for name in names}
    total = {name: np.zeros_like(grads[name]) for name in names}
    upstream = list(d_last.values())
    for t in reversed(range(T)):
        for kept, d in zip(d_next.values(), upstream):
            kept[t] = d
        step = (backward or cell.backward)(dy[t : t + 1], window(cell, cache, t, t + 1), *upstream)
        for name in names:
            d = getattr(step, name)
            total[name] += d
            norms[name][t] = np.linalg.norm(d)
        upstream = [getattr(step, f"d{name}0") for name in cell.STATES]
    if backward is not None:
        return d_next, norms
    tolerance = 1e-12 if dy.dtype == np.float64 else 1e-4
    for name in names:
        if not bool(np.isfinite(grads[name]).all()):
            continue  # a pass that has diverged can be traced; there is no sum to compare
        # Against the size of what was added: where steps cancel, the sum has fewer digits than its
        # terms.
        size = float(np.sum(norms[name])) or 1.0
        off = float(np.linalg.norm(total[name] - grads[name]))
        if not off <= tolerance * size:
            raise ArithmeticError(
                f"the steps' {name} differ from the whole by {off:.1e}, of size {size:.1e}"
            )
    return d_next, norms
