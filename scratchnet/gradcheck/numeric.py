"""Central differences, element by element or along random directions.

    numeric = ( L(w + eps) - L(w - eps) ) / (2 eps)

This is exact to O(eps^2), where (L(w + eps) - L(w)) / eps is exact to O(eps).

Why float64 only: at eps = 1e-5 the two losses agree in their first digits and the difference keeps
the rest. float64 has about 16 digits and keeps 9 or 10; float32 has 7 and keeps none: at eps <=
1e-4 its error reaches 100%.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from scratchnet.arrays import Array, require_count, to_host
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.gradcheck.report import GradientError, Report, Row

Loss: TypeAlias = Callable[[], float]
Tensors: TypeAlias = Mapping[str, Array]

EPS = 1e-5
TOLERANCE = 1e-6
# An element's error is measured against its own size, but against no less than this share of the
# largest gradient in the check: central differences are exact to about 1e-10 of the loss, so a
# gradient of 1e-9 has no correct digit to compare.
FLOOR = 1e-3
# An error below this may be that of the difference itself: such elements are measured again, with
# four points.
DOUBTFUL = 1e-4


def numeric_gradient(loss: Loss, array: Array, eps: float = EPS) -> Array:
    """Central differences of ``loss()`` along every element of ``array``; same shape.

    The float64 ``array``, which the loss reads, is changed in place, one element at a time, and
    restored exactly. Raises TypeError for another dtype.

    >>> w = np.array([1.0, -2.0])
    >>> numeric_gradient(lambda: float(np.sum(w**2)), w).round(6).tolist()
    [2.0, -4.0]
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
    """|ours - numeric| / max(|ours|, |numeric|, floor), elementwise; infinite for NaN or infinity.

    >>> relative_error(np.array([1.0, 0.0]), np.array([1.1, 1e-9]), floor=1e-3).round(4).tolist()
    [0.0909, 0.0]
    """
    smallest = max(floor, float(np.finfo(np.float64).tiny))
    size = np.maximum(np.maximum(np.abs(ours), np.abs(numeric)), smallest)
    with np.errstate(invalid="ignore"):
        error = np.abs(ours - numeric) / size
    return np.where(np.isfinite(ours) & np.isfinite(numeric), error, np.inf)


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
    >>> check_gradient(lambda: float(np.sum(w**3)), {"w": w}, {"w": w**2})
    Traceback (most recent call last):
    scratchnet.gradcheck.report.GradientError: dw is wrong: relative error 6.7e-01, tolerance 1e-06
      worst element dw[0]: yours 1, numeric 3
      wrong: dw; right: none
    """
    return raise_if_wrong(compare(loss, tensors, grads, eps, tolerance, gates or {}))


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
    rows = []
    for name, tensor in tensors.items():
        grad, kept = grads[name], tensor.copy()
        # A slope that is small by chance is measured against the typical one, |grad| / sqrt(size).
        floor = float(np.sqrt(np.sum(grad * grad))) / tensor.size**0.5
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
            error = float(relative_error(np.asarray(ours), np.asarray(slope), floor))
            if error > worst.error:
                worst = worst._replace(error=error, ours=ours, numeric=slope)
        rows.append(worst)
    return raise_if_wrong(Report(rows, tolerance))


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
    numeric = {name: numeric_gradient(loss, tensor, eps) for name, tensor in tensors.items()}
    floor = FLOOR * max(float(np.max(np.abs(n))) for n in numeric.values())
    rows = []
    for name, tensor in tensors.items():
        error = relative_error(grads[name], numeric[name], floor)
        doubtful = np.argwhere((error > tolerance) & (error < DOUBTFUL))
        for index in map(tuple, to_host(doubtful).tolist()):
            numeric[name][index] = _refined(loss, tensor, index)
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
            values = (float(a[at]) for a in (grads[name], numeric[name]))
            rows.append(Row(f"d{name}", letter, float(error[at]), at, *values))
    return Report(rows, tolerance)


def _refined(loss: Loss, array: Array, index: tuple[int, ...], eps: float = 1e-3) -> float:
    """The four-point difference  (8 (L(+1) - L(-1)) - (L(+2) - L(-2))) / (12 eps), to O(eps^4)."""
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
        if tuple(np.shape(grad)) != tuple(tensor.shape):
            raise InvalidValueError(
                f"d{name} is {tuple(np.shape(grad))} but {name} is {tuple(tensor.shape)}"
            )
