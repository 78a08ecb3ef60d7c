"""Find a small change of a student's program that makes its numbers right: there is the mistake.

Every change of `edits` is made, and the function is run, first on the simplest case that is wrong,
and on all of them where that helps. So whatever this says of a change is true. Imports only the
standard library: `child` runs it next to a student's code.
"""

import ast
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType
from typing import Any, NamedTuple, Protocol

from scratchnet_course import substitute

MOST_TRIED = 20_000  # changes
MOST_SECONDS = 8.0  # of the processor, for all of them
ONE = 0.5  # seconds of one change: it may loop without end
MOST_COST, LIKELY = 3, 2  # of one of two changes, and of one that makes no number right by itself
MOST_LIKELY = 30  # changes of which every two are made
AGAIN = 4  # with so many of them a second one is looked for among all
FURTHER = 1  # cost: another line may be meant that takes a change so much less likely
MOST_SAID, SHORT = 40, 3  # changes, and characters that need more around them
FILE = "code.py"
SINGLES, NEARER = 0.45, 0.2  # shares of the time; the rest is for pairs
PARTLY = 0.25  # of it, in addition: what makes some outputs right
Steps = frozenset[int]


class Far(NamedTuple):
    """How far an output is from what is right."""

    share: float  # of its numbers that are wrong; more than 1 where there is nothing to compare
    most: float  # the largest difference


class Right(Protocol):
    """What a function's numbers are compared with."""

    count: int  # of cases

    def far(self, function: Callable[..., Any], case: int) -> Sequence[Far]:
        """How far each output of a case is from what is right."""

    def reached(self, function: Callable[..., Any], case: int) -> tuple[Steps, Steps]:
        """Which right intermediates are assigned, and the lines that assign nothing else."""

    def computed(self, case: int) -> Steps:
        """Which right intermediates the program computes in any expression."""

    def values(self, case: int) -> Mapping[str, Sequence[Any]]:
        """The right intermediates by their names, each in the order of time."""


class Found(NamedTuple):
    """A change that helps."""

    line: int
    wrong: str  # "a term is missing"
    old: str
    new: str  # "" where nothing else is there then
    cost: int  # how unlikely it is that this was the mistake
    # the outputs that are right with it in every case; all if empty
    fixes: tuple[int, ...] = ()
    whole: str = ""  # in what it is, where it is short: "h[t]" of "t"
    alone: bool = False  # of one of two: whether it makes an output right without the other
    places: int = 1  # that are changed at once
    instead: str = ""  # the right intermediate that was put in the place of the variable "old"


class Tried(NamedTuple):
    """A change that can be run."""

    edit: Any
    code: CodeType
    far: Sequence[Far]  # of the outputs of the simplest case that is wrong without it


class Slow(BaseException):
    """A change that makes the program run too long."""


def _stop(*_: Any) -> None:
    raise Slow


