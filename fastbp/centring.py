"""A drawing as MNIST would show it: light ink on black, in a box of 20x20 pixels, balanced in the middle of 28x28.

The steps are those of LeCun, Bottou, Bengio, Haffner 1998, section III, behind a first one for photos and
scans: find the ground, tell ink from noise. Brightness in any size and range comes in, bytes of one size go
out. Refused: blank pictures, and those of more than 50 million pixels. NumPy only, and deterministic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError

__all__ = ["MAX_PIXELS", "check_pixels", "prepare", "resize"]

MAX_PIXELS = 50_000_000
FAINTEST = 0.04  # of the darkest ink: what is fainter is the ripple of JPEG beside a stroke
NOISE = 6  # times the median difference from the ground, about 4 standard deviations: what is fainter is noise
SMALL = 56  # pixels: in smaller pictures a single pixel may be a part of the drawing
Array = NDArray[Any]


def check_pixels(name: object, width: int, height: int) -> None:
    """Raise DataError for a picture that is too large to be worth decoding."""
    if width * height > MAX_PIXELS:
        raise DataError(f"{name} has {width} x {height} pixels; at most {MAX_PIXELS:,} in all are accepted")


def resize(image: Array, height: int, width: int) -> NDArray[np.float64]:
    """A picture in another size: the mean over each new pixel's area where it shrinks, bilinear where it grows.

    The same size gives the same picture.

    Parameters
    ----------
    image : (h, w) of numbers
    height, width : int
        of the result, at least 1

    Returns
    -------
    resized : (height, width) float64

    Examples
    --------
    >>> resize(np.array([[0, 0, 8, 8]]), 1, 2).tolist()
    [[0.0, 8.0]]
    """
    rows, columns = _weights(image.shape[0], height), _weights(image.shape[1], width)
    return rows @ image.astype(np.float64) @ columns.T


def _weights(n_in: int, n_out: int) -> NDArray[np.float64]:
    """(n_out, n_in) weights of one axis; every row adds up to 1."""
    scale = n_in / n_out
    sources = np.arange(n_in)
    if scale >= 1:
        starts = np.arange(n_out)[:, None] * scale
        weights = np.minimum(starts + scale, sources + 1) - np.maximum(starts, sources)
    else:
        centres = (np.arange(n_out)[:, None] + 0.5) * scale - 0.5
        weights = 1.0 - np.abs(sources - np.clip(centres, 0, n_in - 1))
    weights = np.maximum(weights, 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def prepare(
    image: Array, shape: tuple[int, int] = (28, 28), *, centre: bool = True, name: str = "the image"
) -> NDArray[np.uint8]:
    """A picture as MNIST would show it.

    Dark ink on a light ground is inverted (the brightness of the border tells), the ground becomes 0 and the darkest
    ink 255; then the ink is cut out, brought to 20/28 of `shape` keeping its aspect ratio, and moved so that its
    centre of mass stands in the middle. A picture that is in this form already comes back unchanged.

    Parameters
    ----------
    image : (h, w) of numbers
        brightness; any size and any range
    shape : (height, width)
        of the result
    centre : bool
        False: the whole picture is shrunk into `shape`, nothing is cut out or moved (clothes, for example)
    name : str
        for the error message

    Returns
    -------
    prepared : (height, width) uint8

    Raises
    ------
    DataError
        a blank picture

    Examples
    --------
    >>> drawing = np.full((100, 80), 255, dtype=np.uint8)  # a black bar on white
    >>> drawing[10:90, 30:50] = 0
    >>> prepared = prepare(drawing)
    >>> prepared.shape, int(prepared[14, 14]), int(prepared[0, 0])
    ((28, 28), 255, 0)
    """
    check_pixels(name, image.shape[1], image.shape[0])
    image = _at_most(image, 1024)
    low, high = float(image.min()), float(image.max())
    if high <= low:
        raise DataError(f"{name} is blank: every pixel has the same brightness, so there is nothing to recognise")
    margin = max(1, min(image.shape) // 20)
    ground = float(np.median(_border(image, margin)))
    inverted = ground > (low + high) / 2
    if image.shape == shape and image.dtype == np.uint8:
        upright = (255 - image if inverted else image).astype(np.uint8)
        if not centre or _is_prepared(upright):
            return upright
    ink = np.maximum((ground - image) if inverted else (image - ground), 0.0)
    ink = ink / ink.max()
    if not centre:
        return _to_bytes(_fitted(ink, shape, shape))
    threshold = _otsu(ink)
    usual = float(np.median(np.abs(image - ground))) / (high - low)
    noise = min(threshold / 2, max(FAINTEST, NOISE * usual))
    ink[ink <= noise] = 0.0
    top, bottom, left, right = _box(_without_specks(ink > max(noise, threshold / 4)))
    box = max(1, shape[0] * 20 // 28), max(1, shape[1] * 20 // 28)
    small = _fitted(ink[top:bottom, left:right], box, None)
    return _to_bytes(_centred(small / small.max(), shape))


def _at_most(image: Array, side: int) -> Array:
    """image, or blocks of its pixels averaged so that its longer side is below twice `side`."""
    step = max(image.shape) // side
    if step < 2:
        return image
    height, width = image.shape
    rows, columns = max(height // step, 1), max(width // step, 1)
    down, across = min(step, height), min(step, width)
    blocks = image[: rows * down, : columns * across].reshape(rows, down, columns, across)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float64))


def _border(image: Array, margin: int) -> Array:
    """All pixels that are less than `margin` away from an edge."""
    edges = (image[:margin], image[-margin:], image[:, :margin], image[:, -margin:])
    return np.concatenate([edge.ravel() for edge in edges])


def _box(ink: Array) -> tuple[int, int, int, int]:
    """top, bottom, left, right of the part of `ink` that is not 0; bottom and right are exclusive."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _mass_centre(ink: Array) -> tuple[float, float]:
    """The mean row and column, weighted by ink."""
    total = float(ink.sum(dtype=np.float64))
    rows, columns = ink.sum(axis=1, dtype=np.float64), ink.sum(axis=0, dtype=np.float64)
    return float(rows @ np.arange(len(rows))) / total, float(columns @ np.arange(len(columns))) / total


