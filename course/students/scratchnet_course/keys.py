"""What the checker knows of an exercise: arguments, right outputs and intermediates, and the
fingerprints of known mistakes. Numbers only: no formula, and no code.

A fingerprint of an output is one number, a weighted sum of its elements; two codes that make the
same mistake agree in it to rounding. An intermediate has another, its first three moments, which
stay the same when the array is transposed, reshaped or cut out of a larger one.
"""

import io
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array
from scratchnet.errors import UnavailableError
from scratchnet_course.compiled import answers
from scratchnet_course.exercise import Exercise
from scratchnet_course.moments import SAME, moments, plain
from scratchnet_course.packs import place_of


class Named(NamedTuple):
    """A mistake."""

    name: str  # "da_f lacks the factor f (1 - f)"
    why: str = ""  # the sentence that sets it right; of a catalogued one only
    paragraph: str = ""  # the heading in the lesson where it is explained


class Step(NamedTuple):
    """A right intermediate: what one assignment gives, once."""

    name: str  # "da_f"
    at: str  # "t=4" in a loop
    value: Array


class Case(NamedTuple):
    """One call.

    Parameters
    ----------
    arguments
        Of the call.
    right
        Output -> what is right.
    steps
        The right intermediates, in the order in which they are computed.
    known
        (K, 4), size and moments of every right value: intermediates, arguments and outputs, whole
        and in pieces.
    expressions
        (E, 5), of what is computed on the way to them, "dc * g" of "dc * g * d_sigmoid(i)"; and of
        which of the `step_names`, here da_i, or -1.
    wrong
        (M, 2), for each fingerprint of a wrong intermediate: the number of the mistake, and of the
        step of which it is the wrong version.
    wrong_moments
        (M, 4), size and moments of the wrong intermediates.
    outputs
        (mistakes, parts), fingerprints of the outputs' `parts`.
    """

    arguments: dict[str, Any]
    right: dict[str, Array]
    steps: tuple[Step, ...]
    known: Array
    expressions: Array
    wrong: Array
    wrong_moments: Array
    outputs: Array

    def reached(self) -> tuple[Array, int]:
        """The moments of the intermediates, then of what is computed on the way to them, without
        what says nothing; and how many are of intermediates."""
        own = [moments(step.value) for step in self.steps if not plain(step.value)]
        rows = self.expressions[:, :4]
        size, total = rows[:, 0], rows[:, 1]
        with np.errstate(under="ignore"):
            spread = size * rows[:, 2] > total**2 * (1 + SAME)
        number = (size == 1) & (total != np.rint(total))
        table = np.concatenate([np.array(own).reshape(-1, 4), rows[spread | number]])
        return table, len(own)


class Key(NamedTuple):
    """Of one exercise."""

    seeds: tuple[int, ...]
    cases: tuple[tuple[Case, ...], ...]  # for each seed, from the simplest to the general one
    mistakes: tuple[Named, ...]


# ---- as files ----------------------------------------------------------------------------------


def packed(key: Key) -> bytes:
    """A key as a file: an npz of plain arrays, of which one is JSON."""
    arrays: dict[str, Array] = {}
    cases: list[list[Any]] = []
    for row in key.cases:
        cases.append([])
        for case in row:
            number = f"{len(cases) - 1}.{len(cases[-1])}"
            arrays |= {f"{number}.argument.{k}": np.asarray(v) for k, v in case.arguments.items()}
            arrays |= {f"{number}.right.{k}": np.asarray(v) for k, v in case.right.items()}
            values = [step.value for step in case.steps]
            flat = np.concatenate([v.ravel() for v in values]) if values else np.zeros(0)
            arrays[f"{number}.steps"] = flat
            arrays |= {
                f"{number}.{k}": getattr(case, k)
                for k in ("known", "expressions", "wrong_moments", "outputs")
            }
            arrays[f"{number}.wrong"] = case.wrong.astype(np.int32)
            cases[-1].append([(step.name, step.at, step.value.shape) for step in case.steps])
    about = {"seeds": key.seeds, "cases": cases, "mistakes": key.mistakes}
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


