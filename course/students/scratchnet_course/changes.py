"""What changes of a program that make its numbers right say of the mistakes in it, in words.

That every number is right with a change is true: it was run. What was meant there is not known, so
the kind of mistake is said only where the change is a likely one and few others do the same.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from scratchnet_course.exercise import Exercise
from scratchnet_course.repair import Found
from scratchnet_course.sandbox import Repairs

LIKELY = 3  # the cost of what is changed up to which it says what was meant
MOST_LINES = 3  # in which a mistake may be
ELSE = "another expression belongs there"
BELONGS = "with what belongs there"


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
    if first[0].instead:
        right = f"{BELONGS} (the model answer's {first[0].instead})"
        return Said((f"{place(first[0])}: {right} every number is right",), line)
    if first[0].fixes:
        name = _named(first)
        fine = ", ".join(exercise.outputs[k] for k in first[0].fixes)
        more = f"  changed there alone, {fine} would be right; there is more"
        return Said((f"look at {name}", more), line, found=(name,))
    if len(first) == 1:
        names = _by_line([place for (place,) in repairs])
        there = "there" if len(names) == 1 else "in one of these places"
        how = there if any(place.places > 1 for (place,) in repairs) else f"{there} alone"
        return _mistake("; or ".join(names), line, how, sure=first[0].cost <= LIKELY)
    if len({place.line for place in first}) == 1:
        return _mistake(_in_one_line(first), line, "there alone", sure=True)
    together = tuple(_named([place], place.alone) for place in first)
    sure = any(place.alone for place in first)
    head = f"wrong in {len(together)} places" if sure else "look at these places"
    more = "" if sure else "; one of them may be right as it is"
    lines = (f"{head}: {'; '.join(together)}", f"  changed there, every number is right{more}")
    return Said(lines, line, together if sure else (), () if sure else together)


def _mistake(name: str, line: int, how: str, sure: bool) -> Said:
    """What one change says."""
    head = f"mistake: {name}" if sure else f"look at {name}"
    lines = (head, f"  changed {how}, every number is right")
    return Said(lines, line, (name,) if sure else (), () if sure else (name,))


def pointer(repairs: Repairs) -> str:
    """The place, where one change alone, in no other line, makes every number right; for a mistake
    that was named. Other numbers mend much by chance."""
    first = repairs[0][0]
    alone = len(repairs[0]) == first.places == 1 and not (first.fixes or first.instead)
    lines = {place.line for places in repairs for place in places}
    told = (
        alone and first.cost <= LIKELY and len(lines) == 1 and re.search(r"[^\W\d]", _head(first))
    )
    return f"{place(first)}: changed there alone, every number is right" if told else ""


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


def _named(found: Sequence[Found], likely: bool = True) -> str:
    """The place and the kind of mistake, of changes in one line that do the same, the likeliest
    first."""
    first = found[0]
    kinds = {one.wrong for one in found if one.cost == first.cost}
    within = f' of "{first.whole}"' if first.whole else ""
    likely = likely and first.cost <= LIKELY and len(kinds) <= 2
    wrong = first.wrong if likely else ELSE + ", wherever it is" * (first.places > 1)
    return f"{place(first)}{within}: {wrong}"


def _in_one_line(found: Sequence[Found]) -> str:
    """Several changes in one line, without what is a part of another one: one mistake or more."""
    heads = list(dict.fromkeys(map(_head, found)))
    parts = [one for one in heads if not any(one in other and one != other for other in heads)]
    quoted = " and ".join(f'"{one}"' for one in parts)
    return f"line {found[0].line}, {quoted}: {ELSE}"
