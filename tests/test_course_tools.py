"""The course's tools: the command line, bug hunts, the grading of tests, worksheets, and the grader of many submissions."""

import csv
import json
import linecache
import re
import shutil
import time
import tomllib
import types
import xml.etree.ElementTree as ET
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from scratchnet.cells import lstm
from scratchnet.commands import cli
from scratchnet.commands.cli import main
from scratchnet.gradcheck import GradientError, check_cell
from scratchnet_course import check, command, hunt, keys, lessons, testing, watching, worksheet
from scratchnet_course.checking import check_code
from scratchnet_course.diagnose import diagnose
from scratchnet_course.exercises import EXERCISES, find
from scratchnet_instructor import grading, hunting, making, mistakes, reports, solution, worked

COURSE = Path(__file__).parent.parent / "course"


def entries(distribution):
    """What entry_points answers where this distribution is installed and no other."""
    project = tomllib.loads((COURSE / distribution / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return lambda group: [
        EntryPoint(name, value, group) for name, value in project["entry-points"].get(group, {}).items()
    ]


@pytest.fixture(autouse=True)
def student(monkeypatch, tmp_path):
    """A machine with the student's distribution, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "entry_points", entries("students"))
    monkeypatch.setattr(command, "entry_points", lambda group: [])
    monkeypatch.setattr(keys, "entry_points", entries("students"))


@pytest.fixture
def instructor(student, monkeypatch):
    """A machine with the instructor's distribution, too."""
    monkeypatch.setattr(command, "entry_points", entries("instructors"))
    monkeypatch.setattr(keys, "entry_points", entries("instructors"))


# ---- a student's first hour --------------------------------------------------------------------------------------------


def test_a_new_user_starts_a_lesson_and_solves_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["course", "list"]) == 0
    said = capsys.readouterr().out
    assert "06  The LSTM backward" in said
    assert "06/ex2  All steps back" in said
    assert main(["course", "start", "6"]) == 0
    names = {p.name for p in (tmp_path / "06").iterdir()}
    assert {"ex1.py", "ex2.py", "ex3.py", "06_lstm_backward.py", "06_lstm_backward.ipynb"} == names
    assert main(["course", "check", "06/ex1.py"]) == 1
    assert "not written yet" in capsys.readouterr().out
    mine = tmp_path / "06" / "ex1.py"
    mine.write_text(solution("06/ex1").replace("into_c = dc_next + o", "into_c = o"), encoding="utf-8")
    assert main(["course", "check", "06/ex1"]) == 1
    said = capsys.readouterr().out
    assert "mistake: dc_next is not added" in said
    assert "lesson 06: Two sources meet in c" in said
    mine.write_text(solution("06/ex1"), encoding="utf-8")
    assert main(["course", "check", "06/ex1.py"]) == 0
    assert "06/ex1  RIGHT  10 of 10 points" in capsys.readouterr().out
    assert main(["course", "start", "06"]) == 0
    assert "is there already and stays as it is" in capsys.readouterr().out
    assert "into_c" in mine.read_text(encoding="utf-8")
    assert main(["course", "check", "06"]) == 1  # the others are not written
    assert capsys.readouterr().out.count("NOT YET") == 2


def test_a_file_is_checked_from_inside_its_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "06").mkdir()
    (tmp_path / "06" / "ex1.py").write_text(solution("06/ex1"), encoding="utf-8")
    monkeypatch.chdir(tmp_path / "06")
    assert main(["course", "check", "ex1.py"]) == 0
    assert "06/ex1  RIGHT" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(6))
def test_an_unshifted_softmax_is_wrong_and_a_log_sum_exp_right(seed, instructor):
    head = "import numpy as np\ndef softmax_loss(y, labels):\n    n = np.arange(len(y))\n"
    unshifted = "    p = np.exp(y)\n    p /= p.sum(1, keepdims=True)\n    L = -np.mean(np.log(p[n, labels]))\n"
    rest = "    p[n, labels] -= 1\n    return L, p / len(y)\n"
    shifted = "    m = y.max(1, keepdims=True)\n    lse = m + np.log(np.exp(y - m).sum(1, keepdims=True))\n    p = np.exp(y - lse)\n    L = np.mean(lse[:, 0] - y[n, labels])\n"
    assert not check_code(find("01/ex4"), head + unshifted + rest, seed).right
    assert check_code(find("01/ex4"), head + shifted + rest, seed).right


