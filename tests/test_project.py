"""The project itself: what an import costs, which way imports point, and that the README is true."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scratchnet import engines, trace
from scratchnet.cells import CELLS
from scratchnet.layers import LSTM, Linear, Sequential

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PATHS = [ROOT, ROOT / "kernels", ROOT / "course" / "students"]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, PATHS))}

LIBRARY = ROOT / "scratchnet"
MODULES = sorted(LIBRARY.rglob("*.py"))
KERNELS = sorted((ROOT / "kernels").rglob("*.py"))
COURSE = sorted(p for p in (ROOT / "course").rglob("*.py") if not {"material", "solutions", "build"} & {*p.parts})

# From the ground up: a room imports rooms of a lower floor only.  What is not named here fails the test.
FLOORS = [
    {"__init__", "errors"},
    {"arrays"},
    {"files"},
    {"arguments", "elementwise", "fingerprint"},
    {"adam", "cells", "init", "losses"},
    {"engines"},
    {"layers"},
    {"models", "gradcheck", "data", "convert"},
    {"training"},
    {"tracing", "search"},
    {"view", "forecasting", "estimators"},
    {"plots"},
    {"commands"},
    {"__main__"},
]


def room_of(module):
    """The room of scratchnet that a dotted name lies in: "scratchnet.cells.lstm" is in cells."""
    return module.split(".")[1] if "." in module else "__init__"


def floor_of(module):
    for floor, rooms in enumerate(FLOORS):
        if room_of(module) in rooms:
            return floor
    raise AssertionError(f"{module} has no place in FLOORS")


def imported(tree, inside_functions):
    """The names that a file imports, at its top or anywhere: modules, and what is taken from them."""
    nodes = ast.walk(tree) if inside_functions else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name):
    """The library's module in which an imported name lies: "scratchnet.cells.CELLS" is of scratchnet.cells."""
    while "." in name and not (
        (ROOT / name.replace(".", "/")).with_suffix(".py").exists() or (ROOT / name.replace(".", "/")).is_dir()
    ):
        name = name.rpartition(".")[0]
    return name


def library_imports(path, inside_functions=True):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [module_of(name) for name in imported(tree, inside_functions) if name.split(".")[0] == "scratchnet"]


