"""Pixels among floats are found where every number is one, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.kernels.pixels import find_pixels, pixels_of

DTYPES = ("float32", "float64")


def pixels() -> np.ndarray:
    """More than two blocks, every byte, and a length that is no multiple of a block."""
    return np.random.default_rng(0).integers(0, 256, (97, 101)).astype(np.uint8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_raw_and_divided(dtype):
    x = pixels()
    for floats, scale in (
        (x.astype(dtype), 1.0),
        ((x / 255).astype(dtype), 1 / 255),
        (x.astype(dtype) / np.array(255, dtype), 1 / 255),  # rounded once, in this precision
        ((x > 99).astype(dtype), 1.0),
    ):
        before = floats.copy()
        found, factor = pixels_of(floats)
        np.testing.assert_array_equal(found, x > 99 if scale == 1.0 and floats.max() == 1 else x)
        assert (found.dtype, factor) == (np.uint8, scale)
        assert (floats == before).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("unit", [1, 255])
@pytest.mark.parametrize("place", [0, 4095, 4096, 9796])
def test_one_number_that_is_none(dtype, unit, place):
    x = (pixels() / unit).astype(dtype)
    assert pixels_of(x) is not None
    flat = x.reshape(-1)
    limits = np.finfo(dtype)
    between = np.nextafter(np.array(51 / unit, dtype), np.array(1e9, dtype))
    for number in (np.nan, np.inf, -np.inf, -1 / unit, -1e-6, 256 / unit, limits.max, limits.tiny, between, 0.5 / unit):
        flat[place] = number
        assert pixels_of(x) is None, number
    flat[place] = -0.0
    assert pixels_of(x) is not None


def test_read_only_arrays_compile_nothing_new():
    x = pixels() / 255
    pixels_of(x)
    before = len(getattr(find_pixels, "signatures", ()))
    x.flags.writeable = False
    assert pixels_of(x) is not None
    assert len(getattr(find_pixels, "signatures", ())) == before
