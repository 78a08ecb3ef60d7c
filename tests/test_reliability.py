"""docs/reliability.md says what its results file says, and the counts are those of what was run."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import false_alarms
import reliability

ROOT = Path(__file__).parent.parent
TEXT = reliability.DOCUMENT.read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_newest_results():
    assert reliability.document(TEXT, reliability.newest()) == TEXT


def test_every_file_that_is_said_to_test_a_promise_exists():
    named = {
        name
        for rows in reliability.SECTIONS.values()
        for row in rows
        for name in re.findall(r"`(tests/[\w./]+)`", row.tested)
    }
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_part_is_in_a_table():
    """And a part without results is an error, not an empty cell."""
    report = reliability.newest()
    assert report["parts"].keys() == reliability.PARTS.keys()
    for part in reliability.PARTS:
        others = {**report, "parts": {name: row for name, row in report["parts"].items() if name != part}}
        with pytest.raises(KeyError, match=part):
            reliability.document(TEXT, others)


def test_a_document_without_marks_is_an_error():
    with pytest.raises(ValueError, match=r"reliability\.md needs <!-- Numbers --> and <!-- /Numbers -->, once each"):
        reliability.document(TEXT.replace("<!-- /Numbers -->", ""), reliability.newest())


def test_kills_are_counted_by_kind():
    found = reliability.kills(seed=3, count=1)
    assert found.keys() == {*reliability.KILLED, "in place"}
    assert {row["kills"] for row in found.values()} == {1}
    assert sum(found[kind]["lost"] for kind in reliability.KILLED) == 0
    assert reliability.writers(seed=3, count=20) == {"loads": 20, "failed": 0}


def test_alarms_are_counted(monkeypatch):
    """The two processes take different seeds, above those that chose constants."""
    found = reliability.alarms(seed=0, examples="cell rnn", seeds=3)
    cells = len({label for label, _ in false_alarms.checks(0, "cell rnn")})
    assert found == {"first seed": 10**6, "seeds": 4, "examples": cells, "checks": 4 * cells, "false alarms": 0}

    def alarm():
        raise false_alarms.GradientError(SimpleNamespace(explain=lambda: "wrong"))

    monkeypatch.setattr(false_alarms, "checks", lambda seed, only: [("right", lambda: None), ("wrong", alarm)])
    run, alarmed, used = false_alarms.count(5, 7)
    assert (run.total(), alarmed, used) == (14, {"wrong": 7}, 7)


def test_the_tests_of_a_run_are_counted_by_file(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n", encoding="utf-8")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_some.py").write_text(
        "import pytest\n@pytest.mark.parametrize('n', range(5))\ndef test(n):\n    assert n < 3\n"
        "def test_other():\n    pytest.skip()\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(reliability, "ROOT", tmp_path)
    assert reliability.suite(4) == {"order": 4, "files": {"test_some": {"failed": 2, "passed": 3, "skipped": 1}}}
