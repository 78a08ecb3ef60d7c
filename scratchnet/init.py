"""Initial weights, drawn so that the signal neither vanishes nor explodes from layer to layer.

    W = xavier_uniform(rng, (fan_in, fan_out))

The library writes ``x @ W``, so the first axis is fan_in, the number of inputs that each unit sums,
and the second is fan_out. (PyTorch stores the transpose, and its ``nn.init`` reads the fans from
the transpose.) All functions take rng, a ``numpy.random.Generator``, the shape, and the dtype of
the result; they raise TypeError or ValueError for other arguments.

Numbers are drawn in float64 and then rounded: one seed gives the same network in float32 and
float64.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_floating, require_memory, require_rng, require_shape
from scratchnet.errors import InvalidTypeError, InvalidValueError

Initializer: TypeAlias = Callable[..., Array]
Rng = np.random.Generator


def drawn(weight_init: Initializer, rng: Rng, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """What an initialiser, perhaps the caller's own, draws; TypeError or ValueError unless it is an
    array of this shape and type."""
    W = weight_init(rng, shape, dtype=dtype)
    require_floating("what weight_init returned", W)
    require_shape("what weight_init returned", W, shape, f"the shape given was {shape}")
    if W.dtype != dtype:
        raise InvalidTypeError(f"weight_init returned {W.dtype}: expected {np.dtype(dtype)}")
    return W


@checked
def xavier_uniform(rng: Rng, shape: Sequence[int], dtype: DTypeLike = np.float64) -> Array:
    """Draw from U(-a, a), a = sqrt(6 / (fan_in + fan_out)).

    The variance a^2 / 3 = 2 / (fan_in + fan_out) is a compromise between keeping the variance of
    the signal forwards (1 / fan_in) and of the gradient backwards (1 / fan_out).

    References: Glorot and Bengio 2010, equation 16.

    >>> W = xavier_uniform(np.random.default_rng(0), (200, 100))
    >>> bool(abs(W).max() < np.sqrt(6 / 300)), round(float(W.var() * 300 / 2), 2)
    (True, 0.99)
    """
    fan_in, fan_out = _fans(rng, shape, dtype)
    return _uniform(rng, shape, dtype, 2 / (fan_in + fan_out))


@checked
def xavier_normal(rng: Rng, shape: Sequence[int], dtype: DTypeLike = np.float64) -> Array:
    """Draw from a normal distribution with variance 2 / (fan_in + fan_out).

    References: Glorot and Bengio 2010, equation 12 (the variance; the paper draws uniformly).
    """
    fan_in, fan_out = _fans(rng, shape, dtype)
    return _normal(rng, shape, dtype, 2 / (fan_in + fan_out))


@checked
def he_uniform(rng: Rng, shape: Sequence[int], dtype: DTypeLike = np.float64) -> Array:
    """Draw from U(-a, a), a = sqrt(6 / fan_in): variance 2 / fan_in.

    For ReLU, which passes half of the signal: hence twice the variance.
    References: He, Zhang, Ren and Sun 2015, equation 10 (the variance; the paper draws normally).
    """
    fan_in, _ = _fans(rng, shape, dtype)
    return _uniform(rng, shape, dtype, 2 / fan_in)


@checked
def he_normal(rng: Rng, shape: Sequence[int], dtype: DTypeLike = np.float64) -> Array:
    """Draw from a normal distribution with variance 2 / fan_in, for ReLU.

    Not truncated, as in the paper and in PyTorch; Keras truncates at two standard deviations.
    References: He, Zhang, Ren and Sun 2015, equation 10.
    """
    fan_in, _ = _fans(rng, shape, dtype)
    return _normal(rng, shape, dtype, 2 / fan_in)


@checked
def lecun_uniform(rng: Rng, shape: Sequence[int], dtype: DTypeLike = np.float64) -> Array:
    """Draw from U(-a, a), a = sqrt(3 / fan_in): variance 1 / fan_in, so x @ W varies as much as x.

    References: LeCun, Bottou, Orr and Müller 1998, Efficient BackProp, equation 16.
    """
    fan_in, _ = _fans(rng, shape, dtype)
    return _uniform(rng, shape, dtype, 1 / fan_in)


@checked
def lecun_normal(rng: Rng, shape: Sequence[int], dtype: DTypeLike = np.float64) -> Array:
    """Draw from a normal distribution with variance 1 / fan_in.

    References: LeCun, Bottou, Orr and Müller 1998, Efficient BackProp, equation 16.
    """
    fan_in, _ = _fans(rng, shape, dtype)
    return _normal(rng, shape, dtype, 1 / fan_in)


@checked
def orthogonal(
    rng: Rng, shape: Sequence[int], dtype: DTypeLike = np.float64, gain: float = 1.0
) -> Array:
    """Draw gain times a matrix with orthonormal columns, or rows where fan_in < fan_out.

    W^T W = gain^2 I (fan_in >= fan_out) or W W^T = gain^2 I (fan_in <= fan_out). A square one keeps
    the length of every vector, so h W_h W_h W_h ... neither vanishes nor explodes: the usual choice
    for W_h.

    References: Saxe, McClelland and Ganguli 2014; the signs: Mezzadri 2007, section 5.

    >>> W = orthogonal(np.random.default_rng(0), (4, 4))
    >>> bool(np.allclose(W.T @ W, np.eye(4)))
    True
    """
    fan_in, fan_out = _fans(rng, shape, dtype)
    q, r = np.linalg.qr(rng.standard_normal((max(fan_in, fan_out), min(fan_in, fan_out))))
    # QR leaves the sign of each column to the implementation; a positive diagonal of r makes every
    # orthogonal matrix equally likely, and the same one on every machine.
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return np.ascontiguousarray(float(gain) * (q if fan_in >= fan_out else q.T), dtype=dtype)


INITIALIZERS: dict[str, Initializer] = {
    "xavier_uniform": xavier_uniform,
    "xavier_normal": xavier_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "lecun_uniform": lecun_uniform,
    "lecun_normal": lecun_normal,
    "orthogonal": orthogonal,
}


@checked
def per_gate(
    init: Initializer, rng: Rng, shape: Sequence[int], gates: str, dtype: DTypeLike = np.float64
) -> Array:
    """Draw a (D, G*H) weight with ``init``, one (D, H) gate block at a time.

    The blocks are side by side only so that one product serves all gates. A unit of one gate sums D
    inputs and H units read it, so the fans, and what is orthogonal to what, are those of one block.
    Other libraries differ: Keras, and ``nn.init`` called on the weight of a ``torch.nn.LSTM``, draw
    the whole matrix at once, so that fan_out is G*H (a smaller Xavier variance) and no gate's block
    of W_h is orthogonal.

    Parameters
    ----------
    init : one of INITIALIZERS, or a function with the same arguments
    shape : (D, G*H)
    gates : the names of the G gates, one letter each: "ifgo"

    Raises
    ------
    ValueError
        Where the width is not a multiple of the number of gates.
    """
    D, width = _fans(rng, shape, dtype)
    H = _units(width, gates, f"shape is {tuple(shape)}")
    return np.concatenate([init(rng, (D, H), dtype) for _ in gates], axis=1)


@checked
def set_forget_bias(b: Array, gates: str, value: float = 1.0) -> Array:
    """Set the forget gate's block of a bias b (G*H,) to ``value``, in place; return b.

    With a bias of 1 an LSTM begins by keeping sigmoid(1) = 73% of its cell state a step where 0
    would keep 50%, so that the gradient reaches back further before anything is learned.

    Raises ValueError if there is no gate f, or b is not (G*H,).

    References: Jozefowicz, Zaremba and Sutskever 2015; first in Gers, Schmidhuber and Cummins 2000.

    >>> set_forget_bias(np.zeros(8), "ifgo").tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    require_floating("b", b)
    if not -np.inf < value < np.inf:
        raise InvalidValueError(f"value is {value}: expected a finite number")
    if "f" not in gates:
        raise InvalidValueError(f"gates are {gates!r}, none of them is the forget gate f")
    if b.ndim != 1:
        raise InvalidValueError(
            f"b is {tuple(b.shape)}: expected (G*H,), one bias for each unit of each of the"
            f" {len(gates)} gates"
        )
    H = _units(b.shape[0], gates, f"b is {tuple(b.shape)}")
    start = gates.index("f") * H
    b[start : start + H] = value
    return b


