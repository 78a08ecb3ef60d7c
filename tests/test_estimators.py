"""Estimators: scikit-learn's own checks, its tools around them, and what happens with awkward data."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scratchnet.data import sliding_windows
from scratchnet.estimators import (
    ESTIMATORS,
    GRUClassifier,
    GRURegressor,
    HybridRegressor,
    LSTMClassifier,
    LSTMRegressor,
    MLPClassifier,
    MLPRegressor,
    RNNRegressor,
)
from scratchnet.training import Cosine, Trainer
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, TimeSeriesSplit, cross_val_score, train_test_split
from sklearn.neural_network import MLPRegressor as TheirMLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

ROOT = Path(__file__).parent.parent
ids = {"ids": lambda kind: kind.__name__}
REGRESSORS = [kind for kind in ESTIMATORS if kind.__name__.endswith("Regressor")]
CLASSIFIERS = [kind for kind in ESTIMATORS if kind.__name__.endswith("Classifier")]
SEQUENCES = [kind for kind in ESTIMATORS if kind.__name__[:3] in ("LST", "GRU", "RNN")]
QUICK = {"max_iter": 3, "n_iter_no_change": None, "random_state": 0}


def small(kind, **options):
    """Quick, and with no rule that stops it."""
    size = {"hidden_layer_sizes": (6,)} if kind.__name__.startswith("MLP") else {"units": 4}
    return kind(**{**size, **QUICK, **options})


def numbers(n=60, T=5, seed=0):
    """Rows, and the sum of each row's end."""
    X = np.random.default_rng(seed).standard_normal((n, T))
    return X, X[:, -2:].sum(axis=1)


def data_for(kind, n=60):
    X, y = numbers(n)
    return (X, np.where(y > 0, "up", "down")) if kind in CLASSIFIERS else (X, y)


def wave(width=12, n=200):
    """Windows of a noisy sine, (n, width), and the next value."""
    t = np.arange(n + width)
    values = np.sin(2 * np.pi * t / 25)[:, None] + 0.05 * np.random.default_rng(0).standard_normal((len(t), 1))
    parts = sliding_windows(values, width)
    return parts.x[:, :, 0], parts.y[:, 0]


# ---- scikit-learn's own checks, none left out: all defaults, but recurrent layers with fewer epochs, which takes half as long


@pytest.mark.underflows
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # as its own MLP has it in these checks
@pytest.mark.filterwarnings("ignore:SCIPY_ARRAY_API is not set")
@parametrize_with_checks([kind() if kind.__name__.startswith("MLP") else kind(max_iter=40) for kind in ESTIMATORS])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_all_nine_are_checked_and_no_check_is_expected_to_fail():
    assert len(ESTIMATORS) == len(REGRESSORS) + len(CLASSIFIERS) == 9
    assert not any(hasattr(kind, "_xfail_checks") for kind in ESTIMATORS)
    assert not any(kind().__sklearn_tags__().non_deterministic for kind in ESTIMATORS)


# ---- with scikit-learn's tools -------------------------------------------------------------------------------------------


def test_cross_validation_in_order_of_time():
    X, y = wave()
    scores = cross_val_score(
        LSTMRegressor(units=8, max_iter=25, n_iter_no_change=None, random_state=0), X, y, cv=TimeSeriesSplit(3)
    )
    assert scores.shape == (3,)
    assert scores[-1] > 0.8


def test_a_scoring_in_scikit_learns_words():
    X, y = wave(n=80)
    for scoring in ("neg_mean_absolute_error", "neg_root_mean_squared_error", "r2"):
        assert np.isfinite(cross_val_score(small(GRURegressor), X, y, cv=TimeSeriesSplit(2), scoring=scoring)).all()
    X, y = data_for(MLPClassifier)
    for scoring in ("accuracy", "f1_macro", "roc_auc"):
        assert np.isfinite(cross_val_score(small(MLPClassifier), X, y, cv=2, scoring=scoring)).all()


def test_grid_and_random_search_over_a_pipeline():
    X, y = wave(n=80)
    steps = Pipeline([("scale", StandardScaler()), ("lstm", small(LSTMRegressor))])
    grid = GridSearchCV(
        steps, {"lstm__units": [2, 6], "lstm__learning_rate_init": [1e-5, 0.02]}, cv=TimeSeriesSplit(2)
    ).fit(X, y)
    assert grid.best_params_["lstm__learning_rate_init"] == 0.02
    assert len(grid.cv_results_["params"]) == 4
    found = RandomizedSearchCV(
        steps, {"lstm__units": range(2, 9), "lstm__alpha": [0.0, 1e-3]}, n_iter=3, cv=TimeSeriesSplit(2), random_state=0
    ).fit(X, y)
    assert found.predict(X).shape == y.shape


