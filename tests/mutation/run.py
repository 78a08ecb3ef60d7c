"""Change the library in one place after the other, and see whether its tests notice.

    python tests/mutation/run.py --list                     how many mutants each module has
    python tests/mutation/run.py --sample 200 --seed 1      a random sample, over all modules
    python tests/mutation/run.py --only cells/lstm          all mutants of the modules that match
    python tests/mutation/run.py --report                   what all runs so far have found

README.md says what the words mean. Results are added to out/mutation/results.jsonl: a run that is stopped goes on where it
was, and a mutant whose module and tests have not changed is not run again.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections import Counter, defaultdict
from fnmatch import fnmatch
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import ClassVar, NamedTuple

from mutants import mutants

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
OUT = ROOT / "out" / "mutation"
LEAST = 60  # seconds that a file of tests may take, at the least


class Row(NamedTuple):
    """Which tests cover which files: a row of modules.toml."""

    files: str
    tests: tuple[str, ...]
    leave_out: tuple[str, ...]
    kernels: bool


def table():
    """The rows of modules.toml."""
    for row in tomllib.loads((HERE / "modules.toml").read_text())["module"]:
        yield Row(row["files"], tuple(row["tests"]), tuple(row.get("leave_out", ())), row.get("kernels", False))


def all_mutants(only=""):
    """Every mutant, with its row of the table."""
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    seen = set()
    for row in table():
        for file in sorted(f for f in tracked.stdout.split() if fnmatch(f, row.files) and f not in seen):
            seen.add(file)
            if only in file:
                for mutant in mutants(file, (ROOT / file).read_bytes()):
                    yield mutant, row


class Copy:
    """A copy of the tree, in which one mutant at a time is tested."""

    baselines: ClassVar = {}  # seconds of each row's tests, in any of the copies
    measuring = threading.Lock()

    def __init__(self, number):
        self.path = OUT / f"tree{number}"
        files = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        wanted = {file for file in files.stdout.split("\n") if file and (ROOT / file).is_file()}
        for file in wanted:
            target = self.path / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists() or target.read_bytes() != (ROOT / file).read_bytes():
                shutil.copy(ROOT / file, target)

    def pytest(self, row, timeout):
        """(outcome, seconds, output) of the tests in this copy: "passed", "failed" or "timeout".

        One file after the other, each in a separate process: most mutants do not outlive the first, which need not wait for
        what the others import.
        """
        seconds = 0.0
        for test in row.tests:
            outcome, more, output = self.one_file(test, row, timeout)
            seconds += more
            if outcome != "passed":
                break
        return outcome, seconds, output

    def one_file(self, test, row, timeout):
        """``pytest`` of one file."""
        folders = [".", "kernels", "course/students", "course/instructors", "tests/mutation"]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(self.path / folder) for folder in folders),
            "PYTHONDONTWRITEBYTECODE": "1",  # two mutants of a file may have one size and one second
            "OPENBLAS_CORETYPE": "Haswell",  # one processor's kernels: a red test would kill every mutant
        }
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=line"]
        command += [] if row.kernels else ["-p", "without_kernels"]
        command += [f"--deselect={test}" for test in row.leave_out]
        started = time.monotonic()
        process = subprocess.Popen(
            [*command, test], cwd=self.path, env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the group that this driver started
            process.communicate()
            return "timeout", time.monotonic() - started, ""
        outcome = {0: "passed"}.get(process.returncode, "failed")
        return outcome, time.monotonic() - started, output

    def baseline(self, row):
        """How long the tests take where nothing is changed; they must pass."""
        with self.measuring:
            if row not in self.baselines:
                outcome, seconds, output = self.pytest(row, 3600)
                if outcome != "passed":
                    raise SystemExit(f"without any mutant {' '.join(row.tests)} does not pass:\n{output[-3000:]}")
                self.baselines[row] = seconds
            return self.baselines[row]

    def run(self, mutant, row):
        """The result of one mutant, as a line of results.jsonl."""
        timeout = max(LEAST, 5 * self.baseline(row))
        file = self.path / mutant.file
        right = (ROOT / mutant.file).read_bytes()
        file.write_bytes(mutant.apply(right))
        try:
            outcome, seconds, output = self.pytest(row, timeout)
        finally:
            file.write_bytes(right)
        by = [line.split(" - ")[0] for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return {
            "id": mutant.id, "file": mutant.file, "line": mutant.line, "before": mutant.before, "after": mutant.after,
            "found": "survived" if outcome == "passed" else "killed", "by": outcome if outcome == "timeout" else by[:1],
            "seconds": round(seconds, 1), "state": state(row.tests),
        }  # fmt: skip


def state(tests):
    """Hash of the tests: a survivor is run again when they have changed."""
    return hashlib.sha256(b"".join((ROOT / test).read_bytes() for test in tests)).hexdigest()[:12]


def results():
    """The last result of each mutant, by its id."""
    file = OUT / "results.jsonl"
    rows = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
    return {row["id"]: row for row in rows}


def explained():
    """{(file, before, after)} of the mutants that no test can kill, with the reason."""
    rows = tomllib.loads((HERE / "explained.toml").read_text())["mutant"]
    return {(row["file"], row["before"], row["after"]): row["why"] for row in rows}


def report():
    """Print counts by module, and each mutant that survived without an explanation."""
    counts, survivors, known, every = defaultdict(Counter), [], results(), Counter()
    why = explained()
    for mutant, _ in all_mutants():
        every[mutant.file] += 1
        row = known.get(mutant.id)
        if row:
            found = row["found"]
            if found == "survived" and (mutant.file, mutant.before, mutant.after) in why:
                found = "explained"
            counts[mutant.file][found] += 1
            if found == "survived":
                survivors.append(mutant)
    print(f"{'module':<52} {'mutants':>7} {'run':>5} {'killed':>6} {'explained':>9} {'survived':>8}")
    counts["all"] = sum(counts.values(), Counter())
    every["all"] = every.total()
    for file, found in counts.items():
        row = [every[file], found.total(), found["killed"], found["explained"], found["survived"]]
        print(f"{file:<52} {row[0]:>7} {row[1]:>5} {row[2]:>6} {row[3]:>9} {row[4]:>8}")
    for mutant in survivors:
        print(f"\n{mutant.file}:{mutant.line}\n  - {mutant.before}\n  + {mutant.after}")
    return bool(survivors)


def main():
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="count the mutants of each module, and run nothing")
    parser.add_argument("--report", action="store_true", help="what the runs so far have found")
    parser.add_argument("--only", default="", help="modules whose path has this in it")
    parser.add_argument("--sample", type=int, help="so many mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no mutant after this long")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--survivors", action="store_true", help="only mutants that survived, with the tests as they are now"
    )
    parser.add_argument("--no-kernels", action="store_true", help="leave out modules that are compiled")
    chosen = parser.parse_args()
    if chosen.report:
        return report()
    work = list(all_mutants(chosen.only))
    if chosen.list:
        for file, count in Counter(mutant.file for mutant, _ in work).items():
            print(f"{count:>5}  {file}")
        print(f"{len(work):>5}  in all")
        return 0
    known = results()
    if chosen.no_kernels:
        work = [(mutant, row) for mutant, row in work if not row.kernels]
    if chosen.survivors:
        work = [(mutant, row) for mutant, row in work if known.get(mutant.id, {}).get("found") == "survived"]
    if chosen.sample is not None:
        random.Random(chosen.seed).shuffle(work)
        work = work[: chosen.sample]
    done = {id for id, row in known.items() if row["found"] == "killed"}
    done |= {mutant.id for mutant, row in work if known.get(mutant.id, {}).get("state") == state(row.tests)}
    work = [(mutant, row) for mutant, row in work if mutant.id not in done]
    OUT.mkdir(parents=True, exist_ok=True)
    queue, lock, end = SimpleQueue(), threading.Lock(), time.monotonic() + 60 * chosen.minutes
    for pair in work:
        queue.put(pair)
    errors = []

    def worker(number):
        try:
            copy = Copy(number)
            while time.monotonic() < end:
                mutant, row = queue.get_nowait()
                found = copy.run(mutant, row)
                with lock, (OUT / "results.jsonl").open("a") as file:
                    file.write(json.dumps(found) + "\n")
                if found["found"] == "survived":
                    print(f"{mutant.file}:{mutant.line}\n  - {mutant.before}\n  + {mutant.after}", flush=True)
        except Empty:
            pass
        except (SystemExit, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(chosen.processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return report()


if __name__ == "__main__":
    sys.exit(main())
