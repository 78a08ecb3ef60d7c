"""The page as it is seen: four sizes, two themes, two browsers; what is above the fold, how large, and what a screen reader gets."""

import base64
import json
import os
import re
import subprocess
import sys
from importlib import import_module, resources
from pathlib import Path

import numpy as np
import pytest
import scratchnet
from scratchnet.layers import Embedding, Linear, Recurrent, Sequential
from scratchnet.tracing.order import unit_order
from scratchnet.tracing.terms import program_for
from scratchnet.view.walk import steps

from browsers import LECTURE, resize

SIZES = [(1024, 768), (1280, 720), (1920, 1080), (390, 844)]
LECTURES = SIZES[:3]
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """One page of each kind: several cells, two traces, text, a wrong backward pass, and one without gradients."""
    from scratchnet_instructor import mistakes

    rng, folder = np.random.default_rng(5), tmp_path_factory.mktemp("pages")

    def traced(kind, T=12, H=8, **options):
        model = Sequential(rec=Recurrent(kind, 2, H, rng=rng), head=Linear(H, 1, rng=rng))
        return scratchnet.trace(model, rng.standard_normal((T, 1, 2)), rng.standard_normal((T, 1, 1)), **options)

    rnn, lstm, gru = (traced(kind) for kind in ("rnn", "lstm", "gru"))
    text = "the cat sat"
    ids = np.array([sorted(set(text)).index(c) for c in text])
    V = len(set(text))
    model = Sequential(embed=Embedding(V, 4, rng=rng), rec=Recurrent("lstm", 4, 8, rng=rng), head=Linear(8, V, rng=rng))
    planted = mistakes.plant(next(m for m in mistakes.load() if m.id == "lstm-dc-next-forgotten"))
    layer = Recurrent("lstm", 2, 4, rng=rng)
    made = {
        "rnn": (rnn, {}),
        "lstm": (lstm, {}),
        "gru": (gru, {}),
        "peephole": (traced("lstm_peephole"), {}),
        "sru": (traced("sru"), {}),
        "two": (rnn, {"compare": lstm, "names": ["RNN", "LSTM"]}),
        "three": (rnn, {"compare": [lstm, gru], "names": ["RNN", "LSTM", "GRU"]}),
        "text": (scratchnet.trace(model, ids[:-1, None], ids[1:, None], labels=list(text[:-1])), {}),
        "wrong": (traced("lstm", backward=planted.backward), {}),
        "forward only": (scratchnet.trace(layer, rng.standard_normal((6, 1, 2))), {}),
        "one step": (traced("lstm", T=1), {}),
    }
    return {
        name: (trace, scratchnet.to_html(trace, folder / f"{name}.html", **how)) for name, (trace, how) in made.items()
    }


def opened(driver, path, width, height, theme, fragment="", script=""):
    resize(driver, width, height)
    driver.get("about:blank")
    driver.get(Path(path).as_uri() + fragment)
    driver.execute_script(f"setTheme({json.dumps(theme)}); {script}")
    return driver


@pytest.mark.parametrize("page", ["page", "play", "layers"])
def test_the_scripts_of_a_page_declare_each_name_once(page):
    """They share one scope: a second function of the same name would silently take the place of the first."""
    declared = []
    for script in import_module(f"scratchnet.view.{page}").SCRIPTS:
        text = resources.files("scratchnet.view").joinpath(f"{script}.js").read_text(encoding="utf-8")
        declared += re.findall(r"^(?:async )?(?:const|let|var|function\*?|class) (\w+)", text, re.M)
    assert len(declared) > 50
    assert sorted(set(declared)) == sorted(declared)


