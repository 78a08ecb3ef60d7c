"""From a trace to one HTML file: arrays as base64, script and style inline, nothing fetched.

A content-security-policy names the script and the style by their hashes and forbids everything
else, so that no text in the data can become code and the page cannot reach the network.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.errors import InvalidValueError
from scratchnet.files import require_path, write_text
from scratchnet.losses import kept, shares
from scratchnet.tracing.jacobian import per_loss_gradients
from scratchnet.tracing.run import RunTrace
from scratchnet.tracing.trace import Data, Trace
from scratchnet.view import steps

MOST_BYTES = 2_000_000  # of a page with one trace
SCRIPTS = (
    *("cells", "model", "tools", "run", "diagrams", "cellview", "microview", "maps"),
    *("timeline", "edit", "stepper"),
)
EDITABLE_UNITS = 16  # up to here a weight or input can be changed by hand
RECOMPUTED = 4_000_000  # multiply-adds of a forward pass up to which numeric gradients are computed
# What the page can compute: losses, cells (cells.js; of others it gets all numbers), and layers
# besides recurrent and linear.
LOSSES = ("mse", "mae", "huber", "binary_cross_entropy", "softmax_cross_entropy")
COMPUTED = ("rnn", "lstm", "gru", "gru_reset_before")
POINTWISE = ("tanh", "sigmoid", "relu", "softplus", "dropout")
NO_EDITING = "no editing and no numeric gradients"
TOO_LARGE = f"too large to compute again in the page: {NO_EDITING}"


def to_html(
    trace: Trace,
    path: str | Path,
    *,
    compare: Trace | None = None,
    names: Sequence[str] = (),
    sequence: int = 0,
    runs: Sequence[str] | None = None,
) -> Path:
    """Write the page to ``path`` and return it; arguments as in ``page``."""
    path = require_path(path)
    text = page(trace, compare=compare, names=names, sequence=sequence, runs=runs)
    write_text(path, text)
    return path


def notebook_html(trace: Trace, **options: Any) -> str:
    """The page in a notebook's cell: an iframe that may only run its own script."""
    text = html.escape(page(trace, **options), quote=True)
    return (
        f'<iframe srcdoc="{text}" sandbox="allow-scripts"'
        ' style="width:100%;height:1000px;border:0"></iframe>'
    )


def page(
    trace: Trace,
    *,
    compare: Trace | None = None,
    names: Sequence[str] = (),
    sequence: int = 0,
    runs: Sequence[str] | None = None,
) -> str:
    """The stepper page of a trace, as text.

    Up to two million bytes a trace, the page has every number in full; above, it shows a sample of
    the units and says so.

    Parameters
    ----------
    trace, compare : the trace, and a second one, shown side by side
    names : what the two are called, such as ("before", "after")
    sequence : which sequence of the batch
    runs : names of the runs to show; None: all

    Raises
    ------
    ValueError
        Where the sequence or a run is not in the trace.
    """
    traces = [t.on_host() for t in (trace, compare) if t is not None]
    if names and len(names) != len(traces):
        raise InvalidValueError(
            f"there are {len(names)} names but {len(traces)} traces: expected one each"
        )
    labels = list(names) or [t.title or "trace" for t in traces]
    palette = json.loads(_read("palette.json", "scratchnet"))
    shown = [{"label": label, **_fitted(t, sequence, runs)} for label, t in zip(labels, traces)]
    data = {"traces": shown, "palette": palette["quantities"]}
    style = _read("stepper.css")
    script = "\n".join(['"use strict";', *(_read(f"{name}.js") for name in SCRIPTS)])
    allowed = f"script-src {_hash(script)}; style-src {_hash(style)}"
    parts = {
        "TITLE": html.escape(" | ".join(labels)),
        "POLICY": f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'",
        "STYLE": style,
        # </script> ends a script element wherever it occurs: every < of the data is escaped.
        "DATA": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "SCRIPT": script,
    }
    # In one pass over the template, so that nothing in the data is taken for a placeholder.
    return re.sub("@@([A-Z]+)@@", lambda found: parts[found[1]], _read("stepper.html"))


