"""What is wrong with an answer, in words: the simplest case that is wrong, the line and the step
where it begins, and the name of the mistake.

A name is given with certainty only where a known mistake gives the student's numbers in every
output of every case, for the arguments of two seeds, or where a change of the student's program
was run and made every number right. Where the right value of a variable, put in its place, makes
every number right, nothing after that line is wrong. Several mistakes at once are told apart where
each of them is seen by itself: in an output of its own, or in the line that makes it.
"""

import re
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from scratchnet_course import changes
from scratchnet_course.differences import gates, numbers, pattern, reshaped, sizes, steps
from scratchnet_course.exercise import Arguments, Exercise
from scratchnet_course.inside import (
    Inside,
    Wrong,
    alike,
    begins,
    departure,
    look,
    made_by,
    same,
    unknown,
)
from scratchnet_course.keys import Case, Key, sizes_of
from scratchnet_course.moments import matches, plain
from scratchnet_course.probe import Place
from scratchnet_course.recognise import Answer, Compared, Prints
from scratchnet_course.sandbox import Repairs, Watched

EXACT = 1e-9  # relative: what differs by more, and less than the exercise's tolerance, is looked at
CALL = re.compile(r"\w\(")
UNLIKE = "first unlike the model answer"
Watch = Callable[[Sequence[Arguments]], Watched]
Repair = Callable[[], Repairs]


class Diagnosis(NamedTuple):
    """What was found.  ``names`` is empty where nothing was recognised."""

    right: bool
    names: tuple[str, ...]  # the mistakes, recognised with certainty
    lines: tuple[str, ...]  # the whole diagnosis, to be read
    wrong: tuple[str, ...] = ()  # the outputs that are wrong
    case: int = 0  # the simplest that is wrong, from 1
    at: str = ""  # the step at which it begins, "t=4"
    line: int = 0  # the line in the student's file
    found: tuple[str, ...] = ()  # the mistakes seen in a line or in an output by itself

    def __str__(self) -> str:
        return "\n".join(self.lines)


def diagnose(
    exercise: Exercise,
    key: Key,
    given: Sequence[Any],
    watch: Watch | None = None,
    repair: Repair | None = None,
) -> Diagnosis:
    """Compare a student's answers with the right ones and name the mistake.

    Parameters
    ----------
    exercise
        What was to be written.
    key
        What is known of it.
    given
        What the student's function returned, for each case of each seed; None where it raised an
        exception.
    watch
        Runs the function once more, on some cases, and returns what it computes on its way.
    repair
        Looks for small changes of the program that make every number right.
    """
    cases = [case for row in key.cases for case in row]
    answers: list[Answer | None] = []
    for case, answer in zip(cases, given):
        if answer is None:
            answers.append(None)
            continue
        try:
            named = exercise.named(answer, case.right)
            answers.append({name: np.asarray(v) for name, v in named.items()})
        except ValueError as error:
            return Diagnosis(False, (), (str(error),), exercise.outputs, len(answers) + 1)
    wrong = [_wrong(exercise, case.right, a, EXACT) for case, a in zip(cases, answers)]
    compared = Compared(cases, answers, wrong)
    seen = None
    if any(wrong) and not any(
        _wrong(exercise, case.right, a, exercise.tolerance) for case, a in zip(cases, answers)
    ):
        # nearly right: a small constant that guards a logarithm is right, float32 is not
        seen = _watched(compared, key, watch)
        if seen is None or seen.single < 0:
            wrong = [[] for _ in wrong]
        else:
            return _single(compared, seen)
    if not any(wrong):
        count = len(key.cases[0])
        text = f"right: {', '.join(exercise.outputs)}, on {count} cases and {len(key.seeds)} seeds"
        return Diagnosis(True, (), (text,))
    return _Report(exercise, key, compared, watch).diagnosis(repair() if repair else ())


def called(place: Place, places: Sequence[Place]) -> str:
    """The line; of one in a function that is called in several lines also from which."""
    calls = {other.called for other in places if other.line == place.line and other.called}
    return f"line {place.line}" + (f" (called in line {place.called})" if len(calls) > 1 else "")


def _wrong(exercise: Exercise, right: Answer, answer: Answer | None, tolerance: float) -> list[str]:
    if answer is None:
        return list(exercise.outputs)
    return [name for name in exercise.outputs if not same(answer[name], right[name], tolerance)]


def _watched(compared: Compared, key: Key, watch: Watch | None) -> Watched | None:
    """What the function computes in the simplest wrong case, in its twin of the other seed, and in
    the most general one that is wrong."""
    if watch is None:
        return None
    return watch([compared.cases[k].arguments for k in _looked_at(compared, key)])


