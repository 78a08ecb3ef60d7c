"""Recurrent networks written out by hand: every gate, every state and every gradient term can be
looked at.

Start reading at ``scratchnet/cells/lstm.py``. Importing this package loads none of its parts: each
is imported on first use. The parts that compute load NumPy and nothing else of weight.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "layers_to_html", "load_trace", "to_html", "trace"]

LAZY = {
    "trace": ("tracing", "trace"),
    "load_trace": ("tracing", "load"),
    "to_html": ("view", "to_html"),
    "layers_to_html": ("view", "layers_to_html"),
}


def __getattr__(name: str) -> Any:
    """``scratchnet.trace``, ``load_trace``, ``to_html`` and ``layers_to_html``, imported on first
    use; notebooks then show traces as pages."""
    if name in LAZY:
        module, function = LAZY[name]
        import_module("scratchnet.tracing").Trace.show_in_notebook = _show_in_notebook
        return getattr(import_module(f"scratchnet.{module}"), function)
    raise AttributeError(f"module 'scratchnet' has no attribute {name!r}")


def _show_in_notebook(trace: Any) -> str:
    """The HTML of a trace; the first one loads Matplotlib, for a picture of it."""
    html: str = import_module("scratchnet.plots.notebook").notebook_html(trace)
    return html
