"""Every example in a docstring of the library is run, so that all of them are true."""

import doctest
import importlib
import pkgutil

import pytest
import scratchnet

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(scratchnet.__path__, "scratchnet.")
    if not module.name.endswith("__main__")  # importing it would run the command line
)
EXTRAS = {"cupy", "numba", "optuna", "sklearn", "statsmodels", "tensorboardX", "torch", "wfdb"}


@pytest.mark.underflows
@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    if name == "scratchnet.convert.torch":
        pytest.importorskip("torch")  # its example imports it
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in EXTRAS:
            raise
        pytest.skip(f"{error.name} is not installed")
    assert doctest.testmod(module).failed == 0
