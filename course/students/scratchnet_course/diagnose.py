"""What is wrong with an answer, in words: which output, gate and step first, by what pattern, and
the name of the mistake.

A name is given with certainty only where a catalogued mistake gives the student's numbers in every
output of every case. Two mistakes at once are looked for in the same way. What matches in part is
said to be a guess, and what does not match is localised and not named.
"""

from collections.abc import Callable, Sequence
from itertools import combinations, permutations
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array
from scratchnet_course.exercise import Arguments, Exercise, Wrong

# relative: two codes that compute the same agree to about 1e-14, and a random match is out of the
# question
SAME = 1e-8
FEW = 20  # numbers in all cases together
Answer = dict[str, Any]


class Diagnosis(NamedTuple):
    """What was found.  ``names`` is empty where nothing was recognised."""

    right: bool
    names: tuple[str, ...]  # the mistakes, recognised with certainty: one, or two at once
    lines: tuple[str, ...]  # the whole diagnosis, to be read
    wrong: tuple[str, ...] = ()  # the outputs that are wrong

    def __str__(self) -> str:
        return "\n".join(self.lines)


def diagnose(exercise: Exercise, cases: Sequence[Arguments], given: Sequence[Any]) -> Diagnosis:
    """Compare a student's answers with the right ones and name the mistake.

    Parameters
    ----------
    exercise
        What was to be written.
    cases
        The arguments of each call.
    given
        What the student's function returned, one for each case.
    """
    answers: list[Answer] = []
    for answer in given:
        try:
            answers.append({name: np.asarray(v) for name, v in exercise.named(answer).items()})
        except ValueError as error:
            return Diagnosis(False, (), (str(error),))
    rights = [exercise.answer(arguments) for arguments in cases]
    shapes = [
        _shapes(arguments, right, answer)
        for arguments, right, answer in zip(cases, rights, answers)
    ]
    wrong = [_wrong(exercise, right, answer) for right, answer in zip(rights, answers)]
    if not any(wrong):
        return Diagnosis(
            True, (), (f"right: {', '.join(exercise.outputs)}, on {len(cases)} cases",)
        )
    bad_shapes = next((lines for lines in shapes if lines), None)
    lines = bad_shapes or _where(exercise, cases, rights, answers, wrong)
    names = tuple(dict.fromkeys(name for part in wrong for name in part))
    found = _recognised(exercise, cases, answers)
    if found:
        many = "two mistakes at once: " if len(found[0]) > 1 else ""
        titles = [" and ".join(w.name for w in group) for group in found]
        lines.insert(0, f"mistake: {many}{' or '.join(titles)}")
        for w in dict.fromkeys(w for group in found for w in group):
            lines.append(f"  {w.why}")
            lines.append(f"  lesson {exercise.lesson}: {w.paragraph or exercise.paragraph}")
        certain = tuple(w.name for w in found[0]) if len(found) == 1 else ()
        return Diagnosis(False, certain, tuple(lines), names)
    for name, w in [] if bad_shapes else _guesses(exercise, cases, rights, answers, wrong):
        lines.append(
            f"  {name} by itself looks as if: {w.name}. That does not explain the rest, so it is a"
            " guess."
        )
    lines.append(f"  not a mistake known by name; lesson {exercise.lesson}: {exercise.paragraph}")
    return Diagnosis(False, (), tuple(lines), names)


# ---- comparing ---------------------------------------------------------------------------------


def _shapes(arguments: Arguments, right: Answer, answer: Answer) -> list[str]:
    """What to say of outputs that have another shape than the right ones."""
    lines = []
    for name, r in right.items():
        shape, wanted = np.shape(answer[name]), np.shape(r)
        if shape != wanted:
            turned = ": it is transposed" if shape == wanted[::-1] else ""
            sizes = ", ".join(
                f"{key} {np.shape(v)}" for key, v in arguments.items() if isinstance(v, np.ndarray)
            )
            lines.append(f"{name} has shape {shape}, expected {wanted}{turned}")
            lines.append(f"  the arguments were {sizes}")
    return lines


