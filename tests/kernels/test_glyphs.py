"""The kernel that draws digits, on skeletons simple enough to know the picture beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from fastbp import streams
from fastbp.kernels import glyphs
from fastbp.kernels.glyphs import BOX, CORNER, DOWN, IMAGE, RADIUS, SMOOTH, START, STEPS, Hand, Skeletons, Workspace

KEY = np.uint64(0x0123456789ABCDEF)
# The helpers of the kernel have no entry from Python, so compiled functions call them here.
uniforms = njit(lambda key, n: [glyphs.uniform(key, number) for number in range(n)])
bells = njit(lambda key, n: [glyphs.bell(key, number) for number in range(n)])
factors = njit(lambda key, n, deviation: [glyphs.factor(key, number, deviation) for number in range(n)])
choices = njit(lambda keys, skeletons: [glyphs.choose(key, skeletons) for key in keys])
trace = njit(lambda key, kinds, joints, path: glyphs.trace(key, kinds, joints, path))
fit = njit(lambda path, n: glyphs.fit(path, n))
centre = njit(lambda box, image: glyphs.centre(box, image))

STEADY = Hand(4.0, *[0.0] * 9, edge=1.0, edge_spread=0.0)  # a pen 4 pixels wide and a hand that never varies
SHAKY = Hand(2.4, 0.28, 0.08, 0.15, 0.25, 0.12, 0.22, 0.09, 0.06, 0.4, 0.8, 0.5)


def skeletons_of(points, kinds, digit=1):
    """One way to write one digit; choosing any other digit is impossible, for the labels are drawn evenly."""
    n = len(points)
    return Skeletons(
        np.tile(np.array(points, float), (10, 1)),
        np.tile(np.array(kinds, np.uint8), 10),
        np.arange(11) * n,
        np.arange(11),
        np.ones(10),
        np.ones(10),
    )


def workspace(n=16, fill=0.0):
    return Workspace(np.full((n, 3), fill), np.full((n * STEPS, 4), fill), np.full((BOX, BOX), fill))


def draw(skeletons, hand, n=1, first=0, scratch=None):
    images, labels = np.full((n, IMAGE, IMAGE), 77, np.uint8), np.full(n, 77, np.uint8)
    glyphs.draw(KEY, first, skeletons, hand, scratch or workspace(), images, labels)
    return images, labels


ZIGZAG = skeletons_of(
    [(-0.5, -1), (0.5, -0.5), (-0.5, 0), (0.5, 1), (-1, 0), (1, 0)], [START, SMOOTH, CORNER, SMOOTH, START, SMOOTH]
)


def test_a_vertical_bar_of_four_pixels():
    """20 high and 4 wide, centred on row and column 14: the outer columns are exactly between ink and paper."""
    images, _ = draw(skeletons_of([(0, -1), (0, 1)], [START, SMOOTH]), STEADY)
    expected = np.zeros(IMAGE, np.uint8)
    expected[12:16] = 255
    rows = np.flatnonzero(images[0].any(axis=1))
    middle = (rows[0] + rows[-1]) / 2
    assert len(rows) == BOX
    assert abs(middle - 14) <= 0.5
    for row in images[0][rows[2] : rows[-2]]:
        shift = np.flatnonzero(row)[0] - 12
        assert shift in (0, 1)
        np.testing.assert_array_equal(row, np.roll(expected, shift))
    assert 0 < images[0][rows[0]].sum() < 4 * 255  # the ends are round


def test_the_edge_is_a_ramp():
    """Bar of radius 2 between columns 9 and 10 of the box, edge 4: 1/2 + (2 - d)/4 at d = 0.5, 1.5, 2.5, 3.5."""
    images, _ = draw(skeletons_of([(0, -1), (0, 1)], [START, SMOOTH]), STEADY._replace(edge=4.0))
    row = images[0][14]
    np.testing.assert_array_equal(row[row > 0], [32, 96, 159, 223, 223, 159, 96, 32])


def test_a_lifted_pen_leaves_no_ink():
    points, gap = [(-1, -1), (-1, 1), (1, -1), (1, 1)], [START, SMOOTH, START, SMOOTH]
    with_gap, _ = draw(skeletons_of(points, gap), STEADY._replace(width=2.0))
    without, _ = draw(skeletons_of(points, [START, SMOOTH, CORNER, SMOOTH]), STEADY._replace(width=2.0))
    assert not with_gap[0][:, 12:16].any()
    assert without[0][:, 12:16].any()


def test_slant_leans_to_the_right():
    images, _ = draw(skeletons_of([(0, -1), (0, 1)], [START, SMOOTH]), STEADY._replace(slant=0.5))
    rows = np.flatnonzero(images[0].any(axis=1))
    columns = [np.average(np.arange(IMAGE), weights=images[0][row]) for row in (rows[0], rows[-1])]
    assert columns[0] - columns[1] == pytest.approx(0.5 * 16, abs=1.5)


def test_the_stream_does_not_depend_on_how_it_is_cut():
    whole, labels = draw(ZIGZAG, SHAKY, n=40)
    tail, tail_labels = draw(ZIGZAG, SHAKY, n=15, first=25)
    np.testing.assert_array_equal(whole[25:], tail)
    np.testing.assert_array_equal(labels[25:], tail_labels)
    assert len({image.tobytes() for image in whole}) == 40


@pytest.mark.parametrize("fill", [np.nan, 1e300, -1.0])
def test_what_the_workspace_held_before_changes_nothing(fill):
    np.testing.assert_array_equal(
        draw(ZIGZAG, SHAKY, n=20)[0], draw(ZIGZAG, SHAKY, n=20, scratch=workspace(fill=fill))[0]
    )


def test_a_wild_hand_stays_inside_the_image():
    wild = SHAKY._replace(width=9.0, width_spread=1.5, pressure=1.0, slant_spread=3.0, bend=3.0, shake=3.0)
    images, labels = draw(ZIGZAG, wild, n=300)
    assert labels.max() <= 9
    for image in images:
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        assert len(rows) == 0 or max(np.ptp(rows), np.ptp(columns)) < BOX


def test_uniform_is_the_stream_of_the_package():
    expected = streams.uniform(int(KEY), 40)
    assert uniforms(KEY, 40) == expected.tolist()


def test_bell_has_mean_0_and_deviation_1():
    values = np.array(bells(KEY, 20_000))
    assert abs(values.mean()) < 4 / 20_000**0.5
    assert abs(values.std() - 1) < 0.02
    assert 2.5 < np.abs(values).max() < 3.4642


def test_factor_is_as_often_f_as_its_inverse():
    logs = np.log(factors(KEY, 20_000, 0.3))
    assert abs(logs.mean()) < 4 * 0.3 / 20_000**0.5
    assert abs(logs.std() - 0.28) < 0.03
    assert factors(KEY, 3, 0.0) == [1.0] * 3


def test_variants_come_by_their_shares():
    share_up_to = np.tile([0.25, 1.0], 10)
    skeletons = Skeletons(
        np.zeros((40, 2)), np.zeros(40, np.uint8), np.arange(21) * 2, np.arange(11) * 2, np.ones(20), share_up_to
    )
    keys = streams.words(1, 8000)
    labels, variants = np.array(choices(keys, skeletons)).T
    assert abs(np.mean(variants % 2 == 0) - 0.25) < 0.02
    np.testing.assert_array_equal(variants // 2, labels)
    assert np.abs(np.bincount(labels, minlength=10) / 8000 - 0.1).max() < 0.017


def test_trace_passes_through_the_joints_and_along_a_circle():
    angles = np.arange(9) * np.pi / 4
    joints = np.stack([np.cos(angles), np.sin(angles), np.linspace(1.0, 2.0, 9)], axis=1)
    kinds = np.array([START] + [SMOOTH] * 8, np.uint8)
    path = np.full((9 * STEPS, 4), np.nan)
    n = trace(KEY, kinds, joints, path)
    assert n == 8 * STEPS + 1
    np.testing.assert_allclose(path[:n:STEPS, :2], joints[:, :2], atol=1e-12)
    np.testing.assert_allclose(path[:n, RADIUS], np.linspace(1.0, 2.0, n), atol=1e-12)
    np.testing.assert_array_equal(path[:n, DOWN], [0.0] + [1.0] * (n - 1))
    inner = path[STEPS : n - STEPS]
    np.testing.assert_allclose(np.hypot(inner[:, 0], inner[:, 1]), 1.0, atol=0.02)


def test_fit_fills_the_longer_side():
    path = np.array([[3.0, 5.0, 1.5, 0.0], [4.0, 9.0, 1.0, 1.0], [3.5, 6.0, 1.0, 1.0]])
    fit(path, 3)
    np.testing.assert_allclose(path[:, 1], [1.5, 18.5, 5.75])
    np.testing.assert_allclose(path[:, 0], [10 - 17 / 8, 10 + 17 / 8, 10.0])


@pytest.mark.parametrize(("pixel", "goes_to"), [((8, 9), (14, 14)), ((3, 17), (11, 17)), ((19, 0), (19, 8))])
def test_centre_moves_by_whole_pixels_and_stays_inside(pixel, goes_to):
    box, image = np.zeros((BOX, BOX)), np.full((IMAGE, IMAGE), 9, np.uint8)
    box[pixel] = 1.0
    centre(box, image)
    assert np.argwhere(image).tolist() == [list(goes_to)]
    assert image[goes_to] == 255
