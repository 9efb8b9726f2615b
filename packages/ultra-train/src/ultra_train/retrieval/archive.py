"""Opening a folder that may be in an archive."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from ultra_train.data.errors import DataError


@contextmanager
def opened(source: Path) -> Iterator[Path]:
    """Yield the folder of a collection; the files of an archive are unpacked for as long as the block runs.

    Errors about unpacked files name the archive instead.

    Raises:
        DataError: there is no such folder or archive, or the archive is broken or holds no corpus.
    """
    if source.is_dir():
        yield source
        return
    with TemporaryDirectory(prefix="ultra-") as name:
        folder = Path(name)
        _unpack(source, folder)
        try:
            yield folder
        except DataError as error:
            raise DataError(str(error).replace(name, str(source))) from error


def _unpack(source: Path, folder: Path) -> None:
    """Unpack the files beside and below the corpus."""
    try:
        with tarfile.open(source) as archive:
            paths = {PurePosixPath(entry.name): entry for entry in archive.getmembers() if entry.isfile()}
            corpus = next((path for path in paths if path.name.startswith("corpus.")), None)
            if corpus is None:
                raise DataError(f"{source}: holds no corpus.jsonl.")
            for path, entry in paths.items():
                inside = path.is_relative_to(corpus.parent) and ".." not in path.parts
                content = archive.extractfile(entry) if inside else None
                if content is None:
                    continue
                target = folder / path.relative_to(corpus.parent)
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror or error}).") from error
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{source}: is no whole archive ({error}); fetch it again.") from error
