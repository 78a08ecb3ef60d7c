"""The wall around a student's program: what it can see, write, use and start.

Behind a wall the program sees Python, the packages below and the library, all read-only; an empty
folder to write in; no network, no other process, and no environment of the grader's. It does not
see the course, its answers, other submissions or anyone's home. The wall is bubblewrap on Linux,
or a container of Docker or Podman. Where root grades, in a platform's own container, the program
can run under another account, which sees what everybody may read but not the instructor's package,
and starts no process. Where there is none, `sandbox` still limits time and memory, and says that
there is no wall.
"""

import contextlib
import importlib.util
import os
import shutil
import site
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

import scratchnet
from scratchnet.arrays import require_one_of
from scratchnet.errors import InvalidValueError, UnavailableError
from scratchnet_course import child, packs

WALLS = ("auto", "bubblewrap", "docker", "podman", "account", "none")
PROGRAMS = {"bubblewrap": "bwrap"}
# Become the account, and say which of the instructor's folders it can read all the same.
BECOME = """
import os, sys
os.setgroups([]), os.setresgid(*[{0}] * 3), os.setresuid(*[{0}] * 3)
import decimal, json
print(*(path for path in sys.argv[1:] if os.access(path, os.R_OK | os.X_OK)))
"""
LIBRARY = Path(scratchnet.__file__).parent
MEGABYTES = 4096  # of address space: NumPy's BLAS reserves a good part of it without using it
# What an answer may import besides Python's own modules: the library, what it needs, and SciPy.
PACKAGES = (
    *("scratchnet", "numpy", "numpy.libs", "scipy", "scipy.libs", "tqdm", "matplotlib"),
    *("mpl_toolkits", "contourpy", "cycler", "dateutil", "fontTools", "kiwisolver", "packaging"),
    *("PIL", "pillow.libs", "pyparsing", "six"),
)
SYSTEM = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib32", "/lib64")
SYSTEM_PYTHONS = (Path("/usr/lib/python3"),)  # Debian's packages
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/usr/share/zoneinfo")
SITE, CHILD = "/site", "/child.py"  # inside
# the child, and what it loads beside it
LOADED = ("child", "probe", "edits", "forms", "repair", "reached", "substitute", "moments")
TMP_BYTES = 64 << 20
# One thread: many programs run side by side.
THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
INSIDE = {"HOME": "/tmp", "LANG": "C.UTF-8", **THREADS}


