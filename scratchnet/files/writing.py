"""Files: written as a whole or not at all. Everything that the library saves goes through here.

    with replace("model.npz") as file:
        file.write(...)

A program may be killed, and a disk may be full, at any moment. So the bytes go into a temporary
file in the same folder, from there to the disk (``fsync``), and only then does the temporary file
take the name, in one step of the file system: who reads the name finds the old file or the new one,
never a part of either. With two writers the last one wins, and each reader gets a whole file.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TextIO

from scratchnet.errors import FileWriteError, InvalidTypeError, InvalidValueError, MissingFileError


def require_path(path: str | os.PathLike[str]) -> Path:
    r"""The path; TypeError unless it is one, ValueError where no file can have this name.

    >>> require_path("a\0b")
    Traceback (most recent call last):
    scratchnet.errors.InvalidValueError: path is 'a\x00b': expected a name without NUL characters
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidTypeError(f"path is {path!r:.80}: expected the name of a file")
    if "\0" in str(path):
        raise InvalidValueError(
            f"path is {str(path)!r:.80}: expected a name without NUL characters"
        )
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise InvalidValueError(f"path is {str(path)!r:.80}: expected Unicode text") from None
    return Path(path)


@contextmanager
def replace(path: str | Path, text: bool = False) -> Iterator[IO[Any]]:
    """A new file, open for writing, which takes the name ``path`` when the block ends.

    Where an exception ends the block, Ctrl-C too, the temporary file is removed and the old file
    stays. The old file's permissions and, where that is allowed, its owner are kept; a new file
    gets the usual ones. A symbolic link stays a link: the file that it points to is replaced. What
    is not a regular file, such as /dev/stdout, is written to directly. A kill leaves a temporary
    file, ".NAME.RANDOM.tmp", which may be deleted.

    Parameters
    ----------
    path : the file's name; its folder must exist.
    text : open it for text, in UTF-8 and without translating line ends; False: for bytes.

    Raises
    ------
    FileNotFoundError : where there is no such folder.
    FileWriteError : where the file cannot be written, by name and reason; it is an OSError.
    """
    target = Path(os.path.realpath(require_path(path)))
    try:
        if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
            with _open(Path(path), os.O_WRONLY, text) as file:
                yield file
            return
        old = _old(target)
        temporary = target.with_name(f".{target.name[:50]}.{secrets.token_hex(8)}.tmp")
        # O_EXCL: never somebody else's file, nor through somebody else's link
        opened = _open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, text)
        try:
            with opened as file:
                if old is not None:
                    _keep_permissions(file.fileno(), old)
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)
    except (BrokenPipeError, FileWriteError):  # a pipe's reader has gone; or said already
        raise
    except OSError as error:
        raise _explained(error, path) from error


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to the file as a whole, in UTF-8; see ``replace``."""
    with replace(path, text=True) as file:
        file.write(text)


def save_figure(figure: Any, path: str | Path) -> None:
    """Write a Matplotlib figure as a whole, in the format of the name's ending (none: PNG)."""
    kind = Path(path).suffix[1:].lower() or "png"
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise InvalidValueError(
            f"path is {path}: expected a name that ends in one of .{', .'.join(sorted(known))}"
        )
    with replace(path) as file:
        figure.savefig(file, format=kind)


def start_lines(path: str | Path) -> TextIO:
    """An empty file for lines that are written as they come: a log, not a saved whole.

    A line is in the file once it is flushed; a kill loses at most the line that is being written.
    """
    try:
        return open(require_path(path), "w", newline="", encoding="utf-8")
    except OSError as error:
        raise _explained(error, path) from error


def require_folder(path: str | Path) -> None:
    """MissingFileError unless the folder of this file is there: to be asked before hours of work
    whose result will be written to it."""
    folder = require_path(path).parent
    if not os.path.isdir(folder):
        raise MissingFileError(f"{path}: there is no folder {folder}: make it first")


def make_folder(path: str | Path) -> Path:
    """The folder, made with its parents where it is missing."""
    folder = require_path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileWriteError(f"{path}: the folder was not made: {error.strerror}") from error
    return folder


def _old(target: Path) -> os.stat_result | None:
    """What is there, if anything; raises where it cannot be replaced."""
    try:
        old = os.stat(target, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if stat.S_ISLNK(old.st_mode):  # realpath has followed all others: a circle
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(target))
    if not os.access(target, os.W_OK):  # a folder's owner could replace it all the same
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    return old


def _open(path: Path, flags: int, text: bool) -> IO[Any]:
    # 0o666 less the umask, as for any new file
    handle = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
    if text:
        return open(handle, "w", newline="", encoding="utf-8")
    return open(handle, "wb")


def _keep_permissions(handle: int, old: os.stat_result) -> None:
    if not hasattr(os, "fchown"):
        return
    new = os.fstat(handle)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with suppress(PermissionError):
            os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk, where the system can: the file itself is there already."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _explained(error: OSError, path: str | Path) -> OSError:
    """The same error with the name that the caller knows, and what became of the old file."""
    if not os.path.isdir(Path(path).parent):
        return MissingFileError(f"{path}: there is no folder {Path(path).parent}: make it first")
    reason = error.strerror or str(error)
    explained = FileWriteError(
        f"{path} was not written: {reason}; a file that was there is unchanged"
    )
    explained.errno, explained.filename, explained.strerror = error.errno, str(path), reason
    return explained
