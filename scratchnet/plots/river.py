"""The river: the unrolled network, and how wide the gradient still is at each step back."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon

from scratchnet.arrays import Array
from scratchnet.errors import InvalidValueError
from scratchnet.plots.source import (
    gradient_of,
    labels_of,
    require_backward,
    run_of,
    sequence,
    time_name,
    title_of,
)
from scratchnet.plots.style import (
    EDGE,
    GROUND,
    HIGHLIGHT,
    INK,
    QUIET,
    Look,
    Size,
    colour,
    drawing,
    figure_of,
    inches_of,
    new_figure,
    one_line,
    pt,
    style,
)
from scratchnet.tracing import RunTrace, Trace

# All lengths are inches of a slide's figure, ten inches wide, whose letters are 14 points.
LINE = 14 * 1.22 / 72  # from one line of text to the next
LETTER = 14 * 0.57 / 72  # the width of a letter, on average
WORDS = 3.5  # width of the column at the right
WIDEST, NARROWEST = 0.72, 0.1  # of a ribbon, where it is widest
HIGHEST = 5.625  # of a figure: 16 to 9
BOXES = 40  # steps drawn as boxes; more are ticks


class Lane(NamedTuple):
    """One model: the norms (T,) that its ribbons and arrows are drawn from, and what is said."""

    name: str
    ribbons: dict[str, Array]  # state -> |d state| at each step, from the top: c above h
    losses: dict[str, Array]  # state -> the norm of what the loss sends into it at each step
    words: list[str]


@drawing
def river(
    traces: Mapping[str, Trace | RunTrace] | Trace | RunTrace,
    *,
    sample: int = 0,
    marks: Sequence[int] = (),
    labels: Sequence[str] | None = None,
    decades: int = 6,
    title: str = "",
    size: Size = "slide",
    ax: Axes | None = None,
) -> Figure:
    """Draw the unrolled networks, and the gradient as a ribbon that flows from the loss to step 0.

    One lane for a model, one ribbon for a state; its width at step t is the norm of the gradient of
    the state after step t, over the units, on one log scale for all lanes. Red is what the loss
    sends. At the right: what share of the last step's gradient is left at the first step, and the
    factor per step back, the geometric mean; without the factor where losses join on the way. Of an
    LSTM also the forget gate, the mean over steps and units weighted by the gradient they carry.

    Parameters
    ----------
    traces : label -> trace or run, from the top; or one trace or run
    sample : which sequence of the batch
    marks : steps to point out, such as those of the numbers to be remembered
    labels : (T,), a text for each step; by default the first trace's own
    decades : the ribbon ends where the gradient is that many powers of ten below the largest one of
        all lanes
    title, size, ax : as in ``errors_ahead``; but on axes narrower than their figure letters are
        smaller too

    Raises
    ------
    ValueError
        For a trace without gradients, for traces with different numbers of steps, where there
        is none, and for axes that are too low.
    """
    if isinstance(traces, Trace | RunTrace):
        title = title_of(traces, title)
        traces = {run_of(traces).cell_name.upper(): traces}
    runs: dict[str, RunTrace] = {}
    for name, source in traces.items():
        whole = run_of(source)
        require_backward(whole, "the river")
        runs[name] = sequence(whole, sample)
        if len(runs) == 1:
            labels = labels_of(source, whole, sample, labels)
    steps = {name: run.T for name, run in runs.items()}
    if len(set(steps.values())) != 1:
        raise InvalidValueError(
            f"the numbers of steps are {steps}: expected at least one trace, and one number for all"
        )
    if decades < 1:
        raise InvalidValueError(f"decades is {decades}: expected at least 1")
    T = next(iter(steps.values()))
    if wrong := [t for t in marks if not 0 <= t < T]:
        raise InvalidValueError(f"marks has {wrong[0]}: expected steps from 0 to {T - 1}")
    time = time_name(*runs.values())
    with np.errstate(all="ignore"):  # a gradient that is not finite is drawn as such
        lanes = [_lane(name, run) for name, run in runs.items()]
    drawing = _River(lanes, T, list(labels or ()), marks, decades, time)
    if ax is None:
        return drawing.draw(title, size, None)
    with style("slide", inches_of(ax)[0]):  # the letters of a figure as wide as these axes
        return drawing.draw(title, size, ax)


def in_words(run: RunTrace, sample: int = 0) -> str:
    """What the river of one run shows, for a reader who cannot see it."""
    with np.errstate(all="ignore"):
        lane = _lane(run.cell_name.upper(), sequence(run_of(run), sample))
    states = " and of ".join(lane.ribbons)
    said = "".join(words + (" " if words[-1] in ",;" else ". ") for words in lane.words)
    return (
        f"The unrolled {lane.name}, {run.T} time steps: ribbons as wide as the gradient of"
        f" {states}, from the loss back to step 0. {said}".rstrip()
    )


def _norms(d: Array) -> Array:
    return np.sqrt(np.sum(np.square(d, dtype=np.float64), axis=(1, 2)))


def _lane(name: str, run: RunTrace) -> Lane:
    """The numbers and words of one run of a single sequence."""
    states = run.cell.STATES[::-1]  # c above h
    ribbons = {state: _norms(gradient_of(run, state)) for state in states}
    losses = {}
    for state in states:
        sent = np.array(run["dy"]) if state == "h" else np.zeros_like(run["dy"])
        if f"d{state}_last" in run.d_last:
            sent[-1] += run.d_last[f"d{state}_last"]
        losses[state] = _norms(sent)
    carried = states[0]
    words = _share(carried, ribbons[carried], losses)
    return Lane(name, ribbons, losses, words + _factor(run, carried))


def _share(state: str, norms: Array, losses: Mapping[str, Array]) -> list[str]:
    """What is left at the first step of the last step's gradient, in words."""
    of, first, last, T = f"|d{state}|", norms[0], norms[-1], len(norms)
    if not (np.isfinite(first) and np.isfinite(last)):
        return [f"{of} is not finite at step {T - 1 if np.isfinite(first) else 0}"]
    if last == 0:
        return [f"{of} is 0 at the last step"]
    joined = sum(np.any([sent[t] != 0 for sent in losses.values()]) for t in range(T))
    if any(np.any(sent[:-1] != 0) for sent in losses.values()):
        return [
            f"a loss joins at {joined} steps;",
            f"{of} at 0: {_short(first / last)} of the last",
        ]
    if first == 0:
        reached = int(np.flatnonzero(norms == 0)[-1]) + 1
        said, back = [f"{of}: nothing reaches step 0"], T - 1 - reached
    else:
        share = first / last
        said = [f"{of}: {_short(share)} of it reaches step 0"]
        if share > 1:
            said = [f"{of} at step 0: {_short(share)} × the last"]
        reached, back = 0, T - 1
    if back > 0:
        said.append(f"× {_short((norms[reached] / last) ** (1 / back))} per step back")
    return said


