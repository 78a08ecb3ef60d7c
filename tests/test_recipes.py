"""The recipes at toy size, the table of their results, and that the guide in their README says what the numbers say."""

import contextlib
import importlib
import io
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.underflows  # made data have tails, and long trainings tiny gradients

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tutorials" / "recipes"
pytest.importorskip("sklearn")
pytest.importorskip("statsmodels")
pytest.importorskip("optuna")
sys.path.insert(0, str(FOLDER))  # as Python does for a program of that folder

everything = importlib.import_module("all")
shared = importlib.import_module("recipe")
README = (FOLDER / "README.md").read_text(encoding="utf-8")
NAMES = everything.names()


def run_toy(name, out):
    module = importlib.import_module(name)
    assert Path(module.__file__).parent == FOLDER, f"another module is called {name}"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        result = shared.recipe(module.__doc__, module.run, ["--toy", "--seeds", "0", "--out", str(out)])
    return result, said.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_recipe_at_toy_size(name, tmp_path):
    result, said = run_toy(name, tmp_path)
    title = importlib.import_module(name).__doc__.strip().splitlines()[0]
    assert said.startswith(f"{title}\n")
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8")) == result
    assert result["recipe"] == name
    assert result["toy"]
    named = set()
    for metric, scores in result["scores"].items():
        named |= scores.keys()
        assert scores, metric
        for label, values in scores.items():
            assert len(values) == 1
            assert math.isfinite(values[0]), (metric, label)
            assert f"{label} *" in said if label in result["baselines"] else label in said
    assert result["baselines"]
    assert set(result["baselines"]) <= named
    assert set(result["baselines"]) < named  # and at least one network


def test_every_recipe_is_short_says_what_it_is_for_and_can_be_started():
    for name in NAMES:
        text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
        assert re.search(r'^if __name__ == "__main__":\n    recipe\(\s*__doc__,\s*run\b', text, re.M), name
        assert len(text.splitlines()) <= 140, name  # 130, before lines had 100 characters


# ---- what they share ---------------------------------------------------------------------------------------------------


def test_table_puts_the_best_first_whichever_way_is_better():
    result = {
        "baselines": ["b"],
        "scores": {"error": {"a": [1, 5, 3], "b": [2, 2, 2]}, "accuracy": {"a": [0.1], "b": [0.2]}},
    }
    lines = shared.table(result).splitlines()
    assert [line.split()[0] for line in lines if line] == ["error", "b", "a", "accuracy", "b", "a", "*"]
    assert lines[2].split() == ["a", "3", "1", "5"]


def test_a_recipe_may_have_an_option_of_its_own(tmp_path):
    failure = importlib.import_module("failure")
    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(FileNotFoundError, match="not-there"):
        shared.recipe(
            "", failure.run, ["--toy", "--out", str(tmp_path), "--data", "not-there.txt"], ("--data", "a file")
        )


# ---- the table and the guide -------------------------------------------------------------------------------------------

REPORT = {
    "date": "2026-01-02",
    "machine": {"processor": "a machine", "cores": 2},
    "recipes": {
        "one": {
            "seeds": [0, 1],
            "seconds": 3.4,
            "baselines": ["AR(9)"],
            "scores": {
                "error, T = 5": {"LSTM": [1.0, 3.0], "GRU, deep": [2.5, 2.7], "AR(9)": [4.0, 4.0]},
                "seconds": {"LSTM": [9.0, 9.0]},
            },
        },
        "two": {
            "seeds": [0, 1],
            "seconds": 10.0,
            "baselines": ["k-NN"],
            "scores": {"accuracy": {"LSTM": [0.7, 0.9], "k-NN": [0.8, 0.9]}},
        },
    },
}


def test_table_of_results():
    rows = everything.table(REPORT).splitlines()
    assert rows[2] == "| [one](one.py) | error, T = 5 | LSTM | 2 [1, 3] | AR(9) | 4 [4, 4] | 3 |"
    assert rows[3] == "| [two](two.py) | accuracy | LSTM | 0.8 [0.7, 0.9] | k-NN | 0.85 [0.8, 0.9] | 10 |"
    assert (
        rows[-1]
        == "Median [smallest, largest] over the seeds 0 1; seconds of all seeds together.  a machine, 2 cores, 2026-01-02."
    )


@pytest.mark.parametrize(
    ("claim", "true"),
    [
        ("(one, error, T = 5: LSTM < GRU, deep)", True),
        ("(one, error, T = 5: GRU, deep < LSTM)", False),
        ("(one, error, T = 5: LSTM << GRU, deep)", False),  # one seed of the LSTM is worse
        ("(one, error, T = 5: LSTM << AR(9))", True),
        ("(one, error, T = 5: AR(9) >> LSTM)", True),
        ("(two, accuracy: LSTM > k-NN)", False),
        ("(two, accuracy: k-NN > LSTM)", True),
        ("(two, accuracy: k-NN >> LSTM)", False),
    ],
)
def test_a_claim_is_read_and_held_against_the_numbers(claim, true):
    found = everything.claims(f"Some text (with brackets) that ends in\n{claim}, and goes on (as 1 < 2 does).")
    assert len(found) == 1
    assert everything.holds(found[0], REPORT) is true


