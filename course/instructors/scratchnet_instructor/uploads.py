"""Who handed in which files: the archives that learning platforms export, and plain folders.

    gradescope   submission_metadata.yml, and submission_123/ with a student's files
    canvas       lovelaceada_LATE_45_678_ex1.py: name, late or not, user, submission, own name
    moodle       Ada Lovelace_123_assignsubmission_file_/, or that before each file's name
    nbgrader     submitted/ada/ASSIGNMENT/, with a timestamp.txt
    folders      ada/, with the files at any depth, or flat: ada_06_ex1.py

Each may be a folder or an archive, and a student's own upload may be an archive, too.
"""

import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import yaml

from scratchnet.errors import InvalidValueError, MissingFileError

DEEPEST = 12  # folders inside each other; a submission can bring thousands
MOST_FILES, MOST_BYTES = 2000, 200_000_000  # of a student's archive, unpacked
STUDENTS = 1000  # whose files an export may hold
ARCHIVE = re.compile(r"\.(zip|tar|tgz|tar\.(gz|bz2|xz))$", re.I)
METADATA = "submission_metadata.yml"
CANVAS = re.compile(r"(?P<who>[^_\W][^_]*_)(?P<late>LATE_)?(?P<user>\d+)_\d+_(?P<file>.+)", re.S)
MOODLE = re.compile(r"(?P<who>.+_\d+)_assignsubmission_(file|onlinetext)_?(?P<file>.*)", re.S)
FLAT = re.compile(r"(?P<who>.+?)[_-](?P<file>\d\d[_-]?ex\d+\.(py|ipynb))", re.S | re.I)
SHEET = re.compile(r"[a-z_ -]*\d+.*|assignments?|homework|exercises?", re.I)  # no student's name
OURS = re.compile(r"all|\d{4}")  # the folders into which archives are unpacked
TOOLS = re.compile(  # what editors and systems leave behind
    r"\._.*|\.(DS_Store|git|svn|idea|vscode|venv|ipynb_checkpoints|\w+_cache)|v?env|__MACOSX"
    r"|__pycache__|node_modules|site-packages"
)


class Upload(NamedTuple):
    """One file that a student handed in."""

    student: str
    path: Path  # where it lies
    name: tuple[str, ...]  # what the student called it, with its folders
    when: datetime | None = None
    late: bool = False  # where the platform says so, but not when


class LeftOut(NamedTuple):
    """A file that was not graded, and why."""

    student: str
    file: str
    because: str


class Uploads(NamedTuple):
    """All that a class handed in."""

    layout: str
    files: list[Upload]
    students: list[str]  # also those without a file
    left_out: list[LeftOut]
    returns: dict[str, str]  # student -> the name under which the platform takes feedback


def uploads(given: Path, unpacked: Path) -> Uploads:
    """Return who handed in what.

    Parameters
    ----------
    given
        A folder or an archive.
    unpacked
        A folder that is made where there are archives to unpack.

    Raises
    ------
    FileNotFoundError
        If ``given`` does not exist.
    ValueError
        If it is an archive that cannot be read.
    """
    for old in unpacked.glob("*"):  # of an earlier run: what was handed in since would be lost
        if old.is_dir() and OURS.fullmatch(old.name):
            shutil.rmtree(old)
    if given.is_file() and ARCHIVE.search(given.name):
        try:
            given = unpack(given, unpacked / "all", STUDENTS)
        except InvalidValueError as error:
            raise InvalidValueError(f"{given}: {error}") from None
    if not given.is_dir():
        raise MissingFileError(f"{given} is not a folder of submissions")
    return _Reader(_root(given), unpacked).read()


def _root(folder: Path) -> Path:
    """The folder in which the students' folders lie: inside an export's only folder."""
    while True:
        inner = list(folder.iterdir())
        if len(inner) != 1 or not inner[0].is_dir() or inner[0].is_symlink():
            return folder
        below = list(inner[0].iterdir())
        students = [p for p in below if p.is_dir() and not SHEET.fullmatch(p.name)]
        told = any(_platform(p.name) or p.name == METADATA for p in below)
        if not (told or inner[0].name == "submitted" or len(students) >= 2):
            return folder
        folder = inner[0]


