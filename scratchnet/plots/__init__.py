"""Figures for a lecture, in matplotlib; each function returns the figure and shows nothing.

river({"RNN": trace, "LSTM": another})                   why the LSTM's gradient survives
cell(trace, t=5, term="dc")  film(trace, "walk.gif")   one step, line by line
gates(trace)  saturation(trace)  text(trace)             gates and cells
gradient_norms({"LSTM": trace, "RNN": another})          how far gradients reach
per_loss_gradients(trace, k1=20)                         the share of each loss in each gradient
jacobians(trace)                                         why gradients vanish
weight_gradients(trace)                                  what each step adds to dW
training_curves(history)  clip_factor(history, limit=1)  the course of training
clipping(watch)  histograms(watch)                       of a tracing.TraceWatch
errors_ahead(errors)  fan(past, forecast, low, high)     forecasts of many steps
learning_curves(losses)  forecast(times, truth, predictions)  loss_cliff()

A figure is drawn for a slide, or with ``size="paper"`` for print. With ``ax=``, for figures of one
panel, the function draws there and returns the axes. Your own drawing gets the same letters inside
``with style(): ...``. Ranges are fixed where a quantity has one (a gate is in 0 to
1, a tanh in -1 to 1), so that two figures can be compared. Save a figure with its ``savefig``; a
notebook displays it as any other value.
"""

from scratchnet.plots.ahead import errors_ahead, fan
from scratchnet.plots.cell import cell
from scratchnet.plots.cliff import loss_cliff
from scratchnet.plots.film import film
from scratchnet.plots.forecast import forecast
from scratchnet.plots.gates import gates, saturation
from scratchnet.plots.gradients import gradient_norms, weight_gradients
from scratchnet.plots.jacobians import jacobians
from scratchnet.plots.per_loss import per_loss_gradients, thrown_away
from scratchnet.plots.river import river
from scratchnet.plots.style import PALETTE, axes, colour, model_colour, style
from scratchnet.plots.text import text
from scratchnet.plots.training import (
    clip_factor,
    clipping,
    histograms,
    learning_curves,
    training_curves,
)

__all__ = [
    "PALETTE",
    "axes",
    "cell",
    "clip_factor",
    "clipping",
    "colour",
    "errors_ahead",
    "fan",
    "film",
    "forecast",
    "gates",
    "gradient_norms",
    "histograms",
    "jacobians",
    "learning_curves",
    "loss_cliff",
    "model_colour",
    "per_loss_gradients",
    "river",
    "saturation",
    "style",
    "text",
    "thrown_away",
    "training_curves",
    "weight_gradients",
]
