"""What scikit-learn's MLP does not have. Gradients come from scikit-learn: its weights before and after a step."""

from __future__ import annotations

import copy

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn import neural_network as theirs
from sklearn.datasets import make_multilabel_classification
from sklearn.model_selection import train_test_split

from fastbp.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (12,), "max_iter": 3, "random_state": 0}


def parameters(model):
    return [*model.coefs_, *model.intercepts_]


def distance(a, b):
    return max(np.abs(p - q).max() for p, q in zip(parameters(a), parameters(b), strict=True))


class Oracle:
    """scikit-learn's MLP as a source of gradients: one step of all samples at rate 1 without momentum."""

    def __init__(self, x, y, alpha=0.0):
        self.x, self.y = x, y
        rule = {"solver": "sgd", "momentum": 0, "learning_rate_init": 1.0, "batch_size": len(x), "alpha": alpha}
        self.model = theirs.MLPClassifier(**(SMALL | rule | {"max_iter": 1})).fit(x, y)
        start = MLPClassifier(**(SMALL | {"max_iter": 1, "learning_rate_init": 1e-300})).fit(x, y)
        self.values = parameters(start)

    def gradient(self, y=None):
        n = len(self.model.coefs_)
        self.model.coefs_ = [p.copy() for p in self.values[:n]]
        self.model.intercepts_ = [p.copy() for p in self.values[n:]]
        self.model.partial_fit(self.x, self.y if y is None else y)
        return [before - after for before, after in zip(self.values, parameters(self.model), strict=True)]

    def distance(self, model):
        return max(np.abs(p - q).max() for p, q in zip(self.values, parameters(model), strict=True))


def test_rmsprop(few):
    oracle = Oracle(*few, alpha=0.3)
    squares = [0.0] * 4
    for _ in range(3):
        g = oracle.gradient()
        squares = [0.8 * u + 0.2 * each**2 for u, each in zip(squares, g, strict=True)]
        oracle.values = [
            p - 0.01 * each / (np.sqrt(u) + 1e-3) for p, each, u in zip(oracle.values, g, squares, strict=True)
        ]
    settings = {"solver": "rmsprop", "rho": 0.8, "epsilon": 1e-3, "learning_rate_init": 0.01, "alpha": 0.3}
    model = MLPClassifier(**SMALL, **settings, batch_size=300).fit(*few)
    assert oracle.distance(model) < 1e-9


def test_adamw(few):
    oracle = Oracle(*few)
    m, u = [0.0] * 4, [0.0] * 4
    for t in (1, 2, 3):
        g = oracle.gradient()
        m = [0.9 * a + 0.1 * b for a, b in zip(m, g, strict=True)]
        u = [0.999 * a + 0.001 * b**2 for a, b in zip(u, g, strict=True)]
        rate = 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for i, p in enumerate(oracle.values):
            decay = 0.01 * 0.4 * p if p.ndim == 2 else 0.0
            oracle.values[i] = p - rate * m[i] / (np.sqrt(u[i]) + 1e-8) - decay
    model = MLPClassifier(**SMALL, solver="adamw", alpha=0.4, learning_rate_init=0.01, batch_size=300).fit(*few)
    assert oracle.distance(model) < 1e-9


def test_clip_norm(few):
    oracle = Oracle(*few, alpha=50.0)
    for _ in range(3):
        g = oracle.gradient()
        norm = np.sqrt(sum((each**2).sum() for each in g))
        assert norm > 0.2
        oracle.values = [p - 0.5 * each * (0.2 / norm) for p, each in zip(oracle.values, g, strict=True)]
    settings = {"solver": "sgd", "momentum": 0, "alpha": 50.0, "learning_rate_init": 0.5, "batch_size": 300}
    assert oracle.distance(MLPClassifier(**SMALL, **settings, clip_norm=0.2).fit(*few)) < 1e-9
    loose = MLPClassifier(**SMALL, **settings, clip_norm=1e6).fit(*few)
    assert distance(loose, MLPClassifier(**SMALL, **settings).fit(*few)) < 1e-12