def test_an_installed_package_has_more_in_its_folders(tmp_path, monkeypatch, capsys):
    """Installing compiles every .py of a package, lessons too, into __pycache__: no part of a lesson."""
    shutil.copytree(command.material(), tmp_path / "student", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "student" / "06" / "__pycache__").mkdir()
    (tmp_path / "student" / "__pycache__").mkdir()
    monkeypatch.setattr(command, "material", lambda: tmp_path / "student")
    assert main(["course", "start", "06", "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "06" / "__pycache__").exists()
    assert main(["course", "list"]) == 0
    assert "__pycache__" not in capsys.readouterr().out
    assert "__pycache__" not in command.numbers()


def test_hints_come_one_by_one_and_solutions_with_the_instructor(capsys):
    hints = find("06/ex2").hints
    for count in range(1, len(hints) + 1):  # one more each time
        assert main(["course", "hint", "06/ex2"]) == 0
        said = capsys.readouterr().out
        assert [h in said for h in hints] == [k < count for k in range(len(hints))]
        assert ("there are no more hints" in said) == (count == len(hints))
    assert main(["course", "hint", "06/ex2", "--number", str(len(hints))]) == 0
    assert hints[-1] in capsys.readouterr().out
    for words in (["solution", "06/ex2"], ["grade", "folder", "--out", "report"]):
        assert main(["course", *words]) == 1
        shown = capsys.readouterr()
        assert "solutions and grading come with the instructor's distribution: pip install './course/in" in shown.err
        assert shown.out == ""
    with pytest.raises(SystemExit):
        main(["course", "worksheet", "bptt", "--student", "1", "--solution"])
    assert "unrecognized arguments: --solution" in capsys.readouterr().err


def test_course_alone_shows_what_is_done_and_what_comes_next(tmp_path, capsys, monkeypatch):
    def shown():
        assert main(["course"]) == 0
        return capsys.readouterr().out

    assert "0 of 610 points" in shown()
    assert "next: 00/ex1" in shown()
    assert not (tmp_path / "progress.json").exists()  # looking changes nothing
    assert main(["course", "start", "06"]) == 0
    main(["course", "check", "06/ex1.py"])  # not written yet: no try
    wrong = solution("06/ex1").replace("into_c = dc_next + o", "into_c = o")
    (tmp_path / "06" / "ex1.py").write_text(wrong, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "06")
    main(["course", "check", "ex1.py"])
    main(["course", "check", "ex1.py"])
    said = shown()  # from the lesson's folder, too
    assert re.search(r"06  The LSTM backward, term by term +2x   -   -  +2 of 30", said)
    assert "next: 06/ex1  One step back (tried 2 times)" in said
    monkeypatch.chdir(tmp_path)
    (tmp_path / "06" / "ex1.py").write_text(solution("06/ex1"), encoding="utf-8")
    main(["course", "check", "06/ex1.py", "--json"])  # for programs: no try
    assert "2 of 610 points" in shown()
    main(["course", "check", "06/ex1.py"])
    said = shown()
    assert re.search(r"06  The LSTM backward, term by term +ok   -   -  +10 of 30", said)
    assert "next: 06/ex2" in said
    whole = {e: {"tries": 1, "best": 10.0, "status": "right", "hints": 0} for e in EXERCISES}
    (tmp_path / "progress.json").write_text(json.dumps(whole), encoding="utf-8")
    assert "all done" in shown()


@pytest.mark.parametrize("text", ["", "[]", '{"06/ex1": 3}', '{"06/ex1": {"tries": "x"}}', '{"06/ex1": {"new": 1}}'])
def test_a_broken_progress_file_is_put_aside(text, tmp_path, capsys):
    (tmp_path / "progress.json").write_text(text, encoding="utf-8")
    assert main(["course"]) == 0
    assert "0 of 610 points" in capsys.readouterr().out
    assert (tmp_path / "progress.broken.json").read_text(encoding="utf-8") == text


def test_a_file_is_checked_whenever_it_is_saved(tmp_path, capsys, monkeypatch):
    path = tmp_path / "06" / "ex1.py"
    path.parent.mkdir()
    path.write_text("def step_backward(**a):\n    return 1\n", encoding="utf-8")
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 2:
            path.unlink()  # as some editors do
        if len(looks) == 4:
            path.write_text(solution("06/ex1"), encoding="utf-8")
        if len(looks) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching.saves, "__defaults__", (sleep,))
    assert main(["course", "watch", "06/ex1.py"]) == 0
    said = capsys.readouterr().out
    assert said.count("save ex1.py to check it again") == 2
    assert said.index("NOT YET") < said.index("RIGHT")
    assert main(["course", "watch", "06/ex2.py"]) == 1  # not there
    assert "ex2.py" in capsys.readouterr().err


def test_a_notebook_shows_a_verdict_as_text_that_stays_text(tmp_path):
    good = check_code(find("06/ex1"), solution("06/ex1"))._repr_markdown_()
    assert good.startswith("**06/ex1: right, 10 of 10 points**\n\n~~~~text\n")
    bad = check_code(find("06/ex1"), "raise ValueError('~~~~\\n# a heading <b>')")._repr_markdown_()
    assert bad.startswith("**06/ex1: not yet, 0 of 10 points**")
    assert bad.count("~~~~") == 2


def test_the_course_says_what_to_install_where_it_is_missing(capsys, monkeypatch):
    monkeypatch.setattr(cli, "entry_points", lambda group: [])
    for words in ([], ["list"], ["check", "06/ex1.py", "--seed", "3"]):
        assert main(["course", *words]) == 1
        assert "the course is a separate distribution: pip install './course/students'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "course" in capsys.readouterr().out


@pytest.mark.parametrize("kind", worksheet.KINDS)
def test_the_instructor_writes_sheets_with_and_without_answers(kind, tmp_path, instructor):
    for words in ([], ["--solution"]):
        assert main(["course", "worksheet", kind, "--student", "1 2", "--out", str(tmp_path), *words]) == 0
    sheet = worksheet.sheet(kind, "1 2")
    for name, made in ((f"{kind}_1_2.html", sheet), (f"{kind}_1_2_solution.html", worked.worked(sheet))):
        assert (tmp_path / name).read_text(encoding="utf-8") == worksheet.page(made)


def test_the_instructor_sees_solutions(capsys, instructor):
    for name in EXERCISES:
        assert main(["course", "solution", name]) == 0
        shown = capsys.readouterr().out
        assert check_code(find(name), shown).right


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "06/ex9.py"], "there is no exercise '06/ex9.py': that lesson has 06/ex1"),
        (["check", "99/ex1.py"], "there are exercises for the lessons"),
        (["check", "06/ex1.py"], "06/ex1.py: No such file or directory"),
        (["check", "06"], "there is no file of lesson 06 here"),
        (["start", "99"], "there is no lesson '99': there are"),
        (["hint", "06/ex1", "--number", "9"], "--number is 9 but 06/ex1 has 3 hints"),
        (["bug", "lsmt", "--student", "1"], "there is no hunt in 'lsmt': expected one of"),
        (["bug", "lstm", "--student", "1", "--line", "3"], "an answer is both"),
        (["bug", "lstm", "--number", "99"], "--number is 99, but lstm has"),
        (["bug", "lstm", "--student", "1", "--line", "3", "--reason", "Z"], "the reason is 'Z': expected one of A, B"),
        (["worksheet", "gru", "--student", "1"], "there is no worksheet 'gru': expected one of bptt, lstm"),
        (["grade", "nowhere"], "nowhere is not a folder of submissions"),
    ],
)
def test_the_commands_answer_bad_input(words, message, tmp_path, monkeypatch, capsys, instructor):
    monkeypatch.chdir(tmp_path)
    assert main(["course", *words]) == 1
    assert message in capsys.readouterr().err


