"""Count what docs/reliability.md promises: run the tests and the attacks, keep the counts, print the tables.

    PYTHONPATH=.:kernels python tests/reliability.py fuzz kills --seed 3     count some parts again
    PYTHONPATH=.:kernels python tests/reliability.py all --seed 3            all of them, some hours
    python tests/reliability.py --table                                      the tables of docs/reliability.md

Counts are added to benchmarks/results/reliability_DATE.json, part by part, each with its seed and seconds; the tables come from
the newest of these files. Take a seed that nobody has used before.
"""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path += [
    str(ROOT / folder)
    for folder in ("kernels", "benchmarks", "tests/mutation", "course/students", "course/instructors")
]
sys.path.insert(0, str(ROOT))

DOCUMENT = ROOT / "docs" / "reliability.md"
RESULTS = ROOT / "benchmarks" / "results"
KILLED = ("trace", "checkpoint", "forecaster", "training", "history", "page", "figure", "journal")
KEPT = 1_000_000  # seeds from here on were never used to choose a constant of the gradient check
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path[:1] + sys.path[-5:])}


# ---- the parts: what is run, and what is counted --------------------------------------------------------------------------


def suite(seed):
    """The whole suite in a random order: tests of each file that passed, were skipped and failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "junit.xml")
        options = ["--random-order", f"--random-order-seed={seed}", f"--junitxml={report}"]
        options += ["--ignore=tests/test_reliability.py"]  # which reads what this writes
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            "auto",
            "--dist",
            "loadfile",
            "--no-loadscope-reorder",
            *options,
        ]
        subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=False)
        cases = ET.parse(report).iter("testcase")
        files = defaultdict(Counter)
        for case in cases:
            kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
            found = "passed" if not kinds else "skipped" if kinds == {"skipped"} else "failed"
            files[case.get("classname", "").removeprefix("tests.").partition(".")[0]][found] += 1
    return {"order": seed, "files": {name: dict(sorted(files[name].items())) for name in sorted(files)}}


def again(seed):
    """The whole suite in another random order."""
    return suite(seed + 1)


def alarms(seed, examples="", seeds=110, processes=2):
    """False alarms of the gradient check over all examples, on seeds that chose nothing."""
    first = KEPT + 1000 * seed
    share = -(-seeds // processes)
    code = "import sys, json, false_alarms as f; a, n, o = sys.argv[1:]; r, x, u = f.count(int(a), int(n), only=o); "
    code += "print(json.dumps([r.total(), len(r), x.total(), u]))"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(first + k * share), str(share), examples],
            cwd=ROOT / "tests", env=ENVIRONMENT | {"OPENBLAS_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True,
        )
        for k in range(processes)
    ]  # fmt: skip
    found = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    checks, kinds, alarmed, used = zip(*found, strict=True)
    return {
        "first seed": first, "seeds": sum(used), "examples": kinds[0], "checks": sum(checks), "false alarms": sum(alarmed)
    }  # fmt: skip


def alarms_lstm_norm(seed):
    """The cell whose right gradient raised an alarm on 26 of 300 seeds, before the check measured on ten step sizes."""
    return alarms(seed, "cell lstm_norm", 1000)


def kills(seed, count=125):
    """Saves that are killed at random moments: kills and losses of each kind of file, and of a writer in place."""
    return {kind: dict(zip(("kills", "lost"), _kill(kind, count, seed), strict=True)) for kind in (*KILLED, "in place")}


def writers(seed, count=3000):
    """Loads beside two processes that save to the same path."""
    return dict(zip(("loads", "failed"), _kill("two writers", count, seed), strict=True))


def _kill(kind, count, seed):
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "tests" / "kill_saves.py"), kind, str(count), str(seed)]
        environment = ENVIRONMENT | {"OPENBLAS_NUM_THREADS": "1"}
        said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
    return [int(number) for number in re.findall(r"(\d+) (?:kills|loads|lost|failed)", said)]


def fuzz(seed, count=100_000):
    """Wrong arguments: how the calls ended, and the words of Python and NumPy that came through."""
    from fuzzing import fuzz

    counts, found = fuzz(count, seed, processes=2)
    raw = Counter(f"{case['call']}: {case['said']}" for case in found if case["kind"] == "raw")
    kinds = {kind: counts[kind] for kind in ("refused", "fine", "raw", "hang", "crash")}
    hangs = Counter(f"{case['call']} {case['changes']}" for case in found if case["kind"] == "hang")
    return {"cases": count, **kinds, "hangs": dict(hangs), "most raw": dict(raw.most_common(8))}


def grader(seed):
    """Forgeries in every exercise, and a class in which one of ten attacks."""
    import grader_attacks

    return {"forgeries": grader_attacks.forgeries(seed), "class": grader_attacks.a_class(seed)}


def mutants(seed):
    """What the runs of tests/mutation/run.py so far have found; the seed is that of their order."""
    import run

    found, survivors, apart = run.counts()
    counted = dict(sum(found.values(), Counter()))
    return counted | {"survived": len(survivors), "survived, gradient check": len(apart)}


def coverage(seed):
    """Lines and branches of the core and the CPU kernels that tests run, as ``make coverage`` measures them."""
    subprocess.run(["make", "coverage"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "coverage.json")
        subprocess.run([sys.executable, "-m", "coverage", "json", "--quiet", "-o", report], cwd=ROOT, check=True)
        return covered(json.loads(report.read_text(encoding="utf-8")))


def covered(report):
    """What is kept of coverage's report: the totals, and the file of which the least is run."""
    files = {name: file["summary"]["percent_covered"] for name, file in report["files"].items()}
    least = min(files, key=files.get)
    kinds = ("num_statements", "covered_lines", "num_branches", "covered_branches")
    return {
        "files": len(files), **{kind: report["totals"][kind] for kind in kinds},
        "percent": round(report["totals"]["percent_covered"], 1), "least": {least: round(files[least], 1)},
    }  # fmt: skip


