"""Attacks on the checker and the grader, each as a submission: behind a wall, and what must hold without one."""

import contextlib
import csv
import doctest
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scratchnet.errors import InvalidValueError, UnavailableError
from scratchnet_course import child, sandbox, testing, wall
from scratchnet_course.checking import MOST_LINE, MOST_LINES, Verdict, check, check_code
from scratchnet_course.exercises import find
from scratchnet_course.plain import plain
from scratchnet_course.sources import MOST_SOURCE, source_of
from scratchnet_instructor import grading, making, reports

from grader_attacks import FLOODS, FORGED, FRAMES, RIGHT, WRONG, submit

ROOT = Path(__file__).parent.parent
HERE, OPEN = wall.find(), wall.find("none")
needs_wall = pytest.mark.skipif(not HERE, reason=HERE.why)
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
posix = pytest.mark.skipif(os.name != "posix", reason="FIFOs, signals and forks")
BOTH = pytest.mark.parametrize(
    "behind", [pytest.param(OPEN, id="open"), pytest.param(HERE, id="wall", marks=needs_wall)]
)

EXERCISE = replace(find("06/ex1"), seconds=5.0)


def judged(code, behind, exercise=EXERCISE, seed=7):
    return check_code(exercise, code, seed, behind=behind)


# ---- points without the right numbers ----------------------------------------------------------------------------------


@posix
@BOTH
@pytest.mark.parametrize("attack", FORGED)
def test_points_are_for_the_right_numbers_alone(attack, behind):
    result = judged(FORGED[attack], behind)
    assert result.points == 0, str(result)
    assert result.status != "right"


@BOTH
def test_the_right_numbers_are_worth_points(behind):
    """And what the file leaves for the end is not waited for."""
    for code in (RIGHT, "import atexit, time\natexit.register(time.sleep, 60)\n" + RIGHT):
        result = judged(code, behind)
        assert result.points == EXERCISE.points, str(result)
        assert result.wall == behind.name


@posix
@needs_wall
@pytest.mark.parametrize("attack", ["import", "source", "anything"])
def test_the_answers_are_not_there_behind_the_wall(attack):
    """With the guards in the child undone, and by looking at every file that can be seen."""
    undone = "import importlib.machinery, os, sys\nsys.meta_path.append(importlib.machinery.PathFinder)\n"
    undone += f"sys.path[:0] = {[str(ROOT), *sys.path]!r}\n"
    code = {
        "import": undone + "from scratchnet_course.exercises import find\nstep_backward = find('06/ex1').right\n",
        "source": f"exec(open({str(ROOT / 'course/instructors/scratchnet_instructor/references/lesson06.py')!r}).read())\n",
        "anything": """
import os
def step_backward(**a):
    for folder, _, files in os.walk("/"):
        for name in files:
            path = os.path.join(folder, name)
            if name.endswith((".py", ".ipynb", ".toml", ".txt")):
                try: text = open(path, errors="replace").read()
                except OSError: continue
                if any(line in text for line in LINES):
                    print("fou" + "nd", path)
    print("looked")
""",
    }[attack]
    lines = [line.strip() for line in RIGHT.splitlines() if "into_c" in line]  # a name of the solution alone
    assert lines
    code = f"LINES = {[*lines, '06/ex1']!r}\n" + code
    result = judged(code, HERE, replace(EXERCISE, seconds=60.0))
    assert result.points == 0
    assert "found" not in str(result)
    assert ("looked" in str(result)) == (attack == "anything"), str(result)


def table_of(seed):
    """A submission that has nothing but the answers for one seed."""
    cases = [case for row in making.key("06/ex1", seed).cases for case in row]
    rows = [(float(case.arguments["dh"].flat[0]), [v.tolist() for v in case.right.values()]) for case in cases]
    return f"import numpy as np\nROWS = {rows!r}\ndef step_backward(dh, **a):\n    return [np.array(v) for v in min(ROWS, key=lambda row: abs(row[0] - dh.flat[0]))[1]]\n"


def test_a_table_of_answers_has_no_seed_to_be_made_for(tmp_path):
    submit(tmp_path, "mallory", table_of(0))
    seeds = set()
    for _ in range(2):
        ((_, result, *_),) = grading.grade(tmp_path, only=["06/ex1"])
        assert result.points == 0
        seeds.add(result.seed)
    assert len(seeds) == 2
    assert max(seeds) > 10**6  # more than fits in a table
    ((_, result, *_),) = grading.grade(tmp_path, only=["06/ex1"], seed=0)
    assert result.points == 10  # so the table is right


