"""Is a hand-written gradient right? Compare it with central differences, and say where it goes
wrong.

Three checks, from the specific to the general:

    check_cell(lstm)                  a recurrent cell, with the design that catches most bugs
    check_layer(layer, x)             any layer or model: its parameters, its input, its state
    check(loss, tensors, grads)       anything: a function without arguments, and the arrays it reads
    check_directional(...)            the same for tensors too large to go through element by element

All raise GradientError if a gradient is wrong, and return the Report if it is right.
"""

from scratchnet.gradcheck.cell import check_cell
from scratchnet.gradcheck.layer import check_layer
from scratchnet.gradcheck.numeric import (
    EPS,
    TOLERANCE,
    check,
    check_directional,
    numeric_gradient,
    relative_error,
)
from scratchnet.gradcheck.report import GradientError, Report, Row

__all__ = [
    "EPS",
    "TOLERANCE",
    "GradientError",
    "Report",
    "Row",
    "check",
    "check_cell",
    "check_directional",
    "check_layer",
    "numeric_gradient",
    "relative_error",
]
