"""Looking inside: every gate, state and gradient term of one pass, by name.

    t = scratchnet.trace(model, x, target)
    t                                  a summary
    t.run["f"]                         the forget gate, (T, N, H)
    t.run["dh_next"]                   the part of dh that came from the future, (T, N, H)
    t.save("t.npz"); t.to_html("t.html")
"""

from scratchnet.tracing.record import trace
from scratchnet.tracing.run import RunTrace
from scratchnet.tracing.trace import Trace, load
from scratchnet.tracing.watch import Watch

__all__ = ["RunTrace", "Trace", "Watch", "load", "trace"]
