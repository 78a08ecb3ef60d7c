"""All that needs a GPU, in parts: each a process with a time limit, its output in a file.

    make gpu                        everything, about twenty minutes, into out/gpu
    make gpu OUT=DIR WHAT=first     ten minutes: does it run, is it right, how fast is it roughly?
    make gpu OUT=DIR WHAT=second    ten more: races, all sizes, the ladder
    make gpu WHAT="smoke tests"     single parts

Nothing is installed and nothing is fetched. A part whose packages or programs are missing is left
out. Every part writes while it runs, so what was measured before a part is stopped, or before all
of it is stopped, is in the folder: a log for each part, the results of the benchmarks as JSON, and
``parts.json`` with what became of each part. Results to be kept are copied to
``benchmarks/results``. Where CuPy finds no GPU, one sentence says what to install.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
NO_GPU = 3  # exit code, of this program and of the parts: there was nothing to measure on
GRACE = 5.0  # seconds between asking a part to end and ending it
TAIL = 12  # lines of a part's log that are shown
FLAGSHIP = ("100,64,64,128", "1000,32,8,128", "100,64,64,64", "100,64,64,256")
Row = dict[str, Any]


class Part(NamedTuple):
    """One process."""

    name: str
    seconds: float  # the most it may take
    command: tuple[str, ...]  # {out} is the folder for results, {commit} what they are of
    needs: tuple[str, ...] = ()  # modules of Python
    program: str = ""  # on the path


def program(name: str, *arguments: str) -> tuple[str, ...]:
    """A program of this folder."""
    return (sys.executable, str(Path(__file__).parent / name), *arguments)


def sanitizer(tool: str) -> tuple[str, ...]:
    """Each persistent kernel once, under a tool that watches its memory."""
    return ("compute-sanitizer", "--tool", tool, "--error-exitcode", "9", *program("gpu_tiny.py"))


def tests() -> tuple[str, ...]:
    """The tests marked ``gpu``, in several processes where pytest can."""
    found = [sys.executable, "-m", "pytest", "-m", "gpu", "-rs", "-W", "default"]
    found += ["-p", "no:cacheprovider", "--continue-on-collection-errors"]
    found += ["--junitxml", "{out}/tests.xml"]
    found += ["-n", str(min(8, os.cpu_count() or 1))] if find_spec("xdist") else []
    return tuple(found)


def bench(seconds: int, *arguments: str) -> tuple[str, ...]:
    """The benchmark of the engines and PyTorch."""
    always = ("--seconds", str(seconds), "--out", "{out}", "--commit", "{commit}")
    return program("gpu.py", *always, *arguments)


PARTS = {
    "first": (
        Part("smoke", 175, program("gpu_smoke.py", "--out", "{out}"), ("numba_cuda",)),
        Part("clusters", 40, program("gpu_clusters.py"), ("numba_cuda",)),
        Part(
            "flagship",
            150,
            bench(70, "--cells", "lstm", "gru", "--sizes", *FLAGSHIP),
            ("numba_cuda", "torch"),
        ),
        Part("tests", 225, tests(), ("numba_cuda", "pytest")),
    ),
    "second": (
        Part("racecheck", 80, sanitizer("racecheck"), ("numba_cuda",), "compute-sanitizer"),
        Part("memcheck", 60, sanitizer("memcheck"), ("numba_cuda",), "compute-sanitizer"),
        Part("all", 390, bench(300), ("numba_cuda", "torch")),
        Part("ladder", 60, program("ladder.py", "--seconds", "20"), ("numba_cuda", "torch")),
    ),
}


def missing(part: Part) -> str:
    """What a part needs and this machine has not; empty where it has all."""
    absent = [name for name in part.needs if find_spec(name) is None]
    if part.program and shutil.which(part.program) is None:
        absent.append(f"{part.program} on the path")
    return ", ".join(absent)


def environment() -> dict[str, str]:
    """The variables of every part."""
    found = os.environ | {"PYTHONUNBUFFERED": "1"}
    found["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", Path(__file__).parent)))
    # Numba looks for its libraries in CUDA_HOME first: one without them is worse than none
    if not Path(found.get("CUDA_HOME", ""), "nvvm", "libdevice").is_dir():
        found.pop("CUDA_HOME", None)
    return found


def run(part: Part, out: Path, limit: float, commit: str) -> Row:
    """Run a part, end it and all its children at its limit, and say what became of it."""
    row: Row = {"part": part.name, "status": "left out", "reason": "", "seconds": 0.0}
    if absent := missing(part):
        return row | {"reason": f"needs {absent}"}
    if limit <= 0:
        return row | {"reason": "the time for all parts was over"}
    log = out / f"{part.name}.log"
    command = [w.replace("{out}", str(out)).replace("{commit}", commit) for w in part.command]
    started = time.perf_counter()
    with log.open("wb") as written:
        process = subprocess.Popen(
            command,
            stdout=written,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment(),
            start_new_session=True,  # a group of processes, which ends together
        )
        try:
            code = process.wait(limit)
            status = {0: "done", NO_GPU: "left out"}.get(code, "failed")
            reason = "" if code == 0 else f"exit code {code}, see {log.name}"
        except subprocess.TimeoutExpired:
            status, reason = "stopped", f"its {limit:g} s were over, see {log.name}"
        finally:
            end(process)
    took = round(time.perf_counter() - started, 1)
    return row | {"status": status, "reason": reason, "seconds": took}


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its children: ask, wait a little, insist."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):  # the whole group has ended
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """A request to end, as ``timeout`` sends it, is an interruption: parts are ended, too."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_all(parts: Sequence[Part], out: Path, seconds: float, commit: str) -> int:
    """Run the parts one after the other; 1 where one has failed or was stopped."""
    import compact

    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = [{"part": p.name, "status": "not run", "reason": ""} for p in parts]
    over = time.perf_counter() + seconds
    code = 0
    with interrupted_by_sigterm():
        try:
            for k, part in enumerate(parts):
                limit = min(part.seconds, over - time.perf_counter())
                print(f"=== {part.name}, at most {limit:.0f} s", flush=True)
                rows[k] |= {"status": "stopped", "reason": "interrupted"}  # unless it is replaced
                rows[k] = run(part, out, limit, commit)
                show(out / f"{part.name}.log")
                compact.write(out / "parts.json", {"commit": commit, "parts": rows})
        except KeyboardInterrupt:
            code = 130
    compact.write(out / "parts.json", {"commit": commit, "parts": rows})
    print(f"\nResults are in {out}")
    for row in rows:
        took = f" in {row['seconds']:.0f} s" if row.get("seconds") else ""
        print(f"{row['part']}: {row['status']}{took}{': ' * bool(row['reason'])}{row['reason']}")
    return code or int(any(row["status"] in ("failed", "stopped") for row in rows))