class Program:
    """A student's program, to be changed and run."""

    def __init__(self, code: str, function: str, space: dict[str, Any], edits: Any) -> None:
        self.tree, self.function, self.space = ast.parse(code), function, space
        self.edits = edits
        self.end = time.process_time() + MOST_SECONDS

    def shapes(self, right: Right) -> dict[str, tuple[int, ...]]:
        """Of every expression, with the values that variables have when their function ends."""
        ends: dict[str, Any] = {}

        def see(frame: Any, event: str, _: Any) -> Any:
            if frame.f_code.co_filename != FILE:
                return None
            if event == "return":
                ends.update(frame.f_locals)
            return see

        sys.settrace(see)
        try:
            right.far(self.space[self.function], -1)
        finally:
            sys.settrace(None)
        found = {}
        for node in self.tree.body:
            if not isinstance(node, ast.FunctionDef):
                continue
            for text in {slot.text for slot in self.edits.slots(node)} | set(ends):
                try:
                    found[text] = tuple(getattr(eval(text, self.space, ends), "shape", ()))
                except Exception:  # not here, or not with these values
                    continue
        return found

    @contextlib.contextmanager
    def changed(self, edit: Any) -> Iterator[CodeType]:
        """The program with a change, which is undone at the end: the part of it in which it is."""
        kept = [(one.node, one.field, getattr(one.node, one.field)) for one in edit.changes]
        try:
            for one in edit.changes:
                setattr(one.node, one.field, _made(one.value, edit.line))
            yield compile(ast.Module([edit.top], []), FILE, "exec")
        finally:
            for node, field, value in kept:
                setattr(node, field, value)

    @contextlib.contextmanager
    def loaded(self, code: CodeType) -> Iterator[Callable[..., Any]]:
        """The function of the program in which that part is another one."""
        before = dict(self.space)
        try:
            exec(code, self.space)
            yield self.space[self.function]
        finally:
            self.space.clear()
            self.space.update(before)

    @contextlib.contextmanager
    def running(self, code: CodeType) -> Iterator[Callable[..., Any]]:
        """The same for a limited time."""
        with limited(), self.loaded(code) as function:
            yield function


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """For a short time at most."""
    signal.setitimer(signal.ITIMER_REAL, ONE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _made(value: Any, line: int) -> Any:
    """A node or a list of them, with what is still to be put together and with lines."""
    if isinstance(value, list):
        return [_made(one, line) for one in value]
    node = value.node() if hasattr(value, "form") else value
    if isinstance(node, ast.AST):
        _place(node, line)
    return node


def _place(node: ast.AST, line: int) -> None:
    """Put what is new on a line."""
    if isinstance(node, (ast.expr, ast.stmt, ast.keyword)):
        if hasattr(node, "lineno"):
            return
        node.lineno, node.col_offset, node.end_lineno, node.end_col_offset = line, 0, line, 0
    for part in ast.iter_child_nodes(node):
        _place(part, line)


def repair(program: Program, right: Right) -> list[list[Found]]:
    """Changes that make every number right, each a list of one, or of two where it takes two; or
    else one that makes some outputs right."""
    signal.signal(signal.SIGALRM, _stop)
    untouched, function = ast.dump(program.tree), program.space[program.function]
    search = _Search(program, right)
    base = search.all(function)
    if not any(map(_wrong, base)):
        return []
    first = _first(base)
    general = max(k for k, far in enumerate(base) if _wrong(far))
    shapes, fine = program.shapes(right), right.reached(function, first)[1]
    fine &= right.reached(function, right.count - 1)[1]
    edits = program.edits.edits(program.tree, shapes, fine, MOST_COST)
    if len(edits) < MOST_TRIED:
        edits = program.edits.edits(program.tree, shapes, fine)[:MOST_TRIED]
    found, tried = search.one(edits, first, SINGLES, FURTHER)
    best = [[one] for one in likeliest([said(one) for one in found])]
    if not best or best[0][0].cost > MOST_COST:  # two likely changes say more than an unlikely one
        likely = search.nearer(tried, base[first], sorted({first, general}))
        broken = {id(one.edit) for one in tried if _breaks(one.far, base[first])}
        others = [one for one in edits if one.cost <= MOST_COST and id(one) not in broken]
        pairs = search.two(likely, others)[:1]
        best = [[said(one, search.alone(one, base)) for one in pair] for pair in pairs] or best
        best = best or search.after(first)[:1] or search.partly(tried, base)[:1]
    return best if ast.dump(program.tree) == untouched else []  # an alarm comes at any time


class _Search:
    """What is made of the changes that are tried."""

    def __init__(self, program: Program, right: Right) -> None:
        self.program, self.right = program, right

    def _late(self, share: float = 1.0) -> bool:
        """Whether that share of the time is over."""
        return time.process_time() > self.program.end - (1 - share) * MOST_SECONDS

    def all(self, function: Callable[..., Any]) -> list[Sequence[Far]]:
        """How far it is from what is right in each case."""
        return [self.right.far(function, case) for case in range(self.right.count)]

    def one(
        self, edits: Sequence[Any], first: int, share: float, further: int = 0
    ) -> tuple[list[Any], list[Tried]]:
        """The changes that make everything right, of the lowest cost and up to so much more; and
        all that can be run."""
        found: list[Any] = []
        tried: list[Tried] = []
        for edit in edits:
            if (found and edit.cost > found[0].cost + further) or self._late(share):
                break
            with (
                contextlib.suppress(Exception, SystemExit, Slow),
                self.program.changed(edit) as code,
                self.program.running(code) as function,
            ):
                far = self.right.far(function, first)
                tried.append(Tried(edit, code, far))
                if not _wrong(far) and not any(map(_wrong, self.all(function))):
                    found.append(edit)
        return found, tried

    def nearer(
        self, tried: Sequence[Tried], base: Sequence[Far], cases: Sequence[int]
    ) -> list[Tried]:
        """The changes that may be half of what is to be done, the likeliest first: more right
        numbers come out in the first of the cases, or more right intermediates are computed on the
        way in one of them, and none less there."""
        function = self.program.space[self.program.function]
        before = {case: self.right.reached(function, case)[0] for case in cases}
        # in expressions, too: to take one out is no progress
        known = {case: self.right.computed(case) for case in cases}
        best: dict[Any, tuple[float, int, Tried]] = {}  # one of those in a line that do the same
        for one in sorted(tried, key=lambda one: _wrong(one.far) >= _wrong(base)):
            less = _wrong(one.far) < _wrong(base)
            if one.edit.cost > (MOST_COST if less else LIKELY) or self._late(SINGLES + NEARER):
                continue
            with contextlib.suppress(Exception, SystemExit, Slow):
                with self.program.running(one.code) as function:
                    after = {case: self.right.reached(function, case)[0] for case in cases}
                    more = [
                        len(after[case] - known[case]) / max(1, len(before[case]))
                        for case in cases
                        if after[case] >= before[case] and (less or after[case] - known[case])
                    ]
                    if not more:
                        continue
                    far = self.right.far(function, cases[-1])
                left = _wrong(one.far) / _wrong(base) - max(more)
                same = (*after.values(), one.edit.line, *one.far, *far)
                best.setdefault(same, (left, one.edit.cost, one))
        return [one for *_, one in sorted(best.values(), key=lambda one: one[:2])]

    def two(self, likely: Sequence[Tried], edits: Sequence[Any]) -> list[list[Any]]:
        """Pairs of changes that make everything right, the likeliest first."""
        some = [one.edit for one in likely[:MOST_LIKELY]]
        pairs: list[list[Any]] = []
        left = 1 - SINGLES - NEARER
        for seconds, most in ((some, MOST_LIKELY), (edits, AGAIN)):
            for k, edit in enumerate(some[:most]):
                share = 1.0 if seconds is some else 1 - left * 0.5 ** (k + 1)
                pairs += self._second(edit, seconds, share)
            if pairs:
                break
        return sorted(pairs, key=lambda pair: sum(one.cost for one in pair))

    def _second(self, edit: Any, others: Sequence[Any], share: float) -> list[list[Any]]:
        """Pairs of which that change is one."""
        more: list[Any] = []
        with (
            contextlib.suppress(Slow),
            self.program.changed(edit) as code,
            self.program.loaded(code) as function,
        ):
            with limited():
                now = self.all(function)
                _, fine = self.right.reached(function, _first(now))
            others = [one for one in others if one.line not in fine and one is not edit]
            more, _ = self.one(others, _first(now), share)
        return [[edit, one] for one in more]

    def alone(self, edit: Any, base: list[Sequence[Far]]) -> bool:
        """Whether a change makes an output right in every case, and none less right."""
        with (
            contextlib.suppress(Exception, SystemExit, Slow),
            self.program.changed(edit) as code,
            self.program.running(code) as function,
        ):
            return bool(_fixed(base, self.all(function)))
        return False

    def after(self, first: int) -> list[list[Found]]:
        """The first line with a variable whose right value makes everything right."""
        values = [self.right.values(case) for case in range(self.right.count)]
        feed = self.program.space[substitute.FEED] = substitute.Feed()
        for edit in substitute.places(self.program.tree):
            for name in values[first]:
                for which in range(len(substitute.orders(values[first][name]))):
                    if self._late(1 + PARTLY / 2):
                        return []
                    with (
                        contextlib.suppress(Exception, SystemExit, Slow),
                        self.program.changed(edit) as code,
                        self.program.running(code) as function,
                    ):
                        if self._fed(feed, function, first, values, name, which) and all(
                            self._fed(feed, function, case, values, name, which)
                            for case in range(self.right.count)
                        ):
                            old = ast.unparse(edit.old)
                            return [[Found(edit.line, "", old, "", 0, instead=name)]]
        return []

    def _fed(
        self,
        feed: Any,
        function: Callable[..., Any],
        case: int,
        values: Sequence[Mapping[str, Sequence[Any]]],
        name: str,
        which: int,
    ) -> bool:
        """Whether every number of a case is right with the values of an intermediate."""
        feed.start(substitute.orders(values[case].get(name, ()))[which])
        return not _wrong(self.right.far(function, case))

    def partly(self, tried: Sequence[Tried], base: list[Sequence[Far]]) -> list[list[Found]]:
        """The changes that make an output right in every case, and no number wrong, the likeliest
        first."""
        found, first = [], _first(base)
        # an output may be wrong in other cases only
        wrong = {
            next((k for k, far in enumerate(base) if far[n].share), first)
            for n in range(len(base[0]))
        }
        likely = [
            one
            for one in tried
            if one.edit.cost <= MOST_COST
            and len(one.edit.changes) == 1
            and not _breaks(one.far, base[first])
        ]
        for one in sorted(likely, key=lambda one: not _helps(one.far, base[first])):
            if self._late(1 + PARTLY):
                break
            with contextlib.suppress(Exception, SystemExit, Slow):
                with self.program.running(one.code) as function:
                    if not _helps(one.far, base[first]) and not any(
                        _helps(self.right.far(function, case), base[case]) for case in wrong
                    ):
                        continue
                    now = self.all(function)
                if not any(map(_breaks, now, base)):
                    left = sum(map(_wrong, now))
                    found.append((left, one.edit.cost, one.edit, _fixed(base, now)))
        found.sort(key=lambda one: one[:2])
        return [[said(edit)._replace(fixes=fixes)] for *_, edit, fixes in found if fixes]


def likeliest(found: Sequence[Found]) -> list[Found]:
    """Of changes that do the same the likeliest, and for each other line the likeliest there; in
    order."""
    # what makes another array does the work of a copy, and a copy does no other
    order = sorted(
        found,
        key=lambda one: (one.cost, ".copy()" not in one.new, abs(len(one.new) - len(one.old))),
    )
    kept = [one for one in order if one.cost == order[0].cost][:MOST_SAID]
    lines = {one.line for one in kept}
    for one in order:
        if one.line not in lines:
            lines.add(one.line)
            kept.append(one)
    return kept


def _helps(now: Sequence[Far], before: Sequence[Far]) -> bool:
    """Whether an output has become right."""
    return any(b.share and not a.share for a, b in zip(now, before))


def _breaks(now: Sequence[Far], before: Sequence[Far]) -> bool:
    """Whether an output has more wrong numbers."""
    return any(a.share > b.share for a, b in zip(now, before))


def _first(base: list[Sequence[Far]]) -> int:
    """The simplest case that is wrong."""
    return next(k for k, far in enumerate(base) if _wrong(far))


def _wrong(far: Sequence[Far]) -> float:
    """How much is wrong in all outputs."""
    return sum(one.share for one in far)


def _fixed(base: list[Sequence[Far]], now: list[Sequence[Far]]) -> tuple[int, ...]:
    """The outputs that have become right in every case; none if others are farther off then."""
    outputs = list(zip(zip(*base), zip(*now)))
    fixed = tuple(
        k for k, (before, after) in enumerate(outputs) if _wrong(before) and not _wrong(after)
    )
    others = [zip(before, after) for k, (before, after) in enumerate(outputs) if k not in fixed]
    farther = any(
        after.most > before.most * 1.000001 for pairs in others for before, after in pairs
    )
    return () if farther else fixed


def said(edit: Any, alone: bool = False) -> Found:
    """A change, in text: of the student's own program, for one that was changed is the answer."""
    old, new = (_made(node, edit.line) for node in (edit.old, edit.new))
    texts = ["" if node is None else ast.unparse(node) for node in (old, new)]
    owner = edit.changes[0].node
    around = isinstance(owner, (ast.expr, ast.keyword)) and not isinstance(owner, ast.Attribute)
    short = len(texts[0]) <= SHORT and around
    whole = ast.unparse(owner) if short else ""
    return Found(
        edit.line, edit.wrong, texts[0], texts[1], edit.cost, (), whole, alone, len(edit.changes)
    )
