"""Archives: .npz files of named arrays with plain facts about them, read without trusting them.

    save("model.npz", {"W": W}, {"format": 1})
    with opened("model.npz", "a checkpoint") as archive:
        archive.shapes["W"], archive.about, archive["W"]

A file may be damaged, or made to harm. Nothing is unpickled. Names, shapes and types are read from
the members' headers and compared with the members' sizes first; numbers are decompressed only when
they are looked up, so that what a reader does not want costs no memory.
"""

import json
import math
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.errors import FileError, InvalidValueError, MissingFileError, ScratchnetError
from scratchnet.files.writing import replace, require_path

ABOUT = "about"  # the member that holds the facts, as JSON
MOST_FACTS = 1 << 28  # bytes; every character takes four


def require_npz(path: str | Path) -> Path:
    """The path; ValueError unless it ends in .npz."""
    if require_path(path).suffix != ".npz":
        raise InvalidValueError(f"path is {path}: expected a name that ends in .npz")
    return Path(path)


def save(
    path: str | Path, arrays: Mapping[str, Array], about: Any = None, compress: bool = False
) -> None:
    """Write arrays (NumPy's) and facts (whatever JSON has) to ``path`` as a whole; see
    ``files.replace``."""
    path, members = require_npz(path), dict(arrays)
    if about is not None:
        if ABOUT in members:
            raise InvalidValueError(f"an array is named {ABOUT!r}: this name is for the facts")
        members[ABOUT] = np.array(json.dumps(about))
    with replace(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in members.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # without the time: equal contents, equal bytes
            entry.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


class Archive:
    """An open archive.

    Attributes
    ----------
    shapes, dtypes : by name, of every array but the facts.
    """

    def __init__(self, file: IO[bytes], path: str | Path, what: str) -> None:
        self.path, self.what = path, what
        if not zipfile.is_zipfile(file):
            raise self.refused("expected a complete .npz file")
        with self.guarded():
            self._zip = zipfile.ZipFile(file)
            self._members: dict[str, zipfile.ZipInfo] = {}
            self.shapes: dict[str, tuple[int, ...]] = {}
            self.dtypes: dict[str, np.dtype] = {}
            for member in self._zip.infolist():
                self._look_at(member)
        self.shapes.pop(ABOUT, None)
        self._about = self.dtypes.pop(ABOUT, None)

    def _look_at(self, member: zipfile.ZipInfo) -> None:
        """Read the header of one member: its shape and type, which must be those of its size."""
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise self.refused(f"{name} in it is not an array")
        if name in self._members:
            raise self.refused(f"{name} is in it twice")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self.refused(f"{name} in it is compressed in an unknown way")
        with self._zip.open(member) as opened:
            version = np.lib.format.read_magic(opened)
            if version != (1, 0):
                raise self.refused(f"{name} in it has a header of an unknown version {version}")
            shape, _, dtype = np.lib.format.read_array_header_1_0(opened)
            size = member.file_size - opened.tell()
        if dtype.hasobject or dtype.kind not in "biufcU" or (dtype.itemsize == 0 and shape):
            raise self.refused(
                f"expected an .npz file of plain arrays, but {name} in it is of type {dtype}"
            )
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size:
            raise self.refused(
                f"{name} in it claims the shape {shape} of {dtype} but holds {size} bytes"
            )
        self._members[name], self.shapes[name], self.dtypes[name] = member, shape, dtype

    @property
    def size(self) -> int:
        """How many numbers there are in all arrays."""
        return sum(map(math.prod, self.shapes.values()))

    @property
    def about(self) -> Any:
        """The facts; None where there are none."""
        if self._about is None:
            return None
        if self._about.kind != "U" or self._members[ABOUT].file_size > MOST_FACTS:
            raise self.refused(f"its {ABOUT!r} is not a text of at most {MOST_FACTS} bytes")
        with self.guarded():
            return json.loads(str(self._read(ABOUT)))

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def __getitem__(self, name: str) -> Array:
        """The numbers of one array."""
        if name not in self.shapes:
            raise self.refused(f"there is no {name!r} in it")
        with self.guarded():
            return self._read(name)

    def _read(self, name: str) -> Array:
        with self._zip.open(self._members[name]) as opened:
            # to the member's last byte, where the checksum is compared
            array: Array = np.lib.format.read_array(opened, allow_pickle=False)
        return array

    def refused(self, why: str) -> InvalidValueError:
        """The error that says why this is not what was expected."""
        return InvalidValueError(f"{self.path} is not {self.what}: {why}")

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn whatever the parsing of damaged bytes or facts raises into a ValueError with the
        file's name."""
        try:
            yield
        except ScratchnetError:
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise self.refused(f"expected an .npz file of plain arrays, but {reason}") from error


@contextmanager
def opened(path: str | Path, what: str) -> Iterator[Archive]:
    """The archive at ``path``, whose headers are checked; ``what`` it should be, "a checkpoint", is
    for messages.

    Raises
    ------
    FileNotFoundError : where there is none.
    FileError : where it cannot be read, with the reason; it is an OSError.
    ValueError : where it is damaged, or not an .npz file of plain arrays.
    """
    try:
        if not stat.S_ISREG(os.stat(require_path(path)).st_mode):  # a pipe would wait for a writer
            raise InvalidValueError(f"{path} is not {what}: expected a regular file")
        opened = open(path, "rb")  # noqa: SIM115  # closed below
    except FileNotFoundError:
        raise MissingFileError(f"{path}: there is no such file") from None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    with opened as file:
        yield Archive(file, path, what)
