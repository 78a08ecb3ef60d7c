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
# Packages that a module may import at its head; all others are an error of ours.
EXTRAS = {"cupy", "numba", "optuna", "sklearn", "statsmodels", "tensorboardX", "torch", "wfdb"}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    try:
        module = importlib.import_module(name)
        results = doctest.testmod(module, raise_on_error=False)
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in EXTRAS:
            raise
        pytest.skip(f"{error.name} is not installed")
    assert results.failed == 0


def test_the_library_has_examples():
    """Of what a reader calls, one in five at least."""
    finder = doctest.DocTestFinder(exclude_empty=False)
    public = [
        bool(test.examples)
        for name in (
            "arrays",
            "init",
            "layers.attend",
            "gradcheck.numeric",
            "data.windows",
            "data.split",
            "data.batches",
        )
        for test in finder.find(importlib.import_module(f"scratchnet.{name}"))
        if not any(part.startswith("_") for part in test.name.split(".")) and test.docstring
    ]
    assert sum(public) >= len(public) / 5
