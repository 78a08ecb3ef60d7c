"""From a trace to its page's data: arrays, programs, and the model if the page can compute it."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import Cell
from scratchnet.losses import kept, shares
from scratchnet.tracing.difference import differences, first_difference, inconsistent_weights
from scratchnet.tracing.jacobian import per_loss_gradients
from scratchnet.tracing.order import unit_order
from scratchnet.tracing.program import Program
from scratchnet.tracing.run import RunTrace
from scratchnet.tracing.terms import program_for
from scratchnet.tracing.trace import Data, Trace
from scratchnet.view.layout import drawing
from scratchnet.view.story import Stop, as_data
from scratchnet.view.walk import carry, steps

RECOMPUTED = 4_000_000  # multiply-adds of a forward pass up to which numeric gradients are computed
# What the page can compute besides cells: losses and layers.
LOSSES = ("mse", "mae", "huber", "binary_cross_entropy", "softmax_cross_entropy")
LAYERS = ("embedding", "linear", "tanh", "sigmoid", "relu", "softplus", "dropout")
NO_EDITING = "no editing and no numeric gradients"
TOO_LARGE = f"too large to compute again in the page: {NO_EDITING}"


class Programs:
    """The programs of all runs of a page, each once: their numbers are places in ``data``."""

    def __init__(self) -> None:
        self.data: list[Data] = []
        self._known: dict[int, int] = {}

    def number(self, run: RunTrace) -> int | None:
        """The place of a run's program; None for a cell that cannot be watched."""
        program = program_for(run.cell, run.cache)
        return None if program is None else self.add(run.cell_name, run.cell, program)

    def add(self, name: str, cell: Cell, program: Program) -> int:
        """The place of a cell's program."""
        if id(program) not in self._known:  # programs are kept, and so are their ids
            self._known[id(program)] = len(self.data)
            self.data.append(
                {
                    "cell": name,
                    "letters": cell.GATES,
                    "states": list(cell.STATES),
                    "ops": [list(op) for op in program.ops],
                    "forward": program.forward,
                    "backward": program.backward,
                    "of": program.of,
                    "weights": program.weights,
                    "walk": steps(program, cell),
                    "drawing": drawing(program, cell.STATES),
                }
            )
        return self._known[id(program)]


def fitted(
    trace: Trace,
    sample: int,
    runs: Sequence[str] | None,
    programs: Programs,
    room: int,
    story: bool | Sequence[Stop] = True,
) -> Data:
    """The trace as data in ``room`` bytes: cut first the weights, then precision, units, steps."""
    shown = [trace[name] for name in runs] if runs is not None else list(trace.runs.values())
    for run in shown:
        run.require_sample(sample)
    model, why = _model(trace, programs)
    H = max(run.H for run in shown)
    units = [H] + [u for u in (128, 64, 32, 16, 8) if u < H]
    attempts: list[Data] = [{"model": m, "double": True} for m in (model, None)]
    single = {"model": None, "double": False}
    attempts += [{**single, "units": u} for u in units]
    attempts += [{**single, "units": 8, "steps": s} for s in (4000, 2000, 1000, 500, 200)]
    fitting = next((a for a in attempts if _size(shown, **a) <= room), attempts[-1])
    notes = [why] if why else []
    if fitting["model"] is None and not why:
        notes = [TOO_LARGE]
    if _size(shown, **fitting) > room:
        notes.append(
            "the page is larger than two megabytes: show fewer runs, or a model with fewer inputs"
        )
    data = _as_data(trace, shown, sample, notes, programs, **fitting)
    return {**data, "story": as_data(story, trace, shown[0], sample)}


def leading(traces: Sequence[Trace], runs: Sequence[str] | None = None) -> int:
    """The place of the trace whose lines the page walks: the one that carries most states."""

    def carried(trace: Trace) -> int:
        run = trace[runs[0]] if runs else next(iter(trace.runs.values()))
        return len(carry(run.cell, program_for(run.cell, run.cache)))

    counts = [carried(trace) for trace in traces]
    return counts.index(max(counts))


