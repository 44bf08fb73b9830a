"""Are these numbers pixels? Bytes, raw or divided by 255, are found in arrays of floats, and come back as bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit import kernel

__all__ = ["pixels_of"]

UNITS = (1.0, 255.0)
BLOCK = np.uint64(4096)  # numbers between two looks at whether to go on


def pixels_of(x: NDArray[Any]) -> tuple[NDArray[np.uint8], float] | None:
    """(uint8 array, scale) where x is whole numbers from 0 to 255, divided by 1 or by 255; None where it is not.

    Parameters
    ----------
    x : (n, n_features) float32 or float64, C-contiguous

    Examples
    --------
    >>> pixels_of(np.array([[0.0, 0.2, 1.0]]))
    (array([[  0,  51, 255]], dtype=uint8), 0.00392156862745098)
    """
    flat = x.reshape(-1).view()
    flat.flags.writeable = False  # or Numba would compile for both kinds
    pixels = np.empty(x.shape, dtype=np.uint8)
    for unit in UNITS:
        if find_pixels(flat, *np.array([unit, 0.5, 0.0, 255.0], dtype=x.dtype), pixels.reshape(-1)):
            return pixels, 1.0 / unit
    return None


@kernel
def find_pixels(x, unit, half, lowest, highest, pixels):
    """pixels[k] = x[k] * unit; True where each of them is such that pixels[k] / unit = x[k]

    x                              f4|f8 (n,)   in
    unit, half, lowest, highest    f4|f8        in    1 or 255; 0.5; 0; 255
    pixels                         u1 (n,)      out   a part of them, where the answer is False

    Numbers of one precision and no branch: MNIST takes 25 ms in float32, and 33 in float64.
    """
    n = np.uint64(x.size)
    for start in range(np.uint64(0), n, BLOCK):
        found = True
        for k in range(start, min(start + BLOCK, n)):
            nearest = min(max(lowest, np.floor(x[k] * unit + half)), highest)
            found &= nearest / unit == x[k]
            pixels[k] = np.int32(nearest)
        if not found:
            return False
    return True
