"""What changes of a program that make its numbers right say of the mistakes in it, in words.

That every number is right with a change is true: it was run. What was meant there is not known, so
the kind of mistake is said only where the change is a likely one and few others do the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

from scratchnet_course.exercise import Exercise
from scratchnet_course.repair import Found
from scratchnet_course.sandbox import Repairs

LIKELY = 3  # the cost of what is changed up to which it says what was meant
MOST_LINES = 3  # in which a mistake may be
ALONE = "changed there alone, every number is right"
ELSE = "another expression belongs there"


class Said(NamedTuple):
    """What is read."""

    lines: tuple[str, ...] = ()
    line: int = 0  # of the first place
    names: tuple[str, ...] = ()  # what is certain
    found: tuple[str, ...] = ()  # what it looks like


def said(exercise: Exercise, repairs: Repairs) -> Said:
    """Put the changes in words: each does the same, alone or in several places at once."""
    if not repairs:
        return Said()
    first = repairs[0]
    line = first[0].line
    if first[0].fixes:
        name = _named(first)
        fine = ", ".join(exercise.outputs[k] for k in first[0].fixes)
        more = f"  changed there alone, {fine} would be right; there is more"
        return Said((f"it looks like {name}", more), line, found=(name,))
    if len(first) == 1:
        names = _by_line([place for (place,) in repairs])
        there = ALONE if len(names) == 1 else ALONE.replace("there", "in one of these places")
        name = "; or ".join(names)
        return Said((f"mistake: {name}", f"  {there}"), line, (name,))
    if len({place.line for place in first}) == 1:
        name = _in_one_line(first)
        return Said((f"mistake: {name}", f"  {ALONE}"), line, (name,))
    together = tuple(_named([place]) for place in first)
    if sum(place.cost for place in first if not place.alone) <= LIKELY:
        head = f"wrong in {len(together)} places: {'; '.join(together)}"
        return Said((head, "  changed in these places, every number is right"), line, together)
    head = f"it looks like {'; '.join(together)}"
    more = "  changed in these places, every number is right; one of them may be right as it is"
    return Said((head, more), line, found=together)


def place(found: Found) -> str:
    """The line, and the first line of what is changed in it."""
    return f'line {found.line}, "{_head(found)}"'


def _head(found: Found) -> str:
    return found.old.partition("\n")[0]


def _by_line(found: Sequence[Found]) -> list[str]:
    """Changes of which each is enough, the lines with the likeliest first."""
    by_line: dict[int, list[Found]] = {}
    for one in found:
        by_line.setdefault(one.line, []).append(one)
    return [_named(some) for some in by_line.values()][:MOST_LINES]


def _named(found: Sequence[Found]) -> str:
    """The place and the kind of mistake, of changes in one line that do the same, the likeliest
    first."""
    first = found[0]
    kinds = {one.wrong for one in found if one.cost == first.cost}
    within = f' of "{first.whole}"' if first.whole else ""
    wrong = first.wrong if first.cost <= LIKELY and len(kinds) <= 2 else ELSE
    return f"{place(first)}{within}: {wrong}"


def _in_one_line(found: Sequence[Found]) -> str:
    """Several changes in one line, without what is a part of another one: one mistake or more."""
    heads = list(dict.fromkeys(map(_head, found)))
    parts = [one for one in heads if not any(one in other and one != other for other in heads)]
    quoted = " and ".join(f'"{one}"' for one in parts)
    return f"line {found[0].line}, {quoted}: {ELSE}"
