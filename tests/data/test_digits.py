"""The built-in digits: reproducible, laid out as MNIST is, readable."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from fastbp.data import digits
from fastbp.data.digits import VERSION, make_digits
from fastbp.errors import UsageError

N_TRAIN, N_TEST = 6000, 2000
REAL_DATA = os.environ.get("FASTBP_DATA")  # read here: tests of this folder run without it


@pytest.fixture(scope="module")
def sample():
    return make_digits(N_TRAIN, N_TEST, seed=0)


def nearest_mean(x_train, y_train, x):
    """The class whose mean image is nearest: the simplest reader of digits."""
    means = np.array([x_train[y_train == digit].mean(axis=0).ravel() for digit in range(10)])
    x = x.reshape(len(x), -1).astype(float)
    return np.argmin((means**2).sum(axis=1) - 2 * x @ means.T, axis=1)


def test_shapes_types_and_labels(sample):
    x_train, y_train, x_test, y_test = sample
    assert x_train.shape == (N_TRAIN, 28, 28)
    assert x_test.shape == (N_TEST, 28, 28)
    assert y_train.shape == (N_TRAIN,)
    assert y_test.shape == (N_TEST,)
    for array in sample:
        assert array.dtype == np.uint8
        assert array.flags.c_contiguous
    assert set(y_train) == set(y_test) == set(range(10))


def test_the_images_of_this_version_never_change():
    """Caches on disk are named by VERSION: images that change in silence would leave old ones in use."""
    digest = hashlib.sha256(b"".join(array.tobytes() for array in make_digits(300, 100, seed=0))).hexdigest()
    assert (VERSION, digest[:16]) == ("1", "6650aae747737ac0")


def test_the_same_seed_gives_the_same_bytes(sample):
    for first, second in zip(sample, make_digits(N_TRAIN, N_TEST, seed=0), strict=True):
        np.testing.assert_array_equal(first, second)


def test_an_image_depends_on_the_seed_and_its_number_only(sample):
    x_train, y_train, x_test, y_test = make_digits(77, 5000, seed=0)
    np.testing.assert_array_equal(x_train, sample[0][:77])
    np.testing.assert_array_equal(y_train, sample[1][:77])
    np.testing.assert_array_equal(x_test[:N_TEST], sample[2])
    np.testing.assert_array_equal(y_test[:N_TEST], sample[3])


def test_seeds_differ(sample):
    x_train, y_train, _, _ = make_digits(500, 0, seed=1)
    assert not (x_train == sample[0][:500]).all(axis=(1, 2)).any()
    assert (y_train != sample[1][:500]).mean() > 0.8


def test_train_and_test_share_no_image(sample):
    train, test = ({image.tobytes() for image in images} for images in (sample[0], sample[2]))
    assert len(train) == N_TRAIN
    assert len(test) == N_TEST
    assert not train & test


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(sample, threads, monkeypatch):
    monkeypatch.setattr(digits, "CHUNK", 700)
    monkeypatch.setattr(digits, "THREADS", threads)
    x_train, y_train, _, _ = make_digits(N_TRAIN, 0, seed=0)
    np.testing.assert_array_equal(x_train, sample[0])
    np.testing.assert_array_equal(y_train, sample[1])


def test_grey_levels_are_like_those_of_mnist(sample):
    """MNIST: 19.1 % of the pixels are not 0; their mean is 0.131 of full ink, the deviation 0.308."""
    x = sample[0] / 255
    assert 0.15 < (x > 0).mean() < 0.25
    assert abs(x.mean() - 0.131) < 0.01
    assert abs(x.std() - 0.308) < 0.015
    assert sample[0].max() == 255
    assert (x[x > 0] > 0.87).mean() > 0.35  # mostly full ink


def test_digits_fill_a_box_of_20_pixels(sample):
    heights, widths = (np.ptp([np.flatnonzero(i.any(axis=a))[[0, -1]] for i in sample[0]], axis=1) + 1 for a in (1, 0))
    longer = np.maximum(heights, widths)
    assert longer.max() == 20
    assert (longer >= 19).mean() > 0.99
    assert (widths < 15).mean() > 0.2  # proportions are kept


def test_the_centre_of_mass_is_in_the_middle(sample):
    x = sample[0].astype(float)
    mass = x.sum(axis=(1, 2))
    rows = (x.sum(axis=2) @ np.arange(28)) / mass
    columns = (x.sum(axis=1) @ np.arange(28)) / mass
    assert np.abs(rows - 14).max() < 0.51
    assert np.abs(columns - 14).max() < 0.51


def test_classes_are_about_equally_frequent(sample):
    share = np.bincount(sample[1], minlength=10) / N_TRAIN
    assert np.abs(share - 0.1).max() < 0.02
    assert share.std() > 0  # drawn at random, not dealt out


def test_they_can_be_read(sample):
    x_train, y_train, x_test, y_test = sample
    assert (nearest_mean(x_train, y_train, x_test) == y_test).mean() > 0.65


@pytest.mark.skipif(not REAL_DATA, reason="FASTBP_DATA is not set")
def test_they_teach_to_read_mnist(sample):
    """Training images of MNIST: the test images choose nothing, not even a threshold."""
    folder = Path(REAL_DATA) / "mnist"
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(16 + 3000 * 784), np.uint8, offset=16).reshape(3000, 28, 28)
    with gzip.open(folder / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + 3000), np.uint8, offset=8)
    assert (nearest_mean(*sample[:2], images) == labels).mean() > 0.6


def test_progress_counts_up_to_the_total(monkeypatch):
    monkeypatch.setattr(digits, "CHUNK", 100)
    seen = []
    make_digits(250, 120, progress=lambda *report: seen.append(report))
    assert [done for _, done, _ in seen] == [100, 200, 250, 350, 370]
    assert {(text, total) for text, _, total in seen} == {("drawing digits", 370)}


def test_an_interrupt_gets_through(monkeypatch):
    monkeypatch.setattr(digits, "CHUNK", 10)

    def interrupt(text, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_digits(1000, 0, progress=interrupt)


def test_no_images_at_all():
    x_train, y_train, x_test, y_test = make_digits(0, 0)
    assert x_train.shape == x_test.shape == (0, 28, 28)
    assert y_train.shape == y_test.shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_train": -1}, "n_train must be a whole number from 0 to 1000000, got -1"),
        ({"n_test": 1_000_001}, "n_test must be a whole number from 0 to 1000000, got 1000001"),
        ({"n_test": 2.5}, "n_test must be a whole number from 0 to 1000000, got 2.5"),
        ({"n_train": "many"}, "n_train must be a whole number from 0 to 1000000, got 'many'"),
        ({"n_train": True}, "n_train must be a whole number from 0 to 1000000, got True"),
        ({"seed": -1}, "seed must be a whole number from 0 to 9223372036854775807, got -1"),
        ({"seed": None}, "seed must be a whole number from 0 to 9223372036854775807, got None"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(UsageError) as caught:
        make_digits(**{"n_train": 1, "n_test": 1, **arguments})
    assert str(caught.value) == words


def test_every_digit_has_several_skeletons_inside_the_frame():
    skeletons = digits._skeletons()
    assert np.diff(skeletons.first_variant).min() >= 4
    assert skeletons.first_variant[-1] == len(skeletons.first_point) - 1
    assert np.abs(skeletons.points).max() <= 1.05
    assert (skeletons.kinds[skeletons.first_point[:-1]] == 0).all()  # every variant begins with a stroke
    starts = np.flatnonzero(skeletons.kinds == 0)
    assert np.diff(np.append(starts, len(skeletons.kinds))).min() >= 2  # every stroke goes somewhere
    assert (skeletons.share_up_to[skeletons.first_variant[1:] - 1] == 1.0).all()
