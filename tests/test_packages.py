"""An assignment for a learning platform: what is in it, and what the platform's own tool makes of it."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from scratchnet.commands.cli import main
from scratchnet_course import lessons, wall
from scratchnet_instructor import autograder, packages, solution
from scratchnet_instructor.packages import PLATFORMS, package
from scratchnet_instructor.wheels import wheels

from school import Person, notebook

ROOT = Path(__file__).parent.parent
NAMES = ("06/ex1", "06/ex2", "06/ex3")
RIGHT = {name: solution(name) for name in NAMES}
MISTAKEN = RIGHT | {"06/ex1": RIGHT["06/ex1"].replace("into_c = dc_next + o", "into_c = o")}  # two points of ten
CLASS = {"ada": (RIGHT, 30), "bo": (MISTAKEN, 22), "chi": ({}, 0)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An assignment of lesson 06 for each platform."""
    folder = tmp_path_factory.mktemp("made")
    for platform in PLATFORMS:
        paths = package("6", platform, folder / platform)
        assert len(paths) == len({*paths})
        assert all(path.stat().st_size for path in paths)
    return folder


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_package_has_a_handout_without_answers_and_says_how_to_go_on(platform, made):
    out = made / platform
    (script,) = (ROOT / "tutorials").glob("06_*.py")
    secret = lessons.solution_lines(lessons.cells(script.read_text(encoding="utf-8")))
    assert secret
    for path in (out / "handout").rglob("*.*"):
        if path.suffix in (".py", ".ipynb", ".md"):
            text = path.read_text(encoding="utf-8")
            assert not [line for line in secret if line in text], path
    with zipfile.ZipFile(out / "lesson06.zip") as whole:
        names = {*whole.namelist()}
    assert names >= {"README.md", "06_lstm_backward.ipynb", "ex1.py", "ex2.py", "ex3.py"}
    assert not [name for name in names if "instructor" in name]
    assert sum("wheels/" in name for name in names) == 2
    for path in (out / "handout" / "README.md", out / "teacher" / "README.md"):
        text = path.read_text(encoding="utf-8")
        assert "06" in text
        assert "{" not in text
    assert "step_backward" in (out / "handout" / "README.md").read_text(encoding="utf-8")
    assert (out / "teacher" / "solutions" / "ex1.py").read_text(encoding="utf-8") == RIGHT["06/ex1"]


def test_a_platform_or_lesson_that_is_not_there_is_said(tmp_path, capsys):
    with pytest.raises(ValueError, match="platform is 'blackboard'"):
        package("06", "blackboard", tmp_path)
    with pytest.raises(ValueError, match="there is no lesson '77'"):
        package("77", "canvas", tmp_path)
    assert main(["course", "package", "0", "--for", "folder", "--out", str(tmp_path / "new")]) == 0
    assert "says how to go on" in capsys.readouterr().out


def test_wheels_are_what_is_installed(tmp_path):
    """The record is right, and pip, which checks it, installs them into an empty folder where they work."""
    paths = wheels(tmp_path / "wheels")
    for path in paths:
        with zipfile.ZipFile(path) as wheel:
            (record,) = [name for name in wheel.namelist() if name.endswith("/RECORD")]
            rows = dict(row.split(",", 1) for row in wheel.read(record).decode().splitlines())
            for name in wheel.namelist():
                if name != record:
                    digest = base64.urlsafe_b64encode(hashlib.sha256(wheel.read(name)).digest()).rstrip(b"=").decode()
                    assert rows[name] == f"sha256={digest},{wheel.getinfo(name).file_size}"
            assert not [name for name in wheel.namelist() if "__pycache__" in name]
    target = tmp_path / "site"
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*words, *map(str, paths)], check=True, capture_output=True)
    code = "from scratchnet_instructor import solution; from scratchnet_course import check; print(check('06/ex1', 'x.py').points)"
    (tmp_path / "x.py").write_text(RIGHT["06/ex1"], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(target)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "10.0"


def test_the_autograder_grades_one_submission(tmp_path, monkeypatch):
    (tmp_path / "submission").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "submission" / "Ex1.py").write_text(MISTAKEN["06/ex1"], encoding="utf-8")
    (tmp_path / "submission" / "notes.txt").write_text("x", encoding="utf-8")
    assert autograder.main(["--only", "06", "--root", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "results" / "results.json").read_text(encoding="utf-8"))
    if not wall.find():
        assert "not graded" in found["output"]
        return
    assert [test["score"] for test in found["tests"]] == [2, 0, 0]
    assert "notes.txt: it is neither" in found["output"]
    monkeypatch.setattr(wall, "find", lambda: wall.Wall("none", "no wall today"))
    assert autograder.results(tmp_path, ["06"]) == {
        "score": 0,
        "output": "not graded, tell your instructor: no wall today",
    }


