"""The same network as scikit-learn's MLP from the same random_state: weights, curves, attributes, parameters."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn import neural_network as theirs
from sklearn.datasets import make_multilabel_classification

from fastbp import sklearn as ours

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*batch_size.*:UserWarning"),
]

SMALL = {"hidden_layer_sizes": (20, 10), "max_iter": 5, "random_state": 3}
NAMES = ("MLPClassifier", "MLPRegressor")


def pair(name, **settings):
    settings = SMALL | settings
    return getattr(theirs, name)(**settings), getattr(ours, name)(**settings)


def distance(a, b):
    """The largest difference of two fitted networks' weights and biases."""
    assert [W.shape for W in a.coefs_ + a.intercepts_] == [W.shape for W in b.coefs_ + b.intercepts_]
    assert {W.dtype for W in a.coefs_ + a.intercepts_} == {W.dtype for W in b.coefs_ + b.intercepts_}
    return max(np.abs(p - q).max() for p, q in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True))


def assert_same(a, b, limit=1e-9):
    assert distance(a, b) <= limit
    assert (a.n_iter_, a.t_, a.n_layers_, a.n_outputs_) == (b.n_iter_, b.t_, b.n_layers_, b.n_outputs_)
    assert a.out_activation_ == b.out_activation_
    assert a.loss_ == pytest.approx(b.loss_, rel=10 * limit)
    if hasattr(a, "loss_curve_"):
        np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=10 * limit)
        assert (a.best_loss_ is None) == (b.best_loss_ is None)
        assert (a.validation_scores_ is None) == (b.validation_scores_ is None)


SOLVERS = {
    "sgd": {"solver": "sgd", "momentum": 0.0},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.01},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.01},
    "adam": {"solver": "adam"},
}


@pytest.mark.parametrize("solver", SOLVERS)
def test_five_epochs_of_digits(solver, digits):
    a, b = pair("MLPClassifier", batch_size=32, **SOLVERS[solver])
    assert_same(a.fit(*digits), b.fit(*digits))
    assert (a.predict(digits[0]) == b.predict(digits[0])).all()
    np.testing.assert_allclose(a.predict_proba(digits[0]), b.predict_proba(digits[0]), atol=1e-9)
    np.testing.assert_allclose(a.predict_log_proba(digits[0]), b.predict_log_proba(digits[0]), atol=1e-7)


@pytest.mark.parametrize(
    "settings",
    [
        {"alpha": 1.0},
        {"alpha": 0.0, "hidden_layer_sizes": ()},
        {"hidden_layer_sizes": 7, "activation": "logistic"},
        {"activation": "tanh", "shuffle": False},
        {"activation": "identity", "batch_size": 1000},
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.3, "power_t": 0.3},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1, "max_iter": 30},
        {"solver": "sgd", "momentum": 1.0},
        {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.1},
        {"tol": 0.5, "n_iter_no_change": 2, "max_iter": 20},
        {"n_iter_no_change": np.inf},
    ],
    ids=str,
)
def test_settings(settings, few):
    a, b = pair("MLPClassifier", **settings)
    assert_same(a.fit(*few), b.fit(*few))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("binary", [False, True])
def test_early_stopping(weighted, binary, few):
    x, y = few
    y = y > 4 if binary else y
    weight = np.linspace(0.1, 2, len(y)) if weighted else None
    a, b = pair("MLPClassifier", early_stopping=True, max_iter=60, n_iter_no_change=3, learning_rate_init=0.01)
    assert_same(a.fit(x, y, weight), b.fit(x, y, weight))
    np.testing.assert_allclose(a.validation_scores_, b.validation_scores_)
    assert a.best_validation_score_ == pytest.approx(b.best_validation_score_)
    assert b.stopped_
    assert len(b.validation_loss_curve_) == b.n_iter_


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("name", NAMES)
def test_sample_weight(name, solver, few, rng):
    weight = rng.uniform(0, 3, len(few[1]))
    a, b = pair(name, solver=solver, learning_rate_init=0.001)
    a.fit(*few, sample_weight=weight)
    assert_same(a, b.fit(*few, sample_weight=weight))
    plain = getattr(ours, name)(**SMALL, solver=solver).fit(*few)
    assert distance(b, plain) > 1e-3


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_regression(loss, solver, n_outputs, few):
    x = few[0]
    y = np.abs(x[:, 20 : 20 + n_outputs] * 3) if n_outputs > 1 else x[:, 20] * 3
    weight = np.linspace(0.5, 3, len(y)) if n_outputs > 1 else None
    a, b = pair("MLPRegressor", loss=loss, solver=solver, alpha=0.5, batch_size=64)
    assert_same(a.fit(x, y, weight), b.fit(x, y, weight))
    np.testing.assert_allclose(a.predict(x), b.predict(x), atol=1e-8)
    assert b.predict(x).shape == y.shape
    assert a.score(x, y) == pytest.approx(b.score(x, y))