def test_metrics_of_a_regressor_and_of_a_classifier():
    X, y = wave()
    model = make_pipeline(
        StandardScaler(), LSTMRegressor(units=8, max_iter=30, n_iter_no_change=None, random_state=0)
    ).fit(X[:150], y[:150])
    forecast, last = model.predict(X[150:]), X[150:, -1]
    assert mean_absolute_error(y[150:], forecast) < mean_absolute_error(y[150:], last)
    assert root_mean_squared_error(y[150:], forecast) < root_mean_squared_error(y[150:], last)
    assert model.score(X[150:], y[150:]) == r2_score(y[150:], forecast) > 0.85
    X, y = data_for(GRUClassifier, 200)
    model = GRUClassifier(units=8, max_iter=30, n_iter_no_change=None, random_state=0).fit(X[:150], y[:150])
    said, p = model.predict(X[150:]), model.predict_proba(X[150:])
    assert model.score(X[150:], y[150:]) == accuracy_score(y[150:], said) > 0.85
    assert f1_score(y[150:], said, pos_label="up") > 0.85
    assert roc_auc_score(y[150:] == "up", p[:, list(model.classes_).index("up")]) > 0.93
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_array_equal(said, model.classes_[p.argmax(axis=1)])


def test_mlp_reaches_what_scikit_learns_reaches():
    """Over five seeds of the weights, on data that neither has seen."""
    X, y = load_diabetes(return_X_y=True)
    X, y = StandardScaler().fit_transform(X), (y - y.mean()) / y.std()
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    options = {"hidden_layer_sizes": (16,), "learning_rate_init": 0.003, "max_iter": 60, "alpha": 1.0}
    ours = [
        MLPRegressor(**options, n_iter_no_change=None, random_state=seed).fit(X, y).score(X_test, y_test)
        for seed in range(5)
    ]
    with pytest.warns(ConvergenceWarning):
        theirs = [
            TheirMLPRegressor(**options, n_iter_no_change=1000, random_state=seed).fit(X, y).score(X_test, y_test)
            for seed in range(5)
        ]
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.05)
    assert np.mean(theirs) > 0.25