def test_a_claim_about_nothing_is_an_error():
    for text in ("(three, accuracy: a < b)", "(one, accuracy: LSTM < AR(9))", "(one, seconds: LSTM < AR(9))"):
        with pytest.raises(KeyError):
            everything.holds(everything.claims(text)[0], REPORT)


def test_between_replaces_what_stands_between_the_marks():
    assert everything.between("a <!-- x -->old\n<!-- /x --> b", "x", "new") == "a <!-- x -->\nnew\n<!-- /x --> b"
    with pytest.raises(ValueError, match=r"README.md needs <!-- x --> and <!-- /x -->"):
        everything.between("a <!-- x -->", "x", "new")


@pytest.mark.parametrize(("claim", "code"), [("LSTM << AR(9)", 0), ("LSTM << GRU, deep", 1)])
def test_results_are_written_and_a_claim_that_does_not_hold_is_said(claim, code, tmp_path, monkeypatch, capsys):
    """A claim over a line's end, and one of a recipe that was not run, which nothing can be said about."""
    readme = tmp_path / "README.md"
    readme.write_text(f"<!-- recipes -->\n<!-- /recipes -->\n(one, error,\n  T = 5: {claim}) (three, error: a < b)\n")
    monkeypatch.setattr(everything, "README", readme)
    monkeypatch.setattr(everything, "RESULTS", tmp_path)
    for part in ({"two": REPORT["recipes"]["two"]}, {"one": REPORT["recipes"]["one"]}):  # the second keeps the first
        with pytest.raises(SystemExit) as done:
            everything.write(part, keep=True)
    assert done.value.code == code
    written = json.loads(everything.newest().read_text())
    assert written["recipes"] == REPORT["recipes"]
    assert everything.table(written) in readme.read_text()
    assert ("says what is not so: (one, error, T = 5: LSTM << GRU, deep)" in capsys.readouterr().out) is bool(code)


def test_all_runs_recipes_in_processes_of_their_own(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}
    command = [sys.executable, str(FOLDER / "all.py")]
    done = subprocess.run(
        [*command, "sunspots", "--toy", "--seeds", "0"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "---- sunspots ----" in done.stdout
    assert "relative variance" in done.stdout
    assert not list(tmp_path.iterdir())  # toys leave nothing behind
    wrong = subprocess.run(
        [*command, "sunspot", "--toy"], capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
    )
    assert wrong.returncode == 2
    assert "there is no recipe sunspot: expected some of characters, co2," in wrong.stderr


@pytest.fixture(scope="module")
def report():
    path = everything.newest()
    if path is None:
        pytest.skip("no results yet: make recipes")
    return json.loads(path.read_text(encoding="utf-8"))


def guide():
    """The entries of README's guide, each one line."""
    part = README.split("## Which model when")[1]
    return [re.sub(r"\s+", " ", entry) for entry in re.split(r"\n- |\n\n", part) if "(" in entry]


def test_readme_has_the_table_of_the_newest_results(report):
    assert f"<!-- recipes -->\n{everything.table(report)}\n<!-- /recipes -->" in README


def test_results_are_of_every_recipe_with_several_seeds_and_say_where(report):
    assert sorted(report["recipes"]) == NAMES
    for name, result in report["recipes"].items():
        assert not result["toy"]
        assert len(result["seeds"]) >= 3, name
    assert {"python", "numpy"} <= report["versions"].keys()
    assert report["machine"]["cores"] >= 1


def test_recipes_take_less_than_three_minutes_or_say_why(report):
    for name, result in report["recipes"].items():
        about = importlib.import_module(name).__doc__
        assert result["seconds"] < 180 or "minutes" in about, name


def test_every_entry_of_the_guide_has_a_claim():
    entries = [entry for entry in guide() if not entry.startswith(("Behind", "**"))]
    assert len(entries) > 15
    for entry in entries:
        assert everything.claims(entry), entry
        # What looks like a claim is one: a bracket with a comparison in it that is not read would not be checked.
        assert len(everything.claims(entry)) == len(re.findall(r" (?:<<|>>|<|>) ", entry)), entry


@pytest.mark.parametrize("claim", [claim for entry in guide() for claim in everything.claims(entry)], ids=" ".join)
def test_the_guide_says_what_the_numbers_say(claim, report):
    assert everything.holds(claim, report), f"{claim}: {report['recipes'][claim[0]]['scores'][claim[1]]}"
