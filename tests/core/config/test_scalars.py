import math

import pytest

from ultra_core.config import parse_source
from ultra_core.config.scalars import resolve

SCALARS = [
    ("1e-6", 1e-6), ("1E-6", 1e-6), ("1.e-6", 1e-6), (".5", 0.5), ("2e-5", 2e-5), ("1e5", 1e5),
    ("-.5e3", -500.0),
    ("+1.5", 1.5), ("1.", 1.0), ("0", 0), ("-7", -7), ("+7", 7), ("010", 10), ("0x1F", 31), ("0o17", 15),
    ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
    ("yes", "yes"), ("off", "off"), ("1_000", "1_000"), ("2024-01-01", "2024-01-01"),
    ("12:30:45", "12:30:45"),
    ("1e", "1e"), (".", "."), ("-", "-"), ("0b1", "0b1"), ("1.2.3", "1.2.3"), ("e5", "e5"), ("٣", "٣"),
    ("9223372036854775807", 2**63 - 1), ("tRue", "tRue"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(text, value):
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_the_reading_of_a_file_agrees():
    for text, value in SCALARS:
        if text not in ("-", ""):
            assert parse_source(f"key: {text}").tree == {"key": value}, text
            assert parse_source(f"key: '{text}'").tree == {"key": text}


@pytest.mark.parametrize(
    "text", [".nan", ".NaN", ".inf", "-.Inf", "1e999", "9" * 20, "-" + "9" * 5000, "0x" + "f" * 17]
)
def test_numbers_beyond_bounds_are_faults(text):
    source = parse_source(f"a: 1\nkey: {text}")
    (fault,) = source.faults
    assert (fault.line, fault.column, fault.path) == (2, 6, ("key",))
    assert "finite" in fault.message or "64 bits" in fault.message


def test_floats_are_finite_after_reading():
    assert all(math.isfinite(v) for _, v in SCALARS if isinstance(v, float))