def _looked_at(compared: Compared, key: Key) -> list[int]:
    """The cases of `_watched`."""
    count = len(key.cases[0])
    last = max(k for k, names in enumerate(compared.wrong[:count]) if names or k == 0)
    return list(dict.fromkeys([*_twins(key, compared.first()), last]))


def _twins(key: Key, case: int) -> list[int]:
    """A case's number in all cases, and that of the same case of the other seeds."""
    count = len(key.cases[0])
    return [case, *(k * count + case % count for k in range(len(key.seeds)) if k != case // count)]


def _single(compared: Compared, seen: Watched) -> Diagnosis:
    place = seen.places[seen.single]
    lines = (
        "computed in float32: right to about 7 digits, expected float64, which has 16",
        f"  line {place.line}: {place.text}",
        "  NumPy's arrays are float64 unless something says otherwise: look for dtype or astype",
    )
    return Diagnosis(
        *(False, ("computed in float32",), lines, tuple(compared.wrong[compared.first()])),
        *(compared.first() + 1, "", place.line),
    )


class _Report:
    """Puts the diagnosis of a wrong answer together."""

    def __init__(
        self, exercise: Exercise, key: Key, compared: Compared, watch: Watch | None
    ) -> None:
        self.exercise, self.key, self.compared = exercise, key, compared
        self.prints = Prints(exercise, compared, key.mistakes)
        self.first = compared.first()
        self.case = compared.cases[self.first]
        self.answer = compared.answers[self.first]
        self.twins = _twins(key, self.first)
        self.looked_at = _looked_at(compared, key)
        self.watch = watch

    def diagnosis(self, repairs: Repairs) -> Diagnosis:
        """Name, pin or localise."""
        every = self.compared.wrong
        outputs = tuple(dict.fromkeys(name for names in every for name in names))
        watched = _watched(self.compared, self.key, self.watch)
        here = [k for k in self.twins if every[k]]
        certain = self.prints.certain()
        partly = set(certain) or self.prints.partly(here)
        insides = self._insides(watched, partly)
        seen = self._seen(insides, partly)
        pinned = changes.said(self.exercise, repairs)
        instead = bool(repairs and repairs[0][0].instead)
        groups: list[list[int]] = []
        if not certain and not pinned.names:
            groups = self.prints.covering([k for k, names in enumerate(every) if names])
        names = (self._best(certain),) if certain else pinned.names
        found = joined(list(dict.fromkeys(map(self._best, groups))))
        lines = []
        if certain:
            # a call that nobody wrote about is the right answer's: a student may do it otherwise
            written = self.key.mistakes[self._first(certain)].why or not CALL.search(names[0])
            said = "mistake" if written else "your numbers are those of this mistake"
            lines.append(f"{said}: {names[0]}")
            if repairs and (where := changes.pointer(repairs)):
                lines.append(f"  {where}")
        elif not (pinned.found and found):  # what explains everything says more than one of two
            lines += pinned.lines
            lines += self._until(pinned.line, watched) if instead else []
        if found:
            together = "these together give all your numbers" if len(found) > 1 else "mistake"
            lines.append(f"{together}: {'; '.join(found)}")
        lines += self._about([self._first(group) for group in ([certain] if certain else groups)])
        lines += self._head()
        begins, first = self._inside_lines(insides, seen, watched, partly)
        everything = bool(repairs) and not repairs[0][0].fixes
        departs = None if names or everything else self._departs(watched, first)
        if everything and first and first.place.line not in {one.line for one in repairs[0]}:
            begins, first = [], None
        if certain and first and not set(certain).intersection(first.mistakes):
            begins, first = [], None  # found by its name or its likeness, and that is known better
        if departs:
            until = f": look from here to line {first.place.line}" if first else ""
            where = called(departs, watched.places if watched else ())
            lines.append(f"{UNLIKE} in {where}: {departs.text}")
            lines.append(f"  the mistake, or another way{until}")
        lines += begins
        if self.answer is not None:
            lines += self._outputs()
        number = self.first % len(self.key.cases[0]) + 1
        lines.append(f"  by hand: scratchnet course show {self.exercise.id} --case {number}")
        if not names and not groups:
            lines.append(f"  lesson {self.exercise.lesson}: {self.exercise.paragraph}")
        at = ""
        if first and first.step >= 0 and watched is not None and self._at(first, watched):
            at = self.case.steps[first.step].at
        place = departs or (first.place if first else None)
        line = pinned.line or (place.line if place else 0)
        return Diagnosis(
            False, names, tuple(lines), outputs, number, at, line, (*pinned.found, *found)
        )

    # ---- the mistakes ----

    def _first(self, numbers: Sequence[int]) -> int:
        """Of mistakes that cannot be told apart a catalogued one, or the first."""
        return next((k for k in numbers if self.key.mistakes[k].why), numbers[0])

    def _best(self, numbers: Sequence[int]) -> str:
        return self.key.mistakes[self._first(numbers)].name

    def _about(self, numbers: Sequence[int]) -> list[str]:
        lines = []
        for k in numbers:
            row = self.key.mistakes[k]
            if row.why:
                lines.append(f"  {row.why}")
            lines.append(
                f"  lesson {self.exercise.lesson}: {row.paragraph or self.exercise.paragraph}"
            )
            lines += self._indices(row.name)
        return list(dict.fromkeys(lines))

    def _indices(self, name: str) -> list[str]:
        """What an index means, where a mistake's name has one: h has the initial state, too."""
        arrays = {k: v for k, v in self.case.arguments.items() if np.ndim(v) == 3}
        steps = min(map(len, arrays.values()), default=0)
        return [
            f"  {k} has T+1 entries: {k}[t] is the state before step t, {k}[t + 1] the one after it"
            for k, v in arrays.items()
            if f"{k}[t" in name and len(v) == steps + 1
        ]

    def _insides(self, watched: Watched | None, partly: set[int]) -> list[Inside]:
        if watched is None or len(watched.seen) != len(self.looked_at):
            return []
        found = []
        for k, seen in zip(self.looked_at, watched.seen):
            case = self.compared.cases[k]
            sizes = sizes_of(self.exercise, case.arguments)
            found.append(look(case, seen, watched.places, *sizes, partly))
        return found

    def _cases(self) -> list[Case]:
        return [self.compared.cases[k] for k in self.looked_at]

    def _seen(self, insides: Sequence[Inside], expected: set[int]) -> list[Wrong]:
        """The wrong intermediates that are there in both seeds and in the general case, each with
        what it may be: those that the outputs speak for, if there are any."""
        if len(insides) < 2:
            return []
        others = [
            {(case.steps[one.step].name, k) for one in inside.wrong for k in one.mistakes}
            for case, inside in zip(self._cases()[1:], insides[1:])
        ]
        found = []
        for one in insides[0].wrong:
            name = self.case.steps[one.step].name
            both = tuple(k for k in one.mistakes if all((name, k) in other for other in others))
            chosen = tuple(k for k in both if k in expected) or both
            if chosen:
                found.append(one._replace(mistakes=chosen))
        spoken_for = [one for one in found if expected.intersection(one.mistakes)]
        return spoken_for or found

    def _inside_lines(
        self,
        insides: Sequence[Inside],
        seen: Sequence[Wrong],
        watched: Watched | None,
        partly: set[int],
    ) -> tuple[list[str], Wrong | None]:
        """The line where it begins."""
        if not insides or watched is None:
            return [], None
        inside = insides[0]
        spoken_for = seen and (not partly or partly.intersection(seen[0].mistakes))
        first = (
            seen[0] if spoken_for else unknown(self.case, watched.seen[0], watched.places, inside)
        )
        lines = []
        if first is None:
            return self._by_output(watched)
        step = self.case.steps[first.step]
        at = f", at {step.at}" if self._at(first, watched) else ""
        where = called(first.place, watched.places)
        lines.append(f"first seen in {where}{at}: {first.place.text}")
        lines += self._changed_later(first, watched)
        shown = (self.answer or {}).get(step.name)  # as an output, further down
        if first.given.size == step.value.size and not (
            shown is not None and same(first.given, shown)
        ):
            lines.append(f"  {step.name}: {numbers(first.given, step.value)}")
        good = list(
            dict.fromkeys(
                step.name
                for k, step in enumerate(self.case.steps)
                if k in inside.right and not plain(step.value)
            )
        )
        bad = {s.name for k, s in enumerate(self.case.steps) if k not in inside.right}
        spoiled = self._spoiled(watched)
        for case, one in zip(self._cases(), insides):  # not by chance: at T=1 much is the same
            bad |= {s.name for k, s in enumerate(case.steps) if k not in one.right}
        good = [
            name
            for name in good
            if name not in bad and not any(alike(target, name) for target in spoiled)
        ]
        if good:
            lines.append(f"  right on the way: {', '.join(good)}")
        return lines, first

    def _changed_later(self, first: Wrong, watched: Watched) -> list[str]:
        """The line that changes a variable once more which is wrong already."""
        name = first.place.target.partition("[")[0]
        later = [
            place.line
            for place in watched.places
            if place.target.partition("[")[0] == name
            and place.line > first.place.line
            and place.text.partition("=")[0].rstrip()[-1:] in tuple("]+-*/@")  # not anew
        ]
        return [f"  or in line {later[0]}, which changes {name}"] if name and later else []

    def _until(self, line: int, watched: Watched | None) -> list[str]:
        """Where to look, if nothing after this line is wrong."""
        place = self._departs(watched, None)
        begins = ""
        if place is not None and place.line < line and not place.called:
            begins = f"; {UNLIKE} in line {place.line}: look from there"
        elif place is not None and place.line == line:
            begins = ", and what is assigned before it the model answer has, too"
        return [f"  so nothing after it is wrong{begins}"]

    def _departs(self, watched: Watched | None, first: Wrong | None) -> Place | None:
        """The line, before that of the first wrong value, from which on other things are computed
        than in a right answer."""
        if watched is None or not watched.seen:
            return None
        looked_at = list(zip(self._cases(), watched.seen))[: len(self.twins)]
        places = {departure(case, seen, watched.places) for case, seen in looked_at}
        place = places.pop()
        if places or place is None or (first and first.place.line <= place.line):
            return None
        return place

    def _by_output(self, watched: Watched) -> tuple[list[str], Wrong | None]:
        """The line that makes the first number of an output that is wrong."""
        if self.answer is None:
            return [], None
        for name in self.compared.wrong[self.first]:
            right = np.asarray(self.case.right[name], dtype=np.float64)
            given = np.asarray(self.answer[name], dtype=np.float64)
            found = made_by(given, right, watched.seen[0], watched.places)
            if found is None:
                continue
            place, index = found
            if place.target == "return" and len(self.exercise.outputs) == 1:
                continue  # that what is returned is wrong is known
            at = f", {name}[{', '.join(map(str, index))}]" if index else ""
            unset = ", and not set later" if begins(place) else ""
            line = f"first seen in {called(place, watched.places)}{at}: {place.text}{unset}"
            return [line], Wrong(-1, place, given)
        return [], None

    def _at(self, first: Wrong, watched: Watched) -> bool:
        """Whether the step can be said: not of a line outside the loop, which is run once."""
        step = self.case.steps[first.step]
        times = sum(watched.places[number] == first.place for number, _ in watched.seen[0])
        several = sum(other.name == step.name for other in self.case.steps) > 1
        return bool(step.at) and (times > 1 or not several)

    def _spoiled(self, watched: Watched) -> set[str]:
        """The variables that at some time hold what is no right intermediate."""
        return {
            watched.places[number].target
            for number, value in watched.seen[0]
            if watched.places[number].target and not len(matches(value, self.case.known))
        }

    # ---- the outputs ----

    def _head(self) -> list[str]:
        """The case, and which outputs are wrong in it."""
        names = self.compared.wrong[self.first]
        count = len(self.key.cases[0])
        number = self.first % count
        fine = [name for name in self.exercise.outputs if name not in names]
        lines = []
        if self.answer is not None:
            lines.append(
                f"wrong: {', '.join(names)}"
                + (f"; right in this case: {', '.join(fine)}" if fine else "")
            )
        before = ""
        if number and self.first < count:
            several = "cases 1 and 2" if number == 2 else f"cases 1 to {number}"
            before = (
                f"; {several} (simpler) are right" if number > 1 else "; case 1 (simpler) is right"
            )
        lines.append(f"  in case {number + 1} of {count}: {sizes(self.case.arguments)}{before}")
        return lines

    def _outputs(self) -> list[str]:
        """Of each wrong output where it is wrong, and how it differs."""
        answer = self.answer or {}
        lines = []
        names = self.compared.wrong[self.first]
        exchanged = {
            name: other
            for name, other in permutations(names, 2)
            if same(answer[name], self.case.right[other])
        }
        for name in names:
            right = np.asarray(self.case.right[name], dtype=np.float64)
            given = answer[name]
            if given.shape != right.shape:
                lines.append(
                    f"  {name} has shape {given.shape}, expected {right.shape}"
                    f"{reshaped(given, right)}"
                )
                continue
            a = np.asarray(given, dtype=np.float64)
            if not np.isfinite(a).all():
                bad = int(np.sum(~np.isfinite(a)))
                lines.append(f"  {name}: {bad} of {a.size} numbers are NaN or infinite")
                continue
            largest = max(float(np.abs(right).max(initial=0)), 1e-300)
            off = ~(np.abs(a - right) <= self.exercise.tolerance * largest)
            words = [
                steps(self.exercise, name, off),
                gates(self.exercise, name, off),
                f"it is the right {exchanged[name]}"
                if name in exchanged
                else pattern(self.case, a, right),
            ]
            if self.prints.constant and np.any(a):
                words = [f"it is {a.flat[0]:g} wherever it is wrong, in every case"]
            lines.append(
                f"  {name}: {'; '.join([w for w in words if w] + [numbers(a, right, name)])}"
            )
        return lines


def joined(names: Sequence[str]) -> list[str]:
    """Names that differ in their first word only as one: "W_x, W_h: the sign is wrong"."""
    groups: dict[str, list[str]] = {}
    for name in names:
        who, _, what = name.partition(" ")
        groups.setdefault(what, []).append(who)
    return [
        f"{who[0]} {what}" if len(who) == 1 else f"{', '.join(who)}: each {what}"
        for what, who in groups.items()
    ]
