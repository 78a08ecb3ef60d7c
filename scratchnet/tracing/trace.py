"""The trace of a whole pass: its runs, its loss, and its file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from scratchnet.arrays import Array, to_host
from scratchnet.cells import CELLS, Cell
from scratchnet.errors import ScratchnetError, UnknownNameError
from scratchnet.files import archives
from scratchnet.tracing.difference import first_difference
from scratchnet.tracing.run import RunTrace

FORMAT = 3  # of the .npz; goes up when an older library could not read it
# parts of a run in the .npz
PARTS = ("params", "cache", "d_next", "d_last", "grads", "step_norms", "observed", "outside")
FROM_TORCH = "torch "  # the kind of a module of PyTorch begins with it
WHOLE = ("x", "y", "target", "mask", "weights")  # arrays of the whole model
Data = dict[str, Any]  # names and values of several types, as JSON has them, or arrays


@dataclass(frozen=True, eq=False)
class Trace:
    """Everything one forward and backward pass of a model computed in its recurrent layers.

    ``runs`` name -> RunTrace, in the order of the forward pass; ``run`` is the last one, the only
    one of a simple model.
    """

    runs: dict[str, RunTrace]
    x: Array  # input of the model
    y: Array  # its output
    target: Array | None = None
    loss: float | None = None
    loss_name: str | None = None
    labels: tuple[str, ...] = ()  # a name for each step of the first sequence: characters, dates
    # the model's layers as data: kind, options, parameters by name
    modules: tuple[Data, ...] = ()
    title: str = ""
    # which targets count in the loss and how much: of the target's leading axes; None: all alike
    mask: Array | None = None
    weights: Array | None = None
    # set by ``scratchnet.trace``
    show_in_notebook: ClassVar[Callable[["Trace"], str] | None] = None

    @property
    def run(self) -> RunTrace:
        """The last run: the top layer, and of a bidirectional one the reverse direction."""
        return next(reversed(self.runs.values()))

    @property
    def has_backward(self) -> bool:
        """True if there are gradients: the trace was made with a target or a dy."""
        return self.run.has_backward

    def __getitem__(self, name: str) -> RunTrace:
        """A run by name; KeyError names those there are."""
        if name not in self.runs:
            raise UnknownNameError(f"the trace has no run {name!r}: it has {', '.join(self.runs)}")
        return self.runs[name]

    def _headline(self) -> str:
        first = self.run
        sequences = f"{first.N} sequence{'s' * (first.N > 1)}"
        loss = "" if self.loss is None else f", {self.loss_name} {self.loss:.6g}"
        return f"trace of {self.title or 'a model'}: {first.T} steps, {sequences}{loss}"

    def __str__(self) -> str:
        lines = [self._headline()]
        if not self.has_backward:
            lines.append("no target was given: the forward side is here, all gradients are missing")
        for run in self.on_host().runs.values():
            D = run.cache.x.shape[2]
            lines.append(f"  {run.name}: {run.cell_name}, {D} inputs, {run.H} units")
            for letter in run.cell.GATES if "gates" in run.cache._fields else ():
                values = run[letter][np.arange(run.T)[:, None] < run.lengths]  # without padding
                shut = f"below 0.1: {float(np.mean(np.abs(values) < 0.1)):4.0%}"
                opened = f"above 0.9: {float(np.mean(np.abs(values) > 0.9)):4.0%}"
                lines.append(f"    {letter}   mean {np.mean(values):6.3f}   {shut}   {opened}")
            for name in run.cell.STATES if run.has_backward else ():
                d = next((run[d] for d in (f"d{name}", f"d{name}_next") if d in run), None)
                if d is None:
                    continue  # not seen of a custom backward
                norms = np.linalg.norm(d, axis=(1, 2))
                ends = f"{norms[0]:.2e} at step 0, {norms[-1]:.2e} at step {run.T - 1}"
                lines.append(f"    |d{name}|  {ends}")
            if run.custom_backward:
                wrong = first_difference(run) or "nothing, up to rounding"
                lines.append(f"    first differs: {wrong}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<{self._headline()}>"

    def on_host(self) -> "Trace":
        """The same trace with every array in NumPy, for files and figures."""
        modules = tuple(
            {**m, "params": {name: to_host(p) for name, p in m["params"].items()}}
            for m in self.modules
        )
        runs = {name: run.on_host() for name, run in self.runs.items()}
        whole = {name: to_host(getattr(self, name)) for name in WHOLE}
        return replace(self, runs=runs, modules=modules, **whole)

    def save(self, path: str | Path) -> None:
        """Write the trace to ``path`` (.npz) as a whole: arrays and one JSON text, no pickles."""
        here = self.on_host()
        whole = {name: getattr(here, name) for name in WHOLE}
        arrays: dict[str, Array] = {k: array for k, array in whole.items() if array is not None}
        runs = []
        for number, run in enumerate(here.runs.values()):
            outside = {} if run.dy is None else {"dy": run.dy}
            parts: dict[str, Mapping[str, Any]] = {"cache": run.cache._asdict(), "outside": outside}
            parts |= {part: getattr(run, part) for part in PARTS if part not in parts}
            options = {}
            for part, values in parts.items():
                for name, value in values.items():
                    if part == "cache" and name in run.params:
                        continue  # the same array
                    if isinstance(value, str) or value is None:
                        options[name] = value
                    else:
                        arrays[f"{number}/{part}/{name}"] = value
            facts = {"name": run.name, "cell": run.cell_name, "options": options}
            runs.append({**facts, "custom_backward": run.custom_backward})
        modules = []
        for number, module in enumerate(here.modules):
            for name, value in module["params"].items():
                arrays[f"module{number}/{name}"] = value
            modules.append({**module, "params": list(module["params"])})
        about = {
            "format": FORMAT,
            "runs": runs,
            "modules": modules,
            "loss": self.loss,
            "loss_name": self.loss_name,
            "labels": list(self.labels),
            "title": self.title,
        }
        archives.save(path, arrays, about, compress=True)

    def _repr_html_(self) -> str | None:
        """The trace's page, once ``scratchnet.trace`` was used."""
        show = type(self).show_in_notebook
        return None if show is None else show(self)


