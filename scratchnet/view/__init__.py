"""The stepper: one self-contained page that walks a trace forwards and backwards through time.

``to_html(trace, "wave.html")`` writes a page that opens in a browser, without server or network.
In a notebook a trace is shown as this page once ``scratchnet.view`` is imported, which
``scratchnet.trace`` does.
"""

from scratchnet.tracing.trace import Trace
from scratchnet.view.page import notebook_html, page, to_html
from scratchnet.view.story import Stop

__all__ = ["Stop", "notebook_html", "page", "to_html"]

Trace.show_in_notebook = notebook_html
