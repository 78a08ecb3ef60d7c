"""The course's two distributions: what a wheel and a source archive of each hold, built from a clean copy."""

import contextlib
import inspect
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scratchnet import cells as library
from scratchnet_course import inside, keys, lessons
from scratchnet_course.exercises import EXERCISES
from scratchnet_instructor.references import REFERENCES

ROOT = Path(__file__).parent.parent
SOURCES = lessons.sources(ROOT / "tutorials")
CELLS = {source: lessons.cells(source.read_text(encoding="utf-8")) for source in SOURCES}
SOLVED = set().union(*map(lessons.solution_lines, CELLS.values()))
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def names():
    """The files that git has, or would take."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "course", "tutorials", "scratchnet"]
    if shutil.which("git") is None or not (found := run(*listing, cwd=ROOT).splitlines()):
        pytest.skip("not a git checkout")
    return [name for name in found if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def checkout(names, tmp_path_factory):
    """A copy of them: nothing in it is built."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def wheel_of(folder, out):
    """A wheel's files, by name; built without a network."""
    run(*PIP, "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", out, folder)
    (path,) = Path(out).glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheels(checkout, tmp_path_factory):
    """distribution -> its wheel's files."""
    return {
        name: wheel_of(checkout / "course" / name, tmp_path_factory.mktemp(name))
        for name in ("students", "instructors")
    }


def built(files, folder):
    """What is built from lessons, of a wheel's files: "06/ex1.py" -> text."""
    return {name.split(f"/{folder}/")[1]: text.decode() for name, text in files.items() if f"/{folder}/" in name}


def test_the_students_wheel_has_every_lesson_and_no_line_of_a_solution(wheels):
    made = built(wheels["students"], "material")
    expected = {f"{s.stem[:2]}/{s.stem}{kind}" for s in SOURCES for kind in (".py", ".ipynb")}
    assert made.keys() == expected | {f"{name}.py" for name in EXERCISES}
    assert len(SOLVED) > 3 * len(EXERCISES)
    everything = "\n".join(made.values())
    assert [line for line in SOLVED if line in everything or json.dumps(line)[1:-1] in everything] == []
    assert "SOLUTION" not in everything
    assert not [name for name in wheels["students"] if "instructor" in name or "solutions" in name]
    answers = {name.split("/answers/")[1] for name in wheels["students"] if "/answers/" in name}
    keys = {f"{name.replace('/', '_')}.npz" for name in EXERCISES}
    assert answers == keys | {"exercises.json", "hunts.json", "built_from.json"}


def test_the_instructors_wheel_has_every_solution(wheels):
    made = built(wheels["instructors"], "solutions")
    assert made.keys() == {f"{s.stem[:2]}/{s.name}" for s in SOURCES} | {f"{name}.py" for name in EXERCISES}
    everything = "\n".join(made.values())
    assert [line for line in SOLVED if line not in everything] == []
    assert "SOLUTION" not in everything


@pytest.mark.parametrize("name", ["students", "instructors"])
def test_a_wheel_of_the_source_archive_is_the_same(name, checkout, wheels, tmp_path):
    """The archive carries what it needs: there are no lessons two folders above it."""
    program = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", program, cwd=checkout / "course" / name)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path / "far" / "away", filter="data")
    (folder,) = (tmp_path / "far" / "away").iterdir()
    found = wheel_of(folder, tmp_path / "wheel")
    assert {k: v for k, v in found.items() if "RECORD" not in k} == {
        k: v for k, v in wheels[name].items() if "RECORD" not in k
    }
    if name == "students":
        texts = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".npz"]
        text = "".join(p.read_text(encoding="utf-8") for p in texts)
        assert "END SOLUTION" not in text.replace((folder / "scratchnet_course/lessons.py").read_text("utf-8"), "")


def test_commands_come_with_the_distributions(wheels, tmp_path):
    """By their entry points: a wheel unpacked into a folder of the path is an installed one."""

    def course(*words, distributions):
        paths = [tmp_path / name for name in distributions]
        for path in paths:
            for name, text in wheels[path.name].items():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(text)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*paths, ROOT, ROOT / "kernels"]))}
        return run(sys.executable, "-m", "scratchnet", "course", *words, cwd=tmp_path, env=environment)

    assert "06/ex2  All steps back" in course("list", distributions=["students"])
    said = course("start", "06", distributions=["students"])
    assert "06_lstm_backward.ipynb" in said
    said = course("solution", "06/ex1", distributions=["instructors", "students"])
    assert "def step_backward" in said
    assert "NotImplementedError" not in said


def programs_of(names):
    """Every program among the files of a wheel: modules, and code in the texts of others."""
    for name, text in names.items():
        if name.endswith(".py"):
            yield name, text.decode()
        elif name.endswith((".json", ".ipynb")):
            yield from ((name, code) for code in strings(json.loads(text)) if "def " in code)


