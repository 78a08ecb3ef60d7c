"""The mutation tests' own parts: what is changed, and that every explanation still explains something."""

import sys
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "mutation"
ROOT = HERE.parents[1]
sys.path.append(str(HERE))
from mutants import mutants  # noqa: E402

TEXT = b'''"""A docstring with a + b and 1."""


def total(a: int = 1, *, rows: "list[int]") -> int:
    if not a <= 2 and rows:
        raise ValueError(f"a is {a + 1}")
    rows[0] = 0
    s = 0.5
    for row in rows[:-1]:
        s += 2 * row
    print(s)
    return s
'''


def test_every_small_mistake_is_made():
    found = {(mutant.before, mutant.after) for mutant in mutants("total.py", TEXT)}
    assert found == {
        ('def total(a: int = 1, *, rows: "list[int]") -> int:', 'def total(a: int = 2, *, rows: "list[int]") -> int:'),
        ("if not a <= 2 and rows:", "if (not (not a <= 2 and rows)):"),
        ("if not a <= 2 and rows:", "if not a <= 2 or rows:"),
        ("if not a <= 2 and rows:", "if a <= 2 and rows:"),
        ("if not a <= 2 and rows:", "if not a < 2 and rows:"),
        ("if not a <= 2 and rows:", "if not a <= 3 and rows:"),
        ('raise ValueError(f"a is {a + 1}")', "pass"),
        ("rows[0] = 0", "pass"),
        ("rows[0] = 0", "rows[0] *= 0"),
        ("rows[0] = 0", "rows[1] = 0"),
        ("rows[0] = 0", "rows[0] = 1"),
        ("s = 0.5", "s = 1.0"),
        ("for row in rows[:-1]:", "for row in rows[:1]:"),
        ("for row in rows[:-1]:", "for row in rows[:-2]:"),
        ("s += 2 * row", "s = 2 * row"),
        ("s += 2 * row", "pass"),
        ("s += 2 * row", "s += 2 / row"),
        ("s += 2 * row", "s += 2"),
        ("s += 2 * row", "s += 3 * row"),
        ("print(s)", "pass"),
    }
    ids = [mutant.id for mutant in mutants("total.py", TEXT)]
    assert len(set(ids)) == len(ids)
    moved = b"# one more line\n" + TEXT.replace(b'"""A doc', b'"""The doc')
    assert [mutant.id for mutant in mutants("total.py", moved)] == ids  # results outlive a change elsewhere


def test_nothing_is_changed_where_every_number_means_the_same():
    text = b"names = [*cell.param_shapes(1, 1)]\na = np.zeros_like(h[0]).reshape(-1, b)\n"
    assert list(mutants("names.py", text)) == []


def explained():
    return tomllib.loads((HERE / "explained.toml").read_text(encoding="utf-8"))["mutant"]


@pytest.mark.parametrize("file", sorted({row["file"] for row in explained()}))
def test_every_explanation_is_of_a_mutant(file):
    found = {(mutant.before, mutant.after) for mutant in mutants(file, (ROOT / file).read_bytes())}
    for row in explained():
        assert row["why"].endswith(".")
        if row["file"] == file:
            assert (row["before"], row["after"]) in found, row


def test_the_table_names_files_and_tests_that_exist():
    for row in tomllib.loads((HERE / "modules.toml").read_text(encoding="utf-8"))["module"]:
        assert list(ROOT.glob(row["files"])), row["files"]
        for test in (*row["tests"], *row.get("leave_out", ())):
            path, _, name = test.partition("::")
            assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), test
            assert (ROOT / path).is_file()
