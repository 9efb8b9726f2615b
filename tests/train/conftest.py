"""Shared by the tests of ultra-train."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def command_cache(tmp_path_factory) -> Path:
    """A cache folder for the embedded commands: each language is built once a session."""
    return tmp_path_factory.mktemp("commands")
