"""The shuffle and its random numbers, against Python's unbounded integers."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from numba import njit

import fastbp
from fastbp.kernels.order import below, shuffle, splitmix64, word

MASK = 2**64 - 1


# The helpers exist for compiled callers only


@njit
def compiled_word(key, i):
    return word(key, i)


@njit
def compiled_splitmix64(x):
    return splitmix64(x)


@njit
def compiled_below(bits, n):
    return below(bits, n)


def mixed(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def shuffled(n: int, key: int) -> list[int]:
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        bits = mixed((key + (i + 1) * 0x9E3779B97F4A7C15) & MASK)
        j = (bits >> 32) * (i + 1) >> 32
        order[i], order[j] = order[j], order[i]
    return order


def order_of(n: int, key: int) -> list[int]:
    order = np.full(n, 7, np.uint32)
    shuffle(order, np.uint64(key))
    return order.tolist()


def test_words_are_those_published_for_splitmix64():
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [int(compiled_word(np.uint64(1234567), np.uint64(i))) for i in range(5)] == published


@pytest.mark.parametrize("x", [0, 1, 2**63 - 1, 2**63, MASK])
def test_splitmix64_at_the_ends_of_its_range(x):
    assert int(compiled_splitmix64(np.uint64(x))) == mixed(x)


@pytest.mark.parametrize("key", [0, 1, 2**63 - 1, 2**63, MASK])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 1000])
def test_shuffle_equals_arithmetic_with_python_integers(n, key):
    assert order_of(n, key) == shuffled(n, key)


def test_sixty_thousand_samples_are_all_visited_once():
    order = order_of(60_000, 5)
    assert sorted(order) == list(range(60_000))
    assert order == shuffled(60_000, 5)


def test_bounded_numbers_reach_both_ends_and_no_further():
    for n in (1, 2, 60_000, 2**32 - 1, 2**32):
        assert int(compiled_below(np.uint64(0), np.uint64(n))) == 0
        assert int(compiled_below(np.uint64(MASK), np.uint64(n))) == n - 1


def test_every_permutation_of_four_is_equally_likely():
    counts = dict.fromkeys(permutations(range(4)), 0)
    for key in range(24_000):
        counts[tuple(order_of(4, mixed(key)))] += 1
    chi_squared = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    assert 9 < chi_squared < 45  # 23 degrees of freedom: 99 % lie between 9.3 and 44.2


def test_interpreted_gives_the_same_order_without_warnings():
    program = (
        "import numpy as np; from fastbp.kernels.order import shuffle, splitmix64\n"
        "order = np.empty(50, np.uint32); shuffle(order, np.uint64(2**64 - 3))\n"
        "print(type(shuffle).__name__, int(splitmix64(np.uint64(2**64 - 1))), *order)"
    )
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        cwd=Path(fastbp.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    assert answer[0] == "function"
    assert int(answer[1]) == mixed(MASK)
    assert [int(field) for field in answer[2:]] == shuffled(50, 2**64 - 3)
