"""The page that trains: one HTML file with small tasks, cells, optimisers and live pictures.

The page computes a cell by the program that is made of the cell's own Python code, as the stepper
does, so that every cell of ``CELLS`` can be trained in it, also a cell that you have registered.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scratchnet.cells import CELLS, Cell
from scratchnet.errors import InvalidValueError
from scratchnet.files import require_path, write_text
from scratchnet.tracing.terms import program_or_none
from scratchnet.tracing.trace import Data
from scratchnet.view.data import Programs, ranges
from scratchnet.view.page import assemble
from scratchnet.view.walk import PALETTE, carry

TASKS = ("adding", "sine", "counting", "text")
SCRIPTS = (
    *("tools", "step", "model", "run", "formula", "drawing", "river", "maps"),
    *("random", "optimiser", "network", "tasks", "charts", "controls", "training", "gates", "play"),
)
SHORTEST_TEXT, LONGEST_TEXT, MOST_CHARACTERS = 300, 200_000, 250
FIRST_CELLS = ("rnn", "lstm", "gru")

# The nursery rhyme The House that Jack Built (in print since 1755): each character, and its verb.
HOUSE = (
    ("the house that Jack built.", ""),
    ("the malt", "lay in"),
    ("the rat,", "ate"),
    ("the cat,", "killed"),
    ("the dog,", "worried"),
    ("the cow with the crumpled horn,", "tossed"),
    ("the maiden all forlorn,", "milked"),
    ("the man all tattered and torn,", "kissed"),
    ("the priest all shaven and shorn,", "married"),
    ("the cock that crowed in the morn,", "waked"),
    ("the farmer sowing his corn,", "kept"),
)


def verse() -> str:
    """The rhyme in full: each stanza is the one before with one line more.

    >>> verse().splitlines()[2:4]
    ['This is the malt', 'That lay in the house that Jack built.']
    """
    stanzas = []
    for k, (who, _) in enumerate(HOUSE):
        lines = [f"That {HOUSE[j][1]} {HOUSE[j - 1][0]}\n" for j in range(k, 0, -1)]
        stanzas.append(f"This is {who}\n" + "".join(lines))
    return "\n".join(stanzas)


def write_play(path: str | Path, **options: Any) -> Path:
    """Write the page to ``path`` and return it; options as in ``play_page``."""
    path = require_path(path)
    write_text(path, play_page(**options))
    return path


def play_page(
    *,
    task: str = "adding",
    cells: Sequence[str] = ("lstm", "rnn"),
    seed: int = 0,
    text: str | None = None,
) -> str:
    """The page that trains networks in the browser, as text.

    Parameters
    ----------
    task : the task that the page opens with: "adding", "sine", "counting" or "text"
    cells : the one or two cells that it opens with, from ``CELLS``; two train side by side on the
        same batches
    seed : seeds the initial weights and the batches
    text : what the character model reads; None: a nursery rhyme

    Raises
    ------
    ValueError
        For an unknown task or cell, a negative seed, or a text of less than 300 or more than
        200,000 characters, or with more than 250 different ones.
    """
    if task not in TASKS:
        raise InvalidValueError(f"task is {task!r}: expected one of {', '.join(TASKS)}")
    programs = Programs()
    known = _cells(programs)
    if isinstance(cells, str) or not 1 <= len(cells) <= 2:
        raise InvalidValueError(f"cells are {cells!r}: expected the names of one or two cells")
    for cell in cells:
        if cell not in known:
            raise InvalidValueError(
                f"the page has no cell {cell!r}: expected one of {', '.join(known)}"
            )
    if not 0 <= seed < 2**53:  # a whole number in JavaScript
        raise InvalidValueError(f"seed is {seed}: expected a whole number from 0 to 2^53 - 1")
    data = {
        "cells": known,
        "programs": programs.data,
        "text": verse() if text is None else _checked(text),
        "settings": {"task": task, "cell": cells[0], "second": [*cells, "none"][1], "seed": seed},
        "palette": {part: PALETTE[part] for part in ("quantities", "page", "maps", "models")},
    }
    title = "scratchnet: training in the browser"
    return assemble(title, data, "play.html", ("stepper.css", "play.css"), SCRIPTS)


def _cells(programs: Programs) -> dict[str, Data]:
    """What the page needs of each cell: its program, and its parameters' shapes."""
    found: dict[str, Data] = {}
    for name, cell in sorted(CELLS.items(), key=lambda item: item[0] not in FIRST_CELLS):
        program = program_or_none(cell, tuple((n, all_[0]) for n, all_ in cell.OPTIONS.items()))
        if program is None:
            continue
        number = programs.add(name, cell, program)
        ops = programs.data[number]["ops"]
        if any(ops == programs.data[other["program"]]["ops"] for other in found.values()):
            continue  # the masked LSTM without masks is the LSTM
        found[name] = {
            "title": _title(name),
            "letters": cell.GATES,
            "states": list(cell.STATES),
            "program": number,
            "carry": carry(cell, program),
            "ranges": ranges(program),
            "shapes": _shapes(cell),
        }
    return found


def _title(name: str) -> str:
    """How a cell is written: "GRU reset before" for gru_reset_before."""
    return re.sub("lstm|gru|rnn|sru", lambda m: m[0].upper(), name).replace("_", " ")


def _shapes(cell: Cell) -> dict[str, list[list[int]]]:
    """Of each parameter each axis as [a, b, c]: its length is a + b D + c H."""
    of = cell.param_shapes
    found = {}
    for parameter, axes in of(1, 1).items():
        more_inputs, more_units = of(2, 1)[parameter], of(1, 2)[parameter]
        lengths = zip(axes, more_inputs, more_units)
        found[parameter] = [[3 * n - d - h, d - n, h - n] for n, d, h in lengths]
    return found


def _checked(text: str) -> str:
    if not SHORTEST_TEXT <= len(text) <= LONGEST_TEXT:
        raise InvalidValueError(
            f"the text has {len(text)} characters: expected {SHORTEST_TEXT} to {LONGEST_TEXT}"
        )
    different = len(set(text))
    if different > MOST_CHARACTERS:
        raise InvalidValueError(
            f"the text has {different} different characters: expected at most {MOST_CHARACTERS}"
        )
    return text