@lru_cache(maxsize=128)
def load(path: Path) -> Key:
    """Read the file of a key."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(bytes(arrays["about"]))
    rows = []
    for k, row in enumerate(about["cases"]):
        rows.append(tuple(_case(arrays, f"{k}.{n}", steps) for n, steps in enumerate(row)))
    return Key(tuple(about["seeds"]), tuple(rows), tuple(Named(*one) for one in about["mistakes"]))


def _case(arrays: dict[str, Array], number: str, steps: list[Any]) -> Case:
    def named(kind: str) -> dict[str, Array]:
        start = f"{number}.{kind}."
        return {name[len(start) :]: v for name, v in arrays.items() if name.startswith(start)}

    flat, values = arrays[f"{number}.steps"], []
    for name, at, shape in steps:
        size = int(np.prod(shape))
        values.append(Step(name, at, flat[:size].reshape(shape)))
        flat = flat[size:]
    arguments = {k: v if v.ndim else v.item() for k, v in named("argument").items()}
    fields = [
        arrays[f"{number}.{k}"]
        for k in ("known", "expressions", "wrong", "wrong_moments", "outputs")
    ]
    return Case(arguments, named("right"), tuple(values), *fields)


def step_names(steps: Sequence[Step]) -> list[str]:
    """The names of intermediates, in alphabetical order."""
    return sorted({step.name for step in steps})


def of(exercise: Exercise, seed: int | None = None) -> Key:
    """Return the key of an exercise: that of the package, or of another seed.

    Raises
    ------
    RuntimeError
        If a seed is given and the instructor's distribution, which can make a key for it, is not
        installed.
    """
    if seed is None:
        return load(place_of(answers(), f"{exercise.id.replace('/', '_')}.npz"))
    makers = list(entry_points(group="scratchnet.keys"))
    if not makers:
        raise UnavailableError(
            f"seed is {seed}, but the arguments of other seeds come with the instructor's"
            " distribution: expected no seed"
        )
    key: Key = makers[0].load()(exercise.id, seed)
    return key


# ---- fingerprints ------------------------------------------------------------------------------


def weights(shape: tuple[int, ...]) -> Array:
    """What a fingerprint multiplies the elements of an array of that shape with."""
    rng = np.random.default_rng([7, *shape])
    return rng.uniform(0.5, 1.5, shape)


RAISED = 1e300  # the fingerprint of an answer that is an exception


def fingerprint(values: Any) -> float:
    """One number for an array; those that are not finite count, too."""
    array = np.asarray(values)
    if array.dtype.kind == "c":
        array = array.real + array.imag
    array = array.astype(np.float64)
    kept = np.nan_to_num(array, nan=1e9, posinf=2e9, neginf=-2e9)
    return float((kept * weights(array.shape)).sum())


def alike(a: Array, b: Array, size: Array) -> Array:
    """Where two fingerprints agree; ``size`` is of the values: their largest times their number."""
    with np.errstate(invalid="ignore"):
        return np.abs(a - b) <= SAME * np.maximum(size, 1e-250)


def parts(exercise: Exercise) -> list[tuple[str, str]]:
    """(output, gate): every output, then every block of one."""
    whole = [(name, "") for name in exercise.outputs]
    return whole + [(name, gate) for name, gates in exercise.gates.items() for gate in gates]


def part(answer: Mapping[str, Any], gates: Mapping[str, str], which: tuple[str, str]) -> Array:
    """An output of an answer, or its block of one gate."""
    name, gate = which
    array = np.asarray(answer[name])
    if not gate or array.ndim == 0 or array.shape[-1] % len(gates[name]):
        return array
    k, width = gates[name].index(gate), array.shape[-1] // len(gates[name])
    return array[..., k * width : (k + 1) * width]


def pieces(value: Array, times: Sequence[int], blocks: Sequence[int]) -> list[tuple[str, Array]]:
    """An array, its slices where an axis is time, and the blocks where one is of all gates: each
    with what it is called, "[3]" or "[..., 1st block]".

    Parameters
    ----------
    value
        An array.
    times
        The lengths of an axis that is time.
    blocks
        How many blocks the last axis may have, for each of its lengths that has blocks.
    """
    found = [("", value)]
    for axis in range(value.ndim):
        if value.ndim > 1 and value.shape[axis] in times:
            found += [(f"[t={t}]", np.take(value, t, axis)) for t in range(value.shape[axis])]
            break
    for called, one in list(found):
        for axis in range(one.ndim):
            for count in blocks:
                if one.shape[axis] % count == 0 and one.shape[axis] > count:
                    cut = np.split(one, count, axis)
                    found += [(f"{called}[block {k}]", piece) for k, piece in enumerate(cut)]
    return found


def sizes_of(exercise: Exercise, case: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """The lengths of an axis of time, and into how many blocks of gates an axis is cut."""
    long = [len(v) for v in case.values() if np.ndim(v) == 3]
    times = sorted({n + k for n in long for k in (-1, 0, 1)} if long else set())
    blocks = sorted({len(gates) for gates in exercise.gates.values()} | {4} if long else set())
    return times, blocks
