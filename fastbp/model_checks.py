"""What the parts of a model must be: finite parameters of the right number, an image's shape, a name without its path.

Values come in, checked copies go out; UsageError where they do not fit.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .model_file import MAX_FILE_BYTES, shown
from .network import Network

__all__ = ["MAX_DESCRIPTION_BYTES", "checked_image_shape", "checked_parameters", "last_part"]

FloatArray = NDArray[np.floating]

MAX_DESCRIPTION_BYTES = 10_000_000


def checked_parameters(network: Network, parameters: FloatArray) -> FloatArray:
    """A read-only copy of a finite float32 or float64 vector of the right length."""
    theta = np.array(parameters)
    if theta.dtype not in (np.float32, np.float64):
        raise UsageError(f"parameters must be float32 or float64, got {theta.dtype}")
    if theta.shape != (network.n_parameters,):
        raise UsageError(f"{network} has {network.n_parameters} parameters, got an array of shape {theta.shape}")
    if not np.isfinite(theta).all():
        place = int(np.argmin(np.isfinite(theta)))
        raise UsageError(f"parameter {place} is {theta[place]}; every weight and bias must be finite")
    if theta.nbytes > MAX_FILE_BYTES - 2 * MAX_DESCRIPTION_BYTES:
        raise UsageError(f"{network} takes {theta.nbytes} bytes, a model file has at most {MAX_FILE_BYTES}")
    theta.setflags(write=False)
    return theta


def checked_image_shape(shape: tuple[int, int], n_features: int) -> tuple[int, int]:
    """(height, width) as two ints whose product is the number of features."""
    sides = tuple(shape)
    if len(sides) != 2 or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in sides):
        raise UsageError(f"image_shape must be two whole numbers from 1, got {shown(repr(shape))}")
    if sides[0] * sides[1] != n_features:
        raise UsageError(f"image_shape {sides[0]} x {sides[1]} does not make the network's {n_features} inputs")
    return sides[0], sides[1]


def last_part(name: str) -> str:
    """A path's last component, or the name itself; printable, at most 200 characters."""
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return "".join(letter if letter.isprintable() else "?" for letter in last)[:200]
