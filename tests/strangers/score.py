"""Check the answers of strangers, and count what the checker says of them; README.md says more."""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scratchnet_course.checking import Verdict, check_code
from scratchnet_course.exercises import EXERCISES

HERE = Path(__file__).parent
SAID = ("named with certainty", "recognised", "line", "outputs only", "ACCEPTED")


def answers(folder: Path = HERE) -> Iterator[dict[str, Any]]:
    """Every answer, as the files have it."""
    for path in sorted(folder.glob("lesson*.json")):
        yield from json.loads(path.read_text(encoding="utf-8"))


def said(result: Verdict) -> str:
    """What the checker said of a wrong answer, one of SAID."""
    if result.right:
        return "ACCEPTED"
    if result.names:
        return "named with certainty"
    if result.found:
        return "recognised"
    return "line" if result.line else "outputs only"


def checked(row: dict[str, Any]) -> dict[str, Any]:
    """An answer with its verdict."""
    result = check_code(EXERCISES[row["exercise"]], row["code"])
    word = said(result) if row["truth"] == "wrong" else ("accepted" if result.right else "REJECTED")
    return row | {"said": word, "names": result.names, "found": result.found, "line": result.line, "text": str(result)}


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
    right = Counter(row["said"] for row in rows if row["truth"] == "right")
    lines.append(f"{sum(right.values())} right answers: {dict(right)}")
    return "\n".join(lines)


def main() -> None:
    """Check all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=Path, default=HERE, help="a folder of such files (default: those here)")
    parser.add_argument("--out", type=Path, help="a file for every verdict")
    chosen = parser.parse_args()
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(checked, answers(chosen.answers)))
    print(table(rows))
    if chosen.out:
        chosen.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