def test_alpha_and_sgd_mean_what_they_mean_in_scikit_learn():
    """A linear model, without hidden layers, so that both have the same minimum: loss, penalty, rate and momentum must agree."""
    X, y = numbers(40)
    options = {
        "hidden_layer_sizes": (),
        "solver": "sgd",
        "learning_rate_init": 0.05,
        "alpha": 20.0,
        "batch_size": 40,
        "max_iter": 300,
    }
    ours = MLPRegressor(**options, n_iter_no_change=None, dtype="float64", random_state=0).fit(X, y)
    theirs = TheirMLPRegressor(**options, n_iter_no_change=1000, random_state=0)
    with pytest.warns(ConvergenceWarning):
        theirs.fit(X, y)
    np.testing.assert_allclose(ours.model_.params["head.W"], theirs.coefs_[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-6, atol=1e-9)
    assert abs(theirs.coefs_[0]).max() < 0.75  # and the penalty matters: the data say 1


def test_digits_with_a_gru_that_reads_them_row_by_row():
    images, y = load_digits(return_X_y=True)
    X = (images / 16).reshape(-1, 8, 8)
    X, X_test, y, y_test = train_test_split(X[:900], y[:900], random_state=0)
    model = GRUClassifier(units=32, learning_rate_init=0.01, max_iter=15, n_iter_no_change=None, random_state=0).fit(
        X, y
    )
    assert model.score(X_test, y_test) > 0.9
    assert model.n_features_in_ == 8
    assert model.predict_proba(X_test).shape == (len(X_test), 10)
    flat = GRUClassifier(
        units=32, learning_rate_init=0.01, max_iter=15, n_iter_no_change=None, random_state=0, features=8
    )
    np.testing.assert_allclose(
        flat.fit(X.reshape(-1, 64), y).predict_proba(X_test.reshape(-1, 64)), model.predict_proba(X_test)
    )


# ---- sequences -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SEQUENCES, **ids)
def test_2d_is_3d_with_one_feature_and_steps_may_differ_later(kind):
    X, y = data_for(kind)
    flat, deep = small(kind).fit(X, y), small(kind).fit(X[:, :, None], y)
    np.testing.assert_array_equal(flat.predict(X), deep.predict(X[:, :, None]))
    assert (flat.n_features_in_, deep.n_features_in_) == (5, 1)
    assert deep.predict(np.ones((2, 9, 1))).shape == (2,)  # nine steps where it was trained on five
    with pytest.raises(ValueError, match=r"X has 3 dimensions but the estimator was trained on 2"):
        flat.predict(X[:, :, None])
    with pytest.raises(ValueError, match=r"X has 2 features, but \w+ is expecting 1"):
        deep.predict(np.ones((2, 5, 2)))
    with pytest.raises(ValueError, match="contains NaN"):
        deep.predict(np.full((2, 5, 1), np.nan))
    for wrong, words in (
        ((X[:, :, None], None), "y"),
        ((X[:, :, None], y[:-1]), "inconsistent numbers"),
        ((X[:, :0, None], y), "X is "),
    ):
        with pytest.raises(ValueError, match=words):
            small(kind).fit(*wrong)
    assert kind().__sklearn_tags__().input_tags.three_d_array


def test_columns_that_are_no_multiple_of_the_features():
    with pytest.raises(ValueError, match=r"the sequence has 5 columns .*: expected a multiple of the 2 features"):
        small(LSTMRegressor, features=2).fit(*numbers())


def test_options_reach_the_network():
    X, y = numbers()
    model = small(LSTMRegressor, num_layers=2, bidirectional=True, dropout=0.3).fit(X, y)
    rec = model.model_.layers["rec"]
    assert (rec.cell_name, rec.hidden_size, rec.num_layers, rec.bidirectional, rec.dropout) == ("lstm", 4, 2, True, 0.3)
    assert small(GRURegressor).fit(X, y).model_.layers["rec"].cell_name == "gru"
    relu = small(RNNRegressor, activation="relu").fit(X, y)
    assert relu.model_.layers["rec"].options == {"nonlinearity": "relu"}
    assert abs(relu.predict(X) - small(RNNRegressor).fit(X, y).predict(X)).max() > 1e-3
    mlp = small(MLPRegressor, hidden_layer_sizes=(7, 3), activation="logistic", dropout=0.1).fit(X, y)
    assert [*mlp.model_.layers] == ["hidden0", "sigmoid0", "dropout0", "hidden1", "sigmoid1", "dropout1", "head"]
    assert small(MLPRegressor, hidden_layer_sizes=9).fit(X, y).model_.params["head.W"].shape == (9, 1)


@pytest.mark.parametrize("join", ["concat", "attention"])
def test_hybrid_learns_from_both_branches(join, rng):
    sequence, static = rng.standard_normal((150, 6, 2)), rng.standard_normal((150, 2))
    y = sequence[:, -1, 0] + static[:, 1]
    options = {
        "units": 8,
        "join": join,
        "max_iter": 50,
        "n_iter_no_change": None,
        "random_state": 0,
        "learning_rate_init": 0.01,
    }
    pair = HybridRegressor(**options).fit((sequence, static), y)
    assert pair.score((sequence, static), y) > 0.9
    assert pair.model_.join == join
    flat = HybridRegressor(**options, static_features=2, features=2)
    X = np.hstack([static, sequence.reshape(150, -1)])
    np.testing.assert_allclose(flat.fit(X, y).predict(X), pair.predict((sequence, static)))
    chosen = HybridRegressor(**options, static_features=[12, 13], features=2)
    X = np.hstack([sequence.reshape(150, -1), static])
    np.testing.assert_allclose(chosen.fit(X, y).predict(X), pair.predict((sequence, static)))
    assert (pair.n_features_in_, flat.n_features_in_) == (4, 14)


def test_hybrid_refuses_what_does_not_fit(rng):
    sequence, static, y = rng.standard_normal((20, 4, 2)), rng.standard_normal((20, 3)), rng.standard_normal(20)
    model = small(HybridRegressor).fit((sequence, static), y)
    for X, words in (
        ((sequence,), r"X is a tuple of 1: expected \(sequence \(n, T, D\), static \(n, F\)\)"),
        ((sequence[:, :, 0], static), r"the sequence is \(20, 4\): expected \(n, T, D\)"),
        ((sequence, static[:, :2]), r"X has \(2, 2\) features, of steps and static, but was trained on \(2, 3\)"),
        ((sequence, static[:10]), "inconsistent numbers of samples"),
        (static, r"X is one array but the estimator was trained on a tuple"),
    ):
        with pytest.raises(ValueError, match=words):
            model.predict(X)
    for which in (0, 9, [1, 1], [-1]):
        with pytest.raises(ValueError, match=r"static_features is .* but X has n_features = 3: expected how many"):
            small(HybridRegressor, static_features=which).fit(static, y)
    with pytest.raises(ValueError, match="join is 'sum'"):
        small(HybridRegressor, join="sum").fit((sequence, static), y)


# ---- the same again ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ESTIMATORS, **ids)
def test_random_state_clone_and_pickle(kind):
    X, y = data_for(kind)
    model = small(kind).fit(X, y)
    answer = model.predict_proba if kind in CLASSIFIERS else model.predict
    before = answer(X)
    assert before.dtype == np.float64
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal((loaded.predict_proba if kind in CLASSIFIERS else loaded.predict)(X), before)
    again = clone(model)
    assert again.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        again.predict(X)
    assert again.fit(X, y).loss_curve_ == model.loss_curve_
    assert again.set_params(random_state=1).fit(X, y).loss_curve_ != model.loss_curve_
    states = [small(kind, random_state=np.random.RandomState(7)).fit(X, y).loss_curve_ for _ in range(2)]
    assert states[0] == states[1]
    one = np.random.RandomState(7)
    assert small(kind, random_state=one).fit(X, y).loss_curve_ != small(kind, random_state=one).fit(X, y).loss_curve_
    np.random.seed(0)  # noqa: NPY002
    first = small(kind, random_state=None).fit(X, y).loss_curve_
    np.random.seed(0)  # noqa: NPY002
    assert small(kind, random_state=None).fit(X, y).loss_curve_ != first  # None is not global state
    loaded.partial_fit(X, y)
    assert loaded.n_iter_ == model.n_iter_ + 1


@pytest.mark.parametrize("kind", ESTIMATORS, **ids)
def test_computes_in_the_type_asked_for(kind):
    X, y = data_for(kind, 30)
    for dtype in ("float32", "float64"):
        model = small(kind, dtype=dtype, max_iter=1).fit(X, y)
        assert {p.dtype for p in model.model_.params.values()} == {np.dtype(dtype)}
        model.predict(X)
        assert {p.dtype for p in model.model_.params.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("kind", [MLPRegressor, LSTMRegressor, HybridRegressor], **ids)
def test_several_outputs(kind):
    X, y = numbers(120)
    Y = np.stack([y, -y], axis=1)
    model = small(kind, max_iter=60, learning_rate_init=0.02).fit(X, Y)
    assert model.predict(X).shape == (120, 2)
    assert model.n_outputs_ == 2
    assert model.__sklearn_tags__().target_tags.multi_output  # so that scikit-learn's checks try it
    assert model.score(X, Y) > 0.8
    with pytest.raises(ValueError, match="y has 1 outputs but the estimator was trained on 2"):
        model.partial_fit(X, y)
    with pytest.warns(DataConversionWarning):
        assert small(kind).fit(X, y[:, None]).predict(X).shape == (120,)


@pytest.mark.parametrize("kind", CLASSIFIERS, **ids)
def test_classes_of_any_kind(kind):
    X, y = numbers(150)
    named = np.array(["high", "low", "mid"])[np.digitize(y, [-0.5, 0.5])]
    model = small(kind, max_iter=30, learning_rate_init=0.02).fit(X, named)
    assert list(model.classes_) == ["high", "low", "mid"]
    assert model.predict_proba(X).shape == (150, 3)
    assert set(model.predict(X)) <= {"high", "low", "mid"}
    assert model.score(X, named) > 0.6
    odd = np.where(y > 0, 7, -3)
    assert set(small(kind).fit(X, odd).predict(X)) <= {7, -3}


# ---- partial_fit ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ESTIMATORS, **ids)
def test_partial_fit_goes_on(kind):
    X, y = data_for(kind)
    first = {"classes": ["down", "up"]} if kind in CLASSIFIERS else {}
    model = small(kind, learning_rate_init=0.02)
    model.partial_fit(X, y, **first)
    weights = model.model_
    for _ in range(19):
        model.partial_fit(X, y)
    assert model.model_ is weights
    assert model.n_iter_ == len(model.loss_curve_) == len(model.history_.epochs) == 20
    assert model.loss_curve_[-1] < 0.8 * model.loss_curve_[0]
    assert model._optimizer.t == len(model.history_.steps)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :-1], y)


