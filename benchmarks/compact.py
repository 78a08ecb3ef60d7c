"""Results as JSON with a row on each line: short files, and short diffs."""

import json
from pathlib import Path
from typing import Any

from scratchnet.files.writing import write_text


def write(path: Path, report: dict[str, Any], levels: int = 2) -> None:
    """Write a report in one piece: a program that is stopped leaves the whole file of before.

    Parameters
    ----------
    path
        The file; it is replaced.
    report
        What JSON can hold, without NaN.
    levels
        How many levels of lists and dictionaries are spread over lines. A deeper one, and one that
        holds plain values only, is a single line.
    """
    write_text(path, _text(report, levels, "\n") + "\n")


def _text(value: Any, levels: int, newline: str) -> str:
    """JSON of a value; ``newline`` ends with the indent of its closing bracket."""
    rows = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not levels or not any(isinstance(row, dict | list) for row in rows):
        return json.dumps(value, allow_nan=False)
    inner = newline + " "
    texts = [_text(row, levels - 1, inner) for row in rows]
    if isinstance(value, dict):
        texts = [f"{json.dumps(str(key))}: {text}" for key, text in zip(value, texts)]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    return opened + inner + f",{inner}".join(texts) + newline + closed
