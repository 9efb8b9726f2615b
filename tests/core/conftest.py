"""Distributions made up for a test: a folder on ``sys.path`` with a ``.dist-info`` and its modules."""

import sys
import textwrap

import pytest

from ultra_core.plugins import metadata


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a made-up distribution and returns its folder."""
    monkeypatch.setenv("ULTRA_DISABLE_PLUGINS", "")
    before = set(sys.modules)

    def make(name, entry_points=(), files=None, version="1.2.0", raw=None):
        """Install ``name``; ``entry_points`` are (group, name, value) and ``files`` are texts by path."""
        folder = tmp_path / f"site-{name}-{version}"
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        groups = {}
        for group, entry, value in entry_points:
            groups.setdefault(group, []).append(f"{entry} = {value}")
        text = "".join(f"[{group}]\n" + "\n".join(lines) + "\n" for group, lines in groups.items())
        (info / "entry_points.txt").write_text(text if raw is None else raw)
        for path, content in (files or {}).items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(content))
        monkeypatch.syspath_prepend(str(folder))
        return folder

    metadata.refresh()
    yield make
    metadata.refresh()
    for module in set(sys.modules) - before:
        file = getattr(sys.modules[module], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[module]