def _is_prepared(image: NDArray[np.uint8]) -> bool:
    """True where the ink fills its box, with the centre of mass at half of the height and width."""
    height, width = image.shape
    top, bottom, left, right = _box(image)
    tall, wide = bottom - top, right - left
    fills = tall <= height * 20 // 28 and wide <= width * 20 // 28 and max(tall, wide) >= 20 * max(height, width) // 28
    row, column = _mass_centre(image)
    return bool(fills and abs(row - height / 2) <= 0.55 and abs(column - width / 2) <= 0.55)


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """mask without the pixels that have no neighbour in it; in a small picture every pixel counts, and all stay."""
    if min(mask.shape) < SMALL:
        return mask
    padded = np.pad(mask, 1)
    neighbours = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    kept = mask & neighbours
    return kept if kept.any() else mask


def _otsu(ink: NDArray[np.float64]) -> float:
    """The threshold in (0, 1) that separates two groups of values best (Otsu 1979)."""
    counts, edges = np.histogram(ink, bins=256, range=(0.0, 1.0))
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = ink.size - below
    sums = np.cumsum(counts * (edges[:-1] + edges[1:]) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    best = np.flatnonzero(between == np.nanmax(between))  # many, where nothing lies between the groups
    return float(edges[best + 1].mean())


def _fitted(ink: NDArray[np.float64], box: tuple[int, int], canvas: tuple[int, int] | None) -> NDArray[np.float64]:
    """ink as large as fits into `box`, keeping its aspect ratio; in the middle of a black `canvas` if one is given."""
    height, width = ink.shape
    scale = min(box[0] / height, box[1] / width)
    rows = min(box[0], max(1, round(height * scale)))
    columns = min(box[1], max(1, round(width * scale)))
    small = resize(ink, rows, columns)
    if canvas is None:
        return small
    result = np.zeros(canvas)
    top, left = (canvas[0] - rows) // 2, (canvas[1] - columns) // 2
    result[top : top + rows, left : left + columns] = small
    return result


def _centred(small: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """small on a black canvas, moved by whole pixels so that its centre of mass stands at half of each side."""
    row, column = _mass_centre(small)
    result = np.zeros(shape)
    top = min(max(round(shape[0] / 2 - row), 0), shape[0] - small.shape[0])
    left = min(max(round(shape[1] / 2 - column), 0), shape[1] - small.shape[1])
    result[top : top + small.shape[0], left : left + small.shape[1]] = small
    return result


def _to_bytes(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)