# ---- what a submission can reach ---------------------------------------------------------------------------------------


def says(code, behind, seconds=5.0):
    """What a submission prints while it is called; its answer is None."""
    body = "".join(f"    {line}\n" for line in code.splitlines())
    return str(judged(f"import os, sys\ndef step_backward(**a):\n{body}", behind, replace(EXERCISE, seconds=seconds)))


@BOTH
def test_the_graders_environment_is_not_passed_on(behind, monkeypatch):
    monkeypatch.setenv("SCRATCHNET_CANARY", canary := secrets.token_hex(8))
    assert "PATH" in (said := says("print(dict(os.environ), 'PATH')", behind))
    assert canary not in said


@posix
@needs_wall
def test_nothing_of_the_machine_is_seen_behind_the_wall(tmp_path, monkeypatch):
    canary = secrets.token_hex(8)
    monkeypatch.setenv("SCRATCHNET_CANARY", canary)
    (tmp_path / "id_rsa").write_text(canary, encoding="utf-8")
    for path in (tmp_path / "id_rsa", "/proc/self/environ", "/proc/1/environ", f"/proc/{os.getpid()}/environ"):
        assert canary not in (said := says(f"print('ran', open({str(path)!r}).read())", HERE))
        assert "FileNotFoundError" in said
    for path in (
        Path.home() / ".ssh",
        Path.home(),
        "/etc/passwd",
        "/etc/shadow",
        "/proc",
        "/sys",
        ROOT,
        ROOT / "course",
    ):
        said = says(f"print('ran', *(os.listdir if os.path.isdir({str(path)!r}) else open)({str(path)!r}))", HERE)
        above = Path(sys.base_prefix).is_relative_to(path)  # of a home that Python lies in, only the way to it is there
        assert "FileNotFoundError" in said or (above and said.count("ran .") == said.count("\n  ran")), said
    for over in (Path(sysconfig.get_path("stdlib")).resolve(), Path("/usr/lib/python3")):
        for folder in (over / "site-packages", over / "dist-packages"):
            if folder.is_dir():
                said = says(f"print('saw', os.path.isdir({str(folder)!r}) and os.listdir({str(folder)!r}))", HERE)
                assert "saw []" in said or "saw False" in said
    assert str(child.NOBODY) in says("print(os.getuid())", HERE)


@posix
@needs_wall
def test_nothing_outside_is_written_from_behind_the_wall(tmp_path):
    tmp_path.chmod(0o777)
    course = [Path(wall.__file__).with_name("diagnose.py"), Path(child.__file__), Path(np.__file__)]
    for path in (
        tmp_path / "made",
        *course,
        "/made",
        "/child.py",
        "/site/made",
        "/site/numpy/made",
        "/dev/made",
        "/usr/lib/made",
    ):
        said = says(f"open({str(path)!r}, 'a')\nprint('opened')", HERE)
        assert "opened" not in said, path
        assert "Error" in said
    assert list(tmp_path.iterdir()) == []
    said = says(
        "n = 0\ntry:\n    for n in range(10**4): open(f'{n}', 'wb').write(bytes(10**6))\nexcept OSError as e: print('wrote', n, e)",
        HERE,
    )
    assert "No space left" in said
    assert int(said.split("wrote ")[1].split()[0]) * 10**6 <= wall.TMP_BYTES


@posix
@needs_wall
def test_there_is_no_network_behind_the_wall():
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = (
            f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)\nprint('connected')"
        )
        assert "connected" in says(code, OPEN)  # so there is something to connect to
        said = says(code, HERE)
    assert "connected" not in said
    assert "OSError" in said or "refused" in said or "unreachable" in said


# Forty processes, each with a name to be found by, and some outside of the group.
LEFT = """
import signal, time
for k in range(40):
    try:
        if os.fork() == 0:
            if k % 2: os.setsid()
            try: open("/proc/self/comm", "w").write({name!r})
            finally: time.sleep(60); os._exit(0)
    except OSError as error:
        print(type(error).__name__)
time.sleep(0.3)
"""


