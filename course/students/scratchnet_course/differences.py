"""How an output differs from the right one, in words: where, by what factor or pattern, or by which
value that is missing.
"""

import math
from fractions import Fraction
from itertools import combinations, permutations

import numpy as np

from scratchnet.arrays import Array
from scratchnet_course.exercise import Arguments, Exercise
from scratchnet_course.inside import same
from scratchnet_course.keys import Case
from scratchnet_course.moments import SAME

USUAL = (1, 2, 0.5, 10, 0.1, 100, 0.01, 1000, 0.001)
CONSTANTS = {
    "ln 2": math.log(2),
    "1/ln 2": 1 / math.log(2),
    "ln 10": math.log(10),
    "1/ln 10": 1 / math.log(10),
    "sqrt(2)": math.sqrt(2),
    "1/sqrt(2)": math.sqrt(0.5),
    "pi": math.pi,
    "2 pi": 2 * math.pi,
    "1/pi": 1 / math.pi,
    "1/(2 pi)": 0.5 / math.pi,
}


def reshaped(given: Array, right: Array) -> str:
    """How an output of another shape comes from the right one."""
    if given.shape == right.shape[::-1] and given.ndim > 1:
        return ": it is transposed" + ("" if same(given.T, right) else ", and its numbers differ")
    if given.size == right.size and same(given.ravel(), right.ravel()):
        return ": the numbers are right"
    if given.ndim == right.ndim and given.ndim and given.shape[1:] == right.shape[1:]:
        short, less = min(len(given), len(right)), len(right) - len(given)
        what = f"{abs(less)} {'row' if given.ndim > 1 else 'number'}{'s' if abs(less) > 1 else ''}"
        what += " missing" if less > 0 else " too many"
        if same(given[:short], right[:short]):
            return f": {what} at the end"
        if same(given[-short:], right[-short:]):
            return f": {what} at the beginning"
        if short > 2 and same(given[1 : short - 1], right[1 : short - 1]):
            return ": an end differs"
    return ""


def numbers(given: Array, right: Array, name: str = "") -> str:
    """The element that differs most, with enough digits to see how."""
    if given.shape != right.shape:
        given = given.reshape(right.shape)
    index = (
        np.unravel_index(int(np.argmax(np.abs(given - right))), right.shape) if right.ndim else ()
    )
    at = f"{name}[{', '.join(map(str, index))}]" if index else name
    a, r = float(given[index]), float(right[index])
    digits = 6
    while f"{a:.{digits}g}" == f"{r:.{digits}g}" and digits < 17:
        digits += 2
    return f"{at} is {a:.{digits}g}, right is {r:.{digits}g}".strip()


def sizes(arguments: Arguments) -> str:
    """The arguments of a case: shapes of arrays, and numbers."""
    arrays = [f"{name} {np.shape(v)}" for name, v in arguments.items() if np.ndim(v)]
    numbers = [f"{name} = {v:g}" for name, v in arguments.items() if not np.ndim(v)]
    return ", ".join([*arrays, *numbers])


def steps(exercise: Exercise, name: str, off: Array) -> str:
    """From which step on an output is wrong, in the direction in which it is computed."""
    if name not in exercise.timed or off.ndim < 1 or len(off) < 2:
        return ""
    bad = np.flatnonzero(off.reshape(len(off), -1).any(axis=1))
    T = len(off)
    if len(bad) == T:
        return "wrong at every step"
    if exercise.backwards:
        begins = int(bad.max())
        if begins == T - 1:
            return "wrong from the last step on, going back"
        fine = f"at t={T - 1}" if begins == T - 2 else f"from t={T - 1} back to t={begins + 1}"
        return f"right {fine}, wrong from t={begins} back"
    begins = int(bad.min())
    return f"wrong first at t={begins}" + (", right before it" if begins else "")


def gates(exercise: Exercise, name: str, off: Array) -> str:
    """In which gates an output is wrong."""
    letters = exercise.gates.get(name, "")
    if len(letters) < 2 or off.shape[-1] % len(letters):
        return ""
    H = off.shape[-1] // len(letters)
    bad = [letter for k, letter in enumerate(letters) if off[..., k * H : (k + 1) * H].any()]
    return "in all gates" if len(bad) == len(letters) else f"in gate {', '.join(bad)} only"


