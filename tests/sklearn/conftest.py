"""Data for the estimators: the digits that come with scikit-learn, all 1797, or a few of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

Arrays = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


@pytest.fixture(scope="session")
def digits() -> Arrays:
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    return x / 16, y


@pytest.fixture(scope="session")
def few(digits: Arrays) -> Arrays:
    return digits[0][:300], digits[1][:300]
