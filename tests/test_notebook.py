"""A trace in a notebook: the page in its frame, with the notebook's height, theme and keys, and the picture where no script runs."""

import json
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nbformat
import numpy as np
import pytest
import scratchnet
from nbclient import NotebookClient
from PIL import Image
from scratchnet.cells import lstm
from scratchnet.layers import LSTM

from browsers import resize

SETUP = """
import numpy as np, scratchnet
from scratchnet import plots
from scratchnet.layers import LSTM, Linear, Sequential
rng = np.random.default_rng(5)
model = Sequential(rec=LSTM(2, 8, rng=rng), head=Linear(8, 1, rng=rng))
x, target = rng.standard_normal((12, 1, 2)), rng.standard_normal((12, 1, 1))
"""
CELLS = [
    SETUP,
    "trace = scratchnet.trace(model, x, target, title='LSTM')\ntrace",
    "scratchnet.trace(model, x)",
    "plots.river(trace)",
    "trace.run",
    "[trace, plots.gates(trace)]",
]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """An executed notebook."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    where = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    NotebookClient(book, timeout=120, kernel_name="python3", resources=where).execute()
    return book


@pytest.fixture(scope="module")
def shown(notebook):
    """What the notebook has for the trace, in HTML."""
    return notebook.cells[1].outputs[0].data["text/html"]


def written(path, *outputs, head="", body=""):
    """A page with outputs, as nbconvert writes them: one after the other."""
    text = "".join(f'<div class="cell" style="margin:20px">{output}</div>' for output in outputs)
    path.write_text(f"<!DOCTYPE html><html><head>{head}</head><body {body}>{text}</body></html>", encoding="utf-8")
    return path.as_uri()


def until(driver, condition, seconds=5.0):
    """The value of an expression of JavaScript, once it is not null or false."""
    ends = time.monotonic() + seconds
    while not (found := driver.execute_script(f"return {condition}")):
        assert time.monotonic() < ends, condition
        time.sleep(0.05)
    return found


def inside(driver, script, which=0):
    """The value of a script in a frame."""
    driver.switch_to.frame(which)
    try:
        return driver.execute_script(script)
    finally:
        driver.switch_to.default_content()


def opened(driver, address, width=1200, height=900):
    resize(driver, width, height)
    driver.get("about:blank")
    driver.get(address)
    until(driver, "[...document.querySelectorAll('iframe.scratchnet')].every(f => f.told)")
    return driver


def test_each_value_is_shown_once_and_its_repr_is_short(notebook):
    for cell in notebook.cells[1:]:
        (output,) = cell.outputs
        assert len(output.data["text/plain"].splitlines()) <= 2
        assert len(output.data["text/plain"]) < 160
    trace, forward, river = (cell.outputs[0].data for cell in notebook.cells[1:4])
    assert trace["text/plain"] == "<trace of LSTM: 12 steps, 1 sequence, mse 0.440239>"
    assert trace.keys() == forward.keys() == {"text/plain", "text/html"}
    assert river.keys() == {"text/plain", "image/png"}
    for text in (trace["text/html"], forward["text/html"]):
        assert (text.count("<img "), text.count("<iframe ")) == (1, 1)
        assert re.findall("allow-[a-z-]+", text) == ["allow-scripts"]  # of the sandbox: no origin, no top navigation


def test_the_picture_has_a_text_that_says_what_is_seen(notebook):
    river, gates = (
        re.search(r'<img src="data:image/png;base64,iVBOR[\w+/=]+" alt="([^"]+)"', cell.outputs[0].data["text/html"])[1]
        for cell in notebook.cells[1:3]
    )
    assert river.startswith("The unrolled LSTM, 12 time steps: ribbons as wide as the gradient of c and of h")
    assert "multiplied by the forget gate, 0.7" in river
    assert gates == "Heat maps of rec.l0 (lstm): a row is a unit, a column one of 12 time steps."


def test_a_trace_that_has_no_picture_is_shown_all_the_same(rng):
    """Of a backward pass that runs out of sight, as compiled ones do, no dh or dc was seen."""

    def backward(dy, cache, *d_last):
        with ThreadPoolExecutor(1) as pool:
            return tuple(pool.submit(lstm.backward, dy, cache, *d_last).result())[:-1]

    layer, x = LSTM(2, 4, rng=rng), rng.standard_normal((3, 1, 2))
    trace = scratchnet.trace(layer, x, dy=np.ones((3, 1, 4)), backward=backward)
    assert "dc" not in trace.run
    text = trace._repr_html_()
    assert "<img" not in text
    assert "height:700px" in text
    assert 'title="A trace of LSTM(2, 4)"' in text


class Sanitized(HTMLParser):
    """What a sanitizer leaves: frames, scripts and their content go, and every attribute that is not known to be harmless."""

    def __init__(self):
        super().__init__()
        self.left, self.inside = "", 0

    def handle_starttag(self, tag, attributes):
        if tag in ("iframe", "script"):
            self.inside += 1
        elif not self.inside:
            kept = "".join(f' {n}="{v}"' for n, v in attributes if n in ("src", "alt", "width"))
            self.left += f"<{tag}{kept}>"

    def handle_endtag(self, tag):
        if tag in ("iframe", "script"):
            self.inside -= 1
        elif not self.inside:
            self.left += f"</{tag}>"

    def handle_data(self, data):
        self.left += "" if self.inside else data


def sanitized(text):
    parser = Sanitized()
    parser.feed(text)
    return parser.left


def test_a_sanitizer_leaves_the_picture_alone(shown):
    left = sanitized(shown)
    assert re.fullmatch(
        r'<div><img src="data:image/png;base64,[\w+/=]+" alt="The unrolled[^"<>]+" width="900"></div>', left
    )


def test_without_scripts_the_picture_is_seen_and_nothing_over_it(shown, browser, tmp_path):
    """As it looks where frames and scripts are gone, pixel by pixel; and that is not an empty page."""
    pictures, policy = [], "<meta http-equiv=Content-Security-Policy content=\"script-src 'none'\">"
    for name, text in (("whole", shown), ("cleaned", sanitized(shown))):
        resize(browser, 1200, 900)
        browser.get(written(tmp_path / f"{name}.html", text, head=policy))
        time.sleep(0.5)
        browser.save_screenshot(str(tmp_path / f"{name}.png"))
        with Image.open(tmp_path / f"{name}.png") as image:
            pictures.append(np.asarray(image.convert("RGB")).astype(int))
    browser.get_log("browser")
    assert np.abs(pictures[0] - pictures[1]).max() == 0
    assert len(np.unique(pictures[0].reshape(-1, 3), axis=0)) > 100


HEIGHTS = """const frame = document.querySelectorAll("iframe.scratchnet")[arguments[0]];
    return [frame.clientHeight, frame.clientWidth, frame.parentElement.clientHeight, getComputedStyle(frame.parentElement.querySelector("img")).display];"""


def settled(driver, which=0):
    """The height of a frame once it does not change any more, which it must not do after it fits; and that of its page."""
    until(driver, f"document.querySelectorAll('iframe.scratchnet')[{which}].told")
    seen = []
    for _ in range(40):
        time.sleep(0.1)
        seen.append(driver.execute_script(HEIGHTS, which)[0])
        if seen[-6:] == [seen[-1]] * 6:
            break
    assert seen[-6:] == [seen[-1]] * 6, seen
    within = inside(
        driver, "return [document.documentElement.scrollHeight, innerHeight, document.body.offsetHeight]", which
    )
    assert within[0] == within[1] == seen[-1]
    assert abs(within[2] - seen[-1]) <= 1
    return seen[-1]


def say(driver, **message):
    driver.execute_script(
        "document.querySelector('iframe.scratchnet').contentWindow.postMessage({ scratchnet: arguments[0] }, '*')",
        message,
    )


def test_the_frame_is_as_high_as_its_page(shown, notebook, browser, tmp_path):
    """At two widths, in both views, after an inner change, in a lecture, whose letters grow with the screen and not with the frame."""
    driver = opened(browser, written(tmp_path / "book.html", shown, notebook.cells[2].outputs[0].data["text/html"]))
    river = settled(driver)
    assert 700 < river < 2500
    assert driver.execute_script(HEIGHTS, 0)[3] == "none"  # the page is there instead of the picture
    settled(driver, 1)
    say(driver, zoom="cell", t=5)
    cell = settled(driver)
    assert cell != river
    inside(driver, "document.querySelector('.strips').open = false")
    assert settled(driver) <= cell
    say(driver, lecture=True)
    lecture = settled(driver)
    assert inside(driver, "return parseFloat(getComputedStyle(document.body).fontSize)") == pytest.approx(
        0.031 * 900, abs=0.1
    )
    resize(driver, 1200, 700)
    assert settled(driver) < lecture
    say(driver, lecture=False, zoom="river")
    resize(driver, 500, 900)
    assert settled(driver) > river
    assert driver.execute_script(HEIGHTS, 0)[1] < 500
    assert inside(driver, "return document.documentElement.scrollWidth <= innerWidth")


GROUNDS = {
    "light": ('style="background:#fff"', "light"),
    "dark": ('style="background:#111"', "dark"),
    "dark behind a veil": ('style="background:rgb(20 20 20)" class="veil"', "dark"),
    "oklch": ('style="background:oklch(0.2 0.02 250)"', "dark"),
    "nothing opaque, light letters": ('style="color:#ddd"', "dark"),
    "nothing opaque": ("", "light"),
}


def test_a_notebook_that_comes_slowly_hears_the_frames_first_word(shown, browser):
    """The frame's page announces itself once, so the script that listens must run before it, also if the document pauses."""
    parts = [f"<!DOCTYPE html><body>{shown[: (cut := shown.index('</iframe>') + 9)]}", shown[cut:]]

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            for part in parts:
                self.wfile.write(part.encode())
                self.wfile.flush()
                time.sleep(2)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            opened(browser, f"http://127.0.0.1:{server.server_port}/")
        finally:
            server.shutdown()
    assert browser.execute_script("return document.querySelector('iframe').clientHeight") > 400


