"""The built-in digits: handwritten-looking 28x28 images, so that the first run needs no download.

In: how many images and a seed. Out: bytes from 0 (paper) to 255 (ink) and labels 0 to 9, laid out as in MNIST: the
longer side of a digit fills 20 pixels, and its centre of mass is in the middle of the image. Image i depends on the
seed and on i only. The strokes below are coordinates written by hand; nothing is computed from other images. Refuses
counts and seeds that are not whole numbers in their range.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..streams import stream_key

if TYPE_CHECKING:
    from ..kernels.glyphs import Skeletons, Workspace

__all__ = ["VERSION", "make_digits"]

VERSION = "1"  # part of the name of every cache of these images: change it whenever an image changes
MAX_IMAGES = 1_000_000
CHUNK = 4096  # images drawn by one call, some 20 ms, so that Ctrl-C and the progress bar do not wait long
THREADS = 2  # any number gives the same images

# One way to write a digit per line: the digit, how often, the pen's width, the strokes. (People write 0 and 1 smaller,
# so their pen is wider once they fill the box.) A point is "x,y" in hundredths of the height, x to the right and y
# down. The curve may turn sharply at points marked "!" and passes the others smoothly; at "|" the pen is lifted.
SKELETONS = """
0  4  1.15  55,2 25,14 10,50 24,88 52,98 80,84 90,48 76,12 50,4
0  2  1.15  70,12 40,3 14,32 14,72 44,98 80,82 88,42 68,10 40,8
0  2  1.15  45,3 18,30 12,70 34,97 68,90 86,55 80,18 52,2 30,12
0  1  1.15  44,14 20,25 8,60 28,95 62,93 88,60 82,22 56,4 34,10 44,24
0  1  1.15  34,6 14,34 12,74 42,97 80,84 90,42 66,10
0  1  1.15  58,2 84,20 88,64 58,97 24,90 10,54 22,16 54,3
0  2  1.15  60,3 34,16 16,56 22,90 48,96 72,68 82,28 66,4 46,16
0  1  1.15  56,4 26,26 12,66 32,97 66,84 86,44 74,10 52,10 54,32

1  7  1.15  50,0 50,50 50,100
1  2  1.15  50,0 53,50 47,100
1  1  1.15  34,20 54,0! 54,50 53,100
1  1  1.15  30,22 52,0! 52,50 52,97 | 24,98 52,97 80,97
1  2  1.60  50,0 50,50 50,100

2  3  1.00  12,26 28,6 56,2 76,20 66,48 38,76 12,96! 45,94 88,95
2  3  1.00  12,24 34,3 64,6 72,30 52,62 26,88 9,92 12,76 32,76 58,90 90,88
2  1  1.00  10,10 42,5 80,6! 45,50 8,95! 45,94 90,92
2  1  1.00  14,30 22,8 50,0 72,18 62,50 35,78 8,92 5,80 25,72 48,84 70,97 94,86
2  1  1.00  16,16 44,3 70,16 66,42 40,74 16,94! 34,84 58,92 86,97
2  1  1.00  18,14 40,2 60,18 56,44 32,78 14,94 8,80 28,72 56,86 88,98
2  1  1.00  20,8 44,2 58,16 50,50 28,90! 50,88 82,92
2  2  1.00  24,16 50,2 70,20 62,56 36,88 14,92 8,76 28,62 56,74 84,90
2  1  1.00  30,10 50,2 56,24 50,60 34,92 20,88 26,74 48,84 76,90
2  1  1.00  22,30 46,8 64,24 46,56 8,90! 42,80 98,74
2  1  1.00  18,20 44,4 64,18 60,50 40,84 16,98 8,82 26,68 50,72 66,98
2  1  1.00  12,22 40,4 68,16 72,46 52,82 20,94 8,78 30,66 56,78 82,96