PARTS = {
    part.__name__: part for part in (suite, again, alarms, alarms_lstm_norm, kills, writers, fuzz, grader, mutants, coverage)
}  # fmt: skip


# ---- the tables -----------------------------------------------------------------------------------------------------------


class Promise(NamedTuple):
    """A row: what is promised, what tests it, and what was counted."""

    text: str
    tested: str
    counts: list  # functions of the results, each of which returns (cases, found)


def tests(*names):
    """Counts of files of tests, from the last run of the suite."""

    def counts(found):
        files = [found["suite"]["files"][name] for name in names]
        passed, failed = (sum(file.get(kind, 0) for file in files) for kind in ("passed", "failed"))
        return f"{passed + failed:,} tests", f"{failed} failed"

    return counts


def of(part, text, result):
    """Counts of a part, by two formats."""
    return lambda found: (text.format(**found[part]), result.format(**found[part]))


def killed(found):
    """Kills of all kinds of files together; those of a writer in place are the control."""
    rows = [found["kills"][kind] for kind in KILLED]
    control = found["kills"]["in place"]
    total, lost = (sum(row[key] for row in rows) for key in ("kills", "lost"))
    return (
        f"{total:,} kills, {len(rows)} kinds of files",
        f"{lost} lost; a writer in place loses {control['lost']} of {control['kills']}",
    )


def fuzzed(found):
    """Calls with wrong arguments; those of over two minutes by name."""
    row = found["fuzz"]
    hangs = "".join(f"; over two minutes: {times} x `{call}`" for call, times in row["hangs"].items())
    return f"{row['cases']:,} calls", (
        f"{row['crash']} crashes, {row['hang']} hangs, {row['raw']} ({row['raw'] / row['cases']:.2%}) in other words{hangs}"
    )


def forged(found):
    """Forgeries behind all walls."""
    rows = found["grader"]["forgeries"].values()
    got = sum(len(row["with points"]) for row in rows)
    return f"{sum(row['forgeries'] for row in rows):,} forgeries, {len(rows)} walls", f"{got} got a point"


def disturbed(found):
    """Classes, one behind each wall."""
    rows = found["grader"]["class"].values()
    attack, students, changed = (
        sum(row[key] for row in rows) for key in ("attack", "students", "other verdicts changed")
    )
    return f"{attack} who attack among {students:,}", f"{changed} verdicts of others changed"


