"""For teachers: whatever a class hands in is graded or listed with a reason, and points are fair."""

import csv
import io
import json
import re
import zipfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from scratchnet.commands.cli import main
from scratchnet_course import hunt, notebooks, worksheet
from scratchnet_course.checking import check_code
from scratchnet_course.exercises import EXERCISES, find
from scratchnet_instructor import (
    assigning,
    classroom,
    gradebooks,
    grading,
    handins,
    hunting,
    lateness,
    reports,
    solution,
)
from scratchnet_instructor.alike import same_numbers
from scratchnet_instructor.collecting import collect, exercises_of
from scratchnet_instructor.command import made_for
from scratchnet_instructor.following import followed
from scratchnet_instructor.uploads import Upload, uploads
from scratchnet_instructor.worked import worked

from school import Person, export, notebook, people, zipped
from strangers import score

LAYOUTS = ("gradescope", "canvas", "moodle", "nbgrader", "folders")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The points of a class by person and exercise, each answer checked by itself, and the seed."""
    whole = people(16)
    return whole, {
        (p.name, e): check_code(find(e), p.answers[e], 3).points if e in p.answers else 0.0
        for p in whole
        for e in ("06/ex1", "06/ex2", "06/ex3")
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_class_gets_the_same_points_on_every_platform(layout, graded, tmp_path):
    whole, points = graded
    called = export(layout, whole, tmp_path / "in")
    given = tmp_path / ("in.zip" if layout == "canvas" else "in")
    handed = collect(given, ["06"], tmp_path / "unpacked")
    assert handed.layout == layout
    assert handed.handed.keys() == called.keys()
    assert {one.file.rpartition("/")[2] for one in handed.left_out} == {"notes.pdf"}  # and nothing else is lost
    grades = grading.grade(handed, only=["06"], seed=3)
    got = {(called[g.student].name, g.result.exercise): g.result.points for g in grades}
    assert got == points
    assert 0 < sum(points.values()) < 30 * len(whole)
    written = reports.write(grades, tmp_path / "out", handed.left_out)
    assert all(path.stat().st_size for path in written)
    said = reports.table(grades, handed.left_out)
    assert "notes.pdf: it is neither a Python file (.py) nor a notebook (.ipynb)" in said


@pytest.mark.parametrize(
    ("name", "text", "only", "found"),
    [
        ("ex1.py", "", ["06"], ["06/ex1"]),
        ("Ex01.PY", "", ["06"], ["06/ex1"]),
        ("06/ex1.py", "", [], ["06/ex1"]),
        ("lesson 6/Exercise 1.py", "", [], ["06/ex1"]),
        ("06_ex1-2.py", "", [], ["06/ex1"]),
        ("ex1.py", "# exercise 06/ex1\n", [], ["06/ex1"]),
        ("ex1.py", "def step_backward(dh):\n    pass\n", [], ["06/ex1"]),
        ("group12/ex1.py", "def step_backward(dh):\n    pass\n", [], ["06/ex1"]),
        ("2026-11-03_ex1.py", "def step_backward(dh):\n    pass\n", ["06"], ["06/ex1"]),
        ("homework.py", "step_backward = lambda dh: dh\n", [], ["06/ex1"]),
        ("homework.py", "x = (\ndef step_backward(dh):\n", [], ["06/ex1"]),  # Python says what is wrong with it
        ("06/ex2.py", "def step_backward(dh):\n    pass\n", [], ["06/ex2"]),  # and the checker, what it lacks
        ("06/ex9.py", "", [], []),
        ("context1.py", "", ["06"], []),
        ("helpers.py", "def sigmoid(a):\n    pass\n", ["06"], []),
    ],
)
def test_the_exercise_is_recognised_by_name_folder_or_content(name, text, only, found, tmp_path):
    path = tmp_path / "x.py"
    path.write_text(text, encoding="utf-8")
    names, why = exercises_of(Upload("ada", path, tuple(name.split("/"))), {*only})
    assert names == found
    assert names or why in ("there is no exercise 06/ex9", "it defines no function of an exercise")


def test_a_notebook_is_graded_with_what_its_answers_need(tmp_path):
    """Helpers and constants of other cells come along, the rest of the notebook is not run, and the last definition counts."""
    answers = {f"06/ex{k}": solution(f"06/ex{k}") for k in (1, 2, 3)}
    whole = json.loads(notebook(Person("Ada", 1, answers)))
    right = answers["06/ex1"].replace("def step_backward", "def real")
    new = [
        "%matplotlib inline\n!pip install nothing\nimport numpy as np\nraise SystemExit",
        f"{right}\nscale = 2\nscale /= 2\ntable = {{}}\n",
        "table['k'] = scale",
        "def step_backward(*a, **k):\n    return None",
        "this is no Python",
        "@staticmethod\ndef step_backward(*args, **named):\n    # one\n    return [v * table['k'] for v in real(*args, **named)]",
    ]
    whole["cells"] = [
        *(c for c in whole["cells"] if not "".join(c["source"]).startswith("# exercise 06/ex1")),
        *({"cell_type": "code", "source": text.splitlines(keepends=True), "metadata": {}} for text in new),
    ]
    path = tmp_path / "in" / "ada" / "mine.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(whole), encoding="utf-8")
    code = notebooks.part(notebooks.code_cells(path), "step_backward").code
    assert "SystemExit" not in code
    assert "return None" not in code
    assert "table['k'] = scale" in code
    grades = grading.grade(tmp_path / "in", only=["06"])
    assert [g.result.points for g in grades] == [10, 10, 10], "\n".join(str(g.result) for g in grades)


def test_lines_of_a_notebook_are_those_of_its_cells(tmp_path):
    """Nobody has seen the program that was put together from them."""
    cells = [
        "import numpy as np",
        "# gates\n\ndef slope(g):\n    return g * (1 - g)\n",
        solution("06/ex1").replace("c_prev * f * (1 - f)", "c * f * (1 - f)").replace("1 - g**2", "slope(g)"),
    ]
    whole = {"nbformat": 4, "cells": [{"cell_type": "code", "source": text} for text in cells]}
    path = tmp_path / "in" / "ada" / "mine.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(whole), encoding="utf-8")
    (grade,) = grading.grade(tmp_path / "in", only=["06/ex1"])
    wrong = next(k for k, line in enumerate(cells[2].splitlines(), 1) if "c * f * (1 - f)" in line)
    assert f"line {wrong} of the cell" in str(grade.result)
    program = notebooks.part(cells, "step_backward")
    number = program.code.splitlines().index("    return g * (1 - g)") + 1
    assert program.line(number) == "line 4 of the cell of slope"


@pytest.mark.parametrize("text", ["", "[]", '{"cells": 1}', "{" * 99_999, '{"cells": [{}]}', "\x00"])
def test_a_broken_notebook_is_listed_with_the_reason(text, tmp_path):
    (tmp_path / "in" / "ada").mkdir(parents=True)
    (tmp_path / "in" / "ada" / "lstm.ipynb").write_text(text, encoding="utf-8")
    handed = collect(tmp_path / "in", ["06"])
    assert handed.handed == {"ada": {}}
    (one,) = handed.left_out
    assert one.student == "ada"
    assert one.because == "lstm.ipynb is no notebook that can be read"


def test_of_two_files_the_written_one_counts_and_two_that_differ_are_said(tmp_path):
    stub = "# exercise 06/ex1\ndef step_backward(dh):\n    raise NotImplementedError\n"
    for student, first, second in (("ada", stub, "1"), ("bo", "1", "1"), ("chi", "1", "2")):
        for name, text in (("06/ex1.py", first), ("old/06_ex1.py", second)):
            path = tmp_path / student / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    handed = collect(tmp_path).handed
    assert handed["ada"]["06/ex1"].name == "old/06_ex1.py"
    assert not handed["bo"]["06/ex1"].twice
    assert handed["chi"]["06/ex1"].twice == "06/ex1.py and old/06_ex1.py"
    (_, _, grade) = grading.grade(tmp_path, only=["06/ex1"])
    assert grade.result.lines == (
        "06/ex1 was handed in twice, and only one file may be there: 06/ex1.py and old/06_ex1.py",
    )


@pytest.mark.parametrize("kind", ["bomb", "outside", "cut", "no archive", "many"])
def test_an_archive_costs_its_owner_only(kind, tmp_path):
    folder = tmp_path / "in"
    for student in ("ada", "mallory"):
        (folder / student).mkdir(parents=True)
        (folder / student / "hw.zip").write_bytes(zipped({"06/ex1.py": solution("06/ex1").encode()}))
    evil = folder / "mallory" / "evil.zip"
    content = {
        "bomb": zipped({"a": b"0"}) if kind != "bomb" else bomb(),
        "outside": zipped({"../../../../escaped.py": b"x", "/etc/escaped": b"x", "C:\\escaped": b"x"}),
        "cut": zipped({"a": b"0" * 999})[:-40],
        "no archive": b"PK",
        "many": zipped({f"{k}.py": b"" for k in range(2001)}) if kind == "many" else b"",
    }[kind]
    evil.write_bytes(content)
    handed = collect(folder, ["06"], tmp_path / "unpacked")
    assert {s: list(own) for s, own in handed.handed.items()} == {"ada": ["06/ex1"], "mallory": ["06/ex1"]}
    assert not list(tmp_path.glob("escaped*"))
    assert not Path("/etc/escaped").exists()
    assert {one.student for one in handed.left_out} == {"mallory"}
    said = " ".join(one.because for one in handed.left_out)
    assert {"bomb": "more than", "outside": "it is neither", "many": "more than"}.get(kind, "cannot be read") in said


def bomb():
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(3):
            archive.writestr(f"{k}.py", b"0" * 100_000_000)
    return whole.getvalue()


def test_what_is_handed_in_anew_is_graded_anew(tmp_path):
    """The same archive's name, the same report's folder: nothing of the first run counts in the second."""
    for right in (False, True):
        code = solution("06/ex1") if right else "def step_backward(**a):\n    return None\n"
        own = zipped({"06/ex1.py": code.encode()})
        (tmp_path / "in.zip").write_bytes(zipped({"ada/hw.zip": own, "bo/06/ex1.py": code.encode()}))
        handed = collect(tmp_path / "in.zip", ["06"], tmp_path / "unpacked")
        grades = grading.grade(handed, only=["06/ex1"])
        assert [g.points for g in grades] == ([10, 10] if right else [0, 0])


def test_the_export_of_a_large_class_is_read(tmp_path):
    names = [f"student{k}_{k}_{k}_ex1.py" for k in range(2500)]
    (tmp_path / "in.zip").write_bytes(zipped(dict.fromkeys(names, b"")))
    assert len(uploads(tmp_path / "in.zip", tmp_path / "unpacked").students) == 2500


def test_what_lies_too_deep_or_has_no_owner_is_listed(tmp_path):
    deep = tmp_path.joinpath("ada", *"abcdefghijklmnop")
    deep.mkdir(parents=True)
    (deep / "ex1.py").write_text("x", encoding="utf-8")
    (tmp_path / "stray.py").write_text("x", encoding="utf-8")
    (tmp_path / "bo").mkdir()
    found = {one.file: one.because for one in collect(tmp_path, ["06"]).left_out}
    assert found["a/b/c/d/e/f/g/h/i/j/k/l/"] == "it is more than 12 folders deep"
    assert found["stray.py"].startswith("nothing says whose it is")


def test_gradescope_groups_times_and_odd_metadata(tmp_path):
    folder = tmp_path / "submission_1"
    folder.mkdir()
    (folder / "ex1.py").write_text("# exercise 06/ex1\n", encoding="utf-8")
    metadata = tmp_path / "submission_metadata.yml"
    metadata.write_text(
        "submission_1:\n  :submitters:\n  - :name: Ada\n    :sid: 7\n  - :email: bo@example.org\n"
        "  :created_at: 2026-11-20 22:00:00.5 -0800\n",
        encoding="utf-8",
    )
    found = uploads(tmp_path, tmp_path / "unpacked")
    assert found.layout == "gradescope"
    assert [(one.student, one.when) for one in found.files] == [
        (who, datetime(2026, 11, 21, 6, 0, 0, 500_000, UTC)) for who in ("7", "bo@example.org")
    ]
    metadata.write_text("- 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="as Gradescope writes it"):
        uploads(tmp_path, tmp_path / "unpacked")


# ---- points, lateness, copies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [e.id for e in EXERCISES.values() if len(e.outputs) > 1])
def test_each_right_output_earns_its_share(name):
    """The right answer with one output doubled, for every output of every exercise."""
    exercise = find(name)
    for k, output in enumerate(exercise.outputs):
        code = solution(name) + (
            f"\nimport numpy as np\nright = {exercise.function}\ndef {exercise.function}(*args, **named):\n"
            f"    found = right(*args, **named)\n    found, k = (found, {output!r}) if isinstance(found, dict) else (list(found), {k})\n"
            "    found[k] = np.asarray(found[k]) * 2.0 + 1.0\n    return found\n"
        )
        result = check_code(exercise, code)
        assert result.points == round(10 * (1 - 1 / len(exercise.outputs)), 2), (output, str(result))
        assert result.wrong == (output,)


def test_late_work_costs_what_the_policy_says(tmp_path):
    path = tmp_path / "late.toml"
    path.write_text(
        "deadline = 2026-11-20T23:59:00Z\ngrace_minutes = 15\nper_day = 0.1\ndays = 3\n"
        "[extensions]\nbo = 2026-11-22T00:00:00Z\n[handed_in]\nchi = 2026-11-21T00:30:00Z\n",
        encoding="utf-8",
    )
    policy = lateness.read(path)
    due = datetime(2026, 11, 20, 23, 59, tzinfo=UTC)
    late = [policy.taken("ada", due + timedelta(minutes=m), False) for m in (-1, 15, 16, 1455, 1456, 4 * 1440)]
    assert [round(share, 9) for share, _ in late] == [0, 0, 0.1, 0.1, 0.2, 1]
    assert late[2][1] == "handed in 16 minutes late: 10% of the points"
    assert late[4][1] == "handed in 24 hours and 16 minutes late: 20% of the points"
    assert late[5][1] == "handed in 4 days and 0 hours late: after 3 days there are no points"
    assert policy.taken("bo", due + timedelta(days=1), False) == (0.0, "")
    assert policy.taken("chi", None, False)[0] == 0.1
    assert policy.taken("dan", None, False) == (0.0, "")
    assert policy.taken("dan", None, True)[1].startswith("late, and the platform does not say how much")
    submission = tmp_path / "in" / "submitted" / "chi" / "hw" / "06_ex1.py"
    submission.parent.mkdir(parents=True)
    submission.write_text(solution("06/ex1"), encoding="utf-8")
    (grade,) = grading.grade(tmp_path / "in", only=["06/ex1"], policy=policy)
    assert (grade.result.points, grade.points) == (10, 9)
    reports.write([grade], tmp_path / "out")
    assert "handed in 31 minutes late: 10% of the points: 9 points count" in (
        tmp_path / "out" / "feedback" / "chi.txt"
    ).read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out" / "gradescope" / "chi.json").read_text())["tests"][0]["score"] == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no deadline"),
        ("deadline = 3", "deadline in .* is 3: expected a time such as"),
        ("deadline = 2026-11-20", "expected a time such as"),
        ("deadline = 2026-11-20T00:00:00\nper_day = 2", "per_day in .* is 2: expected a number from 0 to 1"),
        ("deadline = 2026-11-20T00:00:00\nextensions = 2", "extensions in .* is 2: expected student = time"),
        ("deadlin = 3", "has deadlin: a late policy has deadline"),
        ("=", "is not TOML"),
    ],
)
def test_a_policy_that_says_nothing_clear_is_refused(text, message, tmp_path):
    path = tmp_path / "late.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        lateness.read(path)
    with pytest.raises(FileNotFoundError, match="expected a late policy"):
        lateness.read(tmp_path / "other.toml")


def test_copies_are_found_and_strangers_are_not_alike():
    """More than a thousand answers to 61 exercises, each written on its own: right ones look alike, and are no copies."""
    pairs, wrongly, missed = score.copies()
    assert len(wrongly) <= 0.002 * pairs, wrongly  # two in a thousand
    assert len(missed) <= 5, missed  # short ones, in which nothing is rare


# ---- gradebooks --------------------------------------------------------------------------------------------------------


def exported(layout, tmp_path):
    """The export of a class of three: two have one right answer, one has one that is no Python."""
    right, broken = {"06/ex1": solution("06/ex1")}, {"06/ex2": "def lstm_backward(\n"}
    whole = [Person("Ada Lovelace", 10_000, right), Person("Bo Li", 10_037, broken), Person("Chi Ö", 10_074, right)]
    export(layout, whole, tmp_path / "in")
    return tmp_path / ("in.zip" if layout == "canvas" else "in")


CANVAS_BOOK = """\ufeffStudent,ID,SIS User ID,SIS Login ID,Section,Lesson 6 (555),Current Score
    Points Possible,,,,,60.0,(read only)
