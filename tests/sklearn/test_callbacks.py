"""scikit-learn's callbacks: one task per epoch or iteration, a copy that predicts, and a way to stop."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn.callback import ScoringMonitor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (12,), "max_iter": 4, "random_state": 0}


class Recorder:
    """Notes what the hooks are given; asks to stop in task `stop_at`."""

    def __init__(self, stop_at=None):
        self.events, self.stop_at = [], stop_at

    def setup(self, estimator, context):
        self.events.append(("setup", context.task_name))

    def teardown(self, estimator, context):
        self.events.append(("teardown", context.task_name))

    def on_fit_task_begin(self, estimator, context, *, X=None, fitted_estimator=None):
        self.events.append(("begin", context.task_name, context.task_id, fitted_estimator, X))

    def on_fit_task_end(self, estimator, context, *, y=None, metadata=None, fitted_estimator=None):
        self.events.append(("end", context.task_name, context.task_id, fitted_estimator, metadata))
        return context.task_id == self.stop_at

    def tasks(self, kind, name):
        return [each for each in self.events if each[:2] == (kind, name)]


@pytest.mark.parametrize(("solver", "name"), [("adam", "epoch"), ("lbfgs", "lbfgs-iter")])
def test_a_task_per_epoch(solver, name, few):
    recorder = Recorder()
    model = MLPClassifier(**SMALL, solver=solver).set_callbacks(recorder)
    weight = np.linspace(1, 2, 300)
    model.fit(*few, sample_weight=weight)
    ends = [each for each in recorder.tasks("end", name) if each[3] is not None]
    assert [each[2] for each in ends] == [0, 1, 2, 3]
    assert len(recorder.tasks("begin", name)) == len(recorder.tasks("end", name))
    assert recorder.events[0] == ("setup", "fit")
    assert recorder.events[1][:2] == ("begin", "fit")
    assert recorder.events[-1] == ("teardown", "fit")
    assert (recorder.tasks("begin", name)[0][4] == few[0]).all()
    assert all((each[4]["sample_weight"] == weight).all() for each in ends)
    # the copy of the last epoch is the model, that of an earlier one is not
    last, early = ends[-1][3], ends[0][3]
    assert all((p == q).all() for p, q in zip(last.coefs_, model.coefs_, strict=True))
    assert not (early.coefs_[0] == last.coefs_[0]).all()
    assert early.predict(few[0]).shape == (300,)
    watched = MLPClassifier(**SMALL, solver=solver).fit(*few, sample_weight=weight)
    assert (watched.coefs_[0] == model.coefs_[0]).all()


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_a_callback_stops(solver, few):
    recorder = Recorder(stop_at=1)
    model = MLPRegressor(**SMALL, solver=solver).set_callbacks(recorder).fit(*few)
    assert model.n_iter_ == 2
    assert recorder.events[-1] == ("teardown", "fit")


def test_partial_fit(few):
    recorder = Recorder()
    model = MLPClassifier(**SMALL).set_callbacks(recorder)
    for _ in range(2):
        model.partial_fit(*few, classes=range(10))
    assert len(recorder.tasks("end", "epoch")) == len(recorder.tasks("end", "partial_fit")) == 2


def test_scoring_monitor(few):
    monitor = ScoringMonitor(scoring="accuracy")
    model = MLPClassifier(**SMALL).set_callbacks(monitor).fit(*few)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 4
    assert scores[-1] == model.score(*few)


def test_in_a_pipeline(few):
    monitor = ScoringMonitor(scoring="accuracy")
    make_pipeline(StandardScaler(), MLPClassifier(**SMALL).set_callbacks(monitor)).fit(*few)
    assert sum(row["task_name"] == "epoch" for row in monitor.get_logs().data) == 4


def test_a_callback_that_fails_is_torn_down(few):
    recorder = Recorder()
    recorder.on_fit_task_begin = lambda estimator, context: 1 / (context.task_id - 2)
    with pytest.raises(ZeroDivisionError):
        MLPClassifier(**SMALL).set_callbacks(recorder).fit(*few)
    assert recorder.events[-1] == ("teardown", "fit")
