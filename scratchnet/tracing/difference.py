"""Where a backward pass leaves the right one: the first step, term and unit that differ.

    run = trace(model, x, target, backward=mine).run
    first_difference(run)       dc at t=28, unit 5 (0.0012 instead of 0.0034)
    differences(run)            name -> |value - right|, zero where they agree

Numbers agree where they differ by rounding only. How much that is, is measured: every number that
the right backward reads is moved by its last digit, up or down by chance, ``ROUNDS`` times, and
``ROUNDINGS`` times the largest change of a result is allowed, or times its own last digit. So a sum
that cancels may be off by more, and a gradient that has vanished by less. Adding up the same
products in another order changes results by up to five of these (400 random LSTMs of 1 to 150
steps, in both types, with gates open, shut and between). Added to that are ``INSIDE`` last digits
of the largest gradient of the step and those after it: what a step computes between two numbers is
rounded too, and the slope of a tanh near 1 is all rounding.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, is_array, to_host
from scratchnet.cells.sequences import sequence_mask
from scratchnet.errors import InvalidValueError
from scratchnet.tracing.run import RunTrace, run_custom
from scratchnet.tracing.terms import Terms

ROUNDS = 4
ROUNDINGS = 100
INSIDE = 8

Known = Callable[[str], Iterable[tuple[str, Callable[..., Any]]]]
MISTAKES = "scratchnet.mistakes"  # entry points of this group are of this type


class Difference(NamedTuple):
    """The first number of a backward pass that is not the right one."""

    term: str  # "dc", "da_f", "dx", "dW_h"
    t: int | None  # None for what has no step
    sample: int | None  # None for a weight, whose gradient is a sum over sequences
    unit: int  # of dx: the feature
    value: float
    right: float
    gate: str = ""  # of a weight's gradient: the gate whose block it is in
    mistake: str = ""  # its name, where a catalogue of mistakes is installed that knows it

    def __str__(self) -> str:
        place = [f"t={self.t}"] if self.t is not None else []
        place += [f"gate {self.gate}"] if self.gate else []
        place += [f"sample {self.sample}"] if self.sample else []
        place += [f"{'feature' if self.term == 'dx' else 'unit'} {self.unit}"]
        digits = next((d for d in (2, 4, 8, 16) if self._differ(d)), 17)
        numbers = f"{self.value:.{digits}g} instead of {self.right:.{digits}g}"
        text = f"{self.term} at {', '.join(place)} ({numbers})"
        if self.sample is None:
            text += f"; da is right at every step, so the line that makes {self.term} is wrong"
        return f"{text}: {self.mistake}" if self.mistake else text

    def _differ(self, digits: int) -> bool:
        return f"{self.value:.{digits - 1}g}" != f"{self.right:.{digits - 1}g}"


class _Comparison(NamedTuple):
    """The terms of two runs side by side, in the order in which a backward pass computes them."""

    steps: list[str]  # what each step computes, (T, N, H)
    results: list[str]  # dx, then what has no step
    values: Terms
    right: Terms
    off: dict[str, Array]  # booleans: where they differ by more than rounding

    def size(self, name: str) -> Array:
        """|value - right| where they differ, infinite for a NaN or infinity, and else 0."""
        with np.errstate(all="ignore"):
            apart = np.abs(self.values[name] - self.right[name])
        return np.where(self.off[name], np.where(np.isfinite(apart), apart, np.inf), 0)


@checked
def differences(run: RunTrace, against: RunTrace | None = None) -> Terms:
    """|value - right| of every term that ``run`` has: zero where only rounding differs.

    Parameters
    ----------
    run : of a custom backward
    against : a run of the same cell with the same input, weights and upstream gradients; by default
        ``run.right``

    Returns
    -------
    dict of arrays with the term's own shape, (T, N, H) for dh, in the order of a backward pass. A
    NaN or infinity that is not in the right one is infinitely far away. Variables of a custom
    backward that have a term's name and another meaning are left out: those that differ where da,
    which follows from them, is right.

    Raises
    ------
    ValueError
        Where the two are of another cell, or of other inputs.
    """
    found = _compare(run, run.right if against is None else against)
    return {name: found.size(name) for name in (*found.steps, *found.results)}


@checked
def first_difference(
    run: RunTrace, against: RunTrace | None = None, known: Known | None = None
) -> Difference | None:
    """The first number that differs by more than rounding, or None.

    The order is that of a backward pass: from the last step to the first, in each step from dh to
    dh_prev, and then what has no step, the weights' gradients. Of a term's numbers at a step it is
    the one that is furthest away.

    Parameters
    ----------
    run, against : as for ``differences``, which also says what is raised
    known : cell's name -> names of mistakes, each with a backward pass that makes it; by default
        those that installed packages have registered under "scratchnet.mistakes", as scratchnet's
        course does
    """
    found = _compare(run, run.right if against is None else against)
    place = _first(found, run)
    if place is None or against is not None:
        return place
    names = dict.fromkeys(name for name, wrong in _known(known, run) if _same(run, wrong))
    return place._replace(mistake=" or ".join(names))


def inconsistent_weights(run: RunTrace) -> list[str]:
    """The weights ("dW_h") whose gradient is not the sum over steps that the run's own da makes.

    Of a custom backward: the mistake lies in the line that makes it, whatever is wrong before.
    """
    steps = [run.weight_gradients(t) for t in range(run.T)]
    found = []
    for name in steps[0]:
        each = np.stack([step[name] for step in steps])
        scale = np.abs(each).sum(axis=0).max()
        eps = _eps(run)
        with np.errstate(invalid="ignore"):
            off = np.abs(each.sum(axis=0) - run.grads[name]).max()
        if not off <= eps * (run.T * run.N + 10) * scale:
            found.append(name)
    return found


def _first(found: _Comparison, run: RunTrace) -> Difference | None:
    for t in reversed(range(run.T)):
        for name in found.steps:
            if found.off[name][t].any():
                return _at(found, name, run, t)
    for name in found.results:
        off = found.off[name]
        if off.any():
            steps = np.flatnonzero(to_host(off.reshape(len(off), -1).any(axis=1)))
            return _at(found, name, run, int(steps[-1]) if name == "dx" else None)
    return None


def _at(found: _Comparison, name: str, run: RunTrace, t: int | None) -> Difference:
    """The number of a term that is furthest from the right one."""
    size, value, right = (
        to_host(a) for a in (found.size(name), found.values[name], found.right[name])
    )
    if t is not None:
        size, value, right = size[t], value[t], right[t]
    index = np.unravel_index(int(np.argmax(size)), size.shape)
    unit, gate = int(index[-1]), ""
    sample: int | None = int(index[0])
    if name[1:] in run.params:
        letters, sample = run.cell.GATES, None
        if value.shape[-1] == len(letters) * run.H and len(letters) > 1:
            gate, unit = letters[unit // run.H], unit % run.H
    return Difference(name, t, sample, unit, float(value[index]), float(right[index]), gate)


def _compare(run: RunTrace, right: RunTrace) -> _Comparison:
    if not isinstance(run.cache.h, np.ndarray):
        run, right = run.on_host(), right.on_host()
    _require_comparable(run, right)
    ours, theirs = _numbers(run), _numbers(right)
    steps = [name for name in _order(right) if name in ours and name in theirs]
    results = [name for name in right.grads if name in ours and name != "da"]
    tolerance = _rounding(right.right, _eps(run))
    off = {name: _off(ours[name], theirs[name], tolerance[name]) for name in (*steps, *results)}
    found = _Comparison(steps, results, ours, theirs, off)
    for name in _of_other_meaning(found, run):
        found.steps.remove(name)
    return found


def _numbers(run: RunTrace) -> Terms:
    """What is compared, by name."""
    return {**run.d_next, **run.backward_terms, **run.grads}


def _order(right: RunTrace) -> list[str]:
    """The terms of one step in the order in which a backward pass computes them."""
    seen = [name for name in right.observed if name in right.backward_terms]
    found = list(right.d_next)
    for name in right.backward_terms:
        if name in found:
            continue
        if name in seen:  # all that the cell's own code computes up to here
            found += [own for own in seen[: seen.index(name)] if own not in found]
        found.append(name)
    return found


def _eps(run: RunTrace) -> float:
    """The last digit of the coarsest type in which the run's gradients are."""
    return max(float(np.finfo(array.dtype).eps) for array in (run.cache.h, *run.grads.values()))


