"""As people use estimators: in pipelines and searches, pickled, with arrays of any layout, and wrongly."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

import joblib
import sklearn
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp.kernels.warming import prepared
from fastbp.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (12,), "max_iter": 3, "random_state": 0}


def parameters(model):
    return [*model.coefs_, *model.intercepts_]


def same(a, b):
    return all((p == q).all() for p, q in zip(parameters(a), parameters(b), strict=True))


# --- with the tools of scikit-learn -----------------------------------------------------------------------------------


def test_pipeline_and_cross_validation(few):
    model = make_pipeline(StandardScaler(), MLPClassifier(**(SMALL | {"max_iter": 20}), learning_rate_init=0.01))
    scores = cross_val_score(model, *few, cv=3)
    assert scores.shape == (3,)
    assert scores.mean() > 0.8


def test_grid_search_in_two_processes(few):
    grid = {"alpha": [1e-4, 1e4], "solver": ["adam", "sgd"]}
    model = MLPClassifier(**(SMALL | {"max_iter": 10}), learning_rate_init=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(model, grid, cv=2, n_jobs=2).fit(*few)
        alone = GridSearchCV(model, grid, cv=2).fit(*few)
    assert search.best_params_["alpha"] == 1e-4
    assert (search.cv_results_["mean_test_score"] == alone.cv_results_["mean_test_score"]).all()


def test_halving_search(few):
    search = HalvingRandomSearchCV(
        MLPClassifier(**SMALL), {"alpha": [1e-4, 1e-2, 1.0]}, resource="max_iter", min_resources=1, max_resources=4
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert search.fit(*few).best_estimator_.max_iter <= 4


def test_clone(few):
    model = MLPClassifier(**SMALL, dropout=[0.1], class_weight={1: 2.0}, activation=["tanh"])
    twin = clone(model.fit(*few))
    assert twin.get_params() == model.get_params()
    assert not hasattr(twin, "coefs_")
    assert same(twin.fit(*few), model)


def test_pickle(few):
    model = MLPClassifier(**SMALL).fit(*few)
    data = pickle.dumps(model)
    twin = pickle.loads(data)
    assert same(twin, model)
    assert (twin.predict(few[0]) == model.predict(few[0])).all()
    assert b"Engine" not in data
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    assert same(joblib.load(file), model)
    # the optimiser goes on where it was
    assert same(twin.partial_fit(*few), model.partial_fit(*few))


@pytest.mark.parametrize(("mode", "compress"), [(None, 0), (None, 3), ("r", 0)])
def test_joblib_files(mode, compress, few, tmp_path):
    """Also mapped into memory, where weights are read-only: it predicts, and learns on."""
    model = MLPClassifier(**SMALL, activation=["tanh"], warm_start=True).fit(*few)
    joblib.dump(model, tmp_path / "model.joblib", compress=compress)
    for go_on in ("partial_fit", "fit"):
        twin = joblib.load(tmp_path / "model.joblib", mmap_mode=mode)
        assert isinstance(twin.coefs_[0], np.memmap) == (mode is not None)
        assert (twin.predict_proba(few[0]) == model.predict_proba(few[0])).all()
        assert same(getattr(twin, go_on)(*few), getattr(copy.deepcopy(model), go_on)(*few))


def test_halving_search_in_two_processes(few):
    """Settings that scikit-learn's MLP does not have are searched like the others."""
    space = {"activation": [["tanh"], ["leaky_relu"], "relu"], "dropout": [0.0, 0.2], "solver": ["adamw", "rmsprop"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        searches = [
            HalvingRandomSearchCV(
                MLPClassifier(**SMALL, learning_rate_init=0.01), space, n_candidates=6, resource="max_iter",
                min_resources=2, max_resources=18, random_state=0, n_jobs=n_jobs,
            ).fit(*few)
            for n_jobs in (1, 2)
        ]  # fmt: skip
    assert searches[0].best_params_ == searches[1].best_params_
    assert searches[0].best_score_ == searches[1].best_score_ > 0.5
    assert searches[0].n_iterations_ == 2


def test_the_package_does_not_import_sklearn():
    code = "import sys, fastbp, fastbp.sklearn; sys.exit('sklearn' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_without_scikit_learn():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from fastbp import FastbpError, sklearn\n"
        "try: sklearn.MLPClassifier\n"
        "except FastbpError as error: sys.exit(0 if 'fastbp[sklearn]' in str(error) else 2)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# --- arrays of any layout ---------------------------------------------------------------------------------------------


def test_layouts_and_dtypes(few, tmp_path):
    """One of two forms reaches the kernels, so that nothing is compiled for a third."""
    x, y = np.round(few[0] * 16), few[1]
    want = MLPClassifier(**SMALL).fit(x, y)
    MLPClassifier(**SMALL).fit(x.astype(np.float32), y)
    ready = len(prepared)
    stored = np.memmap(tmp_path / "x", dtype="f8", mode="w+", shape=x.shape)
    stored[:] = x
    stored.flush()
    wide = np.zeros((600, 130))
    wide[::2, 1:129:2] = x
    raw = np.zeros(x.size * 8 + 1, np.uint8)
    unaligned = raw[1:].view("f8").reshape(x.shape)
    unaligned[...] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    forms = [np.asfortranarray(x), wide[::2, 1:129:2], np.memmap(tmp_path / "x", dtype="f8", mode="r", shape=x.shape)]
    forms += [unaligned, frozen, x.tolist(), x.astype(">f8")]
    forms += [x.astype(kind) for kind in ("u1", "i2", "i8", "f2", "O")]
    for form in forms:
        assert same(want, MLPClassifier(**SMALL).fit(form, y))
    narrow = [x.astype("f4", order="F"), x.astype("f4")[::1]]
    assert same(*(MLPClassifier(**SMALL).fit(form, y) for form in narrow))
    assert len(prepared) == ready


@pytest.mark.parametrize("name", ["intp", "int32"])
def test_sparse_indices_in_any_order(name, few):
    sparse = pytest.importorskip("scipy.sparse")
    x = sparse.csr_matrix(few[0])
    want = MLPClassifier(**SMALL).fit(x, few[1])
    row = np.repeat(np.arange(300), np.diff(x.indptr))
    back = np.lexsort((-x.indices, row))
    messy = sparse.csr_matrix((x.data[back], x.indices[back].astype(name), x.indptr.astype(name)), shape=x.shape)
    have = MLPClassifier(**SMALL).fit(messy, few[1])
    assert max(np.abs(p - q).max() for p, q in zip(parameters(want), parameters(have), strict=True)) < 1e-12
    twice = sparse.csr_matrix(
        (np.repeat(x.data / 2, 2), np.repeat(x.indices, 2), x.indptr * 2), shape=x.shape
    )  # every value in two halves
    have = MLPClassifier(**SMALL).fit(twice, few[1])
    assert max(np.abs(p - q).max() for p, q in zip(parameters(want), parameters(have), strict=True)) < 1e-12
    assert twice.nnz == 2 * x.nnz


def test_inputs_stay_as_they_are(few):
    x, y, weight = few[0].copy(), few[1].copy(), np.ones(300)
    MLPClassifier(**SMALL, class_weight="balanced").fit(x, y, weight)
    assert (x == few[0]).all()
    assert (y == few[1]).all()
    assert (weight == 1).all()


# --- refusals ---------------------------------------------------------------------------------------------------------


def bad(x, value):
    x = x.copy()
    x[3, 3] = value
    return x


@pytest.mark.parametrize(
    ("settings", "arrays", "message"),
    [
        ({}, lambda x, y: (bad(x, np.nan), y), "NaN"),
        ({}, lambda x, y: (bad(x, np.inf), y), "infinity"),
        ({}, lambda x, y: (x[:9], y), "inconsistent"),
        ({}, lambda x, y: (x[0], y), "Expected 2D"),
        ({}, lambda x, y: (x, np.where(y == 3, np.nan, y)), "NaN"),
        ({}, lambda x, y: (x, y + 0.5), "Unknown label type|continuous"),
        ({}, lambda x, y: (x, y, -np.ones(3)), "sample_weight"),
        ({}, lambda x, y: (x, y, np.where(y > 0, 1.0, np.nan)), "NaN"),
        ({"batch_size": 1}, lambda x, y: (x, y, 1.0 * (y > 0)), "weights"),
        ({"solver": "lbfgs"}, lambda x, y: (x, y, 0.0 * y), "sum above 0|zero"),
        ({}, lambda x, y: (x, y, None, x), "X_val and y_val"),
        ({}, lambda x, y: (x, y, None, x[:, :9], y), "features"),
        ({}, lambda x, y: (x, y, None, x, y + 5), "classes not in"),
        ({}, lambda x, y: (x, y, None, bad(x, np.nan), y), "NaN"),
        ({}, lambda x, y: (x, y, None, x[:5], y), "inconsistent"),
        ({"solver": "lbfgs"}, lambda x, y: (x, y, None, x, y), "X_val"),
        ({"solver": "lbfgs", "dropout": 0.5}, lambda x, y: (x, y), "dropout"),
        ({"solver": "lbfgs", "clip_norm": 1.0}, lambda x, y: (x, y), "clip_norm"),
        ({"hidden_layer_sizes": (3, 0)}, lambda x, y: (x, y), "must be > 0"),
        ({"activation": ["tanh", "tanh"]}, lambda x, y: (x, y), "list of 1"),
        ({"activation": ["softmax"]}, lambda x, y: (x, y), "activation must be"),
        ({"activation": "sigmoid"}, lambda x, y: (x, y), "'activation'"),
        ({"dropout": [0.1, 0.2]}, lambda x, y: (x, y), "list of 1"),
        ({"dropout": [1.0]}, lambda x, y: (x, y), "dropout must be"),
        ({"dropout": 1.0}, lambda x, y: (x, y), "'dropout'"),
        ({"solver": "newton"}, lambda x, y: (x, y), "'solver'"),
        ({"threads": 0}, lambda x, y: (x, y), "'threads'"),
        ({"dtype": "float16"}, lambda x, y: (x, y), "'dtype'"),
        ({"clip_norm": 0.0}, lambda x, y: (x, y), "'clip_norm'"),
        ({"class_weight": "even"}, lambda x, y: (x, y), "'class_weight'"),
        ({"label_smoothing": 1}, lambda x, y: (x, y), "'label_smoothing'"),
        ({"early_stopping": True, "validation_fraction": 0.001}, lambda x, y: (x, y), "validation set is too small"),
        ({"early_stopping": True}, lambda x, y: (x[:12], np.arange(12) == 3), "least populated"),
        ({"solver": "sgd", "learning_rate_init": 1e200}, lambda x, y: (x * 1e200, y), "non-finite"),
    ],
)
def test_refusals(settings, arrays, message, few):
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
        MLPClassifier(**(SMALL | settings)).fit(*arrays(*few))


def test_refusals_of_partial_fit(few):
    x, y = few
    with pytest.raises(AttributeError, match="partial_fit"):
        MLPClassifier(solver="lbfgs").partial_fit(x, y)
    with pytest.raises(ValueError, match="early_stopping"):
        MLPClassifier(early_stopping=True).partial_fit(x, y, classes=range(10))
    with pytest.raises(ValueError, match="classes must be passed"):
        MLPClassifier().partial_fit(x, y)
    with pytest.raises(ValueError, match="balanced"):
        MLPClassifier(class_weight="balanced").partial_fit(x, y, classes=range(10))
    model = MLPClassifier(**SMALL).partial_fit(x, y, classes=range(10))
    with pytest.raises(ValueError, match="classes not in"):
        model.partial_fit(x, y + 1)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(x[:, 1:], y)
    with pytest.raises(ValueError, match="features"):
        model.predict(x[:, 1:])
    with pytest.raises(ValueError, match="multilabel"):
        model.partial_fit(x, np.eye(10, dtype=int)[y])
    values = MLPRegressor(**SMALL).partial_fit(x, y)
    with pytest.raises(ValueError, match="outputs"):
        values.partial_fit(x, np.column_stack([y, y]))


def test_refusals_of_values(few):
    x, y = few
    with pytest.raises(ValueError, match="poisson"):
        MLPRegressor("poisson").fit(x, y - 1.0)
    with pytest.raises(ValueError, match="y_val has 2 outputs"):
        MLPRegressor(**SMALL).fit(x, y, X_val=x, y_val=np.column_stack([y, y]))
    with pytest.raises(ValueError, match="NaN"):
        MLPRegressor(**SMALL).fit(x, y, X_val=x, y_val=np.full(300, np.nan))
    with pytest.raises(sklearn.exceptions.NotFittedError):
        MLPRegressor().predict(x)


def test_warm_start_needs_the_same_classes(few):
    model = MLPClassifier(**SMALL, warm_start=True).fit(*few)
    with pytest.raises(ValueError, match="same classes"):
        model.fit(few[0], few[1] % 9)


def test_interrupted(few, monkeypatch):
    """Ctrl-C ends training; what was learnt stays."""
    model = MLPClassifier(**(SMALL | {"max_iter": 50}))
    seen = []

    def interrupt(*_):
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return 0.5

    monkeypatch.setattr(model, "_score_outputs", interrupt)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(*few, X_val=few[0], y_val=few[1])
    assert model.n_iter_ == 4
    assert len(model.coefs_) == 2


def test_verbose(few, capsys):
    model = MLPClassifier(**SMALL, verbose=True, early_stopping=True).fit(*few)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Iteration 1, loss = {model.loss_curve_[0]:.8f}"
    assert lines[1] == f"Validation score: {model.validation_scores_[0]:f}"
    MLPClassifier(**SMALL, verbose=True, solver="lbfgs").fit(*few)
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"Iteration {i}" for i in (1, 2, 3)
    ]


def test_warnings(few):
    with pytest.warns(sklearn.exceptions.ConvergenceWarning, match="max_iter"):
        MLPClassifier(**SMALL).fit(*few)
    with pytest.warns(sklearn.exceptions.ConvergenceWarning, match="lbfgs"):
        MLPClassifier(**SMALL, solver="lbfgs").fit(*few)
    with pytest.warns(UserWarning, match="batch_size=1000"):
        MLPClassifier(**SMALL, batch_size=1000).fit(*few)
