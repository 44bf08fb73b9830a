"""Draws digits as a hand with a pen would: skeleton, distortion, ink, then MNIST's size and position.

One image goes through six stages, each a function below: `choose` a digit and a way to write it, `shake` the points
of its skeleton, `trace` curves through them, `distort` the curves, `fit` them into a box of 20x20 pixels and `ink` it,
`centre` the box in 28x28 pixels. `draw` does so for many images.

Arrays come in checked and preallocated; nothing here allocates, raises or checks. Only + - * / and square roots are
used, which every machine rounds alike, so the images are the same bytes everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .jit import inlined, kernel
from .order import word

__all__ = ["BOX", "CORNER", "IMAGE", "SMOOTH", "START", "STEPS", "Hand", "Skeletons", "Workspace", "draw"]

IMAGE = 28  # pixels along one side of an image
BOX = 20  # pixels along one side of the box that a digit fills
STEPS = 5  # straight pieces from one skeleton point to the next
START, SMOOTH, CORNER = 0, 1, 2  # kinds of skeleton points
X, Y, RADIUS, DOWN = 0, 1, 2, 3  # columns of the workspaces: position, half the pen's width, 1.0 where the pen is down

# Which random number of an image decides what; every shaken point takes three, from SHAKE on.
LABEL, VARIANT, WIDTH, SLANT, TURN, ASPECT, MESS, ROUND, EDGE, BEND, SHAKE = 0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32


class Skeletons(NamedTuple):
    """All ways to write the ten digits, one after the other, those of one digit together."""

    points: NDArray[np.float64]  # f8 (n_points, 2)       x to the right, y down, about -1..1
    kinds: NDArray[np.uint8]  # u1 (n_points,)            START of a stroke, SMOOTH or CORNER
    first_point: NDArray[np.int64]  # i8 (n_variants + 1,)  where the points of each variant begin
    first_variant: NDArray[np.int64]  # i8 (11,)          where the variants of each digit begin
    pen: NDArray[np.float64]  # f8 (n_variants,)          factor of the pen's width
    share_up_to: NDArray[np.float64]  # f8 (n_variants,)  share of the digit's images, summed; the last of a digit 1.0


class Hand(NamedTuple):
    """How handwriting varies. Lengths are in halves of a skeleton's height unless said otherwise."""

    width: float  # of the pen, in pixels of the final image
    width_spread: float  # relative deviation between images
    pressure: float  # relative deviation of the width along the path
    slant: float  # sideways to the right per upwards, mean
    slant_spread: float  # deviation
    turn_spread: float  # tangent of the angle of rotation, deviation
    aspect_spread: float  # relative deviation of the digit's breadth
    bend: float  # deviation of the coefficients of the polynomial that bends the plane
    shake: float  # deviation of each skeleton point
    mess_spread: float  # relative deviation of `bend` and `shake` between images
    edge: float  # pixels from full ink to paper, at least
    edge_spread: float  # pixels more, at most


class Workspace(NamedTuple):
    """Scratch memory for one image; contents never matter between images."""

    joints: NDArray[np.float64]  # f8 (n, 3)          n: points of the longest skeleton
    path: NDArray[np.float64]  # f8 (n * STEPS, 4)
    box: NDArray[np.float64]  # f8 (BOX, BOX)


@inlined
def uniform(key, number):
    """Random number `number` of the image with this key: float64 in [0, 1)."""
    return float(word(key, np.uint64(number)) >> np.uint64(11)) * 2.0**-53


@inlined
def bell(key, number):
    """The same, bell-shaped: mean 0, deviation 1, within +-3.5. The sum of four 16-bit uniforms of one word."""
    bits = word(key, np.uint64(number))
    total = 0.0
    for _ in range(4):
        total += float(bits & np.uint64(0xFFFF))
        bits = bits >> np.uint64(16)
    return ((total + 2.0) * 2.0**-16 - 2.0) * 1.7320508075688772


@inlined
def factor(key, number, deviation):
    """A positive factor around 1, as likely f as 1/f: with s = deviation * bell / 2, (1 + |s|)^2 or its inverse."""
    s = 0.5 * deviation * bell(key, number)
    f = (1.0 + abs(s)) * (1.0 + abs(s))
    return f if s >= 0.0 else 1.0 / f


@inlined
def choose(key, skeletons):
    """The digit, all ten equally likely, and one of its variants, by their shares: (label, variant)."""
    label = int(uniform(key, LABEL) * 10.0)
    variant = skeletons.first_variant[label]
    while uniform(key, VARIANT) >= skeletons.share_up_to[variant]:
        variant += 1
    return label, variant


