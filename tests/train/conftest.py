"""Shared by the tests of ultra-train: a cache of sentences, and folders in which nothing can be written."""

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def command_cache(tmp_path_factory) -> Path:
    """A cache folder for the embedded commands: each language is built once a session."""
    return tmp_path_factory.mktemp("commands")


@pytest.fixture
def read_only(tmp_path):
    """Mount a folder again so that nothing in it can be written: ``read_only(folder)``."""
    mounted = []

    def mount(folder):
        where = tmp_path / "read-only"
        where.mkdir()
        for command in (["--bind", str(folder), str(where)], ["-o", "remount,bind,ro", str(where)]):
            if subprocess.run(["mount", *command], capture_output=True, check=False).returncode:
                pytest.skip("file systems cannot be mounted here")
            mounted[:] = [where]
        return where

    yield mount
    for where in mounted:
        subprocess.run(["umount", "--lazy", str(where)], check=True)  # shards stay mapped
