"""Exercise packs of instructors: one Python file an exercise, ``50/ex1.py``.

    \"\"\"Momentum.

    A velocity forgets by beta and takes the gradient in. Return the new velocity and weights.
    \"\"\"

    import numpy as np

    OUTPUTS = ("velocity", "w")
    HINTS = ("The velocity comes first.",)
    MISTAKES = [
        ("the old velocity is used", "The weights take the new velocity.",
         [("w - lr * new", "w - lr * velocity")]),
    ]


    def cases(rng):
        return [{"w": rng.standard_normal(D), ..., "lr": 0.1, "beta": 0.9} for D in (3, 7)]


    def momentum(w, dw, velocity, lr, beta):
        \"\"\"Return the new velocity and the new weights.\"\"\"
        new = beta * velocity + dw
        return new, w - lr * new

The docstring has the title and what is asked; the one function besides ``cases`` is the right
answer. POINTS, TIMED, GATES, BACKWARDS, TOLERANCE, SECONDS and LESSON (the lesson's title) may be
there; see `Reference`. `compile_pack` makes what students get.
"""

import ast
import inspect
import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
from scratchnet_course import lessons, packs
from scratchnet_course.inside import same
from scratchnet_course.keys import packed

from scratchnet.errors import InvalidValueError, MissingFileError, ScratchnetError
from scratchnet_instructor import folders
from scratchnet_instructor.reference import Reference, Wrong

FILE = re.compile(r"ex[1-9]\d?\.py")
LESSON = re.compile(r"\d\d")
OPTIONS = ("points", "timed", "gates", "backwards", "tolerance", "seconds")
SOLUTIONS = "solutions"


def sources(folder: Path) -> list[Path]:
    """The files of a pack, in order.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist, or has none.
    """
    found = [p for p in sorted(folder.glob("*/*.py")) if _is_exercise(p)]
    if not found:
        raise MissingFileError(f"{folder} has no exercises: expected files such as 50/ex1.py")
    return found


def _is_exercise(path: Path) -> bool:
    return bool(LESSON.fullmatch(path.parent.name) and FILE.fullmatch(path.name))


def references() -> Iterator[Reference]:
    """The exercises of every pack that is named and has its right answers."""
    for folder in packs.named():
        for path in sorted(filter(_is_exercise, folder.glob("*/*.py"))):
            try:
                yield read(path)
            except InvalidValueError as error:
                warnings.warn(f"left out, see course lint: {error}", stacklevel=2)


def read(path: Path) -> Reference:
    """Return the exercise in a file.

    Raises
    ------
    ValueError
        If something is missing; the message names the file.
    """
    module = _module(path)
    wanted = {name: getattr(module, name, None) for name in ("OUTPUTS", "HINTS", "MISTAKES")}
    for name, value in wanted.items():
        if not isinstance(value, (tuple, list)) or (not value and name == "OUTPUTS"):
            raise InvalidValueError(f"{path} has no {name}: expected a tuple")
    title, _ = _texts(path, module)
    right, cases = _functions(path, module)
    try:
        wrongs = tuple(
            Wrong(str(name), str(why), tuple((str(a), str(b)) for a, b in edits))
            for name, why, edits in module.MISTAKES
        )
    except (ValueError, TypeError):
        raise InvalidValueError(
            f"MISTAKES of {path} are not triples: expected (name, why, [(right, wrong), ...])"
        ) from None
    options = {
        name: getattr(module, name.upper()) for name in OPTIONS if hasattr(module, name.upper())
    }
    return Reference(
        f"{path.parent.name}/{path.stem}",
        *(right, cases, tuple(module.OUTPUTS)),
        title=title,
        paragraph=title,
        hints=tuple(module.HINTS),
        wrongs=wrongs,
        **options,
    )


def _module(path: Path) -> ModuleType:
    name = f"scratchnet_pack_{abs(hash(path.resolve()))}_{path.parent.name}_{path.stem}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise MissingFileError(f"{path} is no file")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InvalidValueError(f"{path} cannot be run: {type(error).__name__}: {error}") from None
    return module


def _texts(path: Path, module: ModuleType) -> tuple[str, str]:
    """The title, and what is asked."""
    title, _, text = inspect.cleandoc(module.__doc__ or "").partition("\n")
    if not title or not text.strip():
        raise InvalidValueError(f"{path} has no docstring with a title, an empty line and a text")
    return title.rstrip("."), text.strip()


