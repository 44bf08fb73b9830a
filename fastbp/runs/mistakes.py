"""What the model of a run makes of its test samples: the confusion matrix, and the mistakes it is surest of.

A run folder, or a model and its data come in; answers and mistakes go out, for pictures and pages to show. The test
samples choose nothing here: the model is that of the run. Without test samples, the training samples are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset
from ..errors import UsageError
from ..metrics import confusion_matrix
from ..model import Model

__all__ = ["Answers", "answers_of"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Answers:
    """What a model answers to samples whose targets are known.

    Attributes
    ----------
    split : str
        ``test``, or ``training`` where the data has no test samples
    x : (n, n_features)
    y : (n,) class numbers, or (n, n_outputs) target values
    outputs : (n, n_outputs)
        activations of the output layer; target values in their original units
    predicted : (n,) class numbers, or (n, n_outputs) target values
    n_classes : int
        0 for target values
    parting : float
        where the classes of a single output part: 0.5, with tanh 0
    """

    split: str
    x: Array
    y: Array
    outputs: Array
    predicted: Array
    n_classes: int
    parting: float = 0.5

    def confusion(self) -> NDArray[np.int64]:
        """How often class `row` was taken for class `column`, (n_classes, n_classes)."""
        return confusion_matrix(self.predicted, self.y, self.n_classes)

    def mistakes(self, count: int) -> NDArray[np.int64]:
        """The rows of at most `count` wrong answers, the surest first.

        How sure an answer is: the output of the class that was answered less that of the true one; of a network with
        one output for two classes, how far the output lies from where classes part.
        """
        wrong = np.flatnonzero(self.predicted != self.y)
        outputs = self.outputs[wrong].astype(np.float64)
        if outputs.shape[1] == 1:
            sureness = np.abs(outputs[:, 0] - self.parting)
        else:
            each = np.arange(len(wrong))
            sureness = outputs[each, self.predicted[wrong]] - outputs[each, self.y[wrong]]
        return np.asarray(wrong[np.argsort(-sureness, kind="stable")][:count], dtype=np.int64)


def answers_of(model: Model, dataset: Dataset) -> Answers:
    """The answers to a dataset's test samples, or to its training samples where it has no others.

    Raises
    ------
    UsageError
        the model was trained on other data
    """
    if model.data_sha256 and dataset.sha256 != model.data_sha256:
        raise UsageError(f"{dataset.name} is not the data that the model was trained on; give that one")
    tests = len(dataset.x_test) > 0
    x, y = (dataset.x_test, dataset.y_test) if tests else (dataset.x_train, dataset.y_train)
    return Answers(
        split="test" if tests else "training",
        x=x,
        y=y,
        outputs=model.outputs(x),
        predicted=model.predict(x),
        n_classes=len(model.class_names),
        parting=0.0 if model.network.activations[-1] == "tanh" else 0.5,
    )
