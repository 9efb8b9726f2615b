from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def root() -> Path:
    """The workspace root."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def packages(root: Path) -> list[Path]:
    """The folders of the four packages."""
    return sorted(path for path in (root / "packages").iterdir() if (path / "pyproject.toml").exists())
