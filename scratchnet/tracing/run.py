"""One layer direction of a trace: every number of its forward and backward pass by name."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from scratchnet.arrays import Array, is_array, require_index, require_shape, to_host
from scratchnet.cells import CELLS, Cell
from scratchnet.cells.sequences import window, zero_padding
from scratchnet.errors import InvalidTypeError, InvalidValueError, OutOfRangeError, UnknownNameError
from scratchnet.tracing import products, terms
from scratchnet.tracing.observe import NEXT, Observer
from scratchnet.tracing.terms import CellCache

Backward = Callable[..., Any]  # with the signature of a cell's backward


@dataclass(frozen=True, eq=False, repr=False)
class RunTrace:
    """A run is one cell applied once: one layer direction. ``run["f"]`` is an array.

    ``run.names`` are the names of all arrays. Shapes: per step (T, N, H); states h and c (T+1, N,
    H) with the initial state at 0; x and dx (T, N, D). A reverse direction has its own time: step 0
    is the sequence's last. Beyond a sequence's length states are carried and gradient terms are
    zero.

    The run keeps the cell's cache and the upstream gradients; the rest is computed from them on
    access. Of a custom backward there is what it returned and what was seen of it, in its own
    numbers; a term that was not seen is missing. ``run.right`` has the cell's own numbers.
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
    # the gradients are those of a backward that replaced the cell's
    custom_backward: bool = False
    # its local variables, (T, N, H), by name: what was seen while it ran
    observed: dict[str, Array] = field(default_factory=dict)

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
        lengths = self.cache.lengths
        da = terms.blocks(self.grads["da"], self.cell.GATES, "da_") if "da" in self.grads else {}
        if self.custom_backward:
            seen = {name: d for name, d in self.observed.items() if name in self.right}
            return {name: zero_padding(d, lengths) for name, d in seen.items()} | da
        upstream = {"dy": self.dy, **self.d_next}
        made = terms.backward_terms(self.cell, self.cache, self.params, upstream, self.grads["da"])
        made |= {name: d for name, d in self.observed.items() if name not in made}
        return {name: zero_padding(term, lengths) for name, term in made.items()}

    @cached_property
    def right(self) -> "RunTrace":
        """The run that the cell's own backward gives for the same cache and upstream gradients.

        It also has the terms that only the cell's code names. Without a custom backward: this run.
        """
        if not self.custom_backward or self.dy is None:
            return self
        cell = self.cell
        observer = Observer(cell.backward, (self.T, self.N, self.H), cell.GATES)
        with np.errstate(all="ignore"):  # a pass that has diverged is still looked at
            grads = observer.run(self.dy, self.cache, *self.d_last.values())._asdict()
            d_next, norms = upstream_gradients(cell, self.cache, self.dy, self.d_last, grads)
        seen = {name: d for name, d in observer.terms().items() if not name.endswith(NEXT)}
        changed: dict[str, Any] = {"grads": grads, "d_next": d_next, "step_norms": norms}
        return replace(self, **changed, observed=seen, custom_backward=False)

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
        if self.custom_backward and name in self.right:
            raise UnknownNameError(
                f"{self.name} has no {name!r}: no such variable was seen while the custom backward"
                f" ran; run.right[{name!r}] is the cell's own"
            )
        raise UnknownNameError(f"{self.name} has no {name!r}: it has {', '.join(self._arrays)}")

    def weight_gradients(self, t: int) -> dict[str, Array]:
        """The part of step t in the gradient of each weight, by "dW_x", ...

        PyTorch gives only the sum over t. Of a custom backward they are products with *its* da; a
        weight is left out where the product needs a term that was not seen.

        Raises
        ------
        IndexError
            Where there is no step t.
        ValueError
            Where there is no backward pass, or no weight follows from what was seen.
        """
        self._require_backward("weight gradients")
        if not 0 <= t < self.T:
            raise OutOfRangeError(
                f"t is {t} but the run has {self.T} steps: expected 0 to {self.T - 1}"
            )
        if self.custom_backward:
            found = products.of_step(self, self._formulas, t)
            if not found:
                raise InvalidValueError(
                    f"{self.name} has no weight gradients of single steps: they follow from da, and"
                    " the custom backward neither returned it nor has a variable of this name"
                )
            return found
        upstream = [self.d_next[f"d{name}_next"][t] for name in self.cell.STATES]
        one_step = window(self.cell, self.cache, t, t + 1)
        grads = self.cell.backward(self["dy"][t : t + 1], one_step, *upstream)
        return {f"d{name}": getattr(grads, f"d{name}") for name in self.params}

    @cached_property
    def _formulas(self) -> products.Formulas:
        return products.formulas(self.right)

    def on_host(self) -> "RunTrace":
        """The same run with every array in NumPy, for files and figures."""
        here = {name: to_host(value) for name, value in self.cache._asdict().items()}
        tables = ("params", "d_next", "d_last", "grads", "step_norms", "observed")
        moved: dict[str, Any] = {
            name: {k: to_host(v) for k, v in getattr(self, name).items()} for name in tables
        }
        return replace(self, cache=type(self.cache)(**here), dy=to_host(self.dy), **moved)

    def __repr__(self) -> str:
        sequences = f"{self.N} sequence{'s' * (self.N > 1)}"
        without = "" if self.has_backward else ", no gradients"
        return f"<run {self.name}: {self.cell_name}, {self.T} steps, {sequences}{without}>"

    def require_sample(self, sample: int) -> None:
        """IndexError unless there is such a sequence in the batch."""
        require_index("sample", sample, self.N, f"{self.name} has {self.N} sequences")

    def _require_backward(self, what: str) -> None:
        if self.dy is None:
            raise InvalidValueError(
                f"{self.name} has no {what}: the trace was made without a target, so there is no"
                " backward pass"
            )


