"""Lessons run as scripts, and the book is made of them.

test_lesson_notebooks.py runs every lesson; the same cells as a script are run again here, the slow ones by make test-all.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from scratchnet_course import lessons
from scratchnet_course.exercises import EXERCISES

ROOT = Path(__file__).parent.parent
SOURCES = lessons.sources(ROOT / "tutorials")
PATHS = [ROOT, ROOT / "kernels", ROOT / "course" / "students"]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, PATHS)), "MPLBACKEND": "Agg"}
QUICK = {"00", "01", "02", "03", "04", "06", "12"}  # seconds each
SECONDS = 60  # of a lesson, on two idle cores; other tests run at the same time


@pytest.fixture(scope="module")
def build():
    """tutorials/build.py, imported."""
    spec = importlib.util.spec_from_file_location("build", ROOT / "tutorials" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exercises_of(source):
    return [name for name, exercise in EXERCISES.items() if exercise.lesson == source.stem[:2]]


@contextmanager
def in_its_time():
    """What runs inside, processes that it starts included, takes at most SECONDS of two processors."""
    before = os.times()
    yield
    assert sum(os.times()[:4]) - sum(before[:4]) < 2 * SECONDS


def slow(source):
    return () if source.stem[:2] in QUICK else pytest.mark.slow


@pytest.mark.parametrize("source", [pytest.param(s, marks=slow(s), id=s.stem) for s in SOURCES])
def test_as_a_script_with_its_solutions(source, tmp_path):
    """It ends well, in its time, and every exercise is right; -W error would also be raised by the libraries below."""
    with in_its_time():
        done = subprocess.run(
            [sys.executable, source],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("  RIGHT  ") == len(exercises_of(source)), done.stdout
    assert not list(tmp_path.rglob("*.png"))  # pictures belong into the notebook
    assert "Traceback" not in done.stderr


def test_the_book_of_one_lesson(build, tmp_path, monkeypatch):
    """The page has text, code and output, shows no solution, and fetches nothing; what is published has nothing else."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MPLBACKEND")
    book, notebooks = tmp_path / "book", tmp_path / "notebooks"
    build.book(book, notebooks, ["06"])
    assert {path.name for path in book.rglob("*")} == {"06_lstm_backward.html", "index.html"}
    page, index = ((book / name).read_text(encoding="utf-8") for name in ("06_lstm_backward.html", "index.html"))
    assert '<a href="06_lstm_backward.html">06  The LSTM backward, term by term</a>' in index
    plain = re.sub(r"<[^>]+>", "", page)
    assert "Two sources meet in h" in plain
    assert "NotImplementedError" in plain
    solved = json.loads((notebooks / "06_lstm_backward.ipynb").read_text(encoding="utf-8"))
    solved = "\n".join("".join(cell["source"]) for cell in solved["cells"])
    for line in lessons.solution_lines(
        lessons.cells((ROOT / "tutorials" / "06_lstm_backward.py").read_text(encoding="utf-8"))
    ):
        assert line not in plain
        assert line in solved
    assert page.count("data:image/png;base64,") >= 2
    assert "begins at t=2 of 0 to 3" in plain
    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert "compiling" not in plain
