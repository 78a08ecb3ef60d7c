"""The program that runs a student's file in a separate process: it computes and decides nothing.

    python -I child.py TASK_FOLDER

In the folder: ``code.py``, the file; ``task.json`` with the function's name and limits;
``case0.npz``, ... with arguments. Out come ``case0.out.npz``, ... and ``report.json``. Imports
nothing of the library: what a student's code can reach from here must not be able to change what it
is compared with.
"""

import contextlib
import io
import json
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

MOST_TEXT = 4000  # characters of what the code printed


class Printed(io.TextIOBase):
    """What is printed: the first of it is kept, all of it counted."""

    def __init__(self) -> None:
        super().__init__()
        self.kept, self.count = "", 0

    def write(self, text: str) -> int:
        """Keep what there is still room for."""
        self.kept += (
            text[: MOST_TEXT - len(self.kept)].encode("utf-8", "backslashreplace").decode("utf-8")
        )
        self.count += len(text)
        return len(text)


def limit(seconds: float, megabytes: int) -> None:
    """Processor time, memory and size of files, where the system can limit them (not on
    Windows)."""
    try:
        import resource
    except ImportError:
        return
    for what, most in (
        (resource.RLIMIT_CPU, int(seconds) + 1),
        (resource.RLIMIT_FSIZE, 20_000_000),
        (resource.RLIMIT_AS, megabytes << 20),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))


def of_student(error: BaseException, code: Path) -> str:
    """The traceback from the student's first own line on."""
    frames = traceback.extract_tb(error.__traceback__)
    own = next((k for k, frame in enumerate(frames) if frame.filename == str(code)), len(frames))
    shown = traceback.format_list(frames[own:]) + traceback.format_exception_only(error)
    return "".join(shown).replace(str(code), code.name)


def flat(value: Any) -> tuple[str, list[Any]]:
    """How a returned value is put together ("one", "list" or names), and its parts."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return json.dumps([str(name) for name in value]), list(value.values())
    if isinstance(value, (tuple, list)):
        return "list", list(value)
    return "one", [value]


def main(folder: Path) -> None:
    """Run the function on every case."""
    code, task = folder / "code.py", json.loads((folder / "task.json").read_text(encoding="utf-8"))
    limit(task["seconds"], task["megabytes"])
    sys.path[:0] = [path for path in task["paths"] if path not in sys.path]
    sys.modules["scratchnet_course"] = None  # type: ignore[assignment]  # the answers lie there: an import of it fails
    printed = Printed()
    report: dict[str, Any] = {"status": "ran", "text": "", "changed": []}
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            space: dict[str, Any] = {"__name__": "student", "__file__": str(code)}
            exec(compile(code.read_text(encoding="utf-8"), str(code), "exec"), space)
            function: Any = space.get(task["function"])
            if not callable(function):
                defined = [
                    name for name, v in space.items() if callable(v) and not name.startswith("_")
                ]
                report |= {"status": "missing", "text": ", ".join(defined)}
            for number in range(task["cases"] if report["status"] == "ran" else 0):
                with np.load(folder / f"case{number}.npz", allow_pickle=False) as file:
                    before = {name: file[name] for name in file.files}
                given = {name: v.item() if v.ndim == 0 else v.copy() for name, v in before.items()}
                how, parts = flat(function(**given))
                own = [name for name, v in given.items() if isinstance(v, np.ndarray)]
                changed = [
                    name
                    for name in own
                    if not np.array_equal(given[name], before[name], equal_nan=True)
                ]
                report["changed"] += [name for name in changed if name not in report["changed"]]
                arrays: dict[str, Any] = {}
                for k, part in enumerate(parts):
                    array = np.asarray(part)
                    if array.dtype.kind not in "fiub" and report["status"] == "ran":
                        of = f" of {array.dtype}" if isinstance(part, np.ndarray) else ""
                        kind = f"{type(part).__name__}{of}"
                        report |= {
                            "status": "type",
                            "text": f"{k if len(parts) > 1 else -1}|{kind}",
                        }
                    if array.dtype.kind not in "fiub":
                        array = np.zeros(0)
                    arrays[f"part{k:03d}"] = array
                np.savez(folder / f"case{number}.out.npz", how=np.array(how), **arrays)
    except NotImplementedError as error:
        report |= {"status": "empty", "text": str(error)}
    except MemoryError:
        report |= {"status": "memory", "text": f"{task['megabytes']} MB"}
    # SystemExit and KeyboardInterrupt, too: nothing of a student's may end the checker
    except BaseException as error:
        report |= {"status": "raised", "text": of_student(error, code)}
    more = printed.count - len(printed.kept)
    report["printed"] = printed.kept + (f"... and {more} characters more" if more > 0 else "")
    (folder / "report.json").write_text(
        json.dumps(report), encoding="utf-8", errors="backslashreplace"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
