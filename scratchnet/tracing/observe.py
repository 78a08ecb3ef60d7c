"""What a backward pass computes while it runs: its own local variables, by name and time step.

A foreign backward (a student's, or one with a mistake in it) is called once, over the whole
sequence, as the layer calls it. Meanwhile ``sys.settrace`` stops at the lines that read or write a
local variable named like a gradient (dh, dc_next, da_i). No number is computed in a second way, so
what is recorded is what this code computed.

Which value of a variable counts
- the one at the *end* of the step, and where the variable is replaced, just before: an array that
  is filled or changed in place has its final numbers only then;
- for ``..._next``, which a step receives, the one that the step reads first;
- of two functions with the same name inside one step, the outer one's;
- an array (T, N, H) that is filled step by step counts for all steps, as it is at the return.

Which step: the local ``t`` of the function, or of one that called it; t=3 is taken to be step 3.
Where there is no ``t``, a variable with T values in all has one for each step, the last one first.

What runs in the function's own module and in the library's cells is seen. Compiled code, other
modules and other threads are not, and what was not seen is absent.
"""

import dis
import re
import sys
from collections.abc import Callable
from functools import lru_cache, partial
from inspect import CO_GENERATOR, unwrap
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, is_array
from scratchnet.cells import CELLS
from scratchnet.tracing.terms import Terms, blocks

# The gradient of q is dq. Of the arguments and results dy, dh_last, dh0, dx there is no step.
TERM = re.compile(r"d(?![xy]$)[a-z]\w*(?<!_last)(?<!\d)")
TIME = "t"
NEXT = "_next"


class Access(NamedTuple):
    """The variables that one line reads and writes."""

    read: tuple[str, ...]
    written: tuple[str, ...]


@lru_cache(maxsize=1024)
def accesses(code: CodeType) -> dict[int, Access]:
    """Number of a line -> the gradients, and the t, that it reads or writes."""
    found: dict[int, Access] = {}
    for instruction in dis.get_instructions(code):
        line = instruction.positions.lineno if instruction.positions else None
        # newer versions of Python read or write two variables with one instruction
        kinds = re.findall(r"(LOAD|STORE)_(?:FAST|DEREF|CLOSURE)", instruction.opname)
        names = instruction.argval if len(kinds) > 1 else (instruction.argval,)
        for kind, name in zip(kinds, names):
            if line is not None and (name == TIME or TERM.fullmatch(name)):
                read, written = found.get(line, Access((), ()))
                if kind == "LOAD":
                    found[line] = Access((*read, name), written)
                else:
                    found[line] = Access(read, (*written, name))
    return found


class _Call:
    """One call of a function that is observed."""

    def __init__(self, frame: FrameType, outer: "_Call | None") -> None:
        code = frame.f_code
        self.outer = outer
        self.depth: int = 0 if outer is None else outer.depth + 1
        self.accesses = accesses(code)
        names = (*code.co_varnames, *code.co_cellvars, *code.co_freevars)
        self.names = [name for name in names if TERM.fullmatch(name)]
        self.has_time = TIME in names
        self.t: int | None = None
        self.awaited: tuple[str, ...] = ()  # written by the line that runs now
        self.written: set[str] = set()  # in this step
        self.begun: Terms = {}  # ``_next`` at the beginning of the step
        self.read: Terms = {}  # and where the step first read it
        self.before: Terms = {}  # all at the end of the step before
        self.recorded: dict[str, Any] = {}  # where there is no t: the last array of each name

    @property
    def step(self) -> int | None:
        """The time step: its own, or that of the function that called it."""
        if self.t is not None or self.outer is None:
            return self.t
        return self.outer.step