@pytest.mark.parametrize("name", GROUNDS)
@pytest.mark.parametrize("system", ["light", "dark"])
def test_it_has_the_notebooks_theme_whatever_the_systems(name, system, shown, browser, tmp_path):
    body, theme = GROUNDS[name]
    look = "<style>.veil .cell { background: rgb(255 255 255 / 10%) }</style>"
    feature = [{"name": "prefers-color-scheme", "value": system}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
    try:
        driver = opened(browser, written(tmp_path / "book.html", shown, body=body, head=look))
        settled(driver)
        assert inside(driver, "return document.documentElement.dataset.theme") == theme
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_it_follows_a_later_change_of_theme_and_leaves_the_readers_own(shown, browser, tmp_path):
    """By an attribute, as in VS Code, and by a style sheet that comes after it, as in JupyterLab."""
    driver = opened(browser, written(tmp_path / "book.html", shown, shown, body='style="background:#fff"'))
    theme = "return document.documentElement.dataset.theme"
    settled(driver)
    driver.execute_script("document.body.style.background = '#222'")
    time.sleep(0.5)
    assert [inside(driver, theme, k) for k in (0, 1)] == ["dark", "dark"]
    inside(driver, "document.getElementById('theme').click()")
    settled(driver)
    say(driver, zoom="cell")
    settled(driver)
    assert [inside(driver, theme, k) for k in (0, 1)] == ["light", "dark"]
    driver.execute_script(
        "document.body.dataset.jpThemeLight = 'true'; setTimeout(() => (document.body.style.cssText = ''), 300)"
    )
    time.sleep(1)
    assert [inside(driver, theme, k) for k in (0, 1)] == ["light", "light"]


def test_in_jupyterlab_a_script_runs_after_its_frame_was_inserted(shown, browser, tmp_path):
    """JupyterLab sets innerHTML and makes every script again; a cell that is run again has a new frame."""
    path = tmp_path / "lab.html"
    path.write_text('<!DOCTYPE html><body style="background:#111"><div id="out"></div></body>', encoding="utf-8")
    resize(browser, 1200, 900)
    browser.get(path.as_uri())
    run = """const out = document.getElementById("out");
        out.innerHTML = arguments[0];
        for (const old of out.querySelectorAll("script")) {
            const made = document.createElement("script");
            made.textContent = old.textContent;
            old.replaceWith(made);
        }"""
    for _ in range(2):
        browser.execute_script(run, shown)
        settled(browser)
        assert inside(browser, "return document.documentElement.dataset.theme") == "dark"


def test_keys_go_where_the_pointer_is_but_not_from_somebody_who_writes(shown, browser, tmp_path):
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    field = '<textarea id="code"></textarea><button id="own">own</button>'
    driver = opened(browser, written(tmp_path / "book.html", field, shown))
    settled(driver)
    driver.get_log("browser")
    over = {"page": [600, 500]}
    for name in ("code", "own"):
        box = driver.execute_script(f"return document.getElementById('{name}').getBoundingClientRect()")
        over[name] = [int(box["x"] + box["width"] / 2), int(box["y"] + box["height"] / 2)]

    def move(name, click=False, key=""):
        action = ActionBuilder(driver)
        action.pointer_action.move_to_location(*over[name])
        if click:
            action.pointer_action.click()
        if key:
            action.key_action.send_keys(key)
        action.perform()

    zoom, focus = "return scratchnet.view.zoom", "return document.activeElement.id || document.activeElement.tagName"
    move("own", click=True)
    move("page")
    move("page", key="o")
    assert inside(driver, zoom) == "cell"
    move("own")
    assert driver.execute_script(focus) == "own"
    move("code", click=True)
    move("page")
    move("page", key="o")
    assert (inside(driver, zoom), driver.find_element("id", "code").get_attribute("value")) == ("cell", "o")
    move("page", click=True)  # after a click they stay
    until(driver, "document.activeElement.tagName === 'IFRAME'")
    time.sleep(0.2)
    zoomed = inside(driver, zoom)
    move("own")
    move("own", key="o")
    assert inside(driver, zoom) != zoomed
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nbconvert_keeps_page_height_and_theme(theme, notebook, browser, tmp_path):
    nbconvert = pytest.importorskip("nbconvert")
    text, _ = nbconvert.HTMLExporter(theme=theme).from_notebook_node(notebook)
    path = tmp_path / "book.html"
    path.write_text(re.sub(r'<script[^>]*src="http.*?</script>', "", text, flags=re.S), encoding="utf-8")
    driver = opened(browser, path.as_uri())
    assert settled(driver) > 700
    assert inside(driver, "return document.documentElement.dataset.theme") == theme


def test_the_first_small_trace_is_shown_well_under_a_second():
    """In a fresh process, with the import of Matplotlib; seconds of the processor, because other tests run at the same time."""
    program = SETUP.replace("from scratchnet import plots\n", "") + (
        "import sys, time\ntrace = scratchnet.trace(model, x, target)\nassert 'matplotlib' not in sys.modules\n"
        "began = time.process_time()\ntrace._repr_html_()\nprint(time.process_time() - began)"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        seconds.append(float(json.loads(done.stdout)))
        if seconds[-1] < 0.9:
            break
    assert min(seconds) < 0.9
