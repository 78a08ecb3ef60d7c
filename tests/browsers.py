"""Firefox, driven over its own WebDriver BiDi port, so that no driver program is needed beside the browser."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")


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