def _functions(path: Path, module: ModuleType) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The right answer, and the arguments of its checks."""
    own = [
        f
        for f in vars(module).values()
        if inspect.isfunction(f) and f.__module__ == module.__name__
    ]
    rights = [f for f in own if f.__name__ != "cases"]
    if len(rights) != 1 or len(own) != 2:
        raise InvalidValueError(
            f"{path} has the functions {', '.join(f.__name__ for f in own) or 'none'}: expected"
            " cases(rng) and the right answer, with its helpers inside it"
        )
    return rights[0], module.cases


# ---- for students ------------------------------------------------------------------------------


def compile_pack(folder: Path) -> list[Path]:
    """Write ``compiled``, which students get, and ``solutions`` into a pack; returns the paths."""
    from scratchnet_instructor.compiling import SEEDS
    from scratchnet_instructor.making import made

    found = [(path, read(path)) for path in sources(folder)]
    given: dict[str, bytes] = {}
    solved: dict[str, bytes] = {}
    for number in dict.fromkeys(one.lesson for _, one in found):
        own = [path for path, one in found if one.lesson == number]
        with TemporaryDirectory() as place:
            script = Path(place) / f"{number}_pack.py"
            script.write_text(_lesson(number, own), encoding="utf-8")
            for files, texts in (
                (given, lessons.student_files(script)),
                (solved, lessons.solution_files(script)),
            ):
                files |= {f"{number}/{name}": text.encode() for name, text in texts.items()}
    for _, one in found:
        given[f"{one.id.replace('/', '_')}.npz"] = packed(made(one, SEEDS).key)
    about = [asdict(one.exercise) for _, one in found]
    given[packs.TEXTS] = json.dumps(about, indent=1).encode()
    made_files = folders.write(folder / packs.COMPILED, given)
    return made_files + folders.write(folder / SOLUTIONS, solved)


def _lesson(number: str, files: list[Path]) -> str:
    """The lesson's script, with the solutions between their marks."""
    title = next((m.LESSON for m in map(_module, files) if hasattr(m, "LESSON")), "Exercises")
    parts = [lessons.NotebookCell(True, _comment(f"# {number}  {title}"))]
    for path in files:
        named, text = _texts(path, _module(path))
        parts.append(lessons.NotebookCell(True, _comment(f"## {named}\n\n{text}")))
        parts.append(lessons.NotebookCell(False, _cell(path)))
    return lessons.script(parts)


def _comment(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


def _cell(path: Path) -> str:
    """The exercise's cell: its imports, and the function with its body between the marks."""
    text = path.read_text(encoding="utf-8")
    tree, lines = ast.parse(text), text.splitlines()
    imports = [ast.unparse(n) for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    name = read(path).right.__name__
    (node,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
    described = ast.get_docstring(node) is not None
    first = node.body[1 if described and len(node.body) > 1 else 0].lineno
    head, body = lines[node.lineno - 1 : first - 1], lines[first - 1 : node.end_lineno]
    indent = " " * (len(body[0]) - len(body[0].lstrip()))
    return "\n".join(
        [
            *(f"# exercise {path.parent.name}/{path.stem}", *imports, "", "", *head),
            *(f"{indent}# BEGIN SOLUTION", *body, f"{indent}# END SOLUTION", ""),
        ]
    )


# ---- is it a good exercise? --------------------------------------------------------------------


def lint(path: Path, taken: dict[str, str]) -> list[str]:
    """Return what is wrong with an exercise, nothing if it is fine.

    Parameters
    ----------
    path
        Its file.
    taken
        The exercises that there are already: id -> function.
    """
    from scratchnet_instructor.making import made

    try:
        one = read(path)
        function = one.right.__name__
        if one.id in taken:
            return [f"the course has an exercise {one.id} already: take another lesson's number"]
        if function in taken.values():
            return [f"another exercise asks for {function}: files are told apart by that name"]
        said = [] if one.hints else ["there are no hints"]
        said += [] if one.right.__doc__ else [f"{function} has no docstring: the stub shows it"]
        cases = [list(one.cases(np.random.default_rng(seed))) for seed in (1, 1)]
        said += _cases(one, *cases)
        if said:
            return said
        found = made(one, (1, 2))
        said += [f"a change that no case shows: {name}" for name in found.equivalent]
        return said + _mistakes(one)
    except InvalidValueError as error:
        return [str(error)]
    except Exception as error:  # of the exercise's own code
        return [f"{type(error).__name__}: {error}"]


def _cases(one: Reference, cases: list[Any], again: list[Any]) -> list[str]:
    """What is wrong with the arguments, or with the right answer on them."""
    names, said = [*inspect.signature(one.right).parameters], []
    if len(cases) < 2:
        said.append("cases has fewer than two: expected the simplest first, then a general one")
    for number, (case, twin) in enumerate(zip(cases, again), start=1):
        if [*case] != names:
            return [f"case {number} has {', '.join(case)}: the function takes {', '.join(names)}"]
        if not all(np.array_equal(case[k], twin[k]) for k in names):
            said.append(f"case {number} is another one each time: draw numbers from rng alone")
        answer = one.answer(case)
        if not all(np.all(np.isfinite(np.asarray(v, np.float64))) for v in answer.values()):
            said.append(f"the right answer to case {number} is not finite")
        given = {k: np.copy(v) if isinstance(v, np.ndarray) else v for k, v in case.items()}
        one.right(**given)
        said += [f"{k} is changed in place" for k in names if not np.array_equal(given[k], case[k])]
    return said


def _mistakes(one: Reference) -> list[str]:
    """What is wrong with the mistakes: one that is none, or two that nobody could tell apart."""
    said, known = [], dict[str, Any]()
    cases = list(one.cases(np.random.default_rng(1)))
    right = [one.answer(case) for case in cases]
    for wrong in one.wrongs:
        try:
            function = one.planted(wrong)
        except ScratchnetError as error:
            said.append(f"mistake {wrong.name!r}: {error}")
            continue
        try:
            given = [function(**case) for case in cases]
        except Exception:  # a mistake may raise
            continue
        if _equal(given, right):
            said.append(f"mistake {wrong.name!r}: no case shows it")
        twin = next((name for name, other in known.items() if _equal(given, other)), "")
        if twin:
            said.append(f"mistakes {twin!r} and {wrong.name!r} give the same numbers in every case")
        known[wrong.name] = given
    return said


def _equal(given: list[Any], other: list[Any]) -> bool:
    """Whether two functions' answers to all cases are the same."""
    return all(
        same(np.asarray(a[name]), np.asarray(b[name])) for a, b in zip(given, other) for name in a
    )