def name_of(path):
    return "scratchnet." + ".".join(path.relative_to(LIBRARY).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    own = "scratchnet" if path == LIBRARY / "__init__.py" else name_of(path)
    for name in library_imports(path):
        lower = room_of(name) == room_of(own) or floor_of(name) < floor_of(own)
        assert lower or name == "scratchnet", f"{own} imports {name}"
    for name in imported(ast.parse(path.read_text(encoding="utf-8")), inside_functions=True):
        assert name.split(".")[0] not in ("scratchnet_course", "scratchnet_instructor"), f"{own} imports the course"
        assert name.split(".")[0] != "scratchnet_kernels" or own == "scratchnet.engines", f"{own} imports the kernels"


def circles(edges):
    """Groups of modules that import each other in a circle."""
    graph = {a: set(b) for a, b in edges.items()}
    while leaves := {a for a, after in graph.items() if not after & graph.keys()}:
        graph = {a: after - leaves for a, after in graph.items() if a not in leaves}
    return {a: after & graph.keys() for a, after in graph.items()}


def test_no_module_imports_itself_by_way_of_others():
    edges = {
        name_of(path): {name for name in library_imports(path) if name not in (name_of(path), "scratchnet")}
        for path in MODULES
    }
    assert len(edges) > 100
    assert circles(edges) == {}
    assert circles(edges | {"scratchnet.arrays": {"scratchnet.training.loop"}}), "a planted circle is found"


OTHERS = {folder: sorted(p for p in (ROOT / folder).rglob("*.py")) for folder in ("kernels", "tutorials", "benchmarks")}


def test_the_house_has_few_rooms_and_few_arrows_between_them():
    """A room is a module or package of the library, or a top-level folder; an arrow is an import between two."""
    owners = {"scratchnet_kernels": "kernels", "scratchnet_course": "course", "scratchnet_instructor": "course"}
    files = {path: room_of(name_of(path)) if path != LIBRARY / "__init__.py" else "__init__" for path in MODULES}
    files |= {path: folder for folder, paths in {**OTHERS, "course": COURSE}.items() for path in paths}
    arrows = set()
    for path, room in files.items():
        for name in imported(ast.parse(path.read_text(encoding="utf-8")), inside_functions=True):
            top = name.split(".")[0]
            target = room_of(module_of(name)) if top == "scratchnet" else owners.get(top)
            if target and target != room:
                arrows.add((room, target))
    assert len(set(files.values())) <= 30
    assert 90 < len(arrows) <= 169


@pytest.mark.parametrize("path", KERNELS, ids=lambda p: str(p.relative_to(ROOT)))
def test_kernels_import_the_ground_only(path):
    for name in library_imports(path):
        assert floor_of(name) <= floor_of("scratchnet.cells"), f"{path.name} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_packages_are_imported_where_they_are_used(path):
    """Only plots has matplotlib at its top, and only estimators, which subclass it, scikit-learn; nothing has numba, cupy, torch."""
    allowed = {"plots": {"matplotlib"}, "estimators": {"sklearn"}}.get(path.parent.name, set())
    tops = {
        name.split(".")[0] for name in imported(ast.parse(path.read_text(encoding="utf-8")), inside_functions=False)
    }
    assert (
        not (tops & {"matplotlib", "numba", "cupy", "torch", "statsmodels", "sklearn", "optuna", "tensorboardX"})
        - allowed
    )


@pytest.mark.parametrize(
    ("modules", "loads"),
    [
        ("scratchnet", set()),
        ("scratchnet.layers", {"numpy"}),
        ("scratchnet.training.optim, scratchnet.training.checkpoint, scratchnet.gradcheck", {"numpy"}),
        ("scratchnet.training", {"numpy"}),
    ],
)
def test_import_is_quick_and_light(modules, loads):
    """Each in a fresh process, NumPy's own import included: under 0.3 s, once the files are in memory.

    Seconds of the processor, not of the clock on the wall: other tests run at the same time.
    """
    program = (
        f"import sys, time; t = time.process_time(); import {modules}; print(time.process_time() - t);"
        "print(*(m for m in ('numpy', 'numba', 'cupy', 'torch', 'matplotlib', 'tqdm', 'scipy') if m in sys.modules))"
    )
    seconds = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=ENVIRONMENT
        )
        took, loaded = done.stdout.splitlines()
        seconds.append(float(took))
        assert set(loaded.split()) == loads
        if seconds[-1] < 0.3:
            break
    assert min(seconds) < 0.3


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", README, re.M | re.S)


def test_every_block_of_the_readme_has_a_test():
    kinds = re.findall(r"^```(\w*)\n", README, re.M)
    assert set(kinds) == {"python", "sh", "bat", ""}
    assert kinds.count("") >= 1  # the closing fences and the map


def test_readme_python_runs(tmp_path):
    """All blocks in one program, as a reader would type them one after the other."""
    program = "\n".join(blocks("python"))
    assert len(blocks("python")) == 6
    subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=True,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (tmp_path / "wave.html").stat().st_size > 50_000


def test_readme_program_is_about_twenty_lines():
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) <= 22


