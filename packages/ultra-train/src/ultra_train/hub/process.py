"""The process of a push beside a run: prints one line of JSON, ``{"address": ...}`` or ``{"error": ...}``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ultra_train.hub.upload import PushError, upload


def main(folder: str, repository: str, options: str) -> None:
    """Push a folder and print how that ended.

    Args:
        folder: the folder.
        repository: ``owner/name``, or ``name``.
        options: further arguments of :func:`upload` as JSON.
    """
    try:
        answer = {"address": upload(Path(folder), repository, **json.loads(options))}
    except PushError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
