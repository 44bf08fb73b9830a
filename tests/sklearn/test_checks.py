"""scikit-learn's own suite for estimators: nothing fails, and nothing is skipped that its MLP is not skipped for."""

from __future__ import annotations

import warnings

import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn import neural_network as theirs
from sklearn.utils.estimator_checks import check_estimator

from fastbp import sklearn as ours


def results(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return check_estimator(estimator, on_fail=None, on_skip=None)


def names(checks, status):
    return sorted(each["check_name"] for each in checks if each["status"] == status)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_check_estimator(name):
    have, want = (results(getattr(module, name)(max_iter=30)) for module in (ours, theirs))
    assert names(have, "failed") == []
    assert names(have, "xfail") == []
    assert set(names(have, "skipped")) <= set(names(want, "skipped"))
    assert len(names(have, "passed")) >= len(names(want, "passed")) > 50
    new = {each["check_name"] for each in have} - {each["check_name"] for each in want}
    assert all("class_weight" in each for each in new)


@pytest.mark.parametrize("solver", ["lbfgs", "rmsprop"])
def test_check_estimator_with_other_solvers(solver):
    model = ours.MLPClassifier(solver=solver, max_iter=30, learning_rate_init=0.01, hidden_layer_sizes=10)
    unlearnt = {"check_classifiers_train", "check_class_weight_classifiers"}  # 30 iterations are not enough for these
    assert set(names(results(model), "failed")) <= unlearnt
