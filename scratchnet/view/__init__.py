"""The stepper: one self-contained page that walks a trace forwards and backwards through time."""

from scratchnet.view.page import inline, page, write

__all__ = ["inline", "page", "write"]
