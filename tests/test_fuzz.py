"""The fuzzer of fuzzing.py, bounded: wrong arguments are answered in the library's words."""

import numpy as np
import pytest

from fuzzing import fuzz, outcome, small


def test_the_fuzzers_right_arguments_are_right():
    """Else every case would be refused, and nothing found."""
    for name, function, arguments in small(np.random.default_rng(0)):
        assert outcome(function, arguments) == ("fine", ""), name


def test_the_fuzzer_tells_raw_from_refused():
    def raw(x):
        return x["a"]

    assert outcome(raw, {"x": 1})[0] == "raw"
    assert outcome(raw, {"x": {"a": 1}})[0] == "fine"


@pytest.mark.parametrize("seed", [1, 2])
def test_wrong_arguments_are_refused_in_words(seed):
    """No crash and no hang, and at most one case in 200 that ends in NumPy's or Python's own words."""
    counts, found = fuzz(1000, seed)
    assert not counts["crash"], found
    assert not counts["hang"], found
    assert counts["raw"] <= 5, [case for case in found if case["kind"] == "raw"]
    assert counts["refused"] > 500


@pytest.mark.slow
def test_a_hundred_thousand_wrong_arguments():
    counts, found = fuzz(100_000, seed=7, processes=2)
    assert not counts["crash"], found
    assert not counts["hang"], found
    assert counts["raw"] <= 500