def _platform(name: str) -> re.Match[str] | None:
    return MOODLE.fullmatch(name) or CANVAS.fullmatch(name)


def of_one(student: str, folder: Path, unpacked: Path) -> Uploads:
    """Return what one student handed in, of a folder that holds nothing else."""
    reader = _Reader(folder, unpacked)
    reader.take(Upload(student, folder, ()))
    return reader.found()


class _Reader:
    """Reads one folder of submissions."""

    def __init__(self, root: Path, unpacked: Path) -> None:
        self.root, self.unpacked = root, unpacked
        self.layout = "folders"
        self.files: list[Upload] = []
        self.students: list[str] = []
        self.left_out: list[LeftOut] = []
        self.returns: dict[str, str] = {}
        self.people = _people(root / METADATA)

    def read(self) -> Uploads:
        """Go through the entries of the root, which say whose they are."""
        for path in sorted(self.root.iterdir()):
            if path.name == METADATA or TOOLS.fullmatch(path.name):
                continue
            folder = path.is_dir() and not path.is_symlink()
            if path.name in self.people:
                self.layout = "gradescope"
                for student, when in self.people[path.name]:
                    self.take(Upload(student, path, (), when))
                continue
            for layout, pattern in (("moodle", MOODLE), ("canvas", CANVAS), ("folders", FLAT)):
                found = None if folder and layout != "moodle" else pattern.fullmatch(path.name)
                if found:
                    self.layout = layout
                    parts = found.groupdict()
                    who = parts["who"] + (parts.get("user") or "")
                    name = (parts["file"],) if parts["file"] else ()
                    before = path.name.removesuffix(parts["file"]) + ("/" if folder else "")
                    if layout != "folders":
                        self.returns.setdefault(who, f"{before}feedback.txt")
                    self.take(Upload(who, path, name, late=bool(parts.get("late"))))
                    break
            else:
                archive = ARCHIVE.search(path.name)
                if folder:
                    self._folder(path)
                elif archive:
                    self.take(Upload(path.name[: archive.start()], path, (path.name,)))
                else:
                    why = (
                        "nothing says whose it is: expected STUDENT/06/ex1.py or STUDENT_06_ex1.py"
                    )
                    self.left_out.append(LeftOut("", path.name, why))
        return self.found()

    def found(self) -> Uploads:
        """All that was read."""
        students = list(dict.fromkeys(self.students))
        return Uploads(self.layout, self.files, students, self.left_out, self.returns)

    def _folder(self, path: Path) -> None:
        """A student's folder; nbgrader's has one for each assignment, with the time."""
        stamps = {stamp.parent: _time(stamp) for stamp in path.glob("*/timestamp.txt")}
        if self.root.name == "submitted" or stamps:
            self.layout = "nbgrader"
            self.students.append(path.name)
            try:
                inner = sorted(path.iterdir())
            except OSError as error:
                self.left_out.append(LeftOut(path.name, path.name + "/", str(error)))
                return
            for one in inner:
                self.take(Upload(path.name, one, (one.name,), stamps.get(one)))
        else:
            self.take(Upload(path.name, path, ()))

    def take(self, upload: Upload) -> None:
        """Add a file, those of a folder, or those of an archive."""
        self.students.append(upload.student)
        self.files += self._walk(upload, DEEPEST)

    def _walk(self, upload: Upload, deep: int) -> Iterator[Upload]:
        path, shown = upload.path, "/".join(upload.name)
        try:
            kind = path.lstat().st_mode
            if stat.S_ISDIR(kind):
                entries = sorted(path.iterdir())
            elif stat.S_ISREG(kind) and ARCHIVE.search(path.name):
                inside = unpack(path, self.unpacked / f"{len(list(self.unpacked.glob('*'))):04d}")
                yield from self._walk(upload._replace(path=inside, name=upload.name[:-1]), deep)
                return
            else:
                yield upload
                return
        except (OSError, InvalidValueError) as error:
            self.left_out.append(LeftOut(upload.student, shown, str(error)))
            return
        if not deep:
            why = f"it is more than {DEEPEST} folders deep"
            self.left_out.append(LeftOut(upload.student, shown + "/", why))
            return
        for entry in entries:
            if not TOOLS.fullmatch(entry.name) and entry.name != "timestamp.txt":
                inner = upload._replace(path=entry, name=(*upload.name, entry.name))
                yield from self._walk(inner, deep - 1)


