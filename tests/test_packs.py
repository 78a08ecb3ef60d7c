"""Exercise packs: the guide's example from the instructor's file to a student's check, and what `course lint` says of bad ones."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from scratchnet.commands.cli import main
from scratchnet_course.exercises import EXERCISES
from scratchnet_instructor import authoring

GUIDE = (Path(__file__).parent.parent / "course" / "README.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
TAKEN = {e.id: e.function for e in EXERCISES.values()}


def written(folder, text=EXAMPLE, name="50/ex1.py"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def course(folder, *words, packs="", **more):
    """The command in a new process, which looks for packs when it starts."""
    environment = {k: v for k, v in os.environ.items() if k != "SCRATCHNET_PACKS"} | more
    if packs:
        environment["SCRATCHNET_PACKS"] = str(packs)
    command = [sys.executable, "-m", "scratchnet", "course", *words]
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)


def test_the_guides_example_goes_from_file_to_check_and_grade(tmp_path):
    """A student with the compiled folder alone, and an instructor with the pack."""
    pack, student = tmp_path / "mypack", tmp_path / "student"
    written(pack)
    assert course(tmp_path, "lint", "mypack").stdout == "50/ex1  fine\n"
    assert course(tmp_path, "pack", "mypack").returncode == 0
    for path in (pack / "compiled").rglob("*"):
        assert path.is_dir() or b"beta * velocity" not in path.read_bytes(), path  # no formula
    (student / "packs").mkdir(parents=True)
    (pack / "compiled").rename(student / "packs" / "mypack")
    assert "50  Optimisers by hand\n    50/ex1  Momentum" in course(student, "list").stdout
    assert course(student, "start", "50").returncode == 0
    assert "is not written yet" in course(student, "check", "50/ex1.py").stdout
    answer = student / "50" / "ex1.py"
    solved = (pack / "solutions" / "50" / "ex1.py").read_text(encoding="utf-8")
    answer.write_text(solved.replace("w - lr * new", "w - lr * velocity"), encoding="utf-8")
    said = course(student, "check", "50/ex1.py").stdout
    assert "5 of 10 points" in said
    assert (
        'mistake: the old velocity is used\n  line 13, "velocity": changed there alone, every number is right\n' in said
    )
    assert "  The weights take the new velocity." in said
    answer.write_text(solved, encoding="utf-8")
    assert "RIGHT  10 of 10 points" in course(student, "check", "50/ex1.py").stdout
    assert re.search(r"50  Optimisers by hand +ok +10 of 10", course(student).stdout)
    assert "1. The velocity comes first." in course(student, "hint", "50/ex1").stdout
    assert "velocity = array(" in course(student, "show", "50/ex1").stdout
    # the instructor's side
    assert course(tmp_path, "pack", "mypack").returncode == 0
    written(tmp_path / "in", solved, "ada/50/ex1.py")
    assert "10 of 10" in course(tmp_path, "grade", "in", "--only", "50", packs=pack).stdout
    assert "return new, w - lr * new" in course(tmp_path, "solution", "50/ex1", packs=pack).stdout
    assert course(tmp_path, "package", "50", "--for", "folder", "--out", "out", packs=pack).returncode == 0
    assert "momentum" in (tmp_path / "out" / "handout" / "README.md").read_text(encoding="utf-8")
    assert "RIGHT" in course(student, "check", "50/ex1.py", "--seed", "7", packs=pack).stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("OUTPUTS = ", "OUTPUT = "), "has no OUTPUTS: expected a tuple"),
        (('"""Momentum.\n', '"""'), "has no docstring with a title, an empty line and a text"),
        (("def cases(", "def case("), "expected cases(rng) and the right answer"),
        (("(1, 7)\n", "(1,)\n"), "cases has fewer than two"),
        (("rng.uniform(0.5, 0.9)", "np.random.default_rng().uniform()"), "is another one each time"),
        (('"beta": rng', '"b": rng'), "case 1 has w, dw, velocity, lr, b: the function takes w, dw, velocity, lr, beta"),
        (("    new = beta * velocity", "    w /= 0.5\n    new = beta * velocity"), "w is changed in place"),
        (("    new = beta * velocity", "    w = w + np.inf\n    new = beta * velocity"), "is not finite"),
        (("w - lr * velocity", "w - 1.0 * lr * new"), "mistake 'the old velocity is used': no case shows it"),
        (
            ("MISTAKES = [", 'MISTAKES = [("early", "Late.", [("return new", "return 1.0 * new"), ("lr * new", "lr * velocity")]),'),
            "mistakes 'early' and 'the old velocity is used' give the same numbers in every case",
        ),
        (('("w - lr * new", ', '("w + lr * new", '), "has 0 times 'w + lr * new', expected once"),
        (("new = beta * velocity + dw", "new = beta * velocity + np.maximum(dw, -99)"), "a change that no case shows: "),
        (("def momentum(", "def step_backward("), "another exercise asks for step_backward"),
        (("import numpy as np\n", "import nothing_here\n"), "cannot be run: ModuleNotFoundError"),
        (("HINTS = ", "HINTS = () and "), "there are no hints"),
        (('        [("w', '        [["w'), "cannot be run: SyntaxError"),
        (("    new = beta * velocity + dw", "    raise KeyError(3)\n    new = 1"), "KeyError: 3"),
    ],
)  # fmt: skip
def test_lint_says_what_is_wrong_with_an_exercise(change, said, tmp_path):
    text = EXAMPLE.replace(*change, 1)
    assert text != EXAMPLE
    problems = authoring.lint(written(tmp_path, text), TAKEN)
    assert any(said in one for one in problems), problems


def test_a_distribution_brings_a_pack_to_all_who_install_it(tmp_path):
    """A wheel, installed by pip: the student starts and checks its exercise, and it has no formula."""
    pack, site, student = tmp_path / "mypack", tmp_path / "site", tmp_path / "student"
    written(pack)
    assert course(tmp_path, "pack", "mypack").returncode == 0
    info = "extra_course-1.0.dist-info"
    files = {
        f"extra_course/{p.relative_to(pack / 'compiled')}": p.read_bytes()
        for p in (pack / "compiled").rglob("*")
        if p.is_file()
    }
    files["extra_course/__init__.py"] = b""
    files[f"{info}/METADATA"] = b"Metadata-Version: 2.1\nName: extra-course\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = b"[scratchnet.exercises]\nextra = extra_course\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]).encode()
    wheel = tmp_path / "extra_course-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    words = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words], check=True)
    student.mkdir()
    installed = {"PYTHONPATH": str(site)}
    assert "50/ex1  Momentum" in course(student, "list", **installed).stdout
    assert "50/ex1" not in course(student, "list").stdout
    assert course(student, "start", "50", **installed).returncode == 0
    solved = (pack / "solutions" / "50" / "ex1.py").read_text(encoding="utf-8")
    (student / "50" / "ex1.py").write_text(solved, encoding="utf-8")
    assert "RIGHT  10 of 10 points" in course(student, "check", "50/ex1.py", **installed).stdout
    assert not [p for p in site.rglob("*") if p.is_file() and b"beta * velocity" in p.read_bytes()]


def test_lint_and_pack_refuse_what_is_no_pack(tmp_path, capsys):
    for command in ("lint", "pack"):
        assert main(["course", command, str(tmp_path)]) == 1
        assert "has no exercises: expected files such as 50/ex1.py" in capsys.readouterr().err
    path = written(tmp_path, name="06/ex1.py")
    assert authoring.lint(path, TAKEN) == ["the course has an exercise 06/ex1 already: take another lesson's number"]
    assert main(["course", "lint", str(tmp_path)]) == 1
    assert "06/ex1  the course has an exercise 06/ex1 already" in capsys.readouterr().out


def test_a_broken_pack_costs_a_student_nothing_but_itself(tmp_path):
    for text in ("", "[]", json.dumps([{"id": 3}])):
        written(tmp_path, text, "packs/broken/exercises.json")
        ran = course(tmp_path, "list")
        assert "00/ex1  Centre each feature" in ran.stdout, ran.stderr
        assert "broken cannot be read, and is left out" in ran.stderr or text == "[]"


def test_an_instructors_broken_pack_costs_the_others_nothing(tmp_path):
    written(tmp_path / "mypack")
    written(tmp_path / "mypack", "x = (", "50/ex2.py")
    assert course(tmp_path, "pack", "mypack").returncode == 1  # all of it or nothing
    (tmp_path / "mypack" / "50" / "ex2.py").unlink()
    assert course(tmp_path, "pack", "mypack").returncode == 0
    written(tmp_path / "mypack", "x = (", "50/ex2.py")
    ran = course(tmp_path, "show", "50/ex1", packs=tmp_path / "mypack")
    assert "velocity = array(" in ran.stdout
    (tmp_path / "mypack" / "50" / "ex1.py").rename(tmp_path / "aside.py")
    written(tmp_path / "in", "x", "ada/50/ex1.py")
    ran = course(tmp_path, "grade", "in", "--only", "50", packs=tmp_path / "mypack")
    assert "50/ex1 is of a pack whose right answers are not here" in ran.stderr
