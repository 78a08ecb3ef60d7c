"""What every results file says about the machine that made it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scratchnet.commands.cli import main
from scratchnet.files import machine

# bits of a product and of a solved system, whose kernels differ from core type to core type
PROGRAM = """
import json, sys
import numpy as np
from scratchnet.files.machine import describe
rng = np.random.default_rng(0)
a = rng.standard_normal((257, 300)).astype(np.float32)
print(json.dumps([describe(), (a @ a.T).tobytes().hex()[:4000]]))
"""


def run(**variables):
    environment = {name: value for name, value in os.environ.items() if name not in machine.VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, env=environment | variables
    )
    return json.loads(done.stdout)


def test_it_is_plain_and_names_no_place():
    about = machine.describe()
    assert json.loads(json.dumps(about)) == about
    assert about["versions"]["numpy"] == np.__version__
    assert {"name", "version", "core", "threads"} == about["blas"].keys()
    assert not any(word.startswith("/") for word in json.dumps(about).replace('"', " ").split())
    assert machine.installed("no-such-package") is None
    assert about["blas"]["name"] in machine.blas_in_words()


def test_another_core_type_is_another_machine():
    """OPENBLAS_CORETYPE and the number of threads are in the description, and the first changes the bits."""
    pytest.importorskip("threadpoolctl")
    if "openblas" not in machine.blas()["name"]:
        pytest.skip("NumPy's BLAS is not OpenBLAS")
    (one, bits), (other, other_bits) = (
        run(OPENBLAS_CORETYPE=core, OPENBLAS_NUM_THREADS=threads)
        for core, threads in (("Haswell", "1"), ("Nehalem", "2"))
    )
    assert (one["blas"]["core"], one["blas"]["threads"]) == ("Haswell", 1)
    assert (other["blas"]["core"], other["blas"]["threads"]) == ("Nehalem", min(2, os.cpu_count()))
    assert other["variables"] == {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "2"}
    assert bits != other_bits
    assert run(OPENBLAS_CORETYPE="Haswell", OPENBLAS_NUM_THREADS="1")[1] == bits


def test_without_threadpoolctl_the_rest_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    found = machine.blas()
    assert found["core"] is found["threads"] is None
    assert found["name"] == machine.describe()["blas"]["name"]
    assert "kernels" not in machine.blas_in_words()


def test_a_processor_has_a_name():
    assert isinstance(machine.processor(), str)


@pytest.mark.parametrize("command", ["train", "forecast"])
def test_a_command_writes_what_its_results_depend_on(command, tmp_path):
    options = ["--data", "sunspots", "--epochs", "1", "--units", "2", "--out", str(tmp_path)]
    options += ["--seed", "5"] + ["--horizon", "1", "--strategy", "direct", "--interval", "none"] * (
        command == "forecast"
    )
    assert main([command, *options]) == 0
    about = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert (about["options"]["seed"], about["options"]["units"]) == (5, 2)
    assert about["machine"] == machine.describe()
