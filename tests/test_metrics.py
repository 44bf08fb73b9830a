"""Counting by hand is the oracle."""

import json

import numpy as np
import pytest

from fastbp.errors import UsageError
from fastbp.metrics import EpochRecord, accuracy, confusion_matrix


def test_accuracy_is_the_share_of_equal_numbers():
    assert accuracy([0, 1, 2, 3, 4], [0, 1, 2, 0, 0]) == 0.6
    assert accuracy(np.array([1], dtype=np.uint8), np.array([1], dtype=np.int32)) == 1.0
    assert type(accuracy([1], [2])) is float


def test_confusion_matrix_has_true_classes_in_rows():
    counts = confusion_matrix([1, 1, 1, 0, 2], [0, 0, 1, 0, 1], 4)
    assert counts.tolist() == [[1, 2, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert counts.dtype == np.int64


def test_confusion_matrix_of_bytes_does_not_overflow():
    """class 200 of 250 in uint8 would wrap around in the cell number"""
    labels = np.array([200, 249], dtype=np.uint8)
    counts = confusion_matrix(labels, labels, 250)
    assert counts.sum() == 2
    assert counts[200, 200] == counts[249, 249] == 1


@pytest.mark.parametrize("measure", [accuracy, lambda p, t: confusion_matrix(p, t, 3)])
@pytest.mark.parametrize(
    ("predicted", "labels", "words"),
    [
        ([1, 2], [1], "predicted has 2 class numbers and labels has 1"),
        ([], [], "at least 1 is needed"),
        ([[1]], [[1]], r"predicted must be a vector of class numbers, got shape \(1, 1\)"),
        ([1], [1.0], "labels must be a vector of class numbers, got shape .* float64"),
        (["a"], [1], "predicted must be a vector of class numbers"),
    ],
)
def test_what_cannot_be_compared_is_refused(measure, predicted, labels, words):
    with pytest.raises(UsageError, match=words):
        measure(predicted, labels)


@pytest.mark.parametrize(
    ("predicted", "labels", "words"),
    [([3], [0], "predicted holds the class 3; .* from 0 to 2"), ([0], [-1], "labels holds the class -1")],
)
def test_confusion_matrix_refuses_what_is_no_class(predicted, labels, words):
    with pytest.raises(UsageError, match=words):
        confusion_matrix(predicted, labels, 3)


def test_epoch_record_is_frozen_and_json_ready():
    record = EpochRecord(
        epoch=3,
        loss=0.25,
        train_accuracy=None,
        test_accuracy=0.5,
        learning_rate=1.0,
        seconds=0.01,
        samples_per_second=6e6,
    )
    assert json.loads(json.dumps(record.as_dict())) == {
        "epoch": 3,
        "loss": 0.25,
        "train_accuracy": None,
        "test_accuracy": 0.5,
        "learning_rate": 1.0,
        "seconds": 0.01,
        "samples_per_second": 6e6,
        "validation_loss": None,
        "validation_accuracy": None,
    }
    with pytest.raises(AttributeError):
        record.loss = 0.0