def _people(path: Path) -> dict[str, list[tuple[str, datetime | None]]]:
    """Gradescope's metadata: folder -> those who handed it in, and when."""
    try:
        whole = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {
            str(folder): [
                (_name(one, str(folder)), _moment(row.get(":created_at"))) for one in people
            ]
            for folder, row in whole.items()
            if (people := row.get(":submitters") or [{}])
        }
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, AttributeError, TypeError, UnicodeDecodeError):
        raise InvalidValueError(
            f"{path} cannot be read: expected submissions with :submitters, as Gradescope writes it"
        ) from None


def _name(person: dict[str, object], folder: str) -> str:
    """What a student is called in the reports: the number, the address or the name."""
    known = (person.get(key) for key in (":sid", ":email", ":name"))
    return next((str(one) for one in known if one), folder)


def _time(path: Path) -> datetime | None:
    with suppress(OSError, UnicodeDecodeError):
        return _moment(path.read_text(encoding="utf-8").strip())
    return None


def _moment(value: object) -> datetime | None:
    """A time as platforms write it, in UTC where nothing else is said; None where it is none."""
    if isinstance(value, str):
        text = re.sub(r"\s*(UTC|Z)$", "+00:00", value.strip())
        text = re.sub(r" ([+-]\d\d):?(\d\d)$", r"\1:\2", text)
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


# ---- archives ----------------------------------------------------------------------------------


def unpack(path: Path, into: Path, students: int = 1) -> Path:
    """Unpack an archive's regular files into a new folder, and return that.

    Parameters
    ----------
    path, into
        The archive and the folder.
    students
        How many it may be of: the limits are theirs together.

    Raises
    ------
    ValueError
        If it cannot be read, or has more files or bytes than somebody has written by hand. What
        was unpacked until then stays.
    """
    files, size = 0, 0
    most_files, most_bytes = MOST_FILES * students, MOST_BYTES * students
    try:
        for name, file in _members(path):
            files += 1
            data = file.read(MOST_BYTES + 1)
            size += len(data)
            if files > most_files or size > most_bytes or len(data) > MOST_BYTES:
                raise InvalidValueError(
                    f"the archive has more than {most_files} files or {most_bytes} bytes"
                )
            target = into.joinpath(*_parts(name))
            if target.exists() or target.parent.is_file():
                continue  # the archive names a file twice
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    except InvalidValueError:
        raise
    except Exception as error:  # zipfile and tarfile raise dozens of kinds: encrypted, cut off, ...
        raise InvalidValueError(f"the archive cannot be read: {error}") from None
    into.mkdir(parents=True, exist_ok=True)
    return into


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The regular files of an archive: no folders, links or devices."""
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for one in archive.infolist():
                if not one.is_dir():
                    with archive.open(one) as file:
                        yield one.filename, file
        return
    with tarfile.open(path) as tape:
        for member in tape:
            content = tape.extractfile(member) if member.isreg() else None
            if content is not None:
                yield member.name, content


def _parts(name: str) -> list[str]:
    """A member's name as one that every system takes, inside the folder."""
    parts = [p for p in PurePosixPath(name.replace("\\", "/")).parts if p not in ("/", "..", ".")]
    clean = [re.sub(r'[<>:"|?*\x00-\x1f]', "_", part)[:100].rstrip(". ") or "_" for part in parts]
    return clean[-DEEPEST:] or ["_"]