def test_label_smoothing(few):
    """Cross-entropy is linear in its targets: the gradient is a mixture of those of all labels."""
    x, y = few
    oracle = Oracle(x, y)
    for _ in range(3):
        # each class as the label of all samples needs no retraining: partial_fit keeps the classes
        each = [oracle.gradient(np.full(len(y), label)) for label in range(10)]
        true = oracle.gradient()
        oracle.values = [
            p - 0.5 * (0.8 * true[i] + 0.02 * sum(other[i] for other in each)) for i, p in enumerate(oracle.values)
        ]
    settings = {"solver": "sgd", "momentum": 0, "alpha": 0.0, "learning_rate_init": 0.5, "batch_size": 300}
    assert oracle.distance(MLPClassifier(**SMALL, **settings, label_smoothing=0.2).fit(x, y)) < 1e-9


def test_label_smoothing_of_two_classes(few):
    """Without inputs that tell the classes apart, the network learns the smoothed share of the label."""
    x, y = np.zeros((40, 1)), np.ones(40)
    y[0] = 0
    model = MLPClassifier((), solver="lbfgs", alpha=0.0, label_smoothing=0.1, max_iter=200, tol=1e-9).fit(x, y)
    share = 39 / 40 * 0.9 + 0.05
    assert model.predict_proba(x)[0, 1] == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize("weights", ["balanced", {0: 5.0, 3: 0.1}])
@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_class_weight_is_sample_weight(weights, solver, few, rng):
    x, y = few
    if weights == "balanced":
        each = len(y) / (10 * np.bincount(y))[y]
    else:
        each = np.select([y == 0, y == 3], [5.0, 0.1], 1.0)
    own = rng.uniform(0.5, 2, len(y))
    a = MLPClassifier(**SMALL, solver=solver, class_weight=weights).fit(x, y)
    assert distance(a, theirs.MLPClassifier(**SMALL, solver=solver).fit(x, y, each)) < 1e-9
    a.fit(x, y, own)
    assert distance(a, theirs.MLPClassifier(**SMALL, solver=solver).fit(x, y, own * each)) < 1e-9


def test_activation_per_layer(few):
    settings = {"hidden_layer_sizes": (8, 6), "max_iter": 3, "random_state": 0}
    one = MLPClassifier(**settings, activation="tanh").fit(*few)
    assert distance(one, MLPClassifier(**settings, activation=["tanh", "tanh"]).fit(*few)) == 0
    mixed = MLPClassifier(**settings, activation=("logistic", "leaky_relu")).fit(*few)
    z = few[0] @ mixed.coefs_[0] + mixed.intercepts_[0]
    z = 1 / (1 + np.exp(-z)) @ mixed.coefs_[1] + mixed.intercepts_[1]
    z = np.where(z > 0, z, 0.01 * z) @ mixed.coefs_[2] + mixed.intercepts_[2]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mixed.predict_proba(few[0]), p)
    # the engine computes the same function: its loss of a whole batch before the first step is that of the start
    rule = {"activation": ("logistic", "leaky_relu"), "batch_size": 300, "alpha": 0.0, "learning_rate_init": 1e-300}
    start = MLPClassifier(**(settings | {"max_iter": 1}), **rule).fit(*few)
    true = start.predict_proba(few[0])[np.arange(300), few[1]]
    assert start.loss_ == pytest.approx(-np.log(true).mean())


def test_leaky_relu_above_zero(few):
    """Where no unit is below 0, it is the identity."""
    x, y = few[0] + 1, few[1]
    settings = {"solver": "sgd", "momentum": 0, "learning_rate_init": 1e-3, "max_iter": 1, "random_state": 0}
    a, b = (MLPClassifier((4,), name, **settings).fit(x, y) for name in ("leaky_relu", "identity"))
    coefs, intercepts = [np.abs(W) for W in a.coefs_], [np.abs(shift) for shift in a.intercepts_]
    for model in (a, b):
        model.coefs_, model.intercepts_ = coefs, intercepts
        model.partial_fit(x, y)
    assert distance(a, b) < 1e-15


def test_dropout(few):
    a, b, plain = (MLPClassifier(**SMALL, dropout=share) for share in (0.5, [0.5], 0.0))
    for model in (a, b, plain):
        model.fit(*few)
    assert distance(a, b) == 0
    assert distance(a, plain) > 1e-3
    assert a.loss_ > plain.loss_
    first = a.partial_fit(*few).loss_curve_[-1]
    assert a.partial_fit(*few).loss_curve_[-1] != first