3  3  1.00  14,15 38,2 66,12 60,34 26,47! 66,54 76,78 50,98 10,88
3  2  1.00  14,12 42,2 66,16 54,38 30,48 38,44 68,56 76,78 46,98 8,88
3  1  1.00  14,6 42,5 72,4! 32,42! 68,52 78,76 50,97 10,90
3  1  1.00  20,10 50,2 70,16 60,38 34,46! 66,54 76,74 58,94 28,98 4,86
3  1  1.00  20,14 46,2 62,16 50,38 24,46 60,54 70,76 44,97 12,88
3  1  1.00  6,18 34,4 62,10 60,30 34,44! 64,52 80,72 60,94 30,98 6,94
3  2  1.00  30,10 56,2 76,14 64,34 44,42! 66,54 64,76 36,94 4,98
3  1  1.00  34,8 54,2 62,16 50,34 36,42! 62,50 76,70 60,94 24,96 8,82
3  1  1.00  14,8 44,4 68,8 56,26 38,40! 62,50 68,72 46,94 12,98
3  2  1.00  14,20 44,2 70,18 58,40 24,48! 64,56 70,82 46,98 12,84
3  1  1.00  22,16 46,2 66,12 60,32 30,44 54,48 70,66 62,90 34,98 12,92

4  2  1.00  20,4 12,38 20,55 52,56 86,50 | 70,2 62,50 56,100
4  2  1.00  26,4 10,52! 48,54 86,50 | 66,6 58,60 52,100
4  2  1.00  58,2 34,32 8,64! 50,66 92,62 | 60,2 58,50 58,100
4  2  1.00  22,8 14,38 36,54 66,44 80,4! 68,55 58,100
4  2  1.00  16,10 12,44 30,58 70,50 | 76,3 68,50 62,100
4  1  1.00  58,100 62,50 66,2! 36,30 8,60! 50,62 90,58
4  1  1.00  30,0 22,30 14,56! 48,52 84,46 | 60,24 52,62 46,100
4  1  1.00  34,2 22,28 14,50 40,54 76,40 | 78,8 66,46 50,100
4  1  1.00  18,14 20,50! 48,52 84,48 | 74,6 72,52 70,98

5  3  1.00  32,4! 24,45! 50,38 76,55 74,84 45,98 10,88 | 31,4 58,5 90,2
5  3  1.00  88,4 58,5 30,6! 22,45! 52,38 78,58 70,88 42,98 10,88
5  1  1.00  82,8 48,8 26,26 38,45 68,58 74,80 45,97 10,88
5  2  1.00  98,2 70,8 45,12! 32,44! 58,50 64,75 40,96 5,90
5  1  1.00  84,4 56,4 34,6! 20,36! 44,30 74,44 82,72 56,96 10,94
5  3  1.00  96,4 66,10 44,14! 34,42! 52,50 58,70 42,92 12,94
5  2  1.00  100,2 72,12 44,14 34,38 54,52 58,72 38,94 6,88
5  1  1.00  82,4 56,6 38,8! 36,46! 60,48 70,68 52,92 20,98
5  2  1.00  30,12! 26,44! 46,40 60,56 54,80 34,98 10,94 | 32,14 60,12 94,6
5  1  1.00  34,6! 28,42! 56,34 80,54 72,86 42,98 14,86 10,72 | 34,6 56,4 80,3
5  1  1.00  70,2 50,2 40,8! 38,42! 58,52 64,74 46,96 18,92

6  3  1.00  62,3 34,25 14,60 20,90 48,98 70,82 62,60 38,60 18,80
6  2  1.00  70,8 50,4 28,25 14,62 30,95 58,94 72,74 54,58 30,66 18,82
6  2  1.00  38,2 22,45 15,78 32,98 56,95 66,76 52,62 30,70 18,84
6  2  1.00  58,2 24,40 12,75 30,97 62,92 76,70 58,58 36,74 32,90
6  2  1.00  46,2 22,36 8,74 24,97 66,96 84,76 66,64 44,76 42,94
6  1  1.00  34,4 14,44 10,84 40,98 74,86 78,64 54,58 36,74 40,90
6  2  1.00  30,2 12,36 8,74 30,98 70,96 92,76 82,54 58,54 44,76 50,94
6  1  1.00  56,2 30,30 18,70 34,96 56,88 66,68 54,58 36,68 26,84
6  1  1.00  48,2 30,30 22,68 34,96 52,94 60,76 48,66 34,78

