"""The published files themselves, where FASTBP_DATA names a folder that holds them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from fastbp.data import load_dataset
from fastbp.data.download import verify

pytestmark = pytest.mark.usefixtures("cache_folder")


@pytest.fixture(params=["mnist", "fashion"])
def name(request: pytest.FixtureRequest, real_data: Path) -> str:
    if not (real_data / request.param).is_dir():
        pytest.skip(f"there is no {request.param}/ in FASTBP_DATA ({real_data})")
    return str(request.param)


def test_pinned_checksums(name: str, real_data: Path) -> None:
    assert [record.status for record in verify(name, real_data)] == ["ok"] * 4


def test_arrays(name: str, real_data: Path) -> None:
    first = load_dataset(name, data_dir=real_data)
    second = load_dataset(name, data_dir=real_data)
    assert not second.x_train.flags.owndata
    for data in (first, second):
        assert (data.x_train.shape, data.x_test.shape) == ((60_000, 784), (10_000, 784))
        assert data.x_train.dtype == np.uint8
        assert int(np.bincount(data.y_test)[1]) == {"mnist": 1135, "fashion": 1000}[name]
        assert round(float((data.x_train == 0).mean()) * 100, 2) == {"mnist": 80.88, "fashion": 50.21}[name]
        with gzip.open(real_data / name / "t10k-images-idx3-ubyte.gz") as file:
            assert file.read()[16:] == data.x_test.tobytes()
        with gzip.open(real_data / name / "train-labels-idx1-ubyte.gz") as file:
            assert file.read()[8:] == data.y_train.astype(np.uint8).tobytes()
    assert second.__dict__["sha256"] == first.sha256
