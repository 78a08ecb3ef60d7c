"""The CPU benchmark's results: ratios and their spread, growth, targets, the README's table."""

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- benchmark: cpu -->", "<!-- end -->"
NOTHING_YET = "Nothing is measured yet: `make bench` does, and writes this table.\n"
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
# Geometric means over the sizes of PyTorch's time for a training step over ours, on all threads;
# and at every size.
GEOMETRIC_MEANS = {"lstm": 1.5, "gru": 2.5, "rnn": 1.2}
EVERY_SIZE = {"lstm": 1.05, "gru": 1.05}
EPOCH = 1.5
MEGABYTE = 1 << 20
BUSY = 0.1  # processors used by others, mean of all the time, from which on the times say little
COLUMNS = (
    "cell",
    "T, B, I, H",
    "training step, ms",
    "torch / ours",
    "on one thread",
    "forward alone",
    "array / ours",
    "of GEMM peak",
    "MB, ours : torch",
)


# ---- numbers -----------------------------------------------------------------------------------


def training_flops(cell: str, T: int, B: int, I: int, H: int) -> int:
    """Floating-point operations of a training step's products; a multiply-add counts two.

    Elementwise math is left out.

    Forward, x W_x and h' W_h: 2 T B G H (I + H) for G gates. Backward has two products for each:
    one for the gradient of the weights, one for that of x or h'.
    """
    return 3 * forward_flops(cell, T, B, I, H)


def forward_flops(cell: str, T: int, B: int, I: int, H: int) -> int:
    """Those of the forward pass."""
    return 2 * T * B * GATES[cell] * H * (I + H)


def spread(values: Sequence[float]) -> Row:
    """Median and quartiles, and of how many."""
    if len(values) == 1:
        return {
            "median": _short(values[0]),
            "q1": _short(values[0]),
            "q3": _short(values[0]),
            "n": 1,
        }
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": _short(median), "q1": _short(q1), "q3": _short(q3), "n": len(values)}


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Row:
    """Their time over ours, round by round: a busy moment of the machine meets both of a round.

    Rounds that only one of them took part in do not count.
    """
    return spread([a / b for a, b in zip(theirs, ours, strict=False)])


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """p of the power law  time ~ size^p  through the points: the slope on two log axes."""
    line = statistics.linear_regression([math.log(s) for s in sizes], [math.log(t) for t in times])
    return round(line.slope, 2)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


# ---- targets -----------------------------------------------------------------------------------


def targets(report: Row) -> list[Row]:
    """Each target: wanted, measured, met (None where nothing was measured), and why not.

    A cell that is wrong somewhere was not timed there, and misses its targets. ``why`` is for
    people to fill in where a target is missed.
    """
    found = []
    threads = report["machine"]["threads"]
    wrong = {
        row["cell"]
        for row in report["rows"]
        if row["threads"] == threads and "sequence" in row.get("wrong", ())
    }
    for cell, wanted in GEOMETRIC_MEANS.items():
        faster = [row["ratio"]["torch"]["median"] for row in measured(report, cell, "training")]
        mean = statistics.geometric_mean(faster) if faster else None
        found.append(
            _target(
                f"{cell.upper()} training step, geometric mean of {len(faster)} sizes",
                ">=",
                wanted,
                mean,
            )
        )
    for cell, wanted in EVERY_SIZE.items():
        worst = min(
            measured(report, cell, "training"),
            key=lambda row: row["ratio"]["torch"]["median"],
            default=None,
        )
        where = f"; the least at {size_of(worst)}" if worst else ""
        least = worst["ratio"]["torch"]["median"] if worst else None
        found.append(
            _target(f"{cell.upper()} training step, every size{where}", ">=", wanted, least)
        )
    epochs = [
        row["ratio"] for row in report["epoch"] if row["threads"] == threads and "ratio" in row
    ]
    found.append(
        _target(
            "one epoch of the demo's LSTM",
            ">=",
            EPOCH,
            epochs[0]["torch"]["median"] if epochs else None,
        )
    )
    memory = [row for row in report["memory"] if row["torch"]]
    most = max(memory, key=lambda row: row["sequence"] / row["torch"], default=None)
    where = f"; the most for {most['cell'].upper()} at {size_of(most)}" if most else ""
    share = most["sequence"] / most["torch"] if most else None
    found.append(
        _target(f"peak memory of a training step, part of PyTorch's{where}", "<=", 1.0, share)
    )
    return [
        target | ({"met": False} if target["target"].split()[0].lower() in wrong else {})
        for target in found
    ]


def _target(what: str, sign: str, wanted: float, found: float | None) -> Row:
    met = None if found is None else (found >= wanted if sign == ">=" else found <= wanted)
    value = None if found is None else round(found, 3)
    return {
        "target": what,
        "wanted": f"{sign} {wanted:g}",
        "measured": value,
        "met": met,
        "why": "",
    }


def measured(report: Row, cell: str, what: str, threads: int | None = None) -> list[Row]:
    """The rows that have a ratio to PyTorch, on so many threads, all if None."""
    threads = report["machine"]["threads"] if threads is None else threads
    rows: Iterable[Row] = report["rows"]
    wanted = (cell, what, threads)
    return [
        row
        for row in rows
        if (row["cell"], row["what"], row["threads"]) == wanted and "torch" in row.get("ratio", {})
    ]


