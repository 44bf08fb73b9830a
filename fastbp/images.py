"""Files with pictures or rows of numbers become the samples that a network takes.

In: PNG, JPEG and other picture files, `.npy` arrays, IDX files, tables. Out: (n, n_features) arrays. Pictures
are prepared by `fastbp.centring`, and so are arrays of another size; what has the network's own shape is taken
as it is. Refused: damaged files, pictures of more than 50 million pixels, blank ones, arrays that do not fit.
Pillow only decodes.
"""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .centring import MAX_PIXELS, check_pixels, prepare
from .data.idx import GZIP_MAGIC, is_idx, read_idx
from .data.tabular import Table, read_table
from .errors import DataError, FastbpError, UsageError
from .files import open_regular

__all__ = ["read_picture", "read_samples"]

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")  # none of them runs another program
NUMPY_MAGIC = b"\x93NUMPY"
Array = NDArray[Any]


def read_samples(
    path: str | os.PathLike[str],
    n_features: int,
    image_shape: tuple[int, int] | None = None,
    *,
    of_bytes: bool = False,
    centre: bool = True,
    raw: bool = False,
) -> Array:
    """The samples in a file, as rows that a network with `n_features` inputs takes.

    Pictures, and arrays of any other size, are prepared for a network of images (see `prepare`). IDX files and arrays
    that have the network's own shape are taken as they are.

    Parameters
    ----------
    path : path
        a picture, an IDX file (raw or gzipped), a `.npy` array (one sample or many), a `.csv` table (a sample a row)
    n_features : int
        inputs of the network
    image_shape : (height, width) or None
        of the images it was trained on; None for tables
    of_bytes : bool
        the network takes 0..255: arrays of floats from 0 to 1 are multiplied by 255
    centre : bool
        cut out and centre pictures, as `prepare` does
    raw : bool
        take pictures as they are; they must have the size `image_shape`

    Returns
    -------
    samples : (n, n_features) uint8, float32 or float64

    Raises
    ------
    DataError
        a file that is missing, damaged, blank or not of a known kind
    UsageError
        samples that the network cannot take; both sizes are named
    FastbpError
        a picture, and Pillow is not installed

    Examples
    --------
    >>> np.save("fastbp-example.npy", np.zeros((3, 4)))
    >>> read_samples("fastbp-example.npy", n_features=4).shape
    (3, 4)
    """
    with open_regular(path) as file:
        head = file.read(8)
    is_table = re.fullmatch(r".*\.(csv|tsv|txt)(\.gz)?", os.fspath(path), re.IGNORECASE | re.DOTALL)
    if is_idx(head) or (head[:2] == GZIP_MAGIC and not is_table):
        values = read_idx(path)
        if values.ndim == 1 and n_features != 1:
            raise DataError(
                f"{path} holds {len(values)} single numbers (labels?); images or rows of numbers are needed"
            )
        return _rows(path, values, n_features, image_shape, of_bytes, prepares=not raw, centre=centre)
    if head[:6] == NUMPY_MAGIC:
        values = _read_npy(path)
        return _rows(path, values, n_features, image_shape, of_bytes, prepares=not raw, centre=centre)
    if is_table:
        return _rows(path, _read_rows(path, n_features), n_features, image_shape, of_bytes)
    if image_shape is None:
        raise UsageError(
            f"{path}: this model reads rows of {n_features} numbers, not pictures; give a .csv, .npy or IDX file"
        )
    picture = read_picture(path)
    if not raw:
        return prepare(picture, image_shape, centre=centre, name=str(path)).reshape(1, n_features)
    if picture.shape != image_shape:
        raise UsageError(
            f"{path} has {picture.shape[1]} x {picture.shape[0]} pixels and the model reads {image_shape[1]} x "
            f"{image_shape[0]}; leave out --raw, and it is prepared"
        )
    return picture.reshape(1, n_features)