def show(log: Path) -> None:
    """Print the last lines of a log."""
    with suppress(OSError):  # a part that was left out has none
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        print("\n".join(lines[-TAIL:]), flush=True)


def why_not() -> str | None:
    """What to install before anything can run, in one sentence; None where parts can run."""
    try:
        from scratchnet.files.machine import why_no_gpu
    except ImportError as error:
        return (
            f"{error.name} is not installed: pip install -e '.[cuda12,torch]' pytest, or cuda13 for"
            " CUDA 13"
        )
    return why_no_gpu()


def main(arguments: list[str] | None = None) -> int:
    """Run the parts that are named; 3 without a GPU."""
    every = {part.name: part for parts in PARTS.values() for part in parts}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", help=f"of first, second, {', '.join(every)}")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "gpu", help="default out/gpu")
    parser.add_argument("--commit", default="unknown", help="what the results are of")
    parser.add_argument("--seconds", type=float, default=3600.0, help="for all, default 3600")
    options = parser.parse_args(arguments)
    parts: list[Part] = []
    for name in options.what or PARTS:
        if name not in PARTS and name not in every:
            parser.error(f"no part is named {name!r}: expected first, second, {', '.join(every)}")
        parts += PARTS.get(name) or (every[name],)
    if reason := why_not():
        print(f"Nothing was run: {reason}.", file=sys.stderr)
        return NO_GPU
    return run_all(parts, options.out.absolute(), options.seconds, options.commit)


if __name__ == "__main__":
    sys.exit(main())