# ---- bug hunts ---------------------------------------------------------------------------------------------------------


def module_of(code):
    module = types.ModuleType("hunted")
    exec(compile(code, "hunted.py", "exec"), module.__dict__)
    return module


def row_of(made):
    """The mistake of a hunt: which of the cell's rows gives its code."""
    rows = mistakes.of_cell(made.cell)
    (row,) = [row for row in rows if hunt.without_comments(mistakes.source(row)) == made.code]
    return row


def letter_of(made):
    return hunt.letter(made.reasons.index(row_of(made).name))


def test_every_student_has_a_real_bug_of_their_own():
    found = {}
    for student in range(30):
        made = hunt.hunt("lstm", str(student))
        assert made == hunt.hunt("lstm", str(student))
        module = module_of(made.code)
        with pytest.raises(GradientError):
            check_cell(lstm, module.forward, module.backward)
        assert "#" not in "".join(made.code.split('"""')[2:]).replace('"#', "")
        assert len(set(made.reasons)) == len(made.reasons) == hunt.CHOICES
        found.setdefault(made.number, []).append(student)
    assert len(found) > 8
    assert len({letter_of(hunt.hunt("lstm", str(s))) for s in range(30)}) > 3  # not always the same letter


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_answer_is_the_line_that_was_changed(cell):
    for student in "abcdef":
        made = hunt.hunt(cell, student)
        row = row_of(made)
        wrong = row.edits[0][1].splitlines()[0].strip()
        lines, changed = made.code.splitlines(), hunting.lines_of(row)
        shown = "\n".join(lines[min(changed) - 1 : max(changed)])
        assert wrong.split("#")[0].strip()[:25] in shown or len(row.edits) > 1
        right, said = hunt.judge(made, changed[0], letter_of(made))
        assert right
        assert said.startswith("right")
        other = hunt.letter((made.reasons.index(row.name) + 1) % hunt.CHOICES)
        for line, reason in ((changed[0], other), (1, letter_of(made)), (1, other)):
            right, said = hunt.judge(made, line, reason)
            assert not right
            assert row.name not in said  # a wrong answer gives nothing away