@inlined
def shake(key, points, pen, hand, joints):
    """joints[p] = points[p] + shake * mess * noise, and half the width of the pen there.

    points   f8 (n, 2)    in
    pen      f8           in    factor of the pen's width
    joints   f8 (>= n, 3) out   X, Y, RADIUS; the radius in pixels
    """
    amount = hand.shake * factor(key, MESS, hand.mess_spread)
    radius = 0.5 * pen * hand.width * factor(key, WIDTH, hand.width_spread)
    for p in range(len(points)):
        joints[p, X] = points[p, X] + amount * bell(key, SHAKE + 3 * p)
        joints[p, Y] = points[p, Y] + amount * bell(key, SHAKE + 3 * p + 1)
        joints[p, RADIUS] = radius * factor(key, SHAKE + 3 * p + 2, hand.pressure)


@inlined
def length(joints, p):
    """The distance from joint p to joint p + 1; never 0."""
    dx = joints[p + 1, X] - joints[p, X]
    dy = joints[p + 1, Y] - joints[p, Y]
    return np.sqrt(dx * dx + dy * dy) + 1e-9


@inlined
def roundness(kinds, p, rounded):
    """How smoothly the curve passes joint p: 0 at the ends of a stroke, 1 inside, `rounded` at a corner."""
    if kinds[p] == START or p + 1 == len(kinds) or kinds[p + 1] == START:
        return 0.0
    return rounded if kinds[p] == CORNER else 1.0


@inlined
def tangent(joints, p, q, column, smooth):
    """d position / d length at joint q (p or p + 1) of the piece from p to p + 1.

    smooth * (P[q+1] - P[q-1]) / (|P[q+1] - P[q]| + |P[q] - P[q-1]|) + (1 - smooth) * (P[p+1] - P[p]) / |P[p+1] - P[p]|
    """
    chord = (joints[p + 1, column] - joints[p, column]) / length(joints, p)
    if smooth == 0.0:
        return chord
    through = (joints[q + 1, column] - joints[q - 1, column]) / (length(joints, q) + length(joints, q - 1))
    return smooth * through + (1.0 - smooth) * chord


@inlined
def trace(key, kinds, joints, path):
    """Cubic curves through the joints of each stroke, as a chain of straight pieces; returns their number.

    P(t) = h00(t) P[p] + h10(t) l T[p] + h01(t) P[p+1] + h11(t) l T[p+1],   l = |P[p+1] - P[p]|, t = 1/STEPS .. 1

    kinds    u1 (n,)               in
    joints   f8 (>= n, 3)          in
    path     f8 (>= n * STEPS, 4)  out   X, Y, RADIUS, DOWN

    Catmull, Rom 1974, with tangents by chord length, so that unequal distances do not overshoot.
    """
    rounded = uniform(key, ROUND)
    n = 0
    for p in range(len(kinds)):
        if kinds[p] == START:
            path[n, X], path[n, Y], path[n, RADIUS], path[n, DOWN] = joints[p, X], joints[p, Y], joints[p, RADIUS], 0.0
            n += 1
        if p + 1 == len(kinds) or kinds[p + 1] == START:
            continue
        piece = length(joints, p)
        for column in range(2):
            here, there = joints[p, column], joints[p + 1, column]
            leave = piece * tangent(joints, p, p, column, roundness(kinds, p, rounded))
            arrive = piece * tangent(joints, p, p + 1, column, roundness(kinds, p + 1, rounded))
            for step in range(STEPS):
                t = (step + 1) / STEPS
                h01, h10, h11 = t * t * (3.0 - 2.0 * t), t * (1.0 - t) * (1.0 - t), t * t * (t - 1.0)
                path[n + step, column] = (1.0 - h01) * here + h10 * leave + h01 * there + h11 * arrive
        for step in range(STEPS):
            t = (step + 1) / STEPS
            path[n + step, RADIUS] = (1.0 - t) * joints[p, RADIUS] + t * joints[p + 1, RADIUS]
            path[n + step, DOWN] = 1.0
        n += STEPS
    return n


@inlined
def distort(key, hand, path, n):
    """Bend the plane by a polynomial, then stretch, slant and turn it.

    x += b0 y^2 + b1 x y + b2 y^3 + b3 x^2 + b4 x^2 y      y += the same with x and y exchanged

    path   f8 (>= n, 4)   in, out   X and Y
    """
    amount = hand.bend * factor(key, MESS, hand.mess_spread)
    b0, b1, b2 = amount * bell(key, BEND), amount * bell(key, BEND + 1), amount * bell(key, BEND + 2)
    b3, b4 = amount * bell(key, BEND + 3), amount * bell(key, BEND + 4)
    c0, c1, c2 = amount * bell(key, BEND + 5), amount * bell(key, BEND + 6), amount * bell(key, BEND + 7)
    c3, c4 = amount * bell(key, BEND + 8), amount * bell(key, BEND + 9)
    aspect = factor(key, ASPECT, hand.aspect_spread)
    slant = hand.slant + hand.slant_spread * bell(key, SLANT)
    turn = hand.turn_spread * bell(key, TURN)
    for v in range(n):
        u, w = path[v, X], path[v, Y]
        x = u + b0 * w * w + b1 * u * w + b2 * w * w * w + b3 * u * u + b4 * u * u * w
        y = w + c0 * u * u + c1 * u * w + c2 * u * u * u + c3 * w * w + c4 * w * w * u
        x = aspect * x - slant * y
        path[v, X] = x - turn * y
        path[v, Y] = y + turn * x


