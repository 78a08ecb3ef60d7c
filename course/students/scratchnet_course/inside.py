"""Look inside a student's function: which right intermediates it computed, and where the first
wrong one is. By value: whatever the variables are called, transposed, stacked or spread.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from scratchnet.arrays import Array
from scratchnet_course.keys import Case, Step, pieces, step_names
from scratchnet_course.moments import SAME, matches, moments, plain, scale
from scratchnet_course.probe import Place

Seen = Sequence[tuple[int, Array]]
MOST_ROWS = 200  # of an argument
LEAST_LIKE = 0.9  # correlation of a wrong value with the right one that it is taken for


class Wrong(NamedTuple):
    """A value of the student's that is the wrong version of an intermediate."""

    step: int  # the intermediate, an index into Case.steps
    place: Place
    given: Array
    mistakes: tuple[int, ...] = ()  # those that give this value, as numbers of Key.mistakes


class Inside(NamedTuple):
    """What was found in one run."""

    right: frozenset[int]  # the steps whose right values are among the student's
    wrong: tuple[Wrong, ...]  # in the order in which they were computed


class _Value(NamedTuple):
    event: int
    place: Place
    called: str  # "" or which piece of the value it is
    value: Array
    moments: Array
    scale: Array


def look(
    case: Case,
    seen: Seen,
    places: Sequence[Place],
    times: Sequence[int],
    blocks: Sequence[int],
    likely: Collection[int],
) -> Inside:
    """Compare every value that a function computed with what is right in that case.

    Parameters
    ----------
    case
        What is right, and what known mistakes compute.
    seen, places
        The values, with their places in the program.
    times, blocks
        How arrays are cut; see `pieces`.
    likely
        The mistakes that give an output of the student's. Only with one of them a value that is
        right as something else, as dy[t] is, may be a wrong dh.
    """
    seen = [(number, value) for number, value in seen if not begins(places[number])]
    values = [
        _Value(k, places[number], called, piece, moments(piece), scale(piece))
        for k, (number, value) in enumerate(seen)
        for called, piece in pieces(value, times, blocks)
        if piece.size and np.isfinite(piece).all()
    ]
    table = np.array([v.moments for v in values]).reshape(-1, 4)
    found = frozenset(
        k
        for k, step in enumerate(case.steps)
        if len(matches(step.value, table)) or plain(step.value)
    )
    right = {v.place for v in values if len(matches(v.value, case.known)) and not plain(v.value)}
    wrong: dict[tuple[int, int], Wrong] = {}
    names = [*step_names(case.steps), ""]  # the last for -1
    for v in values:
        # "dc * g" is not a wrong da_i where "dc * g * i * (1 - i)" is the right one
        if plain(v.value) or any(_inside(v.place, place) for place in right):
            continue
        matching = matches(v.value, case.wrong_moments)
        # nor is it one where it is on the way to something else: "w * x" of a is no wrong dw
        way = {
            names[int(case.expressions[k, 4])] for k in matches(v.value, case.expressions[:, :4])
        }
        rows = [
            int(row)
            for row in matching
            if case.wrong[row, 1] not in found
            # a part of something larger is a wrong value only if the outputs speak for it
            and (not v.place.operand or case.wrong[row, 0] in likely)
            and _ends(v, way, case.steps[case.wrong[row, 1]], case.wrong[row, 0] in likely)
        ]
        named = [row for row in rows if alike(v.place.target, case.steps[case.wrong[row, 1]].name)]
        if v.place in right:  # as something else, unless it has the name
            rows = named = [row for row in named if case.wrong[row, 0] in likely]
        for step in dict.fromkeys(int(case.wrong[row, 1]) for row in named or rows):
            numbers = tuple(int(case.wrong[row, 0]) for row in rows if case.wrong[row, 1] == step)
            before = wrong.get((step, v.place.line))
            if before is None or _inside(before.place, v.place):
                wrong[step, v.place.line] = Wrong(step, v.place, v.value, numbers)
    return Inside(found, tuple(wrong.values()))


def _ends(given: _Value, way: set[str], step: Step, likely: bool) -> bool:
    """Whether a value is all that was made of an intermediate; ``way`` has what it is on the way
    to, and a mask of zeros and ones is on the way to one with other numbers."""
    if _whole(given.value) != _whole(step.value) and not likely:
        return False
    if not way:
        return True
    if way <= {step.name}:
        return likely or alike(given.place.target, step.name)
    return bool(given.place.target) and likely


def _inside(part: Place, whole: Place) -> bool:
    """Whether an expression is a part of another one, on the same line."""
    longer = len(whole.text) > len(part.text)
    return longer and whole.line == part.line and part.text in whole.text