7  3  1.00  10,10 45,9 78,6! 62,45 46,98
7  2  1.00  10,28 13,7! 45,9 78,7! 60,50 50,100
7  2  1.00  12,10 45,9 80,6! 60,45 44,98 | 28,54 54,51 80,46
7  2  1.00  8,22 20,6 50,12 82,5! 64,42 48,100
7  2  1.00  10,12 46,4 74,16 66,52 48,100
7  1  1.00  14,36 14,8! 42,6 72,6! 66,50 62,100
7  1  1.00  18,12 44,4 60,20 58,54 44,100
7  1  1.00  10,12 44,9 76,8! 62,48 52,98 | 40,50 62,48 84,48
7  1  1.00  8,14 40,11 72,6! 58,50 42,100 | 16,54 48,50 90,46
7  1  1.00  6,34 12,13! 44,14 86,6! 66,42 48,100
7  1  1.00  20,20 26,10! 48,12 72,6! 60,44 40,100 | 30,52 52,50 84,50

8  3  1.00  70,12 46,2 26,18 44,42 68,68 52,97 24,86 30,64 56,40 70,15
8  2  1.00  50,2 32,12 34,36 50,46 68,34 68,12 50,2 | 50,46 28,62 26,88 50,99 74,88 72,60 50,46
8  3  1.00  72,14 52,2 32,16 38,36 58,58 64,84 42,98 24,84 38,60 62,38 82,8
8  2  1.00  50,47 30,32 34,8 58,3 68,20 50,47 30,68 28,92 52,98 68,76 50,47
8  1  1.00  66,10 44,3 34,18 50,38 70,62 66,90 36,98 24,80 40,56 66,34 66,12
8  2  1.00  64,12 42,4 26,20 40,44 52,66 46,92 30,96 24,76 46,48 96,8
8  2  1.00  74,20 50,2 22,16 34,40 54,64 50,92 34,94 30,74 52,46 76,22
8  1  1.00  60,14 42,10 34,26 44,44 68,62 70,88 42,98 22,84 36,58 56,38 76,8 54,2 40,14
8  1  1.00  66,20 48,4 28,16 36,38 62,60 66,84 44,98 24,84 38,58 66,36 86,10

9  3  1.00  68,16 46,4 22,22 24,44 46,46 68,20! 66,60 58,100
9  2  1.00  66,20 42,8 20,32 38,48 66,30 78,6! 64,50 46,100
9  2  1.00  68,18 46,3 24,20 28,44 52,46 70,18! 72,60 54,94 20,92
9  2  1.00  56,8 28,16 22,40 44,46 66,26 64,8 50,6 | 70,12 62,60 50,100
9  2  1.00  62,4 36,6 16,24 26,42 52,38 74,10! 58,52 44,100
9  1  1.00  66,26 48,6 26,22 30,44 52,42 66,24! 64,60 64,100
9  2  1.00  76,8 46,4 20,24 28,46 50,42 68,22! 60,60 50,100
9  2  1.00  74,10 48,2 20,26 18,54 40,60 64,38 72,14! 66,60 60,100
9  1  1.00  80,12 52,4 26,22 34,40 54,38 70,22! 56,62 36,100
"""

# How much handwriting varies; `fastbp.kernels.glyphs.Hand` says what each number means.
HAND = {
    "width": 2.4,
    "width_spread": 0.28,
    "pressure": 0.08,
    "slant": 0.15,
    "slant_spread": 0.25,
    "turn_spread": 0.12,
    "aspect_spread": 0.22,
    "bend": 0.09,
    "shake": 0.06,
    "mess_spread": 0.4,
    "edge": 0.8,
    "edge_spread": 0.5,
}


def make_digits(
    n_train: int = 60_000,
    n_test: int = 10_000,
    seed: int = 0,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a training and a test set of digits; the two come from different random streams.

    Parameters
    ----------
    n_train, n_test : int
        number of images, each 0 to 1,000,000
    seed : int
        0 to 2**63 - 1; image i of a set depends on the seed and i only, and is the same bytes on every machine
    progress : callable, optional
        called as ``progress("drawing digits", done, total)`` from the calling thread

    Returns
    -------
    x_train, y_train, x_test, y_test : (n, 28, 28) uint8 images, 0 paper to 255 ink, and (n,) uint8 labels 0 to 9

    Raises
    ------
    UsageError
        a number of images or a seed that is not a whole number in its range

    Examples
    --------
    >>> x_train, y_train, x_test, y_test = make_digits(100, 10)
    >>> x_train.shape, y_test.shape
    ((100, 28, 28), (10,))
    """
    n_train = _whole("n_train", n_train, MAX_IMAGES)
    n_test = _whole("n_test", n_test, MAX_IMAGES)
    seed = _whole("seed", seed, 2**63 - 1)

    def report(done: int) -> None:
        if progress is not None:
            progress("drawing digits", done, n_train + n_test)

    x_train, y_train = _stream(stream_key(seed, "digits", 0), n_train, report)
    x_test, y_test = _stream(stream_key(seed, "digits", 1), n_test, lambda done: report(n_train + done))
    return x_train, y_train, x_test, y_test


