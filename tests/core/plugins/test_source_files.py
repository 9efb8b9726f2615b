import sys

import pytest

from ultra_core.plugins.kinds import KINDS
from ultra_core.plugins.metadata import Entry
from ultra_core.plugins.source_files import docstring, package_folders, source_file, summary

FILES = {
    "lib/__init__.py": "from lib.inner.block import Block as Renamed\nraise RuntimeError('not imported')\n",
    "lib/inner/__init__.py": '"""The inner package."""\nfrom .block import Block\nfrom . import other\n',
    "lib/inner/block.py": '''
        """The module."""
        class Block:
            """
            The first line: a ``formula``.

            More.
            """
            class Nested:
                "Inside."
        class Bare: ...
        def factory(x):
            """Makes one."""
        instance = Block()
        ''',
    "lib/inner/wrong.py": "def f(:",
    "lib/inner/circle.py": "from .circle import Circle\n",
    "single.py": '"""A single module."""\nfrom lib.inner import Block\n',
}


@pytest.fixture(autouse=True)
def library(install):
    install("lib", files=FILES)


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("lib.inner.block:Block", "The first line: a ``formula``."),
        ("lib.inner.block:Block.Nested", "Inside."),
        ("lib.inner.block:Bare", ""),
        ("lib.inner.block:factory", "Makes one."),
        ("lib.inner.block:instance", "The module."),
        ("lib.inner:Block", "The first line: a ``formula``."),
        ("lib:Renamed", "The first line: a ``formula``."),
        ("single:Block", "The first line: a ``formula``."),
        ("single", "A single module."),
        ("lib.inner.wrong:X", ""),
        ("lib.inner.circle:Circle", ""),
        ("lib.nowhere:X", ""),
        ("nowhere:X", ""),
        ("_json:X", ""),
        ("", ""),
    ],
)
def test_the_summary_is_read_without_importing(target, line):
    assert summary(Entry("x", "lib", "1", target)) == line
    assert "lib" not in sys.modules
    assert "single" not in sys.modules


def test_the_whole_docstring():
    assert docstring(Entry("x", "lib", "1", "lib.inner:Block")).endswith("More.")


def test_files_and_folders():
    assert source_file("lib.inner.block").name == "block.py"
    assert source_file("lib.inner").name == "__init__.py"
    assert source_file("single").name == "single.py"
    assert source_file("lib.absent") is None
    assert [folder.name for folder in package_folders("lib.inner")] == ["inner"]
    assert package_folders("single") == []
    assert package_folders("..") == []


def test_every_installed_plugin_says_in_one_line_what_it_is():
    for kind, registry in KINDS.items():
        for entry in registry.entries() if kind != "presets" else ():
            assert summary(entry), f"{registry.noun} {entry.name} has no summary"
