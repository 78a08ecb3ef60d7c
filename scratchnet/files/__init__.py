"""Files: whatever the library saves is written as a whole, and what it loads is not trusted."""

from scratchnet.files.writing import (
    make_folder,
    replace,
    require_folder,
    require_path,
    save_figure,
    start_lines,
    write_text,
)

__all__ = [
    "make_folder",
    "replace",
    "require_folder",
    "require_path",
    "save_figure",
    "start_lines",
    "write_text",
]