def alive(name):
    """The processes of a name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if (
                path.read_text(encoding="ascii").strip() == name
                and "Z (zombie)" not in (path.parent / "status").read_text()
            ):
                found.append(int(path.parent.name))
    return found


@linux
@BOTH
@pytest.mark.parametrize("end", ["return", "os._exit(0)", "while True: pass", "os.kill(os.getppid(), 9)"])
def test_no_process_is_left(behind, end):
    name = "left" + secrets.token_hex(4)
    code = LEFT.format(name=name)
    if end == "os.kill(os.getppid(), 9)":  # who would end those that have left the group
        code = code.replace("if k % 2: os.setsid()", "pass")
    said = says(code + end, behind, seconds=2.0)
    for _ in range(20):
        if left := alive(name):
            time.sleep(0.05)
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert left == []
    if behind and end == "return":
        assert said.count("BlockingIOError") == 160  # 40 for each case of each seed


@posix
@BOTH
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP", "SIGTERM"])
def test_a_submission_cannot_end_or_stop_its_checker(behind, name):
    """In this test's own process: the test would end, or stop."""
    began = time.perf_counter()
    result = judged(
        f"import os, signal\nos.kill(os.getppid(), signal.{name})\n" + WRONG, behind, replace(EXERCISE, seconds=2.0)
    )
    assert result.points == 0
    assert time.perf_counter() - began < 10
    assert judged(RIGHT, behind).right


@posix
@needs_wall
def test_killing_everything_kills_what_is_behind_the_wall():
    assert (
        judged(
            "import os\nos.kill(-1, 9)\nfor p in range(2, 2000):\n    try: os.kill(p, 9)\n    except OSError: pass\n"
            + WRONG,
            HERE,
        ).points
        == 0
    )


@BOTH
def test_what_comes_back_is_bounded(behind, tmp_path, monkeypatch):
    large = judged("import numpy as np\ndef step_backward(**a):\n    return np.zeros(10**8)\n", behind)
    assert large.status == "large"
    assert "more than 4 MB of numbers" in str(large)
    for body in (
        "raise ValueError('x' * 19_000_000)",
        "print('x' * 19_000_000)",
        "print('\\n' * 19_000_000)",
        "return {'x' * 10**6: 1}",
        "return [1] * 10**6",
    ):
        result = judged(f"def step_backward(**a):\n    {body}\n", behind)
        assert result.points == 0
        assert len(result.lines) <= MOST_LINES
        assert max(map(len, result.lines)) <= MOST_LINE + 4
    forged = judged(
        FRAMES + "text = ('x' * 999 + '\\n') * 100\nforge(status='raised', text=text, printed=text)\nos._exit(0)\n",
        behind,
    )
    assert forged.status == "raised"
    assert len(str(forged)) < 3 * child.MOST_TEXT
    assert "the end" in str(judged("raise ValueError('x' * 19_000 + 'THE END'.lower())\n", behind))
    escaped = judged("def step_backward(**a):\n    print('\\x1b[31mred\\x1b[0m \\ufffe \\x00')\n", behind)
    assert r"\x1b[31mred\x1b[0m \ufffe \x00" in str(escaped)


@posix
@BOTH
def test_a_result_of_a_terabyte_is_not_read(behind):
    result = judged(
        FRAMES
        + "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nfor n in (10**12, 19_000_000):\n    try: os.ftruncate(channel, n)\n    except OSError: print(n)\nos._exit(0)\n",
        behind,
    )
    assert result.status == "died"


def test_what_is_too_large_to_be_a_result_is_not_read(tmp_path):
    with (tmp_path / "made").open("w+b") as made:
        made.write(
            b"token\n" + json.dumps({"status": "passed", "text": "", "printed": "", "changed": []}).encode() + b"\n"
        )
        made.flush()
        assert sandbox._said(made, "token")[0]["status"] == "passed"
        made.truncate(10**12)
        with pytest.raises(ValueError, match="the child said 1000000000000 bytes"):
            sandbox._said(made, "token")


