"""A cell, a layer and an optimiser of your own: one file outside the repository, one file and one line inside it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scratchnet.layers import Layer
from scratchnet.training.optim import Optimizer

ROOT = Path(__file__).parents[1]
CELL = re.search(r"^MGU = '''(.*?)'''$", (ROOT / "tutorials" / "15_your_own_cell.py").read_text("utf-8"), re.M | re.S)[
    1
]
LAYER = '''"""Multiply by a trained number."""

import numpy as np
from scratchnet.layers.layer import Example, Layer


class Scale(Layer):
    """y = s x."""

    def __init__(self):
        super().__init__()
        self.add_param("s", np.ones(1))

    @classmethod
    def examples(cls, rng):
        """A sequence."""
        yield Example("", cls(), rng.standard_normal((3, 2, 2)))

    def forward(self, x, training=False):
        """y = s x."""
        self.check_input(x)
        y = self.params["s"] * x
        return y, (x, y)

    def backward(self, dy, cache):
        """dx = s dy, ds = sum of x dy."""
        x, y = cache
        self.check_upstream(dy, y)
        self.grads["s"] += np.sum(x * dy)
        return self.params["s"] * dy
'''
OPTIMIZER = '''

class SignSGD(Optimizer):
    """A step of lr against the sign of the gradient."""

    def __init__(self, lr: float = 1e-2) -> None:
        super().__init__(lr, 0.0, False)

    def update(self, p: Array, g: Array, t: int, state: dict[str, Array]) -> None:
        p -= float(self.lr) * np.sign(g)
'''


def run(program, folder, *path):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(
        [sys.executable, *program], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_from_outside_one_file_each(tmp_path):
    """Registered in its own file, each is taken by name wherever the library's own are."""
    (tmp_path / "mine_cell.py").write_text(
        CELL
        + "\n\nimport sys\nfrom scratchnet.cells import register_cell\nregister_cell('mine', sys.modules[__name__])\n"
    )
    (tmp_path / "mine_layer.py").write_text(
        LAYER + "\n\nfrom scratchnet.layers import register_layer\nregister_layer('mine', Scale)\n"
    )
    head = "import numpy as np\nfrom scratchnet.arrays import Array\nfrom scratchnet.training.optim import Optimizer, register_optimizer\n"
    (tmp_path / "mine_optimizer.py").write_text(head + OPTIMIZER + "\n\nregister_optimizer('mine', SignSGD)\n")
    program = """
import mine_cell, mine_layer, mine_optimizer
import numpy as np, scratchnet
from scratchnet.cells import CELLS, variants
from scratchnet.estimators import MLPRegressor
from scratchnet.gradcheck import check_cell, check_layer
from scratchnet.layers import LAYERS, Linear, Recurrent, Sequential
from scratchnet.training import checkpoint, fit
from scratchnet.training.optim import OPTIMIZERS
rng = np.random.default_rng(0)
assert "mine" in [label for label, *_ in variants()]
assert check_cell(CELLS["mine"], lengths=[4, 1, 3]).ok
for _, layer, x, arguments in LAYERS["mine"].examples(rng):
    assert check_layer(layer, x, **arguments).ok
model = Sequential(
    rec=Recurrent("mine", 2, 4, num_layers=2, bidirectional=True, batch_first=True, rng=rng),
    scale=LAYERS["mine"](), head=Linear(8, 1, rng=rng),
)
x = rng.standard_normal((12, 5, 2)); y = x.sum(axis=2, keepdims=True)
history = fit(model, (x, y), OPTIMIZERS["mine"](), epochs=20, rng=rng, progress=False)
losses = history.column("train_loss")
assert losses[-1] < losses[0] / 2, losses
trace = scratchnet.trace(model, x, y)
assert np.isfinite(trace.run["da_f"]).all()
trace.save("t.npz"); scratchnet.load_trace("t.npz"); scratchnet.to_html(trace, "t.html")
checkpoint.save(model, "m.npz"); checkpoint.load(model, "m.npz")
MLPRegressor(solver="mine", max_iter=400, random_state=0, n_iter_no_change=2).fit(x[:, 0], y[:, 0, 0])
"""
    run(["-W", "error", "-c", program], tmp_path, ROOT, ROOT / "kernels", tmp_path)
    shown = run(
        ["-c", "import mine_cell\nfrom scratchnet.commands.cli import main\nmain(['gradcheck', 'mine'])"],
        tmp_path,
        ROOT,
        ROOT / "kernels",
        tmp_path,
    )
    assert "right: the largest is" in shown


@pytest.mark.slow
def test_from_inside_one_file_and_one_line_each(tmp_path):
    """The tests that walk the tables pass with three more entries, and test the new ones without another line."""
    for name in ("scratchnet", "kernels", "course", "tests", "tutorials"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    library = tmp_path / "scratchnet"

    def one_line(path, before, line):
        text = (library / path).read_text(encoding="utf-8")
        assert text.count(before) == 1, (path, before)
        (library / path).write_text(text.replace(before, line + before), encoding="utf-8")

    (library / "cells" / "mine.py").write_text(CELL, encoding="utf-8")
    one_line(
        "cells/__init__.py",
        '    "rnn": rnn,\n',
        '    "mine": __import__("scratchnet.cells.mine", fromlist=["mine"]),\n',
    )
    (library / "layers" / "mine.py").write_text(LAYER, encoding="utf-8")
    one_line(
        "layers/__init__.py",
        '    "linear": Linear,\n',
        '    "mine": __import__("scratchnet.layers.mine", fromlist=["Scale"]).Scale,\n',
    )
    one_line("training/optim.py", "OPTIMIZERS: dict", OPTIMIZER.strip("\n") + "\n\n\n")
    one_line("training/optim.py", '    "sgd": SGD,\n', '    "mine": SignSGD,\n')
    files = ["cells", "layer_table", "optim", "engines", "gradcheck", "layers", "parity", "trace", "estimators"]
    said = run(
        [
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-k",
            "mine or table or every or clean or named or no_entry",
            *(f"tests/test_{name}.py" for name in files),
        ],
        tmp_path,
    )
    passed = int(re.search(r"(\d+) passed", said + " 0 passed")[1]) if "passed" in said else said.count(".")
    assert passed >= 30, said


@pytest.mark.parametrize("base", [Layer, Optimizer])
def test_a_second_base_class_is_told_of_its_subclasses(base):
    """As Python's own: what is given with the class goes on to the next base."""
    told = []

    class Registered:
        def __init_subclass__(cls, name="", **options):
            super().__init_subclass__(**options)
            told.append(name)

    class Mine(base, Registered, name="mine"):
        pass

    assert told == ["mine"]
    assert issubclass(Mine, Registered)
