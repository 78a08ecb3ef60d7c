"""Central differences, element by element or along random directions.

    numeric = ( L(w + eps) - L(w - eps) ) / (2 eps)             exact to O(eps^2), where (L(w + eps) - L(w)) / eps is O(eps)

Why float64 only: at eps = 1e-5 the two losses agree in their first digits and the difference keeps
the rest. float64 has about 16 digits and keeps 9 or 10; float32 has 7 and keeps none: at eps <=
1e-4 its error reaches 100%.
"""

from collections.abc import Callable, Mapping

import numpy as np

from scratchnet.arrays import Array, to_host
from scratchnet.gradcheck.report import GradientError, Report, Row

EPS = 1e-5
TOLERANCE = 1e-6
# An element's error is measured against its own size, but against no less than this share of the
# largest gradient in the check: central differences are exact to about 1e-10 of the loss, so a
# gradient of 1e-9 has no correct digit to compare.
FLOOR = 1e-3
# An error below this may be that of the difference itself: such elements are measured again, with
# four points.
DOUBTFUL = 1e-4


def numeric_gradient(loss: Callable[[], float], array: Array, eps: float = EPS) -> Array:
    """Central differences of ``loss()`` along every element of the float64 ``array``, which the
    loss reads; same shape.

    The array is changed in place, one element at a time, and restored exactly. Raises TypeError for
    another dtype.
    """
    require_float64("the array", array)
    numeric = np.empty_like(array)
    for index in np.ndindex(*array.shape):
        value = array[index].item()
        array[index] = value + eps
        above = float(loss())
        array[index] = value - eps
        below = float(loss())
        array[index] = value
        numeric[index] = (above - below) / (2 * eps)
    return numeric


def relative_error(ours: Array, numeric: Array, floor: float) -> Array:
    """|ours - numeric| / max(|ours|, |numeric|, floor), elementwise; infinite where either is NaN
    or infinite."""
    size = np.maximum(
        np.maximum(np.abs(ours), np.abs(numeric)), max(floor, float(np.finfo(np.float64).tiny))
    )
    with np.errstate(invalid="ignore"):
        error = np.abs(ours - numeric) / size
    return np.where(np.isfinite(ours) & np.isfinite(numeric), error, np.inf)


def check(
    loss: Callable[[], float],
    tensors: Mapping[str, Array],
    grads: Mapping[str, Array],
    *,
    eps: float = EPS,
    tolerance: float = TOLERANCE,
    gates: Mapping[str, str] | None = None,
) -> Report:
    """Compare ``grads`` with central differences of ``loss()`` along every element of every tensor.

    ``tensors`` name -> float64 array that the loss reads; ``grads`` name -> gradient, with the same
    names and shapes. ``gates`` name -> gate letters, for tensors whose last axis holds gates side
    by side. Raises GradientError naming the tensor, the gate and the worst element; TypeError for
    float32; ValueError where a gradient is missing or has another shape than its tensor.
    """
    report = compare(loss, tensors, grads, eps, tolerance, gates or {})
    if not report.ok:
        raise GradientError(report)
    return report


def check_directional(
    loss: Callable[[], float],
    tensors: Mapping[str, Array],
    grads: Mapping[str, Array],
    *,
    rng: np.random.Generator,
    directions: int = 8,
    eps: float = EPS,
    tolerance: float = TOLERANCE,
) -> Report:
    """The check for tensors too large to go through: the slope along random directions v against
    the product <grad, v>.

    Each tensor is moved as a whole, ``directions`` times, so the cost does not grow with its size.
    A wrong element shows in every direction, though the report cannot say which element it is.
    Arguments and errors are those of ``check``.
    """
    require_matching(tensors, grads)
    if directions < 1:
        raise ValueError(f"directions is {directions}: expected at least 1, or nothing is compared")
    rows = []
    for name, tensor in tensors.items():
        grad, kept = grads[name], tensor.copy()
        norm = float(np.sqrt(np.sum(grad * grad)))
        worst = Row(f"d{name}", "", -1.0, (), 0.0, 0.0)
        for _ in range(directions):
            v = np.asarray(rng.standard_normal(tensor.shape), like=tensor)
            v /= np.sqrt(np.sum(v * v))
            tensor[...] = kept + eps * v
            above = float(loss())
            tensor[...] = kept - eps * v
            below = float(loss())
            tensor[...] = kept
            slope, ours = (above - below) / (2 * eps), float(np.sum(grad * v))
            # A slope that is small by chance is measured against what a random direction has:
            # |grad| / sqrt(size).
            error = float(
                relative_error(np.asarray(ours), np.asarray(slope), floor=norm / tensor.size**0.5)
            )
            if error > worst.error:
                worst = worst._replace(error=error, ours=ours, numeric=slope)
        rows.append(worst)
    report = Report(rows, tolerance)
    if not report.ok:
        raise GradientError(report)
    return report


