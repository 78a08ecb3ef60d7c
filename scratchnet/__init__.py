"""Recurrent networks written out by hand: every gate, every state and every gradient term can be looked at.

Start reading at ``scratchnet/cells/lstm.py``.  Importing this package loads none of its parts: each comes when it is
asked for.  The parts that compute load NumPy and nothing else of weight.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_trace", "trace"]


def __getattr__(name: str) -> Any:
    """``scratchnet.trace`` and ``scratchnet.load_trace``, imported when they are first asked for."""
    if name in ("trace", "load_trace"):
        from scratchnet import tracing

        return tracing.trace if name == "trace" else tracing.load
    raise AttributeError(f"module 'scratchnet' has no attribute {name!r}")
