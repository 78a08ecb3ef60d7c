"""The project itself: what an import costs, which way imports point, and that the README is true."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from scratchnet import trace
from scratchnet.layers import LSTM, Linear, Sequential

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}

# From the ground up: a module imports from its own level or below.  What is not named here fails the test.
LEVELS = [
    {"__init__", "arrays", "elementwise"},
    {"cells"},
    {"init", "fused"},
    {"layers", "losses", "optim", "clip", "series"},
    {"data", "bptt", "gradcheck", "checkpoint", "tasks"},
    {"train", "datasets", "baselines", "course", "convert"},
    {"tracing", "view"},  # a trace writes its own page: to_html
    {"plots"},
    {"demo", "forecasting", "doctor"},
    {"cli"},
    {"__main__"},
]


def level_of(module):
    part = module.split(".")[1] if "." in module else "__init__"
    for level, names in enumerate(LEVELS):
        if part in names:
            return level
    raise AssertionError(f"{module} has no place in LEVELS")


def imported(tree, inside_functions):
    """The modules that a file imports, at its top or anywhere."""
    nodes = ast.walk(tree) if inside_functions else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sorted((ROOT / "scratchnet").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = "scratchnet." + str(path.relative_to(ROOT / "scratchnet").with_suffix("")).replace(os.sep, ".")
    for name in imported(tree, inside_functions=True):
        if name.split(".")[0] == "scratchnet" and (ROOT / name.replace(".", "/")).with_suffix(".py").exists() | (ROOT / name.replace(".", "/")).is_dir():
            lazy = own == "scratchnet.__init__"  # its __getattr__ imports on demand, for scratchnet.trace
            assert lazy or level_of(name) <= level_of(own), f"{own} imports {name}"
        assert name.split(".")[0] != "scratchnet_kernels" or own == "scratchnet.fused", f"{own} imports the kernels"


@pytest.mark.parametrize("path", sorted((ROOT / "kernels").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_kernels_import_the_ground_only(path):
    for name in imported(ast.parse(path.read_text(encoding="utf-8")), inside_functions=True):
        if name.split(".")[0] == "scratchnet":
            assert level_of(name) <= level_of("scratchnet.cells"), f"{path.name} imports {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "scratchnet").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_packages_are_imported_where_they_are_used(path):
    """Only plots has matplotlib at its top; nothing has numba, cupy or torch there."""
    allowed = {"matplotlib"} if path.parent.name == "plots" else set()
    tops = {name.split(".")[0] for name in imported(ast.parse(path.read_text(encoding="utf-8")), inside_functions=False)}
    assert not (tops & {"matplotlib", "numba", "cupy", "torch", "statsmodels", "sklearn"}) - allowed


def test_import_is_quick_and_light():
    """Under 0.3 s after a warm start (the quickest of five: another process may be on the core), and only NumPy."""
    program = (
        "import sys, time; t = time.perf_counter(); import scratchnet; print(time.perf_counter() - t);"
        "import scratchnet.layers, scratchnet.gradcheck, scratchnet.train;"
        "print([m for m in ('numba', 'cupy', 'torch', 'matplotlib') if m in sys.modules])"
    )
    seconds = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=ENVIRONMENT)
        took, heavy = done.stdout.splitlines()
        seconds.append(float(took))
        assert heavy == "[]"
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
    assert len(blocks("python")) == 4
    subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=True, env=ENVIRONMENT, capture_output=True, text=True, cwd=tmp_path
    )
    assert (tmp_path / "wave.html").stat().st_size > 50_000


def test_readme_program_is_about_twenty_lines():
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) <= 22


def test_readme_commands_run(tmp_path, rng):
    """Make's own targets are known to make; scratchnet's commands run; pip's are about extras and packages there are."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = [r.split("==")[1] for r in project["optional-dependencies"]["test"] if r.startswith("torch==")]
    model = Sequential(rec=LSTM(1, 3, rng=rng), head=Linear(3, 1, rng=rng))
    trace(model, np.ones((12, 1, 1)), np.ones((12, 1, 1))).save(tmp_path / "wave.npz")  # which the blocks above would have made
    lines = [line.strip() for block in blocks("sh") + blocks("bat") for line in block.splitlines() if line.strip()]
    assert len(lines) >= 10
    for line in lines:
        words = line.replace("\\", "/").split()
        if words[0] == "make":
            subprocess.run(["make", "-n", *words[1:]], check=True, capture_output=True, cwd=ROOT)
        elif words[0] == "scratchnet":
            subprocess.run([sys.executable, "-m", "scratchnet", *words[1:]], check=True, capture_output=True, env=ENVIRONMENT, cwd=tmp_path)
        elif "torch==" in line:
            assert re.search(r"torch==(\S+)", line)[1] in pinned
        else:
            assert re.search(r"-m venv \.venv|pip install -e \.\[test\]|scratchnet demo|-m pytest -n auto", line.replace("\\", "/")), line
    for extra in re.findall(r"\[(\w+)\]`", README):
        assert extra in project["optional-dependencies"], extra


def test_readme_map_names_what_is_there():
    (tree,) = re.findall(r"## The map\n\n```\n(.*?)```", README, re.S)
    for name in re.findall(r"^  ?(?:  )?((?:[\w]+(?:\.py|/) *)+)", tree, re.M):
        for part in name.split():
            assert (ROOT / "scratchnet" / part).exists() or (ROOT / part).exists(), part
    for module in (ROOT / "scratchnet").glob("*.py"):
        if module.name not in ("__init__.py", "__main__.py", "arrays.py"):
            assert module.name in tree, module.name


def test_nothing_of_one_machine_is_committed():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not files:
        pytest.skip("not a git checkout")
    home = re.compile(r"/(?:home|root|Users|work)/\w")
    for name in files:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".yml", ".json") and path.exists():
            text = path.read_text(encoding="utf-8")
            assert not home.search(text) or name == "tests/test_project.py", name


def test_every_public_function_has_a_docstring():
    for path in [*(ROOT / "scratchnet").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"
