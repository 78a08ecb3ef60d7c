"""Make the key of an exercise from its right answer: run it and every mutant of it on the cases."""

import ast
import copy
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scratchnet_course.keys import (
    RAISED,
    Case,
    Key,
    Named,
    Step,
    fingerprint,
    part,
    parts,
    pieces,
    sizes_of,
    step_names,
)
from scratchnet_course.moments import moments
from scratchnet_course.packs import VARIABLE
from scratchnet_course.probe import PROBE, Record, probed

from scratchnet.arrays import Array
from scratchnet.elementwise import d_sigmoid, d_tanh, sigmoid
from scratchnet.errors import InvalidValueError
from scratchnet_instructor import mutants
from scratchnet_instructor.reference import Arguments, Reference
from scratchnet_instructor.references import REFERENCES

MOST_TIMES = 12  # how often, in a loop, the wrong versions of a statement are noted
HELPERS = {"sigmoid": sigmoid, "d_sigmoid": d_sigmoid, "d_tanh": d_tanh, "np": np}


def key(name: str, seed: int) -> Key:
    """Return the key of an exercise for a seed and a second one that follows from it.

    The entry point "scratchnet.keys".
    """
    if name not in REFERENCES:
        raise InvalidValueError(
            f"{name} is of a pack whose right answers are not here: name its folder in {VARIABLE}"
        )
    return made(REFERENCES[name], (seed, seed + 1_000_003)).key


def keys(names: Sequence[str], seed: int, workers: int) -> dict[str, Key]:
    """Return the keys of several exercises, made in several processes."""
    if workers == 1 or len(names) < 2:
        return {name: key(name, seed) for name in names}
    with ProcessPoolExecutor(min(workers, len(names))) as pool:
        made = pool.map(key, names, [seed] * len(names))
        return dict(zip(names, made))


class Made(NamedTuple):
    """A key, and how it was made."""

    key: Key
    mutants: int  # how many were tried
    equivalent: tuple[str, ...]  # those that give the right numbers


@lru_cache(maxsize=128)
def made(reference: Reference, seeds: tuple[int, ...]) -> Made:
    """Make a key once, without warnings: a wrong function may divide by zero, or worse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _make(reference, seeds)


def _make(reference: Reference, seeds: tuple[int, ...]) -> Made:
    space = {**HELPERS, **reference.right.__globals__}
    tree = with_named_outputs(mutants.tree_of(reference.right), reference.outputs)
    drawn = [list(reference.cases(np.random.default_rng(seed))) for seed in seeds]
    shapes = mutants.scopes_of(tree, space, drawn[0])
    changed = mutants.mutants(tree, reference.outputs, shapes)
    runs: list[Callable[..., Any]] = [reference.planted(wrong) for wrong in reference.catalogue]
    runs += [_named(reference, mutants.compiled(one.code, tree.name, space)) for one in changed]
    known = [Named(w.name, w.why, w.paragraph) for w in reference.catalogue]
    known += [Named(one.name) for one in changed]
    # first all outputs, so that mistakes that are the same can be put together
    outputs = [
        [np.array([_prints(reference, run, case) for run in runs]) for case in cases]
        for cases in drawn
    ]
    rights = [[reference.answer(case) for case in cases] for cases in drawn]
    same_as = _merged(reference, outputs, rights)
    kept = sorted(set(same_as) - {-1})
    number = {old: new for new, old in enumerate(kept)}
    first = len(reference.catalogue)
    local = [(number.get(same_as[first + k], -1), one) for k, one in enumerate(changed)]
    cases = tuple(
        tuple(
            _case(reference, tree, space, case, right, found[kept], local)
            for case, right, found in zip(*row)
        )
        for row in zip(drawn, rights, outputs)
    )
    equal = tuple(one.name for one, same in zip(changed, same_as[first:]) if same == -1)
    return Made(Key(seeds, cases, tuple(known[k] for k in kept)), len(changed), equal)


def with_named_outputs(tree: ast.FunctionDef, outputs: Sequence[str]) -> ast.FunctionDef:
    """What is returned as an expression gets the output's name first, so that it is a step."""
    last = tree.body[-1]
    if not isinstance(last, ast.Return) or last.value is None:
        return tree
    if isinstance(last.value, ast.Dict):
        values = last.value.values
    else:
        values = last.value.elts if isinstance(last.value, ast.Tuple) else [last.value]
    if len(values) != len(outputs):
        return tree
    for k, (value, name) in enumerate(zip(list(values), outputs)):
        later = {n.id for v in values[k + 1 :] for n in ast.walk(v) if isinstance(n, ast.Name)}
        if isinstance(value, ast.Name) or name in later:
            continue
        made = ast.Assign([ast.Name(name, ast.Store())], value)
        tree.body.insert(-1, made)
        if len(values) == 1 and not isinstance(last.value, (ast.Tuple, ast.Dict)):
            last.value = ast.Name(name, ast.Load())
        else:
            values[k] = ast.Name(name, ast.Load())
    return ast.fix_missing_locations(tree)