def same(a: Array, b: Array, tolerance: float = SAME) -> bool:
    """Equal to ``tolerance`` of the largest element of b; a NaN equals nothing."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        return False
    size = max(float(np.max(np.abs(b), initial=0.0)), 1e-300)
    with np.errstate(invalid="ignore"):
        return bool(np.all(np.abs(a - b) <= tolerance * size))


def _wrong(exercise: Exercise, right: Answer, answer: Answer) -> list[str]:
    return [
        name for name in exercise.outputs if not same(answer[name], right[name], exercise.tolerance)
    ]


# ---- localising --------------------------------------------------------------------------------


def _where(
    exercise: Exercise,
    cases: Sequence[Arguments],
    rights: Sequence[Answer],
    answers: Sequence[Answer],
    wrong: Sequence[Sequence[str]],
) -> list[str]:
    """Which outputs are wrong, where in them it begins, and by what pattern: of the case that shows
    most."""
    simplest = next(k for k, names in enumerate(wrong) if names)
    first = max(range(len(cases)), key=lambda k: (len(wrong[k]), k))
    right, answer, names = rights[first], answers[first], wrong[first]
    fine = [name for name in exercise.outputs if name not in names]
    lines = [f"wrong: {', '.join(names)}" + (f"; right: {', '.join(fine)}" if fine else "")]
    if len(cases) > 1:
        passed = (
            f"; the first {simplest}, simpler, {'are' if simplest > 1 else 'is'} right"
            if simplest
            else ""
        )
        lines.append(f"  in case {first + 1} of {len(cases)}, {_sizes(cases[first])}{passed}")
    for name in names:
        a, r = np.asarray(answer[name], dtype=np.float64), np.asarray(right[name], dtype=np.float64)
        if not np.isfinite(a).all():
            lines.append(
                f"  {name}: {int(np.sum(~np.isfinite(a)))} of {a.size} numbers are NaN or infinite"
            )
            continue
        off = ~(np.abs(a - r) <= exercise.tolerance * max(float(np.abs(r).max(initial=0)), 1e-300))
        words = (
            _steps(exercise, name, off),
            _gates(exercise, name, off),
            _pattern(cases[first], a, r),
        )
        parts = [word for word in words if word]
        index = np.unravel_index(int(np.argmax(np.abs(a - r))), a.shape) if a.ndim else ()
        at = f"[{', '.join(map(str, index))}]" if index else ""
        parts.append(f"{name}{at} is {a[index]:.6g}, right is {r[index]:.6g}")
        lines.append(f"  {name}: {'; '.join(parts)}")
    return lines


def _sizes(arguments: Arguments) -> str:
    numbers = {name: v for name, v in arguments.items() if not isinstance(v, str)}
    return ", ".join(
        [
            f"{name} {np.shape(v)}" if np.ndim(v) else f"{name} = {v:g}"
            for name, v in numbers.items()
        ][:3]
    )


def _steps(exercise: Exercise, name: str, off: Array) -> str:
    if name not in exercise.timed or off.ndim < 1 or len(off) < 2:
        return ""
    bad = np.flatnonzero(off.reshape(len(off), -1).any(axis=1))
    T = len(off)
    if len(bad) == T:
        return "wrong at every step"
    if exercise.backwards:
        begins = int(bad.max())
        after = f", right after it up to t={T - 1}" if begins < T - 1 else ", the last step"
        return f"going backwards, wrong first at t={begins}{after}"
    begins = int(bad.min())
    return f"wrong first at t={begins}" + (", right before it" if begins else "")


def _gates(exercise: Exercise, name: str, off: Array) -> str:
    letters = exercise.gates.get(name, "")
    if len(letters) < 2 or off.shape[-1] % len(letters):
        return ""
    H = off.shape[-1] // len(letters)
    bad = [letter for k, letter in enumerate(letters) if off[..., k * H : (k + 1) * H].any()]
    return "in all gates" if len(bad) == len(letters) else f"in gate {', '.join(bad)} only"


def _pattern(arguments: Arguments, a: Array, r: Array) -> str:
    """A constant factor, the sign, zeros, or blocks in another order."""
    if not np.any(a):
        return "all zeros"
    use = np.abs(r) > 1e-9 * np.abs(r).max(initial=0)
    if use.any():
        ratio = a[use] / r[use]
        factor = float(np.median(ratio))
        if (
            np.all(np.abs(ratio - factor) <= 1e-6 * abs(factor))
            and same(a, factor * r, 1e-6)
            and a.size > 1
        ):
            return f"it is {_factor(arguments, factor)} times the right one everywhere"
    if a.ndim == 2 and a.shape[0] == a.shape[1] and same(a.T, r):
        return "it is the transpose of the right one"
    width = a.shape[-1] if a.ndim else 0
    for blocks in (3, 4):
        if width % blocks == 0 and width >= blocks and not same(a, r):
            pieces = np.split(r, blocks, axis=-1)
            for order in permutations(range(blocks)):
                if order != tuple(range(blocks)) and same(
                    a, np.concatenate([pieces[k] for k in order], axis=-1)
                ):
                    return (
                        f"its {blocks} blocks are in another order:"
                        f" {' '.join(str(k + 1) for k in order)}"
                    )
    return ""


def _factor(arguments: Arguments, factor: float) -> str:
    """A number, and what it may be: N, T, 1/N, ..."""
    sizes = {s for v in arguments.values() if isinstance(v, np.ndarray) for s in v.shape if s > 1}
    plain = [
        (f"{one}{size}", value)
        for size in sorted(sizes)
        for one, value in (("1/", 1 / size), ("", float(size)))
    ]
    squares = [(f"1/{size}^2", 1 / size**2) for size in sorted(sizes)]
    for text, value in (*plain, *squares):
        if abs(factor - value) < 1e-9:
            return f"{text} (a size of the arguments)"
    return f"{factor:.6g}"


# ---- recognising -------------------------------------------------------------------------------


def _recognised(
    exercise: Exercise, cases: Sequence[Arguments], answers: Sequence[Answer]
) -> list[tuple[Wrong, ...]]:
    """The mistakes, or pairs of them, that give these answers in every output of every case.

    A function that always answers the same is not recognised, and of a few numbers no pair: that
    could be by chance.
    """
    catalogue = exercise.catalogue
    if len(answers) > 1 and all(
        same(a[name], answers[0][name]) for a in answers for name in exercise.outputs
    ):
        return []
    found: list[tuple[Wrong, ...]] = [
        (w,) for w in catalogue if _gives(exercise, (w,), cases, answers)
    ]
    if found:
        return found
    if sum(a[name].size for a in answers for name in exercise.outputs) < FEW:
        return []
    pairs: list[tuple[Wrong, ...]] = list(combinations(catalogue, 2))
    return [pair for pair in pairs if _gives(exercise, pair, cases, answers)][:3]


def _gives(
    exercise: Exercise,
    wrongs: tuple[Wrong, ...],
    cases: Sequence[Arguments],
    answers: Sequence[Answer],
) -> bool:
    function = _planted(exercise, wrongs)
    if function is None:
        return False
    for arguments, answer in zip(cases, answers):
        made = _run(function, arguments)
        if made is None or not all(same(answer[name], made[name]) for name in exercise.outputs):
            return False
    return True


def _planted(exercise: Exercise, wrongs: tuple[Wrong, ...]) -> Callable[..., Answer] | None:
    try:
        return exercise.planted(*wrongs)
    except ValueError:
        return None  # two edits of one place


def _run(function: Callable[..., Answer], arguments: Arguments) -> Answer | None:
    given = {name: np.copy(v) if isinstance(v, np.ndarray) else v for name, v in arguments.items()}
    with np.errstate(all="ignore"):
        try:
            return function(**given)
        except (ValueError, IndexError, TypeError, ZeroDivisionError):
            return None  # what the mistake makes of this case is an exception


def _guesses(
    exercise: Exercise,
    cases: Sequence[Arguments],
    rights: Sequence[Answer],
    answers: Sequence[Answer],
    wrong: Sequence[Sequence[str]],
) -> list[tuple[str, Wrong]]:
    """(output, mistake) where a single mistake explains one wrong output of the last case, and not
    the others."""
    last, found = len(cases) - 1, []
    for w in exercise.catalogue:
        function = _planted(exercise, (w,))
        made = None if function is None else _run(function, cases[last])
        for name in wrong[last]:
            if (
                made is not None
                and same(answers[last][name], made[name])
                and not same(made[name], rights[last][name])
            ):
                found.append((name, w))
    return found[:2]