def test_dropout_draws_after_everything_else(few):
    """The start and the validation set stay those of a fit without dropout."""
    a, b = (MLPClassifier(**(SMALL | {"max_iter": 1}), dropout=d, learning_rate_init=1e-300) for d in (0.0, 0.3))
    assert distance(a.fit(*few), b.fit(*few)) == 0


def test_dtype(few):
    x = few[0].astype(np.float32)
    wide = MLPClassifier(**SMALL, dtype="float64").fit(x, few[1])
    assert {p.dtype for p in parameters(wide)} == {np.dtype("float64")}
    assert distance(wide, MLPClassifier(**SMALL).fit(x.astype(np.float64), few[1])) == 0
    for solver in ("adam", "lbfgs"):
        narrow = MLPClassifier(**SMALL, solver=solver, dtype="float32").fit(*few)
        assert {p.dtype for p in parameters(narrow)} == {np.dtype("float32")}


def test_partial_fit_of_sparse_input(few):
    """The state of the optimiser goes from engine to engine, and does not depend on how samples are kept."""
    sparse = pytest.importorskip("scipy.sparse")
    x = sparse.csr_matrix(few[0])
    for solver in ("adam", "sgd", "rmsprop", "adamw"):
        a, b = (MLPClassifier(**SMALL, solver=solver) for _ in range(2))
        for step in range(4):
            a.partial_fit(*few, classes=range(10))
            b.partial_fit(few[0] if step % 2 else x, few[1], classes=range(10))
        assert distance(a, b) < 1e-12


def test_threads_change_no_bit(few):
    one, two = (MLPClassifier(**SMALL, threads=threads).fit(*few) for threads in (1, 2))
    assert distance(one, two) == 0


# --- validation data of one's own -------------------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
def test_own_validation_data(early_stopping, digits):
    x, y = digits
    model = MLPClassifier((12,), max_iter=25, random_state=0, early_stopping=early_stopping, learning_rate_init=0.01)
    model.fit(x[:500], y[:500], X_val=x[500:800], y_val=y[500:800])
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == model.n_iter_
    assert model.best_validation_score_ == max(model.validation_scores_)
    p = model.predict_proba(x[500:800])[np.arange(300), y[500:800]]
    at = int(np.argmax(model.validation_scores_)) if early_stopping else -1
    assert model.validation_loss_curve_[at] == pytest.approx(-np.log(p).mean())
    assert model.validation_scores_[at] == model.score(x[500:800], y[500:800])
    if not early_stopping:  # watching changes nothing
        plain = MLPClassifier((12,), max_iter=25, random_state=0, learning_rate_init=0.01).fit(x[:500], y[:500])
        assert distance(plain, model) == 0
        assert plain.validation_scores_ is None
        assert plain.validation_loss_curve_ is None


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_validation_loss_of_values(loss, few):
    x, y = few[0], np.column_stack([few[1], few[0][:, 2]])
    model = MLPRegressor(loss, (12,), max_iter=4, random_state=0).fit(x[:200], y[:200], X_val=x[200:], y_val=y[200:])
    a, y = model.predict(x[200:]), y[200:]
    if loss == "squared_error":
        want = ((a - y) ** 2 / 2).mean()
    else:
        want = (a - y + np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / a), 0)).sum(axis=1).mean()
    assert model.validation_loss_curve_[-1] == pytest.approx(want)
    assert model.validation_scores_[-1] == pytest.approx(model.score(x[200:], y))


def test_validation_loss_of_several_labels():
    x, y = make_multilabel_classification(n_samples=100, n_features=8, n_classes=3, random_state=0)
    model = MLPClassifier((6,), max_iter=3, random_state=0).fit(x, y, X_val=x, y_val=y)
    p = model.predict_proba(x)
    assert model.validation_loss_curve_[-1] == pytest.approx(-np.log(np.where(y, p, 1 - p)).sum(axis=1).mean())
    assert model.validation_scores_[-1] == model.score(x, y)