"Lovelace, Ada",10000,s1,ada,L1,,0.0
"Li, Bo",10037,s2,bo,L1,,0.0
"Nobody, N.",1,s3,no,L1,7,0.0
"""
MOODLE_BOOK = """Identifier,Full name,Email address,Status,Grade,Maximum Grade,Feedback comments
Participant 10000,Ada Lovelace,a@x.org,Submitted,,100.00,
Participant 10037,Bo Li,b@x.org,Submitted,,100.00,
Participant 10074,Chi Ö,c@x.org,Submitted,,100.00,
"""


def test_canvas_gets_its_gradebook_and_its_feedback(tmp_path, capsys):
    given = exported("canvas", tmp_path)
    book, out = tmp_path / "book.csv", tmp_path / "out"
    book.write_text(CANVAS_BOOK, encoding="utf-8")
    assert main(["course", "grade", str(given), "--only", "06", "--out", str(out), "--gradebook", str(book)]) == 0
    said = capsys.readouterr().out
    assert "gradebook.csv: the points of 2 students" in said
    assert "not in" in said
    assert "öchi_10074" in said
    header, *rows = csv.reader((out / "gradebook.csv").read_text(encoding="utf-8").splitlines())
    assert header == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Lesson 6 (555)"]
    assert [row[-1] for row in rows] == ["60.0", "20", "0", "7"]  # 10 of 30 points, of the 60 there
    with zipfile.ZipFile(out / "feedback.zip") as back:
        assert "lovelaceada_10000_9000_feedback.txt" in back.namelist()
        assert back.read("lovelaceada_10000_9000_feedback.txt").startswith(b"lovelaceada_10000: 10 of 30 points")
        assert len(back.namelist()) == 3


def test_moodle_gets_its_worksheet_with_comments_and_its_feedback(tmp_path):
    given = exported("moodle", tmp_path)
    book, out = tmp_path / "book.csv", tmp_path / "out"
    book.write_text(MOODLE_BOOK, encoding="utf-8")
    assert main(["course", "grade", str(given), "--only", "06", "--out", str(out), "--gradebook", str(book)]) == 0
    rows = list(csv.DictReader(io.StringIO((out / "gradebook.csv").read_text(encoding="utf-8"), newline="")))
    assert [row["Grade"] for row in rows] == ["33.33", "0", "33.33"]
    assert "06/ex1  RIGHT  10 of 10 points" in rows[0]["Feedback comments"]
    assert "SyntaxError" in rows[1]["Feedback comments"]
    assert "<br>" in rows[1]["Feedback comments"]
    assert [row["Email address"] for row in rows] == ["a@x.org", "b@x.org", "c@x.org"]
    with zipfile.ZipFile(out / "feedback.zip") as back:
        assert "Ada Lovelace_10000_assignsubmission_file/feedback.txt" in back.namelist()


def test_any_table_with_ids_is_a_gradebook(tmp_path):
    for student in ("ada", "bo"):
        path = tmp_path / "in" / student / "06" / "ex1.py"
        path.parent.mkdir(parents=True)
        path.write_text(solution("06/ex1"), encoding="utf-8")
    grades = grading.grade(tmp_path / "in", only=["06/ex1"])
    book = tmp_path / "book.csv"
    book.write_text("name,login,old\nAda,ada,1\nBo, bo ,2\n", encoding="utf-8")
    assert gradebooks.fill(book, grades, {}).text == "name,login,old,points\r\nAda,ada,1,10\r\nBo, bo ,2,10\r\n"
    assert gradebooks.fill(book, grades, {}, "old").text == "name,login,old\r\nAda,ada,10\r\nBo, bo ,10\r\n"


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", "", "it has no rows"),
        ("name\nzed\n", "", "none of the students in any column"),
        ("name\nada\n", "marks", "has no column 'marks': it has name"),
        ("Student,ID,Section,A (1),B (2)\nada,1,x,,\n", "", "has 2 assignments: name one of them with --column"),
    ],
)
def test_a_gradebook_that_cannot_be_filled_is_refused(text, column, message, tmp_path):
    path = tmp_path / "in" / "ada" / "06" / "ex1.py"
    path.parent.mkdir(parents=True)
    path.write_text("x", encoding="utf-8")
    grades = grading.grade(tmp_path / "in", only=["06/ex1"])
    book = tmp_path / "book.csv"
    book.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        gradebooks.fill(book, grades, {}, column)
    with pytest.raises(FileNotFoundError, match="expected a gradebook"):
        gradebooks.fill(tmp_path / "other.csv", grades, {})


# ---- a class's sheets and hunts ----------------------------------------------------------------------------------------


def test_a_class_gets_its_sheets_in_one_file_and_its_teacher_the_key(tmp_path, capsys):
    table = tmp_path / "class.csv"
    table.write_text("\ufeffStudent,Name\n12345,Ada\n\n=7,Bo\n12345,Ada\n", encoding="utf-8")
    out = tmp_path / "out"
    assert main(["course", "class", str(table), "--out", str(out)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    for kind in worksheet.KINDS:
        text = (out / f"{kind}.html").read_text(encoding="utf-8")
        assert text.count("<section>") == 2
        assert re.findall("student ([^<]+)<", text) == ["12345", "=7"]
        own = worksheet.page(worksheet.sheet(kind, "12345"))
        assert own[own.index("<section>") : own.index("</section>")] in text
        solved = (out / f"{kind}_solution.html").read_text(encoding="utf-8")
        assert solved.count("— solution<") == 2
        assert len(re.findall(r"<td></td>", text)) > 40 > len(re.findall(r"<td></td>", solved))
    header, *rows = csv.reader((out / "hunts_key.csv").read_text(encoding="utf-8").splitlines())
    assert header == [*classroom.KEY]
    assert len(rows) == 2 * len(hunt.cells())
    for student, cell, number, lines, reason, _ in rows:
        found = hunt.hunt(cell, student.removeprefix("'"))
        assert found.number == int(number)
        assert hunt.judge(found, int(lines.split()[0]), reason)[0]


@pytest.mark.parametrize("cell", hunt.cells())
def test_the_key_opens_every_hunt(cell):
    for one in hunt.of_cell(cell):
        lines, reason, what = hunting.answer(cell, one.number)
        assert hunt.judge(one, lines[0], reason) == (True, f"right: line {lines[0]}, {what}")


@pytest.mark.parametrize(
    ("text", "message"), [(b"", "names no students"), (b"id\n", "names no students"), (b"\xff", "no table of text")]
)
def test_a_class_without_students_is_said(text, message, tmp_path):
    path = tmp_path / "class.csv"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=message):
        classroom.students(path)
    with pytest.raises(FileNotFoundError, match="expected a file with ids"):
        classroom.students(tmp_path / "other.csv")


def test_the_teacher_sees_which_bugs_a_test_missed(tmp_path, capsys):
    path = tmp_path / "their_test.py"
    path.write_text("def gradient_test(forward, backward):\n    pass\n", encoding="utf-8")
    assert main(["course", "test", str(path), "--cell", "rnn", "--names"]) == 1
    said = capsys.readouterr().out
    for one in hunt.of_cell("rnn"):
        lines, _, what = hunting.answer("rnn", one.number)
        assert f"  {one.number}: {what} (line {lines[0]} of its file)" in said


def test_the_command_grades_an_export(tmp_path, capsys):
    whole = people(4)
    export("canvas", whole, tmp_path / "in")
    assert main(["course", "grade", str(tmp_path / "in.zip"), "--only", "06", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "4 students, in the layout of canvas" in said
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"report.csv", "not_graded.csv", "alike.csv", "report.json", "junit.xml", "feedback", "gradescope"}
    rows = list(csv.DictReader((tmp_path / "out" / "report.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 12
    assert all(None not in row for row in rows)  # no cell too many: a mistake's name may have commas


# ---- worksheets, hunts and tests ---------------------------------------------------------------------------------------


def filled(kind, student, change=None, form=worksheet.form):
    """A form with every number right to four decimals, and perhaps some of them changed."""
    made = worked(worksheet.sheet(kind, student))
    text = form(made)
    for row, t, value in change or ():
        lines = list(csv.reader(text.splitlines()))
        next(line for line in lines if line[0] == row)[t + 1] = value
        text = "\n".join(",".join(line) for line in lines)
    return text


@pytest.mark.parametrize("kind", worksheet.KINDS)
def test_a_worksheet_that_is_worked_with_four_decimals_is_right(kind):
    """Each number from the rounded ones before it, as a student does it."""
    for number in range(40):
        made = worked(worksheet.sheet(kind, f"s{number}"))
        rows = [row for part in (made.forward, made.backward, made.gradients) for row in part]
        own = {row.name: np.array(row.values) for row in rows}
        for _ in range(30):  # until nothing changes: rows depend on each other's steps
            own = {name: np.round(v, 4) for name, v in followed(made, own).items()}
        table = [["worksheet", kind], ["student", f"s{number}"], *([k, *v] for k, v in own.items())]
        judged = handins.judge(f"worksheet/{kind}", "\n".join(",".join(map(str, row)) for row in table))
        assert judged.share == 1, judged


@pytest.mark.parametrize("kind", worksheet.KINDS)
def test_a_slip_in_a_worksheet_costs_one_number(kind):
    made = worked(worksheet.sheet(kind, "ada"))
    right = {row.name: np.array(row.values) for part in (made.forward, made.backward, made.gradients) for row in part}
    count = sum(map(len, right.values()))
    own, slip = {k: v.copy() for k, v in right.items()}, "h" if kind == "lstm" else "a"
    for _ in range(30):
        own = followed(made, own)
        own[slip][0] += 0.25
        own[slip][0] = right[slip][0] + 0.25
    assert sum((np.abs(own[k] - right[k]) > 1e-3).sum() for k in own) > 5  # nearly all that follow
    table = [["worksheet", kind], ["student", "ada"], *([k, *v] for k, v in own.items())]
    judged = handins.judge(f"worksheet/{kind}", "\n".join(",".join(map(str, row)) for row in table))
    assert judged.share == pytest.approx((count - 1) / count)
    assert sum("right is" in line for line in judged.lines) == 1


def test_a_worksheet_comes_back_from_any_spreadsheet():
    text = filled("bptt", "ada")
    german = "\n".join(";".join(cell.replace(".", ",") for cell in row) for row in csv.reader(text.splitlines()))
    for form in (text, "\ufeff" + german, german.replace(";", "\t"), text.replace("-", "\u2212"), text + "\n\n,,,\n"):
        assert handins.which("sheet.csv", form) == ["worksheet/bptt"]
        assert handins.judge("worksheet/bptt", form).share == 1
    empty = handins.judge("worksheet/bptt", worksheet.form(worksheet.sheet("bptt", "ada")))
    assert empty.share == 0
    assert "is not filled in" in empty.lines[2]
    for wrong, said in (
        (text.replace("student,ada", "student,"), "the id"),
        (filled("bptt", "ada", [("a", 1, "x1")]), "a number"),
    ):
        with pytest.raises(ValueError, match=said):
            handins.judge("worksheet/bptt", wrong)


NEVER = "def gradient_test(forward, backward):\n    pass\n"


def test_a_class_hands_in_worksheets_hunts_and_tests(tmp_path):
    lines, reason, _ = hunting.answer("lstm", hunt.hunt("lstm", "ada").number)
    own = hunt.hunt("lstm", "bo")
    other = "A" if hunting.answer("lstm", own.number)[1] != "A" else "B"
    files = {
        "ada/bptt_ada.csv": filled("bptt", "ada"),
        "ada/lstm_bug_ada.txt": hunt.handed_in(hunt.hunt("lstm", "ada"), "ada", lines[0], reason),
        "ada/test_gru.py": NEVER,
        "ada/notes.txt": "what I did on sunday",
        "bo/bptt_bo.csv": filled("bptt", "bo", [("a", 0, "9")]),
        "bo/lstm_bug_bo.txt": hunt.handed_in(own, "bo", hunting.answer("lstm", own.number)[0][0], other),
        "bo/06/ex1.py": solution("06/ex1"),
        "cy/bptt.csv": "worksheet,bptt\nstudent,\n",
        "cy/bptt_cy.html": "<!doctype html>",
        "dee/homework.py": solution("06/ex1") + "\n\n" + NEVER,
    }
    for name, text in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(text)
    handed = collect(tmp_path / "in")
    grades = grading.grade(handed, only=["06/ex1", "worksheet/bptt", "hunt/lstm", "test/gru"])
    points = {(g.student, g.result.exercise): g.points for g in grades}
    assert points["ada", "worksheet/bptt"] == points["ada", "hunt/lstm"] == points["bo", "06/ex1"] == 10
    assert points["ada", "test/gru"] == 0
    assert 9 < points["bo", "worksheet/bptt"] < 10
    assert points["bo", "hunt/lstm"] == 5
    assert points["cy", "worksheet/bptt"] == 0
    assert points["dee", "06/ex1"] == 10  # a file with an exercise and a test
    assert handed.handed["dee"].keys() == {"06/ex1", "test/lstm"}
    lost = {one.file: one.because for one in handed.left_out}
    assert lost.keys() == {"notes.txt", "bptt_cy.html"}
    assert "with the form beside it" in lost["bptt_cy.html"]
    everything = {g.result.exercise for g in grading.grade(handed) if g.result.exercise in handins.HANDINS}
    assert everything == {"worksheet/bptt", "hunt/lstm", "test/gru", "test/lstm"}
    said = reports.feedback("ada", [g for g in grades if g.student == "ada"], [])
    assert "made for ada" in said
    assert [p.students for p in same_numbers(made_for(grades))] == []
    (tmp_path / "in" / "cy" / "bptt.csv").write_text(filled("bptt", "ada"))
    grades = grading.grade(collect(tmp_path / "in"), only=["worksheet/bptt"])
    assert [(p.students, p.how) for p in same_numbers(made_for(grades))] == [(("ada", "cy"), "both are made for ada")]


def test_each_student_gets_one_of_a_pool_and_is_graded_on_it(tmp_path, capsys):
    who = [f"s{k}" for k in range(60)]
    (tmp_path / "who.csv").write_text("\n".join(["id", *who]))
    words = ["course", "class", str(tmp_path / "who.csv"), "--out", str(tmp_path / "class")]
    assert main([*words, "--pool", "06/ex1", "06/ex3", "--pool", "hunt/lstm", "hunt/gru", "hunt/rnn"]) == 0
    assigned = assigning.read(tmp_path / "class" / "assigned.csv")
    assert list(assigned) == who
    for place, pool in enumerate((("06/ex1", "06/ex3"), ("hunt/lstm", "hunt/gru", "hunt/rnn"))):
        counts = Counter(names[place] for names in assigned.values())
        assert set(counts) == set(pool)
        assert min(counts.values()) > 60 / len(pool) / 3
    later = assigning.assign([*who[5:], "late"], (("06/ex1", "06/ex3"), ("hunt/lstm", "hunt/gru", "hunt/rnn")))
    assert {s: later[s] for s in who[5:]} == {s: assigned[s] for s in who[5:]}
    for student in who[:4]:
        for name in ("06/ex1", "06/ex3"):
            path = tmp_path / "in" / student / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(solution(name))
    grades = grading.grade(tmp_path / "in", assigned=assigned)
    assert {(g.student, g.result.exercise) for g in grades} == {(s, name) for s in who[:4] for name in assigned[s]}
    assert all(g.points == (10 if g.result.exercise.startswith("06") else 0) for g in grades)
    assert assigning.of("s3_4711", assigned) == assigned["s3"]
    assert assigning.of("s3 Smith_99_assignsubmission_file", assigned) == assigned["s3"]
    assert assigning.of("nobody", assigned) is None
    (tmp_path / "wrong.csv").write_text("student,work 1\nada,99/ex9\n")
    with pytest.raises(ValueError, match="99/ex9"):
        assigning.read(tmp_path / "wrong.csv")
    with pytest.raises(ValueError, match="no exercise"):
        assigning.assign(["ada"], [["hunt/none"]])


def test_without_a_word_the_lessons_that_were_handed_in_are_graded(tmp_path):
    """Not all sixteen: a class that hands in one lesson has not failed in fifteen."""
    for student, name in (("ada", "06/ex1.py"), ("bo", "notes.pdf")):
        path = tmp_path / student / name
        path.parent.mkdir(parents=True)
        path.write_text(solution("06/ex1"))
    grades = grading.grade(tmp_path, seed=3)
    exercises = ["06/ex1", "06/ex2", "06/ex3"]
    assert [(g.student, g.result.exercise) for g in grades] == [(s, e) for s in ("ada", "bo") for e in exercises]
    assert sum(g.points for g in grades) == 10