def bracketed(found: Row) -> str:
    """A median and its quartiles: ``1.50 (1.40-1.60)``."""
    return f"{found['median']:.2f} ({found['q1']:.2f}-{found['q3']:.2f})"


def size_of(row: Row) -> str:
    """``(100, 64, 64, 128)``."""
    return f"({row['T']}, {row['B']}, {row['I']}, {row['H']})"


# ---- README ------------------------------------------------------------------------------------


def latest(folder: Path) -> Path | None:
    """The last results file of a folder; of one day, the one with the highest number."""

    def order(path: Path) -> tuple[str, int]:
        day, _, number = path.stem.removeprefix("cpu_").partition("_")
        return day, int(number or 1)

    return max(folder.glob("cpu_*.json"), key=order, default=None)


def block(path: Path | None) -> str:
    """The text between the README's markers for a file of results, or for none."""
    return (
        NOTHING_YET
        if path is None
        else table(json.loads(path.read_text(encoding="utf-8")), path.name)
    )


def table(report: Row, name: str) -> str:
    """The results in Markdown."""
    machine, versions = report["machine"], report["versions"]
    threads = machine["threads"]
    where = f"{machine['processor']}, {threads} core{'s' if threads > 1 else ''}"
    peers = f"NumPy {versions['numpy']}, Numba {versions['numba']}, PyTorch {versions['torch']}"
    others = report["processors_used_by_others"] or 0
    meanwhile = f", while others used {others:g} of its processors" if others > BUSY else ""
    lines = [
        f"Measured {report['date']} on {where}{meanwhile}, with {peers}",
        (
            f"(`benchmarks/results/{name}`); float32. Ratios say how often a run of"
            ' `engine="sequence"` fits into one of'
        ),
        (
            "`torch.nn`: above 1, ours is faster. They are medians, with quartiles in brackets, of"
            " training steps (forward, and"
        ),
        (
            "backward to input and weights) on all threads, but for the column that says one"
            " thread; and of forward alone, where"
        ),
        (
            "PyTorch is in `inference_mode` and ours keeps what backward would need. GEMM is a"
            " large float32 matrix product."
        ),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|---|---|{'--:|' * (len(COLUMNS) - 2)}",
    ]
    lines += [_line(report, row) for cell in GATES for row in measured(report, cell, "training")]
    lines.append("")
    for row in report["epoch"]:
        if "ratio" in row:
            on = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
            took = f"{row['ms']['sequence']['median']:.3g} ms"
            ours = f"torch / ours {bracketed(row['ratio']['torch'])}"
            lines.append(f"One epoch of the demo's LSTM with Adam, {on}: {took}, {ours}.")
    fits = {axis: fit["exponent"] for axis, fit in report["sweeps"].items()}
    grows = ", ".join(
        f"{axis}^{fit['sequence']:g} (torch {axis}^{fit['torch']:g})" for axis, fit in fits.items()
    )
    lines.append(f"The time of an LSTM's training step grows as {grows}.")
    lines += ["", "| target | wanted | measured | |", "|---|--:|--:|---|"]
    for target in report["targets"]:
        value = "-" if target["measured"] is None else f"{target['measured']:.2f}"
        verdict = {True: "met", False: "missed", None: "not measured"}[target["met"]]
        verdict += f": {target['why']}" if target["why"] else ""
        lines.append(f"| {target['target']} | {target['wanted']} | {value} | {verdict} |")
    return "\n".join(lines) + "\n"


def _line(report: Row, row: Row) -> str:
    def ratio_of(what: str, threads: int) -> str:
        rows = measured(report, row["cell"], what, threads)
        found = [r["ratio"]["torch"] for r in rows if size_of(r) == size_of(row)]
        return bracketed(found[0]) if found else "-"

    memory = [m for m in report["memory"] if (m["cell"], size_of(m)) == (row["cell"], size_of(row))]
    both = [f"{memory[0][p] / MEGABYTE:.3g}" for p in ("sequence", "torch")] if memory else ["-"]
    array = f"{row['ratio']['array']['median']:.2f}" if "array" in row["ratio"] else "-"
    threads = report["machine"]["threads"]
    cells = [
        row["cell"].upper(),
        size_of(row)[1:-1],
        f"{row['ms']['sequence']['median']:.3g}",
        bracketed(row["ratio"]["torch"]),
        ratio_of("training", 1),
        ratio_of("forward", threads),
        array,
        f"{row['of_gemm_peak']:.0%}",
        " : ".join(both),
    ]
    return f"| {' | '.join(cells)} |"


def write_readme(path: Path | None, readme: Path = README) -> None:
    """Put the block of a results file into the README; ValueError where it has no markers."""
    before, begin, rest = readme.read_text(encoding="utf-8").partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f"{readme.name} has no lines {BEGIN} and {END}: the table would have no place"
        )
    readme.write_text(f"{before}{begin}{block(path)}{end}{after}", encoding="utf-8")


def readme_block(readme: Path = README) -> str:
    """The README's current block."""
    return readme.read_text(encoding="utf-8").partition(f"{BEGIN}\n")[2].partition(END)[0]