@posix
@BOTH
@pytest.mark.parametrize("end", ["", "while True: pass"])
def test_a_thousand_folders_are_removed(behind, end, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "import os\nfor _ in range(1500):\n    os.mkdir('a')\n    os.chdir('a')\n" + (end or RIGHT)
    result = judged(code, behind, replace(EXERCISE, seconds=2.0))
    assert result.right == (not end), str(result)
    assert list(tmp_path.iterdir()) == []


# ---- the wall itself ---------------------------------------------------------------------------------------------------


@BOTH
def test_the_same_packages_are_there_with_a_wall_and_without(behind):
    """An answer that a student without bubblewrap has seen to be right is right in the grader."""
    for name in ("scratchnet.cells.lstm", "scratchnet.gradcheck", "scipy.special", "json"):
        assert judged(f"import {name}\n" + RIGHT, behind).right, name
    for name in ("numba", "torch", "pytest", "pip", "scratchnet_course", "scratchnet_instructor"):
        assert f"No module named '{name}'" in str(judged(f"import {name}\n" + RIGHT, behind))


@pytest.mark.slow
@BOTH
def test_a_plot_may_stay_in_the_file(behind):
    code = "import matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\n" + RIGHT
    assert judged(code, behind, find("06/ex1")).right


def test_every_package_of_the_list_is_installed_or_belongs_to_one():
    found = {name.removesuffix(".py") for name in wall.packages()}
    assert {"scratchnet", "numpy", "matplotlib"} <= found
    assert not [name for name in found if "course" in name or "instructor" in name]


def test_bubblewrap_is_told_to_share_nothing():
    """Also where it is not installed; root and others differ in one place."""
    for root in (True, False):
        words = wall.bubblewrap(root)
        assert {"--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent", "--new-session"} <= {*words}
        assert ("--unshare-user" in words) == (not root)
        assert "--bind" not in words
        assert "--remount-ro / --chdir /tmp" in " ".join(words)
        bound = [Path(words[k + 1]) for k, word in enumerate(words) if word == "--ro-bind"]
        for path in bound:  # no folder that holds the course, but where it is hidden
            for secret in (Path(wall.__file__).parent, ROOT / "tutorials", Path(grading.__file__).parent):
                assert (
                    not secret.is_relative_to(path)
                    or str(secret) in words[words.index("--tmpfs", words.index("--ro-bind")) :]
                )


@pytest.mark.parametrize(
    ("name", "image", "error", "message"),
    [
        ("bricks", "", InvalidValueError, "wall is 'bricks': expected one of 'auto', 'bubblewrap'"),
        ("docker", "", InvalidValueError, "need an image with Python and NumPy"),
        ("bubblewrap", "python", InvalidValueError, "no other wall takes one"),
        ("podman", "python", UnavailableError, "podman is not installed"),
        ("bubblewrap", "", UnavailableError, "bubblewrap is not installed"),
    ],
)
def test_a_wall_that_cannot_be_is_refused(name, image, error, message, monkeypatch):
    wall.find.cache_clear()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(error, match=message):
        wall.find(name, image)
    assert wall.find() == wall.Wall("none", "bubblewrap is not installed")
    wall.find.cache_clear()


@posix
def test_a_bubblewrap_that_does_not_work_is_no_wall(tmp_path, monkeypatch):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n", encoding="ascii")
    fake.chmod(0o755)
    wall.find.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert wall.find().why == "bubblewrap does not work here: bwrap: No permissions to create new namespace"
    wall.find.cache_clear()


STAND_IN = f"""#!{sys.executable}
import json, os, sys
words = sys.argv[1:]
open({{log!r}}, "a").write(json.dumps(words) + "\\n")
if words[0] == "run":
    at = words.index("an-image")
    program = [w if w != "/child.py" else {child.__file__!r} for w in words[at + 2:]]
    os.execv({sys.executable!r}, [{sys.executable!r}, *[{str(ROOT)!r} if w == "/site" else w for w in program]])
"""


@posix
@pytest.mark.parametrize("name", ["docker", "podman"])
def test_a_container_is_started_without_a_network_and_removed(name, tmp_path, monkeypatch):
    """With a stand-in for the client, which runs the program where it is: this machine needs no daemon."""
    log, client = tmp_path / "log", tmp_path / name
    client.write_text(STAND_IN.format(log=str(log)), encoding="utf-8")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    wall.find.cache_clear()
    behind = wall.find(name, "an-image")
    wall.find.cache_clear()
    monkeypatch.setattr(child, "limit", None)  # not this process's
    result = judged(RIGHT, behind)
    assert result.right, str(result)
    assert result.wall == name
    assert (
        judged("def step_backward(**a):\n    while True: pass\n", behind, replace(EXERCISE, seconds=2.0)).status
        == "timeout"
    )
    tried, *runs = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert tried[-3:] == ["-I", "-c", "pass"]
    assert [words[0] for words in runs] == ["run", "rm"] * 2
    for started, removed in zip(runs[::2], runs[1::2]):
        assert removed == ["rm", "--force", started[started.index("--name") + 1]]
        line = " ".join(started)
        for part in (
            "--network none",
            "--read-only",
            "--cap-drop ALL",
            "no-new-privileges",
            "--pids-limit 8",
            "--memory ",
            "--user 65534:65534",
        ):
            assert part in line
        volumes = [started[k + 1] for k, word in enumerate(started) if word == "--volume"]
        assert len(volumes) == len(wall.programs()) + 1  # and the library
        assert all(volume.endswith(":ro") for volume in volumes)


# ---- gradient tests ----------------------------------------------------------------------------------------------------


@posix
@BOTH
@pytest.mark.parametrize(
    "code",
    [
        "def gradient_test(forward, backward):\n    assert False\n",
        "from pathlib import Path\nfrom scratchnet.cells import lstm\ndef gradient_test(forward, backward):\n    assert Path('cell.py').read_text() == Path(lstm.__file__).read_text()\n",
        "open('word.txt', 'wb').write(b'\\xff')\nimport os\nos._exit(0)\n",
        FRAMES + "forge(status='caught')\nos._exit(0)\n",
        FRAMES + "forge(status='right')\nos._exit(0)\n",
    ],
    ids=["always", "compares text", "a bad word", "forges caught", "forges right"],
)
def test_a_gradient_test_catches_nothing_without_looking(code, behind, monkeypatch):
    monkeypatch.setattr(wall, "find", lambda: behind)
    assert testing.grade_test(code, "rnn").share == 0


def test_a_gradient_test_that_counts_its_runs_is_found_out(tmp_path, monkeypatch):
    """It passes the first, which is right, and fails all others; the right one comes again among them."""
    monkeypatch.setattr(wall, "find", lambda: OPEN)
    code = f"from pathlib import Path\ndef gradient_test(forward, backward):\n    seen = Path({str(tmp_path / 'seen')!r})\n    if seen.exists(): assert False\n    seen.touch()\n"
    assert testing.grade_test(code, "rnn").share == 0


def test_a_gradient_tests_environment_is_not_passed_on(monkeypatch):
    monkeypatch.setenv("SCRATCHNET_CANARY", "here")
    code = (
        "import os\ndef gradient_test(forward, backward):\n    raise ValueError(os.environ.get('SCRATCHNET_CANARY'))\n"
    )
    assert testing.grade_test(code, "rnn").problem == "raised: ValueError: None"


# ---- files that are not opened -----------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("kind", ["a FIFO", "a link", "a folder", "a socket", "a device"])
def test_what_is_no_file_is_refused_before_it_is_opened(kind, tmp_path):
    path, secret = tmp_path / "ex1.py", tmp_path / "secret"
    secret.write_text("canary = 1 +\n", encoding="utf-8")
    if kind == "a device":
        path = Path("/dev/zero")
    elif kind == "a socket":
        server = socket.socket(socket.AF_UNIX)
        os.chdir(tmp_path)  # a socket's path may have 100 characters
        server.bind("ex1.py")
        server.close()
    else:
        {"a FIFO": os.mkfifo, "a link": lambda p: p.symlink_to(secret), "a folder": Path.mkdir}[kind](path)
    with pytest.raises(InvalidValueError, match=f"is {kind}: expected a regular file"):
        source_of(path)


def test_a_file_is_refused_by_its_size(tmp_path):
    path = tmp_path / "ex1.py"
    with path.open("wb") as file:
        file.truncate(10**12)  # sparse
    with pytest.raises(
        InvalidValueError, match=rf"has {10**12} bytes: expected a regular file of at most {MOST_SOURCE}"
    ):
        source_of(path)
    path.write_bytes(b"# " + b"x" * (MOST_SOURCE - 2))
    assert len(source_of(path)) == MOST_SOURCE


@posix
@pytest.mark.parametrize(
    ("make", "message"), [(os.symlink, "symbolic links"), (lambda _, path: os.mkfifo(path), "is a FIFO")]
)
def test_a_file_that_is_replaced_is_neither_followed_nor_waited_for(make, message, tmp_path, monkeypatch):
    path, secret = tmp_path / "ex1.py", tmp_path / "secret"
    secret.touch()
    usual = secret.lstat()
    make(secret, path)
    monkeypatch.setattr(Path, "lstat", lambda self: usual)
    with pytest.raises((OSError, InvalidValueError), match=message):
        source_of(path)


def test_a_file_in_a_codec_that_no_editor_writes_is_refused(tmp_path):
    path = tmp_path / "ex1.py"
    for codec in ("punycode", "utf-7", "rot13", "zlib_codec", "none_such"):
        path.write_bytes(f"# coding: {codec}\nx = 1\n".encode())
        with pytest.raises(InvalidValueError, match="cannot be read as Python"):
            source_of(path)
    for codec in ("latin-1", "cp1252", "utf-8", "gbk", "shift_jis", "koi8-r"):
        path.write_text(f"# coding: {codec}\nx = 1\n", encoding=codec)
        assert source_of(path).endswith("x = 1\n")


# ---- the grader --------------------------------------------------------------------------------------------------------


def timeless(grades):
    """The grades without the time that they took."""
    return [grade._replace(result=grade.result._replace(seconds=0.0)) for grade in grades]


def by_student(grades):
    return {grade.student: (grade.result.status, grade.result.points) for grade in grades}


@posix
def test_odd_files_cost_nobody_else(tmp_path):
    folder = tmp_path / "in"
    submit(folder, "alice", RIGHT)
    for student in ("fifo", "link", "sparse", "punycode"):
        (folder / student / "06").mkdir(parents=True)
    os.mkfifo(folder / "fifo" / "06" / "ex1.py")
    (folder / "link" / "06" / "ex1.py").symlink_to(folder / "alice" / "06" / "ex1.py")
    with (folder / "sparse" / "06" / "ex1.py").open("wb") as file:
        file.truncate(10**13)
    (folder / "punycode" / "06" / "ex1.py").write_bytes(b"# coding: punycode\n" + b"a9zq" * 10**5)
    (folder / "linked").symlink_to(folder / "alice")
    where = Path.cwd()
    deep = folder / "deep"
    deep.mkdir()
    try:
        os.chdir(deep)
        for _ in range(1500):
            os.mkdir("a")
            os.chdir("a")
        grades = by_student(grading.grade(folder, only=["06/ex1"], seed=1))
    finally:
        os.chdir(where)
        subprocess.run(["rm", "-rf", deep], check=True)
    odd = dict.fromkeys(("fifo", "link", "sparse", "punycode"), ("error", 0.0))
    assert grades == {"alice": ("right", 10.0), "deep": ("absent", 0.0), **odd}


NAMES = [
    '=HYPERLINK("http://x","y")',
    "+1",
    "-1",
    "@sum",
    " =1",
    "\t=1",
    "a\x01b",
    "a\ufffeb",
    "\x1b[31mred",
    "a\nb",
    "n" * 255,
    "..b",
    "<b>&",
    "\u202egnp",
    "عل\u200cی",
    "CON",
]


@posix
def test_names_of_students_break_no_report(tmp_path, capsys):
    nasty = "def step_backward(**a):\n    raise ValueError('=1 \\x1b[31m \\ufffe \\x01 \\ud800 <b>')\n"
    for name in NAMES:
        submit(tmp_path / "in", name, nasty)
    submit(tmp_path / "in", b"\xff\xfe".decode(errors="surrogateescape"), nasty)
    grades = grading.grade(tmp_path / "in", only=["06/ex1"])
    made = reports.write(grades, tmp_path / "out")
    assert len(made) == len({*made}) == 5 + 2 * (len(NAMES) + 1)
    assert all(path.is_file() for path in made)
    with (tmp_path / "out" / "report.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == len(NAMES) + 2
    for row in rows:
        assert not [cell for cell in row if cell.strip()[:1] in ("=", "+", "-", "@") and cell.strip()]
    suites = ET.parse(tmp_path / "out" / "junit.xml").getroot()
    assert len(suites) == len(NAMES) + 1
    assert suites[0].find("properties/property[@name='wall']").get("value") == HERE.name
    shown = [reports.table(grades), *(path.read_text(encoding="utf-8") for path in made)]
    for text in shown:
        assert not {c for c in text if not c.isprintable()} - {"\n", "\r", "\u200c"}
    assert any("عل\u200cی" in text for text in shown)
    assert plain("\ud83d", 9) == r"\ud83d"
    examples = doctest.testmod(sys.modules[plain.__module__])
    assert examples.attempted > examples.failed == 0


KILLS = """
import os, signal
for line in open(f"/proc/{os.getppid()}/stat").read().rpartition(")")[2].split()[1:2]:
    os.kill(int(line), signal.SIGKILL)
"""  # the grader is the parent of the parent

WAITS = """
import time
for _ in range(600):
    if any('"alice"' in line and '"result"' in line for line in open({journal!r})):
        break
    time.sleep(0.1)
"""


PATHS = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), *(str(ROOT / "course" / part) for part in ("students", "instructors"))])
}


