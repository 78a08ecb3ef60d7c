"""Regressors and classifiers: what y is, the loss, the score, the answer."""

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import column_or_1d

from scratchnet.arrays import Array
from scratchnet.errors import InvalidValueError
from scratchnet.estimators.base import Network
from scratchnet.losses import mse, softmax_cross_entropy
from scratchnet.models import probabilities


class Regressor(RegressorMixin, Network):  # type: ignore[misc]
    """y (n,) or (n, outputs), numbers; the loss is half the mean squared error, as scikit-learn's
    MLP has it."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self, X: Any, y: Any) -> Self:
        """One more epoch, on these samples alone; the optimiser and its schedule go on where they
        were."""
        return self._continue(X, y)

    def predict(self, X: Any) -> Array:
        """y for X (n, ...): (n,), or (n, outputs) where it was trained on that."""
        y = self._answer(X)
        return y[:, 0] if self._one_output else y

    def _y_options(self) -> dict[str, Any]:
        return {"multi_output": True, "y_numeric": True}

    def _encode(self, y: Array, classes: Any = None, first: bool = True) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        outputs = 1 if y.ndim == 1 else y.shape[1]
        if first:
            self._one_output, self.n_outputs_ = y.ndim == 1, outputs
        elif outputs != self.n_outputs_:
            raise InvalidValueError(
                f"y has {outputs} outputs but the estimator was trained on {self.n_outputs_}"
            )
        return y.reshape(len(y), -1).astype(self._dtype())

    def _outputs(self) -> int:
        return int(self.n_outputs_)

    def _loss(self, y: Array, target: Array) -> tuple[float, Array]:
        value, dy = mse(y, target)
        return value / 2, dy / 2

    def _score(self, y: Array, target: Array) -> float:
        return float(r2_score(target, y))

    def _check_validation(self, target: Array, held: int) -> None:
        if held < 2:
            given = f"early_stopping takes {held} of {len(target)} samples for validation"
            raise InvalidValueError(
                f"{given}: R2 needs 2; give more samples, a larger validation_fraction, or"
                " early_stopping=False"
            )


class Classifier(ClassifierMixin, Network):  # type: ignore[misc]
    """y (n,), classes of any kind; the loss is the cross entropy of a softmax, also where there are
    two.

    ``classes_``: those of y, sorted. One that is missing in a fold is unknown to what was fitted
    there: predict_proba has no column for it; ``partial_fit(classes=...)`` tells of classes that
    are still to come. Raises ValueError for a single class.
    """

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """One more epoch, on these samples alone; ``classes``, all that there will be, must be
        given at the first call."""
        if classes is None and not hasattr(self, "model_"):
            raise InvalidValueError(
                "classes must be given at the first call of partial_fit: more may come than are in"
                " this y"
            )
        return self._continue(X, y, classes)

    def predict_proba(self, X: Any) -> Array:
        """The probability (n, classes) of each class, in the order of ``classes_``."""
        return probabilities(self._answer(X))

    def predict(self, X: Any) -> Array:
        """The class (n,) with the highest probability."""
        best = self._answer(X).argmax(axis=1)
        return self.classes_[best]

    def _y_options(self) -> dict[str, Any]:
        return {}

    def _encode(self, y: Array, classes: Any = None, first: bool = True) -> Array:
        check_classification_targets(y)
        if first:
            self.classes_ = unique_labels(y if classes is None else classes)
        elif classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
            raise InvalidValueError(
                f"classes are {list(classes)} but were {list(self.classes_)} at the first call of"
                " partial_fit"
            )
        if len(self.classes_) < 2:
            raise InvalidValueError(
                f"y has one class, {self.classes_[0]!r}: a classifier needs at least two to tell"
                " apart"
            )
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise InvalidValueError(
                f"y has classes {list(unknown)} that are not among {list(self.classes_)}"
            )
        return np.searchsorted(self.classes_, y)

    def _outputs(self) -> int:
        return len(self.classes_)

    def _loss(self, y: Array, target: Array) -> tuple[float, Array]:
        return softmax_cross_entropy(y, target)

    def _score(self, y: Array, target: Array) -> float:
        return float(accuracy_score(target, y.argmax(axis=1)))

    def _check_validation(self, target: Array, held: int) -> Array:
        fewest, kinds = int(np.bincount(target).min()), len(self.classes_)
        if self.shuffle and (fewest < 2 or not kinds <= held <= len(target) - kinds):
            given = (
                f"early_stopping takes {held} of {len(target)} samples for validation; the smallest"
                f" of {kinds} classes has {fewest}"
            )
            raise InvalidValueError(
                f"{given}: expected room for each class on both sides; or early_stopping=False"
            )
        return target