def _rounding(right: RunTrace, eps: float) -> Terms:
    """How far each term may be from the right one by rounding; broadcasts with the term."""
    rng, found = np.random.default_rng(0), dict[str, Array]()
    numbers = _numbers(right)
    for _ in range(ROUNDS):
        moved = _numbers(_moved(right, eps, rng))
        for name, value in numbers.items():
            with np.errstate(all="ignore"):
                change = np.abs(moved[name] - value)
            change = np.where(np.isnan(change), np.inf, change)
            change = np.where(np.isfinite(value), change, 0)
            change = _largest(change, name[1:] in right.params, right.H)
            found[name] = np.maximum(found.get(name, 0), change)
    sizes = {name: np.abs(np.where(np.isfinite(d), d, 0)) for name, d in numbers.items()}
    steps = [sizes[name].max(axis=-1, keepdims=True) for name in _order(right)]
    of_step = np.maximum.accumulate(np.max(steps, axis=0)[::-1])[::-1]  # (T, N, 1)
    for name, size in sizes.items():
        weight = name[1:] in right.params
        own = eps * _largest(size, weight, right.H)
        whole = of_step.sum() if weight else of_step[0] if size.ndim == 2 else of_step
        found[name] = ROUNDINGS * np.maximum(found[name], own) + INSIDE * eps * whole
    return found