def test_readme_commands_run(tmp_path, rng):
    """Make's targets stand in the Makefile; scratchnet's commands run; the others are those that set up and test."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    model = Sequential(rec=LSTM(1, 3, rng=rng), head=Linear(3, 1, rng=rng))
    # which the blocks above would have made
    trace(model, np.ones((12, 1, 1)), np.ones((12, 1, 1))).save(tmp_path / "wave.npz")
    lines = [line.strip() for block in blocks("sh") + blocks("bat") for line in block.splitlines() if line.strip()]
    assert len(lines) >= 10
    for line in lines:
        words = line.replace("\\", "/").split()
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", MAKEFILE, re.M), line
            assert all(re.search(rf"^{word.split('=')[0]} \?=", MAKEFILE, re.M) for word in words[2:]), line
        elif words[0] == "scratchnet":
            subprocess.run(
                [sys.executable, "-m", "scratchnet", *words[1:]],
                check=True,
                capture_output=True,
                env=ENVIRONMENT,
                cwd=tmp_path,
            )
        elif words[0] != "pip":  # tests/test_install_lines.py reads those that install
            assert " ".join(words) in (
                "py -3 -m venv .venv",
                ".venv/Scripts/pip install -e .[test] -e ./course/students -e ./course/instructors",
                ".venv/Scripts/scratchnet demo",
                ".venv/Scripts/python -m pytest -n auto --dist loadfile --no-loadscope-reorder",
            ), line
            assert words[1:4] != ["-m", "pytest", "-n"] or " ".join(words[1:]) in MAKEFILE, (
                "make test and README test alike"
            )
    for extra in re.findall(r"\[(\w+)\]`", README):
        assert extra in project["optional-dependencies"], extra


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed, as on Windows")
def test_make_takes_torch_from_the_index_it_is_given_and_no_other():
    def pip(*arguments):
        done = subprocess.run(
            ["make", "-nB", "test", *arguments], check=True, capture_output=True, text=True, cwd=ROOT, env=plain
        )
        (line,) = [line for line in done.stdout.splitlines() if "pip install" in line]
        return line.split()

    plain = {name: value for name, value in os.environ.items() if name not in ("TORCH_INDEX", "MAKEFLAGS")}
    assert not any("index" in word for word in pip())
    named = pip("TORCH_INDEX=https://some.where/cpu")
    assert named[named.index("--extra-index-url") + 1] == "https://some.where/cpu"


def map_lines(text):
    """(folder, names) of each line of the map: a top-level name has no indent, what is in it has two spaces."""
    (tree,) = re.findall(r"## The map\n\n```\n(.*?)```", text, re.S)
    folder = ROOT
    for line in tree.splitlines():
        inside = line.startswith("  ")
        names = list(takewhile(re.compile(r"\w+(\.\w+|/)").fullmatch, line.split()))
        assert names, f"no name at the start of {line!r}"
        yield folder if inside else ROOT, names
        if not inside:
            folder = ROOT / names[0]


def holds_something(path):
    return path.is_file() or any(p.is_file() for p in path.rglob("*") if "__pycache__" not in p.parts)


def test_readme_map_names_what_is_there():
    for folder, names in map_lines(README):
        for name in names:
            assert holds_something(folder / name), f"{name} is not in {folder.name}, or is empty"


def test_readme_map_leaves_nothing_out():
    (tree,) = re.findall(r"## The map\n\n```\n(.*?)```", README, re.S)
    tops = {name for folder, names in map_lines(README) if folder == ROOT for name in names}
    assert {f"{path.relative_to(ROOT).parts[0]}/" for path in ROOT.glob("[!.]*/*.py")} <= tops
    for module in (ROOT / "scratchnet").glob("*.py"):
        if module.name not in ("__init__.py", "__main__.py", "arrays.py"):
            assert module.name in tree, module.name
    for package in (ROOT / "scratchnet").glob("*/__init__.py"):
        assert f"{package.parent.name}/" in tree, package.parent.name


@pytest.mark.parametrize(
    "line",
    [
        "nonsense/         a folder",
        "nonsense.txt      a file",
        "  nonsense.py     a module",
        "  tests/          not in there",
    ],
)
def test_a_map_that_names_what_is_not_there_is_found(line):
    changed = README.replace("\ntests/  ", f"\n{line}\ntests/  ")
    assert changed != README
    missing = [name for folder, names in map_lines(changed) for name in names if not holds_something(folder / name)]
    assert missing == line.split()[:1]


def test_nothing_of_one_machine_is_committed():
    """In what git has, and in what it would take."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not files:
        pytest.skip("not a git checkout")
    home = re.compile(r"/(?:home|root|Users|work)/\w")
    for name in files:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".yml", ".json") and path.exists():
            text = path.read_text(encoding="utf-8")
            assert not home.search(text) or name == "tests/test_project.py", name


