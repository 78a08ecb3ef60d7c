"""Central differences, element by element or along random directions.

    numeric = ( L(w + eps) - L(w - eps) ) / (2 eps)

Two errors oppose each other: truncation, eps^2 L'''/6, falls with the step, and rounding, u |L| /
eps with u = 1.1e-16, rises with it. One step suits most elements. Where it disagrees with the
gradient, ``measure`` takes a ladder of steps, extrapolates, and says how far its result can be
trusted. Only a difference beyond that is an error.

Why float64 only: at eps = 1e-5 the two losses agree in their first digits and the difference keeps
the rest. float64 has about 16 digits and keeps 9 or 10; float32 has 7 and keeps none: at eps <=
1e-4 its error reaches 100%.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_array, require_count, to_host
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.gradcheck.report import GradientError, Report, Row

Loss: TypeAlias = Callable[[], float]
Tensors: TypeAlias = Mapping[str, Array]
Line: TypeAlias = Callable[[float], float]  # the loss along a line, w + step v

EPS = 1e-5
LEAST_EPS = 1e-12  # with numbers near 1, four digits of the step are left
TOLERANCE = 1e-6
# The share of the largest gradient that a difference resolves. The best step of the ladder is about
# 1e-3, where rounding is u |L| / 1e-3 = 1e-13 |L|; the loss may be a hundred times the gradient.
# An error is measured against the element's own size, but against no less than this share divided
# by the tolerance: nothing smaller has a digit to compare.
RESOLVED = 1e-11
# The ladder: large steps against rounding, small ones for sharp bends and for kinks close by.
RATIO = 3.0
STEPS = 3e-3 / RATIO ** np.arange(10)  # down to 1.5e-7
# A loss that is computed in float64 has noise near 1e-15 of its size; one with a float32 operation
# inside near 1e-8. This is the geometric middle.
NOISE = 3e-12
# Along a random direction the whole tensor adds up to one number, at the ladder's best steps. So it
# is compared to more digits: a float32 operation inside backward is off by about 3e-8.
PRECISE = 1e-8


class Slope(NamedTuple):
    """A measured slope, and how far it can be trusted."""

    value: float
    uncertainty: float
    left: float  # the slopes below and above the point, which differ at a kink
    right: float

    def distance(self, ours: float, apart: float) -> float:
        """How far ``ours`` is from the slope, beyond the uncertainty.

        Where left and right are further apart than ``apart``, the point is at a kink, and any
        number between the two is a subgradient.
        """
        low, high = sorted((self.left, self.right))
        if not high - low > apart:
            low = high = self.value
        return max(0.0, low - ours - self.uncertainty, ours - high - self.uncertainty)


def measure(along: Line) -> Slope:
    """The slope at 0 of a function of one number, by extrapolation to step 0 (Ridders 1982).

    >>> slope = measure(np.exp)
    >>> abs(slope.value - 1) < slope.uncertainty < 1e-9
    True
    """
    with np.errstate(all="ignore"):  # the largest steps may leave the function's domain
        here = along(0.0)
        above = np.array([along(step) for step in STEPS])
        below = np.array([along(-step) for step in STEPS])
        # The loss is one number of float64, so it is off by half a unit in its last place at least.
        size = np.fmax(np.fmax(np.abs(above), np.abs(below)), abs(here))
        rounding = np.finfo(np.float64).eps * size / STEPS
        value, uncertainty = _settled(_extrapolated((above - below) / (2 * STEPS), 2), rounding)
        # One-sided differences are exact to O(step): extrapolated twice, to O(step^3).
        right, left = (
            _settled(_extrapolated(_extrapolated(difference / STEPS, 1), 2), rounding)
            for difference in (above - here, here - below)
        )
    return Slope(value, uncertainty, left[0], right[0])


def _extrapolated(differences: Array, order: int) -> Array:
    """From differences with an error of O(step^order), those of the next order: one fewer."""
    factor = RATIO**order
    return (factor * differences[1:] - differences[:-1]) / (factor - 1)


def _settled(estimates: Array, rounding: Array) -> tuple[float, float]:
    """The estimate that changes least from step to step, and its uncertainty.

    Where truncation rules, estimates approach each other as steps get smaller; where rounding
    rules, they scatter. Of the three neighbours that agree best the middle one is taken, and their
    spread is its uncertainty.
    """
    three = np.lib.stride_tricks.sliding_window_view(estimates, 3)
    spread = three.max(axis=1) - three.min(axis=1) + rounding[-len(three) :]
    best = int(np.argmin(np.where(np.isfinite(spread), spread, np.inf)))
    return float(three[best, 1]), float(spread[best])


def line(loss: Loss, tensor: Array, v: Array) -> Line:
    """The loss along the direction v of a tensor, which is restored after each call."""
    kept = tensor.copy()

    def along(step: float) -> float:
        tensor[...] = kept + step * v
        try:
            return number(loss())
        finally:
            tensor[...] = kept

    return along


@checked
def numeric_gradient(loss: Loss, array: Array, eps: float = EPS) -> Array:
    """Central differences of ``loss()`` along every element of ``array``; same shape.

    The float64 ``array``, which the loss reads, is changed in place, one element at a time, and
    restored exactly. Raises TypeError for another dtype.

    >>> w = np.array([1.0, -2.0])
    >>> numeric_gradient(lambda: float(np.sum(w**2)), w).round(6).tolist()
    [2.0, -4.0]
    """
    require_float64("the array", array)
    require_step(eps)
    numeric = np.empty_like(array)
    for index in np.ndindex(*array.shape):
        value = array[index].item()
        up, down = value + eps, value - eps
        if not up > down:
            raise InvalidValueError(
                f"the array holds {value} at {index}, which a step of {eps} does not change:"
                " expected finite numbers, and a step above their rounding"
            )
        try:
            array[index] = up
            above = number(loss())
            array[index] = down
            below = number(loss())
        finally:
            array[index] = value
        numeric[index] = (above - below) / (up - down)  # up - down: 2 eps as it was rounded
    return numeric


def relative_error(ours: Array, numeric: Array, floor: float) -> Array:
    """|ours - numeric| / max(|ours|, |numeric|, floor), elementwise; infinite for NaN or infinity.

    >>> relative_error(np.array([1.0, 0.0]), np.array([1.1, 1e-9]), floor=1e-3).round(4).tolist()
    [0.0909, 0.0]
    """
    smallest = max(floor, float(np.finfo(np.float64).tiny))
    size = np.maximum(np.maximum(np.abs(ours), np.abs(numeric)), smallest)
    with np.errstate(invalid="ignore"):
        error = np.abs(ours - numeric) / size
    return np.where(np.isfinite(ours) & np.isfinite(numeric), error, np.inf)


@checked
def check_gradient(
    loss: Loss,
    tensors: Tensors,
    grads: Tensors,
    *,
    eps: float = EPS,
    tolerance: float = TOLERANCE,
    gates: Mapping[str, str] | None = None,
) -> Report:
    """Compare ``grads`` with central differences of ``loss()`` along every element of every tensor.

    Parameters
    ----------
    loss : reads the tensors and returns a number
    tensors : name -> float64 array
    grads : name -> gradient of the tensor with that name, of its shape
    eps : step of the differences
    tolerance : largest relative error that is right
    gates : name -> gate letters, for tensors whose last axis holds gates side by side

    Raises
    ------
    GradientError
        For a wrong gradient; names the tensor, the gate and the worst element.
    TypeError, ValueError
        For float32, and where a gradient is missing or has another shape than its tensor.

    Examples
    --------
    >>> w = np.array([1.0, 2.0])
    >>> print(check_gradient(lambda: float(np.sum(w**3)), {"w": w}, {"w": 3 * w**2}).ok)
    True
    >>> check_gradient(lambda: float(np.sum(w**3)), {"w": w}, {"w": w**3})
    Traceback (most recent call last):
    scratchnet.gradcheck.report.GradientError: dw is wrong: relative error 6.7e-01, tolerance 1e-06
      worst element dw[0]: yours 1, numeric 3
      wrong: dw; right: none
    """
    return raise_if_wrong(compare(loss, tensors, grads, eps, tolerance, gates or {}))


@checked
def check_directional(
    loss: Loss,
    tensors: Tensors,
    grads: Tensors,
    *,
    rng: np.random.Generator,
    directions: int = 8,
    eps: float = EPS,
    tolerance: float = TOLERANCE,
) -> Report:
    """Compare the slope of ``loss()`` along random directions v with the product <grad, v>.

    For tensors too large to check element by element: each tensor is moved as a whole,
    ``directions`` times, so the cost does not grow with its size. A wrong element shows in every
    direction, though the report cannot say which element is wrong. Other arguments and errors:
    ``check_gradient``.
    """
    require_matching(tensors, grads)
    require_count("directions", directions)
    require_step(eps)
    require_tolerance(tolerance)
    rows, largest = list[Row](), 0.0
    for name, tensor in tensors.items():
        rows.append(Row(f"d{name}", "", -1.0, (), 0.0, 0.0))
        grad = grads[name]
        # A slope that is small by chance is measured against the typical one, |grad| / sqrt(size).
        floor = float(np.sqrt(np.sum(grad * grad))) / tensor.size**0.5
        largest = max(largest, floor)
        for _ in range(directions):
            v = _direction(tensor, rng)
            along, ours = line(loss, tensor, v), float(np.sum(grad * v))
            slope = (along(eps) - along(-eps)) / (2 * eps)
            error = float(relative_error(np.asarray(ours), np.asarray(slope), floor))
            if tolerance < error < np.inf:
                error, slope = _again(along, ours, floor, tolerance)[:2]
            if error > rows[-1].error:
                rows[-1] = rows[-1]._replace(error=error, ours=ours, numeric=slope)
    return raise_if_wrong(Report(rows, tolerance))


def compare_along(loss: Loss, tensors: Tensors, grads: Tensors, seed: int) -> Report:
    """The report along one random direction of each tensor, to ``PRECISE``."""
    require_matching(tensors, grads)
    rng, rows = np.random.default_rng(seed), list[Row]()
    typical = {n: float(np.sqrt(np.sum(grads[n] ** 2)) / t.size**0.5) for n, t in tensors.items()}
    least = RESOLVED / PRECISE * max(typical.values())
    for name, tensor in tensors.items():
        v = _direction(tensor, rng)
        along, ours = line(loss, tensor, v), float(np.sum(grads[name] * v))
        floor = max(typical[name], least)
        steps = 1e-3 / RATIO ** np.arange(2)
        two = np.array([(along(step) - along(-step)) / (2 * step) for step in steps])
        slope = float(_extrapolated(two, 2)[0])
        error = float(relative_error(np.asarray(ours), np.asarray(slope), floor))
        if PRECISE < error < np.inf:
            error, slope = _again(along, ours, floor, PRECISE)[:2]
        rows.append(Row(f"d{name}", "", error, (), ours, slope))
    return Report(rows, PRECISE)


def _direction(tensor: Array, rng: np.random.Generator) -> Array:
    """A random direction of length 1."""
    v = np.asarray(rng.standard_normal(tensor.shape), like=tensor)
    v /= np.sqrt(np.sum(v * v))
    return v


def _again(along: Line, ours: float, floor: float, tolerance: float) -> tuple[float, float, bool]:
    """Measure with the ladder: the error beyond the uncertainty, the slope, and whether in doubt.

    In doubt is a slope that cannot be measured to the tolerance, or that is at a kink.
    """
    slope = measure(along)
    size = max(abs(ours), abs(slope.value), floor)
    apart = abs(slope.left - slope.right) > 1e-3 * size  # below, both sides are one slope
    doubt = apart or slope.uncertainty > tolerance * size
    return slope.distance(ours, 1e-3 * size) / size, slope.value, doubt


def raise_if_wrong(report: Report) -> Report:
    """Return the report; raise it as a GradientError unless everything in it is right."""
    if not report.ok:
        raise GradientError(report)
    return report


def compare(
    loss: Loss,
    tensors: Tensors,
    grads: Tensors,
    eps: float,
    tolerance: float,
    gates: Mapping[str, str],
) -> Report:
    """The report of ``check_gradient``, whether it passes or not."""
    require_matching(tensors, grads)
    require_tolerance(tolerance)
    found = {name: to_host(numeric_gradient(loss, t, eps)) for name, t in tensors.items()}
    floor = RESOLVED / tolerance * max(float(np.max(np.abs(n))) for n in found.values())
    rows, doubts = list[Row](), 0
    for name, numeric in found.items():
        ours = to_host(grads[name])
        error = relative_error(ours, numeric, floor)
        letters = gates.get(name, "")
        width = error.shape[-1] // len(letters) if letters else 0
        for number, letter in enumerate(letters or [""]):
            # below every error, so that the worst element is one of this gate's
            block = np.full_like(error, -1.0)
            columns = slice(number * width, (number + 1) * width) if letter else slice(None)
            block[..., columns] = error[..., columns]
            measured = set[tuple[int, ...]]()
            while True:  # the worst element decides, so it is the one to measure again
                at = tuple(int(i) for i in np.unravel_index(int(np.argmax(block)), block.shape))
                if at in measured or not tolerance < block[at] < np.inf:
                    break
                measured.add(at)
                v = np.zeros_like(tensors[name])
                v[at] = 1.0
                along = line(loss, tensors[name], v)
                block[at], numeric[at], doubt = _again(along, float(ours[at]), floor, tolerance)
                doubts += doubt
            values = float(block[at]), at, float(ours[at]), float(numeric[at])
            rows.append(Row(f"d{name}", letter, *values))
    notes = _noise(loss, tensors) if doubts else ()
    return Report(rows, tolerance, doubts=doubts, notes=notes)


def _noise(loss: Loss, tensors: Tensors) -> tuple[str, ...]:
    """A note if the loss has fewer digits than float64 gives.

    Third differences over tiny steps leave nothing of a smooth function, only its rounding errors,
    with 20 times their variance (Hamming). A kink leaves something too, so the quieter of two
    places counts.
    """
    rng, found = np.random.default_rng(0), []
    for _ in range(2):
        v = {name: _direction(tensor, rng) for name, tensor in tensors.items()}
        kept = {name: tensor.copy() for name, tensor in tensors.items()}
        values = []
        for step in 1e-3 + 1e-6 * np.arange(8):
            for name, tensor in tensors.items():
                tensor[...] = kept[name] + step * v[name]
            values.append(number(loss()))
            for name, tensor in tensors.items():
                tensor[...] = kept[name]
        third = np.diff(values, 3)
        found.append(float(np.sqrt(np.mean(third**2) / 20) / np.max(np.abs(values))))
    if min(found) > NOISE:
        return (
            f"the loss has noise of {min(found):.0e} of its size, where float64 has about 1e-15:"
            " look for float32 inside forward, or for random numbers",
        )
    return ()


def number(loss: object) -> float:
    """What a loss returned, as a float; TypeError unless it is one number."""
    if np.ndim(loss) == 0 and np.asarray(loss).dtype.kind in "biuf":  # type: ignore[arg-type]
        return float(loss)  # type: ignore[arg-type]
    raise InvalidTypeError(f"the loss returned {loss!r:.80}: expected a number")


def require_step(eps: float) -> None:
    """ValueError unless eps is a step that float64 can take: not so small that it is rounded away,
    not so large that no difference is left of it."""
    if not LEAST_EPS <= eps <= 1:
        raise InvalidValueError(f"eps is {eps}: expected a step from {LEAST_EPS} to 1")


def require_tolerance(tolerance: float) -> None:
    """ValueError unless it is a relative error: a NaN would let everything pass."""
    if not 0 < tolerance <= 1:
        raise InvalidValueError(
            f"tolerance is {tolerance}: expected a relative error, above 0 and at most 1"
        )


def require_float64(name: str, array: Array) -> None:
    """TypeError, with the reason, unless the array is float64."""
    if array.dtype != np.float64:
        raise InvalidTypeError(
            f"{name} is {array.dtype}, but a gradient check needs float64: float32 keeps about 7"
            f" digits, a central difference at eps={EPS} loses them all, and a right gradient would"
            " look wrong. Convert with astype(np.float64)"
        )


def require_matching(tensors: Tensors, grads: Tensors) -> None:
    """TypeError or ValueError unless all tensors are float64 and have a gradient of their shape."""
    for name, tensor in tensors.items():
        require_float64(name, tensor)
        grad = grads.get(name)
        if grad is None:
            raise InvalidValueError(
                f"there is no gradient d{name}, but {name} {tuple(tensor.shape)} is an input of the"
                " loss"
            )
        require_array(f"d{name}", grad)
        if grad.dtype.kind not in "biuf":
            raise InvalidTypeError(f"d{name} is {grad.dtype}: expected an array of numbers")
        if not tensor.size:
            raise InvalidValueError(f"{name} is {tuple(tensor.shape)}: there is nothing to check")
        if tuple(np.shape(grad)) != tuple(tensor.shape):
            raise InvalidValueError(
                f"d{name} is {tuple(np.shape(grad))} but {name} is {tuple(tensor.shape)}"
            )