def grade_command(folder, out, *words):
    return [sys.executable, "-m", "scratchnet", "course", "grade", folder, "--out", out, "--only", "06/ex1", *words]


def grader(folder, out, *words):
    command = grade_command(folder, out, *words)
    return subprocess.run(command, env=PATHS, capture_output=True, text=True, check=False, timeout=120)


@linux
def test_a_grader_that_is_killed_goes_on(tmp_path):
    """Without a wall a submission can end the grader; what was graded stays, and others lose nothing by it."""
    folder, out = tmp_path / "in", tmp_path / "out"
    for student in ("alice", "bob", "zoe"):
        submit(folder, student, RIGHT)
    # not before there is something to lose: on a busy machine alice's is graded late
    submit(folder, "mallory", WAITS.format(journal=str(out / "results.jsonl")) + KILLS + RIGHT)
    assert grader(folder, out, "--wall", "none").returncode == -signal.SIGKILL
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines() if line]
    done = [row["key"][0] for row in lines if "result" in row]
    assert {"alice", "mallory"} - {*done} == {"mallory"}
    assert not (out / "report.csv").exists()
    with (out / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write('\n{"key": ["al')  # as if the disk had been slower
    assert grader(folder, out, "--wall", "none", "--resume").returncode == -signal.SIGKILL
    last = grader(folder, out, "--wall", "none", "--resume")
    assert last.returncode == 0, last.stderr
    assert "wall: none (none was chosen)" in last.stdout
    assert "Without a wall a submission can read and change all that you can" in last.stdout
    with (out / "report.csv").open(encoding="utf-8") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert {name: row["points"] for name, row in rows.items()} == {
        "alice": "10",
        "bob": "10",
        "zoe": "10",
        "mallory": "0",
    }
    assert {row["wall"] for row in rows.values()} == {"none"}
    assert {int(row["seed"]) for row in rows.values()} == {lines[0]["seed"]}
    (result,) = [
        row for row in json.loads((out / "report.json").read_text(encoding="utf-8")) if row["student"] == "mallory"
    ]
    assert "the grader ended 2 times while it was running" in result["lines"][0]


@linux
@needs_wall
def test_a_grader_behind_a_wall_is_not_killed(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    submit(folder, "alice", RIGHT)
    submit(folder, "mallory", KILLS + RIGHT)
    done = grader(folder, out)
    assert done.returncode == 0, done.stderr
    assert "wall: bubblewrap" in done.stdout
    assert "Without a wall" not in done.stdout
    with (out / "report.csv").open(encoding="utf-8") as file:
        assert {row["student"]: (row["points"], row["wall"]) for row in csv.DictReader(file)} == {
            "alice": ("10", "bubblewrap"),
            "mallory": ("0", "bubblewrap"),
        }


@posix
def test_a_grader_that_is_interrupted_says_how_to_go_on(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    for student in ("alice", "bob"):
        submit(folder, student, "import time\ntime.sleep(2)\n" + RIGHT)
    running = subprocess.Popen(
        grade_command(folder, out, "--workers", "1"), env=PATHS, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    while not (out / "results.jsonl").exists() or '"alice"' not in (out / "results.jsonl").read_text(encoding="utf-8"):
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "go on with --resume" in said
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines() if line]
    assert [row["key"][0] for row in rows if "result" in row] == ["alice"]  # who was running was waited for
    assert grader(folder, out, "--resume").returncode == 0
    with (out / "report.csv").open(encoding="utf-8") as file:
        assert [row["points"] for row in csv.DictReader(file)] == ["10", "10"]


@pytest.mark.parametrize(
    "interrupted", [(ThreadPoolExecutor, "submit"), (threading.Thread, "start")], ids=["job", "thread"]
)
def test_an_interruption_while_jobs_are_handed_out_starts_none(interrupted, tmp_path, monkeypatch):
    """Ctrl-C can come before the main thread waits, and while a thread starts: then its pool does not wait for it."""
    started, (kind, method) = [], interrupted
    whole = getattr(kind, method)

    def cut(self, *arguments):
        whole(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(grading._Grader, "verdict", lambda self, job, again=False: started.append(job))
    monkeypatch.setattr(kind, method, cut)
    submit(tmp_path / "in", "alice", RIGHT)
    with pytest.raises(KeyboardInterrupt):
        grading.grade(tmp_path / "in", workers=1, behind=wall.find("none"), journal=tmp_path / "results.jsonl")
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(10)
    assert started == []


def test_grading_resumes_with_what_is_new(tmp_path, monkeypatch):
    folder, journal = tmp_path / "in", tmp_path / "out" / "results.jsonl"
    submit(folder, "alice", RIGHT)
    with pytest.raises(FileNotFoundError, match="there is nothing to resume"):
        grading.grade(folder, only=["06/ex1"], journal=journal, resume=True)
    submit(folder, "bob", WRONG)
    first = grading.grade(folder, only=["06/ex1"], journal=journal)
    ran = []
    monkeypatch.setattr(
        grading, "check_code", lambda e, code, seed, *rest: ran.append(code) or check_code(e, code, seed, *rest)
    )
    assert grading.grade(folder, only=["06/ex1"], journal=journal, resume=True) == first
    assert ran == []
    submit(folder, "bob", RIGHT)
    again = grading.grade(folder, only=["06/ex1"], journal=journal, resume=True)
    assert ran == [RIGHT]
    assert by_student(again) == dict.fromkeys(("alice", "bob"), ("right", 10.0))
    assert {grade.result.seed for grade in again} == {first[0].result.seed}
    with pytest.raises(InvalidValueError, match="was begun with"):
        grading.grade(folder, only=["06/ex1"], journal=journal, resume=True, seed=first[0].result.seed + 1)


def test_a_regrade_with_the_reports_seed_is_the_same(tmp_path):
    submit(tmp_path, "alice", WRONG)
    first = grading.grade(tmp_path, only=["06/ex1"])
    assert timeless(grading.grade(tmp_path, only=["06/ex1"], seed=first[0].result.seed)) == timeless(first)


@posix
@BOTH
def test_the_nasty_do_not_disturb_the_others(behind, tmp_path):
    """All that is forged, and some that hang, flood and kill, among good and wrong answers: the others' verdicts are equal."""
    folder = tmp_path / "in"
    mistaken = RIGHT.replace("into_c = dc_next + o", "into_c = o")
    for k in range(6):
        submit(folder, f"good{k}", RIGHT if k % 2 else mistaken)
    alone = grading.grade(folder, only=["06/ex1"], seed=5, behind=behind)
    for k, code in enumerate([*FORGED.values(), *FLOODS[:3]]):
        submit(folder, f"nasty{k}", code)
    together = grading.grade(folder, only=["06/ex1"], seed=5, behind=behind, workers=3)
    assert timeless(grade for grade in together if grade.student.startswith("good")) == timeless(alone)
    assert sum(grade.result.points for grade in alone) == 36  # three right, and three with one output of five
    nasty = [grade for grade in together if grade.student.startswith("nasty")]
    assert len(nasty) == len(FORGED) + 3
    assert sum(grade.result.points for grade in nasty) == 0


def test_a_check_of_ones_own_file_is_quiet_about_walls(tmp_path):
    path = tmp_path / "ex1.py"
    path.write_text(RIGHT, encoding="utf-8")
    result = check("06/ex1", path)
    assert isinstance(result, Verdict)
    assert "wall" not in str(result)
    assert sandbox.DIED.status not in sandbox.SAID