def test_every_public_function_has_a_docstring():
    for path in [*MODULES, *KERNELS, *COURSE]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


@pytest.fixture
def bench(monkeypatch):
    """benchmarks/cells.py, imported."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("bench_cells", ROOT / "benchmarks" / "cells.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_measures_every_engine(tmp_path, bench):
    """As it is run; and the results that are there have the same form."""
    command = [
        sys.executable,
        ROOT / "benchmarks" / "cells.py",
        "--cells",
        "rnn",
        "--seconds",
        "0",
        "--seed",
        "3",
        "--out",
        tmp_path,
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT)
    (path,) = tmp_path.glob("cells_*.json")
    assert done.stdout.splitlines()[-1] == str(path)
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["numpy"] == np.__version__
    assert (report["seed"], report["blas_threads"], report["dtype"]) == (3, 1, "float32")
    assert report["openblas_coretype_unset"] == ("OPENBLAS_CORETYPE" not in os.environ)
    assert {(row["engine"], row["T"], row["N"], row["D"], row["H"]) for row in report["results"]} == {
        (engine, *size) for engine in bench.ENGINES for size in bench.SIZES
    }
    for row in report["results"]:
        assert row["rounds"] >= bench.LEAST_ROUNDS
        assert 0 < row["forward_fastest_ms"] <= row["forward_ms"]
        assert 0 < row["training_step_fastest_ms"] <= row["training_step_ms"]
    kept = [json.loads(p.read_text(encoding="utf-8")) for p in (ROOT / "benchmarks" / "results").glob("cells_*.json")]
    assert kept
    for old in kept:
        assert old.keys() == report.keys()
        assert old["openblas_coretype_unset"], "measured with another processor's BLAS routines"
        assert {row["cell"] for row in old["results"]} >= {"rnn", "lstm", "gru", "gru_reset_before"}


def test_the_benchmark_times_no_wrong_engine(bench, monkeypatch):
    def choose(name, x, H, engine):
        cell = CELLS[name]
        right = engines.CellEngine("array", "", cell.forward, cell.backward)
        return (
            right
            if engine == "array"
            else right._replace(backward_one=lambda dy, cache: cell.backward(dy * np.float32(1.01), cache))
        )

    assert len(list(bench.measure("gru", (3, 2, 2, 4), 0, 0))) == 2
    monkeypatch.setattr(engines, "choose", choose)
    with pytest.raises(SystemExit, match=r"engine 'step' is 1\.0e-02 away from array; nothing was timed"):
        list(bench.measure("gru", (3, 2, 2, 4), 0, 0))


def test_the_benchmark_alternates_and_takes_medians(bench, monkeypatch):
    """On a clock that only the runs move; a busy moment in the second round changes no median."""
    now, order = [0.0], []
    takes = {("array", "forward"): 1, ("array", "step"): 4, ("step", "forward"): 2, ("step", "step"): 8}  # ms

    def passes(cell_name, engine, size, seed):
        def run(what):
            order.append((engine, what))
            now[0] += (takes[engine, what] + (100 if 8 < len(order) <= 12 else 0)) / 1000  # 4 to compile, 4 a round
            return [np.ones(1)]

        return lambda: run("forward"), lambda: run("step")

    monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(bench, "passes", passes)
    rows = {row["engine"]: row for row in bench.measure("lstm", (1, 1, 1, 1), 0.5, 0)}
    assert order[4:] == list(takes) * rows["array"]["rounds"]
    assert 0.485 < now[0] < 0.55
    assert (rows["array"]["forward_ms"], rows["array"]["training_step_ms"]) == (1, 4)
    assert (rows["step"]["forward_ms"], rows["step"]["training_step_ms"], rows["step"]["forward_fastest_ms"]) == (
        2,
        8,
        2,
    )