def test_partial_fit_in_parts_is_fit_on_each_epoch():
    """fit for three epochs is three calls of partial_fit: the same weights, batches and steps of the optimiser."""
    X, y = numbers()
    whole = small(GRURegressor, max_iter=3, learning_rate="cosine").fit(X, y)
    parts = small(GRURegressor, max_iter=3, learning_rate="cosine")
    for _ in range(3):
        parts.partial_fit(X, y)
    assert parts.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(parts.predict(X), whole.predict(X))


def test_partial_fit_of_classes_that_come_later():
    X, y = numbers(40)
    model = small(MLPClassifier).partial_fit(X[:20], np.zeros(20, int), classes=[0, 1, 2])
    assert model.predict_proba(X).shape == (40, 3)
    model.partial_fit(X[20:], np.ones(20, int))
    with pytest.raises(ValueError, match=r"classes are \[0, 1\] but were \[.*0.*1.*2.*\] at the first call"):
        model.partial_fit(X, np.zeros(40, int), classes=[0, 1])
    with pytest.raises(ValueError, match=r"y has classes \[.*5.*\] that are not among"):
        model.partial_fit(X, np.full(40, 5))
    with pytest.raises(ValueError, match="classes must be given at the first call of partial_fit"):
        small(MLPClassifier).partial_fit(X, np.arange(40) % 2)
    with pytest.raises(ValueError, match="partial_fit cannot know when to stop"):
        small(MLPRegressor, early_stopping=True).partial_fit(X, y)


