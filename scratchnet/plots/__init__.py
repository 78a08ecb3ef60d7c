"""Figures for a lecture, in matplotlib. Every function takes ``ax`` or makes a figure, returns the
figure, and shows nothing.

    gates(trace)  saturation(trace)  text(trace)             what the gates and cells did
    gradient_norms({"LSTM": trace, "RNN": another})          how far gradients reach
    per_loss_gradients(trace, k1=20)  jacobians(trace)                 which loss made which gradient; why it vanishes
    weight_gradients(trace)                                  what each step adds to dW
    training_curves(history)  clip_factor(history, limit=1)  training as it went
    clipping(watch)  histograms(watch)                       of a tracing.TraceWatch, a callback of fit
    errors_ahead(errors)  fan(past, forecast, low, high)     forecasts of many steps
    learning_curves(losses)  forecast(times, truth, predictions)  loss_cliff()

Ranges are fixed where a quantity has one (a gate lies in 0 to 1, a tanh in -1 to 1), so that two
figures can be held side by side. A figure is saved with its own ``savefig`` and displayed by a
notebook as any other value.
"""

from scratchnet.plots.ahead import errors_ahead, fan
from scratchnet.plots.cliff import loss_cliff
from scratchnet.plots.forecast import forecast
from scratchnet.plots.gates import gates, saturation
from scratchnet.plots.gradients import gradient_norms, weight_gradients
from scratchnet.plots.jacobians import jacobians
from scratchnet.plots.per_loss import per_loss_gradients, thrown_away
from scratchnet.plots.style import PALETTE, axes, colour, model_colour
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
    "clip_factor",
    "clipping",
    "colour",
    "errors_ahead",
    "fan",
    "forecast",
    "gates",
    "gradient_norms",
    "histograms",
    "jacobians",
    "learning_curves",
    "loss_cliff",
    "model_colour",
    "per_loss_gradients",
    "saturation",
    "text",
    "thrown_away",
    "training_curves",
    "weight_gradients",
]