@inlined
def fit(path, n):
    """Scale and shift the path, keeping its proportions, so that its ink fills the longer side of the box.

    path   f8 (>= n, 4)   in, out   X and Y; pixel (row, column) has its middle at y = row + 1/2, x = column + 1/2
    """
    left, right, top, bottom, radius = path[0, X], path[0, X], path[0, Y], path[0, Y], path[0, RADIUS]
    for v in range(1, n):
        left, right = min(left, path[v, X]), max(right, path[v, X])
        top, bottom = min(top, path[v, Y]), max(bottom, path[v, Y])
        radius = max(radius, path[v, RADIUS])
    scale = (BOX - 2.0 * radius) / (max(right - left, bottom - top) + 1e-9)
    for v in range(n):
        path[v, X] = 0.5 * BOX + scale * (path[v, X] - 0.5 * (left + right))
        path[v, Y] = 0.5 * BOX + scale * (path[v, Y] - 0.5 * (top + bottom))


@inlined
def ink(key, hand, path, n, box):
    """box[row, column] = max over pieces of 1/2 + (radius - distance to the piece) / edge, at least 0, at most 1

    path   f8 (>= n, 4)      in
    box    f8 (BOX, BOX)     out   overwritten; 0 paper, 1 ink
    """
    edge = hand.edge + hand.edge_spread * uniform(key, EDGE)
    box[:] = 0.0
    for v in range(1, n):
        if path[v, DOWN] == 0.0:
            continue
        x, y, radius = path[v - 1, X], path[v - 1, Y], path[v, RADIUS]
        dx, dy = path[v, X] - x, path[v, Y] - y
        inverse = 1.0 / (dx * dx + dy * dy + 1e-9)
        reach = radius + 0.5 * edge + 0.5  # from a piece to the middle of the last pixel that it touches
        for row in range(max(0, int(min(y, y + dy) - reach)), min(BOX, int(max(y, y + dy) + reach) + 1)):
            for column in range(max(0, int(min(x, x + dx) - reach)), min(BOX, int(max(x, x + dx) + reach) + 1)):
                to_x, to_y = column + 0.5 - x, row + 0.5 - y
                t = min(1.0, max(0.0, (to_x * dx + to_y * dy) * inverse))
                to_x, to_y = to_x - t * dx, to_y - t * dy
                value = 0.5 + (radius - np.sqrt(to_x * to_x + to_y * to_y)) / edge
                box[row, column] = max(box[row, column], min(1.0, value))


@inlined
def centre(box, image):
    """Copy the box, in whole pixels, so that the ink's centre of mass falls on pixel (14, 14), as in MNIST.

    box     f8 (BOX, BOX)       in
    image   u1 (IMAGE, IMAGE)   out   overwritten
    """
    mass, down, right = 1e-9, 0.0, 0.0
    for row in range(BOX):
        for column in range(BOX):
            mass += box[row, column]
            down += box[row, column] * row
            right += box[row, column] * column
    top = min(IMAGE - BOX, max(0, int(IMAGE / 2 + 0.5 - down / mass)))
    left = min(IMAGE - BOX, max(0, int(IMAGE / 2 + 0.5 - right / mass)))
    image[:] = 0
    for row in range(BOX):
        for column in range(BOX):
            image[top + row, left + column] = np.uint8(255.0 * box[row, column] + 0.5)


@kernel
def draw(key, first, skeletons, hand, workspace, images, labels):
    """images[i], labels[i] = number first + i of the endless stream of digits with this key

    key         u8                          in
    first       int                         in    numbers start at 0
    images      u1 (n, IMAGE, IMAGE)        out
    labels      u1 (n,)                     out
    """
    for i in range(len(images)):
        image_key = word(key, np.uint64(first + i))
        label, variant = choose(image_key, skeletons)
        begin, end = skeletons.first_point[variant], skeletons.first_point[variant + 1]
        kinds = skeletons.kinds[begin:end]
        shake(image_key, skeletons.points[begin:end], skeletons.pen[variant], hand, workspace.joints)
        n = trace(image_key, kinds, workspace.joints, workspace.path)
        distort(image_key, hand, workspace.path, n)
        fit(workspace.path, n)
        ink(image_key, hand, workspace.path, n, workspace.box)
        centre(workspace.box, images[i])
        labels[i] = label