def load(path: str | Path) -> Trace:
    """Read a trace from ``path``.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the file is damaged, is not a trace, or was written by a newer version.
    """
    with archives.opened(path, "a trace") as archive:
        about = archive.about
        if about is None:
            raise archive.refused("it is an .npz file, but has no 'about'")
        if not isinstance(about, dict) or not isinstance(about.get("format"), int):
            raise archive.refused("its 'about' is not one of a trace")
        if about["format"] > FORMAT:
            raise archive.refused(
                f"it is a trace of format {about['format']}, but this version reads up to {FORMAT}:"
                " update scratchnet"
            )
        try:
            _check_facts(about)
            _check_shapes(about, archive.shapes)
            for name, dtype in archive.dtypes.items():
                _require(dtype.kind in "biuf", f"{name} is of type {dtype}")
            trace = _rebuilt(about, {name: archive[name] for name in archive.shapes})
            for run in trace.runs.values():  # computes what the file does not hold
                list(run)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if isinstance(error, ScratchnetError):
                raise
            what = f"{type(error).__name__}: {error}"
            raise archive.refused(f"it is damaged, a part is missing or wrong ({what})") from error
    return trace


def _check_facts(about: Data) -> None:
    """ValueError or LookupError where the facts are not as ``save`` writes them."""
    kinds: dict[str, Any] = {"runs": list, "modules": list, "labels": list, "title": str}
    kinds |= {"loss": (int, float, type(None)), "loss_name": (str, type(None))}
    for name, kind in kinds.items():
        _require(isinstance(about[name], kind), f"{name} is a {type(about[name]).__name__}")
    about["loss"] = None if about["loss"] is None else float(about["loss"])
    _require(all(isinstance(label, str) for label in about["labels"]), "a label is not a text")
    for run in about["runs"]:
        cell = CELLS[run["cell"]]
        _require(isinstance(run["custom_backward"], bool), "custom_backward is not yes or no")
        _require(
            all(
                name in cell.Cache._fields and value in cell.OPTIONS.get(name, (None,))
                for name, value in run["options"].items()
            ),
            f"the options of {run['name']} are {run['options']}",
        )
    found = []
    for module in about["modules"]:
        names = [module["name"], module["kind"], *module["params"]]
        _require(all(isinstance(name, str) for name in names), "a module's name is not a text")
        if module["kind"] != "recurrent":
            continue
        cell = CELLS[module["cell"]]
        _require(
            module["options"].keys() <= cell.OPTIONS.keys()
            and all(value in cell.OPTIONS[name] for name, value in module["options"].items())
            and all(isinstance(module[name], bool) for name in ("batch_first", "return_sequences")),
            f"the options of {module['name']} are not its cell's",
        )
        prefix = f"{module['name']}." if module["name"] else ""
        found += [(f"{prefix}l{k}{direction}", module["cell"]) for k, direction in module["runs"]]
    runs = [(run["name"], run["cell"]) for run in about["runs"]]
    elsewhere = any(module["kind"].startswith(FROM_TORCH) for module in about["modules"])
    _require(
        bool(runs) and (elsewhere or runs == found),
        f"the modules have the runs {found}, not {runs}",
    )