def pattern(case: Case, a: Array, r: Array) -> str:
    """A constant factor, the sign, zeros, a transpose, blocks or steps in another order; or a
    known value that is missing as a factor or as a term."""
    if not np.any(a):
        return "all zeros" if a.size > 1 else ""
    if a.ndim == 2 and len(a) > 1 and a.shape[0] == a.shape[1] and same(a, np.eye(len(a))):
        return "it is the identity"
    use = np.abs(r) > 1e-9 * np.abs(r).max(initial=0)
    if use.any():
        ratio = a[use] / r[use]
        factor = float(np.median(ratio))
        constant = np.all(np.abs(ratio - factor) <= 1e-6 * abs(factor)) and same(
            a, factor * r, 1e-6
        )
        said = _factor(case.arguments, factor)
        if constant and abs(factor - 1) > 1e-4 and (a.size > 1 or _means(factor, r, said)):
            everywhere = " everywhere" if a.size > 1 else ""
            return f"it is {said} times the right one{everywhere}"
    if a.ndim == 2 and a.shape[0] == a.shape[1] and same(a.T, r):
        return "it is the transpose of the right one"
    if a.ndim and len(a) > 1:
        if same(a, r[::-1]):
            return "it is the right one back to front"
        for by in (1, -1):
            if same(a, np.roll(r, by, axis=0)) or (len(a) > 2 and _shifted(a, r, by)):
                return f"it is the right one, one place {'later' if by > 0 else 'earlier'}"
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
    return _by_algebra(case, a, r) or _where_wrong(case, a, r)


def _where_wrong(case: Case, a: Array, r: Array) -> str:
    """What the wrong elements have in common: zeros, the padding, one row or column."""
    off = ~(np.abs(a - r) <= SAME * max(float(np.abs(r).max(initial=0)), 1e-250))
    if a.size < 4 or off.all():
        return ""
    found = []
    lengths = case.arguments.get("lengths")
    if lengths is not None and a.ndim >= 2 and a.shape[1] == len(lengths):
        padding = (np.arange(len(a))[:, None] >= lengths).reshape(a.shape[:2] + (1,) * (a.ndim - 2))
        padding = np.broadcast_to(padding, a.shape)
        if not (off & ~padding).any():
            found.append("wrong in the padding only")
        elif not (off & padding).any():
            found.append("right in the padding")
    if not np.any(a[off]) and np.any(r[off]):
        found.append("zero where it is wrong")
    return ", ".join(found) or f"{int(off.sum())} of {a.size} numbers are wrong"


def _shifted(a: Array, r: Array, by: int) -> bool:
    return same(a[by:], r[:-by]) if by > 0 else same(a[:by], r[-by:])


def _by_algebra(case: Case, a: Array, r: Array) -> str:
    """What has to be multiplied or added, where that is a value of the exercise, or two."""
    known: dict[str, Array] = {}
    for name, v in case.arguments.items():
        known[name] = np.asarray(v, dtype=np.float64)
    for step in case.steps:
        known.setdefault(f"{step.name} at {step.at}" if step.at else step.name, step.value)
    usable = {
        name: v for name, v in known.items() if v.shape == a.shape and a.size > 1 and np.all(v != 0)
    }
    forms = dict(usable)
    for name, v in usable.items():
        forms |= {
            f"(1 - {name})": 1 - v,
            f"{name} (1 - {name})": v * (1 - v),
            f"(1 - {name}^2)": 1 - v * v,
        }
    with np.errstate(all="ignore"):
        for name, v in forms.items():
            if same(v, r):
                continue
            if same(a * v, r):
                return f"it lacks the factor {name}"
            if same(a, r * v):
                return f"it has the factor {name} too often"
        for name, v in usable.items():
            if same(a + v, r):
                return f"it lacks the term {name}"
            if same(a - v, r):
                return f"it has the term {name} too often"
        for (one, v), (two, w) in combinations(usable.items(), 2):
            for (left, x), (right, y) in (((one, v), (two, w)), ((two, w), (one, v))):
                if same(a * y, r * x):
                    return f"it has {left} in place of {right}"
    return ""


def _means(factor: float, right: Array, said: str) -> bool:
    """Whether a factor of a single number can be more than chance: between two counts it is not."""
    counts = bool(np.all(right == np.rint(right)))
    return abs(factor) in USUAL or ("." not in said and not counts)


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
        if abs(factor - value) < 1e-9 and size_is_not_two(text):
            return f"{text} (a size of the arguments)"
    for text, value in CONSTANTS.items():
        if abs(factor - value) < 1e-9 * value:
            return text
    near = Fraction(factor).limit_denominator(24)
    if is_fraction(factor, near):
        return (
            f"{near.numerator}/{near.denominator}" if near.denominator > 1 else f"{near.numerator}"
        )
    return f"{factor:.6g}"


def is_fraction(factor: float, near: Fraction) -> bool:
    """Whether a factor is a fraction of small whole numbers."""
    return abs(factor - near) < 1e-9 * abs(factor) and abs(near.numerator) <= 24


def size_is_not_two(text: str) -> bool:
    """A factor of 2 or 1/2 is more often a 2 of a square or a mean than a size."""
    return text not in ("2", "1/2", "1/2^2")