def _size(
    shown: list[RunTrace],
    *,
    model: Any,
    double: bool,
    units: int | None = None,
    steps: int | None = None,
) -> int:
    """About how many bytes ``_as_data`` makes of these runs, from shapes alone."""
    numbers = 0
    for run in shown:
        T, U = min(run.T, steps or run.T), min(run.H, units or run.H)
        arrays = len(run.cell.STATES) + len(_kept(run, U < run.H or T < run.T))
        numbers += T * (arrays * U + 2 * run.cache.x.shape[2] + 6)
        if U == run.H:
            numbers += sum(p.size for p in run.params.values())
    # The matrix of per-loss gradients, in single precision; it is left out where early steps are.
    whole = [run for run in shown if run.has_backward and (steps or run.T) >= run.T]
    losses = sum(run.T * min(run.T, _most_losses(run)) for run in whole)
    bytes_each = (8 if double else 4) * 4 / 3  # as base64
    of_model = 0 if model is None else len(json.dumps(model))
    return int(bytes_each * numbers + 4 * 4 / 3 * losses) + of_model


def _losses(run: RunTrace, n: int) -> int:
    """Number of steps of sequence n with a loss; the final state's counts as the last step's."""
    own = np.abs(run["dy"][: int(run.lengths[n]), n]).sum(axis=1)
    own[-1] += sum(float(np.abs(d[n]).sum()) for d in run.d_last.values())
    return int(np.sum(own > 0))


