"""A trace as the value of a notebook's cell: its page, and a picture where no script runs.

``scratchnet.trace`` makes notebooks load this module when they show a trace, and not before: it
loads Matplotlib.
"""

from typing import Any

from scratchnet.errors import ScratchnetError
from scratchnet.plots.gates import gates
from scratchnet.plots.river import in_words, river
from scratchnet.plots.style import png
from scratchnet.tracing import Trace
from scratchnet.view.page import framed, page


def notebook_html(trace: Trace, **options: Any) -> str:
    """The page of a trace in a frame, over a picture of it; options as in ``view.page``.

    The picture remains where frames and scripts are removed: on GitHub, in mail, in a notebook that
    is not trusted.
    """
    picture, alt = _picture(trace, options.get("sample", 0))
    return framed(page(trace, **options), picture, alt)


def _picture(trace: Trace, sample: int) -> tuple[bytes | None, str]:
    """The river as a PNG, of a trace without gradients its gates, and what is seen, in words.

    None where no such figure can be drawn: the trace is looked at all the same.
    """
    run = trace.run
    try:
        if trace.has_backward:
            return png(river(trace, sample=sample)), in_words(run, sample)
        said = f"Heat maps of {run.name} ({run.cell_name}): a row is a unit, a column one of"
        return png(gates(trace, sample=sample)), f"{said} {run.T} time steps."
    except ScratchnetError:
        return None, f"A trace of {trace.title or run.name}"
