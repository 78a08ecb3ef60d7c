"""For teachers: whatever a class hands in is graded or listed with a reason, and points are fair."""

import ast
import csv
import io
import json
import re
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from scratchnet.commands.cli import main
from scratchnet_course import hunt, worksheet
from scratchnet_course.checking import check_code
from scratchnet_course.exercises import EXERCISES, find
from scratchnet_instructor import classroom, gradebooks, grading, hunting, lateness, notebooks, reports, solution
from scratchnet_instructor.alike import alike
from scratchnet_instructor.collecting import collect, exercises_of
from scratchnet_instructor.uploads import Upload, uploads

from school import Person, export, notebook, people, zipped

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
    code = notebooks.part(notebooks.code_cells(path), "step_backward")
    assert "SystemExit" not in code
    assert "return None" not in code
    assert "table['k'] = scale" in code
    grades = grading.grade(tmp_path / "in", only=["06"])
    assert [g.result.points for g in grades] == [10, 10, 10], "\n".join(str(g.result) for g in grades)


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


def renamed(code):
    """A copy: its own names are others, and comments and blank lines are gone."""
    tree = ast.parse(code)
    own = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in own:
            node.id += "_"
        elif isinstance(node, ast.arg) and node.arg in own:
            node.arg += "_"
    return ast.unparse(tree)


def test_copies_are_found_and_strangers_are_not_alike():
    """851 answers to 61 exercises, each written on its own: right ones look alike, and are no copies."""
    by_exercise = {}
    for path in sorted((Path(__file__).parent / "strangers").glob("lesson*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            by_exercise.setdefault(row["exercise"], {})[row["name"], row["exercise"]] = row["code"]
    wrongly = [pair for texts in by_exercise.values() for pair in alike(texts)]
    pairs = sum(len(texts) * (len(texts) - 1) // 2 for texts in by_exercise.values())
    assert len(wrongly) <= 0.002 * pairs, wrongly  # two in a thousand
    missed = [
        (exercise, who[0])
        for exercise, texts in by_exercise.items()
        for who, code in texts.items()
        if not any({*p.students} == {"copy", who[0]} for p in alike({**texts, ("copy", exercise): renamed(code)}))
    ]
    assert len(missed) <= 20, missed  # short ones, in which nothing is rare


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
    points = np.genfromtxt(tmp_path / "out" / "report.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert len(points) == 12