def _largest(change: Array, weight: bool, H: int) -> Array:
    """The largest change, of a weight in each gate's block, of a term at each step and sequence."""
    if not weight:
        return change.max(axis=-1, keepdims=True)
    if change.shape[-1] % H:
        return np.broadcast_to(change.max(), change.shape)
    blocks = change.reshape(-1, change.shape[-1] // H, H)
    most = blocks.max(axis=(0, 2), keepdims=True)
    return np.broadcast_to(most, blocks.shape).reshape(change.shape)


def _moved(right: RunTrace, eps: float, rng: np.random.Generator) -> RunTrace:
    """The right run with every number that a backward pass reads off by its last digit."""

    def move(array: Array) -> Array:
        sign = np.asarray(rng.choice([-eps, eps], array.shape), dtype=array.dtype, like=array)
        with np.errstate(all="ignore"):
            return array + sign * array

    values = right.cache._asdict()
    changed: dict[str, Any] = {
        name: move(a) for name, a in values.items() if is_array(a) and name != "lengths"
    }
    if "fingerprints" in values:
        changed["fingerprints"] = None
    d_last = {name: move(d) for name, d in right.d_last.items()}
    cache, dy = right.cache._replace(**changed), None if right.dy is None else move(right.dy)
    return replace(right, cache=cache, dy=dy, d_last=d_last, custom_backward=True).right


def _off(value: Array, right: Array, tolerance: Array) -> Array:
    """True where a value is further from the right one than rounding, or only one is a number."""
    with np.errstate(all="ignore"):
        near = np.abs(value - right) <= tolerance
    same = (value == right) | (np.isnan(value) & np.isnan(right))
    return ~(near | same)


def _of_other_meaning(found: _Comparison, run: RunTrace) -> Iterator[str]:
    """Variables that differ although what follows from them is right, so that they are another
    quantity in this code.

    What a step computes before its last da is in that step's da. What it computes after is in the
    da of the step before, and at t=0 in the initial states' gradients.
    """
    gates = [f"da_{letter}" for letter in run.cell.GATES if f"da_{letter}" in found.steps]
    effect = [found.off[name] for name in gates] or [found.off["dx"]]
    right: Any = ~np.stack([off.any(axis=2) for off in effect]).any(axis=0)  # (T, N)
    states = [found.off[f"d{s}0"].any(axis=1) for s in run.cell.STATES]
    initial = ~np.stack(states).any(axis=0)  # (N,)
    before = np.concatenate([[initial], right[:-1]])  # what step t sends back is right
    last = max((found.steps.index(name) for name in gates), default=len(found.steps))
    inside = sequence_mask(run.T, run.cache.lengths)
    for place, name in enumerate(list(found.steps)):
        if name in gates:
            continue
        follows = right if place < last else right & before
        if inside is not None:
            follows = follows & inside
        if (found.off[name].any(axis=2) & follows).any():
            yield name


def _require_comparable(run: RunTrace, right: RunTrace) -> None:
    if run.dy is None or right.dy is None:
        raise InvalidValueError(
            "the two runs cannot be compared: expected traces with a target or dy, so that there is"
            " a backward pass"
        )
    if run is right:
        return
    if run.cell_name != right.cell_name:
        raise InvalidValueError(
            f"the two runs cannot be compared: {run.name} is of the cell {run.cell_name} and"
            f" {right.name} of the cell {right.cell_name}"
        )
    pairs: dict[str, tuple[Any, Any]] = {
        "x": (run.cache.x, right.cache.x),
        "dy": (run.dy, right.dy),
    }
    pairs |= {
        f"{s}0": (getattr(run.cache, s)[0], getattr(right.cache, s)[0]) for s in run.cell.STATES
    }
    pairs |= {name: (p, right.params[name]) for name, p in run.params.items()}
    pairs |= {name: (d, right.d_last[name]) for name, d in run.d_last.items()}
    for name, (one, other) in pairs.items():
        if one.shape != other.shape or not np.array_equal(one, other, equal_nan=True):
            raise InvalidValueError(
                f"the two runs cannot be compared: {name} differs, so they are of different models"
                " or inputs"
            )


def _known(known: Known | None, run: RunTrace) -> Iterator[tuple[str, Callable[..., Any]]]:
    if known is not None:
        yield from known(run.cell_name)
        return
    for plugin in sorted(entry_points(group=MISTAKES), key=lambda plugin: plugin.name):
        yield from plugin.load()(run.cell_name)


def _same(run: RunTrace, wrong: Callable[..., Any]) -> bool:
    """True if this wrong backward returns the run's own gradients."""
    dy: Any = run.dy
    with np.errstate(all="ignore"):
        try:
            grads, _ = run_custom(wrong, dy, run.cache, *run.d_last.values(), cell=run.cell)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            return False  # what the mistake makes of these sizes is an exception
        near = _eps(run) ** 0.5  # of numbers that two mistakes have in common there are not so many
        for name, value in run.grads.items():
            other = grads.get(name)
            if other is None:
                continue
            size = np.abs(np.where(np.isfinite(other), other, 0)).max()
            if _off(value, other, near * size).any():
                return False
    return True
