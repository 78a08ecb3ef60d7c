"""The library's networks as scikit-learn estimators: cross-validation, grid search, pipelines and
metrics come from there.

    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LSTMRegressor(units=16, early_stopping=True))
    model.fit(X[:400], y[:400]).score(X[400:], y[400:])

X (n, T) is n sequences of T steps with one feature, X (n, T, D) of D features. Nothing is scaled in
here: neither X, for which there are scikit-learn's scalers, nor y, for which there is its
``TransformedTargetRegressor``.

    base.py         what all share: parameters, fit, partial_fit, when to stop
    targets.py      regressors and classifiers: what y is, the loss, the score
    networks.py     the networks: MLP, recurrent, hybrid, and what X is to each
    schedules.py    learning rates by name
"""

from scratchnet.errors import MissingPackageError

try:
    import sklearn  # noqa: F401
except ImportError:
    raise MissingPackageError("scikit-learn is not installed: pip install scikit-learn") from None

from scratchnet.estimators.networks import (
    GRUClassifier,
    GRURegressor,
    HybridRegressor,
    LSTMClassifier,
    LSTMRegressor,
    MLPClassifier,
    MLPRegressor,
    RNNClassifier,
    RNNRegressor,
)

ESTIMATORS = (
    MLPRegressor,
    MLPClassifier,
    LSTMRegressor,
    LSTMClassifier,
    GRURegressor,
    GRUClassifier,
    RNNRegressor,
    RNNClassifier,
    HybridRegressor,
)

__all__ = [
    "ESTIMATORS",
    "GRUClassifier",
    "GRURegressor",
    "HybridRegressor",
    "LSTMClassifier",
    "LSTMRegressor",
    "MLPClassifier",
    "MLPRegressor",
    "RNNClassifier",
    "RNNRegressor",
]
