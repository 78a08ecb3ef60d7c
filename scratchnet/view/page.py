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
from scratchnet.tracing.jacobian import per_loss_gradients
from scratchnet.tracing.run import RunTrace
from scratchnet.tracing.trace import Trace
from scratchnet.view import steps

MOST_BYTES = 2_000_000  # of a page with one trace
SCRIPTS = (
    "cells",
    "model",
    "tools",
    "run",
    "diagrams",
    "cellview",
    "microview",
    "maps",
    "timeline",
    "edit",
    "stepper",
)
EDITABLE_UNITS = 16  # up to here a weight or input can be changed by hand
# multiply-adds of one forward pass, up to which the page computes numeric gradients
RECOMPUTED = 4_000_000
# that the page knows
LOSSES = ("mse", "mae", "huber", "binary_cross_entropy", "softmax_cross_entropy")
# cells that cells.js computes again; of others all numbers come from here
COMPUTED = ("rnn", "lstm", "gru", "gru_reset_before")
# layers that the page knows, besides recurrent and linear
POINTWISE = ("tanh", "sigmoid", "relu", "softplus", "dropout")


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
    path = Path(path)
    path.write_text(
        page(trace, compare=compare, names=names, sequence=sequence, runs=runs), encoding="utf-8"
    )
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
    data = {
        "traces": [
            {"label": label, **_fitted(t, sequence, runs)} for label, t in zip(labels, traces)
        ],
        "palette": palette["quantities"],
    }
    style, script = (
        _read("stepper.css"),
        "\n".join(['"use strict";', *(_read(f"{name}.js") for name in SCRIPTS)]),
    )
    allowed = f"script-src {_hash(script)}; style-src {_hash(style)}"
    parts = {
        "TITLE": html.escape(" | ".join(labels)),
        "POLICY": f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'",
        "STYLE": style,
        # In a script element, </script> ends it wherever it stands: no < of the data is left as it
        # is.
        "DATA": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "SCRIPT": script,
    }
    # In one pass over the template, so that nothing in the data is taken for a placeholder.
    return re.sub("@@([A-Z]+)@@", lambda found: parts[found[1]], _read("stepper.html"))


def _read(name: str, package: str = "scratchnet.view") -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# ---- data ----------------------------------------------------------------------------------------------------------------


def _fitted(trace: Trace, sequence: int, runs: Sequence[str] | None) -> dict[str, Any]:
    """The trace as data, cut to fit: first the weights, then precision, units, early steps."""
    shown = [trace[name] for name in runs] if runs is not None else list(trace.runs.values())
    if not 0 <= sequence < shown[0].N:
        raise InvalidValueError(
            f"sequence is {sequence} but the trace has {shown[0].N} sequences: expected 0 to"
            f" {shown[0].N - 1}"
        )
    room = MOST_BYTES - sum(len(_read(f"{name}.js")) for name in SCRIPTS) - 40_000
    model, why = _model(trace)
    H = max(run.H for run in shown)
    units = [H] + [u for u in (128, 64, 32, 16, 8) if u < H]
    attempts: list[dict[str, Any]] = [
        {"model": model, "double": True},
        {"model": None, "double": True},
    ]
    attempts += [{"model": None, "double": False, "units": u} for u in units]
    attempts += [
        {"model": None, "double": False, "units": 8, "steps": s}
        for s in (4000, 2000, 1000, 500, 200)
    ]
    fitting = next((a for a in attempts if _size(shown, **a) <= room), attempts[-1])
    notes = [why] if why else []
    if fitting["model"] is None and not why:
        notes = ["too large to compute again in the page: no editing and no numeric gradients"]
    if _size(shown, **fitting) > room:
        notes.append(
            "the page is larger than two megabytes: give it fewer runs, or a model with fewer"
            " inputs"
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
    losses = sum(
        run.T * min(run.T, _most_losses(run))
        for run in shown
        if run.has_backward and (steps or run.T) >= run.T
    )
    bytes_each = (8 if double else 4) * 4 / 3  # as base64
    return int(bytes_each * numbers + 4 * 4 / 3 * losses) + (
        0 if model is None else len(json.dumps(model))
    )


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
        # the page would compute the cell's own terms, not those of another backward
        every = sampled or run.foreign
        kept += [
            "dy",
            *run.d_next,
            *(run.backward_terms if every else [f"da_{g}" for g in run.cell.GATES]),
        ]
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
) -> dict[str, Any]:
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
    return {
        **data,
        "notes": notes,
        "outputs": {name: _pack(v, double) for name, v in outputs.items()},
    }


