"""Mistakes of a model: hand-made networks whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp import Dataset, Model, Network
from fastbp.errors import UsageError
from fastbp.runs.folder import RunFolder
from fastbp.runs.mistakes import Answers, answers_of


def answers(outputs: list[list[float]], y: list[int], n_classes: int) -> Answers:
    values, labels = np.array(outputs), np.array(y)
    predicted = values.argmax(axis=1) if values.shape[1] > 1 else (values[:, 0] > 0.5).astype(int)
    return Answers("test", np.zeros((len(y), 1)), labels, values, predicted, n_classes)


def test_the_surest_mistake_comes_first():
    three = answers([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.0, 0.05, 0.95], [0.5, 0.4, 0.1]], [1, 0, 2, 1], 3)
    assert three.mistakes(9).tolist() == [1, 0, 3]  # 0.7, 0.3 and 0.1; row 2 is right
    assert three.mistakes(1).tolist() == [1]
    assert three.confusion().tolist() == [[0, 1, 0], [2, 0, 0], [0, 0, 1]]


def test_one_output_for_two_classes():
    two = answers([[0.9], [0.6], [0.02], [0.4]], [0, 0, 1, 0], 2)
    assert two.mistakes(9).tolist() == [2, 0, 1]


def test_classes_of_a_tanh_output_part_at_zero():
    network = Network((1, 1), ("tanh",), "squared_error")
    model = Model(network, np.array([1.0, 0.0]), class_names=("low", "high"))
    data = Dataset.from_arrays([[-1.0], [1.0]], [0, 1], [[0.9], [-0.7], [0.3]], [0, 1, 0])
    found = answers_of(model, data)
    assert found.predicted.tolist() == [1, 0, 1]
    assert found.mistakes(5).tolist() == [0, 1, 2]


def test_the_test_samples_are_asked_where_there_are_some():
    network = Network((1, 2), ("softmax",), "cross_entropy")
    model = Model(network, np.array([-1.0, 1.0, 0.0, 0.0]), class_names=("low", "high"))
    data = Dataset.from_arrays([[-1.0], [1.0]], [0, 1], [[2.0], [-2.0], [-3.0]], [1, 1, 0])
    found = answers_of(model, data)
    assert (found.split, found.predicted.tolist(), found.mistakes(5).tolist()) == ("test", [1, 0, 0], [1])
    alone = answers_of(model, Dataset.from_arrays([[-1.0], [1.0]], [0, 1]))
    assert (alone.split, len(alone.mistakes(5))) == ("training", 0)


def test_other_data_is_refused():
    network = Network((1, 2), ("softmax",), "cross_entropy")
    model = Model(network, np.zeros(4), class_names=("0", "1"), data_sha256="0" * 64)
    with pytest.raises(UsageError, match="not the data that the model was trained on"):
        answers_of(model, Dataset.from_arrays([[-1.0], [1.0]], [0, 1]))


def test_the_data_of_a_run(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("width,kind\n1.5,a\n2.5,b\n1.4,a\n2.6,b\n", encoding="utf-8")
    (tmp_path / "config.toml").write_text(
        f"data = '{table.as_posix()}'\nlabel = 'kind'\ntest_fraction = 0.5\nseed = 3\n"
    )
    data = RunFolder(tmp_path).dataset()
    assert (data.class_names, len(data.x_test)) == (("a", "b"), 2)
