"""What a reader of a figure can see: the size of its letters, and whether texts are cut off or cover each other."""

from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.axis import Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

SLIDE = 13.33  # inches: a figure is scaled to the width of a slide


def texts_of(figure):
    """Each text that is drawn, with its box in pixels, after the layout."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    ticks, shown = set(), set()
    for ax in figure.findobj(Axes):
        for axis in (ax.xaxis, ax.yaxis):
            ticks.update(label for tick in axis.findobj(Tick) for label in (tick.label1, tick.label2))
            if ax.get_visible() and ax.axison and axis.get_visible():
                shown.update(label for tick in axis._update_ticks() for label in (tick.label1, tick.label2))
            elif ax.axison is False:
                ticks.update((axis.label, axis.get_offset_text()))
    written = (text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible())
    # of an annotation the words alone, without its line
    return [(text, Text.get_window_extent(text, renderer)) for text in written if text in shown or text not in ticks]


def faults(figure, size="slide"):
    """What a reader would complain of: a list of sentences, empty for a good figure."""
    said, found = [], texts_of(figure)
    least = 18 * figure.get_figwidth() / SLIDE if size == "slide" else 10
    width, height = figure.canvas.get_width_height()
    for text, box in found:
        name = text.get_text()[:40]
        if text.get_fontsize() < least - 1e-6:
            said.append(f"{name!r} has {text.get_fontsize():.1f} points, expected {least:.1f}")
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            said.append(f"{name!r} is cut off: {[round(v) for v in box.extents]} of {width} x {height}")
    for (a, one), (b, other) in combinations(found, 2):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        up = min(one.y1, other.y1) - max(one.y0, other.y0)
        # a line's box has room for the letters that reach above and below it
        if across > 1 and up > 0.25 * min(a.get_fontsize(), b.get_fontsize()) * figure.dpi / 72:
            said.append(f"{a.get_text()[:40]!r} covers {b.get_text()[:40]!r} by {across:.0f} x {up:.0f}")
    return said