def _stream(key: int, n: int, report: Callable[[int], None]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The first n images and labels of a stream; `report(done)` is called after each chunk."""
    from ..kernels.glyphs import IMAGE, Hand, draw

    images, labels = np.empty((n, IMAGE, IMAGE), np.uint8), np.empty(n, np.uint8)
    skeletons, hand = _skeletons(), Hand(**HAND)

    def draw_chunk(first: int) -> int:
        last = min(first + CHUNK, n)
        draw(np.uint64(key), first, skeletons, hand, _workspace(), images[first:last], labels[first:last])
        return last

    pool = ThreadPoolExecutor(THREADS)
    try:
        for done in pool.map(draw_chunk, range(0, n, CHUNK)):
            report(done)
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C too: no chunk is begun any more
    return images, labels


@cache
def _skeletons() -> Skeletons:
    """SKELETONS as arrays."""
    from ..kernels.glyphs import CORNER, SMOOTH, START, Skeletons

    points: list[tuple[float, float]] = []
    kinds: list[int] = []
    first_point, digits, shares, pens = [0], [], [], []
    for line in filter(None, SKELETONS.splitlines()):
        digit, share, pen, strokes = line.split(maxsplit=3)
        for stroke in strokes.split("|"):
            for place, point in enumerate(stroke.split()):
                x, y = point.rstrip("!").split(",")
                points.append((float(x) / 50 - 1, float(y) / 50 - 1))
                kinds.append(START if place == 0 else CORNER if point.endswith("!") else SMOOTH)
        first_point.append(len(points))
        digits.append(int(digit))
        shares.append(float(share))
        pens.append(float(pen))
    of_digit = [np.array(shares)[np.equal(digits, digit)] for digit in range(10)]
    return Skeletons(
        points=np.array(points),
        kinds=np.array(kinds, np.uint8),
        first_point=np.array(first_point, np.int64),
        first_variant=np.searchsorted(digits, np.arange(11)).astype(np.int64),
        pen=np.array(pens),
        share_up_to=np.concatenate([np.cumsum(some) / np.cumsum(some)[-1] for some in of_digit]),
    )


def _workspace() -> Workspace:
    """Scratch memory for one thread."""
    from ..kernels.glyphs import BOX, STEPS, Workspace

    longest = int(np.diff(_skeletons().first_point).max())
    return Workspace(np.empty((longest, 3)), np.empty((longest * STEPS, 4)), np.empty((BOX, BOX)))


def _whole(name: str, value: Any, highest: int) -> int:
    """`value` as an int; UsageError unless it is a whole number from 0 to `highest`."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number <= highest:
        raise UsageError(f"{name} must be a whole number from 0 to {highest}, got {value!r}")
    return number