def test_early_stopping_with_partial_fit(digits):
    x, y = digits
    model = MLPClassifier((12,), random_state=0, early_stopping=True, n_iter_no_change=3, learning_rate_init=0.01)
    for _ in range(200):
        model.partial_fit(x[:300], y[:300], classes=range(10), X_val=x[300:500], y_val=y[300:500])
        if model.stopped_:
            break
    assert model.stopped_
    assert 3 < len(model.validation_scores_) < 200
    assert model.score(x[300:500], y[300:500]) == model.best_validation_score_ == max(model.validation_scores_)
    assert not copy.deepcopy(model).partial_fit(x[:9], y[:9], X_val=x[300:500], y_val=y[300:500]).stopped_


def test_validation_loss_of_the_part_that_is_set_aside(few):
    """scikit-learn's split, drawn after the start weights; the loss is taken from the formula."""
    x, y = few
    settings = {"hidden_layer_sizes": (12,), "random_state": 0, "early_stopping": True, "validation_fraction": 0.2}
    model = MLPClassifier(**settings, max_iter=25, learning_rate_init=0.01).fit(x, y)
    draws = np.random.RandomState(0)
    for n_in, n_out in ((64, 12), (12, 10)):
        draws.uniform(size=(n_in, n_out)), draws.uniform(size=n_out)
    _, held = train_test_split(np.arange(300), random_state=draws, test_size=0.2)  # it stratifies two classes alone
    best = int(np.argmax(model.validation_scores_))
    p = model.predict_proba(x[held])[np.arange(60), y[held]]
    assert model.validation_loss_curve_[best] == pytest.approx(-np.log(p).mean())
    assert model.validation_scores_[best] == model.score(x[held], y[held])
    assert len(model.validation_loss_curve_) == model.n_iter_


def test_early_stopping_with_partial_fit_of_values(few):
    x, y = few[0], few[1].astype(float)
    settings = {"hidden_layer_sizes": (12,), "random_state": 0, "early_stopping": True, "learning_rate_init": 0.01}
    model = MLPRegressor(**settings, n_iter_no_change=3)
    for _ in range(300):
        model.partial_fit(x[:200], y[:200], X_val=x[200:], y_val=y[200:])
        if model.stopped_:
            break
    assert model.stopped_
    at = int(np.argmax(model.validation_scores_))
    assert model.score(x[200:], y[200:]) == model.best_validation_score_ == model.validation_scores_[at]
    error = ((model.predict(x[200:]) - y[200:]) ** 2 / 2).mean()
    assert model.validation_loss_curve_[at] == pytest.approx(error)
    with pytest.raises(ValueError, match="give it X_val and y_val"):
        model.partial_fit(x, y)


@pytest.mark.parametrize("kind", ["U5", object])
def test_labels_of_text_with_early_stopping(kind, few):
    """They are numbered in the order of the alphabet: the same network as from those numbers, and as scikit-learn's."""
    x, y = few
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], dtype=kind)[y]
    numbers = np.searchsorted(np.unique(names), names)
    settings = {"hidden_layer_sizes": (12,), "random_state": 0, "early_stopping": True, "learning_rate_init": 0.01}
    a, b = (MLPClassifier(**settings, max_iter=20).fit(x, labels) for labels in (names, numbers))
    assert distance(a, b) == 0
    assert a.validation_scores_ == b.validation_scores_
    c = theirs.MLPClassifier(**settings, max_iter=20).fit(x, names)
    assert distance(a, c) < 1e-9
    assert (a.predict(x) == c.predict(x)).all()
    assert a.predict(x).dtype == c.predict(x).dtype
    own = [
        MLPClassifier(**settings, max_iter=20).fit(x[:200], labels[:200], X_val=x[200:], y_val=labels[200:])
        for labels in (names, numbers)
    ]
    assert distance(*own) == 0
    assert own[0].best_validation_score_ == own[0].score(x[200:], names[200:]) > 0.5
    steps = [MLPClassifier(**settings) for _ in range(2)]
    for model, labels in zip(steps, (names, numbers), strict=True):
        for _ in range(3):
            model.partial_fit(x[:200], labels[:200], classes=np.unique(labels), X_val=x[200:], y_val=labels[200:])
    assert distance(*steps) == 0
    assert steps[0].validation_scores_ == steps[1].validation_scores_
    with pytest.raises(ValueError, match="classes not in"):
        steps[0].partial_fit(x, names, X_val=x[:2], y_val=np.array(["ten", "one"]))
