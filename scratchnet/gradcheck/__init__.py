"""Compare hand-written gradients with central differences, and say where they are wrong.

    check_cell(lstm)                       a recurrent cell; this design catches most bugs
    check_layer(layer, x)                  a layer or model: its parameters, input and state
    check_gradient(loss, tensors, grads)   any function without arguments, and arrays that it reads
    check_directional(...)                 the same for tensors too large to check one by one

All raise GradientError if a gradient is wrong, and return the Report if it is right. The report
says which cases were run; ``CANNOT_SEE`` says what no case shows.
"""

from scratchnet.gradcheck.cell import check_cell
from scratchnet.gradcheck.layer import check_layer
from scratchnet.gradcheck.numeric import (
    EPS,
    TOLERANCE,
    check_directional,
    check_gradient,
    numeric_gradient,
    relative_error,
)
from scratchnet.gradcheck.report import CANNOT_SEE, GradientError, Report, Row

__all__ = [
    "CANNOT_SEE",
    "EPS",
    "TOLERANCE",
    "GradientError",
    "Report",
    "Row",
    "check_cell",
    "check_directional",
    "check_gradient",
    "check_layer",
    "numeric_gradient",
    "relative_error",
]
