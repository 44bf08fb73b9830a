"""normalize scale from end to end: training on sparse input, predicting, files, ONNX, scikit-learn."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import fastbp
from fastbp import Dataset, load, train


def counts(dtype):
    """Mostly zeros, of very different sizes per feature; feature 3 is always 0 and feature 4 always 9."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    x = rng.poisson(np.eye(3)[y][:, rng.integers(0, 3, 40)] * 0.6) * rng.integers(1, 40, 40)
    x[:, 3], x[:, 4] = 0, 9
    return np.minimum(x, 255).astype(dtype), y


@pytest.fixture(params=["uint8", "float32", "float64"])
def data(request):
    x, y = counts(request.param)
    return Dataset.from_arrays(x[:300], y[:300], x[300:], y[300:])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_is_that_of_the_reference_on_scaled_samples(data, optimizer):
    """The scaling is worked out again here, and the reference engine is given the scaled samples."""
    settings = {"layers": "7", "epochs": 3, "dtype": "float64", "optimizer": optimizer, "learning_rate": 0.02}
    result = train(data, normalize="scale", **settings)
    assert result.engine == "fused sparse float64"
    x = data.x_train.astype(np.float64)
    deviation = np.sqrt(((x - x.mean(axis=0)) ** 2).mean(axis=0))
    deviation[[3, 4]] = 1
    scaled = Dataset.from_arrays(x / deviation, data.y_train, data.x_test / deviation, data.y_test)
    expected = train(scaled, normalize="none", engine="reference", **settings)
    far = np.linalg.norm(result.model.parameters - expected.model.parameters)
    assert far / np.linalg.norm(expected.model.parameters) < 1e-11
    np.testing.assert_allclose(result.model.outputs(data.x_test), expected.model.outputs(scaled.x_test), rtol=1e-9)
    assert result.test_loss == pytest.approx(expected.test_loss, rel=1e-10)


def test_the_other_ways_to_deviation_1_leave_no_zeros(data):
    result = train(data, layers="7", epochs=0, normalize="standard")
    assert result.engine == "fused dense float32"


def test_files_and_other_programs_scale_alike(data, tmp_path):
    model = train(data, layers="7", epochs=2, dtype="float64", normalize="scale").model
    x, answers = data.x_test, model.outputs(data.x_test)
    model.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.inputs == model.inputs
    assert again.outputs(x).tobytes() == answers.tobytes()
    assert again.config["normalize"] == "scale"
    pytest.importorskip("sklearn")
    np.testing.assert_allclose(fastbp.to_sklearn(model).predict_proba(x), answers, rtol=1e-9)
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    fastbp.to_onnx(model, tmp_path / "model.onnx", input_dtype=str(x.dtype))
    proto = onnx.load(tmp_path / "model.onnx")
    assert [node.op_type for node in proto.graph.node].count("Sub") == 0
    probabilities = ReferenceEvaluator(proto).run(["probabilities"], {"input": x})[0]
    np.testing.assert_allclose(probabilities, answers, rtol=1e-9)


def test_the_shell_knows_it(tmp_path):
    x, y = counts("float64")
    lines = ["label," + ",".join(f"f{k}" for k in range(40))]
    lines += [",".join(map(str, (f"c{label}", *row))) for row, label in zip(x, y, strict=True)]
    (tmp_path / "counts.csv").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "fastbp", "train", "--data", "counts.csv", "--label", "label", "--layers", "7"]
    options = ["--normalize", "scale", "--epochs", "1", "--quiet", "--json", "--save", "m.safetensors"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["engine"] == "fused sparse float32"
    assert not load(tmp_path / "m.safetensors").inputs.shift.any()
