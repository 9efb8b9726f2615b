"""The content of folders."""

from pathlib import Path


def everything(folder: Path) -> set[str]:
    """Return the paths of all files and folders below a folder."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")}
