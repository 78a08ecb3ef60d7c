"""Check the answers of strangers, and count what the checker says of them; README.md says more."""

import argparse
import ast
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from scratchnet_course import changes
from scratchnet_course.checking import Verdict, check_code
from scratchnet_course.exercises import EXERCISES
from scratchnet_instructor.alike import Alike, alike

HERE = Path(__file__).parent
SAID = ("known mistake", "one change", "two changes", "right value", "recognised", "line", "outputs only", "ACCEPTED")


def answers(folder: Path = HERE) -> Iterator[dict[str, Any]]:
    """Every answer, as the files have it."""
    for path in sorted(folder.glob("lesson*.json")):
        yield from json.loads(path.read_text(encoding="utf-8"))


def said(result: Verdict) -> str:
    """What the checker said of a wrong answer, one of SAID."""
    if result.right:
        return "ACCEPTED"
    if result.names:
        changed = result.names[0].startswith("line ")
        return "known mistake" if not changed else "one change" if len(result.names) == 1 else "two changes"
    if any(changes.BELONGS in line for line in result.lines):
        return "right value"
    if result.found:
        return "recognised"
    return "line" if result.line else "outputs only"


def checked(row: dict[str, Any]) -> dict[str, Any]:
    """An answer with its verdict."""
    result = check_code(EXERCISES[row["exercise"]], row["code"])
    word = said(result) if row["truth"] == "wrong" else ("accepted" if result.right else "REJECTED")
    kept = {"names": result.names, "found": result.found, "line": result.line, "seconds": result.seconds}
    return row | {"said": word, **kept, "text": str(result)}


def table(rows: list[dict[str, Any]]) -> str:
    """The counts, of answers that were looked at and of others."""
    lines = []
    for looked_at in (True, False):
        some = [row for row in rows if row["truth"] == "wrong" and row["looked_at"] == looked_at]
        for count, title in ((1, "one mistake"), (2, "two mistakes")):
            here = Counter(row["said"] for row in some if (row["count"] > 1) == (count > 1))
            total = max(1, sum(here.values()))
            shares = ", ".join(f"{word} {here[word]} ({here[word] / total:.0%})" for word in SAID)
            seen = "looked at" if looked_at else "not looked at"
            lines.append(f"{seen}, {title}: {sum(here.values())} wrong answers: {shares}")
    for truth in ("right", "wrong"):
        took = sorted(row["seconds"] for row in rows if row["truth"] == truth) or [0.0]
        lines.append(f"{truth} answers took {median(took):.1f} s (median), {took[-1]:.1f} s at most, two at a time")
    right = Counter(row["said"] for row in rows if row["truth"] == "right")
    lines.append(f"{sum(right.values())} right answers: {dict(right)}")
    return "\n".join(lines)


def renamed(code: str) -> str:
    """A copy: its own names are others, and comments and blank lines are gone."""
    tree = ast.parse(code)
    own = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in own:
            node.id += "_"
        elif isinstance(node, ast.arg) and node.arg in own:
            node.arg += "_"
    return ast.unparse(tree)


def copies() -> tuple[int, list[Alike], list[tuple[str, str]]]:
    """How many pairs of strangers there are, those that are taken for copies, and the renamed copies that are missed."""
    by_exercise: dict[str, dict[tuple[str, str], str]] = {}
    for row in answers():
        by_exercise.setdefault(row["exercise"], {})[row["name"], row["exercise"]] = row["code"]
    pairs = sum(len(texts) * (len(texts) - 1) // 2 for texts in by_exercise.values())
    wrongly = [pair for texts in by_exercise.values() for pair in alike(texts)]
    missed = [
        (exercise, name)
        for exercise, texts in by_exercise.items()
        for (name, _), code in texts.items()
        if not any({*p.students} == {"copy", name} for p in alike({**texts, ("copy", exercise): renamed(code)}))
    ]
    return pairs, wrongly, missed


GRADES = {
    "A": "named rightly",
    "B": "one of two named, or the line and the step pinned",
    "C": "the right region only",
    "D": "nothing but the outputs",
    "E": "told something false without a doubt",
    "F": "misled by a guess",
}


ROUNDS = {
    1: "the checker without changes of the program",
    2: "with changes, on the other half of the second set",
    3: "with what is reached on the way, too, on the third set",
    4: "with other lines that help, on the fourth set",
    5: "with changes of blocks, axes and ranks, and pairs with a doubt, on the fifth set",
}


def judged() -> str:
    """What readers said of messages for answers that nobody had looked at before."""
    rows = json.loads((HERE / "judged.json").read_text(encoding="utf-8"))
    lines = []
    for number, what in ROUNDS.items():
        lines.append(what)
        for several in (False, True):
            here = [row["grade"] for row in rows if row["round"] == number and (row["count"] > 1) == several]
            lines.append(f"  {'two mistakes' if several else 'one mistake'}, {len(here)} answers")
            lines += [
                f"    {said}: {here.count(grade)} ({here.count(grade) / len(here):.0%})"
                for grade, said in GRADES.items()
            ]
    return "\n".join(lines)


def main() -> None:
    """Check all and print the table, or say what was measured besides."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=Path, default=HERE, help="a folder of such files (default: those here)")
    parser.add_argument("--out", type=Path, help="a file for every verdict")
    parser.add_argument("--copies", action="store_true", help="how well copies are told from strangers' answers")
    parser.add_argument("--judged", action="store_true", help="how readers judged what was said")
    parser.add_argument("--of", help="verdicts that are kept here, in place of checking: third.json")
    chosen = parser.parse_args()
    if chosen.of:
        print(table(json.loads((HERE / chosen.of).read_text(encoding="utf-8"))))
        return
    if chosen.judged:
        print(judged())
        return
    if chosen.copies:
        pairs, wrongly, missed = copies()
        total = sum(1 for _ in answers())
        print(
            f"{len(wrongly)} of {pairs:,} pairs of strangers are named; {total - len(missed)} of {total} renamed copies are found"
        )
        return
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(checked, answers(chosen.answers)))
    print(table(rows))
    if chosen.out:
        chosen.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