def _check_shapes(about: Data, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """ValueError or LookupError unless the arrays, by their headers, are those of such a trace."""
    known = {*WHOLE}
    for number, module in enumerate(about["modules"]):
        known |= {f"module{number}/{name}" for name in module["params"]}
    for number, facts in enumerate(about["runs"]):
        cell, prefix = CELLS[facts["cell"]], f"{number}/cache/"
        (T, N, D), H = shapes[prefix + "x"], shapes[prefix + "h"][2]
        params = cell.param_shapes(D, H)
        expected: dict[str, tuple[int, ...]]
        expected = {f"{number}/params/{name}": shape for name, shape in params.items()}
        expected |= {prefix + name: (T + 1, N, H) for name in cell.STATES}
        known |= {prefix + name for name in cell.Cache._fields} | expected.keys()
        if f"{number}/outside/dy" in shapes:
            own: dict[str, tuple[int, ...]] = {"outside/dy": (T, N, H), "grads/dx": (T, N, D)}
            own |= {f"d_last/d{name}_last": (N, H) for name in cell.STATES}
            own |= {f"grads/d{name}0": (N, H) for name in cell.STATES}
            own |= {f"grads/d{name}": shape for name, shape in params.items()}
            # of a custom backward, what was seen
            seen: dict[str, tuple[int, ...]] = {"grads/da": (T, N, len(cell.GATES) * H)}
            seen |= {f"d_next/d{name}_next": (T, N, H) for name in cell.STATES}
            seen |= {f"step_norms/d{name}": (T,) for name in params}
            prefix_seen = f"{number}/observed/"
            custom = facts["custom_backward"]
            terms = {name: (T, N, H) for name in shapes if name.startswith(prefix_seen) and custom}
            some = {f"{number}/{name}": shape for name, shape in seen.items()} | terms
            expected |= {f"{number}/{name}": shape for name, shape in own.items()}
            expected |= {
                name: shape for name, shape in some.items() if name in shapes or not custom
            }
            known |= expected.keys() | {f"{number}/grads/{name}" for name in cell.Grads._fields}
        for name, shape in expected.items():
            _require(shapes[name] == shape, f"{name} is {shapes[name]}, expected {shape}")
        for name, axes in _axes(cell).items():
            if prefix + name in shapes:
                shape = shapes[prefix + name]
                fits = axes < 3 or (shape[0] in (1, T, T + 1) and shape[1] in (1, N))
                _require(len(shape) == axes and fits, f"{name} is {shape}")
        _require(shapes.get(prefix + "lengths", (N,)) == (N,), "lengths are not one a sequence")
        labels = len(about["labels"])
        _require(number > 0 or labels in (0, T), f"there are {labels} labels for {T} steps")
    # of a module of PyTorch nothing says which axis the batch is
    elsewhere = any(module["kind"].startswith(FROM_TORCH) for module in about["modules"])
    batch = 0 if any(module.get("batch_first") for module in about["modules"]) else 1
    for name in ("x", "y", "target"):
        shape = shapes.get(name, ())
        if name == "x" or len(shape) == 3:
            _require(
                elsewhere or (len(shape) > 1 and shape[batch] == N),
                f"{name} is {shape} of {N} sequences",
            )
    target = shapes.get("target", (N,))
    _require(target != (), "target is one number")
    for name in ("mask", "weights"):
        shape = shapes.get(name, target)
        _require(shape == target[: len(shape)] != (), f"{name} is {shape}, the target {target}")
    _require({"x", "y"} <= shapes.keys() <= known, f"unknown {sorted(shapes.keys() - known)}")


def _axes(cell: Cell) -> dict[str, int]:
    """How many axes each array of the cell's cache has, from a pass over one number."""
    params = [np.zeros(shape) for shape in cell.param_shapes(1, 1).values()]
    cache = cell.forward(np.zeros((1, 1, 1)), *(np.zeros((1, 1)) for _ in cell.STATES), *params)[1]
    own = cache._asdict().items()
    return {name: value.ndim for name, value in own if isinstance(value, np.ndarray)}


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)  # ``load`` names the file


def _rebuilt(about: Data, arrays: dict[str, Array]) -> Trace:
    """A trace from what ``save`` wrote."""
    runs = {}
    for number, facts in enumerate(about["runs"]):
        parts: dict[str, Data] = {part: {} for part in PARTS}
        for name, value in arrays.items():
            owner, _, rest = name.partition("/")
            if owner == str(number):
                part, _, key = rest.partition("/")
                parts[part][key] = value
        make: Any = CELLS[facts["cell"]].Cache
        known = {**facts["options"], **parts["params"], **parts["cache"]}
        cache = make(**{name: known.get(name) for name in make._fields})
        dy, custom = parts.pop("outside").get("dy"), facts["custom_backward"]
        kept: Data = parts | {"cache": cache, "dy": dy, "custom_backward": custom}
        runs[facts["name"]] = RunTrace(facts["name"], facts["cell"], **kept)
    modules = tuple(
        {**module, "params": {name: arrays[f"module{number}/{name}"] for name in module["params"]}}
        for number, module in enumerate(about["modules"])
    )
    kept = {name: about[name] for name in ("loss", "loss_name", "title")}
    kept |= {"labels": tuple(about["labels"]), "modules": modules}
    whole: Data = {name: arrays.get(name) for name in WHOLE}
    return Trace(runs, **whole, **kept)