def run_custom(
    backward: Backward, dy: Array, cache: CellCache, *d_last: Array, cell: Cell
) -> tuple[dict[str, Array], dict[str, Array]]:
    """What a foreign backward returned, by name ("dW_h", "da"), and what was seen while it ran.

    It is given copies: it may write into its arguments, and the trace must not change by that.

    Raises
    ------
    ValueError, TypeError
        Where it returned something else than the gradients of the forward's arguments. Its own
        exceptions pass through.
    """
    T, N, H = dy.shape
    observer = Observer(backward, (T, N, H), cell.GATES)
    copied = {name: a.copy() for name, a in cache._asdict().items() if is_array(a)}
    own = cache._replace(**copied)
    returned = observer.run(dy.copy(), own, *[None if d is None else d.copy() for d in d_last])
    grads, seen = _by_name(returned, cell, cache), observer.terms()
    gates = [f"da_{letter}" for letter in cell.GATES]
    if "da" not in grads and seen.keys() >= {*gates}:
        grads["da"] = np.concatenate([seen[name] for name in gates], axis=2)
    return grads, seen


def custom_run(
    name: str,
    cell_name: str,
    params: dict[str, Array],
    cache: CellCache,
    seen: dict[str, Array],
    **own: Any,
) -> RunTrace:
    """The run of a foreign backward: its gradients, and what ``run_custom`` saw of it."""
    states = [f"d{state}{NEXT}" for state in CELLS[cell_name].STATES]
    own["d_next"] = {key: seen[key] for key in states if key in seen}
    own["observed"] = {key: d for key, d in seen.items() if not key.endswith(NEXT)}
    run = RunTrace(name, cell_name, params, cache, custom_backward=True, **own)
    run.step_norms.update(products.norms(run, run._formulas))
    return run


def _by_name(returned: Any, cell: Cell, cache: CellCache) -> dict[str, Array]:
    """Copies of what backward returned: a NamedTuple, a dict, or a tuple in forward's order."""
    (T, N, D), H = cache.x.shape, cache.h.shape[2]
    shapes: dict[str, tuple[int, ...]] = {"dx": (T, N, D)}
    shapes |= {f"d{name}0": (N, H) for name in cell.STATES}
    shapes |= {f"d{name}": shape for name, shape in cell.param_shapes(D, H).items()}
    shapes["da"] = (T, N, len(cell.GATES) * H)
    if hasattr(returned, "_asdict"):
        returned = returned._asdict()
    if isinstance(returned, (tuple, list)):
        returned = dict(zip(shapes, returned))
    if not isinstance(returned, Mapping):
        raise InvalidTypeError(
            f"backward returned a {type(returned).__name__}: expected the gradients"
            f" {', '.join(shapes)}, as a NamedTuple, a dict or a tuple in this order"
        )
    grads = {name: returned[name] for name in shapes if returned.get(name) is not None}
    missing = [name for name in shapes if name not in grads and name != "da"]
    if missing:
        raise InvalidValueError(
            f"backward returned no {', '.join(missing)}: expected the gradients"
            f" {', '.join(shapes)}; only da may be left out"
        )
    for name, grad in grads.items():
        if not is_array(grad) or grad.dtype.kind != "f":
            what = getattr(grad, "dtype", type(grad).__name__)
            raise InvalidTypeError(
                f"backward returned {name} as {what}: expected an array of {cache.h.dtype}"
            )
        because = f"x is {tuple(cache.x.shape)} and there are {H} units"
        require_shape(f"backward's {name}", grad, shapes[name], because)
        grads[name] = grad.copy()
    return grads


def upstream_gradients(
    cell: Cell, cache: CellCache, dy: Array, d_last: dict[str, Array], grads: dict[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The gradient from the future at each step, and the size of weight gradients.

    Returns
    -------
    ``{"dh_next": (T, N, H), ...}`` and ``{"dW_h": (T,), ...}``, the norm of each step's weight
    gradients. The cell's backward runs one step at a time: the gradient that it returns for a
    step's initial state is upstream of the step before.

    Raises
    ------
    ArithmeticError
        Unless the steps' weight gradients add up to those in ``grads``.
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
        step = cell.backward(dy[t : t + 1], window(cell, cache, t, t + 1), *upstream)
        for name in names:
            d = getattr(step, name)
            total[name] += d
            norms[name][t] = np.linalg.norm(d)
        upstream = [getattr(step, f"d{name}0") for name in cell.STATES]
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
