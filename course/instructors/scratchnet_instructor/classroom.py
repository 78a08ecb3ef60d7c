"""What a whole class gets: worksheets in one file, and the key of everybody's bug hunts."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from scratchnet_course import hunt, worksheet

from scratchnet.errors import InvalidValueError, MissingFileError
from scratchnet_instructor import assigning, folders, hunting, reports
from scratchnet_instructor.worked import worked

HEADINGS = ("student", "students", "id", "sid", "name", "number", "email", "user", "username")
KEY = ("student", "cell", "number", "lines", "reason", "what it is")


def students(path: Path) -> list[str]:
    """Return the ids in a file: one a line, or the first column of a table, without its heading.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no text, or names nobody.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except FileNotFoundError:
        raise MissingFileError(f"{path} does not exist: expected a file with ids") from None
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise InvalidValueError(f"{path} is no table of text: {error}") from None
    found = [row[0].strip() for row in rows if row and row[0].strip()]
    found = found[1:] if found and found[0].lower() in HEADINGS else found
    if not found:
        raise InvalidValueError(f"{path} names no students: expected an id on each line")
    return list(dict.fromkeys(found))


def write(who: Sequence[str], out: Path, pools: Sequence[Sequence[str]] = ()) -> list[Path]:
    """Write the sheets of each kind, blank and solved, and the hunts' key, and of what is in pools
    who works on what; returns the paths."""
    made: dict[str, str] = {}
    for kind in worksheet.KINDS:
        blank = [worksheet.sheet(kind, student) for student in who]
        made[f"{kind}.html"] = worksheet.page(*blank)
        made[f"{kind}_solution.html"] = worksheet.page(*map(worked, blank))
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(KEY)
    for student in who:
        for cell in hunt.cells():
            number = hunt.hunt(cell, student).number
            lines, reason, what = hunting.answer(cell, number)
            row = (student, cell, number, " ".join(map(str, lines)), reason, what)
            writer.writerow([reports.cell(value) for value in row])
    made["hunts_key.csv"] = table.getvalue()
    if pools:
        made["assigned.csv"] = assigning.table(assigning.assign(who, pools))
    return folders.write(out, {name: text.encode() for name, text in made.items()})
