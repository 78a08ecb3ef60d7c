"""The program that runs a student's file in a separate process: it computes and decides nothing.

    python -I -S child.py FOLDER ...

The folders are those of the packages. The task comes by standard input: a line of JSON, then the
numbers of the arguments. The result goes to standard output: the task's token, a line of JSON, then
the numbers of the answers. Imports nothing of the library: what a student's code can reach from
here must not be able to change what it is compared with.
"""

import contextlib
import importlib
import importlib.machinery
import importlib.util
import io
import json
import linecache
import math
import os
import re
import signal
import sys
import time
import traceback
import types
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path += sys.argv[1:]

import numpy as np

MOST_TEXT = 4000  # characters of what the code printed, and of a traceback
MOST_BYTES = 4 << 20  # of all answers together; the largest right one has a thousandth of that
PACKAGE = "scratchnet_course"  # this one
FILE = "code.py"  # the student's file, in a traceback
NUMBERS = re.compile(r"[<>|=][fiub]\d{1,2}")
NOBODY = 65534
KILLED = 128 + 9  # how a shell reports a process that SIGKILL has ended

Kinds = list[tuple[str, list[int]]]  # dtype and shape of each array


def pack(arrays: Sequence[Any]) -> tuple[Kinds, bytes]:
    """Arrays as they travel: what they are, and their numbers in one piece."""
    kinds = [(array.dtype.str, list(array.shape)) for array in arrays]
    return kinds, b"".join(array.tobytes() for array in arrays)


def unpack(kinds: Kinds, numbers: bytes | memoryview) -> tuple[list[Any], memoryview]:
    """The arrays, and the bytes after them; ValueError for what is not plain numbers, or too few.

    Nothing is as large as a shape says, only as large as the bytes that there are.
    """
    arrays, rest = [], memoryview(numbers)
    for dtype, shape in kinds:
        if not NUMBERS.fullmatch(dtype):
            raise ValueError(f"an array of {dtype!r}")
        size = np.dtype(dtype).itemsize * math.prod(shape)
        arrays.append(np.frombuffer(rest[:size], dtype).reshape(shape).copy())
        rest = rest[size:]
    return arrays, rest


class Printed(io.TextIOBase):
    """What is printed: the first of it is kept, all of it counted."""

    def __init__(self) -> None:
        super().__init__()
        self.kept, self.count = "", 0

    def write(self, text: str) -> int:
        """Keep what there is still room for."""
        self.kept += text[: MOST_TEXT - len(self.kept)]
        self.count += len(text)
        return len(text)


class Installed:
    """Finds the packages that the course allows, and no other: the same behind a wall and without
    one."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = {*names, *sys.stdlib_module_names}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As PathFinder's."""
        if path is None and name not in self.names and not name.startswith("_sysconfigdata"):
            return None
        return importlib.machinery.PathFinder.find_spec(name, path, target)


class Beside:
    """Finds the modules that are beside the student's file, which are there as text only."""

    def __init__(self, modules: dict[str, str]) -> None:
        self.modules = modules

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """A module that this loads, too."""
        return importlib.util.spec_from_loader(name, self) if name in self.modules else None  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> None:
        """The usual one."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the text."""
        code, file = self.modules[module.__name__], f"{module.__name__}.py"
        linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
        exec(compile(code, file, "exec"), module.__dict__)


def limit(seconds: float, megabytes: int, processes: bool) -> None:
    """Processor time, memory, files and, behind a wall, processes, where the system can limit them
    (not on Windows)."""
    try:
        import resource
    except ImportError:
        return
    if processes and os.geteuid() == 0:  # root, who has no limit of processes
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    for what, most in (
        (resource.RLIMIT_CPU, int(seconds) + 1),
        (resource.RLIMIT_FSIZE, 20_000_000),
        (resource.RLIMIT_AS, megabytes << 20),
        (resource.RLIMIT_CORE, 0),
        *([(resource.RLIMIT_NPROC, 0)] if processes else []),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))