def _factor(run: RunTrace, state: str) -> list[str]:
    """What the gradient of c is multiplied by at each step back, in words.

    A mean over steps and units, weighted by dc squared: a gate of a unit without a gradient
    multiplies nothing. Its root is |f dc| over |dc|, what the gate alone does to the norm.
    """
    if state != "c" or run.T < 2:
        return []
    if run.cell_name == "lstm_no_forget":
        return ["c is passed on as it is"]
    forget = "f" in run.cell.GATES  # the gate of step 0 multiplies what leaves the sequence
    gate = run["f"][1:] if forget else 1 - run["i"][1:]
    dc = np.asarray(gradient_of(run, state)[1:], np.float64)
    mean = float(np.sqrt(np.mean(np.sum((gate * dc) ** 2, (1, 2)) / np.sum(dc**2, (1, 2)))))
    said = [f"c is multiplied by {'the forget gate' if forget else '1 - i'},"]
    return [*said, f"{_short(mean)} on average"] if np.isfinite(mean) else []


def _short(number: float) -> str:
    """Two digits, three close to 1: 0.97, 0.996, 3e-12."""
    if 0.95 <= number < 1.05:
        return f"{number:.3f}"
    if number != 0 and not 1e-2 <= abs(number) < 1e3:
        mantissa, exponent = f"{number:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{number:.2g}" if number < 100 else f"{number:.0f}"


