"""Every lesson runs as a notebook, once: with each exercise solved, and then as a student gets it."""

import nbformat
import pytest
from nbclient import NotebookClient
from scratchnet_course import lessons

from test_lessons import ENVIRONMENT, SOURCES, exercises_of, in_its_time


def solved_then_empty(parts):
    """The cells, with every exercise and the cell that checks it twice; what follows has nothing that is written."""
    made = []
    for cell, check, solved, stub in zip(parts, [*parts[1:], None], lessons.teacher(parts), lessons.student(parts)):
        made += [cell] if cell.exercise is None else [solved, check, stub]
    return made


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_as_a_notebook_solved_and_as_a_student_gets_it(source, tmp_path, monkeypatch):
    """The solutions are right; with nothing written every cell runs all the same, and the answers say so."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MPLBACKEND")
    parts = solved_then_empty(lessons.cells(source.read_text(encoding="utf-8")))
    made = nbformat.reads(lessons.notebook(parts), as_version=4)
    with in_its_time():
        NotebookClient(
            made, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
        ).execute()
    outputs = [part for cell in made.cells if cell.cell_type == "code" for part in cell.outputs]
    text = "".join(part.get("text", "") for part in outputs)
    count = len(exercises_of(source))
    assert [text.count(said) for said in ("  RIGHT  ", "NOT YET", "not written yet")] == [count] * 3, text
    assert "Traceback" not in text
    assert any("image/png" in part.get("data", {}) for part in outputs), "a lesson has a picture"
    assert not list(tmp_path.rglob("*.png"))  # in the notebook, not beside it