def test_early_stopping_of_values(few):
    a, b = pair("MLPRegressor", early_stopping=True, max_iter=10)
    assert_same(a.fit(*few), b.fit(*few))
    np.testing.assert_allclose(a.validation_scores_, b.validation_scores_)


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=str)
def test_several_labels_per_sample(settings):
    x, y = make_multilabel_classification(n_samples=200, n_features=8, n_classes=4, random_state=0)
    a, b = pair("MLPClassifier", **settings)
    assert_same(a.fit(x, y), b.fit(x, y))
    assert (a.predict(x) == b.predict(x)).all()
    np.testing.assert_allclose(a.predict_proba(x), b.predict_proba(x), atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_float32(name, solver, few):
    x = few[0].astype(np.float32)
    a, b = pair(name, solver=solver, max_iter=3)
    assert distance(a.fit(x, few[1]), b.fit(x, few[1])) < 1e-4
    assert a.predict(x).dtype == b.predict(x).dtype


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_warm_start(solver, few):
    a, b = pair("MLPClassifier", warm_start=True, solver=solver)
    for _ in range(3):
        assert_same(a.fit(*few), b.fit(*few))
    if solver != "lbfgs":
        assert len(b.loss_curve_) == 15


def test_warm_start_with_early_stopping(few):
    a, b = pair("MLPClassifier", warm_start=True, early_stopping=True)
    for _ in range(4):
        assert_same(a.fit(*few), b.fit(*few))
        np.testing.assert_allclose(a.validation_scores_, b.validation_scores_)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit(solver, few):
    x, y = few
    settings = {"learning_rate": "invscaling", "learning_rate_init": 0.1} if solver == "sgd" else {}
    a, b = pair("MLPClassifier", solver=solver, batch_size=16, **settings)
    for start in range(0, 300, 60):
        part = slice(start, start + 60)
        for model in (a, b):
            model.partial_fit(x[part], y[part], classes=np.arange(10))
        assert_same(a, b)
    for model in (a, b):
        model.fit(x, y).partial_fit(x[:50], y[:50], np.linspace(0, 1, 50))
    assert_same(a, b)


def test_partial_fit_of_values(few):
    a, b = pair("MLPRegressor", solver="sgd", nesterovs_momentum=False)
    for _ in range(4):
        a.partial_fit(*few)
        b.partial_fit(*few)
    assert_same(a, b)


def test_one_class_and_labels_of_text(few):
    x, y = few
    a, b = pair("MLPClassifier")
    assert (a.fit(x, y * 0).predict(x) == b.fit(x, y * 0).predict(x)).all()
    names = np.array(["even", "odd", "Null"], dtype=object)[np.where(y == 0, 2, y % 2)]
    assert_same(a.fit(x, names), b.fit(x, names))
    assert b.predict(x).dtype == a.predict(x).dtype
    assert (a.classes_ == b.classes_).all()


# --- parameters and attributes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_parameters(name):
    """Same names, order, kinds and defaults; what is new comes last, by keyword only."""
    want = inspect.signature(getattr(theirs, name)).parameters
    have = inspect.signature(getattr(ours, name)).parameters
    assert list(have)[: len(want)] == list(want)
    for key, parameter in want.items():
        assert (have[key].default, have[key].kind) == (parameter.default, parameter.kind), key
    extra = [have[key] for key in list(have)[len(want) :]]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in extra)


@pytest.mark.parametrize("name", NAMES)
def test_limits_of_parameters(name):
    want, have = (getattr(module, name)._parameter_constraints for module in (theirs, ours))
    assert set(have) == set(getattr(ours, name)().get_params())
    for key in set(want) - {"activation", "solver"}:
        assert [sorted(str(limit)) for limit in have[key]] == [sorted(str(limit)) for limit in want[key]], key


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("name", NAMES)
def test_attributes(name, solver, few):
    a, b = pair(name, solver=solver, early_stopping=solver == "adam")
    a.fit(*few), b.fit(*few)
    for key, value in vars(a).items():
        if key.endswith("_") and not key.startswith("_"):
            have = getattr(b, key)
            assert type(have) is type(value) or np.isscalar(value), key
            many = isinstance(value, list)
            assert [np.shape(v) for v in (have if many else [have])] == [
                np.shape(v) for v in (value if many else [value])
            ], key


@pytest.mark.parametrize("name", NAMES)
def test_sparse_input(name, few):
    sparse = pytest.importorskip("scipy.sparse")
    a, b = pair(name, early_stopping=name == "MLPClassifier", batch_size=32)
    a.fit(*few)
    for form in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array):
        x = form(few[0])
        assert_same(a, b.fit(x, few[1]))
        np.testing.assert_allclose(b.predict(x), a.predict(few[0]), atol=1e-8)


def test_sparse_input_is_never_dense(monkeypatch):
    """More features than `fastbp.Network` takes."""
    sparse = pytest.importorskip("scipy.sparse")
    x = sparse.random(500, 20_000, density=1e-3, format="csr", random_state=0)
    y = np.asarray(x.sum(axis=1)).ravel() > 10
    for form in (sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix):
        monkeypatch.setattr(form, "toarray", lambda *_: pytest.fail("made dense"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ours.MLPClassifier(hidden_layer_sizes=4, max_iter=1, random_state=0).fit(x, y)
    assert model.coefs_[0].shape == (20_000, 4)
    assert model.predict(x).shape == (500,)