def _run_as_data(
    run: RunTrace, n: int, double: bool, units: int | None, steps: int | None, notes: list[str]
) -> dict[str, Any]:
    T, H, options = int(run.lengths[n]), run.H, {o: getattr(run.cache, o) for o in run.cell.OPTIONS}
    chosen = (
        np.arange(H)
        if units is None or units >= H
        else np.unique(np.linspace(0, H - 1, units).round().astype(int))
    )
    start = 0 if steps is None else max(0, T - steps)
    if len(chosen) < H:
        _say(
            notes,
            f"{run.name}: {len(chosen)} of {H} units are shown, evenly spread, to keep the page"
            " small",
        )
    if start:
        _say(notes, f"{run.name}: the last {T - start} of {T} steps are shown")
    if run.foreign:
        _say(notes, f"{run.name}: the gradients are those of another backward than the cell's own")
    sampled = len(chosen) < H or bool(start)
    arrays = {"x": run["x"][start:T, n]}
    for name in run.cell.STATES:
        arrays[name] = run[name][start : T + 1, n][:, chosen]
    for name in _kept(run, sampled):
        arrays[name] = run[name][start:T, n][:, chosen]
    if run.has_backward:
        arrays["dx"] = run["dx"][start:T, n]
    data: dict[str, Any] = {
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
        "steps": steps_of(run, options),
    }
    if not sampled:
        data["params"] = {name: _pack(p, double) for name, p in run.params.items()}
        data["d_last"] = {name: _pack(d[n], double) for name, d in run.d_last.items()}
    if run.has_backward and not start:
        matrix = per_loss_gradients(run, n, most=_most_losses(run))
        if len(matrix.losses) > 1:
            losses = [int(t) for t in matrix.losses]
            data["perLoss"] = {
                "losses": losses,
                "of": _losses(run, n),
                "size": _pack(matrix.size, False),
            }
    return data


def steps_of(run: RunTrace, options: dict[str, Any]) -> dict[str, Any]:
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


def _model(trace: Trace) -> tuple[dict[str, Any] | None, str | None]:
    """The whole model as data for the page to compute, or None and the reason."""
    unknown = [
        m["kind"] for m in trace.modules if m["kind"] not in ("recurrent", "linear", *POINTWISE)
    ]
    if unknown:
        return (
            None,
            (
                f"the page cannot compute layers of the kind {unknown[0]}: no editing and no"
                " numeric gradients"
            ),
        )
    if trace.target is None:
        return None, "made without a target and a loss: no editing and no numeric gradients"
    if trace.loss_name not in LOSSES:
        return (
            None,
            (
                f"the page does not know the loss {trace.loss_name}: no editing and no numeric"
                " gradients"
            ),
        )
    runs = list(trace.runs.values())
    first = runs[0]
    foreigner = next((run.cell_name for run in runs if run.cell_name not in COMPUTED), None)
    if foreigner is not None:
        return (
            None,
            f"the page cannot compute the {foreigner} cell: no editing and no numeric gradients",
        )
    # of the one sequence in question
    work = sum(run.params["W_x"].size + run.params["W_h"].size for run in runs) * first.T
    if work > RECOMPUTED:
        return None, "too large to compute again in the page: no editing and no numeric gradients"
    foreign, wide = any(run.foreign for run in runs), max(run.H for run in runs) > EDITABLE_UNITS
    why = None
    if foreign:
        why = (
            "numbers cannot be edited: the page would compute the cell's own gradients, not those"
            " shown"
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
                "runs": [
                    {
                        "name": run.name,
                        "reversed": run.reversed,
                        "params": {k: _pack(p, True) for k, p in run.params.items()},
                        "init": [
                            {s: _pack(run[s][0, n], True) for s in run.cell.STATES}
                            for n in range(run.N)
                        ],
                    }
                    for run in own
                ],
            }
        else:
            kept["params"] = {k: _pack(p, True) for k, p in m["params"].items()}
        modules.append(kept)
    x = trace.x.swapaxes(0, 1) if batch_first else trace.x
    sequence_target = trace.target.ndim > 1 and not batch_first and _is_sequence(trace)
    targets = trace.target.swapaxes(0, 1) if sequence_target else trace.target
    whole = np.issubdtype(targets.dtype, np.integer)
    return {
        "modules": modules,
        "T": first.T,
        "D": int(first.cache.x.shape[2]),
        "lengths": [int(v) for v in first.lengths],
        "xs": [_pack(np.nan_to_num(x[:, n]), True) for n in range(first.N)],
        "targets": [np.ravel(t).tolist() if whole else _pack(t, True) for t in targets],
        "loss": trace.loss_name,
        "count": int(trace.target.size),
        "editable": not (foreign or wide),
    }, why


def _is_sequence(trace: Trace) -> bool:
    return not any(m["kind"] == "recurrent" and not m["return_sequences"] for m in trace.modules)


def _pack(array: Array, double: bool) -> dict[str, Any]:
    values = np.ascontiguousarray(array, dtype="<f8" if double else "<f4")
    return {
        "shape": list(values.shape),
        "data": base64.b64encode(values.tobytes()).decode(),
        "type": values.dtype.str[1:],
    }
