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
import importlib.util
import json
import math
import os
import random
import shutil
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


class Row(NamedTuple):
    """Which tests cover which files: a row of modules.toml."""

    files: str
    tests: tuple[str, ...]
    leave_out: tuple[str, ...]
    only: str
    kernels: str
    apart: bool


def table():
    """The rows of modules.toml."""
    for row in tomllib.loads((HERE / "modules.toml").read_text())["module"]:
        yield Row(
            row["files"], tuple(row["tests"]), tuple(row.get("leave_out", ())), row.get("only", ""),
            row.get("kernels", "none"), row.get("apart", False),
        )  # fmt: skip


def all_mutants(only=("",)):
    """Every mutant, with its row of the table."""
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    seen = set()
    for row in table():
        for file in sorted(f for f in tracked.stdout.split() if fnmatch(f, row.files) and f not in seen):
            seen.add(file)
            if any(part in file for part in only):
                for mutant in mutants(file, (ROOT / file).read_bytes()):
                    yield mutant, row


class Copy:
    """A copy of the tree, in which one mutant at a time is tested, and its server of forks."""

    measuring: ClassVar = defaultdict(threading.Lock)
    reaches: ClassVar = {}  # what each file of tests reaches, measured in any of the copies

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
        folders = [".", "kernels", "course/students", "course/instructors"]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(self.path / folder) for folder in folders),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "OPENBLAS_NUM_THREADS": "1",  # no threads that a fork would lose
            "OPENBLAS_CORETYPE": "Haswell",  # one processor's kernels: a red test would kill every mutant
        }
        self.collected = set()
        self.server = subprocess.Popen(
            [sys.executable, HERE / "server.py"], cwd=self.path, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def pytest(self, row, test, order=None, lines=None, changed=None):
        """(outcome, seconds, output) of one file of tests in this copy: "passed", "failed" or "timeout".

        Without an order and lines, the tests are collected only.
        """
        output = self.path / "out.txt"
        options = ["-q", "-s", "-p", "no:cacheprovider", "--tb=line", *([] if lines else ["-x"])]
        options += [f"--deselect={name}" for name in row.leave_out]
        options += ["-k", row.only] if row.only else []
        job = {
            "test": test, "order": order, "options": options, "kernels": row.kernels, "output": str(output),
            "lines": lines and str(lines), "changed": changed,
        }  # fmt: skip
        result = self.ask(job)
        if not (order or lines):
            return None
        outcome, seconds = result
        if outcome == "import":  # more than functions has changed
            outcome, seconds = self.ask({**job, "changed": None})
        return outcome, seconds, output.read_text(errors="replace")

    def ask(self, job):
        """The server's result."""
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def reach(self, row, test, file):
        """Which tests of the file ``test`` run which lines, as measured without any mutant.

        {"seconds": {test: seconds}, "lines": {file: {line: tests}}, "of": {file: hash}}
        """
        kept = OUT / f"reach-{Path(test).stem}-{row.only or row.kernels}.json"
        part = kept.with_suffix(".part")
        now = {name: self.hash(name) for name in (test, file)}
        with self.measuring[kept]:
            found = self.reaches.get(kept)
            if found is None and kept.exists():
                found = json.loads(kept.read_text())
            if found is None or any(found["of"].get(name) != hash for name, hash in now.items()):
                tree = sorted({*self.path.glob("scratchnet/**/*.py"), *self.path.glob("kernels/**/*.py")})
                of = {name: self.hash(name) for name in (test, *(str(f.relative_to(self.path)) for f in tree))}
                outcome, _, output = self.pytest(row, test, lines=part)
                if outcome != "passed" and row.kernels == "compiled":
                    raise SystemExit(f"without any mutant {test} does not pass:\n{output[-3000:]}")
                found = {**json.loads(part.read_text()), "of": of}
                part.write_text(json.dumps(found))
                part.replace(kept)
            self.reaches[kept] = found
            return found

    def hash(self, file):
        """Of a file of the copy."""
        return hashlib.sha256((self.path / file).read_bytes()).hexdigest()[:12]

    def chosen(self, mutant, row, test, most):
        """{test: seconds} of the tests that reach the mutant; of the others, the seconds are None.

        The quickest first, of each test function the first of its parameters, then the second: they test different things.
        And the file, if it is enough to replace the code of its functions.
        What runs when the module is imported (but a function's head) concerns every test, and so does all code of a row whose
        kernels are compiled: nobody sees compiled code run, nor what runs in other processes.
        """
        reach = self.reach(row, test, mutant.file)
        lines = reach["lines"].get(mutant.file, {})
        here = {name for line in mutant.lines for name in lines.get(str(line), ())}
        at_import = "" in here or row.kernels == "compiled"
        if at_import:
            here.update(reach["seconds"])
        order, total, turn, seen = {}, 0.0, {}, Counter()
        for name in sorted(here & reach["seconds"].keys(), key=lambda name: reach["seconds"][name] or 0):
            turn[name] = seen[name.partition("[")[0]]
            seen[name.partition("[")[0]] += 1
        for name, seconds in sorted(reach["seconds"].items(), key=lambda item: (turn.get(item[0], 0), item[1] or 0)):
            wanted = name in here and seconds is not None and total < most
            order[name] = seconds if wanted else None
            total += seconds if wanted else 0
        if not at_import and (test, row) not in self.collected:
            self.collected.add((test, row))
            self.pytest(row, test)
        return order, None if at_import else mutant.file

    def run(self, mutant, row, most):
        """The result of one mutant, as a line of results.jsonl.

        One file after the other: most mutants do not outlive the first, which need not wait for what the others import.
        """
        file = self.path / mutant.file
        right = file.read_bytes()
        orders = {test: self.chosen(mutant, row, test, most / len(row.tests)) for test in row.tests}
        outcome, total, output = "passed", 0.0, ""
        self.write(file, mutant.apply(right))
        try:
            for test, (order, changed) in orders.items():
                if outcome == "passed" and any(seconds is not None for seconds in order.values()):
                    outcome, seconds, output = self.pytest(row, test, order, changed=changed)
                    total += seconds
        finally:
            self.write(file, right)
        by = [line.split(" - ")[0] for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return {
            "id": mutant.id, "file": mutant.file, "line": mutant.line, "before": mutant.before, "after": mutant.after,
            "found": "survived" if outcome == "passed" else "killed", "by": outcome if outcome == "timeout" else by[:1],
            "seconds": round(total, 2), "state": "some" if most < math.inf else state(row.tests, self.path),
        }  # fmt: skip

    @staticmethod
    def write(file, text):
        """Replace a module's text; its bytecode would be taken for the new text's if size and second are the same."""
        file.write_bytes(text)
        Path(importlib.util.cache_from_source(file)).unlink(missing_ok=True)

    def close(self):
        """End the server."""
        self.server.stdin.close()
        self.server.wait()


def state(tests, tree=ROOT):
    """Hash of the tests: a survivor is run again when they have changed."""
    return hashlib.sha256(b"".join((tree / test).read_bytes() for test in tests)).hexdigest()[:12]


def results():
    """The last result of each mutant, by its id."""
    file = OUT / "results.jsonl"
    rows = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
    return {row["id"]: row for row in rows}


def explained():
    """{(file, before, after)} of the mutants that no test can kill, with the reason."""
    rows = tomllib.loads((HERE / "explained.toml").read_text())["mutant"]
    return {(row["file"], row["before"], row["after"]): row["why"] for row in rows}


def counts():
    """{file: how many mutants there are, were killed, explained and survived}, and those that survived unexplained.

    The survivors of rows that are counted apart have their own list.
    """
    found, survivors, apart, known, why = defaultdict(Counter), [], [], results(), explained()
    for mutant, row in all_mutants():
        result = known.get(mutant.id, {}).get("found", "not run")
        if result == "survived" and (mutant.file, mutant.before, mutant.after) in why:
            result = "explained"
        found[mutant.file].update(["mutants", result])
        if result == "survived":
            (apart if row.apart else survivors).append(mutant)
    return found, survivors, apart


def report():
    """Print counts by module, and each mutant that survived without an explanation; True unless there are none."""
    found, survivors, apart = counts()
    found["all"] = sum(found.values(), Counter())
    print(f"{'module':<52} {'mutants':>7} {'run':>5} {'killed':>6} {'explained':>9} {'survived':>8}")
    for file, row in found.items():
        run = row["mutants"] - row["not run"]
        if run:
            print(
                f"{file:<52} {row['mutants']:>7} {run:>5} {row['killed']:>6} {row['explained']:>9} {row['survived']:>8}"
            )
    for mutant in survivors + apart:
        print(f"\n{mutant.file}:{mutant.line}\n  - {mutant.before}\n  + {mutant.after}")
    return bool(survivors)


def main():
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="count the mutants of each module, and run nothing")
    parser.add_argument("--report", action="store_true", help="what the runs so far have found")
    parser.add_argument("--only", nargs="+", default=("",), help="modules whose path has one of these in it")
    parser.add_argument("--sample", type=int, help="so many mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no mutant after this long")
    parser.add_argument(
        "--most", type=float, default=math.inf, help="seconds of tests for a mutant; survivors are then run again"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--survivors",
        action="store_true",
        help="only mutants that survived unexplained, with the tests as they are now",
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
        work = [(mutant, row) for mutant, row in work if row.kernels == "none"]
    if chosen.survivors:
        why = explained()
        work = [
            (mutant, row)
            for mutant, row in work
            if known.get(mutant.id, {}).get("found") == "survived"
            and (mutant.file, mutant.before, mutant.after) not in why
        ]
    if chosen.sample is not None:
        random.Random(chosen.seed).shuffle(work)
        work = work[: chosen.sample]
    done = {id for id, row in known.items() if row["found"] == "killed"}
    enough = {"some"} if chosen.most < math.inf and not chosen.survivors else set()
    done |= {mutant.id for mutant, row in work if known.get(mutant.id, {}).get("state") in {state(row.tests), *enough}}
    work = [(mutant, row) for mutant, row in work if mutant.id not in done]
    OUT.mkdir(parents=True, exist_ok=True)
    queue, lock, end = SimpleQueue(), threading.Lock(), time.monotonic() + 60 * chosen.minutes
    for pair in work:
        queue.put(pair)
    errors = []

    def worker(number):
        copy = Copy(number)
        try:
            while time.monotonic() < end:
                mutant, row = queue.get_nowait()
                found = copy.run(mutant, row, chosen.most)
                with lock, (OUT / "results.jsonl").open("a") as file:
                    file.write(json.dumps(found) + "\n")
                if found["found"] == "survived":
                    print(f"{mutant.file}:{mutant.line}\n  - {mutant.before}\n  + {mutant.after}", flush=True)
        except Empty:
            pass
        except (SystemExit, Exception) as error:  # told when the other workers have ended
            errors.append(error)
        finally:
            copy.close()

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