# ---- when it stops -------------------------------------------------------------------------------------------------------


def test_early_stopping_keeps_the_best_epoch(rng):
    X, y = numbers(80)
    y = y + 2 * rng.standard_normal(80)  # so much noise that it soon learns by heart
    model = MLPRegressor(
        early_stopping=True,
        validation_fraction=0.25,
        max_iter=500,
        learning_rate_init=0.02,
        n_iter_no_change=5,
        random_state=0,
    ).fit(X, y)
    assert model.n_iter_ < 200
    validation = model.history_.column("val_loss")
    best = model.history_.best_epoch
    assert validation[best] == min(validation)
    lowest, waited = np.inf, []
    for loss in validation:
        waited.append(waited[-1] + 1 if waited and loss > lowest - model.tol else 0)
        lowest = min(lowest, loss)
    assert waited[-1] == 6  # more than five
    assert max(waited[:-1]) == 5
    assert len(model.validation_scores_) == model.n_iter_
    assert model.best_validation_score_ == model.validation_scores_[best]
    # The score is R2 of the validation samples, 20 of 80, and the loss half their squared error: both of the same answers.
    ratio = (1 - np.array(model.validation_scores_)) / np.array(validation)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    assert small(MLPRegressor).fit(X, y).validation_scores_ is None


def test_early_stopping_of_a_classifier_takes_some_of_each_class(monkeypatch):
    X, _ = numbers(60)
    y = np.array(["rare"] * 6 + ["often"] * 54)
    seen = {}
    fit = sys.modules["scratchnet.estimators.base"].fit

    def watched(model, data, *args, validation, **options):
        seen.update(train=data.y, validation=validation[1])
        return fit(model, data, *args, validation=validation, **options)

    monkeypatch.setattr("scratchnet.estimators.base.fit", watched)
    model = small(LSTMClassifier, early_stopping=True, validation_fraction=1 / 3).fit(X, y)
    assert np.bincount(seen["validation"]).tolist() == [18, 2]
    assert np.bincount(seen["train"]).tolist() == [36, 4]
    assert all(0 <= score <= 1 for score in model.validation_scores_)
    small(LSTMClassifier, early_stopping=True, validation_fraction=1 / 3, shuffle=False).fit(X, y)
    assert seen["validation"].tolist() == [0] * 20  # the last ones, as they are


