"""Run somebody else's code in a separate process, in an empty folder, with limits of time and
memory.

This contains accidents: endless loops, floods of text, written files, exhausted memory, a process
that exits. It is not a security boundary against malicious code: run a grader of strangers in a
container or a virtual machine, too.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import scratchnet
from scratchnet_course import child

LIBRARY = [str(Path(scratchnet.__file__).parents[1])]  # for answers and tests that import it
MEGABYTES = 4096  # of address space: NumPy's BLAS reserves a good part of it without using it


class Ran(NamedTuple):
    """What came of running a function on some cases."""

    status: str  # ran, empty, raised, missing, type, timeout, memory, died
    text: str  # the traceback, or what there is to say
    printed: str  # what the code printed
    changed: tuple[str, ...]  # arguments it wrote into
    answers: list[Any]  # of each case: an array, a list of arrays, or a dict of them


def run(code: str, function: str, cases: Sequence[dict[str, Any]], seconds: float) -> Ran:
    """Run a function of the code on each case's arguments, in a separate process.

    Parameters
    ----------
    code
        The text of a file that defines ``function``.
    cases
        Arguments, arrays and plain numbers, of each call.
    seconds
        The time limit of all calls together.
    """
    with tempfile.TemporaryDirectory(prefix="course-") as name:
        folder = Path(name)
        (folder / "code.py").write_text(code, encoding="utf-8")
        task = {
            "function": function,
            "cases": len(cases),
            "seconds": seconds,
            "megabytes": MEGABYTES,
            "paths": LIBRARY,
        }
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        for number, arguments in enumerate(cases):
            arrays: dict[str, Any] = {key: np.asarray(v) for key, v in arguments.items()}
            np.savez(folder / f"case{number}.npz", **arrays)
        status = _wait(folder, seconds)
        if status is not None:
            return Ran(status, f"{seconds:g} seconds", "", (), [])
        try:  # whatever the code has written here in place of the child's own words
            report = json.loads(
                (folder / "report.json").read_text(encoding="utf-8", errors="replace")
            )
            answers = []
            if report["status"] == "ran":
                answers = [_read(folder / f"case{number}.out.npz") for number in range(len(cases))]
            text, printed = str(report["text"]), str(report["printed"])
            return Ran(
                str(report["status"]), text, printed, tuple(map(str, report["changed"])), answers
            )
        except Exception:
            return Ran("died", "the process terminated without output", "", (), [])


def _wait(folder: Path, seconds: float) -> str | None:
    """Start the child and wait: "timeout" where it was stopped, None where it ended by itself."""
    # -I: neither the student's folder nor the environment decides what is imported. One thread:
    # many run side by side.
    environment = {
        name: v
        for name, v in os.environ.items()
        if name in ("PATH", "SYSTEMROOT", "LANG", "LC_ALL", "TMPDIR")
    }
    environment |= {
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    command = [sys.executable, "-I", str(Path(child.__file__)), str(folder)]
    new_group: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **new_group,
    )
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return "timeout"
    finally:
        if os.name == "posix":  # with all that it has started
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
    if os.name == "posix" and process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return "timeout"
    return None


def _read(path: Path) -> Any:
    """One answer, as the function returned it."""
    with np.load(path, allow_pickle=False) as file:
        how = str(file["how"])
        parts = [file[name] for name in sorted(file.files) if name != "how"]
    if how == "one":
        return parts[0]
    return parts if how == "list" else dict(zip(json.loads(how), parts))