class Wall(NamedTuple):
    """One kind of wall, found on this machine. ``bool(wall)`` is False where there is none."""

    name: str  # bubblewrap, docker, podman, account, none
    why: str = ""  # of none
    program: str = ""
    image: str = ""  # of a container

    def __bool__(self) -> bool:
        return self.name != "none"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the program that starts the child: nothing of the grader's but what
        it takes to start it."""
        if self.name in ("bubblewrap", "account"):
            return INSIDE
        kept = ("PATH", "SYSTEMROOT", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP")
        client = ("HOME", "DOCKER_HOST", "XDG_RUNTIME_DIR") if self else ()  # stays outside
        return {name: os.environ[name] for name in (*kept, *client) if name in os.environ} | THREADS

    def command(self, name: str = "", program: Sequence[str] = ()) -> list[str]:
        """The command that runs ``child.py``, or another program of Python.

        Parameters
        ----------
        name
            Of the container.
        program
            Python's arguments.
        """
        run = [*program] or [CHILD, SITE]
        if self.name == "bubblewrap":
            return [self.program, *bubblewrap(os.geteuid() == 0), *run]
        if self.image:
            return [self.program, *container(self.image, name), *run]
        run = [*program] or [child.__file__, *map(str, site_folders())]
        return [sys.executable, "-I", "-S", *run]

    def end(self, name: str) -> None:
        """End what `command` has started and killing its process does not."""
        if self.image:
            words = [self.program, "rm", "--force", name]
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(words, capture_output=True, check=False, timeout=60)


@cache
def find(name: str = "auto", image: str = "") -> Wall:
    """Return the wall of this machine, tried with an empty program.

    Parameters
    ----------
    name
        One of `WALLS`; "auto" is bubblewrap where it works, and none elsewhere.
    image
        Of Docker and Podman: an image with Python and NumPy.

    Raises
    ------
    ValueError
        If there is no wall of that name, or a container is named without an image.
    RuntimeError
        If the wall does not work here; never for "auto" and "none".
    """
    require_one_of("wall", name, WALLS)
    if (name in ("docker", "podman")) != bool(image):
        raise InvalidValueError(
            f"wall is {name!r} and image is {image!r}: docker and podman need an image with Python"
            " and NumPy, and no other wall takes one"
        )
    if name == "none":
        return Wall("none", "none was chosen")
    reasons = []
    for kind in ("bubblewrap", "account") if name == "auto" else (name,):
        program = sys.executable if kind == "account" else shutil.which(PROGRAMS.get(kind, kind))
        wall = Wall(kind, "", program or "", image)
        why = _tried(wall) if program else f"{kind} is not installed"
        if not why:
            return wall
        reasons.append(why)
    if name != "auto":
        raise UnavailableError(reasons[0])
    return Wall("none", reasons[0])


def _tried(wall: Wall) -> str:
    """Why the wall does not work here, "" if it does."""
    program, account = ["-c", "pass"], wall.name == "account"
    if account:
        if os.name != "posix" or os.geteuid() != 0:
            return "account does not work here: only root can change to another account"
        secret = [*_instructor(), *packs.named()]  # where right answers are
        program = ["-c", BECOME.format(child.NOBODY), *map(str, secret)]
    try:
        done = subprocess.run(
            wall.command(program=program),
            env=wall.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{wall.name} does not work here: {error}"
    if done.returncode == 0 and not (account and done.stdout.strip()):
        return ""
    if done.returncode == 0:
        return f"account does not work here: everybody can read {done.stdout.strip()}: chmod -R go="
    said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return f"{wall.name} does not work here: {said}"


@cache
def site_folders() -> list[Path]:
    """The folders in which this Python's packages are installed, the library's first."""
    found = [LIBRARY.parent, Path(np.__file__).parents[1]]
    found += [Path(sysconfig.get_path(key)) for key in ("purelib", "platlib")]
    found += [Path(folder) for folder in (*site.getsitepackages(), site.getusersitepackages())]
    return [folder for folder in dict.fromkeys(found) if folder.is_dir()]


@cache
def packages() -> dict[str, Path]:
    """The packages of `PACKAGES` that are installed: name -> folder or file."""
    found: dict[str, Path] = {}
    for name in PACKAGES:
        for path in (folder / file for folder in site_folders() for file in (name, f"{name}.py")):
            if path.exists():
                found.setdefault(path.name, path.resolve())
    return found


@cache
def bubblewrap(root: bool) -> list[str]:
    """The words after ``bwrap``.

    Parameters
    ----------
    root
        Whether root starts it: then no user namespace is needed, and `child.limit` becomes nobody,
        because root has no limit of processes. Others become nobody in a user namespace.
    """
    base, python = Path(sys.base_prefix).resolve(), Path(sys.executable).resolve()
    bound = [Path(path) for path in (*SYSTEM, *SYSTEM_FILES, python, base / "lib", base / "lib64")]
    bound = [path for path in dict.fromkeys(bound) if path.exists() and not path.is_symlink()]

    def is_bound(path: Path, but: Path | None = None) -> bool:
        return any(path.is_relative_to(one) for one in bound if one != but)

    bound = [path for path in bound if not is_bound(path, but=path)]
    # Packages lie inside what is bound, too: only those that are allowed come back.
    stdlib = Path(sysconfig.get_path("stdlib")).resolve()
    hidden = [Path(__file__).parent, *_instructor(), *site_folders()]
    hidden += [over / "site-packages" for over in (stdlib, *SYSTEM_PYTHONS)]
    hidden += [over / "dist-packages" for over in (stdlib, *SYSTEM_PYTHONS)]
    hidden = [path for path in dict.fromkeys(hidden) if path.is_dir() and is_bound(path)]
    shown = {Path(SITE, name): path for name, path in packages().items()}
    shown |= {Path("/", path.name): path for path in programs()}
    # bwrap 0.8 makes the folders above a mount for root alone, unless they are there
    above = {parent for path in (*bound, *shown, Path("/dev/null")) for parent in path.parents}
    above = {path for path in above if path not in (Path("/"), Path("/tmp")) and not is_bound(path)}
    words = ["--die-with-parent", "--new-session", "--unshare-cgroup-try"]
    words += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    words += ["--cap-drop", "ALL"]
    if root:
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user", "--uid", str(child.NOBODY), "--gid", str(child.NOBODY)]
    words += ["--perms", "1777", "--size", str(TMP_BYTES), "--tmpfs", "/tmp"]
    for path in sorted(above):
        words += ["--dir", str(path)]
    for path in bound:
        words += ["--ro-bind", str(path), str(path)]
    for link in filter(os.path.islink, SYSTEM):  # /lib is /usr/lib on most systems
        words += ["--symlink", os.readlink(link), link]
    for path in hidden:
        words += ["--tmpfs", str(path), "--remount-ro", str(path)]
    for path, source in shown.items():
        words += ["--ro-bind", str(source), str(path)]
    for device in ("/dev/null", "/dev/urandom"):
        words += ["--dev-bind", device, device]
    words += ["--remount-ro", "/", "--chdir", "/tmp"]
    return [*words, str(python), "-I", "-S"]


def programs() -> list[Path]:
    """The files that run inside."""
    return [Path(child.__file__).with_name(f"{name}.py") for name in LOADED]


def _instructor() -> list[Path]:
    """The folder of the instructor's package, where it is installed."""
    spec = importlib.util.find_spec("scratchnet_instructor")
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []


def container(image: str, name: str) -> list[str]:
    """The words after ``docker`` or ``podman``; the image has NumPy, the library comes from
    here."""
    words = ["run", "--rm", "--interactive", "--network", "none", "--read-only"]
    words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    words += ["--user", f"{child.NOBODY}:{child.NOBODY}", "--pids-limit", "8"]
    words += ["--memory", f"{MEGABYTES}m", "--cpus", "1", "--workdir", "/tmp"]
    words += ["--tmpfs", f"/tmp:rw,size={TMP_BYTES},mode=1777"]
    for key, value in INSIDE.items():
        words += ["--env", f"{key}={value}"]
    shown = {f"/{path.name}": path for path in programs()} | {f"{SITE}/scratchnet": LIBRARY}
    for target, source in shown.items():
        words += ["--volume", f"{source.resolve()}:{target}:ro"]
    named = ["--name", name] if name else []
    return [*words, *named, image, "python", "-I"]