class Observer:
    """Calls a backward pass once and records its local variables.

    Parameters
    ----------
    backward : with the signature of a cell's
    sizes : T, N and H
    letters : of the gates, for arrays that hold all gates side by side
    """

    def __init__(
        self, backward: Callable[..., Any], sizes: tuple[int, int, int], letters: str
    ) -> None:
        self.backward, self.letters = backward, letters
        self.T, self.N, self.H = sizes
        inner: Any = unwrap(backward.func if isinstance(backward, partial) else backward)
        # of an object that can be called, its class has the function
        own = [inner, type(inner).__call__]
        own += [cell.backward for cell in CELLS.values()]
        self.modules = {id(getattr(function, "__globals__", None)) for function in own}
        self.calls: dict[FrameType, _Call] = {}
        # name -> step -> (depth of the call, value); then what has no step, in its order
        self.by_step: dict[str, dict[int, tuple[int, Array]]] = {}
        self.in_order: dict[str, list[tuple[int, Array]]] = {}
        self.whole: dict[str, tuple[int, Array]] = {}

    def run(self, *arguments: Any) -> Any:
        """What the backward pass returns; its exceptions pass through.

        A trace function that was there before, a debugger's or coverage's, sees nothing of this
        call and is put back after it.
        """
        before, ours = sys.gettrace(), self._entered
        sys.settrace(ours)
        try:
            return self.backward(*arguments)
        finally:
            if sys.gettrace() == ours:  # the function may have started a debugger
                sys.settrace(before)
            self.calls.clear()

    def terms(self) -> Terms:
        """Name -> (T, N, H): what was seen at every step."""
        found: Terms = {}
        for name in dict.fromkeys([*self.by_step, *self.whole, *self.in_order]):
            value = self._term(name)
            if value is None:
                continue
            if value.shape[2] == self.H and name != "da":
                found[name] = value
            else:
                found |= blocks(value, self.letters, f"{name}_")
        return found

    def _term(self, name: str) -> Array | None:
        steps = self.by_step.get(name, {})
        if len(steps) == self.T:
            values = [steps[t][1] for t in range(self.T)]
        elif name in self.whole:
            return self.whole[name][1]
        else:
            pairs = self.in_order.get(name, [])
            outermost = min((depth for depth, _ in pairs), default=0)
            values = [value for depth, value in pairs if depth == outermost]
            # what the first step sends back is read once more, as the initial state's gradient
            if len(values) == self.T + name.endswith(NEXT):
                values = values[: self.T]
            values = values[::-1]
        if len(values) != self.T or len({value.shape for value in values}) > 1:
            return None
        return np.stack(values)

    # ---- called by the interpreter: these must not raise ----------------------------------------

    def _entered(self, frame: FrameType, event: str, arg: object) -> Any:
        if id(frame.f_globals) not in self.modules:
            return None
        if frame in self.calls:  # a generator goes on
            return self._inside
        outer = frame.f_back
        while outer is not None and outer not in self.calls:
            outer = outer.f_back
        call = _Call(frame, None if outer is None else self.calls[outer])
        if not call.names and not call.has_time:
            return None
        self.calls[frame] = call
        values = frame.f_locals  # the arguments
        for name in (TIME, *call.names):
            if name in values:
                self._wrote(call, name, values)
        return self._inside

    def _inside(self, frame: FrameType, event: str, arg: object) -> Any:
        call = self.calls[frame]
        if call.awaited:
            values = frame.f_locals
            for name in call.awaited:
                self._wrote(call, name, values)
            call.awaited = ()
        if event == "return":
            self._end_of_step(call, frame.f_locals)
            self._returned(call, frame.f_locals)
            if not frame.f_code.co_flags & CO_GENERATOR:  # for which a yield is a return
                del self.calls[frame]
        elif event == "line" and (access := call.accesses.get(frame.f_lineno)):
            self._about_to(call, access, frame.f_locals)
        return self._inside

    def _about_to(self, call: _Call, access: Access, values: dict[str, Any]) -> None:
        for name in access.read:
            value = values.get(name)
            if name.endswith(NEXT) and name not in call.read and self._fits(value):
                call.read[name] = values[name].copy()
                if call.step is None:
                    self._record_once(call, name, value)
        if TIME in access.written:
            self._end_of_step(call, values)
        elif call.step is None:
            for name in call.written.intersection(access.written):
                if not name.endswith(NEXT):
                    self._record_once(call, name, values.get(name))
        call.awaited = access.written

    def _wrote(self, call: _Call, name: str, values: dict[str, Any]) -> None:
        if name != TIME:
            if call.step is None:
                call.read.pop(name, None)
            call.written.add(name)
            return
        t: Any = values.get(TIME)
        now = int(t) if isinstance(t, (int, np.integer)) and 0 <= t < self.T else None
        if now is None or now != call.t:  # the same t again: the loop has ended
            received = [name for name in call.names if name.endswith(NEXT)]
            call.begun = {n: values[n].copy() for n in received if self._fits(values.get(n))}
            call.t, call.read = now, {}

    def _record_once(self, call: _Call, name: str, value: Any) -> None:
        """Record what has no step; a line that spans several is entered more than once."""
        if value is not call.recorded.get(name):
            call.recorded[name] = value
            self._record(call, name, value)

    def _end_of_step(self, call: _Call, values: dict[str, Any]) -> None:
        """Record what this step computed."""
        step, unchanged = call.step, []
        computed = bool(call.written)
        for name in call.names:
            value: Any = values.get(name)
            if name.endswith(NEXT) or not self._fits(value):
                continue
            kept = call.before.get(name)
            if name in call.written or (kept is not None and not np.array_equal(kept, value)):
                computed = True
                self._record(call, name, value)
            else:
                unchanged.append(name)
            if call.has_time:
                call.before[name] = value.copy()
        if computed and step is not None:
            for name in unchanged:  # a buffer that was filled with the same numbers again
                if step not in self.by_step.get(name, {}):
                    self._record(call, name, values[name])
            for name, value in (call.begun | call.read).items():
                self._record(call, name, value)
        call.written, call.begun = set(), {}

    def _returned(self, call: _Call, values: dict[str, Any]) -> None:
        """Record arrays of the whole sequence."""
        for name in call.names:
            value: Any = values.get(name)
            if self._fits(value, axes=3) and self.whole.get(name, (99, None))[0] >= call.depth:
                self.whole[name] = call.depth, value.copy()

    def _record(self, call: _Call, name: str, value: Any) -> None:
        if not self._fits(value):
            return
        t = call.step
        if t is None:
            self.in_order.setdefault(name, []).append((call.depth, value.copy()))
            return
        steps = self.by_step.setdefault(name, {})
        if t not in steps or steps[t][0] >= call.depth:
            steps[t] = call.depth, value.copy()

    def _fits(self, value: Any, axes: int = 2) -> bool:
        """True for an array (N, H) or (N, gates H) of floating numbers, or (T, N, ...)."""
        if not is_array(value) or value.ndim != axes or value.dtype.kind != "f":
            return False
        wide = value.shape[-1] in (self.H, len(self.letters) * self.H)
        return wide and value.shape[:-1] == (self.T, self.N)[2 - axes + 1 :]