def _most_losses(run: RunTrace) -> int:
    """Number of losses shown: each is a backward pass."""
    return max(20, min(100, 2_000_000 // (run.T * run.H)))


def _kept(run: RunTrace, sampled: bool) -> list[str]:
    """The arrays to send: all where units are missing, else those the page cannot compute."""
    own = {*run.cell.GATES, *run.cache._fields}
    kept = [name for name in run.forward_terms if sampled or name in own]
    if run.has_backward:
        # the page would compute the cell's own terms, not those of a custom backward
        every = sampled or run.custom_backward or program_for(run.cell, run.cache) is None
        terms = run.backward_terms if every else [f"da_{g}" for g in run.cell.GATES]
        kept += ["dy", *run.d_next, *terms]
    return kept


def _as_data(
    trace: Trace,
    shown: list[RunTrace],
    n: int,
    notes: list[str],
    programs: Programs,
    *,
    model: Any,
    double: bool,
    units: int | None = None,
    steps: int | None = None,
) -> Data:
    if not trace.has_backward:
        notes = [*notes, "made without a target: the forward side only, no gradients"]
    loss = trace.loss
    if loss is not None and not np.isfinite(loss):  # JSON has no NaN
        notes, loss = [*notes, f"the loss is {loss}"], None
    data = {
        "title": trace.title,
        "loss": loss,
        "loss_name": trace.loss_name,
        "sequence": n,
        "sequences": shown[0].N,
        "labels": list(trace.labels) if n == 0 else [],
        "model": model,
        "dtype": "f8" if double else "f4",
        "runs": [
            _run_as_data(trace, run, n, double, units, steps, notes, programs) for run in shown
        ],
    }
    first, length = data["runs"][0]["first"], int(shown[0].lengths[n])
    data["predicted"] = _predicted(trace, n, first, length)
    outputs = {name: v[first:length] for name, v in _outputs(trace, n, shown[0].T).items()}
    packed = {name: pack(v, double) for name, v in outputs.items()}
    return {**data, "notes": notes, "outputs": packed}


def _run_as_data(
    trace: Trace,
    run: RunTrace,
    n: int,
    double: bool,
    units: int | None,
    steps: int | None,
    notes: list[str],
    programs: Programs,
) -> Data:
    T, H = int(run.lengths[n]), run.H
    order = unit_order(run, n)  # those that carry the gradient furthest come first
    chosen = np.sort(order[: H if units is None else min(units, H)])
    start = 0 if steps is None else max(0, T - steps)
    if len(chosen) < H:
        some = f"{run.name}: {len(chosen)} of {H} units are shown, those with the largest gradient"
        _say(notes, f"{some}, to keep the page small")
    if start:
        _say(notes, f"{run.name}: the last {T - start} of {T} steps are shown")
    sampled = len(chosen) < H or bool(start)
    program = program_for(run.cell, run.cache)
    arrays = {"x": run["x"][start:T, n]}
    for name in run.cell.STATES:
        arrays[name] = run[name][start : T + 1, n][:, chosen]
    for name in _kept(run, sampled):
        arrays[name] = run[name][start:T, n][:, chosen]
    if run.has_backward:
        arrays["dx"] = run["dx"][start:T, n]
    data: Data = {
        "name": run.name,
        "cell": run.cell_name,
        "T": T - start,
        "first": start,
        "H": len(chosen),
        "D": int(run.cache.x.shape[2]),
        "units": [int(u) for u in chosen],
        "allUnits": H,
        "sampled": sampled,
        "reversed": run.reversed,
        "letters": run.cell.GATES,
        "states": list(run.cell.STATES),
        "order": [int(np.searchsorted(chosen, u)) for u in order if u in chosen],
        "program": programs.number(run),
        "custom": run.custom_backward,
        "ranges": ranges(program),
        "sizes": _sizes(run, n, start, T, double),
        "carry": carry(run.cell, program),
        "above": _above(trace, run),
        **_differences(run, n, start, T, chosen, double, notes),
        "arrivesLast": any(bool(np.any(d[n])) for d in run.d_last.values()),
        "arrays": {name: pack(a, double) for name, a in arrays.items()},
    }
    if not sampled:
        data["params"] = {name: pack(p, double) for name, p in run.params.items()}
        data["d_last"] = {name: pack(d[n], double) for name, d in run.d_last.items()}
    if run.has_backward and not start:
        matrix = per_loss_gradients(run, n, most=_most_losses(run))
        if len(matrix.losses) > 1:
            losses, size = [int(t) for t in matrix.losses], pack(matrix.size, False)
            data["perLoss"] = {"losses": losses, "of": _losses(run, n), "size": size}
    return data


def ranges(program: Program | None) -> dict[str, list[float]]:
    """The range of each quantity that has one: a sigmoid's is 0 to 1, a tanh's -1 to 1."""
    known = {"sigmoid": [0.0, 1.0], "tanh": [-1.0, 1.0]}
    if program is None:
        return {}
    found = {n: known.get(program.ops[at][0]) for n, at in program.forward.items()}
    if found.get("tanh_c"):
        found["h"] = [-1.0, 1.0]  # o tanh(c)
    return {name: ends for name, ends in found.items() if ends}


def _sizes(run: RunTrace, n: int, start: int, T: int, double: bool) -> Data:
    """The size over all units of every gradient that the river draws, at each step."""
    if not run.has_backward:
        return {}
    names = ["dy", *run.right.d_next, *(f"d{s}" for s in run.cell.STATES)]
    with np.errstate(over="ignore", invalid="ignore"):
        found = {name: run[name][start:T, n] for name in names if name in run}
        sizes = {name: np.linalg.norm(d, axis=-1) for name, d in found.items()}
    return {name: pack(size, double) for name, size in sizes.items()}


def _differences(
    run: RunTrace, n: int, start: int, T: int, units: Array, double: bool, notes: list[str]
) -> Data:
    """Of a custom backward: the right gradient of every term that differs, and the first of them.

    Where a term differs by rounding only, the right number is sent as the run's own.
    """
    if not run.custom_backward:
        return {}
    with np.errstate(all="ignore"):
        off, first = differences(run), first_difference(run)
    notes.append(f"{run.name}: the gradients are those of a custom backward, not the cell's own")
    if first is None:
        notes.append(f"{run.name}: no difference from the right gradients")
        return {"right": {}, "wrongWeights": []}
    right = {}
    for name, size in off.items():
        if name not in run.right or size.ndim != 3 or not np.any(size[start:T, n]):
            continue
        both = np.where(size > 0, run.right[name], run[name])[start:T, n]
        right[name] = pack(both if name == "dx" else both[:, units], double)
    weights = [f"d{p}" for p in run.params if f"d{p}" in off and np.any(off[f"d{p}"])]
    notes.append(f"{run.name}: first differs: {first}")
    here = first.t is not None and first.sample in (None, n) and first.t >= start
    place = {"term": first.term, "t": (first.t or 0) - start, "unit": first.unit}
    return {
        "right": right,
        "wrongWeights": weights,
        "notImplied": inconsistent_weights(run),
        "firstDifference": place if here and first.unit in units else None,
    }


def _above(trace: Trace, run: RunTrace) -> str:
    """What a run's output goes into: the loss, or the next recurrent layer."""
    names = list(trace.runs)
    later = [name for name in names[names.index(run.name) + 1 :] if not name.endswith("_reverse")]
    return "layer above" if later else "loss"


def _say(notes: list[str], sentence: str) -> None:
    if sentence not in notes:
        notes.append(sentence)


def _outputs(trace: Trace, n: int, T: int) -> dict[str, Array]:
    """Output and target of the shown sequence, (T, K), where the output is a sequence."""
    batch_first = any(m.get("batch_first") for m in trace.modules)
    found = {}
    for name, value in (("output", trace.y), ("target", trace.target)):
        if value is None or value.ndim != 3 or not np.issubdtype(value.dtype, np.floating):
            continue
        one = value[n] if batch_first else value[:, n]
        if len(one) == T:
            found[name] = one[:, :3]
    return found


def _predicted(trace: Trace, n: int, first: int, length: int) -> list[list[list[Any]]] | None:
    """At each step of a text model the three likeliest tokens and their probabilities, or None.

    A token is written as the label of the steps at which the input has it, else as its number.
    """
    if trace.loss_name != "softmax_cross_entropy" or np.ndim(trace.y) != 3 or not trace.labels:
        return None
    batch_first = any(m.get("batch_first") for m in trace.modules)
    ids, logits = (a[n] if batch_first else a[:, n] for a in (np.asarray(trace.x), trace.y))
    known = {int(k): label for k, label in zip(ids, trace.labels)} if ids.ndim == 1 else {}
    if len(logits) < length:
        return None
    found = []
    for row in logits[first:length].astype(np.float64):
        p = np.exp(row - row.max())
        p /= p.sum()
        best = np.argsort(-p)[:3]
        found.append([[known.get(int(k), f"#{k}"), round(float(p[k]), 4)] for k in best])
    return found


def _model(trace: Trace, programs: Programs) -> tuple[Data | None, str | None]:
    """The whole model as data for the page to compute, or None and the reason."""
    runs = list(trace.runs.values())
    first, why = runs[0], _cannot_compute(trace, runs)
    if why is not None or trace.target is None:
        return None, why
    custom = any(run.custom_backward for run in runs)
    if custom:
        why = (
            "numbers cannot be edited: the page would compute the cell's gradients, not those shown"
        )
    batch_first = any(m.get("batch_first") for m in trace.modules)
    by_module = iter(runs)
    modules = []
    for m in trace.modules:
        kept = {"kind": m["kind"], "name": m["name"]}
        if m["kind"] == "recurrent":
            own = [next(by_module) for _ in m["runs"]]
            kept |= {
                "program": programs.number(own[0]),
                "H": own[0].H,
                "return_sequences": m["return_sequences"],
                "directions": 2 if any(run.reversed for run in own) else 1,
                "runs": [_run_of_model(run) for run in own],
            }
        else:
            kept["params"] = {k: pack(p, True) for k, p in m["params"].items()}
        modules.append(kept)
    x = trace.x.swapaxes(0, 1) if batch_first else trace.x
    ids = trace.modules[0]["kind"] == "embedding"
    sequence_target = trace.target.ndim > 1 and not batch_first and _is_sequence(trace)
    targets, share = trace.target, _shares(trace)
    if sequence_target:
        targets, share = targets.swapaxes(0, 1), share.swapaxes(0, 1)
    whole = np.issubdtype(targets.dtype, np.integer)
    return {
        "modules": modules,
        "T": first.T,
        "D": 1 if ids else int(first.cache.x.shape[2]),
        "lengths": [int(v) for v in first.lengths],
        "xs": [pack(x[:, n], True) for n in range(first.N)],
        "targets": [np.ravel(t).tolist() if whole else pack(t, True) for t in targets],
        "loss": trace.loss_name,
        "shares": [pack(s, True) for s in share],
        "editable": not custom,
    }, why


def _shares(trace: Trace) -> Array:
    """The share of each target's loss in the mean, of the target's shape; 0 where it does not
    count."""
    target: Any = trace.target
    keep = kept(trace.mask, target)
    share = shares(trace.weights, target, keep)
    whole = np.zeros(target.shape)
    whole[keep] = 1 / target[keep].size if share is None else share
    return whole


def _cannot_compute(trace: Trace, runs: list[RunTrace]) -> str | None:
    """Why the page cannot compute the model, or None."""
    for k, m in enumerate(trace.modules):
        if m["kind"] not in ("recurrent", *LAYERS) or (m["kind"] == "embedding" and k > 0):
            return f"the page cannot compute layers of the kind {m['kind']}: {NO_EDITING}"
    if trace.target is None:
        return f"made without a target and a loss: {NO_EDITING}"
    if trace.loss_name not in LOSSES:
        return f"the page does not know the loss {trace.loss_name}: {NO_EDITING}"
    for run in runs:
        if program_for(run.cell, run.cache) is None:
            return f"the page cannot compute the {run.cell_name} cell: {NO_EDITING}"
    broken = first_not_finite(trace)
    if broken is not None:
        return f"{broken}: {NO_EDITING}"
    weights = sum(p.size for run in runs for p in run.params.values())
    return TOO_LARGE if weights * runs[0].T > RECOMPUTED else None  # for one sequence


def first_not_finite(trace: Trace) -> str | None:
    """Where the first NaN or infinity of the model is: in a parameter, the input or a state."""
    for m in trace.modules:
        for name, p in m["params"].items():
            if not np.isfinite(p).all():
                return f"{m['name']} {name} holds {_odd(p)}"
    x = np.asarray(trace.x)
    batch_first = any(m.get("batch_first") for m in trace.modules)
    x = x.swapaxes(0, 1) if batch_first else x
    run = next(iter(trace.runs.values()))
    for t in range(min(run.T, len(x))):
        inside = t < run.lengths
        if not np.isfinite(x[t][inside]).all():
            n = int(
                np.flatnonzero(inside)[~np.isfinite(x[t][inside]).reshape(inside.sum(), -1).all(1)][
                    0
                ]
            )
            return f"the input holds {_odd(x[t, n])} at step {t} of sequence {n}"
    for name, run in trace.runs.items():
        for s in run.cell.STATES:
            bad = np.argwhere(~np.isfinite(run[s]))
            if len(bad):
                t, n, unit = map(int, bad[0])
                place = f"step {t - 1}, sequence {n}, unit {unit}"
                return f"{name}: {s} is {run[s][t, n, unit]} at {place}"
    return None


def _odd(values: Array) -> str:
    flat = np.ravel(values)
    return str(flat[~np.isfinite(flat)][0])


def _run_of_model(run: RunTrace) -> Data:
    """Parameters and initial states of one layer direction."""
    states = run.cell.STATES
    initial = [{s: pack(run[s][0, n], True) for s in states} for n in range(run.N)]
    params = {k: pack(p, True) for k, p in run.params.items()}
    return {"name": run.name, "reversed": run.reversed, "params": params, "init": initial}


def _is_sequence(trace: Trace) -> bool:
    return not any(m["kind"] == "recurrent" and not m["return_sequences"] for m in trace.modules)


def pack(array: Array, double: bool = True) -> Data:
    """An array as data for the page."""
    values = np.ascontiguousarray(array, dtype="<f8" if double else "<f4")
    return {
        "shape": list(values.shape),
        "data": base64.b64encode(values.tobytes()).decode(),
        "type": values.dtype.str[1:],
    }
