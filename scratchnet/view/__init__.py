"""The stepper: one self-contained page that walks a trace forwards and backwards through time.

``to_html(trace, "wave.html")`` writes a page that opens in a browser, without server or network.
In a notebook a trace is shown as this page once ``scratchnet.view`` is imported, which
``scratchnet.trace`` does. ``write_play("play.html")`` writes a page that trains networks itself.
"""

from scratchnet.tracing.trace import Trace
from scratchnet.view.layers import layers_page, layers_to_html
from scratchnet.view.page import notebook_html, page, to_html
from scratchnet.view.play import play_page, write_play
from scratchnet.view.story import Stop

__all__ = [
    "Stop",
    "layers_page",
    "layers_to_html",
    "notebook_html",
    "page",
    "play_page",
    "to_html",
    "write_play",
]

Trace.show_in_notebook = notebook_html
