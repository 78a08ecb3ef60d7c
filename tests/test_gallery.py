"""The gallery: every figure is in it, and the code on the page is the code that drew the figure."""

import inspect
import re
from base64 import b64decode
from html import unescape
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure
from scratchnet import plots
from scratchnet.commands import gallery
from scratchnet.commands.cli import main

from figures import faults


@pytest.fixture(scope="module")
def made():
    """Each example with the code that was run and its figure."""
    return list(gallery.drawn())


def test_every_function_that_draws_is_in_the_gallery():
    functions = [getattr(plots, name) for name in plots.__all__ if inspect.isfunction(getattr(plots, name))]
    draws = {f.__name__ for f in functions if {"size", "title"} <= inspect.signature(f).parameters.keys()}
    assert draws == {example.name for example in gallery.EXAMPLES}
    assert len(draws) == len(gallery.EXAMPLES) >= 17


def test_each_call_draws_a_figure_that_can_be_read(made):
    for example, call, figure in made:
        assert call.startswith(f"plots.{example.name}(")
        assert isinstance(figure, Figure)
        assert faults(figure) == [], example.name


def test_each_call_can_be_copied_and_run():
    """Copied from the page into a program: setup, then the calls."""
    names = {}
    exec(gallery.SETUP.replace("epochs=25", "epochs=1"), names)
    for example in gallery.EXAMPLES:
        assert isinstance(eval(example.call, names), Figure)
        assert 2 <= len(re.findall(r"[.;:](?: |$)", example.reading)) <= 4, example.name


class Page(HTMLParser):
    """What a reader's browser would find."""

    def __init__(self):
        super().__init__()
        self.images, self.links, self.targets, self.code, self.inside = [], [], set(), [], False

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.targets.add(found.get("id"))
        if tag == "img":
            self.images.append(found)
        if tag == "a":
            self.links.append(found["href"])
        if tag == "pre":
            self.inside = True
            self.code.append("")

    def handle_data(self, data):
        if self.inside:
            self.code[-1] += data

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "pre"


@pytest.mark.parametrize("size", ["slide", "paper"])
def test_the_page_is_one_file_for_everyone(size, tmp_path, capsys, monkeypatch, made):
    def again(asked):
        assert asked == size
        return iter(made)

    monkeypatch.setattr(gallery, "drawn", again)
    assert main(["gallery", "--out", str(tmp_path / "new"), "--size", size]) == 0
    path = tmp_path / "new" / "gallery.html"
    assert capsys.readouterr().out == f"{path}\n"
    text = path.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert len(page.images) == len(made)
    for image, (example, _, _) in zip(page.images, made):
        assert b64decode(image["src"].removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
        assert image["alt"] == example.alt
        assert len(image["alt"]) > 20
    assert page.links == [f"#{example.name}" for example, _, _ in made]
    assert {link[1:] for link in page.links} <= page.targets
    assert page.code == [gallery.SETUP, *(call for _, call, _ in made)]
    assert "http" not in re.sub(r"base64,[\w+/=]+", "", unescape(text))  # no network
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text
    for theme in ("light", "dark"):
        assert f"--ink: {plots.PALETTE['page']['ink'][theme]};" in text


def test_the_size_is_part_of_the_call(monkeypatch):
    monkeypatch.setattr(gallery, "EXAMPLES", gallery.EXAMPLES[-1:])
    monkeypatch.setattr(gallery, "SETUP", "from scratchnet import plots")
    ((_, call, figure),) = gallery.drawn("paper")
    assert call == "plots.loss_cliff(size='paper')"
    assert figure.get_figwidth() == 7