def test_the_hunt_on_the_command_line(tmp_path, capsys):
    for which in (["--student", "12345"], ["--number", "3"]):
        made = hunt.hunt("lstm", "12345") if which[0] == "--student" else hunt.of_cell("lstm")[2]
        assert main(["course", "bug", "lstm", *which, "--out", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        assert (tmp_path / f"lstm_bug_{which[1]}.py").read_text(encoding="utf-8") == made.code
        assert all(f"  {hunt.letter(k)}  {reason}" in said for k, reason in enumerate(made.reasons))
        assert " ".join(which) in said
        line = str(hunting.lines_of(row_of(made))[0])
        assert main(["course", "bug", "lstm", *which, "--line", line, "--reason", letter_of(made)]) == 0
        assert main(["course", "bug", "lstm", *which, "--line", "2", "--reason", "A"]) == 1


# ---- write the test ----------------------------------------------------------------------------------------------------

GOOD = """
from scratchnet.cells import lstm
from scratchnet.gradcheck import check_cell

def gradient_test(forward, backward):
    check_cell(lstm, forward, backward)
"""
WEAK = """
import numpy as np

def gradient_test(forward, backward):
    rng = np.random.default_rng(0)
    x, zero = rng.standard_normal((1, 2, 3)), np.zeros((2, 4))
    params = [rng.standard_normal(s) for s in ((3, 16), (4, 16), (16,))]
    y, cache = forward(x, zero, zero, *params)
    grads = backward(np.ones_like(y), cache)
    W, eps = params[0], 1e-6
    for index in np.ndindex(*W.shape):
        kept = W[index]
        W[index] = kept + eps
        above = forward(x, zero, zero, *params)[0].sum()
        W[index] = kept - eps
        below = forward(x, zero, zero, *params)[0].sum()
        W[index] = kept
        assert abs((above - below) / (2 * eps) - grads.dW_x[index]) < 1e-6
"""


def test_a_students_test_is_graded_by_what_it_catches():
    good = testing.grade_test(GOOD)
    assert good.share == 1
    assert not good.missed
    assert len(good.caught) >= 15
    weak = testing.grade_test(WEAK)
    assert 0 < weak.share < 0.6
    forgotten = next(one for one in hunt.of_cell("lstm") if row_of(one).name == "dh_next is not added")
    assert forgotten.number in weak.missed
    assert f"missed: number {', '.join(map(str, weak.missed))}" in str(weak)
    assert f"scratchnet course bug lstm --number {weak.missed[0]}" in str(weak)
    never = testing.grade_test("def gradient_test(forward, backward):\n    pass\n", cell="rnn")
    assert (never.share, never.accepts_right) == (0, True)
    always = testing.grade_test("def gradient_test(forward, backward):\n    assert False\n")
    assert always.share == 0
    assert "a test that always fails catches nothing" in str(always)
    assert "defines no function gradient_test" in str(testing.grade_test("x = 1\n"))
    assert "NameError" in str(testing.grade_test("def gradient_test(forward, backward):\n    nothing\n"))
    loop = testing.grade_test("def gradient_test(forward, backward):\n    while True: pass\n", cell="rnn", seconds=1.0)
    assert "timeout" in str(loop)


# ---- worksheets --------------------------------------------------------------------------------------------------------


def by_name(rows):
    return {row.name: row.values for row in rows}


def test_the_rnn_worksheet_is_worked_by_hand():
    """Every number, with nothing but arithmetic."""
    made = worked.worked(worksheet.sheet("bptt", "12345"))
    weights, given = dict(made.weights), by_name(made.given)
    w, u, b, h = weights["w"], weights["u"], weights["b"], weights["h before t=0"]
    forward, backward = by_name(made.forward), by_name(made.backward)
    states = [h]
    for t in range(3):
        a = w * given["x"][t] + u * states[-1] + b
        assert forward["a"][t] == pytest.approx(a)
        states.append(np.tanh(a))
        assert forward["h"][t] == pytest.approx(states[-1])
    da, totals = 0.0, {"dw": 0.0, "du": 0.0, "db": 0.0}
    for t in (2, 1, 0):
        dh_next = u * da
        dy = states[t + 1] - given["y"][t]
        da = (dy + dh_next) * (1 - states[t + 1] ** 2)
        for name, value in {"dy": dy, "dh_next": dh_next, "dh": dy + dh_next, "da": da}.items():
            assert backward[name][t] == pytest.approx(value, abs=1e-12), (name, t)
        totals["dw"] += da * given["x"][t]
        totals["du"] += da * states[t]
        totals["db"] += da
    assert {name: values[0] for name, values in by_name(made.gradients).items()} == pytest.approx(totals)


def test_the_lstm_worksheet_is_worked_by_hand():
    made = worked.worked(worksheet.sheet("lstm", "abc"))
    weights, x = dict(made.weights), by_name(made.given)["x"]
    forward, backward = by_name(made.forward), by_name(made.backward)
    target = float(made.equations[3].split("y = ")[1].split(";")[0])
    h = c = 0.0
    kept = []
    for t in range(3):
        a = {k: weights[f"w_{k}"] * x[t] + weights[f"u_{k}"] * h + weights[f"b_{k}"] for k in "ifgo"}
        i, f, o = (1 / (1 + np.exp(-a[k])) for k in "ifo")
        g, before = np.tanh(a["g"]), (h, c)
        c = f * c + i * g
        h = o * np.tanh(c)
        kept.append((i, f, g, o, c, *before))
        for name, value in {"i": i, "f": f, "g": g, "o": o, "c": c, "h": h}.items():
            assert forward[name][t] == pytest.approx(value), (name, t)
    dh_next = dc_next = 0.0
    sums = dict.fromkeys((f"d{n}_{k}" for n in "wub" for k in "ifgo"), 0.0)
    for t in (2, 1, 0):
        i, f, g, o, c, h_before, c_before = kept[t]
        dh = dh_next + (h - target if t == 2 else 0.0)
        dc = dh * o * (1 - np.tanh(c) ** 2) + dc_next
        da = {
            "i": dc * g * i * (1 - i),
            "f": dc * c_before * f * (1 - f),
            "g": dc * i * (1 - g**2),
            "o": dh * np.tanh(c) * o * (1 - o),
        }
        for name, value in {
            "dh": dh,
            "dc": dc,
            "dc_next": dc_next,
            "dh_next": dh_next,
            **{f"da_{k}": v for k, v in da.items()},
        }.items():
            assert backward[name][t] == pytest.approx(value, abs=1e-12), (name, t)
        dh_next, dc_next = sum(weights[f"u_{k}"] * da[k] for k in "ifgo"), dc * f
        for k in "ifgo":
            sums[f"dw_{k}"] += da[k] * x[t]
            sums[f"du_{k}"] += da[k] * h_before
            sums[f"db_{k}"] += da[k]
    assert {name: values[0] for name, values in by_name(made.gradients).items()} == pytest.approx(sums)


@pytest.mark.parametrize("kind", worksheet.KINDS)
def test_a_sheet_is_the_students_own_has_two_decimals_and_no_answers(kind):
    first, again, other = (worksheet.sheet(kind, student) for student in ("1", "1", "2"))
    assert first == again != other
    for _, value in first.weights:
        assert value == round(value, 2)
    filled = worked.worked(first)
    blank, solved = worksheet.page(first), worksheet.page(filled)
    assert not [v for row in (*first.forward, *first.backward, *first.gradients) for v in row.values if v is not None]
    answers = [f"{v:.4f}" for row in (*filled.forward, *filled.backward, *filled.gradients) for v in row.values if v]
    assert len(answers) > 20
    assert not any(answer in blank for answer in answers)
    assert all(answer in solved for answer in answers)
    assert "http" not in blank  # opens without a network


# ---- grading -----------------------------------------------------------------------------------------------------------


def submit(folder, student, exercise, code):
    path = folder / student / f"{exercise}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")


def test_an_answer_may_use_the_library():
    code = "import numpy as np\nfrom scratchnet.cells import lstm\n\ndef step_backward(**a):\n    return lstm.gates_backward(**a)\n"
    result = check_code(
        find("06/ex1"),
        code.replace(
            "lstm.gates_backward(**a)",
            "lstm.gates_backward(a['dh'], a['dc_next'], a['i'], a['f'], a['g'], a['o'], a['c_prev'], a['c'])",
        ),
    )
    assert result.right, str(result)


@pytest.mark.parametrize(
    "nasty",
    [
        "print('\\ud800')\n",
        "import numpy\nnumpy.savez = lambda *a, **k: None\n",
        "import json\njson.dumps = lambda *a: '[]'\n",
        "import os\nopen('report.json', 'w').write('{}')\nos._exit(0)\n",
        "\ufeffimport os\n",
    ],
)
def test_no_submission_costs_the_others_their_grades(nasty, tmp_path):
    submit(tmp_path / "in", "alice", "06/ex1", solution("06/ex1"))
    submit(tmp_path / "in", "mallory", "06/ex1", nasty + solution("06/ex1"))
    grades = {g.student: g.result for g in grading.grade(tmp_path / "in", only=["06/ex1"])}
    assert grades["alice"].points == 10
    assert len(reports.write([grading.Grade(s, r) for s, r in grades.items()], tmp_path / "out")) == 9
    assert "mallory" in (tmp_path / "out" / "report.csv").read_text(encoding="utf-8")


def test_files_are_read_as_python_reads_them(tmp_path):
    """With the byte order mark that Notepad writes; and what is no UTF-8 is named."""
    path = tmp_path / "ex1.py"
    path.write_bytes(b"\xef\xbb\xbf" + solution("06/ex1").encode())
    assert check("06/ex1", path).right
    path.write_bytes("# \xe9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"ex1\.py cannot be read as Python, which is UTF-8"):
        check("06/ex1", path)


def diagnosed(name, answer_of):
    """The diagnosis of a function of the right answers."""
    key = making.key(name, 1)
    answers = [answer_of(case.right) for row in key.cases for case in row]
    return diagnose(EXERCISES[name], key, answers)


def test_lists_are_arrays_where_one_output_is_asked_for():
    for shaped in (list, tuple, lambda v: [float(one) for one in v], lambda v: [v], lambda v: {"other": v}):
        assert diagnosed("13/ex1", lambda right, shaped=shaped: shaped(right["forecast"])).right
    for name in ("00/ex2", "03/ex2"):  # also where there is one step
        assert diagnosed(name, lambda right: list(right["y"])).right
    assert not diagnosed("13/ex1", lambda right: [1, [2, 3]]).right


def test_a_constant_answer_has_no_name():
    for name in ("06/ex3", "04/ex1"):
        for constant in (0.25, 3.5):
            found = diagnosed(
                name, lambda right, constant=constant: {k: np.full(np.shape(v), constant) for k, v in right.items()}
            )
            assert not found.right
            assert found.names == (), str(found)


def test_a_notebooks_function_brings_what_it_uses(monkeypatch):
    space = {"__name__": "__main__"}
    code = (
        "import numpy as np\nimport math as m\nfrom scratchnet.elementwise import d_tanh\n\ndef slope(s):\n    return s * (1 - s) * m.cos(0)\n\n"
        "def step_backward(dh, dc_next, i, f, g, o, c_prev, c):\n    t = np.tanh(c)\n    dc = dh * o * d_tanh(t) + dc_next\n"
        "    return dc * g * slope(i), dc * c_prev * slope(f), dc * i * d_tanh(g), dh * t * slope(o), dc * f\n"
    )
    linecache.cache["<cell>"] = (len(code), None, code.splitlines(keepends=True), "<cell>")
    exec(compile(code, "<cell>", "exec"), space)
    assert check("06/ex1", space["step_backward"]).right


def test_an_answer_is_not_to_be_had_by_import():
    code = "from scratchnet_course.exercises import find\n\ndef step_backward(**a):\n    return find('06/ex1').right(**a)\n"
    result = check_code(find("06/ex1"), code)
    assert result.status == "raised"
    assert "No module named 'scratchnet_course'" in str(result)


def test_many_submissions_are_graded(tmp_path, monkeypatch):
    """Nothing 0, the solution 100, a mistake less and by its name, a loop for ever costs its own time only."""
    monkeypatch.setitem(EXERCISES, "06/ex1", replace(EXERCISES["06/ex1"], seconds=3.0))
    folder, own = tmp_path / "in", ["06/ex1", "06/ex2", "06/ex3"]
    for name in own:
        submit(folder, "alice", name, solution(name))
    submit(folder, "bob", "06/ex1", solution("06/ex1").replace("into_c = dc_next + o", "into_c = o"))
    submit(folder, "bob", "06/ex2", "raise ValueError('\\x00 oops')")
    submit(folder, "carol", "06/ex1", "def step_backward(**a):\n    while True: pass\n")
    submit(folder, "carol", "06/ex3", solution("06/ex3"))
    (folder / "dave").mkdir()
    (folder / "erin_06_ex3.py").write_text(solution("06/ex3"), encoding="utf-8")
    started = time.perf_counter()
    grades = grading.grade(folder, only=["06"], workers=3)
    assert time.perf_counter() - started < 30
    points = {}
    for g in grades:
        points.setdefault(g.student, {})[g.result.exercise] = g.result.points
    assert points == {
        "alice": dict.fromkeys(own, 10.0),
        "bob": {**dict.fromkeys(own, 0.0), "06/ex1": 2.0},  # da_o, one of five, is right without dc_next
        "carol": {**dict.fromkeys(own, 0.0), "06/ex3": 10.0},
        "dave": dict.fromkeys(own, 0.0),
        "erin": {**dict.fromkeys(own, 0.0), "06/ex3": 10.0},
    }
    by_key = {(g.student, g.result.exercise): g.result for g in grades}
    assert by_key["bob", "06/ex1"].names == ("dc_next is not added",)
    assert by_key["carol", "06/ex1"].status == "timeout"
    assert by_key["dave", "06/ex1"].status == "absent"
    out = tmp_path / "out"
    reports.write(grades, out)
    with (out / "report.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15
    (row,) = [r for r in rows if r["student"] == "bob" and r["exercise"] == "06/ex1"]
    assert row["mistakes"] == "dc_next is not added"
    assert row["file"].endswith("bob/06/ex1.py") or row["file"].endswith("bob\\06\\ex1.py")
    assert len(row["sha256"]) == 64
    whole = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert len(whole) == 15
    suites = ET.parse(out / "junit.xml").getroot()
    assert {s.get("name"): int(s.get("failures")) for s in suites} == {
        "alice": 0,
        "bob": 3,
        "carol": 2,
        "dave": 3,
        "erin": 2,
    }
    scope = json.loads((out / "gradescope" / "bob.json").read_text(encoding="utf-8"))
    assert sum(t["score"] for t in scope["tests"]) == 2
    assert sum(t["max_score"] for t in scope["tests"]) == 30
    assert {t["status"] for t in scope["tests"]} == {"failed"}
    feedback = (out / "feedback" / "bob.txt").read_text(encoding="utf-8")
    assert feedback.startswith("bob: 2 of 30 points")
    assert "mistake: dc_next is not added" in feedback
    text = reports.table(grades)
    assert "1  dc_next is not added" in text
    again = grading.grade(folder, only=["06/ex1", "06/ex3"])
    assert {(g.student, g.result.exercise): g.result.points for g in again}.items() <= {
        k: r.points for k, r in by_key.items()
    }.items()


def test_a_submission_twice_or_none_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no submissions"):
        grading.grade(tmp_path / "empty")
    folder = tmp_path / "twice"
    submit(folder, "alice", "06/ex1", "x")
    (folder / "alice_06_ex1.py").write_text("y", encoding="utf-8")
    submit(folder, "bob", "06/ex1", solution("06/ex1"))
    points = {g.student: (g.result.status, g.result.points) for g in grading.grade(folder, only=["06/ex1"])}
    assert points == {"alice": ("twice", 0.0), "bob": ("right", 10.0)}  # and nobody else pays for it
    with pytest.raises(ValueError, match="there is nothing to grade in 77"):
        grading.grade(folder, only=["77"])


def test_lessons_are_cut_as_they_should_be(tmp_path):
    lesson = tmp_path / "01_one.py"
    lesson.write_text(
        "# %% [markdown]\n# # 01  T\n#\n# text\n\n# %%\n# %matplotlib inline\n# why\nx = 1\n\n"
        "# %%\n# exercise 01/ex1\ndef f(x):\n    # BEGIN SOLUTION\n    return x\n    # END SOLUTION\n",
        encoding="utf-8",
    )
    parts = lessons.cells(lesson.read_text(encoding="utf-8"))
    assert [cell.exercise for cell in parts] == [None, None, "01/ex1"]
    given, solved = lessons.student_files(lesson), lessons.solution_files(lesson)
    assert given.keys() == {"01_one.py", "01_one.ipynb", "ex1.py"}
    assert given["ex1.py"].endswith('def f(x):\n    raise NotImplementedError("01/ex1: write this")\n')
    assert "return x" not in "".join(given.values())
    assert solved.keys() == {"01_one.py", "ex1.py"}
    assert solved["ex1.py"].endswith("def f(x):\n    return x\n")
    shown = json.loads(given["01_one.ipynb"])["cells"]
    assert "".join(shown[0]["source"]) == "# 01  T\n\ntext"
    assert "".join(shown[1]["source"]) == "%matplotlib inline\n# why\nx = 1"
    with pytest.raises(ValueError, match="1 beginnings and 0 ends"):
        lessons.cells("# %%\n# exercise 01/ex1\n    # BEGIN SOLUTION\n")


def test_a_notebook_is_checked_with_all_its_exercises(tmp_path, monkeypatch, capsys):
    """Each counts its lines as its cell does."""
    monkeypatch.chdir(tmp_path)
    wrong = solution("06/ex1").replace("c_prev * f * (1 - f)", "c * f * (1 - f)")
    cells = [solution("06/ex3"), "import numpy as np", wrong]
    whole = {"nbformat": 4, "cells": [{"cell_type": "code", "source": text} for text in cells]}
    Path("mine.ipynb").write_text(json.dumps(whole), encoding="utf-8")
    assert main(["course", "check", "mine.ipynb"]) == 1
    said = capsys.readouterr().out
    assert "06/ex3  RIGHT" in said
    assert "06/ex1  NOT YET" in said
    number = next(k for k, line in enumerate(wrong.splitlines(), 1) if "c * f * (1 - f)" in line)
    assert f"line {number} of the cell" in said
    assert main(["course", "check", "--json", "mine.ipynb"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["exercise"], row["verdict"]) for row in rows] == [("06/ex3", "right"), ("06/ex1", "wrong")]
    Path("mine.ipynb").write_text(json.dumps({"nbformat": 4, "cells": []}), encoding="utf-8")
    assert main(["course", "check", "mine.ipynb"]) == 1
    assert "defines no function of an exercise" in capsys.readouterr().err
