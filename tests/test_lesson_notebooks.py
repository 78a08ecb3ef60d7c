"""Every lesson runs as students get it, as a notebook.  A file of its own, so that it runs beside the lessons as scripts."""

import pytest
from scratchnet_course import lessons

from test_lessons import ENVIRONMENT, SOURCES, exercises_of


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_as_a_notebook_of_a_student(source, tmp_path, monkeypatch):
    """Nothing is written yet, and still every cell runs; the answers say so."""
    import nbformat
    from nbclient import NotebookClient

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MPLBACKEND")
    made = nbformat.reads(lessons.student_files(source)[f"{source.stem}.ipynb"], as_version=4)
    NotebookClient(made, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = "".join(part.get("text", "") for cell in made.cells if cell.cell_type == "code" for part in cell.outputs)
    assert text.count("NOT YET") == len(exercises_of(source))
    assert text.count("not written yet") == len(exercises_of(source))
    pictures = [
        p for cell in made.cells if cell.cell_type == "code" for p in cell.outputs if "image/png" in p.get("data", {})
    ]
    assert pictures, "a lesson has a picture"