def compare(
    loss: Callable[[], float],
    tensors: Mapping[str, Array],
    grads: Mapping[str, Array],
    eps: float,
    tolerance: float,
    gates: Mapping[str, str],
) -> Report:
    """The comparison behind ``check``, returned whether it passes or not."""
    require_matching(tensors, grads)
    numeric = {name: numeric_gradient(loss, tensor, eps) for name, tensor in tensors.items()}
    floor = FLOOR * max(float(np.max(np.abs(n))) for n in numeric.values())
    rows = []
    for name in tensors:
        error = relative_error(grads[name], numeric[name], floor)
        for index in map(
            tuple, to_host(np.argwhere((error > tolerance) & (error < DOUBTFUL))).tolist()
        ):
            numeric[name][index] = _refined(loss, tensors[name], index)
        error = relative_error(grads[name], numeric[name], floor)
        letters = gates.get(name, "")
        width = error.shape[-1] // len(letters) if letters else 0
        for number, letter in enumerate(letters or [""]):
            # below every error, so that the worst element is one of this gate's
            block = np.full_like(error, -1.0)
            columns = slice(number * width, (number + 1) * width) if letter else slice(None)
            block[..., columns] = error[..., columns]
            worst = np.unravel_index(int(np.argmax(block)), error.shape)
            at = tuple(int(i) for i in worst)
            rows.append(
                Row(
                    f"d{name}",
                    letter,
                    float(error[at]),
                    at,
                    float(grads[name][at]),
                    float(numeric[name][at]),
                )
            )
    return Report(rows, tolerance)


def _refined(
    loss: Callable[[], float], array: Array, index: tuple[int, ...], eps: float = 1e-3
) -> float:
    """The four-point central difference, exact to O(eps^4): (8 (L(+1) - L(-1)) - (L(+2) - L(-2))) /
    (12 eps)."""
    value = array[index].item()
    total = 0.0
    for steps, weight in ((1, 8), (-1, -8), (2, -1), (-2, 1)):
        array[index] = value + steps * eps
        total += weight * float(loss())
    array[index] = value
    return total / (12 * eps)


def require_float64(name: str, array: Array) -> None:
    """TypeError, with the reason, unless the array is float64."""
    if array.dtype != np.float64:
        raise TypeError(
            f"{name} is {array.dtype}, but a gradient check needs float64: float32 keeps about 7"
            f" digits, a central difference at eps={EPS} loses them all, and a right gradient would"
            " look wrong. Convert with astype(np.float64)"
        )


def require_matching(tensors: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
    """Unless every tensor is float64 and has a gradient of its own shape: TypeError or
    ValueError."""
    for name, tensor in tensors.items():
        require_float64(name, tensor)
        grad = grads.get(name)
        if grad is None:
            raise ValueError(
                f"there is no gradient d{name}, but {name} {tuple(tensor.shape)} is an input of the"
                " loss"
            )
        if tuple(np.shape(grad)) != tuple(tensor.shape):
            raise ValueError(
                f"d{name} is {tuple(np.shape(grad))} but {name} is {tuple(tensor.shape)}"
            )