def test_the_account_is_no_wall_where_everybody_reads_the_answers(monkeypatch):
    """On a machine that is set up as for development, the package is open, or Python is root's own."""
    wall.find.cache_clear()
    with pytest.raises(RuntimeError, match="account does not work here"):
        wall.find("account")


def test_nbgrader_gets_a_solution_between_marks_and_a_test_with_points(made):
    whole = json.loads(
        (made / "nbgrader" / "source" / "lesson06" / "06_lstm_backward.ipynb").read_text(encoding="utf-8")
    )
    cells = {
        cell["metadata"]["nbgrader"]["grade_id"]: cell for cell in whole["cells"] if "nbgrader" in cell["metadata"]
    }
    assert cells.keys() == {f"06-ex{k}{end}" for k in (1, 2, 3) for end in ("", "-answer")}
    text = "".join(cells["06-ex1-answer"]["source"])
    before, _, after = text.partition("    ### BEGIN SOLUTION\n")
    assert "def step_backward" in before
    mark, _, code = RIGHT["06/ex1"].partition("\n\n")  # a file says below its mark what is asked
    whole_cell = before + after.replace("    ### END SOLUTION", "").rstrip(" ")
    assert whole_cell == mark.partition("\n")[0] + "\n" + code
    assert "One step back" in mark
    assert "One step back" not in text
    assert cells["06-ex1"]["metadata"]["nbgrader"]["points"] == 10


# ---- what the platforms' own programs make of it -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("bubblewrap", [True, False], ids=["bubblewrap", "account"])
def test_gradescopes_container_is_built_and_grades(bubblewrap, made, tmp_path):
    """setup.sh and run_autograder as Gradescope calls them, as root; a submission sees neither solutions nor results."""
    if (
        sys.platform != "linux"
        or os.geteuid() != 0
        or not Path("/usr/bin/python3").exists()
        or not shutil.which("bwrap")
    ):
        pytest.skip("needs root, Debian's Python and bubblewrap")
    os.chmod(tmp_path, 0o755)
    for parent in tmp_path.parents[:3]:  # pytest's folders are its user's
        if parent != Path("/tmp"):
            os.chmod(parent, 0o755)
    root = tmp_path / "autograder"
    for name in ("source", "submission", "results", "bin"):
        (root / name).mkdir(parents=True)
    for program in Path("/usr/bin").iterdir():
        if bubblewrap or program.name != "bwrap":
            (root / "bin" / program.name).symlink_to(program)
    with zipfile.ZipFile(made / "gradescope" / "autograder.zip") as whole:
        whole.extractall(root / "source")
    environment = {"PATH": f"{root / 'bin'}:/usr/sbin:/sbin", "HOME": "/root", "AUTOGRADER": str(root)}
    setup = (
        environment
        | {"PATH": f"/usr/bin:{environment['PATH']}"}
        | {k: v for k, v in os.environ.items() if k[:4] == "PIP_"}
    )
    subprocess.run(
        ["/bin/bash", str(root / "source" / "setup.sh")], env=setup, check=True, capture_output=True, timeout=900
    )
    spy = (
        "import os\n\ndef lstm_backward(**a):\n    seen = []\n"
        f"    for path in ({str(root / 'source')!r}, {str(root / 'results')!r}):\n"
        "        try:\n            seen += os.listdir(path)\n            open(path + '/x', 'w')\n"
        "        except OSError:\n            pass\n    raise ValueError(str((os.getuid(), seen)))\n"
    )
    (root / "submission" / "Ex1.py").write_text(MISTAKEN["06/ex1"], encoding="utf-8")
    (root / "submission" / "ex2.py").write_text(spy, encoding="utf-8")
    program = root / "source" / "run_autograder"
    subprocess.run(["/bin/bash", str(program)], env=environment, check=True, capture_output=True, timeout=300)
    found = json.loads((root / "results" / "results.json").read_text(encoding="utf-8"))
    assert [test["score"] for test in found["tests"]] == [2, 0, 0]
    assert "ValueError: (65534, [])" in found["tests"][1]["output"]


