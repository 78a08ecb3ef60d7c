"""Recognise mistakes by their fingerprints: those that give all of a student's numbers, or together
all that are wrong.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array
from scratchnet_course.exercise import Exercise
from scratchnet_course.keys import RAISED, Case, Named, fingerprint, part, parts, weights
from scratchnet_course.moments import SAME

Answer = dict[str, Any]


class Compared(NamedTuple):
    """The answers beside what is right, of all cases of both seeds."""

    cases: list[Case]
    answers: list[Answer | None]  # None where the function raised an exception
    wrong: list[list[str]]  # of each case

    def first(self) -> int:
        """The simplest case that is wrong, of the first seed where it is wrong there."""
        return next(k for k, names in enumerate(self.wrong) if names)


class Prints:
    """The fingerprints of the student's answers beside those of the known mistakes."""

    def __init__(self, exercise: Exercise, compared: Compared, mistakes: Sequence[Named]) -> None:
        which = parts(exercise)
        given, size, right = [], [], []
        for case, answer in zip(compared.cases, compared.answers):
            row, sizes = [], []
            for one in which:
                if answer is None:
                    row.append(RAISED)
                    sizes.append(RAISED)
                    continue
                array = part(answer, exercise.gates, one)
                row.append(fingerprint(array))
                finite = np.nan_to_num(
                    np.asarray(array, np.float64), nan=1e9, posinf=2e9, neginf=2e9
                )
                sizes.append(float((np.abs(finite) * weights(array.shape)).sum()))
            given.append(row)
            size.append(sizes)
            right.append([fingerprint(part(case.right, exercise.gates, one)) for one in which])
        self.parts = which
        self.given = np.array(given)
        self.finite = np.array(
            [
                answer is not None and all(np.isfinite(v).all() for v in answer.values())
                for answer in compared.answers
            ]
        )
        self.right = self._close(np.array(right), np.array(size))
        known = np.array([case.outputs for case in compared.cases])  # (cases, mistakes, parts)
        # (cases, mistakes, parts): whether the mistake gives the student's numbers
        self.explains = np.abs(known - self.given[:, None]) <= SAME * np.maximum(
            np.array(size)[:, None], 1e-250
        )
        self.constant = _one_number(
            [
                answer[name]
                for answer, names in zip(compared.answers, compared.wrong)
                if answer is not None
                for name in names
            ]
        )
        # A part that is the same number everywhere is what many mistakes give: of those only the
        # ones that somebody has written down can be meant.
        unwritten = [k for k, one in enumerate(mistakes) if not one.why]
        for number, one in enumerate(which):
            wrong = [
                part(answer, exercise.gates, one)
                for answer, fine in zip(compared.answers, self.right[:, number])
                if answer is not None and not fine
            ]
            if _one_number(wrong):
                self.explains[:, unwritten, number] = False
        rights = np.array(right)[:, None]
        self.changes = np.abs(known - rights) > SAME * np.maximum(np.abs(rights), 1e-250)
        # a mistake that would change what the student has right, in any case, is not there
        self.fits = ~(self.changes & self.right[:, None]).any(axis=(0, 2))

    def _close(self, right: Array, size: Array) -> Array:
        return np.abs(self.given - right) <= SAME * np.maximum(size, 1e-250)

    def certain(self) -> list[int]:
        """The mistakes that give every output of every case."""
        if (self.given == RAISED).all():
            return []
        return [int(k) for k in np.flatnonzero(self.explains.all(axis=(0, 2)))]

    def covering(self, cases: Sequence[int]) -> list[list[int]]:
        """Mistakes that together give all outputs of some cases: groups of those that cannot be
        told apart. Empty if a wrong part remains."""
        if not self.finite[cases].all():
            return []
        explains = self.explains[cases].all(axis=0)  # (mistakes, parts)
        changes = self.changes[cases].any(axis=0)
        wrong = ~self.right[cases].all(axis=0)
        open_ = wrong.copy()
        groups: list[list[int]] = []
        while open_.any() and len(groups) < 3:
            gain = (explains & changes & open_).sum(axis=1) * self.fits
            if not gain.any():
                return []
            best = np.flatnonzero(gain == gain.max())
            rest = (changes & ~explains & wrong).sum(axis=1)[best]
            best = best[rest == rest.min()]
            groups.append([int(k) for k in best])
            open_ &= ~explains[best[0]]
        return groups

    def partly(self, cases: Sequence[int]) -> set[int]:
        """The mistakes that give a wrong part of these cases."""
        if not self.finite[cases].all():
            return set()
        wrong = ~self.right[cases].all(axis=0)
        explains = (self.explains[cases].all(axis=0) & self.changes[cases].any(axis=0))[:, wrong]
        return {int(k) for k in np.flatnonzero(explains.any(axis=1) & self.fits)}


def _one_number(values: Sequence[Any]) -> bool:
    """Whether all these arrays have the same number everywhere."""
    numbers = np.concatenate([np.ravel(v) for v in values]) if values else np.zeros(0)
    return bool(numbers.size > 1 and (numbers == numbers[0]).all())