KINDS = ["rnn", "lstm", "gru", "peephole", "sru", "two", "three", "text", "wrong", "forward only", "one step"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_runs_out_of_the_window(kind, pages, browser):
    for width, height in [*SIZES, (320, 640)]:
        for zoom in ("river", "cell"):
            driver = opened(browser, pages[kind][1], width, height, "light", f"#zoom={zoom}")
            wide = driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
            assert wide[0] <= wide[1], (zoom, width, wide)
            cut = driver.execute_script("""
                const out = [];
                for (const e of document.querySelectorAll("button, select, output, h1, h2, p, .equation, .numbers, #river text")) {
                    const b = e.getBoundingClientRect();
                    if (b.width && (b.left < -1 || b.right > innerWidth + 1) && !e.closest(".cell")) out.push([e.tagName, e.textContent.slice(0, 30), b.left, b.right]);
                }
                return out;""")
            assert cut == [], (zoom, width, cut)


@pytest.mark.parametrize("size", LECTURES, ids=str)
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_a_lecture_is_large_and_above_the_fold(kind, size, pages, browser):
    """Letters of 3% of the screen's height; river, drawing and equation within it, at every line of both passes."""
    trace, path = pages[kind]
    driver = opened(browser, path, *size, "light", "#zoom=river", "go({ lecture: true })")
    small, low = driver.execute_script(LECTURE)
    assert (small, low) == ([], [])
    walk = steps(program_for(trace.run.cell, trace.run.cache), trace.run.cell)
    for mode in ("forward", "backward"):
        first, last = driver.execute_script(f"go({{ mode: '{mode}', t: 0 }}); return range(lead(), 0)")
        assert (
            last - first + 1 == len(walk[mode]) + {"forward": 2, "backward": 4}[mode]
        )  # head and loss; clip and update
        for s in range(first, last + 1):
            small, low = driver.execute_script(f"go({{ zoom: 'cell', mode: '{mode}', t: 0, s: {s} }});" + LECTURE)
            assert (small, low) == ([], []), (mode, s)


@pytest.mark.parametrize("size", LECTURES, ids=str)
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru", "two"])
def test_every_stop_of_the_story_is_above_the_fold(kind, size, pages, browser):
    driver = opened(browser, pages[kind][1], *size, "light", "", "go({ lecture: true }); tell(0)")
    for k in range(driver.execute_script("return stops.length")):
        assert driver.execute_script(f"tell({k});" + LECTURE) == [[], []], k


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_the_layout_does_not_jump_between_lines(kind, pages, browser):
    driver = opened(browser, pages[kind][1], 1280, 720, "light", "#zoom=cell&t=6&step=0")
    tops = set()
    for _ in range(12):
        tops.add(
            tuple(
                driver.execute_script(
                    "return ['#overview', '.cell', '.micro', '.time'].map(q => Math.round(document.querySelector(q).getBoundingClientRect().top))"
                )
            )
        )
        driver.execute_script("micro(1)")
    assert len(tops) == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing(kind, theme, pages, browser):
    axe = resources.files(pytest.importorskip("axe_core_python")).joinpath("axe.min.js").read_text(encoding="utf-8")
    for zoom in ("river", "cell"):
        driver = opened(browser, pages[kind][1], 1280, 900, theme, f"#zoom={zoom}")
        driver.execute_script(axe)
        found = driver.execute_async_script(
            "const done = arguments[0]; axe.run().then(r => done(r.violations.map(v => [v.id, v.nodes.slice(0, 3).map(n => n.html.slice(0, 120) + n.failureSummary.slice(0, 160))])));"
        )
        assert found == [], (zoom, found)


@pytest.mark.parametrize("kind", KINDS)
def test_firefox_shows_the_same(kind, pages, firefox):
    """The same numbers on the wires and in the lines, MathML, no word in the console, nothing outside the window."""
    trace, path = pages[kind]
    for width, height in SIZES:
        for theme in ("light", "dark"):
            for zoom in ("river", "cell"):
                driver = opened(firefox, path, width, height, theme, f"#zoom={zoom}")
                wide = driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
                assert wide[0] <= wide[1], (width, zoom)
    if trace.has_backward and kind != "wrong":
        driver.execute_script("go({ zoom: 'cell', mode: 'backward', t: 0, s: 0 })")
        value = driver.execute_script("return document.querySelector('.term[data-result=dh]').dataset.value")
        first = next(iter(trace.runs.values()))
        assert float(value) == pytest.approx(first["dh"][0, 0, int(unit_order(first, 0)[0])], rel=1e-12)
    assert driver.execute_script("return document.querySelectorAll('math mi').length") > 0
    assert firefox.log == []


def test_inside_slides_the_drawing_alone_driven_by_messages(pages, browser, tmp_path):
    """?embed=cell and river; a message moves the page, and the page says where it is and how high."""
    path = pages["lstm"][1]
    frame = tmp_path / "slides.html"
    frame.write_text(
        f'<!DOCTYPE html><iframe id="f" src="{path.as_uri()}?embed=cell#t=3&step=0" width="900" height="600"></iframe>'
        "<script>window.told = []; addEventListener('message', e => told.push(e.data.scratchnet));</script>",
        encoding="utf-8",
    )
    resize(browser, 1280, 900)
    browser.get(frame.as_uri())
    send = "document.getElementById('f').contentWindow.postMessage({ scratchnet: arguments[0] }, '*');"
    browser.execute_script(send, {"t": 5, "step": 2, "walk": "backward", "theme": "dark"})
    browser.execute_script(send, {"t": "evil", "zoom": "<b>", "unit": 10**9})  # nothing that is not meant is done
    told = browser.execute_async_script("const done = arguments[0]; setTimeout(() => done(told[told.length - 1]), 300)")
    assert (told["t"], told["step"], told["zoom"], told["walk"]) == (5, 2, "cell", "backward")
    assert told["height"] > 300
    browser.switch_to.frame("f")
    try:
        assert not browser.find_element("tag name", "header").is_displayed()
        assert browser.find_element("css selector", ".cell svg").is_displayed()
        assert browser.execute_script("return document.documentElement.dataset.theme") == "dark"
    finally:
        browser.switch_to.default_content()


def test_a_drawing_saved_as_svg_looks_the_same_without_the_page(pages, browser, tmp_path):
    for zoom, query in (("river", "#river svg"), ("cell", ".cell svg")):
        driver = opened(browser, pages["lstm"][1], 1280, 900, "light", f"#zoom={zoom}&t=5&step=1")
        text = driver.execute_script(f"return asSvg(document.querySelector('{query}'))")
        here = driver.execute_script(
            f"return [...document.querySelectorAll('{query} text')].map(e => [e.textContent, getComputedStyle(e).fontSize])"
        )
        file = tmp_path / f"{zoom}.svg"
        file.write_text(text, encoding="utf-8")
        driver.get(file.as_uri())
        there = driver.execute_script(
            "return [...document.querySelectorAll('text')].map(e => [e.textContent, getComputedStyle(e).fontSize])"
        )
        assert there == here
        assert len(here) > 10


PAPERS = {"A4": (8.27, 11.69), "Letter": (8.5, 11.0)}  # inches
ON_PAPER = """
    const { left, top, right, bottom } = document.body.getBoundingClientRect(), cut = [];
    for (const e of document.querySelectorAll("svg text, svg path, .equation, .numbers, .code, .name span, #hint")) {
        const b = e.getBoundingClientRect();
        if (b.width && (b.left < left - 1 || b.right > right + 1 || b.top < top - 1 || b.bottom > bottom + 1)) cut.push([e.tagName, e.textContent, b.left, b.right, b.bottom]);
    }
    return [right - left, bottom - top, cut, document.querySelector("header").offsetHeight, getComputedStyle(document.body).backgroundColor];"""


@pytest.mark.parametrize("zoom", ["river", "cell"])
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru", "two", "three", "text", "wrong", "forward only"])
def test_on_paper_it_is_one_light_page_and_nothing_is_cut(kind, zoom, pages, browser):
    """From a wide dark window in lecture mode and from a narrow one; afterwards the page is as it was."""
    for width, height in ((1920, 1080), (390, 844)):
        driver = opened(browser, pages[kind][1], width, height, "dark", f"#zoom={zoom}&t=5", "go({ lecture: true })")
        driver.execute_script("beforePrint()")
        wide, high, cut, toolbar, ground = driver.execute_script(ON_PAPER)
        assert wide <= 991
        assert high <= 725
        assert wide > 500 or zoom == "cell"  # and not tiny
        assert (cut, toolbar, ground) == ([], 0, "rgb(255, 255, 255)")
        driver.execute_script("afterPrint()")
    driver = opened(browser, pages[kind][1], 1920, 1080, "dark", f"#zoom={zoom}&t=5", "go({ lecture: true })")
    look = """return [document.body.className, document.body.style.cssText, theme(), document.querySelector("header").offsetHeight,
        Math.round(document.querySelector("#river svg").clientWidth / 100)]"""  # a scroll bar has 15 pixels
    before = driver.execute_script(look)
    for size in PAPERS.values():
        paper = {"paperWidth": size[0], "paperHeight": size[1], "landscape": True}
        pdf = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", paper)["data"])
        assert len(re.findall(rb"/Type /Page\b", pdf)) == 1
    assert driver.execute_script(look) == before


def test_in_a_lecture_one_cell_at_a_time_fills_the_screen(pages, browser):
    driver = opened(browser, pages["two"][1], 1280, 720, "light", "#zoom=cell&t=5&step=0", "go({ lecture: true })")
    shown = "return [...document.querySelectorAll('.pane')].map(e => e.offsetParent !== null)"
    assert driver.execute_script(shown) == [
        False,
        True,
    ]  # the LSTM: the walk's lines are those of the cell that carries a state
    driver.execute_script("go({ pane: 0 })")
    assert driver.execute_script(shown) == [True, False]
    small, low = driver.execute_script(LECTURE)
    assert (small, low) == ([], [])


@pytest.mark.parametrize(("T", "H"), [(500, 16), (100, 64)])
def test_a_page_and_its_lines_are_quick(T, H, browser, tmp_path):
    """In time of the processor, which other processes do not stop: the page in half a second, a line in 50 ms."""
    rng = np.random.default_rng(0)
    model = Sequential(rec=Recurrent("lstm", 4, H, rng=rng), head=Linear(H, 1, rng=rng))
    trace = scratchnet.trace(model, rng.standard_normal((T, 1, 4)), rng.standard_normal((T, 1, 1)))
    path = scratchnet.to_html(trace, tmp_path / "page.html")
    resize(browser, 1280, 720)
    browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})

    def spent(action):
        def clock():
            metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
            return next(m["value"] for m in metrics if m["name"] == "TaskDuration")

        start = clock()
        action()
        return clock() - start

    browser.get("about:blank")
    assert spent(lambda: browser.get(path.as_uri())) < 0.5
    browser.execute_script("go({ zoom: 'cell', t: Math.floor(lead().T / 2), s: 0 })")
    lines = 40
    whole = spent(
        lambda: browser.execute_script(f"for (let k = 0; k < {lines}; k++) {{ micro(1); document.body.offsetHeight; }}")
    )
    assert whole / lines < 0.05
    browser.execute_cdp_cmd("Performance.disable", {})


SMALL = """
import time
import numpy as np, scratchnet
from scratchnet.layers import LSTM, Linear, Sequential
rng = np.random.default_rng(0)
model = Sequential(rec=LSTM(2, 16, rng=rng), head=Linear(16, 1, rng=rng))
x, target = rng.standard_normal((20, 4, 2)), rng.standard_normal((20, 4, 1))
start = time.process_time()
scratchnet.to_html(scratchnet.trace(model, x, target), "page.html")
print(time.process_time() - start)
"""


def test_a_small_trace_answers_at_once_without_any_machine_code(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", SMALL], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 1
    assert (tmp_path / "page.html").exists()
