"""Headless browsers: Chromium by its driver, Firefox over its own WebDriver BiDi port, without a driver program."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")

# Of a page in lecture mode: letters of less than 3% of the screen's height, and what lies below the fold.
LECTURE = """
    const small = [], low = [], H = innerHeight;
    const visible = e => { const b = e.getBoundingClientRect(); return b.width > 0 && b.height > 0 && getComputedStyle(e).visibility !== "hidden"; };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const e = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || !visible(e) || e.closest("#say, script, math, .sub, #tip")) continue;
        const px = parseFloat(getComputedStyle(e).fontSize) * (e.ownerSVGElement ? e.ownerSVGElement.getBoundingClientRect().width / e.ownerSVGElement.viewBox.baseVal.width : 1);
        if (px < 0.03 * H - 0.05) small.push([e.tagName, e.textContent.slice(0, 20), px / H]);
    }
    for (const e of document.querySelectorAll("#story:not([hidden]), #overview, #live, #gates, .cell svg, .micro .title, .micro .equation")) {
        const b = e.getBoundingClientRect();
        if (b.height && b.bottom > H + 1) low.push([e.className.baseVal ?? (e.id || e.className), b.bottom, H]);
    }
    return [small, low];"""


class Firefox:
    """A headless Firefox with one page."""

    def __init__(self):
        import websocket  # comes with selenium

        self.profile = tempfile.mkdtemp(prefix="firefox-")
        command = [FIREFOX, "--headless", "--no-remote", "--profile", self.profile, "--remote-debugging-port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        found = (re.search(r"BiDi listening on (ws://\S+)", line) for line in self.process.stderr)
        address = next(match[1] for match in found if match)
        self.socket = websocket.create_connection(f"{address}/session", suppress_origin=True, timeout=60)
        self.sent, self.log = 0, []
        self.call("session.new", capabilities={})
        self.page = self.call("browsingContext.getTree")["contexts"][0]["context"]
        self.call("session.subscribe", events=["log.entryAdded"])

    def call(self, method, **params):
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.sent:
                assert message["type"] == "success", message
                return message["result"]
            if message.get("method") == "log.entryAdded":
                self.log.append(message["params"].get("text"))

    def get(self, url):
        self.call("browsingContext.navigate", context=self.page, url=url, wait="complete")

    def execute_script(self, body):
        """The value that a function with this body returns, by way of JSON."""
        target = {"context": self.page}
        found = self.call(
            "script.evaluate", expression=f"JSON.stringify((() => {{{body}}})())", target=target, awaitPromise=True
        )
        assert found["type"] == "success", found
        value = found["result"].get("value")
        return None if value is None else json.loads(value)

    def resize(self, width, height):
        self.call("browsingContext.setViewport", context=self.page, viewport={"width": width, "height": height})

    def save_screenshot(self, path):
        data = self.call("browsingContext.captureScreenshot", context=self.page)["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def quit(self):
        self.process.terminate()
        self.process.wait(20)
        self.process.stderr.close()
        self.socket.close()
        shutil.rmtree(self.profile, ignore_errors=True)


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, driven; its console and its network requests are logged."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs Chromium and its driver on the path (Debian: chromium, chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1400,1200",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(service=Service(DRIVER), options=options)
    yield driver
    driver.quit()


def assert_quiet(driver):
    """Nothing was written to the console, and nothing fetched from the network."""
    assert driver.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in requests if not url.startswith(("file:", "about:", "data:"))] == []


@pytest.fixture
def opened(browser, tmp_path):
    """Writes a trace's page and opens it from disk; afterwards the page must have been quiet."""
    from scratchnet import to_html

    def open_page(trace, fragment="", **options):
        path = to_html(trace, tmp_path / "page.html", **options)
        browser.get("about:blank")
        browser.get(path.as_uri() + fragment)
        return browser

    yield open_page
    assert_quiet(browser)


def press(driver, *keys):
    """Type keys at the page itself."""
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


def resize(driver, width, height):
    """The size of the page itself, whatever the window's."""
    if isinstance(driver, Firefox):
        driver.resize(width, height)
    else:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.fixture(scope="module")
def firefox():
    """Headless Firefox; its console is logged."""
    if FIREFOX is None:
        pytest.skip("needs Firefox on the path (Debian: firefox-esr)")
    pytest.importorskip("websocket")
    driver = Firefox()
    yield driver
    driver.quit()
