"""Wheels of what is installed here: the library, the course and this package, for another machine.

Whoever grades with these wheels grades with what was tried here, from a checkout or not.
"""

import base64
import hashlib
import zipfile
from importlib.metadata import Distribution, distribution
from importlib.util import find_spec
from pathlib import Path

from scratchnet_course import compiled
from scratchnet_course.command import material

from scratchnet.errors import MissingFileError
from scratchnet_instructor import solutions

PACKAGES = {
    "scratchnet-rnn": ("scratchnet", "scratchnet_kernels"),
    "scratchnet-course": ("scratchnet_course",),
    "scratchnet-instructor": ("scratchnet_instructor",),
}
TAG = "py3-none-any"


def wheels(into: Path, instructor: bool = True) -> list[Path]:
    """Write the wheels into a folder; returns their paths.

    Parameters
    ----------
    into
        The folder, which is made.
    instructor
        Whether to write that of the instructor's package, too: no student may get it.
    """
    for build in (material, compiled.answers, solutions):
        build()  # on first use
    into.mkdir(parents=True, exist_ok=True)
    names = [name for name in PACKAGES if instructor or name != "scratchnet-instructor"]
    return [_wheel(distribution(name), PACKAGES[name], into) for name in names]


def _wheel(known: Distribution, packages: tuple[str, ...], into: Path) -> Path:
    """Write one wheel: the packages' files, what is known of the distribution, and the record."""
    stem = f"{known.name.replace('-', '_')}-{known.version}"
    info = f"{stem}.dist-info"
    content: dict[str, bytes] = {}
    for package in packages:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        (place,) = map(Path, spec.submodule_search_locations)
        content |= {
            f"{package}/{path.relative_to(place).as_posix()}": path.read_bytes()
            for path in sorted(place.rglob("*"))
            if path.is_file() and path.suffix != ".pyc"
        }
    metadata = known.read_text("METADATA") or known.read_text("PKG-INFO")
    if metadata is None:
        raise MissingFileError(f"{known.name} is not installed as a distribution: no METADATA")
    said = f"Wheel-Version: 1.0\nGenerator: scratchnet\nRoot-Is-Purelib: true\nTag: {TAG}\n"
    content[f"{info}/METADATA"] = metadata.encode()
    content[f"{info}/WHEEL"] = said.encode()
    points = known.read_text("entry_points.txt")
    if points:
        content[f"{info}/entry_points.txt"] = points.encode()
    rows = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    path = into / f"{stem}-{TAG}.whl"
    archive(path, content)
    return path


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def archive(path: Path, content: dict[str, bytes], programs: tuple[str, ...] = ()) -> None:
    """Write a zip, the same bytes for the same content; ``programs`` may be executed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as whole:
        for name, data in content.items():
            one = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            one.external_attr = (0o755 if name in programs else 0o644) << 16
            one.compress_type = zipfile.ZIP_DEFLATED
            whole.writestr(one, data)
