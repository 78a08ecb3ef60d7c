"""The stepper: one self-contained page that walks a trace forwards and backwards through time.

``to_html(trace, "wave.html")`` writes a page that opens in a browser, without server or network.
A notebook shows a trace as this page (``plots.notebook``). ``write_play("play.html")`` writes
a page that trains networks itself.
"""

from scratchnet.view.layers import layers_page, layers_to_html
from scratchnet.view.page import page, to_html
from scratchnet.view.play import play_page, write_play
from scratchnet.view.story import Stop

__all__ = ["Stop", "layers_page", "layers_to_html", "page", "play_page", "to_html", "write_play"]