def installed(folder, *names):
    """The programs of a new environment with some packages; skips where they cannot be had."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    words = [str(folder / "bin" / "pip"), "install", "--quiet", *names]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{names[0]} was not installed: {done.stderr[-300:]}")
    return folder / "bin"


@pytest.mark.slow
def test_nbgrader_makes_releases_and_grades_the_assignment(made, tmp_path):
    programs = installed(tmp_path / "venv", "nbgrader", *map(str, (made / "nbgrader" / "handout" / "wheels").iterdir()))
    (tmp_path / "nbgrader_config.py").write_text(
        "c = get_config()\nc.CourseDirectory.course_id = 'c'\n", encoding="utf-8"
    )
    shutil.copytree(made / "nbgrader" / "source", tmp_path / "source")

    def nbgrader(*words):
        environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
        subprocess.run(
            [str(programs / "nbgrader"), *words], cwd=tmp_path, env=environment, check=True, capture_output=True
        )

    nbgrader("generate_assignment", "lesson06", "--create")
    (released,) = (tmp_path / "release" / "lesson06").iterdir()
    text = released.read_text(encoding="utf-8")
    assert "BEGIN SOLUTION" not in text
    assert "into_c" not in text
    for student, (answers, _) in CLASS.items():
        whole = json.loads(text)
        for cell in whole["cells"]:
            exercise = "".join(cell["source"][:1]).removeprefix("# exercise ").strip()
            if exercise in answers:
                cell["source"] = answers[exercise].splitlines(keepends=True)
        path = tmp_path / "submitted" / student / "lesson06" / released.name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(whole), encoding="utf-8")
    nbgrader("autograde", "lesson06", "--create")
    nbgrader("export")
    header, *rows = (row.split(",") for row in (tmp_path / "grades.csv").read_text().splitlines())
    scores = {row[header.index("student_id")]: float(row[header.index("raw_score")]) for row in rows}
    assert scores == {student: points for student, (_, points) in CLASS.items()}


@pytest.mark.slow
def test_otter_grades_the_assignment(made, tmp_path):
    own = made / "otter"
    programs = installed(tmp_path / "venv", "otter-grader[grading]", *map(str, (own / "handout" / "wheels").iterdir()))
    shutil.copytree(own / "tests", tmp_path / "tests")
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}

    def otter(*words):
        subprocess.run(
            [str(programs / "otter"), *words], cwd=tmp_path, env=environment, check=True, capture_output=True
        )

    otter("generate", "-t", "tests", "-o", "autograder.zip")
    handed = json.loads((own / "handout" / "06_lstm_backward.ipynb").read_text(encoding="utf-8"))
    assert sum("grader.check(" in "".join(cell["source"]) for cell in handed["cells"]) == 3
    for student, (answers, points) in CLASS.items():
        (tmp_path / student).mkdir()
        path = tmp_path / f"{student}.ipynb"
        path.write_text(notebook(Person(student, 1, answers)), encoding="utf-8")
        otter("run", "-a", "autograder.zip", path.name, "-o", student)
        found = json.loads((tmp_path / student / "results.json").read_text(encoding="utf-8"))
        assert sum(test.get("score") or 0 for test in found["tests"]) == pytest.approx(points)


def test_every_platform_has_its_text():
    assert {path.stem for path in packages.HERE.glob("*.md")} == {*PLATFORMS, "handout"}
