import numpy as np

from ultra_train.data.hashing import combine, splitmix64, text_hash, uniform


def test_splitmix64_gives_the_published_sequence():
    # the generator of Steele et al. started at 1234567: its state grows by the increment
    increment = np.uint64(0x9E3779B97F4A7C15)
    states = np.uint64(1234567) + np.arange(3, dtype=np.uint64) * increment
    assert splitmix64(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_combine_depends_on_both_and_on_their_order():
    values = np.arange(1000)
    assert len({*combine(1, values).tolist(), *combine(2, values).tolist()}) == 2000
    assert combine(1, 2) != combine(2, 1)
    assert combine(-1, 5).dtype == np.uint64


def test_uniform_is_uniform():
    draws = uniform(combine(3, np.arange(100_000)))
    assert draws.min() >= 0
    assert draws.max() < 1
    histogram = np.histogram(draws, bins=10, range=(0, 1))[0]
    assert abs(histogram - 10_000).max() < 400


def test_text_hash_is_the_same_everywhere():
    assert text_hash("abre la puerta") == text_hash("abre la puerta")
    assert text_hash("") != text_hash(" ")
    assert text_hash("hola") == 16728039123551951328