def _named(reference: Reference, function: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    return lambda **arguments: reference.exercise.named(function(**arguments))


def _copied(arguments: Arguments) -> Arguments:
    return {name: np.copy(v) if isinstance(v, np.ndarray) else v for name, v in arguments.items()}


def _prints(reference: Reference, run: Callable[..., dict[str, Any]], case: Arguments) -> Array:
    """The fingerprints of an answer's parts."""
    which = parts(reference.exercise)
    with np.errstate(all="ignore"):
        try:
            answer = run(**_copied(case))
            made = [fingerprint(part(answer, reference.gates, one)) for one in which]
        except Exception:
            made = [RAISED] * len(which)
    return np.array(made)


def _merged(
    reference: Reference, outputs: list[list[Array]], rights: list[list[dict[str, Any]]]
) -> list[int]:
    """For each mistake the first one that gives the same numbers; -1 where they are right."""
    table = np.concatenate([case for cases in outputs for case in cases], axis=1)
    which = parts(reference.exercise)
    right = np.concatenate(
        [
            [fingerprint(part(answer, reference.gates, one)) for one in which]
            for answers in rights
            for answer in answers
        ]
    )
    size = np.maximum(np.abs(table), np.abs(right)) + 1e-6
    found: list[int] = []
    for k, row in enumerate(table):
        if np.all(np.abs(row - right) <= 1e-12 * size[k]):
            found.append(-1)
            continue
        close = np.all(np.abs(table[:k] - row) <= 1e-11 * size[:k], axis=1)
        found.append(int(np.argmax(close)) if close.any() else k)
    return found


# ---- what one run computes on its way ----------------------------------------------------------


class _Note:
    """Called before each statement of the right function: the right value of what it assigns,
    and what the wrong versions of the statement would give there."""

    def __init__(
        self,
        tree: ast.FunctionDef,
        space: dict[str, Any],
        local: Sequence[tuple[int, mutants.Mutant]],
    ) -> None:
        self.space = space
        self.steps: list[Step] = []
        self.increments: list[Array] = []
        self.names: list[Array] = []
        self.wrong: list[tuple[int, int]] = []
        self.moments: list[Array] = []
        self.times: dict[int, int] = {}
        self.statements = mutants.statements(tree)
        self.right = [self._value(statement) for statement in self.statements]
        self.loops = sorted(
            {
                n.target.id
                for n in ast.walk(tree)
                if isinstance(n, ast.For) and isinstance(n.target, ast.Name)
            }
        )
        self.wrongs: dict[int, list[tuple[int, Any]]] = {}
        for number, one in local:
            if one.wrong and number >= 0:
                code = compile(one.wrong, "<wrong>", "eval")
                self.wrongs.setdefault(one.statement, []).append((number, code))

    @staticmethod
    def _value(statement: ast.stmt) -> tuple[str, Any, Any]:
        """(what is assigned, its value, the increment)."""
        target = mutants._target(statement)
        if not target or getattr(statement, "value", None) is None:
            return "", None, None
        text = ast.unparse(statement.value)  # type: ignore[attr-defined]
        added = None
        if isinstance(statement, ast.AugAssign):
            added = compile(text, "<right>", "eval")
            text = f"{target} {mutants._sign(statement.op)} ({text})"
        return target, compile(text, "<right>", "eval"), added

    def __call__(self, number: int, names: dict[str, Any]) -> None:
        target, code, added = self.right[number]
        for one in names.values():  # also what was unpacked, which is no step
            there = _number(one)
            if there is not None:
                self.names.append(there)
        if not target:
            return
        with np.errstate(all="ignore"):
            value = _number(eval(code, self.space, dict(names)))
            if value is None:
                return
            if added is not None:
                self.increments.append(_number(eval(added, self.space, dict(names))))  # type: ignore[arg-type]
            at = ", ".join(f"{k}={names[k]}" for k in self.loops if isinstance(names.get(k), int))
            inside = target.split("[")[0] if "[" in target else target
            step = len(self.steps)
            self.steps.append(Step(inside, at, value))
            self.times[number] = self.times.get(number, 0) + 1
            if self.times[number] > MOST_TIMES:
                return
            for mistake, wrong in self.wrongs.get(number, ()):
                try:
                    made = _number(eval(wrong, self.space, dict(names)))
                except Exception:
                    continue
                if made is not None and not (
                    made.shape == value.shape and np.allclose(made, value, 1e-9, 1e-12)
                ):
                    self.wrong.append((mistake, step))
                    self.moments.append(moments(made))


def _number(value: Any) -> Array | None:
    """An array of numbers, or None."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    usable = array.size and array.dtype.kind in "fiub"  # eigenvalues may be complex
    return np.array(array, dtype=np.float64) if usable else None


def _owners(text: str) -> dict[int, str]:
    """What is assigned on each line of a program that has one statement a line."""
    found = {}
    for statement in mutants.statements(ast.parse(text)):
        target = mutants._target(statement)
        if target:
            found[statement.lineno] = target.split("[")[0]
    return found


def _case(
    reference: Reference,
    tree: ast.FunctionDef,
    space: dict[str, Any],
    case: Arguments,
    right: dict[str, Any],
    outputs: Array,
    local: Sequence[tuple[int, mutants.Mutant]],
) -> Case:
    """Run the right function once more, and note what it computes."""
    note = _Note(tree, space, local)
    made = copy.deepcopy(tree)
    mutants.probe(made, lambda k: [ast.parse(f"__note__({k}, dict(locals()))").body[0]])
    mutants.compiled(ast.unparse(made), tree.name, {**space, "__note__": note})(**_copied(case))
    text = ast.unparse(tree)
    program, places = probed(text, "<right>")
    owners = _owners(text)
    record = Record(places, tree.name)
    own = {**space, PROBE: record}
    exec(program, own)
    own[tree.name](**_copied(case))
    times, blocks = sizes_of(reference.exercise, case)
    values = [step.value for step in note.steps] + note.increments
    values += [np.asarray(v) for v in right.values()] + note.names
    values += [np.asarray(v, float) for v in case.values() if np.asarray(v).dtype.kind in "fiub"]

    def table(arrays: Sequence[Array]) -> Array:
        rows = [moments(one) for v in arrays if v.size for _, one in pieces(v, times, blocks)]
        return np.unique(np.array(rows).reshape(-1, 4), axis=0)

    names = step_names(note.steps)
    by_owner: dict[str, Any] = {}
    for number, value in record.events:
        by_owner.setdefault(owners.get(places[number].line, ""), []).append(value)
    by_owner = {owner: table(some) for owner, some in by_owner.items()}
    return Case(
        case,
        {name: np.asarray(v) for name, v in right.items()},
        tuple(note.steps),
        table(values),
        np.concatenate(
            [
                np.column_stack(
                    [made, np.full(len(made), names.index(owner) if owner in names else -1)]
                )
                for owner, made in by_owner.items()
            ]
            or [np.zeros((0, 5))]
        ),
        np.array(note.wrong, np.int64).reshape(-1, 2),
        np.array(note.moments).reshape(-1, 4),
        outputs,
    )
