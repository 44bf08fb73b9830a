"""Pictures for `predict`: drawings made here by NumPy, whose prepared form can be said beforehand."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np
import pytest

from fastbp.centring import prepare, resize
from fastbp.errors import DataError, FastbpError, UsageError
from fastbp.images import read_picture, read_samples


def drawing(height: int = 100, width: int = 100, top: int = 20, left: int = 30, scale: int = 2) -> np.ndarray:
    """White strokes on black: an upright bar with a foot to the right, 30 x 18 units."""
    image = np.zeros((height, width), np.uint8)
    image[top : top + 30 * scale, left : left + 4 * scale] = 255
    image[top + 26 * scale : top + 30 * scale, left : left + 18 * scale] = 255
    return image


def mass_centre(image: np.ndarray) -> tuple[float, float]:
    rows, columns = np.indices(image.shape)
    total = image.sum(dtype=np.float64)
    return float((rows * image).sum() / total), float((columns * image).sum() / total)


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.float64) - b).mean())


def save(array: np.ndarray, path, mode: str | None = None) -> str:
    pytest.importorskip("PIL", reason="Pillow is an extra: pip install 'fastbp[images]'")
    from PIL import Image

    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path)
    return str(path)


def idx_bytes(images: np.ndarray) -> bytes:
    return struct.pack(f">4B{images.ndim}I", 0, 0, 8, images.ndim, *images.shape) + images.tobytes()


# resize


def test_resize_takes_the_mean_of_the_area_where_it_shrinks():
    image = np.array([[0, 4, 10, 20], [8, 12, 30, 40]])
    assert resize(image, 1, 2).tolist() == [[6.0, 25.0]]


def test_resize_to_a_size_that_does_not_divide_keeps_the_mean():
    image = np.random.default_rng(1).integers(0, 256, (37, 53))
    assert resize(image, 10, 7).mean() == pytest.approx(image.mean(), rel=1e-12)


def test_resize_is_bilinear_where_it_grows():
    assert resize(np.array([[0.0, 8.0]]), 1, 4).tolist() == [[0.0, 2.0, 6.0, 8.0]]


def test_resize_to_the_same_size_changes_nothing():
    image = np.random.default_rng(2).integers(0, 256, (9, 5))
    assert np.array_equal(resize(image, 9, 5), image)


# prepare


def test_the_ink_fills_a_box_of_20_around_the_middle_of_28():
    prepared = prepare(drawing())
    assert prepared.shape == (28, 28)
    assert prepared.dtype == np.uint8
    assert prepared.max() == 255
    rows, columns = np.flatnonzero(prepared.any(axis=1)), np.flatnonzero(prepared.any(axis=0))
    assert rows[-1] - rows[0] + 1 == 20
    assert columns[-1] - columns[0] + 1 == 12  # 18 of 30, times 20
    assert mass_centre(prepared) == pytest.approx((14.0, 14.0), abs=0.5)


def test_black_on_white_equals_white_on_black():
    image = drawing()
    assert np.array_equal(prepare(255 - image), prepare(image))


@pytest.mark.parametrize(
    "other",
    [
        drawing(top=3, left=2),
        drawing(160, 300, top=90, left=200),
        drawing(200, 200, scale=4),
        drawing(60, 50, top=10, left=10, scale=1),
        drawing(1500, 2500, top=100, left=1000, scale=40),
    ],
    ids=["shifted", "on a wide page", "twice as large", "half as large", "a huge picture"],
)
def test_place_and_size_on_the_page_do_not_matter(other):
    assert mean_difference(prepare(other), prepare(drawing())) < 3.0


def test_weak_contrast_and_a_grey_ground_do_not_matter():
    faint = 120 + (drawing() // 255) * 60
    assert np.array_equal(prepare(faint), prepare(drawing()))


def test_noise_on_the_ground_does_not_move_the_digit():
    noise = np.random.default_rng(3).normal(0, 6, (100, 100))
    noisy = np.clip(drawing() * 0.6 + 60 + noise, 0, 255).astype(np.uint8)
    assert mean_difference(prepare(noisy), prepare(drawing())) < 6.0


def test_a_prepared_image_comes_back_unchanged_and_its_negative_too():
    prepared = prepare(drawing())
    assert np.array_equal(prepare(prepared), prepared)
    assert np.array_equal(prepare(255 - prepared), prepared)


def test_a_speck_of_dust_does_not_move_the_digit():
    dusty = drawing()
    dusty[95, 95] = 255
    assert mean_difference(prepare(dusty), prepare(drawing())) < 3.0


def test_a_picture_of_the_right_size_that_is_not_centred_is_centred():
    small = np.zeros((28, 28), np.uint8)
    small[0:12, 0:3] = 200
    assert mass_centre(prepare(small)) == pytest.approx((14.0, 14.0), abs=0.5)


def test_a_wide_drawing_keeps_its_aspect_ratio():
    image = np.zeros((50, 200), np.uint8)
    image[20:30, 20:180] = 255
    prepared = prepare(image)
    rows, columns = np.flatnonzero(prepared.any(axis=1)), np.flatnonzero(prepared.any(axis=0))
    assert len(columns) == 20
    assert len(rows) == 1  # 10 of 160, times 20, is 1.25


def test_without_centring_the_whole_picture_is_kept():
    image = np.zeros((56, 56), np.uint8)
    image[0:28, 0:28] = 255
    prepared = prepare(image, centre=False)
    assert (prepared[:14, :14] == 255).all()
    assert prepared[14:].max() == 0
    assert np.array_equal(prepare(prepared, centre=False), prepared)
    photo = np.random.default_rng(8).integers(0, 100, (28, 28), np.uint8)  # dark at the border, but not black
    photo[10:20, 10:20] = 255
    assert np.array_equal(prepare(255 - photo, centre=False), photo)


def test_other_image_sizes():
    assert prepare(drawing(), (8, 8)).shape == (8, 8)


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (300, 2)])
def test_a_blank_picture_is_refused(shape):
    with pytest.raises(DataError, match=r"page\.png is blank"):
        prepare(np.full(shape, 255, np.uint8), name="page.png")


def test_extreme_aspect_ratios_work():
    thin = np.zeros((4000, 1), np.uint8)
    thin[1000:3000] = 255
    assert prepare(thin).max() == 255


def test_more_pixels_than_the_limit_are_refused():
    huge = np.broadcast_to(np.uint8(0), (10_000, 10_000))
    with pytest.raises(DataError, match=r"10000 x 10000 pixels; at most 50,000,000"):
        prepare(huge, name="huge.npy")


# picture files


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif"])
def test_lossless_files_give_the_array(tmp_path, name):
    assert np.array_equal(read_picture(save(drawing(), tmp_path / name)), drawing())


def test_jpeg_gives_about_the_array(tmp_path):
    path = save(255 - drawing(), tmp_path / "a.jpg")
    assert mean_difference(prepare(read_picture(path)), prepare(drawing())) < 4.0


def test_colours_become_brightness(tmp_path):
    colour = np.zeros((10, 10, 3), np.uint8)
    colour[..., 1] = 255
    assert read_picture(save(colour, tmp_path / "green.png"))[0, 0] == 150  # 0.587 * 255


def test_transparent_parts_are_white_paper(tmp_path):
    pixels = np.zeros((100, 100, 4), np.uint8)  # black, and transparent where there is no ink
    pixels[..., 3] = drawing()
    assert np.array_equal(read_picture(save(pixels, tmp_path / "a.png")), 255 - drawing())


def test_white_ink_on_nothing_is_seen_too(tmp_path):
    pixels = np.full((100, 100, 4), 255, np.uint8)
    pixels[..., 3] = drawing()
    grey = read_picture(save(pixels, tmp_path / "a.png"))
    assert np.array_equal(prepare(grey), prepare(drawing()))


def test_half_transparent_ink_is_half_as_dark(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[0, 0, 3] = 51
    assert read_picture(save(pixels, tmp_path / "a.png"))[0, 0] == 204


def test_a_palette_with_transparency(tmp_path):
    from PIL import Image

    picture = Image.fromarray((drawing() // 255).astype(np.uint8), mode=None).convert("P")
    picture.putpalette([0, 0, 0, 10, 10, 10])
    picture.save(tmp_path / "a.png", transparency=0)
    grey = read_picture(tmp_path / "a.png")
    assert grey[0, 0] == 255
    assert grey[50, 32] == 10


def test_16_bit_grey(tmp_path):
    deep = drawing().astype(np.uint16) * 200
    assert np.array_equal(prepare(read_picture(save(deep, tmp_path / "a.png"))), prepare(drawing()))


def test_black_and_white_of_one_bit(tmp_path):
    path = save(drawing(), tmp_path / "a.png", "1")
    assert np.array_equal(read_picture(path), drawing())


def test_a_photo_is_turned_as_its_camera_says(tmp_path):
    from PIL import Image

    picture = Image.fromarray(drawing())
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "a.png"), np.rot90(drawing(), -1))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.tif"])
def test_truncated_pictures_are_refused_by_name(tmp_path, name):
    path = save(np.random.default_rng(4).integers(0, 256, (64, 64), np.uint8), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for length in (len(whole) * 2 // 3, len(whole) // 3, 40):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            read_picture(path)


def test_damaged_bytes_never_raise_anything_else(tmp_path):
    refused = []
    rng = np.random.default_rng(5)
    save(drawing(), tmp_path / "a.png")
    whole = np.frombuffer((tmp_path / "a.png").read_bytes(), np.uint8)
    for _ in range(60):
        damaged = whole.copy()
        damaged[rng.integers(0, len(whole), 3)] = rng.integers(0, 256, 3)
        (tmp_path / "b.png").write_bytes(damaged.tobytes())
        try:
            grey = read_picture(tmp_path / "b.png")
        except DataError as error:
            refused.append(str(error))
        else:
            assert grey.ndim == 2
    assert len(refused) > 30
    assert all("b.png" in message for message in refused)


def test_a_picture_that_unpacks_to_too_much_is_refused_unread(tmp_path):
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(png)
    with pytest.raises(DataError, match=r"bomb\.png has .*pixels"):
        read_picture(tmp_path / "bomb.png")


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    with pytest.raises(DataError, match=r"a\.png is not a picture"):
        read_picture(tmp_path / "a.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty\.png"):
        read_picture(tmp_path / "empty.png")


@pytest.mark.parametrize("what", ["missing", "folder", "pipe"])
def test_missing_files_folders_and_pipes(tmp_path, what):
    path = tmp_path / "a.png"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    with pytest.raises(DataError, match=r"a\.png"):
        read_samples(path, 784, (28, 28))


def test_without_pillow_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    import sys

    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(FastbpError, match=r"pip install 'fastbp\[images\]'") as caught:
        read_picture(tmp_path / "a.png")
    assert caught.value.exit_code == 1


# samples from files


def test_idx_images_are_taken_as_they_are(tmp_path):
    images = np.random.default_rng(6).integers(0, 256, (5, 28, 28), np.uint8)
    (tmp_path / "raw").write_bytes(idx_bytes(images))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(idx_bytes(images)))
    for name in ("raw", "packed.gz"):
        rows = read_samples(tmp_path / name, 784, (28, 28))
        assert rows.dtype == np.uint8
        assert np.array_equal(rows, images.reshape(5, 784))


def test_idx_images_of_another_size_are_prepared(tmp_path):
    (tmp_path / "large").write_bytes(idx_bytes(np.stack([drawing(), 255 - drawing()])))
    rows = read_samples(tmp_path / "large", 784, (28, 28))
    assert np.array_equal(rows, np.stack([prepare(drawing()).ravel()] * 2))


def test_idx_labels_are_no_images(tmp_path):
    (tmp_path / "labels").write_bytes(idx_bytes(np.zeros(7, np.uint8)))
    with pytest.raises(DataError, match="labels holds 7 single numbers"):
        read_samples(tmp_path / "labels", 784, (28, 28))


@pytest.mark.parametrize("shape", [(28, 28), (784,), (1, 784), (1, 28, 28)])
def test_arrays_of_the_right_shape_are_taken_as_they_are(tmp_path, shape):
    values = np.random.default_rng(7).integers(0, 256, 784, np.uint8)
    np.save(tmp_path / "a.npy", values.reshape(shape))
    assert np.array_equal(read_samples(tmp_path / "a.npy", 784, (28, 28)), values.reshape(1, 784))


def test_shares_of_white_become_bytes_for_a_network_of_bytes(tmp_path):
    np.save(tmp_path / "a.npy", np.full((28, 28), 0.5))
    assert read_samples(tmp_path / "a.npy", 784, (28, 28), of_bytes=True)[0, 0] == 127.5
    assert read_samples(tmp_path / "a.npy", 784, (28, 28))[0, 0] == 0.5


def test_an_array_of_another_size_is_a_drawing(tmp_path):
    np.save(tmp_path / "a.npy", drawing() / 255)
    assert np.array_equal(read_samples(tmp_path / "a.npy", 784, (28, 28))[0], prepare(drawing()).ravel())
    np.save(tmp_path / "rgb.npy", np.stack([drawing()] * 3, axis=-1))
    assert np.array_equal(read_samples(tmp_path / "rgb.npy", 784, (28, 28))[0], prepare(drawing()).ravel())
    rgba = np.zeros((100, 100, 4))
    rgba[..., 3] = drawing() / 255
    np.save(tmp_path / "rgba.npy", rgba)
    assert np.array_equal(read_samples(tmp_path / "rgba.npy", 784, (28, 28))[0], prepare(drawing()).ravel())


def test_raw_pictures_must_have_the_right_size(tmp_path):
    path = save(drawing(28, 28, 0, 0, 1)[:28, :28], tmp_path / "a.png")
    assert np.array_equal(read_samples(path, 784, (28, 28), raw=True)[0].reshape(28, 28), drawing(28, 28, 0, 0, 1))
    path = save(drawing(), tmp_path / "b.png")
    with pytest.raises(UsageError, match=r"b\.png has 100 x 100 pixels and the model reads 28 x 28"):
        read_samples(path, 784, (28, 28), raw=True)


def test_tables(tmp_path):
    (tmp_path / "bare.csv").write_text("1.5,2,3\n4,5,6.5\n")
    assert read_samples(tmp_path / "bare.csv", 3).tolist() == [[1.5, 2, 3], [4, 5, 6.5]]
    (tmp_path / "labelled.csv").write_text("a,b,c,species\n1.5,2,3,cat\n4,5,6.5,dog\n")
    assert read_samples(tmp_path / "labelled.csv", 3).tolist() == [[1.5, 2, 3], [4, 5, 6.5]]
    with gzip.open(tmp_path / "packed.csv.gz", "wb") as file:
        file.write(b"1.5,2,3\n")
    assert read_samples(tmp_path / "packed.csv.gz", 3).tolist() == [[1.5, 2, 3]]
    (tmp_path / "one.csv").write_text("1.5\n2.5\n")
    assert read_samples(tmp_path / "one.csv", 1).tolist() == [[1.5], [2.5]]
    with pytest.raises(UsageError, match=r"bare\.csv .*the model reads 7 numbers"):
        read_samples(tmp_path / "bare.csv", 7)


def test_a_table_model_reads_no_pictures(tmp_path):
    path = save(drawing(), tmp_path / "a.png")
    with pytest.raises(UsageError, match="rows of 4 numbers, not pictures"):
        read_samples(path, 4)


@pytest.mark.parametrize("values", [np.array([[1.0, np.nan]]), np.array([[np.inf, 0.0]])])
def test_nan_and_infinity_are_refused(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(DataError, match=r"a\.npy holds NaN or infinity"):
        read_samples(tmp_path / "a.npy", 2)


def test_unfit_arrays_are_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((0, 3)))
    with pytest.raises(DataError, match="at least one sample"):
        read_samples(path, 3)
    np.save(path, np.array([["x", "y", "z"]]))
    with pytest.raises(DataError, match="numbers are needed"):
        read_samples(path, 3)
    np.save(path, np.zeros((2, 5)))
    with pytest.raises(UsageError, match=r"shape \(2, 5\); the model reads 3 numbers"):
        read_samples(path, 3)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not a readable"):
        read_samples(path, 3)


def test_an_array_file_that_declares_more_than_it_holds(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((4, 3)))
    whole = path.read_bytes()
    for length in (len(whole) - 8, 100, 20, 9):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.npy"):
            read_samples(path, 3)
    path.write_bytes(whole.replace(b"(4, 3), }      ", b"(9999999999, 3)"))
    with pytest.raises(DataError, match=r"a\.npy"):
        read_samples(path, 3)