def unknown(case: Case, seen: Seen, places: Sequence[Place], inside: Inside) -> Wrong | None:
    """The first assigned value that has the name of an intermediate and is not right, or else
    the one that is most like the first intermediate that was not found."""
    missing = [k for k in range(len(case.steps)) if k not in inside.right]
    known = np.concatenate([case.known, case.expressions[:, :4]])
    fine = {
        places[number]
        for number, value in seen
        if not plain(value) and len(matches(value, case.known))
    }
    strange = [
        (places[number], value)
        for number, value in seen
        if not begins(places[number])
        and np.isfinite(value).all()
        and not plain(value)
        and not len(matches(value, known))
        and not any(_inside(places[number], place) for place in fine)
    ]
    for step in missing:
        right = case.steps[step]
        for place, value in strange:
            like = value.size == right.value.size and _whole(value) == _whole(right.value)
            if like and alike(place.target, right.name):
                return Wrong(step, place, value)
    for step in missing[:1]:
        wanted = case.steps[step].value
        rated = [
            (likeness(value, wanted), -k)
            for k, (place, value) in enumerate(strange)
            if value.shape == wanted.shape and _whole(value) == _whole(wanted)
        ]
        if rated and wanted.size > 1 and max(rated)[0] > LEAST_LIKE:
            place, value = strange[-max(rated)[1]]
            return Wrong(step, place, value)
    return None


def departure(case: Case, seen: Seen, places: Sequence[Place]) -> Place | None:
    """The first assignment of something that a right answer does not have: the mistake is not
    later than the first wrong value, and rarely before this one."""
    known = np.concatenate([case.known, case.expressions[:, :4], _rows(case)])
    numbers = any(step.value.size == 1 for step in case.steps)
    times = Counter(number for number, _ in seen)
    for number, value in seen:
        place = places[number]
        if not place.target or begins(place) or re.search("[-+]=", place.text):
            continue  # a sum is put together
        element = value.size == 1 and times[number] > 1 and not numbers  # of an array
        if not (plain(value) or element or len(matches(value, known))):
            return place
    return None


def _rows(case: Case) -> Array:
    """The moments of the rows of the arguments, and of their rows: a student may take each."""
    rows = [
        moments(array[index])
        for array in map(np.asarray, case.arguments.values())
        for depth in range(1, array.ndim)
        if array.dtype.kind in "fiub" and np.prod(array.shape[:depth]) < MOST_ROWS
        for index in np.ndindex(array.shape[:depth])
    ]
    return np.array(rows).reshape(-1, 4)


def made_by(
    given: Array, right: Array, seen: Seen, places: Sequence[Place]
) -> tuple[Place, tuple[int, ...]] | None:
    """The place that makes an output, or the first of its wrong elements or rows, and which."""
    wrong = np.ones(given.shape, dtype=bool)
    found: dict[Place, tuple[int, ...]] = {}
    if given.shape == right.shape:
        wrong = ~(np.abs(given - right) <= SAME * max(float(np.abs(right).max(initial=0)), 1e-250))
    for number, value in seen:
        place = places[number]
        if not place.target.endswith("]") or plain(value) or value.ndim >= given.ndim:
            continue
        depth = given.ndim - value.ndim
        if value.shape != given.shape[depth:]:
            continue
        for index in np.ndindex(given.shape[:depth]):
            if wrong[index].any() and same(value, given[index], 1e-14):
                found.setdefault(place, index)
                break
    if found:  # what is right elsewhere may come from another line, too
        place, index = list(found.items())[-1]
        if not any(
            same(given[index], right[k], 1e-14) for k in np.ndindex(right.shape[: len(index)])
        ):
            place, index = next(iter(found.items()))
        return place, index
    if not np.isfinite(given).all():
        bad = [places[number] for number, value in seen if not np.isfinite(value).all()]
        return (bad[0], ()) if bad else None
    zero = given.shape == right.shape and not np.any(given[wrong])
    for number, value in seen if zero else ():
        if begins(places[number]) and value.shape == given.shape:  # and then never set
            index = tuple(int(k) for k in np.argwhere(wrong)[0])
            return places[number], index if given.size > wrong.sum() else ()
    whole = [places[number] for number, value in seen if same(value, given, 1e-14)]
    return (whole[0], ()) if whole and given.size and not plain(given) else None


def begins(place: Place) -> bool:
    """Whether it is where an array is made that is filled later, and may hold anything."""
    return (
        re.search(r"(^|= ?)[\w.]*\b(empty|zeros|ones|full|eye)(_like)?\(.*\)$", place.text)
        is not None
    )


def _whole(value: Array) -> bool:
    """Whether all numbers are whole ones, as sizes and indices are."""
    return bool(np.all(value == np.rint(value)))


def alike(target: str, name: str) -> bool:
    """Whether a variable is called as an intermediate, give or take an index: "dc_t", "d_c"."""
    return bool(target) and _bare(target) == _bare(name)


def _bare(name: str) -> str:
    name = name.partition("[")[0].rpartition(".")[2].lower()
    name = re.sub(r"(_t|_cur|_total|_now|_new|_?\d+)$", "", name)
    return name.replace("_", "").replace("grad", "d")


def likeness(a: Array, b: Array) -> float:
    """The correlation of two arrays, without their means taken off; 0 where it cannot be said."""
    with np.errstate(all="ignore"):
        likeness = abs((a * b).sum()) / (np.linalg.norm(a) * np.linalg.norm(b))
    return float(likeness) if np.isfinite(likeness) else 0.0


def same(a: Array, b: Array, tolerance: float = SAME) -> bool:
    """Equal to ``tolerance`` of the largest element of b; a NaN equals nothing."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        return False
    size = max(float(np.max(np.abs(b), initial=0.0)), 1e-250)
    with np.errstate(invalid="ignore"):
        return bool(np.all(np.abs(a - b) <= tolerance * size))