class _River:
    """The drawing; ``draw`` places title, arrow, lanes, time and scale from the top to the foot."""

    def __init__(
        self,
        lanes: list[Lane],
        T: int,
        labels: list[str],
        marks: Sequence[int],
        decades: int,
        time: str,
    ) -> None:
        self.lanes, self.T, self.marks = lanes, T, marks
        self.labels, self.decades, self.time = [one_line(label) for label in labels], decades, time
        self.tight = False
        sizes = [v for lane in lanes for d in (lane.ribbons, lane.losses) for v in d.values()]
        real = np.concatenate(sizes)
        self.largest = float(np.max(real[np.isfinite(real)], initial=0.0))

    def draw(self, title: str, size: Size, ax: Axes | None) -> Figure:
        """Everything, on new axes or on ``ax``."""
        texts = self._texts()
        upright = max((len(text) for _, text, turned in texts if turned), default=0)
        below = 0.42 + LINE * bool(self.marks) + (LETTER * upright if upright else LINE)
        head = 0.55 + 0.42 * bool(title)

        def needed(widest: float) -> float:
            return head + max(below, widest + 2 * LINE) + self._height_of_lanes(widest)

        # inches of the figure to those of a slide's figure, whose letters have 14 points
        k = pt(1.0)
        most = HIGHEST if ax is None else inches_of(ax)[1] / k
        self.tight = needed(NARROWEST) > most
        if ax is not None and needed(NARROWEST) > most:
            raise InvalidValueError(
                f"ax is {most / 10:.2g} times as high as wide, but the river needs"
                f" {needed(NARROWEST) / 10:.2g}: give it higher axes, or fewer lanes"
            )
        if ax is None:
            height = max(min(needed(WIDEST), HIGHEST), needed(NARROWEST), 3.2)
            figure = new_figure(height=height, size=size)
            figure.set_layout_engine("none")
            ax = figure.add_axes((0, 0, 1, 1))
        self.ax, (width, height) = ax, (side / k for side in inches_of(ax))
        ax.set(xlim=(0, width), ylim=(0, height))
        ax.set_axis_off()
        self.left, self.right = 0.5, width - WORDS - 0.75
        self.pitch = (self.right - self.left) / self.T
        fitting = (float(w) for w in np.linspace(WIDEST, NARROWEST, 60) if needed(w) <= height)
        self.widest = next(fitting, NARROWEST)
        foot = max(below, self.widest + 2 * LINE)
        room = height - head - foot
        spare = max(0.0, room - self._height_of_lanes(self.widest)) / len(self.lanes)
        top = height - head
        if title:
            look: Look = {"fontsize": pt(15.4), "fontweight": "bold", "va": "top"}
            ax.text(0.15, height - 0.12, title, **look)
        self._direction(height - head + 0.22)
        for t in self.marks:
            x = self.x(t)
            ax.plot([x, x], [foot, top], ":", color=HIGHLIGHT, lw=pt(1.5), zorder=1.5)
        for number, lane in enumerate(self.lanes):
            bottom = top - self._height(lane, self.widest) - spare
            self._draw_lane(lane, top, bottom, width, first=number == 0)
            top = bottom
        self._time(foot, texts)
        self._scale(width - WORDS + 0.1, foot - 0.12)
        return figure_of(ax)

    def x(self, t: float) -> float:
        """The place of step t."""
        return self.left + (t + 0.5) * self.pitch

    def width(self, norms: Array) -> Array:
        """The width of a ribbon at each step: 0 below the scale, and where it is not finite."""
        shown = np.where(np.isfinite(norms) & (norms > 0), norms, np.nan)
        if not self.largest:
            return np.zeros(len(norms))
        powers = np.log10(shown / self.largest)
        return np.nan_to_num(self.widest * np.clip(1 + powers / self.decades, 0, 1))

    def _on_the_way(self, lane: Lane) -> bool:
        return any(bool(np.any(sent[:-1] != 0)) for sent in lane.losses.values())

    def _height(self, lane: Lane, widest: float) -> float:
        rows = len(lane.ribbons) * 1.25 + (0.8 if self._on_the_way(lane) else 0)
        lines = 1 + len(lane.words) - self._beside(lane)
        return max(rows * widest, lines * LINE) + (0.1 if self.tight else 0.2)

    def _beside(self, lane: Lane) -> bool:
        """True if the factor is written on the line of the name, which saves room."""
        factor = any(word.startswith("×") for word in lane.words)
        return self.tight and factor and len(lane.name) <= 10

    def _height_of_lanes(self, widest: float) -> float:
        return sum(self._height(lane, widest) for lane in self.lanes)

    def _draw_lane(self, lane: Lane, top: float, bottom: float, width: float, first: bool) -> None:
        ax, middle = self.ax, (top + bottom) / 2
        arrows = 0.8 * self.widest if self._on_the_way(lane) else 0.0
        room = (top - bottom - 0.2 - arrows) / len(lane.ribbons)
        pitch = min(room, 1.6 * self.widest)
        block = pitch * len(lane.ribbons) + arrows
        start = middle + block / 2 - pitch / 2
        rows = {state: start - k * pitch for k, state in enumerate(lane.ribbons)}
        self._steps(middle - block / 2, middle + block / 2)
        for state, y in rows.items():
            look: Look = {"fontweight": "bold", "fontsize": pt(16), "color": colour(state)}
            ax.text(self.left - 0.14, y, state, ha="right", va="center", **look)
            self._ribbon(lane.ribbons[state], y, colour(state))
            self._losses(lane, state, y, first)
        words, x = list(lane.words), width - WORDS + 0.1
        y = middle + LINE * (1 + len(words) - self._beside(lane)) / 2
        ax.text(x, y, lane.name, va="top", fontweight="bold", fontsize=pt(16), color=INK)
        if self._beside(lane):
            factor = words.pop(next(k for k, word in enumerate(words) if word.startswith("×")))
            ax.text(width - 0.15, y - 0.02, factor, ha="right", va="top", color=INK)
        for k, line in enumerate(words):
            ax.text(x, y - LINE * (k + 1), line, va="top", color=INK, parse_math=False)
        if lane is not self.lanes[-1]:
            ax.plot([0.15, width - 0.15], [bottom, bottom], color=EDGE, lw=pt(1))

    def _steps(self, low: float, high: float) -> None:
        """A box for each step, or a tick where there are many."""
        if self.T > BOXES:
            every = -(-self.T // int((self.right - self.left) / 0.04))
            ticks = [self.x(t) for t in range(0, self.T, every)]
            self.ax.vlines(ticks, low, high, colors=EDGE, lw=pt(0.5), zorder=1)
            return
        wide = 0.62 * self.pitch
        for t in range(self.T):
            shape = f"round,pad=0,rounding_size={min(0.08, wide / 3)}"
            box = FancyBboxPatch((self.x(t) - wide / 2, low), wide, high - low, boxstyle=shape)
            box.set(facecolor=GROUND, edgecolor="#a8a8b0", linewidth=pt(1), zorder=1)
            self.ax.add_patch(box)

    def _ribbon(self, norms: Array, y: float, tint: str) -> None:
        """The gradient of one state; what ends it, and what is not finite, is said in words."""
        wide, x = self.width(norms), np.array([self.x(t) for t in range(self.T)])
        # A ribbon reaches half a step beyond the first and the last one.
        ends = np.concatenate([[self.left], x, [self.right]])
        half = wide[[0, *range(self.T), -1]] / 2
        look: Look = {"color": tint, "lw": 0, "zorder": 2}
        self.ax.fill_between(ends, y - half, y + half, **look).set_gid("ribbon")
        broken = np.flatnonzero(~np.isfinite(norms))
        if len(broken):
            look = {"color": HIGHLIGHT, "ms": pt(7), "mew": pt(2), "zorder": 3}
            self.ax.plot(x[broken], np.full(len(broken), y), "x", **look)
            kind = "NaN" if np.isnan(norms[broken]).any() else "infinite"
            where = f"step {broken[0]}" if len(broken) == 1 else f"{len(broken)} steps"
            self._say(f"{kind} at {where}", float(x[broken].mean()), y, HIGHLIGHT, "center")
            return
        seen = np.flatnonzero(wide > 0)
        if not len(seen):
            self._say("no gradient", self.x(self.T / 2), y, QUIET, "center")
        elif seen[0] > 0:
            gone = norms[seen[0] - 1] == 0
            said = f"{'zero' if gone else f'under 1e-{self.decades}'} before step {seen[0]}"
            at = float(x[seen[0]]) - 0.12
            if LETTER * len(said) > at - self.left:  # it would hide the ribbon
                said = "0" if gone else f"<1e-{self.decades}"
            self._say(said, at, y, tint, "right")

    def _say(self, text: str, x: float, y: float, tint: str, align: str) -> None:
        """Words on the lane, inside its steps, on a ground that hides what they cover."""
        wide = LETTER * len(text) + 0.1
        centre = {"right": x - wide / 2, "center": x}[align]
        centre = max(self.left + wide / 2, min(centre, self.right - wide / 2))
        ground = {"facecolor": "white", "edgecolor": "none", "pad": pt(2), "alpha": 0.9}
        look: Look = {"ha": "center", "va": "center", "bbox": ground, "zorder": 4}
        self.ax.text(centre, y, text, color=tint, **look)

    def _losses(self, lane: Lane, state: str, y: float, first: bool) -> None:
        """Red arrows: from the right at the last step, or from below where losses join."""
        red, wide = colour("from_loss"), self.width(lane.losses[state])
        river = self.width(lane.ribbons[state])
        if not self._on_the_way(lane):
            if wide[-1] > 0:
                self._arrow(self.right + 0.62, self.right + 0.02, y, wide[-1] / 2, red)
                self._word_of_loss(
                    first, self.right + 0.34, y + max(wide[-1] / 2, 0.1) + 0.03, "bottom"
                )
            return
        shaft = min(0.3 * self.pitch, 0.05)
        for t in np.flatnonzero(wide > 0):
            tip, foot = y - river[t] / 2, y - river[t] / 2 - max(float(wide[t]), 0.04)
            head = min(0.5 * (tip - foot), 2.5 * shaft)
            x = self.x(int(t))
            side = [(-shaft, foot), (-shaft, tip - head), (-2.2 * shaft, tip - head), (0, tip)]
            points = [(x + a, b) for a, b in side] + [(x - a, b) for a, b in side[-2::-1]]
            self.ax.add_patch(Polygon(points, color=red, lw=0, zorder=2.5, gid="loss"))
        if wide[-1] > 0:
            self._word_of_loss(first, self.right + 0.34, y - river[-1] / 2 - 0.05, "top")

    def _word_of_loss(self, first: bool, x: float, y: float, align: str) -> None:
        if first:
            look: Look = {"ha": "center", "va": align, "fontweight": "bold"}
            self.ax.text(x, y, "loss", color=colour("from_loss"), **look)

    def _arrow(self, start: float, tip: float, y: float, half: float, tint: str) -> None:
        """A flat arrow to the left, as wide as the ribbon that it flows into."""
        half = max(half, 0.02)
        head = min(0.28, 0.5 * (start - tip))
        wings = half + 0.07
        upper = [(start, y + half), (tip + head, y + half), (tip + head, y + wings), (tip, y)]
        lower = [(x, 2 * y - b) for x, b in upper[-2::-1]]
        self.ax.add_patch(Polygon(upper + lower, color=tint, lw=0, zorder=2.5, gid="loss"))

    def _direction(self, y: float) -> None:
        """The way the gradient travels, above all lanes."""
        tint, words = colour("from_future"), "the gradient travels back in time"
        look: Look = {"arrowstyle": "-|>", "color": tint, "lw": pt(2.4), "shrinkA": 0, "shrinkB": 0}
        look |= {"mutation_scale": pt(20)}
        self.ax.annotate("", (self.left, y), (self.right + 0.6, y), arrowprops=look)
        ground = {"facecolor": "white", "edgecolor": "none", "pad": pt(4)}
        middle = (self.left + self.right + 0.6) / 2
        self.ax.text(middle, y, words, ha="center", va="center", color=tint, bbox=ground)

    def _texts(self) -> list[tuple[int, str, bool]]:
        """(step, text, turned by 90 degrees?) of what is written under the steps.

        Characters are all written or none; words and dates are turned, or thinned out.
        """
        pitch = (10.0 - WORDS - 1.25) / self.T
        if self.labels:
            longest = max(len(label) for label in self.labels)
            if longest * LETTER * 1.1 <= pitch:
                return [(t, text, False) for t, text in enumerate(self.labels)]
            if longest > 1:
                every = -(-int(LINE / pitch * 100) // 100) or 1
                cut = [s if len(s) <= 10 else f"{s[:9]}…" for s in self.labels]
                return [(t, cut[t], True) for t in range(0, self.T, every)]
        fit = max(1, int(self.T * pitch / (LETTER * (len(str(self.T)) + 2))))
        step = next(s * 10**k for k in range(9) for s in (1, 2, 5) if s * 10**k * fit >= self.T)
        return [(t, str(t), False) for t in range(0, self.T, step)]

    def _time(self, foot: float, texts: list[tuple[int, str, bool]]) -> None:
        """Marks, labels or step numbers, and the arrow of time."""
        ax, y = self.ax, foot - 0.08
        if self.marks:
            x = [self.x(t) for t in self.marks]
            ax.plot(x, [y - 0.06] * len(x), "^", color=HIGHLIGHT, ms=pt(9), mew=0)
            y -= 0.2
        for t, text, turned in texts:
            look: Look = {"rotation": 90 if turned else 0, "parse_math": False, "color": INK}
            ax.text(self.x(t), y, text, ha="center", va="top", **look)
        longest = max((len(text) for _, text, turned in texts if turned), default=0)
        y -= max(LETTER * longest, LINE) + 0.14
        said = f"{self.time} →" + ";  ▲ marked" * bool(self.marks)
        ax.text(self.left, y, said, va="center", color=QUIET)

    def _scale(self, x: float, top: float) -> None:
        """The wedge that says how wide is how large."""
        wide, ax = WORDS - 0.55, self.ax
        y = top - self.widest / 2
        ax.add_patch(
            Polygon(
                [(x, y + self.widest / 2), (x, y - self.widest / 2), (x + wide, y)],
                color=QUIET,
                lw=0,
            )
        )
        step = 2 if self.decades <= 8 else 4
        for power in range(0, self.decades + 1, step):
            at, name = x + wide * power / self.decades, "1" if power == 0 else f"1e-{power}"
            half = self.widest / 2 * (1 - power / self.decades)
            ax.plot([at, at], [y - half, y - self.widest / 2 - 0.05], color=QUIET, lw=pt(1))
            align = "left" if power == 0 else "center"
            ax.text(at, y - self.widest / 2 - 0.06, name, ha=align, va="top", color=QUIET)
        ax.text(x + wide, top, "width: gradient / largest", ha="right", va="bottom", color=QUIET)