def apart(seconds: float) -> None:
    """Continue in a separate process, whose parent waits, ends it in time, and ends what it has
    started.

    So ``os.getppid()`` is not the grader. On Linux the waiting process also inherits the processes
    that have left the group. This is what can be done without a wall, and it is not one.
    """
    if not hasattr(os, "fork"):
        return
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    own = os.fork()
    if own == 0:
        return
    signal.signal(signal.SIGALRM, lambda *_: os.kill(own, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    code = os.waitstatus_to_exitcode(os.waitpid(own, 0)[1])
    signal.setitimer(signal.ITIMER_REAL, 0)
    end = time.monotonic() + 2  # against one that starts processes faster than they are ended
    try:
        while time.monotonic() < end:
            left = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
            for process in map(int, left.split()):
                os.kill(process, signal.SIGKILL)
            os.waitpid(-1, 0)
    except OSError:  # none is left; or a system without /proc
        pass
    os._exit(code if code >= 0 else 128 - code)


def of_student(error: BaseException) -> str:
    """The traceback from the student's first own line on."""
    frames = traceback.extract_tb(error.__traceback__)
    own = next((k for k, frame in enumerate(frames) if frame.filename == FILE), len(frames))
    shown = traceback.format_list(frames[own:]) + traceback.format_exception_only(error)
    return "".join(shown)


def flat(value: Any) -> tuple[Any, list[Any]]:
    """How a returned value is put together ("one", "list" or names), and its parts."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    elif hasattr(value, "__dataclass_fields__"):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return [str(name) for name in value], list(value.values())
    if isinstance(value, (tuple, list)):
        return "list", list(value)
    return "one", [value]


def answers(function: Any, cases: list[dict[str, Any]], report: dict[str, Any]) -> bytes:
    """Run the function on every case; returns the numbers of its answers.

    A case that raises an exception does not end the others: they may say what is wrong.
    """
    numbers = b""
    for before in cases:
        arguments = given(before)
        try:
            how, parts = flat(function(**arguments))
        except (NotImplementedError, MemoryError):
            raise
        except BaseException as error:
            report["answers"].append(("raised", []))
            if report["status"] == "ran":
                report |= {"status": "raised", "text": of_student(error)}
            continue
        report["changed"] += [
            name
            for name, v in arguments.items()
            if isinstance(v, np.ndarray)
            and not np.array_equal(v, before[name], equal_nan=True)
            and name not in report["changed"]
        ]
        arrays = []
        for k, part in enumerate(parts):
            array = as_numbers(part)
            if array is None:
                of = f" of {part.dtype}" if isinstance(part, np.ndarray) else ""
                text = f"{k if len(parts) > 1 else -1}|{type(part).__name__}{of}"
                if report["status"] == "ran":
                    report |= {"status": "type", "text": text}
                array = np.zeros(0)
            arrays.append(array)
        if len(numbers) + sum(array.nbytes for array in arrays) > MOST_BYTES:
            report |= {"status": "large", "text": ""}
            return b""
        kinds, made = pack(arrays)
        report["answers"].append((how, kinds))
        numbers += made
    return numbers


def as_numbers(value: Any) -> Any:
    """The value as an array; None for what is not numbers."""
    try:
        array = np.asarray(value)
    except ValueError:  # a list of unlike parts
        return None
    return array if array.dtype.kind in "fiub" else None


def own_module(name: str) -> Any:
    """The module of that name beside this file, as a part of a package that only it sees."""
    package = types.ModuleType(PACKAGE)
    package.__path__ = [str(Path(__file__).parent)]
    before = {key: sys.modules.pop(key) for key in _of_package()}
    sys.modules[PACKAGE] = package
    try:
        return importlib.import_module(f"{PACKAGE}.{name}")
    finally:
        for key in _of_package():
            del sys.modules[key]
        sys.modules.update(before)


def _of_package() -> list[str]:
    return [key for key in sys.modules if key.partition(".")[0] == PACKAGE]


def given(case: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call, copied."""
    return {name: v.item() if v.ndim == 0 else v.copy() for name, v in case.items()}


class Probed:
    """The student's program with a probe in each expression."""

    def __init__(self, task: dict[str, Any]) -> None:
        probe = own_module("probe")
        program, self.places = probe.probed(task["code"], FILE)
        self.record = probe.Record(self.places, task["function"])
        space = {"__name__": "student", "__file__": FILE, probe.PROBE: self.record}
        exec(program, space)
        self.function: Any = space[task["function"]]

    def run(self, case: dict[str, Any]) -> list[tuple[int, Any]]:
        """What was seen, with the numbers of the places."""
        self.record.start()
        with contextlib.suppress(Exception):
            self.function(**given(case))
        events: list[tuple[int, Any]] = self.record.events
        return events


def watched(task: dict[str, Any], cases: list[dict[str, Any]], report: dict[str, Any]) -> bytes:
    """Run the function on every case with a probe in each expression; returns what they saw."""
    program = Probed(task)
    seen, numbers = [], b""
    for case in cases:
        events = program.run(case)
        kinds, made = pack([array for _, array in events])
        seen.append([[number for number, _ in events], [shape for _, shape in kinds]])
        numbers += made
    report["places"] = [list(place) for place in program.places]
    report["seen"], report["single"] = seen, program.record.single
    return numbers


def repaired(
    task: dict[str, Any],
    space: dict[str, Any],
    cases: list[dict[str, Any]],
    rights: list[dict[str, Any]],
    steps: list[dict[str, Any]],
    report: dict[str, Any],
) -> None:
    """Look for a small change of the program that makes its answers right."""
    repair, moments = own_module("repair"), own_module("moments")
    program = repair.Program(task["code"], task["function"], space, own_module("edits"))
    reached, probes = own_module("reached").Reached(program.tree, FILE), Probed(task)

    class Right:
        """What a function's numbers are compared with."""

        count = len(cases)

        def far(self, function: Any, case: int) -> list[Any]:
            wanted = list(rights[case].values())
            try:
                parts = outputs(function(**given(cases[case])), rights[case])
                pairs = zip(map(np.asarray, parts), wanted, strict=True)
                return [repair.Far(*far(a, b, task["tolerance"])) for a, b in pairs]
            except Exception:
                return [repair.Far(3.0, math.inf)] * len(wanted)

        def reached(self, function: Any, case: int) -> Any:
            call, own = partial(function, **given(cases[case])), int(steps[case]["own"])
            return reached(call, partial(self.matches, case), own)

        def matches(self, case: int, value: Any) -> Any:
            return moments.matches(as_numbers(value), steps[case]["moments"])

        def values(self, case: int) -> dict[str, list[Any]]:
            found: dict[str, list[Any]] = {}
            for k, name in enumerate(task["steps"][case]):
                found.setdefault(name, []).append(steps[case][f"step {k}"])
            return found

        def computed(self, case: int) -> Any:
            values = [value for _, value in probes.run(cases[case])]
            return frozenset(int(k) for value in values for k in self.matches(case, value))

    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report["repairs"] = repair.repair(program, Right())


def outputs(value: Any, right: dict[str, Any]) -> list[Any]:
    """The parts of an answer, in the order of what is right; see `Exercise.named`."""
    how, parts = flat(value)
    if isinstance(how, list) and set(right) <= set(how):
        return [parts[how.index(name)] for name in right]
    if len(right) > 1:
        return list(parts[0]) if how == "one" else parts
    (only,) = right.values()
    return parts if len(parts) == 1 and np.shape(parts[0]) == only.shape else [np.asarray(parts)]


def far(a: Any, b: Any, tolerance: float) -> tuple[float, float]:
    """The share of numbers that differ by more than ``tolerance`` of the largest one of b, and the
    largest difference; 2 for other shapes."""
    if a.shape != b.shape:
        return 2.0, math.inf
    if not a.size:
        return 0.0, 0.0
    difference = np.abs(a - b)
    most = float(difference.max())
    size = max(float(np.abs(b).max()), 1e-250)
    right = np.count_nonzero(difference <= tolerance * size)
    return 1 - right / a.size, most if most == most else math.inf


def tested(function: Any, cell: str, report: dict[str, Any]) -> None:
    """Run a student's gradient test on a cell, which is there as text only in the task."""
    module = types.ModuleType("cell")
    exec(compile(cell, "cell.py", "exec"), module.__dict__)
    try:
        function(module.forward, module.backward)
        report["status"] = "passed"
    except AssertionError:
        report["status"] = "caught"


def main() -> None:
    """Read the task, run the file, write the result."""
    task = json.loads(sys.stdin.buffer.readline())
    numbers, tables = sys.stdin.buffer.read(), []
    for names, kinds in task["tables"]:
        arrays, numbers = unpack(kinds, numbers)
        tables.append(dict(zip(names, arrays)))
    count = task["count"]
    cases, rights, steps = (tables[k * count : (k + 1) * count] for k in range(3))
    if not task["walled"]:
        apart(task["seconds"])
    # the result's file belongs to this program alone; what the code writes below Python is lost
    channel, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    limit(task["seconds"], task["megabytes"], processes=task["walled"])
    finders: list[Any] = sys.meta_path
    finders[:] = [f for f in finders if f is not importlib.machinery.PathFinder]
    finders += [Beside(task["modules"]), Installed(task["packages"])]
    printed, numbers = Printed(), b""
    report: dict[str, Any] = {"status": "ran", "text": "", "changed": [], "answers": []}
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            space: dict[str, Any] = {"__name__": "student", "__file__": FILE}
            lines = task["code"].splitlines(keepends=True)
            linecache.cache[FILE] = (len(task["code"]), None, lines, FILE)  # for tracebacks
            exec(compile(task["code"], FILE, "exec"), space)
            function: Any = space.get(task["function"])
            if task["watch"]:
                numbers = watched(task, cases, report)
            elif rights:
                repaired(task, space, cases, rights, steps, report)
            elif not callable(function):
                defined = [
                    name for name, v in space.items() if callable(v) and not name.startswith("_")
                ]
                report |= {"status": "missing", "text": ", ".join(defined)}
            elif task["cell"]:
                tested(function, task["cell"], report)
            else:
                numbers = answers(function, cases, report)
    except NotImplementedError as error:
        report |= {"status": "empty", "text": str(error)}
    except MemoryError:
        report |= {"status": "memory", "text": f"{task['megabytes']} MB"}
    # SystemExit and KeyboardInterrupt, too: nothing of a student's may end the checker
    except BaseException as error:
        report |= {"status": "raised", "text": of_student(error)}
    more = printed.count - len(printed.kept)
    report["text"] = report["text"][-MOST_TEXT:]  # of a traceback the last lines say most
    report["printed"] = printed.kept + (f"... and {more} characters more" if more > 0 else "")
    with open(channel, "wb") as file:
        file.write(f"{task['token']}\n{json.dumps(report)}\n".encode() + numbers)
    os._exit(0)  # without what the code has left for the end


if __name__ == "__main__":
    main()
