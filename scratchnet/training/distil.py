"""Knowledge distillation: a small network learns from a large one's answers as well as from the
labels.

    target = distillation_target(labels, teacher_logits)    # (N, K + 1): both in one array
    fit(student, (x, target), ..., loss=Distillation(temperature=4.0, hard=0.3))

The teacher's softmax says more than the label: which wrong classes are nearly right. At a
temperature above 1 both softmaxes are flattened, so that this can be seen:

    p = softmax(teacher / temperature)       q = softmax(y / temperature)
    L = hard  CE(label, y)  +  (1 - hard)  temperature^2  KL(p | q)

The gradient of KL(p | q) with respect to y is (q - p) / temperature, and those of p and q - p
shrink as 1 / temperature once more, so the factor temperature^2 keeps the balance of the two terms
when the temperature is changed.

References
----------
Hinton, Vinyals and Dean 2015, Distilling the knowledge in a neural network.
"""

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_floating, require_same_dtype, require_shape
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.losses import kept, mean, put_back, shares, softmax_cross_entropy
from scratchnet.training.checks import require_positive


@checked
def distillation_target(labels: Array, teacher: Array) -> Array:
    """Labels and the teacher's answers as one target.

    Parameters
    ----------
    labels : (...,) whole numbers, the classes.
    teacher : (..., K) the teacher's outputs before its softmax.

    Returns
    -------
    (..., K + 1), as ``Distillation`` takes it.

    Raises
    ------
    TypeError, ValueError : where they do not fit each other.
    """
    require_floating("teacher", teacher)
    if not np.issubdtype(labels.dtype, np.integer):
        raise InvalidTypeError(f"labels are {labels.dtype}: expected whole numbers, the classes")
    require_shape("labels", labels, teacher.shape[:-1], f"teacher is {tuple(teacher.shape)}")
    K = teacher.shape[-1]
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < K:
        given = f"labels go from {int(labels.min())} to {int(labels.max())}"
        raise InvalidValueError(f"{given} but the teacher knows {K} classes, 0 to {K - 1}")
    return np.concatenate([teacher, labels[..., None].astype(teacher.dtype)], axis=-1)


class Distillation:
    """The loss of the student's outputs y (..., K), before its softmax, with a target of
    ``distillation_target``.

    Parameters
    ----------
    temperature : what both outputs are divided by; a positive number.
    hard : the share of the labels, from 0 (the teacher alone) to 1 (ordinary cross-entropy).
    """

    @checked
    def __init__(self, temperature: float = 4.0, hard: float = 0.3) -> None:
        require_positive("temperature", temperature)
        if not 0 <= hard <= 1:
            raise InvalidValueError(f"hard is {hard}: expected a share from 0 to 1")
        self.temperature, self.hard = float(temperature), float(hard)

    def __call__(
        self, y: Array, target: Array, mask: Array | None = None, *, weights: Array | None = None
    ) -> tuple[float, Array]:
        """The loss, a (weighted) mean over the samples that count, and dy (..., K)."""
        because = f"y is {tuple(y.shape)} and a target has the label besides"
        require_shape("target", target, (*y.shape[:-1], y.shape[-1] + 1), because)
        keep = kept(mask, target[..., 0])  # what it leaves out may hold anything
        teacher, given = target[..., :-1], target[..., -1][keep]
        if not bool(np.all(given == np.rint(given))):
            raise InvalidValueError("a label, the last number of a target, is not a whole number")
        labels = np.zeros_like(target, shape=target.shape[:-1], dtype=np.int64)
        labels[keep] = given
        hard_loss, d_hard = softmax_cross_entropy(y, labels, mask, weights=weights)
        soft_loss, d_soft = soft_cross_entropy(y, teacher, self.temperature, mask, weights=weights)
        value = self.hard * hard_loss + (1 - self.hard) * self.temperature**2 * soft_loss
        return value, self.hard * d_hard + (1 - self.hard) * self.temperature**2 * d_soft


@checked
def soft_cross_entropy(
    y: Array,
    teacher: Array,
    temperature: float = 1.0,
    mask: Array | None = None,
    *,
    weights: Array | None = None,
) -> tuple[float, Array]:
    """Mean of KL(p | q), p = softmax(teacher / temperature), q = softmax(y / temperature), and its
    gradient in y (..., K).

    ``mask`` and ``weights`` (...): which samples count, and how much. A class whose logit is -inf
    for the teacher has p = 0 and costs nothing. Raises ValueError where shapes differ, the
    temperature is not a positive number, or a teacher that counts has NaN, +inf or -inf for all
    classes.
    """
    require_positive("temperature", temperature)
    require_same_dtype({"y": y, "teacher": teacher})
    require_shape("teacher", teacher, y.shape, f"y is {tuple(y.shape)}")
    keep = kept(mask, y[..., 0])
    share = shares(weights, y[..., 0], keep)
    known = teacher[keep]
    if not bool(np.all(known < np.inf)) or not bool(np.all(np.any(known > -np.inf, axis=-1))):
        raise InvalidValueError(
            "teacher has NaN or +inf, or -inf for all classes: expected logits, of which -inf is a"
            " class that cannot be"
        )
    log_p, log_q = log_softmax(known / temperature), log_softmax(y[keep] / temperature)
    p, q = np.exp(log_p), np.exp(log_q)
    possible = p > 0  # 0 log 0 is 0
    each = np.sum(p * np.where(possible, log_p - np.where(possible, log_q, 0), 0), axis=-1)
    # undoes  KL(p | softmax(y / temperature))
    factor = y.dtype.type(1 / each.size) if share is None else share[..., None]
    d = (q - p) * (factor / temperature)
    return mean(each, share), put_back(d, y, keep)


def log_softmax(y: Array) -> Array:
    """log softmax over the last axis, shifted by its maximum so that nothing overflows."""
    shifted = y - y.max(axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