def mutated(found):
    """Mutants: what was run, and what came of it."""
    row = found["mutants"]
    run = row["mutants"] - row["not run"]
    return f"{run:,} of {row['mutants']:,} mutants run", (
        f"{row['killed']:,} killed, {row['explained']} explained, {row['survived']} not yet;"
        f" of the gradient check's constants and words {row['survived, gradient check']} not yet"
    )


SECTIONS = {
    "Numbers": [
        Promise(
            "Every gradient equals central differences, and every planted mistake is found",
            "`tests/test_gradcheck.py`, `tests/test_cells.py`, `tests/test_layer_table.py`",
            [tests("test_gradcheck", "test_cells", "test_layer_table")],
        ),
        Promise(
            "The check raises no false alarm on right code",
            "`tests/false_alarms.py`, on seeds that chose none of its constants",
            [
                of("alarms", "{checks:,} checks, {examples} examples", "{false alarms} false alarms"),
                of("alarms_lstm_norm", "{checks:,} checks of `lstm_norm`", "{false alarms} false alarms"),
            ],
        ),
        Promise(
            "Cells, layers and losses equal PyTorch's",
            "`tests/test_parity.py`, `tests/test_new_cells.py`, `tests/test_new_layers.py`",
            [tests("test_parity", "test_new_cells", "test_new_layers")],
        ),
        Promise(
            "Every engine computes what the cell's own file computes",
            "`tests/test_engines.py`, `tests/test_sequence_cpu.py`, `tests/test_fused_update.py`",
            [tests("test_engines", "test_sequence_cpu", "test_fused_update")],
        ),
        Promise(
            "Small cases equal exact arithmetic (60 digits) from 1e-40 to 1e30; long, saturated, huge and broken ones give"
            " finite numbers or an error",
            "`tests/test_edge.py`",
            [tests("test_edge")],
        ),
        Promise(
            "The sigmoid has all its digits over the whole range of both types, on arrays and compiled",
            "`tests/test_elementwise.py`",
            [tests("test_elementwise")],
        ),
        Promise(
            "`np.matrix`, masked arrays and anything else that is not a plain array is refused; backward refuses a cache that"
            " does not fit and, in float64, an x or a weight that was changed in place since forward",
            "`tests/test_trust.py`",
            [tests("test_trust")],
        ),
        Promise(
            "What lies in the padding changes nothing; a gap in time is filled from the past, never learnt and never scored",
            "`tests/test_padding.py`, `tests/test_missing.py`, `tests/test_times.py`",
            [tests("test_padding", "test_missing", "test_times")],
        ),
        Promise(
            "A pass takes the memory that `pass_memory` says, to a tenth; full BPTT with recomputation equals, to the bit, that"
            " of the same segments with everything kept",
            "`tests/test_memory.py`, `tests/test_long.py`",
            [tests("test_memory", "test_long")],
        ),
    ],
    "Tests": [
        Promise(
            "The tests notice a mistake: small changes of the core make them fail, or change nothing and are explained",
            "`tests/mutation/run.py`; its README says how",
            [mutated],
        ),
        Promise(
            "At least 95% of the lines and branches of the core and of the CPU kernels are run by tests",
            "`make coverage`",
            [
                of(
                    "coverage",
                    "{num_statements:,} statements and {num_branches:,} branches of {files} files",
                    "{percent}% run",
                )
            ],
        ),
        Promise(
            "No silent overflow, division by zero, invalid operation or underflow: every test runs with"
            ' `np.errstate(all="raise")`, but for those marked `underflows`; and no test depends on another',
            "the whole suite, in two random orders",
            [lambda found: whole(found["suite"]), lambda found: whole(found["again"])],
        ),
    ],
    "Files and interruptions": [
        Promise(
            "A save that is killed at any moment leaves the old file or the new one, whole",
            "`tests/kill_saves.py`",
            [killed],
        ),
        Promise(
            "Two writers to one path never spoil a load",
            "`tests/kill_saves.py`",
            [of("writers", "{loads:,} loads", "{failed} failed")],
        ),
        Promise(
            "A full disk leaves the old file; a damaged or forged one is answered in a sentence; nothing is unpickled",
            "`tests/test_files.py`, `tests/test_checkpoint.py`, `tests/test_trace.py`",
            [tests("test_files", "test_checkpoint", "test_trace")],
        ),
        Promise(
            "A training or a search that is interrupted goes on; a training to the same bits",
            "`tests/test_resume.py`, `tests/test_search.py`",
            [tests("test_resume", "test_search")],
        ),
    ],
    "Arguments and submissions": [
        Promise(
            "Wrong arguments are answered in the library's words: no crash, no hang, and at most one call in 200 in NumPy's or"
            " Python's words",
            "`tests/fuzzing.py`",
            [fuzzed],
        ),
        Promise(
            "A submission gets points for right numbers only",
            "`tests/grader_attacks.py`, `tests/test_wall.py`; [SECURITY.md](../SECURITY.md) says what is a boundary",
            [forged],
        ),
        Promise("A submission that attacks changes nobody else's verdict", "`tests/grader_attacks.py`", [disturbed]),
    ],
}


