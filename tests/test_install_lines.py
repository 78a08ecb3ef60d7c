"""Every line of the documents that installs something names what exists: a folder here, its extras, our wheels, or a dependency."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = (".", "course/students", "course/instructors")
PROJECTS = {
    folder: tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for folder in FOLDERS
}
OURS = {project["name"] for project in PROJECTS.values()}
OTHERS = {
    re.match(r"[\w-]+", line)[0]
    for project in PROJECTS.values()
    for lines in (project["dependencies"], *project.get("optional-dependencies", {}).values())
    for line in lines
} - OURS
DOCUMENTS = [*ROOT.glob("*.md"), *(p for f in ("course", "kernels", "tutorials") for p in (ROOT / f).rglob("*.md"))]
LESSONS = sorted((ROOT / "tutorials").glob("[0-9]*.py"))
WITH_VALUE = ("--wheel-dir", "--find-links", "--extra-index-url")


def lines(text):
    """What follows "pip install" and the like, to the end of the line or of its inline code."""
    return re.findall(r"pip3? (?:install|wheel|download) ([^`\n]+)", text)


def problems(line):
    """The words of such a line that name nothing of ours and no dependency."""
    words = iter(shlex.split(line, comments=True))
    for word in words:
        found = re.fullmatch(
            r"(?P<what>[^\[@ ]+)(\[(?P<extras>[\w,]+)\])?( @ git\+REPOSITORY(#subdirectory=(?P<at>.+))?)?", word
        )
        if word in WITH_VALUE:
            next(words)
        elif not word.startswith("-"):
            what, at = (found["what"], found["at"] or ".") if found else (word, ".")
            folder = what.removeprefix("./") if what.startswith(".") and what != "." else "." if what == "." else at
            known = PROJECTS.get(folder, {"name": None})
            right = (
                (what.startswith(".") and folder in PROJECTS)
                or (" @ git+" in word and known["name"] == what)
                or (what.endswith("-*.whl") and Path(what).name.removesuffix("-*.whl").replace("_", "-") in OURS)
                or (what in OURS and "--no-index" in line)
                or what in OTHERS
            )
            extras = found["extras"].split(",") if found and found["extras"] else []
            if not right or set(extras) - known.get("optional-dependencies", {}).keys():
                yield word


@pytest.mark.parametrize("path", DOCUMENTS + LESSONS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_install_line_works(path):
    for line in lines(path.read_text(encoding="utf-8")):
        assert list(problems(line)) == [], line


TEXTS = (".py", ".md", ".toml", ".js", ".html", ".cfg", "")


def strangers(text):
    """Words after "pip install" that name the distribution "scratchnet" of the index, which is another author's."""
    for line in re.findall(r"pip3? install ([^`\n]+)", text):
        yield from (word for word in line.split() if re.fullmatch(r"""['"]?scratchnet(\[.*)?['",.:;)]*""", word))


def test_no_text_sends_anyone_to_the_strangers_package():
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not files:
        pytest.skip("not a git checkout")
    for name in files:
        path = ROOT / name
        if path.suffix in TEXTS and path.is_file() and path != Path(__file__):
            assert list(strangers(path.read_text(encoding="utf-8"))) == [], name
    said = "pip install NAME, or 'pip install 'NAME[numba]'".replace("NAME", "scratchnet")
    assert list(strangers(said)) == ["scratchnet,", "'scratchnet[numba]'"]


def test_there_are_install_lines():
    assert sum(len(lines(path.read_text(encoding="utf-8"))) for path in DOCUMENTS + LESSONS) > 10


@pytest.mark.parametrize(
    "line",
    [
        "scratchnet",
        "'scratchnet[numba]'",
        "-e '.[nonsense]'",
        "./instructor",
        "scratchnet-rnn",
        '"scratchnet-rnn @ git+REPOSITORY#subdirectory=course/students"',
        "scratchnet-*.whl",
        "numpy leftpad",
    ],
)
def test_a_wrong_install_line_is_found(line):
    assert list(problems(line))