def test_without_shuffling_the_order_is_that_of_the_samples(monkeypatch):
    batches = []
    step = Trainer.step
    monkeypatch.setattr(
        Trainer, "step", lambda self, batch, loss: batches.append(batch.x[:, 0]) or step(self, batch, loss)
    )
    X, y = np.arange(20.0)[:, None], np.zeros(20)
    small(MLPRegressor, shuffle=False, batch_size=8, max_iter=1).fit(X, y)
    assert [b.tolist() for b in batches] == [list(range(8)), list(range(8, 16)), list(range(16, 20))]
    batches.clear()
    small(MLPRegressor, batch_size=8, max_iter=1).fit(X, y)
    assert sorted(np.concatenate(batches)) == list(range(20)) != np.concatenate(batches).tolist()


def test_stops_when_the_loss_does_not_fall_and_warns_when_it_still_does():
    X, y = numbers()
    model = small(MLPRegressor, n_iter_no_change=3, learning_rate_init=0.0, max_iter=50).fit(X, y)
    assert model.n_iter_ == 5  # the first is the best, then more than three without a better one
    with pytest.warns(ConvergenceWarning, match="max_iter=3 epochs are over and the loss was still falling"):
        small(MLPRegressor, n_iter_no_change=3).fit(X, y)
    small(MLPRegressor, n_iter_no_change=3, learning_rate="cosine").fit(X, y)  # planned for three epochs: no warning
    assert model.loss_ == model.loss_curve_[-1]
    assert model.best_loss_ == min(model.loss_curve_)


def rates(model):
    return np.array(model.history_.column("lr"))


def test_learning_rates_by_name():
    X, y = numbers(40)
    run = {"batch_size": 40, "max_iter": 10, "learning_rate_init": 0.1, "solver": "sgd"}
    assert (rates(small(MLPRegressor, **run).fit(X, y)) == 0.1).all()
    expected = {
        "invscaling": 0.1 / (40 * np.arange(10) + 1) ** 0.5,
        "step": [0.1] * 3 + [0.01] * 3 + [0.001] * 3 + [0.0001],
        "exponential": 0.1 * 0.01 ** (np.arange(10) / 10),
        "cosine": 0.05 * (1 + np.cos(np.pi * np.arange(10) / 10)),
        "warmup": [0.01, *0.05 * (1 + np.cos(np.pi * np.arange(9) / 9))],
    }
    for name, lr in expected.items():
        np.testing.assert_allclose(rates(small(MLPRegressor, learning_rate=name, **run).fit(X, y)), lr, err_msg=name)
    own = small(MLPRegressor, learning_rate=lambda optimizer: Cosine(optimizer, 5), **run).fit(X, y)
    np.testing.assert_allclose(rates(own)[:5], 0.05 * (1 + np.cos(np.pi * np.arange(5) / 5)))
    still = {**run, "learning_rate_init": 1e-6}  # so little that the loss falls by less than a Plateau counts
    with pytest.warns(ConvergenceWarning):
        model = small(MLPRegressor, learning_rate="plateau", **still, n_iter_no_change=6, tol=0).fit(X, y)
    np.testing.assert_allclose(rates(model), [1e-6] * 5 + [1e-7] * 4 + [1e-8])


def test_adaptive_takes_a_fifth_instead_of_stopping():
    X, y = numbers(40)
    model = small(
        MLPRegressor, learning_rate="adaptive", n_iter_no_change=1, tol=1e9, learning_rate_init=1e-4, max_iter=200
    ).fit(X, y)
    found = np.unique(rates(model))[::-1]
    np.testing.assert_allclose(found, 1e-4 / 5.0 ** np.arange(4))
    assert model.n_iter_ < 20  # and stops where it has fallen under 1e-6


