"""Pixels, scaled or not, reach the engine as bytes; everything else stays what it is."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("scipy")

from scipy.sparse import csr_array

from fastbp.sklearn import MLPClassifier, engines
from fastbp.sklearn.engines import bytes_of


@pytest.fixture
def pixels(monkeypatch):
    monkeypatch.setattr(engines, "LARGE", 1000)
    rng = np.random.default_rng(0)
    x = (rng.integers(0, 256, (60, 40)) * (rng.random((60, 40)) < 0.4)).astype(np.uint8)
    x[0, :2] = 0, 255
    return x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pixels_are_recognised(pixels, dtype):
    for scaled, scale in ((pixels.astype(dtype), 1.0), ((pixels / 255).astype(dtype), 1 / 255)):
        found, factor = bytes_of(scaled)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, pixels)
        assert factor == scale


def test_everything_else_stays(pixels):
    x = pixels / 255
    for change in (1e-9, -x[59, 39] - 0.25, 300.0, 1e-12):
        other = x.copy()
        other[59, 39] += change
        assert bytes_of(other)[0] is other
    assert bytes_of(csr_array(x))[1] == 1.0
    few = x[:5]
    assert bytes_of(few)[0] is few


@pytest.mark.filterwarnings("ignore:.*converge")
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_same_network_comes_out(pixels, solver, monkeypatch):
    y = pixels[:, :3].argmax(axis=1)
    settings = {"hidden_layer_sizes": (6,), "solver": solver, "max_iter": 12, "tol": 0.0, "random_state": 1}
    as_bytes = MLPClassifier(**settings).fit(pixels / 255, y)
    monkeypatch.setattr(engines, "LARGE", 10**9)
    as_floats = MLPClassifier(**settings).fit(pixels / 255, y)
    for one, other in zip(as_bytes.coefs_, as_floats.coefs_, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    np.testing.assert_allclose(as_bytes.loss_curve_, as_floats.loss_curve_, rtol=1e-12)