def _read_npy(path: str | os.PathLike[str]) -> Array:
    """The array in a `.npy` file; its size is checked before memory is taken, and it is never unpickled."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (ValueError, EOFError, OSError, SyntaxError, KeyError, TypeError, OverflowError, TokenError) as error:
        found = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is not a readable .npy file ({found}); write it with numpy.save") from error


def _read_rows(path: str | os.PathLike[str], n_features: int) -> Array:
    """The numbers of a table; a label column, where it has one more than it should, is left out."""
    bare = Table(Path(path), np.empty((0, n_features)), np.empty(0, str), np.empty(0, np.int64), (), n_features)
    if n_features == 1:
        return read_table(path, like=bare).x
    table = read_table(path)
    return read_table(path, like=bare).x if table.x.shape[1] == n_features - 1 else table.x


def _rows(
    path: object,
    values: Array,
    n_features: int,
    image_shape: tuple[int, int] | None,
    of_bytes: bool,
    *,
    prepares: bool = False,
    centre: bool = True,
) -> Array:
    """values as (n, n_features); pictures of other sizes are prepared where `prepares` says so."""
    if values.dtype.kind not in "buif" or values.size == 0:
        raise DataError(f"{path} holds {values.dtype} of shape {values.shape}; numbers are needed, at least one sample")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{path} holds NaN or infinity; every value must be finite")
    if values.dtype not in (np.uint8, np.float32, np.float64):
        values = values.astype(np.float64)
    fits = values.shape[-1:] == (n_features,) and values.ndim <= 2
    if fits or (image_shape is not None and values.shape[-2:] == image_shape and values.ndim <= 3):
        rows = np.array(values).reshape(-1, n_features)
        is_share = of_bytes and rows.dtype.kind == "f" and rows.min() >= 0 and rows.max() <= 1
        return rows * 255 if is_share else rows
    if image_shape is not None and prepares and values.ndim in (2, 3):
        if values.ndim == 2:
            pictures = [values]
        elif values.shape[-1] in (3, 4):
            grey = _luminance(values[..., :3])
            pictures = [grey if values.shape[-1] == 3 else _over_white(_as_bytes(grey), _as_bytes(values[..., 3]))]
        else:
            pictures = list(values)
        prepared = [
            prepare(picture, image_shape, centre=centre, name=f"{path}, image {k}" if len(pictures) > 1 else str(path))
            for k, picture in enumerate(pictures)
        ]
        return np.stack(prepared).reshape(-1, n_features)
    needed = f"{n_features} numbers per sample"
    if image_shape is not None:
        needed += f" or images of {image_shape[1]} x {image_shape[0]}"
    raise UsageError(f"{path} has shape {values.shape}; the model reads {needed}")


def _as_bytes(values: Array) -> NDArray[np.uint8]:
    """Channels of 0..255, or of 0..1 where none is larger, as bytes."""
    scale = 255 if values.dtype.kind == "f" and values.max() <= 1 else 1
    return np.asarray(np.rint(np.clip(values * scale, 0, 255)), dtype=np.uint8)


def read_picture(path: str | os.PathLike[str]) -> Array:
    """The brightness of a picture file's pixels; transparent parts are laid over white.

    Parameters
    ----------
    path : path
        PNG, JPEG, BMP, GIF (its first frame), PPM, TIFF or WebP of at most 50 million pixels

    Returns
    -------
    grey : (height, width) uint8; float64 for pictures with 16 bits or more per pixel

    Raises
    ------
    FastbpError
        Pillow is not installed
    DataError
        not a picture, damaged, or too large

    Examples
    --------
    >>> read_picture("seven.png").shape  # doctest: +SKIP
    (480, 640)
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise FastbpError(
            f"{path}: reading pictures needs Pillow, which is not installed; run: pip install 'fastbp[images]'"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow only warns about bombs; the limit below refuses them
            with open_regular(path) as file, Image.open(file, formats=FORMATS) as picture:
                check_pixels(path, picture.width, picture.height)
                return _brightness(ImageOps.exif_transpose(picture))
    except FastbpError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} has too many pixels; at most {MAX_PIXELS:,} are accepted") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} is not a picture that can be read; accepted are {', '.join(FORMATS)}, .npy, IDX and .csv"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, IndexError, ... on damage
        raise DataError(f"{path} is a damaged picture: {str(error).rstrip('.') or type(error).__name__}") from error


def _brightness(picture: Any) -> Array:
    """(height, width) brightness of a Pillow picture."""
    if picture.mode.startswith(("I", "F")):
        grey = np.asarray(picture).astype(np.float64)
        if not np.isfinite(grey).all():
            raise ValueError("it holds NaN or infinity")
        return grey
    if "transparency" not in picture.info and picture.mode not in ("RGBA", "LA", "PA", "La", "RGBa"):
        return np.asarray(picture.convert("L"))
    picture = picture.convert("RGBA")
    return _over_white(np.asarray(picture.convert("L")), np.asarray(picture.getchannel("A")))


def _over_white(grey: Array, alpha: Array) -> NDArray[np.uint8]:
    """uint8 brightness and opacity (h, w) laid over white; over black where white ink would vanish."""
    ink = grey.astype(np.uint32) * alpha
    over_white = (ink + (255 - alpha.astype(np.uint32)) * 255 + 127) // 255
    over = over_white if np.ptp(over_white) else (ink + 127) // 255
    return np.asarray(over, dtype=np.uint8)


def _luminance(rgb: Array) -> NDArray[np.float64]:
    """(..., 3) red, green, blue to (...) brightness, as ITU-R BT.601 weighs them; greys stay exactly as they are."""
    weighted = rgb.astype(np.float64) @ np.array([299.0, 587.0, 114.0])
    return np.asarray(weighted / 1000.0)
