"""SplitMix64's published numbers, and the moments of the distributions made from them."""

from itertools import permutations, product

import numpy as np
import pytest

from fastbp.streams import normal, permutation, stream_key, uniform, words

# the first outputs of Vigna's splitmix64.c for the seed 1234567
PUBLISHED = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def test_the_stream_of_a_key_is_splitmix64():
    assert words(1234567, 5).tolist() == PUBLISHED


def test_a_stream_can_be_entered_anywhere():
    assert words(1234567, 2, start=3).tolist() == PUBLISHED[3:]


def test_keys_are_hashed_with_the_finaliser_of_splitmix64():
    """with plain Python integers, written from Steele, Lea, Flood 2014"""

    def mix(z):
        z &= 2**64 - 1
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    golden = 0x9E3779B97F4A7C15
    assert stream_key(5, "shuffle", 7) == mix(mix(mix(5 + golden) + 3 * golden) + 8 * golden)


def test_keys_never_meet():
    keys = [
        stream_key(seed, purpose, *counters)
        for seed in (0, 1, 2, 3, 2**31, 2**63 - 1)
        for purpose in ("init", "shuffle", "split", "digits", "dropout", "noise")
        for counters in [(), *((k,) for k in range(50)), *product(range(5), repeat=2)]
    ]
    assert len(set(keys)) == len(keys)
    assert all(0 <= key < 2**64 for key in keys)


def test_neighbouring_seeds_share_half_of_theirwords():
    distances = [(stream_key(s, "init") ^ stream_key(s + 1, "init")).bit_count() for s in range(1000)]
    assert abs(np.mean(distances) - 32.0) < 0.6  # standard error 4 / sqrt(1000) = 0.13


def test_an_unknown_purpose_is_a_programming_error():
    with pytest.raises(KeyError):
        stream_key(0, "weather")


def test_uniform_numbers_fill_the_unit_interval_evenly():
    u = uniform(stream_key(3, "noise"), 200_000)
    assert u.dtype == np.float64
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert abs(u.mean() - 1 / 2) < 0.003
    assert abs(u.var() - 1 / 12) < 0.001
    counts = np.bincount((u * 100).astype(int), minlength=100)
    assert ((counts - 2000) ** 2 / 2000).sum() < 160  # chi-squared with 99 degrees: beyond 160 once in 10,000
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.01


def test_uniform_numbers_of_two_streams_are_uncorrelated():
    u, v = uniform(stream_key(0, "init"), 100_000), uniform(stream_key(0, "shuffle"), 100_000)
    assert abs(np.corrcoef(u, v)[0, 1]) < 0.015


def test_uniform_numbers_have_53words():
    scaled = uniform(stream_key(0, "noise"), 1000) * 2.0**53
    assert (scaled == np.round(scaled)).all()
    assert (scaled % 2 == 1).any()


def test_a_longer_stream_begins_with_the_shorter_one():
    key = stream_key(0, "noise")
    assert np.array_equal(uniform(key, 10), uniform(key, 1000)[:10])


def test_normal_numbers_have_the_moments_of_the_normal_distribution():
    x = normal(stream_key(1, "noise"), 400_000)
    assert np.isfinite(x).all()
    assert abs(x.mean()) < 0.008
    assert abs(x.var() - 1.0) < 0.012
    assert abs((x**3).mean()) < 0.03
    assert abs((x**4).mean() - 3.0) < 0.08
    assert abs((np.abs(x) < 1.0).mean() - 0.682689) < 0.004
    assert abs((x > 2.0).mean() - 0.022750) < 0.001
    assert 4.0 < np.abs(x).max() < 8.6


@pytest.mark.parametrize("n", [0, 1, 2, 17, 1000])
def test_a_permutation_holds_every_number_once(n):
    order = permutation(stream_key(0, "split"), n)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))


def test_every_permutation_is_equally_likely():
    counts = dict.fromkeys(permutations(range(3)), 0)
    for seed in range(6000):
        counts[tuple(permutation(stream_key(seed, "split"), 3).tolist())] += 1
    chi_squared = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    assert chi_squared < 25.8  # 5 degrees: beyond it once in 10,000


def test_the_numbers_are_frozen():
    """A changed number would change every seeded run of every user. Computed once by hand-written integer code."""
    mask = 2**64 - 1
    key = stream_key(0, "init", 0)
    z = (key + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    first = (z ^ (z >> 31)) >> 11
    assert uniform(key, 1)[0] == first / 2**53
    assert key == 3391245575278488096