def _read(name: str, package: str = "scratchnet.view") -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# ---- data ----------------------------------------------------------------------------------------


def _fitted(trace: Trace, sequence: int, runs: Sequence[str] | None) -> Data:
    """The trace as data, cut to fit: first the weights, then precision, units, early steps."""
    shown = [trace[name] for name in runs] if runs is not None else list(trace.runs.values())
    if not 0 <= sequence < shown[0].N:
        N = shown[0].N
        raise InvalidValueError(
            f"sequence is {sequence} but the trace has {N} sequences: expected 0 to {N - 1}"
        )
    room = MOST_BYTES - sum(len(_read(f"{name}.js")) for name in SCRIPTS) - 40_000
    model, why = _model(trace)
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
    return _as_data(trace, shown, sequence, notes, **fitting)


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
    sampled = sampled or run.cell_name not in COMPUTED
    own = {*run.cell.GATES, "m_n", "s", *(f"a_{g}" for g in run.cell.GATES)}
    kept = [name for name in run.forward_terms if sampled or name in own]
    if run.has_backward:
        # the page would compute the cell's own terms, not those of a custom backward
        every = sampled or run.custom_backward
        terms = run.backward_terms if every else [f"da_{g}" for g in run.cell.GATES]
        kept += ["dy", *run.d_next, *terms]
    return kept


def _as_data(
    trace: Trace,
    shown: list[RunTrace],
    n: int,
    notes: list[str],
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
        "runs": [_run_as_data(run, n, double, units, steps, notes) for run in shown],
    }
    first, length = data["runs"][0]["first"], int(shown[0].lengths[n])
    outputs = {name: v[first:length] for name, v in _outputs(trace, n, shown[0].T).items()}
    packed = {name: _pack(v, double) for name, v in outputs.items()}
    return {**data, "notes": notes, "outputs": packed}


def _run_as_data(
    run: RunTrace, n: int, double: bool, units: int | None, steps: int | None, notes: list[str]
) -> Data:
    T, H, options = int(run.lengths[n]), run.H, {o: getattr(run.cache, o) for o in run.cell.OPTIONS}
    count = H if units is None else min(units, H)
    chosen = np.unique(np.linspace(0, H - 1, count).round().astype(int))
    start = 0 if steps is None else max(0, T - steps)
    if len(chosen) < H:
        some = f"{run.name}: {len(chosen)} of {H} units are shown, evenly spread"
        _say(notes, f"{some}, to keep the page small")
    if start:
        _say(notes, f"{run.name}: the last {T - start} of {T} steps are shown")
    if run.custom_backward:
        _say(notes, f"{run.name}: the gradients are those of a custom backward, not the cell's own")
    sampled = len(chosen) < H or bool(start)
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
        "options": options,
        "T": T - start,
        "first": start,
        "H": len(chosen),
        "D": int(run.cache.x.shape[2]),
        "units": [int(u) for u in chosen],
        "allUnits": H,
        "sampled": sampled,
        "reversed": run.reversed,
        "letters": run.cell.GATES,
        "arrays": {name: _pack(a, double) for name, a in arrays.items()},
        "steps": _steps_of(run, options),
    }
    if not sampled:
        data["params"] = {name: _pack(p, double) for name, p in run.params.items()}
        data["d_last"] = {name: _pack(d[n], double) for name, d in run.d_last.items()}
    if run.has_backward and not start:
        matrix = per_loss_gradients(run, n, most=_most_losses(run))
        if len(matrix.losses) > 1:
            losses, size = [int(t) for t in matrix.losses], _pack(matrix.size, False)
            data["perLoss"] = {"losses": losses, "of": _losses(run, n), "size": size}
    return data


