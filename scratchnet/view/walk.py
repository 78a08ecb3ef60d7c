"""The micro-steps of a cell: the lines of its own code, in the order in which they compute.

Each step names a line of the cell's file, what the line computes (its terms), and a title. The page
makes the equations, in symbols and in numbers, from the program's operations.
"""

import json
from importlib import resources
from itertools import groupby
from linecache import getline
from pathlib import Path
from typing import Any

from scratchnet.cells import Cell
from scratchnet.tracing.evaluate import Op
from scratchnet.tracing.program import Program

Step = dict[str, Any]
LIBRARY = Path(__file__).parent.parent
PALETTE = json.loads(
    resources.files("scratchnet").joinpath("palette.json").read_text(encoding="utf-8")
)


def steps(program: Program, cell: Any) -> dict[str, list[Step]]:
    """The micro-steps of both passes, as data for the page."""
    back = {
        name: at
        for name, at in program.backward.items()
        if name != "dx" and program.ops[at][0] != "constant"  # SRU's dh_prev is 0
    }
    backward = _by_line(program, cell, back)
    lines = [place_of(line) for line in dict.fromkeys(program.weight_lines.values())]
    weights = {"title": "each weight's gradient grows", "code": lines, "terms": []}
    weights["weights"] = list(program.weights)
    below = _by_line(program, cell, {"dx": program.backward["dx"]})
    return {
        "forward": _by_line(program, cell, program.forward),
        "backward": [*backward, weights, *below],
    }


def place_of(line: tuple[str, int]) -> list[str]:
    """A line as file, number, code and comment."""
    file, number = line
    code, _, comment = getline(file, number).strip().partition("  # ")
    path = Path(file)
    own = path.is_relative_to(LIBRARY)
    shown = path.relative_to(LIBRARY.parent).as_posix() if own else path.name
    return [f"{shown}:{number}", code, comment]


def carry(cell: Cell, program: Program | None) -> dict[str, int]:
    """For each state that goes straight to the next step the operation that multiplies it there.

    It is the state itself where nothing does, as in c = c_prev + i g.
    """
    found = dict[str, int]()
    for s in cell.STATES:
        if program is None or ("state", s) not in program.ops:
            continue
        previous, kept = program.ops.index(("state", s)), program.forward.get("kept")
        summands = _parts(program.ops, program.forward[s])
        if previous in summands:
            found[s] = previous
        elif kept in summands and program.ops[kept][0] == "multiply":
            factors = program.ops[kept][1:]
            if previous in factors:
                found[s] = next((k for k in factors if k != previous), previous)
    return found


def name_of(letter: str) -> str:
    """What a gate or state is called: "forget gate" for "f"; "" for others."""
    return str(PALETTE["quantities"].get(letter, {"name": ""})["name"])


def _by_line(program: Program, cell: Any, names: dict[str, int]) -> list[Step]:
    found = []
    for line, group in groupby(names, key=lambda name: program.lines.get(names[name])):
        terms = list(group)
        code = [] if line is None else [place_of(line)]
        found.append({"title": _title(program, cell, terms), "code": code, "terms": terms})
    return found


def _title(program: Program, cell: Any, terms: list[str]) -> str:
    """What a line does, in words."""
    last = terms[-1]
    gates = [t for t in terms if t in cell.GATES]
    if not last.startswith("d"):
        if all(t.startswith(("a_", "m_")) for t in terms):
            return "pre-activation" + "s" * (len(terms) > 1)
        return ", ".join(name_of(t) for t in gates) or name_of(last) or last
    at = program.backward[last]
    if last.endswith("_prev"):
        state = last[1:-5]
        kinds = {program.ops[k][0] for k in (at, *_parts(program.ops, at))}
        through = "through W" if "dot" in kinds else f"straight along {state}"
        return f"to the step before, {through}"
    if last in program.of and (parts := len(_parts(program.ops, at))) > 1:
        return (
            f"{ {2: 'two', 3: 'three', 4: 'four'}.get(parts, parts) } gradients meet in {last[1:]}"
        )
    if last.startswith("da_"):
        return f"back through the {name_of(last[3:]) or last[3:]}"
    return "to the input" if last == "dx" else f"to {last}"


def _parts(ops: list[Op], at: int) -> list[int]:
    """The summands of a sum, of sums of sums too."""
    if ops[at][0] != "add":
        return []
    return [k for part in ops[at][1:] for k in (_parts(ops, part) or [part])]
