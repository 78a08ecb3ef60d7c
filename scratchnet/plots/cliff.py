"""The loss cliff: why one large gradient undoes a training run, and how clipping helps.

The smallest recurrent network there is, one unit without input, run for 50 steps from s =
sigmoid(x_0), x_0 = 0.5:

    x = w s' + b,   s = sigmoid(x)          loss  (s - 0.7)^2  at the last step

Its loss over (w, b) is flat on both sides of a wall. A step at the wall has a gradient thousands
of times its neighbours', and gradient descent leaves the picture.

Source: Pascanu, Mikolov and Bengio 2013, section 2.3 and figure 6.
"""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scratchnet.arrays import Array
from scratchnet.cells import rnn
from scratchnet.elementwise import sigmoid
from scratchnet.errors import InvalidValueError
from scratchnet.plots.style import (
    MAPS,
    Look,
    Size,
    axes,
    colour,
    colour_bar,
    drawing,
    entitle,
    figure_of,
    pt,
)
from scratchnet.training.clip import clip_global_norm

STEPS, TARGET = 50, 0.7
FIRST = float(2 * sigmoid(np.float64(0.5)) - 1)  # h_0, of x_0 = 0.5


def losses(w: Array, b: Array) -> Array:
    """The loss (m, n) at each pair of w (n,) and b (m,), in one forward pass of the tanh cell.

    With h = 2 s - 1 the sigmoid unit *is* a tanh unit: sigmoid(x) = (1 + tanh(x / 2)) / 2, hence h
    = tanh((w / 4) h' + w / 4 + b / 2). Each w is one unit, W_h is diagonal; each b is a
    sequence, whose input it is at every step.
    """
    x = np.broadcast_to(b[:, None] / 2, (STEPS, len(b), 1))
    h0 = np.full((len(b), len(w)), FIRST)
    y, _ = rnn.forward(np.array(x), h0, np.ones((1, len(w))), np.diag(w / 4), w / 4)
    return ((1 + y[-1]) / 2 - TARGET) ** 2


def gradient(w: float, b: float) -> tuple[float, Array]:
    """The loss at one point, and its gradient (2,) by w and by b, by the library's backward."""
    h0 = np.full((1, 1), FIRST)
    x, W_x, W_h = np.zeros((STEPS, 1, 1)), np.zeros((1, 1)), np.full((1, 1), w / 4)
    y, cache = rnn.forward(x, h0, W_x, W_h, np.array([w / 4 + b / 2]))
    off = (1 + y[-1]) / 2 - TARGET
    # d (s - target)^2 / dh = 2 (s - target) ds/dh, and ds/dh = 1/2
    grads = rnn.backward(np.zeros_like(y), cache, off)
    dw, db = grads.dW_h[0, 0] / 4 + grads.db[0] / 4, grads.db[0] / 2
    return float(off[0, 0]) ** 2, np.array([dw, db])


class Path(NamedTuple):
    """Gradient descent, step by step."""

    points: Array  # (n + 1, 2) w and b
    norms: Array  # (n,) of the gradient at each point but the last, before clipping


def descend(start: tuple[float, float], lr: float, steps: int, limit: float | None = None) -> Path:
    """Plain gradient descent from (w, b); the gradient's norm is clipped to ``limit`` if given."""
    points, norms = [np.array(start, float)], []
    for _ in range(steps):
        _, d = gradient(*points[-1])
        norms.append(float(np.linalg.norm(d)))
        if limit is not None:
            clip_global_norm({"w and b": d}, limit)
        points.append(points[-1] - lr * d)
    return Path(np.stack(points), np.array(norms))


@drawing
def loss_cliff(
    start: tuple[float, float] = (5.5, -2.6),
    *,
    lr: float = 0.5,
    limit: float = 0.1,
    steps: int = 40,
    w: tuple[float, float] = (4.7, 5.9),
    b: tuple[float, float] = (-3.1, -2.3),
    points: int = 240,
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw the loss over w and b, and two descents from ``start``: plain and clipped.

    Parameters
    ----------
    start : (w, b)
    lr, steps : of both descents
    limit : norm to which the gradient of one of them is clipped
    w, b : the ranges shown, with ``points`` points each. Where a path ends outside of them, the
        legend says where
    title, size, ax : as in ``errors_ahead``

    Raises
    ------
    ValueError
        Where a range is empty or a number not positive.
    """
    for name, value in {"lr": lr, "limit": limit, "steps": steps, "points": points - 1}.items():
        if not value > 0:
            raise InvalidValueError(f"{name} is {value}: expected a positive number")
    if not (w[0] < w[1] and b[0] < b[1]):
        raise InvalidValueError(f"w is {w} and b is {b}: expected two ranges, lower end first")
    ax = axes(ax, size=size)
    across, up = np.linspace(*w, points), np.linspace(*b, points)
    surface = losses(across, up)
    look: Look = {"vmin": 0, "vmax": 0.5, "shading": "nearest", "rasterized": True}
    image = ax.pcolormesh(across, up, surface, cmap=MAPS["gate"], **look)
    colour_bar(ax, image, label=f"loss after {STEPS} steps")
    levels = np.linspace(0.0, 0.5, 21)[1:]
    ax.contour(across, up, surface, levels=levels, colors="white", linewidths=pt(0.5), alpha=0.6)
    for name, clip, style, marker, tint in (
        (f"clipped to {limit:g}", limit, "--", "s", "white"),
        ("plain descent", None, "-", "o", colour("from_loss")),
    ):
        path = descend(start, lr, steps, clip)
        largest, end = int(np.argmax(path.norms)), path.points[-1]
        label = f"{name}: largest gradient {_short(path.norms[largest])}, at step {largest}"
        if not (w[0] <= end[0] <= w[1] and b[0] <= end[1] <= b[1]):
            label += f";\nends at w = {_short(end[0])}, b = {_short(end[1])}"
        (line,) = ax.plot(*path.points.T, style, marker=marker, color=tint, ms=pt(7), lw=pt(2))
        line.set(label=label, markeredgecolor="black", markeredgewidth=pt(0.8))
    (star,) = ax.plot(*start, "*", color="white", ms=pt(20), markeredgecolor="black", zorder=4)
    star.set_label("start")
    ax.set(xlim=w, ylim=b, xlabel="recurrent weight w", ylabel="bias b")
    entitle(ax, title)
    drawn = ax.get_legend_handles_labels()[0]
    below: Look = {"loc": "upper left", "bbox_to_anchor": (-0.02, -0.16), "labelspacing": 0.3}
    legend = ax.legend(handles=drawn, **below)
    for handle in legend.get_lines():  # a white line on a white page
        if handle.get_color() == "white":
            handle.set_color("#555555")
    return figure_of(ax)


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.2g}"