def _uniform(rng: Rng, shape: Sequence[int], dtype: DTypeLike, variance: float) -> Array:
    """U(-a, a) with the given variance, which is a^2 / 3."""
    a = np.sqrt(3 * variance)
    return rng.uniform(-a, a, tuple(shape)).astype(dtype)


def _normal(rng: Rng, shape: Sequence[int], dtype: DTypeLike, variance: float) -> Array:
    """Normal with mean 0 and the given variance."""
    return (np.sqrt(variance) * rng.standard_normal(tuple(shape))).astype(dtype)


def _fans(rng: Rng, shape: Sequence[int], dtype: DTypeLike) -> tuple[int, int]:
    """(fan_in, fan_out); TypeError or ValueError for arguments that no initializer takes."""
    require_rng(rng)
    if not np.issubdtype(np.dtype(dtype), np.floating):
        raise InvalidTypeError(
            f"dtype is {np.dtype(dtype)}, but a weight is of a floating type: expected float32 or"
            " float64"
        )
    axes = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    if len(axes) != 2 or min(axes) < 1:
        raise InvalidValueError(
            f"shape is {axes}: expected (fan_in, fan_out), two positive numbers"
        )
    require_memory("a matrix of weights", axes, np.float64)  # drawn in float64, then converted
    return axes[0], axes[1]


def _units(width: int, gates: str, given: str) -> int:
    """H, from the width G*H of all gates together."""
    if not gates or width % len(gates):
        raise InvalidValueError(
            f"{given} but gates are {gates!r}: expected a width of {len(gates)} times the number of"
            " units"
        )
    return width // len(gates)
