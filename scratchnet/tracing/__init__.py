"""Looking inside: every gate, state and gradient term of one pass, by name.

t = scratchnet.trace(model, x, target)
t                                  a summary
t.run["f"]                         the forget gate, (T, N, H)
t.run["dh_next"]                   the part of dh that came from the future, (T, N, H)
jacobians(t.run)                   how each state depends on the one before it, (T, S, S)
first_difference(t.run)            the first number of a custom backward that is wrong
t.save("t.npz"); scratchnet.to_html(t, "t.html")
"""

from scratchnet.tracing.difference import (
    Difference,
    differences,
    first_difference,
    inconsistent_weights,
)
from scratchnet.tracing.jacobian import jacobians, per_loss_gradients
from scratchnet.tracing.record import trace
from scratchnet.tracing.run import RunTrace
from scratchnet.tracing.trace import Trace, load
from scratchnet.tracing.watch import TraceWatch

__all__ = [
    "Difference",
    "RunTrace",
    "Trace",
    "TraceWatch",
    "differences",
    "first_difference",
    "inconsistent_weights",
    "jacobians",
    "load",
    "per_loss_gradients",
    "trace",
]