def whole(run):
    """Counts of all files in one order."""
    total = sum(map(Counter, run["files"].values()), Counter())
    return f"{total['passed'] + total['failed']:,} tests, order {run['order']}", f"{total['failed']} failed"


def table(section, found):
    """The rows of a section."""
    yield "| promise | tested by | counted | found |"
    yield "|---|---|---|---|"
    for promise in SECTIONS[section]:
        cases, results = zip(*(counts(found) for counts in promise.counts), strict=True)
        yield f"| {promise.text} | {promise.tested} | {'<br>'.join(cases)} | {'<br>'.join(results)} |"


def where(report):
    """Date and machine of the counts, in a sentence."""
    machine = report["machine"]
    seeds = sorted({part["seed"] for part in report["parts"].values()})
    return (
        f"Counted on {report['date']}: {machine['processor']}, {machine['cores']} cores, Python {machine['python']}, NumPy"
        f" {machine['versions']['numpy']}, {machine['blas']['name']} {machine['blas']['version']}; seeds"
        f" {', '.join(map(str, seeds))}; `benchmarks/results/reliability_{report['date']}.json`."
    )


def document(text, report):
    """The document with the tables of a report between its marks."""
    blocks = {section: "\n".join(table(section, report["parts"])) for section in SECTIONS} | {"where": where(report)}
    for mark, block in blocks.items():
        pattern = rf"(?<=<!-- {mark} -->\n).*?(?=<!-- /{mark} -->)"
        text, times = re.subn(pattern, lambda _, block=block: f"{block}\n", text, flags=re.DOTALL)
        if times != 1:
            raise ValueError(f"{DOCUMENT.name} needs <!-- {mark} --> and <!-- /{mark} -->, once each")
    return text


def newest():
    """The newest results."""
    return json.loads(max(RESULTS.glob("reliability_*.json")).read_text(encoding="utf-8"))


def main():
    """Count the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "all", []], help="what to count")
    parser.add_argument("--seed", type=int, default=0, help="take one that nobody has used before")
    parser.add_argument("--table", action="store_true", help="write the tables of docs/reliability.md")
    chosen = parser.parse_args()
    import compact
    from scratchnet.files.machine import describe

    for part in PARTS if "all" in chosen.parts else chosen.parts:
        started = time.monotonic()
        found = PARTS[part](chosen.seed)
        today = datetime.date.today().isoformat()
        path = RESULTS / f"reliability_{today}.json"
        report = newest() if any(RESULTS.glob("reliability_*.json")) else {"parts": {}}
        row = {"seed": chosen.seed, "seconds": round(time.monotonic() - started), **found}
        report = {"date": today, "machine": describe(), "parts": report["parts"] | {part: row}}
        compact.write(path, report)
        print(part, json.dumps(row)[:2000], flush=True)
    if chosen.table:
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(document(text, newest()), encoding="utf-8")


if __name__ == "__main__":
    main()