def _steps_of(run: RunTrace, options: Data) -> Data:
    """The micro-steps; without a backward side, those of the forward pass only."""
    data = steps.as_data(run.cell_name, options)
    return data if run.has_backward else {**data, "backward": []}


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


def _model(trace: Trace) -> tuple[Data | None, str | None]:
    """The whole model as data for the page to compute, or None and the reason."""
    runs = list(trace.runs.values())
    first, why = runs[0], _cannot_compute(trace, runs)
    if why is not None or trace.target is None:
        return None, why
    custom = any(run.custom_backward for run in runs)
    wide = max(run.H for run in runs) > EDITABLE_UNITS
    if custom:
        why = (
            "numbers cannot be edited: the page would compute the cell's gradients, not those shown"
        )
    elif wide:
        why = f"numbers can be edited up to {EDITABLE_UNITS} units"
    batch_first = any(m.get("batch_first") for m in trace.modules)
    by_module = iter(runs)
    modules = []
    for m in trace.modules:
        kept = {"kind": m["kind"], "name": m["name"]}
        if m["kind"] == "recurrent":
            own = [next(by_module) for _ in m["runs"]]
            kept |= {
                "cell": m["cell"],
                "options": m["options"],
                "H": own[0].H,
                "return_sequences": m["return_sequences"],
                "directions": 2 if any(run.reversed for run in own) else 1,
                "runs": [_run_of_model(run) for run in own],
            }
        else:
            kept["params"] = {k: _pack(p, True) for k, p in m["params"].items()}
        modules.append(kept)
    x = trace.x.swapaxes(0, 1) if batch_first else trace.x
    sequence_target = trace.target.ndim > 1 and not batch_first and _is_sequence(trace)
    targets, share = trace.target, _shares(trace)
    if sequence_target:
        targets, share = targets.swapaxes(0, 1), share.swapaxes(0, 1)
    whole = np.issubdtype(targets.dtype, np.integer)
    return {
        "modules": modules,
        "T": first.T,
        "D": int(first.cache.x.shape[2]),
        "lengths": [int(v) for v in first.lengths],
        "xs": [_pack(np.nan_to_num(x[:, n]), True) for n in range(first.N)],
        "targets": [np.ravel(t).tolist() if whole else _pack(t, True) for t in targets],
        "loss": trace.loss_name,
        "shares": [_pack(s, True) for s in share],
        "editable": not (custom or wide),
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
    known = ("recurrent", "linear", *POINTWISE)
    for m in trace.modules:
        if m["kind"] not in known:
            return f"the page cannot compute layers of the kind {m['kind']}: {NO_EDITING}"
    if trace.target is None:
        return f"made without a target and a loss: {NO_EDITING}"
    if trace.loss_name not in LOSSES:
        return f"the page does not know the loss {trace.loss_name}: {NO_EDITING}"
    for run in runs:
        if run.cell_name not in COMPUTED:
            return f"the page cannot compute the {run.cell_name} cell: {NO_EDITING}"
    weights = sum(run.params["W_x"].size + run.params["W_h"].size for run in runs)
    return TOO_LARGE if weights * runs[0].T > RECOMPUTED else None  # for one sequence


def _run_of_model(run: RunTrace) -> Data:
    """Parameters and initial states of one layer direction."""
    states = run.cell.STATES
    initial = [{s: _pack(run[s][0, n], True) for s in states} for n in range(run.N)]
    params = {k: _pack(p, True) for k, p in run.params.items()}
    return {"name": run.name, "reversed": run.reversed, "params": params, "init": initial}


def _is_sequence(trace: Trace) -> bool:
    return not any(m["kind"] == "recurrent" and not m["return_sequences"] for m in trace.modules)


def _pack(array: Array, double: bool) -> Data:
    values = np.ascontiguousarray(array, dtype="<f8" if double else "<f4")
    return {
        "shape": list(values.shape),
        "data": base64.b64encode(values.tobytes()).decode(),
        "type": values.dtype.str[1:],
    }
