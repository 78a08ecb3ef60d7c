"""Write many files into a folder, each as a whole."""

from collections.abc import Mapping
from pathlib import Path

from scratchnet.files.writing import replace


def write(folder: Path, content: Mapping[str, bytes]) -> list[Path]:
    """Write files, by their names below the folder; returns their paths."""
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace(path) as file:
            file.write(data)
    return [folder / name for name in content]