def test_solvers_and_clipping():
    X, y = numbers(40)
    for solver, name in (("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD"), ("rmsprop", "RMSprop")):
        model = small(MLPRegressor, solver=solver, alpha=0.03).fit(X, y)
        assert type(model._optimizer).__name__ == name
        assert ("penalty" in model.history_.steps[0]) == (solver != "adamw")
        assert model._optimizer.weight_decay == (0.03 if solver == "adamw" else 0)
    sgd = small(MLPRegressor, solver="sgd", momentum=0.3, nesterovs_momentum=False).fit(X, y)._optimizer
    assert (sgd.momentum, sgd.nesterov) == (0.3, False)
    clipped = small(LSTMRegressor, clip=1e-3).fit(X, 100 * y)
    assert max(row["clip_factor"] for row in clipped.history_.steps) < 0.1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"solver": "lbfgs"}, "solver is 'lbfgs': expected one of sgd, rmsprop, adam, adamw"),
        ({"alpha": -1}, "alpha is -1: expected 0 or a positive number"),
        ({"learning_rate": "slow"}, "learning_rate is 'slow': expected one of constant, invscaling, adaptive"),
        ({"max_iter": 0}, "max_iter is 0: expected at least 1"),
        ({"n_iter_no_change": 0}, "n_iter_no_change is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"dtype": "float16"}, "dtype is 'float16': expected 'float32' or 'float64'"),
        ({"early_stopping": True, "validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"hidden_layer_sizes": (4, 0)}, r"hidden_layer_sizes is \(4, 0\): expected whole numbers"),
        ({"hidden_layer_sizes": 2.5}, r"hidden_layer_sizes is 2.5: expected whole numbers"),
        ({"activation": "step"}, "activation is 'step': expected one of 'relu'"),
    ],
)
def test_wrong_parameters_get_a_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        small(MLPRegressor, **options).fit(*numbers())


def test_other_wrong_parameters():
    for model, kind, words in (
        (
            small(MLPRegressor, learning_rate=lambda optimizer: 0.1),
            TypeError,
            "learning_rate made a float: expected a scratchnet.training.schedule",
        ),
        (small(RNNRegressor, activation="gelu"), ValueError, "activation is 'gelu': expected 'tanh' or 'relu'"),
        (small(LSTMRegressor, features=0), ValueError, "features is 0"),
        (small(LSTMRegressor, batch_size="big"), TypeError, "batch_size is 'big'"),
    ):
        with pytest.raises(kind, match=words):
            model.fit(*numbers())


# ---- awkward data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ESTIMATORS, **ids)
def test_constant_features_do_no_harm(kind):
    X, y = data_for(kind)
    X[:, 0] = 3.0
    assert np.isfinite(small(kind).fit(X, y).loss_)
    X[:] = 3.0  # nothing to learn from: every answer is the same
    model = small(kind).fit(X, y)
    answers = model.predict_proba(X) if kind in CLASSIFIERS else model.predict(X)[:, None]
    np.testing.assert_allclose(answers, np.broadcast_to(answers[:1], answers.shape), rtol=1e-12)


@pytest.mark.parametrize("kind", CLASSIFIERS, **ids)
def test_one_class_and_one_that_is_missing_in_a_fold(kind):
    X, y = numbers()
    with pytest.raises(ValueError, match=r"y has one class, .*a.*: a classifier needs at least two"):
        small(kind).fit(X, ["a"] * 60)
    y = np.arange(60) % 3
    fold = small(kind).fit(X[y < 2], y[y < 2])
    assert list(fold.classes_) == [0, 1]
    assert fold.predict_proba(X).shape == (60, 2)
    assert fold.score(X, y) <= 2 / 3


@pytest.mark.parametrize("kind", ESTIMATORS, **ids)
def test_nan_and_too_few_samples(kind):
    X, y = data_for(kind)
    holes = X.copy()
    holes[3, 2] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        small(kind).fit(holes, y)
    with pytest.raises(ValueError, match="contains NaN"):
        small(kind).fit(X, y).predict(holes)
    with pytest.raises(ValueError, match=r"early_stopping takes 1 of 5 samples.*early_stopping=False"):
        small(kind, early_stopping=True).fit(X[:5], y[:5])
    with pytest.raises(ValueError, match="early_stopping takes 1 of 1 samples for validation: none would be left"):
        small(REGRESSORS[0], early_stopping=True).fit(np.ones((1, 2)), [1.0])


def test_targets_are_not_scaled_but_can_be():
    X, y = numbers(100)
    scaled = TransformedTargetRegressor(
        small(MLPRegressor, max_iter=60, learning_rate_init=0.02), transformer=StandardScaler()
    )
    assert scaled.fit(X, 1e4 + 1e3 * y).score(X, 1e4 + 1e3 * y) > 0.8
    assert small(MLPRegressor, max_iter=60, learning_rate_init=0.02).fit(X, 1e4 + 1e3 * y).score(X, 1e4 + 1e3 * y) < 0


def test_without_scikit_learn_the_message_says_what_to_install():
    program = "import sys; sys.modules['sklearn'] = None\nimport scratchnet.estimators"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert "scikit-learn is not installed: pip install scikit-learn" in done.stderr
