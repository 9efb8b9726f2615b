"""What tells the models of steps apart."""

from __future__ import annotations

from typing import Any

from ultra_train.system.files import expand_user


def model_identity(model: str) -> Any:
    """Return what identifies a model: the files of a folder with sizes and times, or its name on the hub."""
    folder = expand_user(model)
    if not folder.is_dir():
        return model
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
