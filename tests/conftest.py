"""What the tests share: a seeded generator, and the cells with all their options."""

import os

# Two test processes with a BLAS thread for each core each fight for two cores; set before NumPy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings
from scratchnet.cells import variants

# The same examples in every run: a failure in CI is a failure at home.
settings.register_profile("scratchnet", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("scratchnet")

VARIANTS = [pytest.param(cell, options, id=label) for label, cell, options in variants()]


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(0)