def strings(value):
    """The texts in what JSON has brought."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings(one)


def answers_of(program):
    """The exercises that a function of a program answers, whatever it is called."""
    space = {"__name__": "found", "__file__": "found.py"}
    with contextlib.suppress(BaseException):  # a lesson's cell without those before it
        exec(compile(program, "found.py", "exec"), space)
    own = [v for v in space.values() if callable(v) and getattr(v, "__code__", None) and v.__module__ == "found"]
    for function in own:
        for name, case in CASES.items():
            given = [np.copy(v) if isinstance(v, np.ndarray) else v for v in case.arguments.values()]
            for words, named in (([], dict(zip(case.arguments, given))), (given, {})):
                with contextlib.suppress(BaseException):
                    answer = EXERCISES[name].named(function(*words, **named), case.right)
                    if all(inside.same(answer[k], case.right[k], 1e-6) for k in answer):
                        yield f"{function.__name__} {name}"


def apart(work, folder):
    """What ``work`` yields, in a process that may do what it likes, for four seconds."""
    said = folder / "said.txt"
    said.write_text("", encoding="utf-8")
    child = os.fork()
    if child == 0:
        os.setsid()
        signal.alarm(4)
        os.chdir(folder)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        with contextlib.suppress(BaseException), said.open("a", encoding="utf-8") as file:
            for one in work():
                file.write(f"{one}\n")
                file.flush()
        os._exit(0)
    os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    return said.read_text(encoding="utf-8").splitlines()


CASES = {name: keys.of(exercise).cases[0][-1] for name, exercise in EXERCISES.items()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs each program in a copy of this process")
def test_no_function_of_the_students_wheel_answers_an_exercise(wheels, tmp_path):
    """Each that is found in it is run on the arguments of every exercise. The test finds one where there is one."""
    right = "import numpy as np\n\ndef hidden(x):\n    return x - x.mean(axis=0)\n"
    assert set(apart(lambda: answers_of(right), tmp_path)) == {"hidden 00/ex1"}
    programs = dict.fromkeys(text for _, text in programs_of(wheels["students"]))
    assert len(programs) > 200
    found = {one for text in programs for one in apart(partial(answers_of, text), tmp_path)}
    # the files to hunt in are the library's cells: what they have right, students may read in the library
    cells = [inspect.getsource(cell) for cell in library.CELLS.values()]
    assert found <= {one for text in cells for one in apart(partial(answers_of, text), tmp_path)}


def test_the_keys_hold_numbers_and_texts_and_no_code(wheels):
    """No line of a reference, and no edit of a catalogued mistake."""
    everything = b"\n".join(wheels["students"].values())
    for name, text in wheels["students"].items():
        if name.endswith(".npz"):
            with np.load(io.BytesIO(text)) as file:  # without pickles
                assert {file[k].dtype.kind for k in file.files} <= set("fiub")
                everything += bytes(file["about"])
    lines = set()
    for path in (ROOT / "course/instructors/scratchnet_instructor/references").glob("lesson*.py"):
        source = path.read_text(encoding="utf-8")
        for reference in REFERENCES.values():
            if reference.right.__module__.endswith(path.stem):
                lines |= {line.strip() for line in inspect.getsource(reference.right).splitlines()[1:]}
        assert source.encode() not in everything
    lesson_texts = "".join(source.read_text(encoding="utf-8") for source in SOURCES)
    library = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "scratchnet").rglob("*.py"))
    secret = [line for line in lines if len(line) > 30 and "def " not in line and line not in lesson_texts + library]
    assert len(secret) > 100
    leaked = [line for line in secret if line.encode() in everything and '"""' not in line]
    assert leaked == []


def test_a_checkout_rebuilds_what_a_changed_lesson_makes(checkout, tmp_path):
    """As an editable installation does, on first use."""
    folder = tmp_path / "course" / "students" / "scratchnet_course"
    folder.mkdir(parents=True)
    (tmp_path / "tutorials").mkdir()
    with pytest.raises(FileNotFoundError, match="does not exist, and no lessons to build it from"):
        lessons.built(folder, "material", lessons.student_files)
    (folder.parent / "setup.py").touch()
    lesson = tmp_path / "tutorials" / SOURCES[6].name
    shutil.copyfile(SOURCES[6], lesson)
    out = lessons.built(folder, "material", lessons.student_files)
    mine = out / "06" / "ex1.py"
    assert {path.name for path in out.glob("06/*")} == lessons.student_files(lesson).keys()
    mine.write_text("kept while no lesson changes", encoding="utf-8")
    lessons.built(folder, "material", lessons.student_files)
    assert mine.read_text(encoding="utf-8").startswith("kept")
    text = lesson.read_text(encoding="utf-8")
    lesson.write_text(text.replace("exercise 06/ex3", "exercise 06/ex4").replace("Two", "2"), encoding="utf-8")
    lessons.built(folder, "material", lessons.student_files)
    assert "def step_backward" in mine.read_text(encoding="utf-8")
    assert (out / "06" / "ex4.py").exists()
    assert not (out / "06" / "ex3.py").exists()


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_a_notebook_is_that_of_jupytext(source):
    jupytext = pytest.importorskip("jupytext")
    ours = json.loads(lessons.notebook(CELLS[source]))["cells"]
    theirs = jupytext.reads(lessons.script(CELLS[source]), fmt="py:percent").cells
    assert [(c["cell_type"], "".join(c["source"])) for c in ours] == [(c.cell_type, c.source) for c in theirs]


def test_git_keeps_nothing_that_is_built(names):
    assert not [name for name in names if re.search(r"material/|solutions/|/answers/|\.ipynb$|egg-info|/build/", name)]
