"""From a trace to one HTML file: arrays as base64, script and style inline, nothing fetched.

A content-security-policy names the script and the style by their hashes and forbids everything
else, so that no text in the data can become code and the page cannot reach the network.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from scratchnet.errors import InvalidValueError
from scratchnet.files import require_path, write_text
from scratchnet.tracing.trace import Data, Trace
from scratchnet.view.around import quoted
from scratchnet.view.data import Programs, fitted, leading
from scratchnet.view.story import Stop
from scratchnet.view.walk import PALETTE

MOST_BYTES = 2_000_000  # of a page with one trace
SCRIPTS = (  # one behind the other in the page
    *("tools", "step", "model", "run", "formula", "drawing", "optimiser", "around", "micro"),
    *("river", "compare", "tokens", "maps", "timeline", "edit", "story", "outside", "stepper"),
)


def to_html(
    trace: Trace,
    path: str | Path,
    *,
    compare: Trace | Sequence[Trace] | None = None,
    names: Sequence[str] = (),
    sample: int = 0,
    runs: Sequence[str] | None = None,
    story: bool | Sequence[Stop] = True,
    marks: Sequence[int] = (),
) -> Path:
    """Write the page to ``path`` and return it; arguments as in ``page``."""
    path = require_path(path)
    how: dict[str, Any] = {"compare": compare, "names": names, "sample": sample, "runs": runs}
    text = page(trace, **how, story=story, marks=marks)
    write_text(path, text)
    return path


def framed(text: str, picture: bytes | None = None, alt: str = "") -> str:
    """A page inside another one, such as a notebook: an iframe that may only run its own script.

    The frame lies over the picture, a PNG, and gets the height of its page (frame.js). What removes
    frames and scripts leaves the picture: GitHub, mail, a notebook that is not trusted. The script
    comes before its frame, which says only once that it is there.
    """
    image = base64.b64encode(picture or b"").decode()
    below = f'<img src="data:image/png;base64,{image}" alt="{html.escape(alt)}" width="900">'
    inside = html.escape(text.replace("<body>", '<body class="framed">', 1))
    over = "position:absolute;top:0;left:0;width:100%;height:100%;border:0;color-scheme:light"
    return (
        f"<script>{_read('frame.js')}</script>"
        f'<div style="position:relative{"" if picture else ";height:700px"}">'
        f'{below if picture else ""}<iframe class="scratchnet" title="{html.escape(alt)}"'
        f' srcdoc="{inside}" sandbox="allow-scripts" style="{over}"></iframe></div>'
    )


def page(
    trace: Trace,
    *,
    compare: Trace | Sequence[Trace] | None = None,
    names: Sequence[str] = (),
    sample: int = 0,
    runs: Sequence[str] | None = None,
    story: bool | Sequence[Stop] = True,
    marks: Sequence[int] = (),
) -> str:
    """The stepper page of a trace, as text.

    Up to two million bytes a trace, the page has every number in full; above, it shows a sample of
    the units and says so.

    Parameters
    ----------
    trace, compare : the trace, and others, shown side by side on one scale. The lines, the units
        and the story are those of the first one with a carried state; the others' are paired with
        them
    names : what they are called, such as ("RNN", "LSTM")
    sample : which sequence of the batch
    runs : names of the runs to show; None: all
    story : a guided walk: True for one made from the trace, or stops of one's own, False for none
    marks : steps to mark under the river, such as those at which there is something to remember

    Raises
    ------
    ValueError
        Where the sample or a run is not in the trace.
    """
    others = [compare] if isinstance(compare, Trace) else list(compare or ())
    traces = [t.on_host() for t in (trace, *others)]
    if names and len(names) != len(traces):
        raise InvalidValueError(
            f"there are {len(names)} names but {len(traces)} traces: expected one each"
        )
    labels = list(names) or [t.title or "trace" for t in traces]
    programs = Programs()
    room = MOST_BYTES - sum(len(_read(f"{name}.js")) for name in SCRIPTS) - 40_000
    lead = leading(traces, runs)
    shown = [
        {"label": label, **fitted(t, sample, runs, programs, room, k == lead and story)}
        for k, (label, t) in enumerate(zip(labels, traces))
    ]
    colours = {part: PALETTE[part] for part in ("quantities", "page", "maps")}
    data = {
        "marks": [int(t) for t in marks],
        "traces": shown,
        "lead": lead,
        "programs": programs.data,
        "palette": colours,
        "lines": quoted(),
    }
    return assemble(" | ".join(labels), data, "stepper.html", ("stepper.css",), SCRIPTS)


def assemble(
    title: str, data: Data, template: str, styles: Sequence[str], scripts: Sequence[str]
) -> str:
    """One HTML file of a template, data, styles and scripts of this folder."""
    style = "\n".join(map(_read, styles))
    script = "\n".join(['"use strict";', *(_read(f"{name}.js") for name in scripts)])
    allowed = f"script-src {_hash(script)}; style-src {_hash(style)}"
    parts = {
        "TITLE": html.escape(title),
        "POLICY": f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'",
        "STYLE": style,
        # </script> ends a script element wherever it occurs: every < of the data is escaped.
        "DATA": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "SCRIPT": script,
    }
    # In one pass over the template, so that nothing in the data is taken for a placeholder.
    return re.sub("@@([A-Z]+)@@", lambda found: parts[found[1]], _read(template))


def _read(name: str) -> str:
    return resources.files("scratchnet.view").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
